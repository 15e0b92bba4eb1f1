"""Pages, charts and lines from records: the same record gives the same bytes. No torch; nothing is decided here.

May import records of all rooms, causes, and what reads a witness.
"""
