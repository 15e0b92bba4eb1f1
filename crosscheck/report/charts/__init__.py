"""One file a chart, as SVG for light and dark pages.

May import the texts of a report.
"""
