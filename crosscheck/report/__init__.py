"""Pages, charts and lines from records: the same record gives the same bytes. No torch; nothing is decided here.

May import records of all rooms, causes, the table of backends, and what reads a witness.
"""
