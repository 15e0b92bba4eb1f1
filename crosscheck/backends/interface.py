"""What a backend of another package imports: these names stay here, wherever they are defined."""

from crosscheck.case import Backend, Case, Count, NotApplicable

__all__ = ["Backend", "Case", "Count", "NotApplicable"]
