"""Published numbers: which convention prints their digits.

May import pipelines and what is below them; needs torch only where a model has to be run.
"""
