"""Pages, charts and lines from records: the same record gives the same bytes. No torch; nothing is decided here.

May import what is below it, but neither the engine nor the tracer.
"""
