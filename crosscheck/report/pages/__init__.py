"""One file a page, with its table for a terminal.

May import charts, the words of a report and what that may.
"""
