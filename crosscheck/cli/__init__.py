"""The command line: the only place that prints or exits. May import everything.

``crosscheck`` on a terminal is `main`.
"""

from crosscheck.cli.app import main

__all__ = ["main"]
