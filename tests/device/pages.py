"""What the boards' pages promise of `edgeface devices`, read from the pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "firmware" / "boards"
PAGES = {page.stem: page for page in sorted(FOLDER.glob("*.md"))}
_TITLE = "## What `edgeface devices` should say"


@dataclass(frozen=True)
class Row:
    """One verdict of a page; without a state it is what a board says with nothing plugged in or added."""

    backend: str
    state: str
    verdict: str

    def matches(self, printed: str) -> bool:
        """Whether a printed verdict is the page's; ``...`` there stands for more, and for other numbers."""
        parts = [re.escape(part.strip()) for part in self.verdict.split("...")]
        return re.search(".*".join(parts), printed) is not None


def rows(page: Path) -> list[Row]:
    """The table under the page's heading about `edgeface devices`, in its order."""
    lines = page.read_text().partition(_TITLE)[2].partition("\n## ")[0].splitlines()
    cells = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in lines if line.startswith("| `")]
    found = []
    for first, verdict in cells:
        for name in re.findall(r"`([^`]+)`", first):
            state = re.sub(r"^(`[^`]+`[\s,]*)+", "", first.strip())
            found.append(Row(name, state, verdict.replace(r"\|", "|").strip()))
    return found


def verdict(page: Path, state: str) -> Row:
    """The row of a page whose first cell is a state in words, with no backend's name."""
    table = page.read_text().partition(_TITLE)[2].partition("\n## ")[0]
    found = re.search(rf"^\| {re.escape(state)} \| (.*) \|$", table, re.MULTILINE)
    assert found, f"{page.name} has no state {state!r}"
    return Row("", state, found[1].replace(r"\|", "|"))


def plain(page: Path) -> list[Row]:
    """The rows without a state."""
    return [row for row in rows(page) if not row.state]


def commands(page: Path, name: str) -> str:
    """The code block after ``<!-- ci: NAME -->``."""
    found = re.search(rf"<!-- ci: {re.escape(name)} -->\s*```sh\n(.*?)```", page.read_text(), re.DOTALL)
    assert found, f"{page.name} has no code block after <!-- ci: {name} -->"
    return found[1]
