"""What this machine's arithmetic and memory allow, and how near the students and a whole frame come to it.

Run from a checkout, on a quiet machine::

    python -m benchmarks.roofline --out benchmarks/results/roofline-BOARD.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

import edgeface
from benchmarks import frames, machine
from benchmarks.roofline import page, peaks, shares
from edgeface.bundle import Bundle

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SCHEMA", "main"]

SCHEMA = "edgeface.benchmark.roofline/1"
_ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, write the result and its page."""
    asked = _arguments(arguments)
    os.sched_setaffinity(0, {asked.core})
    cv2.setNumThreads(1)  # it resizes on every core that it may use
    try:
        found = _run(asked)
    except edgeface.EdgeFaceError as error:
        print(f"no result: {error}", file=sys.stderr)
        return 1
    print(page.markdown(found))
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(found, indent=1) + "\n")
        asked.out.with_suffix(".html").write_text(page.html(found))
        print(f"\nwritten to {asked.out} and {asked.out.with_suffix('.html')}")
    return 0


def _run(asked: argparse.Namespace) -> dict[str, Any]:
    bundle = Bundle.builtin()
    load, times = os.getloadavg()[0], machine.cpu_times()
    roof = peaks.measured(asked.seconds)
    students = shares.students(bundle, roof, asked.seconds)
    rgb = frames.webcam_frame(edgeface.read_image(_ROOT / "examples" / "astronaut.jpg").rgb)
    whole = shares.frame(rgb, asked.rounds)
    steal = machine.steal_share(times, machine.cpu_times())
    return {
        "schema": SCHEMA,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "conditions": {
            "frame": {"what": frames.WHAT, "sha256": frames.digest(rgb)},
            "threads": 1,
            "core": asked.core,
            "seconds_per_operator": asked.seconds,
            "load_average_before": round(load, 2),
            "steal_share": round(steal, 4),
        },
        "software": {"edgeface": edgeface.__version__, "bundle": bundle.digest},
        "roof": {
            "int8_gmacs": round(roof.int8 / 1e9, 3),
            "fp32_gmacs": round(roof.fp32 / 1e9, 3),
            "copy_gbytes": {_sized(size): round(fast / 1e9, 3) for size, fast in roof.bandwidth.items()},
        },
        "students": students,
        "frame": whole,
    }


def _sized(size: int) -> str:
    return f"{size >> 20} MiB" if size >> 20 else f"{size >> 10} KiB"


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.roofline", description=(__doc__ or "").split("\n\n")[0]
    )
    add = parser.add_argument
    add("--seconds", type=float, default=0.2, help="that each operator is timed (default: 0.2)")
    add("--rounds", type=int, default=300, help="whole frames (default: 300)")
    add("--core", type=int, default=max(os.sched_getaffinity(0)), help="everything runs on it")
    add("--out", type=Path, help="write the result here, as JSON, and its page beside it")
    parsed = parser.parse_args(arguments)
    if parsed.seconds <= 0 or parsed.rounds < 1:
        parser.error("--seconds must be more than 0, --rounds 1 or more")
    return parsed


if __name__ == "__main__":
    sys.exit(main())
