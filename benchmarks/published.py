"""The committed results: every file follows its schema, and the tables of the pages are made of them.

Run from a checkout, after a file was added or measured anew::

    python -m benchmarks.published                 # the tables of benchmarks/results/README.md and README.md
    python -m benchmarks.published PAGE.md         # of another page that has the marks
    python -m benchmarks.published --check         # change nothing; 1 where something is wrong or old

A table stands between ``<!-- table: NAME -->`` and ``<!-- /table -->``; the names are those of `TABLES`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import flips, tracking
from benchmarks.arm_instructions import counts
from benchmarks.candidates import result as candidates
from benchmarks.live import result as live
from benchmarks.peers import result as peers
from edgeface.benchmark.tables import device_line, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["PAGES", "RESULTS", "SCHEMAS", "TABLES", "faults", "filled", "main", "records"]

_HERE = Path(__file__).parent
RESULTS = _HERE / "results"
PAGES = (RESULTS / "README.md", _HERE.parent / "README.md")
"""The first has every table."""

SCHEMAS: dict[str, Path] = {
    "edgeface.bench/1": _HERE.parent / "edgeface" / "benchmark" / "schema.json",
    "edgeface.benchmark.facemesh/1": _HERE / "facemesh.schema.json",
    "edgeface.benchmark.peers/1": _HERE / "peers.schema.json",
    "edgeface.benchmark.live/1": _HERE / "live.schema.json",
    "edgeface.benchmark.tracking/1": _HERE / "tracking.schema.json",
    "edgeface.benchmark.flips/1": _HERE / "flips.schema.json",
    "edgeface.benchmark.candidates/1": _HERE / "candidates.schema.json",
    "edgeface.benchmark.roofline/1": _HERE / "roofline.schema.json",
    "edgeface.benchmark.arm-instructions/1": _HERE / "instructions.schema.json",
    "edgeface.benchmark.x86-instructions/1": _HERE / "instructions.schema.json",
}
"""Schema's name in a result -> its file."""

_NOTHING = "Nothing is committed yet."
_LONG = 100


def records(folder: Path = RESULTS) -> dict[Path, dict[str, Any]]:
    """Every result below a folder, in the order of their names."""
    return {path: json.loads(path.read_text()) for path in sorted(folder.rglob("*.json"))}


def faults(path: Path, record: object) -> list[str]:
    """What is wrong with a result, in words; empty when it may be committed."""
    from jsonschema import Draft202012Validator  # of the `dev` extra

    named = record.get("schema") if isinstance(record, dict) else None
    if not isinstance(record, dict) or named not in SCHEMAS:
        return [f"{path.name}: its schema is {named!r}, not one of {', '.join(SCHEMAS)}"]
    schema = json.loads(SCHEMAS[named].read_text())
    found = [
        f"{path.name}: {'/'.join(map(str, error.absolute_path)) or 'the whole'}: {error.message[:300]}"
        for error in Draft202012Validator(schema).iter_errors(_condensed(record))
    ]
    if record.get("interrupted"):
        found.append(f"{path.name}: the run was interrupted; measure again")
    return found


def _condensed(value: Any) -> Any:
    """The same with every long list of samples replaced by its least, its greatest and a None if it has one.

    The schemas ask the same of each sample, and half a million of them take jsonschema minutes.
    """
    if isinstance(value, dict):
        return {name: _condensed(part) for name, part in value.items()}
    if not isinstance(value, list):
        return value
    kinds = set(map(type, value))
    if len(value) > _LONG and kinds <= {int, type(None)} and int in kinds:
        numbers = [sample for sample in value if sample is not None]
        return [min(numbers), max(numbers), *([None] if len(numbers) < len(value) else [])]
    return [_condensed(part) for part in value]


