"""The closed form as a backend: from a case's config and shapes, never from its module."""

from __future__ import annotations

from crosscheck.case import Backend, Case, Count, NotApplicable
from crosscheck.closed_form.forms import count
from crosscheck.closed_form.options import NoClosedForm
from crosscheck.closed_form.work import Work
from crosscheck.records import HEADLINE


class Analytic(Backend):
    """MACs by op of a class that has a closed form."""

    name = "analytic"
    distribution = ""

    def run(self, case: Case) -> Work:
        if case.config is None:
            raise NotApplicable(f"no closed form for class {case.class_name}")
        try:
            return count(case.class_name, case.config, case.entry, {spec.name: spec.shape for spec in case.inputs})
        except NoClosedForm as reason:
            raise NotApplicable(str(reason)) from reason

    def read(self, result: Work) -> Count:
        return Count(macs=result.total, by_op={op: getattr(result, op) for op in HEADLINE})
