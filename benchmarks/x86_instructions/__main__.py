"""Executed instructions per student, stage and frame on x86-64, against the committed counts.

Run from a checkout, with valgrind installed (``apt-get install valgrind``)::

    python -m benchmarks.x86_instructions --check
    python -m benchmarks.x86_instructions --out benchmarks/results/x86-instructions.json

A busy machine counts the same as a quiet one. Counts are not times, and those of one processor are another's
only where XNNPACK, OpenCV and NumPy choose the same kernels: valgrind shows them AVX2 and nothing newer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import frames, machine
from benchmarks.arm_instructions import counts
from benchmarks.errors import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BASELINE", "CORE", "SCHEMA", "counted", "main", "unlike"]

SCHEMA = "edgeface.benchmark.x86-instructions/1"
CORE = "x86-64 with AVX2"
_ROOT = Path(__file__).resolve().parents[2]
BASELINE = _ROOT / "benchmarks" / "results" / "x86-instructions.json"
_INSIDE = Path(__file__).with_name("inside.py")


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, print the table, write or check; 1 where it could not be counted or the gate is shut."""
    asked = _arguments(arguments)
    try:
        found = _run(asked.runs)
        before = json.loads(asked.baseline.read_text()) if asked.check else None
    except (BenchmarkError, OSError) as error:
        print(f"no result: {error}", file=sys.stderr)
        return 1
    print(counts.table(found))
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n")
        print(f"\nwritten to {asked.out}")
    return 0 if before is None else _checked(found, before)


def unlike(now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """What else than our own code may have changed the counts, one line each."""
    pairs = [
        (name, now[part][name], before[part][name])
        for part, names in (("software", ("python", "libraries")), ("conditions", ("valgrind", "processor")))
        for name in names
    ]
    return [f"{name}: {early} -> {late}" for name, late, early in pairs if late != early]


def counted(frame: np.ndarray, runs: int) -> dict[str, Any]:
    """What `inside.py` tells under callgrind.

    Args:
        frame: uint8 [H, W, 3] RGB with one face.
        runs: how often everything is counted; the least is kept.

    Raises:
        BenchmarkError: there is no valgrind, this is no x86-64 with AVX2, or nothing was counted.
    """
    if shutil.which("valgrind") is None:
        raise BenchmarkError("valgrind is not installed: apt-get install valgrind")
    if "avx2" not in machine.describe()["instructions"]:
        raise BenchmarkError("the counts are of x86-64 with AVX2, and this processor is none")
    with tempfile.TemporaryDirectory() as scratch:
        np.save(f"{scratch}/frame.npy", frame)
        out = f"{scratch}/callgrind.out"
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
        command += [sys.executable, str(_INSIDE), out, f"{scratch}/frame.npy", str(runs)]
        environment = {
            **os.environ,
            "PYTHONPATH": str(_ROOT),
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    try:
        told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise BenchmarkError(f"valgrind told no counts:\n{done.stderr[-1500:]}") from error
    return told


def _checked(found: dict[str, Any], before: dict[str, Any]) -> int:
    others = unlike(found, before)
    if others:  # counts of other libraries or another processor: nobody can say whose the difference is
        print("\nnot compared, because this is not what the committed counts are of:")
        print("\n".join(others))
        return 0
    worse = counts.compare(found, before)
    for line in worse:
        print(line, file=sys.stderr)
    print(f"\n{len(worse) or 'all'} counts are {'above' if worse else 'within'} {counts.ALLOWED:.1%}")
    if worse:
        print("where that is meant, write them anew with --out and say why in the commit", file=sys.stderr)
    return 1 if worse else 0


def _run(runs: int) -> dict[str, Any]:
    import edgeface

    frame = frames.webcam_frame(edgeface.read_image(_ROOT / "examples" / "astronaut.jpg").rgb)
    told = counted(frame, runs)
    version = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True).stdout
    conditions = {
        "frame": {"what": frames.WHAT, "sha256": frames.digest(frame)},
        "faces": 1,
        "threads": 1,
        "runs": runs,
        "kept": "the least of the runs",
        "valgrind": version.strip(),
        "processor": machine.describe()["cpu"] or platform.machine(),
    }
    return {**counts.report({CORE: told}, conditions), "schema": SCHEMA}


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.x86_instructions", description=(__doc__ or "").split("\n\n")[0]
    )
    add = parser.add_argument
    add("--runs", type=int, default=9, help="the least of so many counts is kept (default: 9)")
    add("--out", type=Path, help="write the result here, as JSON")
    add("--check", action="store_true", help="fail where a count exceeds the committed one by 0.5 %%")
    add("--baseline", type=Path, default=BASELINE, help="the committed counts")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
