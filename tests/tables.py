"""Make what is made of all ledgers and of the counters' declarations: lists, the scoreboard, documents' tables."""

import re
from pathlib import Path

import msgspec
from tabulate import tabulate

from crosscheck import ledger
from crosscheck.causes.tool import TOOLS, Sees
from crosscheck.files import write_atomically
from crosscheck.models import configs
from crosscheck.report.pages import overview, scoreboard

ROOT = Path(__file__).parent.parent
REPORTS = ROOT / "reports"
CONTRIBUTING = ROOT / ".github" / "CONTRIBUTING.md"


def tools() -> str:
    """The counters as they are declared."""
    rows = [
        (
            f"`{tool.name}`",
            ", ".join(f"`{name}`" for name in tool.backends),
            tool.release,
            ", ".join(what.name.lower() for what in Sees if what in tool.sees),
            "yes" if tool.evaluates else "",
            f"`{tool.installed}`",
        )
        for tool in TOOLS.values()
    ]
    head = ("Counter", "Its backends", "Causes are sourced to", "It counts by", "It calls eval()", "Installed with")
    return tabulate(sorted(rows), head, tablefmt="pipe", disable_numparse=True)


def with_table(page: str, name: str, table: str) -> str:
    """``page`` with ``table`` in its place there."""
    return re.sub(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", rf"\1{table}\n\2", page, flags=re.DOTALL)


if __name__ == "__main__":
    doctors, *models = (ledger.load(REPORTS / f"{name}.json") for name in ("counters", *configs.catalogue()))
    write_atomically(REPORTS / "README.md", overview.index([doctors, *models]))
    scoreboard.write(models, doctors, REPORTS)
    scores = msgspec.json.decode((REPORTS / "scoreboard.json").read_bytes(), type=tuple[scoreboard.Score, ...])
    (habits,) = re.findall(r"^\| They .*?(?=\n\n)", (REPORTS / "claims.md").read_text(), re.DOTALL | re.MULTILINE)
    page = with_table((ROOT / "README.md").read_text(), "claims", habits)
    write_atomically(ROOT / "README.md", with_table(page, "counters", scoreboard.board(scores)))
    write_atomically(CONTRIBUTING, with_table(CONTRIBUTING.read_text(), "tools", tools()))