def devices(found: Iterable[dict[str, Any]]) -> str:
    """A row for each case of each board's `edgeface bench`."""
    head = ["device", "backend", "scenario", "case", "p50, ms", "p95, ms", "fps", "peak, MiB", "flags"]
    rows = [
        [
            device_line(record),
            f"{record['models']['backend']}, {_threads(record['models']['threads'])}",
            record["scenario"],
            case["name"],
            number(case["stages_ms"]["total"]["p50"]),
            number(case["stages_ms"]["total"]["p95"]),
            "-" if case["kind"] == "process" else number(case["fps"]),
            number(_peak(record, case)),
            ", ".join(record["flags"]) or "-",
        ]
        for record in _of(found, "edgeface.bench/1")
        for case in record["cases"]
    ]
    return _markdown(head, rows)


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _peak(record: dict[str, Any], case: dict[str, Any]) -> float | None:
    """Resident memory, MiB: of the largest process where each sample is one, else of the whole run."""
    sizes = case["extra"].get("peak_bytes") or [record["memory"]["peak_bytes"]]
    return max((size / 2**20 for size in sizes if size is not None), default=None)


def students(found: Iterable[dict[str, Any]]) -> str:
    """Each student under the roof of each machine."""
    head = ["machine", "student", "MMAC", "bare run, ms", "roof, ms", "times the roof"]
    rows = [
        [
            record["machine"]["board"] or record["machine"]["cpu"] or record["machine"]["architecture"],
            task,
            f"{told['macs'] / 1e6:.1f}",
            f"{told['ns'] / 1e6:.3f}",
            f"{told['roof_ns'] / 1e6:.3f}",
            f"{told['times_the_roof']:.2f}",
        ]
        for record in _of(found, "edgeface.benchmark.roofline/1")
        for task, told in record["students"].items()
    ]
    return _markdown(head, rows)


def _newest(schema: str, table: Callable[[dict[str, Any]], str]) -> Callable[[Iterable[dict[str, Any]]], str]:
    """The table of the newest result of a schema."""

    def made(found: Iterable[dict[str, Any]]) -> str:
        newest = max(_of(found, schema), key=lambda one: one["created"], default=None)
        return _NOTHING if newest is None else table(newest)

    return made


TABLES: dict[str, Callable[[Iterable[dict[str, Any]]], str]] = {
    "devices": devices,
    "peers": _newest("edgeface.benchmark.peers/1", peers.table),
    "live": _newest("edgeface.benchmark.live/1", live.table),
    "tracking": _newest("edgeface.benchmark.tracking/1", tracking.table),
    "flips": _newest("edgeface.benchmark.flips/1", flips.table),
    "candidates": _newest("edgeface.benchmark.candidates/1", candidates.table),
    "roofline": students,
    "x86-instructions": _newest("edgeface.benchmark.x86-instructions/1", counts.table),
}
"""Name between the marks -> what makes the table."""


def filled(text: str, found: Sequence[dict[str, Any]]) -> str:
    """A page with its tables made anew; marks of other names are left alone."""
    for name, made in TABLES.items():
        table = made(found)
        pattern = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- /table -->)", re.DOTALL)
        text = pattern.sub(lambda marks, table=table: f"{marks[1]}{table}\n{marks[2]}", text)
    return text


def _of(found: Iterable[dict[str, Any]], schema: str) -> list[dict[str, Any]]:
    return [record for record in found if record.get("schema") == schema]


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return _NOTHING
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check every result, then write the tables; 1 where a result is unsound or a checked page is old."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.published", description=(__doc__ or "").split("\n\n")[0]
    )
    default = "that of the results and that of the repository"
    parser.add_argument("pages", nargs="*", type=Path, default=PAGES, help=f"(default: {default})")
    parser.add_argument("--check", action="store_true", help="write nothing")
    asked = parser.parse_args(arguments)
    found = records()
    wrong = [fault for path, record in found.items() for fault in faults(path, record)]
    for page in asked.pages:
        text = page.read_text()
        made = filled(text, list(found.values())) if not wrong else text
        if made != text and asked.check:
            wrong.append(f"{page.name}: its tables are old; run python -m benchmarks.published {page.name}")
        elif made != text:
            page.write_text(made)
            print(f"written: {page}")
    for fault in wrong:
        print(fault, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
