"""The result as it is written, the gate against an earlier one, and the table."""

from __future__ import annotations

import datetime
from typing import Any

__all__ = ["ALLOWED", "SCHEMA", "cells", "compare", "report", "table"]

SCHEMA = "edgeface.benchmark.arm-instructions/1"

ALLOWED = 0.005
"""Share by which a count may exceed the committed one: repeats agree to about a hundredth of that."""

# Python's own work, of which a scheduler tick more or less is a large share: they are gated by their sum.
_SUMMED = ("crop", "pre-processing", "decode")


def report(counted: dict[str, dict[str, Any]], conditions: dict[str, Any]) -> dict[str, Any]:
    """Put what every core told into one result.

    Args:
        counted: core -> what `inside.py` printed there.
        conditions: what else a reader must know to count the same.
    """
    first = next(iter(counted.values()))
    return {
        "schema": SCHEMA,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "unit": "executed instructions",
        "conditions": conditions,
        "software": {name: first[name] for name in ("bundle", "python", "libraries")},
        "instructions": {
            core: {part: told[part] for part in ("students", "frames", "others")}
            for core, told in counted.items()
        },
    }


def cells(result: dict[str, Any]) -> dict[tuple[str, str, str], int]:
    """(core, what, stage) -> instructions, of every count of a result; a whole frame's stage is ``whole``."""
    found: dict[tuple[str, str, str], int] = {}
    for core, parts in result["instructions"].items():
        for name, stages in {**parts["students"], **parts["others"]}.items():
            found |= {(core, name, stage): count for stage, count in stages.items()}
        found |= {(core, name, "whole"): count for name, count in parts["frames"].items()}
    return found


def compare(now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """What costs more than ``before`` by more than `ALLOWED`, or is gone, in words; empty when all is well.

    Of a student, `invoke` is compared by itself and the three stages in Python by their sum. What only one
    of both has counted on purpose (a core, a network to compare with) is not compared.
    """
    told = []
    new, old = _gated(now), _gated(before)
    shared = {core for core, *_ in new} & {core for core, *_ in old}
    for cell, was in old.items():
        core, name, stage = cell
        if core not in shared or (name in _others(before) and name not in _others(now)):
            continue
        if cell not in new:
            told.append(f"{core}, {name}, {stage}: was {was}, is not counted any more")
        elif new[cell] > was * (1 + ALLOWED):
            told.append(f"{core}, {name}, {stage}: {was} -> {new[cell]} (+{new[cell] / was - 1:.2%})")
    return told


def table(result: dict[str, Any]) -> str:
    """Millions of executed instructions, a column per core (Markdown)."""
    cores = list(result["instructions"])
    counts = cells(result)
    lines = [f"| millions of instructions | {' | '.join(cores)} |", "|---|" + "---|" * len(cores)]
    for name, stage in dict.fromkeys((name, stage) for _, name, stage in counts):
        values = [counts.get((core, name, stage)) for core in cores]
        shown = ["-" if value is None else f"{value / 1e6:.3f}" for value in values]
        lines.append(f"| {name}, {stage} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _gated(result: dict[str, Any]) -> dict[tuple[str, str, str], int]:
    found: dict[tuple[str, str, str], int] = {}
    for (core, name, stage), count in cells(result).items():
        cell = (core, name, " + ".join(_SUMMED) if stage in _SUMMED else stage)
        found[cell] = found.get(cell, 0) + count
    return found


def _others(result: dict[str, Any]) -> set[str]:
    return {name for parts in result["instructions"].values() for name in parts["others"]}
