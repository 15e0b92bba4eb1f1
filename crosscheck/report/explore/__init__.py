"""One page to explore where the MACs of a run are, as each counter sees them.

May import the texts and pages of a report.
"""
