"""What a forward runs: the tracer, and what lets it see. Runs torch; knows no counter.

May import records, cases and errors.
"""
