"""Model folders as they come from strangers: configs, the hub, and the real pipeline on meta.

`configs` and `hub` do without torch. May import the tracing room and what is below it.
"""
