"""Executed instructions per student, stage and frame on emulated ARM boards, against the committed counts.

Run from a checkout, as root (`firmware.emulation` says what else it needs)::

    python -m benchmarks.arm_instructions --mesh face_landmarker.task --check

The counts are the same on every host. They are not times: a Pi's memory and caches are not in them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import frames
from benchmarks.arm_instructions import counts
from benchmarks.arm_instructions.board import Board, emulator_version, mesh_from, scratch
from benchmarks.errors import BenchmarkError
from firmware.emulation import machine, roots
from firmware.emulation.errors import EmulationError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BASELINE", "main"]

_ROOT = Path(__file__).resolve().parents[2]
BASELINE = _ROOT / "benchmarks" / "results" / "arm-instructions.json"
# The versions that the goldens were made with: another runtime executes something else.
_GOLDENS = _ROOT / "tests" / "golden" / "goldens.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, print the table, write or check; 1 where it could not be counted or the gate is shut."""
    asked = _arguments(arguments)
    try:
        result = _run(asked)
    except (BenchmarkError, EmulationError) as error:
        print(f"no result: {error}", file=sys.stderr)
        return 1
    print(counts.table(result))
    if asked.out:
        asked.out.write_text(json.dumps(result, indent=1) + "\n")
        print(f"\nwritten to {asked.out}")
    return _checked(result, asked.baseline) if asked.check else 0


def _checked(result: dict[str, Any], baseline: Path) -> int:
    before = json.loads(baseline.read_text())
    worse = counts.compare(result, before)
    for line in worse:
        print(line, file=sys.stderr)
    verdict = f"more than {counts.ALLOWED:.1%} above" if worse else f"within {counts.ALLOWED:.1%} of"
    print(f"\n{len(worse) or 'all'} counts are {verdict} {baseline.name}")
    if worse:
        print("where that is meant, write them anew with --out and say why in the commit", file=sys.stderr)
    return 1 if worse else 0


def _run(asked: argparse.Namespace) -> dict[str, Any]:
    import edgeface

    reason = roots.why_not() or machine.why_no_machine()
    if reason:
        raise EmulationError(reason)
    frame = frames.webcam_frame(edgeface.read_image(_ROOT / "examples" / "astronaut.jpg").rgb)
    made_with = json.loads(_GOLDENS.read_text())["made_with"]
    exactly = {name: version for name, version in made_with.items() if name != "machine"}
    others = {"MediaPipe face mesh": mesh_from(asked.mesh)} if asked.mesh else {}
    with scratch() as folder:
        board = Board.made(_ROOT, Path(folder), frame=frame, runs=asked.runs, exactly=exactly, others=others)
        counted = {}
        for core in asked.cores:
            counted[core] = board.count(core)
            print(f"{core}: counted", file=sys.stderr, flush=True)
        conditions = {
            "frame": {"what": frames.WHAT, "sha256": frames.digest(frame)},
            "faces": 1,
            "threads": 1,
            "runs": asked.runs,
            "kept": "the least of the runs",
            "kernel": board.kernel_version,
            "emulator": emulator_version(),
        }
    return counts.report(counted, conditions)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.arm_instructions", description=(__doc__ or "").split("\n\n")[0]
    )
    add = parser.add_argument
    add("--cores", nargs="+", default=list(roots.CORES), choices=roots.CORES)
    add("--runs", type=int, default=9, help="the least of so many counts is kept (default: 9)")
    add("--mesh", type=Path, help="MediaPipe's face mesh: a .tflite, .task or mediapipe .whl file")
    add("--out", type=Path, help="write the result here, as JSON")
    add("--check", action="store_true", help="fail where a count exceeds the committed one by 0.5 %%")
    add("--baseline", type=Path, default=BASELINE, help="the committed counts")
    parsed = parser.parse_args(arguments)
    if parsed.runs < 7:
        parser.error("--runs must be 7 or more: fewer have seen a spread of more than 0.001 %")
    return parsed


if __name__ == "__main__":
    sys.exit(main())
