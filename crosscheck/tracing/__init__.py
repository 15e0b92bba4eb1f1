"""The tracer of a forward, and all that lets it see. Runs torch; knows no counter.

May import records, cases, errors and hints.
"""
