"""Every operator of a student under the roof, and a whole frame beside the bare runs in it."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from benchmarks.roofline.graphs import operators
from benchmarks.roofline.peaks import call_of, least_ns
from edgeface.analyzer import TASKS, FaceAnalyzer
from edgeface.backends.base import create
from edgeface.benchmark.subject import Watched

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from benchmarks.roofline.peaks import Roof
    from edgeface.bundle import Bundle

__all__ = ["frame", "student", "students"]

_STAGES = ("detection", "landmarks", "parsing", "expression")


def student(content: bytes, roof: Roof, seconds: float) -> dict[str, Any]:
    """One student: its bare run, the least time that the roof allows, and the same of its operators.

    Every operator is timed as a model of its own, with its data in the caches: their sum leaves out what the
    whole pays for reading what the operator before has written.

    Args:
        content: its .tflite file.
        roof: what the machine reaches.
        seconds: how long each of them is timed.
    """
    rows = []
    for operator in operators(content):
        least = roof.least_ns(operator.macs, operator.bytes)
        rows.append(
            {
                "name": operator.name,
                "kind": operator.kind,
                "macs": operator.macs,
                "bytes": operator.bytes,
                "ns": least_ns(call_of(operator.model), seconds),
                "roof_ns": round(least),
            }
        )
    whole = least_ns(call_of(content), 10 * seconds)
    allowed = sum(row["roof_ns"] for row in rows)
    return {
        "macs": sum(row["macs"] for row in rows),
        "ns": whole,
        "operators_ns": sum(row["ns"] for row in rows),
        "roof_ns": allowed,
        "times_the_roof": round(whole / allowed, 3),
        "operators": rows,
    }


def frame(rgb: NDArray[np.uint8], rounds: int) -> dict[str, Any]:
    """A whole frame of one face with every student: the call, its stages, and the bare runs in them.

    Args:
        rgb: uint8 [H, W, 3].
        rounds: how many calls are timed. The least of each part is of that part: what disturbs a call
            seldom disturbs all of it.
    """
    watched = Watched(create("litert"))
    totals: list[int] = []
    bare: dict[str, list[int]] = {stage: [] for stage in _STAGES}
    stages: dict[str, list[int]] = {stage: [] for stage in _STAGES}
    with FaceAnalyzer(TASKS, max_faces=1, threads=1, backend=watched) as analyzer:
        for number in range(rounds + 10):
            watched.spent.clear()
            result = analyzer.analyze(rgb)
            if number < 10:
                continue
            totals.append(result.timings["total"])
            for stage in _STAGES:
                stages[stage].append(result.timings[stage])
                bare[stage].append(watched.spent[stage])
    sums = [sum(runs) for runs in zip(*bare.values(), strict=True)]
    least = {
        stage: {"bare": min(bare[stage]), "around": min(_differences(stages[stage], bare[stage]))}
        for stage in _STAGES
    }
    bare_least = sum(part["bare"] for part in least.values())
    around_least = sum(part["around"] for part in least.values()) + min(
        _differences(totals, [sum(parts) for parts in zip(*stages.values(), strict=True)])
    )
    return {
        "rounds": rounds,
        "faces": len(result.faces),
        "ns": {"median": statistics.median(totals), "min": min(totals)},
        "bare_ns": {"median": statistics.median(sums), "min": min(sums)},
        "times_the_bare_runs": {
            "median": round(statistics.median(t / s for t, s in zip(totals, sums, strict=True)), 3),
            "of_minima": round(1 + around_least / bare_least, 3),
        },
        "stages_ns": least,
    }


def _differences(wholes: list[int], parts: list[int]) -> list[int]:
    return [whole - part for whole, part in zip(wholes, parts, strict=True)]


def students(bundle: Bundle, roof: Roof, seconds: float) -> dict[str, dict[str, Any]]:
    """Every student of a bundle that LiteRT runs; the second detector is the first, turned."""
    return {
        task: student(bundle.artifact(bundle.model(task).artifact), roof, seconds)
        for task in _STAGES
        if task in bundle.models
    }
