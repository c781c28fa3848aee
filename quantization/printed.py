"""What a grading found, for people: a table in the terminal, and its curves as pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .graded import Graded

__all__ = ["printed", "printed_robustness", "write_plots"]

_PER_CLASS = {"f1": "F1", "iou": "IoU", "recall": "recall"}


def printed(task: str, whose: str, graded: Graded) -> str:
    """The figures in the field's names: counts, headlines, then per class, then by subgroup."""
    from .student_plots import HEADLINES

    left = dict(graded.metrics)
    rows = []
    for key, what, up in HEADLINES[task]:
        if key in left:
            rows.append((what, f"{left.pop(key):.4f}", f"{'higher' if up else 'lower'} is better"))
    per_class = _per_class(graded, left)
    groups = list(_by_subgroup(graded.curves.get("subgroups", {}), left))
    others = [(name.replace("_", " "), _number(value)) for name, value in left.items()]
    lines = _aligned([*others, *rows, *per_class, *groups])
    return "\n".join([f"{task}, {whose}", *lines])


def printed_robustness(task: str, found: Mapping[str, Any]) -> str:
    """A row per kind of damage: each level with the figure there, and where the student breaks."""
    from .robustness import JUDGED, rows_of

    figure, what = JUDGED[task]
    rows = [("clean", f"{found['clean'][figure]:.4f}", "", "", "", "")]
    for name, levels, broken in rows_of(task, found):
        cells = [f"{level}: {'-' if value is None else f'{value:.4f}'}" for level, value in levels]
        rows.append((name, *(cells + [""] * (4 - len(cells))), broken))
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(
        [f"{task}, {what}, {found['pictures']} pictures", *(f"  {line}".rstrip() for line in lines)]
    )


def write_plots(folder: Path, task: str, whose: str, graded: Graded) -> list[Path]:
    """Writes a PNG of every curve that the grading has, and their numbers into ``curves.json``; returns them.

    The same that `report` shows, of one subject: the cumulative errors, precision over recall, confusion.
    """
    from .evaluate import record
    from .plots import draw
    from .student_plots import graded_plots

    record(folder / "curves.json", task, whose, graded.curves)
    written = [folder / "curves.json"]
    # A name as long as a panel's has no place in a legend; whose the curves are their file says.
    for plot in graded_plots(task, {"graded": graded.metrics}, {"graded": graded.curves}):
        written.append(folder / f"{plot.name}.png")
        written[-1].write_bytes(draw(plot))
    return written


def _per_class(graded: Graded, left: dict[str, float]) -> list[Sequence[str]]:
    """A row per class, taken out of ``left``; nothing where the task has no classes."""
    classes = graded.curves.get("classes", ())
    kinds = [kind for kind in _PER_CLASS if any(f"{kind}_{name}" in left for name in classes)]
    if not kinds:
        return []
    rows: list[Sequence[str]] = [("class", *(_PER_CLASS[kind] for kind in kinds))]
    for name in classes:
        values = [left.pop(f"{kind}_{name}", None) for kind in kinds]
        rows.append((name, *("-" if value is None else f"{value:.4f}" for value in values)))
    return rows


def _by_subgroup(groups: Mapping[str, Mapping[str, Any]], left: dict[str, float]) -> Iterator[Sequence[str]]:
    for by, bins in groups.items():
        for name, values in bins.items():
            (figure,) = values.keys() - {"count"}
            left.pop(f"{figure}_{by}_{name}", None)
            what = f"{figure.replace('_', ' ')}, {by} {name.replace('_', '-')}"
            yield what, f"{values[figure]:.4f}", f"of {values['count']}"


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.4f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns: words to the left, numbers to the right, what comes behind the first number as it is."""
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    return [
        f"  {row[0]:<{first}}  {row[1]:>{second}}" + "".join(f"  {cell:>6}" for cell in row[2:])
        for row in rows
    ]
