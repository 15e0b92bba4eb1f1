"""Every counter on one operation at a time, with truth by hand, and on random modules.

May import witnesses and what is below them. Torch comes when a case is made or run.
"""
