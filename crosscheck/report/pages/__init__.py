"""One file a page, with its table for a terminal.

May import charts and the texts of a report.
"""
