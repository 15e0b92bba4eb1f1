"""The commands, a file for each kind; heavy imports come when one runs.

May import everything.
"""
