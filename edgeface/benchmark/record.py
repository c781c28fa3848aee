"""The record of a benchmark: one JSON object with everything in it, and where it is written and read.

``schema.json`` beside this file is its schema, and its ``$defs`` tell what each value means.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import json
import os
import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any

from edgeface.benchmark import pictures
from edgeface.benchmark.statistics import spread
from edgeface.errors import ArgumentError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeface.benchmark.run import Run
    from edgeface.benchmark.samples import Series
    from edgeface.results import Ran

__all__ = ["SCHEMA", "assemble", "csv_text", "flags_of", "load", "save"]

SCHEMA = "edgeface.bench/1"

_MOST_BYTES = 1 << 30
_RUNTIMES = (
    "ai-edge-litert",
    "tflite-runtime",
    "onnxruntime",
    "onnxruntime-gpu",
    "numpy",
    "opencv-python-headless",
)
_SPREAD, _STEAL, _OTHERS = 0.2, 0.02, 0.1  # above: noisy
_WARM_DEVICE = 300.0  # seconds of work after which a device is as hot as it gets, or nearly so
_CLOCK_LOST = 0.95  # a clock that ends below this part of its highest was taken back


def assemble(
    run: Run,
    version: str,
    settings: dict[str, Any],
    device: dict[str, Any],
    answers: dict[str, dict[str, str]],
    *,
    interrupted: bool,
) -> dict[str, Any]:
    """Put together what was measured; see ``schema.json``."""
    conditions = run.gauge.conditions()
    memory = {**run.gauge.memory(), "samples_bytes": sum(case.size for case in run.cases)}
    seconds = round(run.gauge.timeline[-1]["seconds"], 3) if run.gauge.timeline else 0.0
    flags = flags_of(run.cases, run.ran, conditions, run.gauge.timeline, seconds)
    if any(answer["result"] == "unchecked" for answer in answers.values()):
        flags.append("unchecked")
    return {
        "schema": SCHEMA,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "scenario": run.asked.scenario,
        "interrupted": interrupted,
        "seconds": seconds,
        "flags": flags,
        "settings": settings,
        "picture": {
            "what": run.sitter.what,
            "width": pictures.WIDTH,
            "height": pictures.HEIGHT,
            "sha256": pictures.digest(run.scenes),
        },
        "device": device,
        "software": _software(version),
        "models": run.subject.describe(run.ran),
        "answers": answers,
        "conditions": conditions,
        "memory": memory,
        "timeline": run.gauge.timeline,
        "results": run.results,
        "cases": [case.to_dict() for case in run.cases],
    }


def flags_of(
    cases: list[Series],
    ran: dict[str, Ran],
    conditions: dict[str, Any],
    timeline: list[dict[str, Any]],
    seconds: float,
) -> list[str]:
    """What a reader must know before the numbers: throttled, noisy, cpu_fallback, cold; in this order.

    throttled: the firmware or the CPU said so while it was measured, or the clock fell by 5 % under load.
    noisy: a case's interquartile range is above 20 % of its median, or other machines (2 %) or processes
    (10 % of all cores) took time. cpu_fallback: the CPU stood in, operators were left to it, or LiteRT ran
    without XNNPACK. cold: less than five minutes of work, so a warm device may be slower.
    """
    flags = []
    if _throttled(conditions, timeline):
        flags.append("throttled")
    steal, others = conditions["steal_share"] or 0.0, conditions["others_share"] or 0.0
    uneven = any(spread(case.milliseconds()) > _SPREAD for case in cases if case.kind == "call")
    if uneven or steal > _STEAL or others > _OTHERS:
        flags.append("noisy")
    if any(_fell_back(told) for told in ran.values()):
        flags.append("cpu_fallback")
    if seconds < _WARM_DEVICE:
        flags.append("cold")
    return flags


def _throttled(conditions: dict[str, Any], timeline: list[dict[str, Any]]) -> bool:
    before, after = conditions["before"], conditions["after"]
    states = [state.get("throttled") for state in (before, after)]
    said = any(state and state["now"] for state in states) or any(entry["throttled"] for entry in timeline)
    # Its memory since boot tells what fell between two readings, unless it had happened before.
    since = [set(state["since_boot"]) for state in states if state]
    anew = len(since) == 2 and bool(since[1] - since[0])
    counts = [state.get("throttle_count") for state in (before, after)]
    counted = None not in counts and counts[1] > counts[0]
    clocks = [entry["clock_mhz"] for entry in timeline if entry["clock_mhz"] is not None]
    # The median of the last tenth: one slow reading between two frames is no throttling.
    last = sorted(clocks[-max(1, len(clocks) // 10) :])
    fell = len(clocks) >= 60 and last[len(last) // 2] < _CLOCK_LOST * max(clocks)
    return bool(said or anew or counted or fell)


def _fell_back(ran: Ran) -> bool:
    plain = ran.backend.rpartition(":")[2] == "litert" and ran.delegate is None
    return ran.degraded or bool(ran.cpu_operators) or plain


def _software(version: str) -> dict[str, str]:
    found = {"edgeface": version, "python": platform.python_version()}
    for name in _RUNTIMES:
        with contextlib.suppress(metadata.PackageNotFoundError):  # most machines have one runtime
            found[name] = metadata.version(name)
    return found


def save(path: Path, text: str) -> None:
    """Write a file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)  # noqa: PTH105  the same as Path.replace, without its second stat
    finally:
        part.unlink(missing_ok=True)


def load(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        ArgumentError: it is not there, or not a record of this version.
    """
    try:
        with path.open("rb") as file:
            record = json.loads(file.read(_MOST_BYTES))
    except OSError as error:
        raise ArgumentError(
            f"{path}: cannot be read ({error.strerror}); name a file of `edgeface bench --json`"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"{path}: is not JSON; name a file of `edgeface bench --json`") from error
    found = record.get("schema") if isinstance(record, dict) else None
    if found != SCHEMA:
        raise ArgumentError(f"{path}: follows {found!r}, this version of EdgeFace reads {SCHEMA}")
    try:
        for case in record["cases"]:
            total = case["raw_ns"]["total"]
            if not all(isinstance(value, int) and value >= 0 for value in total) or not isinstance(
                case["name"], str
            ):
                raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise ArgumentError(f"{path}: its samples are damaged; measure again") from error
    return dict(record)


def csv_text(record: dict[str, Any]) -> str:
    """Every raw sample: one row per call and stage, nanoseconds."""
    written = io.StringIO()
    rows = csv.writer(written, lineterminator="\n")
    rows.writerow(("case", "call", "at_ns", "stage", "ns"))
    for case in record["cases"]:
        stages = {stage: values for stage, values in case["raw_ns"].items() if stage != "at"}
        for call, at in enumerate(case["raw_ns"]["at"]):
            for stage, values in stages.items():
                if values[call] is not None:
                    rows.writerow((case["name"], call, at, stage, values[call]))
    return written.getvalue()
