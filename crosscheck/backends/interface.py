"""Names that a backend of another package imports: they stay here, wherever they are defined.

A backend translates one tool, and does not mend it::

    from crosscheck.backends.entry import Entry
    from crosscheck.backends.interface import Backend, Case, Count


    class MyCounter(Backend):
        name = "my-counter"
        distribution = "my-counter"  # whose version is recorded

        def run(self, case: Case):  # run the tool once
            import my_counter

            entry = Entry(case)  # a module that takes tensors and gives tensors
            return my_counter.count(entry, entry.inputs)

        def read(self, result) -> Count:  # the tool's own number, in MACs
            return Count(macs=result)

A package brings it by ``my-counter = "my_package:MyCounter"`` under ``[project.entry-points."crosscheck.backends"]`` of
its pyproject.toml; ``crosscheck run -b my-counter`` then finds it. Its gaps are residuals until causes explain them.
"""

from crosscheck.case import Backend, Case, Count, NotApplicable

__all__ = ["Backend", "Case", "Count", "NotApplicable"]
