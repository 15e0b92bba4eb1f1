"""Published numbers: which convention prints their digits.

May import pipelines and what is below; needs torch only where a model has to be run.
"""
