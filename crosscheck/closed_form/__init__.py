"""MACs in closed form, from configs and shapes alone: no torch, no forward, no code shared with the tracer.

May import model configs, cases, records and errors.
"""
