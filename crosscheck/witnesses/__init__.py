"""Evidence from real executions: what math libraries logged, what a GPU counted, and what it means.

May import pipelines and what is below them; all but `cpu`, `gpu`, `observe`, `on_gpu` and `subject` do without torch.
"""
