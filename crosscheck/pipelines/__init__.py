"""A diffusers pipeline as it really runs, hollow, and all of its components counted.

May import the engine and what is below it; `workload` does without torch.
"""
