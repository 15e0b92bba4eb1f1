"""One file a chart, as SVG for light and dark pages.

May import records, witnesses, sweeps and the words of a report.
"""
