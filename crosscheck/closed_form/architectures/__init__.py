"""One file an architecture: its formula, and the shapes that go into it.

May import the closed forms of layers.
"""
