"""Where things are in a checkout."""

from pathlib import Path

HELPERS = Path(__file__).parent
TESTS = HELPERS.parent
ROOT = TESTS.parent
REPORTS = ROOT / "reports"
