"""Make what is made of every model's ledger: the list of reports, the scoreboard, the README's tables."""

import re
from pathlib import Path

import msgspec

from crosscheck import ledger
from crosscheck.files import write_atomically
from crosscheck.models import configs
from crosscheck.report.pages import overview, scoreboard

ROOT = Path(__file__).parent.parent
REPORTS = ROOT / "reports"

if __name__ == "__main__":
    doctors, *models = (ledger.load(REPORTS / f"{name}.json") for name in ("counters", *configs.catalogue()))
    write_atomically(REPORTS / "README.md", overview.index([doctors, *models]))
    scoreboard.write(models, doctors, REPORTS)
    scores = msgspec.json.decode((REPORTS / "scoreboard.json").read_bytes(), type=tuple[scoreboard.Score, ...])
    (habits,) = re.findall(r"^\| They .*?(?=\n\n)", (REPORTS / "claims.md").read_text(), re.DOTALL | re.MULTILINE)
    page = (ROOT / "README.md").read_text()
    for name, table in {"claims": habits, "counters": scoreboard.board(scores)}.items():
        page = re.sub(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", rf"\1{table}\2", page, flags=re.DOTALL)
    write_atomically(ROOT / "README.md", page)
