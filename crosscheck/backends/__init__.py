"""The counters, one file each, and the registry of them: nothing of a counter is imported before it is loaded.

May import the tracer, the closed forms and what is below them.
"""
