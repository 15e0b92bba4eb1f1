"""Cases x backends -> outcomes: one job, many processes, and any module.

May import backends, the tracer, the reconciliation and what is below them.
"""
