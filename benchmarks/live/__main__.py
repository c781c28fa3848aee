"""Live: a followed frame beside MediaPipe 0.10.14 in video mode, and from the camera to a browser's page.

Run from a checkout, on a quiet machine; about six minutes. The first run makes MediaPipe's environment in the
user's cache and needs the network for that; the second half needs playwright and a Chromium::

    python -m benchmarks.live --out benchmarks/results/live-BOARD.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import edgeface
from benchmarks import environments, frames, machine
from benchmarks.errors import BenchmarkError
from benchmarks.live import clips, result, tracked, watched
from benchmarks.process import Program, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_ROOT = Path(__file__).resolve().parents[2]
_HALVES = ("tracked", "watched")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, write the result; 1 when a half fails, and then nothing is written."""
    asked = _arguments(arguments)
    try:
        found = _run(asked)
    except (BenchmarkError, edgeface.EdgeFaceError) as error:
        print(f"no result: {error}", file=sys.stderr)
        return 1
    print(result.table(found))
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(found, indent=1) + "\n")
        print(f"\nwritten to {asked.out}")
    return 0


def _run(asked: argparse.Namespace) -> dict[str, Any]:
    photo = edgeface.read_image(asked.photo).rgb
    load, times = os.getloadavg()[0], machine.cpu_times()
    first = second = None
    with tempfile.TemporaryDirectory() as scratch:
        films = [clips.make(photo, faces, Path(scratch)) for faces in clips.FACES]
        if "tracked" in asked.only:
            plan = tracked.Plan(asked.rounds, asked.core)
            first = tracked.measure(_programs(asked), films, plan, tell)
        if "watched" in asked.only:
            second = watched.measure(films, asked.watched_rounds, asked.seconds, tell)
    conditions = {
        "films": {
            "what": clips.WHAT,
            "sha256": {str(film.faces): frames.digest(np.stack(film.frames)) for film in films},
        },
        "threads": 1,
        "core": asked.core,
        "rounds": asked.rounds,
        "frames_per_round": tracked.STRETCH,
        "watched_rounds": asked.watched_rounds,
        "watched_seconds": asked.seconds,
        "load_average_before": round(load, 2),
        "steal_share": round(machine.steal_share(times, machine.cpu_times()), 4),
    }
    return result.report(first, second, conditions, machine.describe())


def _programs(asked: argparse.Namespace) -> dict[str, Program]:
    programs = {"edgeface": Program("EdgeFace", Path(sys.executable), "tracker_side.py")}
    if not asked.alone:
        python = asked.mediapipe_python or environments.MEDIAPIPE.interpreter(asked.cache)
        programs["mediapipe"] = Program("MediaPipe", python, "mediapipe_side.py")
    return programs


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.live", description=(__doc__ or "").split("\n\n")[0]
    )
    add = parser.add_argument
    add("--photo", type=Path, default=_ROOT / "examples" / "astronaut.jpg", help="one face")
    add("--only", nargs="+", choices=_HALVES, default=list(_HALVES), help="one half alone")
    add("--rounds", type=int, default=100, help="of half a second of each film (default: 100)")
    add("--watched-rounds", type=int, default=3, help="of each film at each rate (default: 3)")
    add("--seconds", type=float, default=8.0, help="that each is watched in a round (default: 8)")
    add("--alone", action="store_true", help="leave MediaPipe out")
    add("--core", type=int, default=max(os.sched_getaffinity(0)), help="both trackers are pinned to it")
    add("--cache", type=Path, default=environments.default_cache(), help="where environments are kept")
    add("--mediapipe-python", type=Path, help="a Python that has mediapipe==0.10.14 already")
    add("--out", type=Path, help="write the result here, as JSON")
    parsed = parser.parse_args(arguments)
    if min(parsed.rounds, parsed.watched_rounds) < 1 or not parsed.seconds > 0:
        parser.error("--rounds and --watched-rounds must be 1 or more, --seconds above 0")
    return parsed


if __name__ == "__main__":
    sys.exit(main())
