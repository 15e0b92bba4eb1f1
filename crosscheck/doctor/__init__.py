"""Every counter on one operation at a time, with truth by hand, and on random modules.

May import the engine, witnesses and what is below; `laws` does without torch.
"""
