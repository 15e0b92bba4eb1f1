"""One page to explore where the MACs of a run are, as each counter sees them.

May import records, causes, and the charts, pages and words of a report.
"""
