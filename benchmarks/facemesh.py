"""EdgeFace against MediaPipe 0.10.14 FaceMesh: one frame, one core, one thread each, interleaved in one run.

Every round asks each variant, in a new random order, for one untimed and a few timed calls. Each side is a
process of its own that times its own calls, so the pipe between them costs neither anything. The answers of
every round are checked: a side that finds no face ends the run, and no result is written. Cold start and
memory come from whole processes, interleaved likewise: started, first result, then fifty more calls.

Run from a checkout, on a quiet machine::

    python -m benchmarks.facemesh --rounds 200 --out benchmarks/results/facemesh-BOARD.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import statistics
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import checks, environments, frames, machine, samples
from benchmarks.errors import BenchmarkError
from benchmarks.process import Program, Side

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["COLD", "GOALS", "SCHEMA", "VARIANTS", "Measured", "main", "measure", "report"]

SCHEMA = "edgeface.benchmark.facemesh/1"
_ROOT = Path(__file__).resolve().parents[1]

# variant -> side
VARIANTS = {
    "edgeface_landmarks": "edgeface",
    "edgeface_all": "edgeface",
    "mediapipe_static": "mediapipe",
    "mediapipe_video": "mediapipe",
}
COLD = ("edgeface_landmarks", "edgeface_all", "mediapipe_static")

# name -> (what is compared, of which variant, with which variant, the ratio we want at most)
GOALS: dict[str, tuple[str, str, str, float]] = {
    "detect_and_landmarks": ("latency", "edgeface_landmarks", "mediapipe_static", 0.6),
    "detect_and_all_three": ("latency", "edgeface_all", "mediapipe_static", 1.0),
    "cold_start": ("first_result", "edgeface_all", "mediapipe_static", 0.35),
    "peak_memory": ("peak_memory", "edgeface_all", "mediapipe_static", 0.7),
}
# Ratios without a goal: MediaPipe's tracking skips the detector, EdgeFace here never does.
_FURTHER = {
    "landmarks_to_video_mode": ("latency", "edgeface_landmarks", "mediapipe_video"),
    "all_three_to_video_mode": ("latency", "edgeface_all", "mediapipe_video"),
    "cold_start_landmarks_only": ("first_result", "edgeface_landmarks", "mediapipe_static"),
    "peak_memory_landmarks_only": ("peak_memory", "edgeface_landmarks", "mediapipe_static"),
}


@dataclass
class Measured:
    """Raw numbers of a run, each list in the order of the rounds."""

    latency_ns: dict[str, list[list[int]]] = field(default_factory=lambda: {name: [] for name in VARIANTS})
    first_result_ns: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in COLD})
    peak_memory_bytes: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in COLD})
    agreement: dict[str, float] = field(default_factory=dict)
    software: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """How much is measured. `core` is the one core that every side is pinned to."""

    rounds: int
    calls: int
    warm_up: int
    cold_rounds: int
    core: int
    seed: int = 0


def measure(programs: dict[str, Program], frame: NDArray[np.uint8], plan: Plan) -> Measured:
    """Run every variant and every cold start as planned.

    Raises:
        BenchmarkError: a side died or its answer is not the face in the frame.
    """
    measured = Measured()
    order = random.Random(plan.seed)  # noqa: S311 - an order, not a secret
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(Side(program, frame, plan.core)) for name, program in programs.items()
        }
        for variant, side in VARIANTS.items():  # opens the variant; models load and caches fill here
            sides[side].calls(variant, warm_up=20, calls=1)
        for _ in range(plan.rounds):
            _one_round(sides, measured, plan, order)
        measured.software = {name: side.ask({"do": "about"}) for name, side in sides.items()}
    for number in range(plan.cold_rounds + 1):
        for variant in order.sample(COLD, len(COLD)):
            first_ns, peak = _whole_process(programs[VARIANTS[variant]], frame, variant, plan.core)
            if (
                number
            ):  # the first one fills the disk cache and writes byte code, as an installation's first use does
                measured.first_result_ns[variant].append(first_ns)
                measured.peak_memory_bytes[variant].append(peak)
    return measured


def _one_round(sides: dict[str, Side], measured: Measured, plan: Plan, order: random.Random) -> None:
    seen = {}
    for variant in order.sample(sorted(VARIANTS), len(VARIANTS)):
        answer = sides[VARIANTS[variant]].calls(variant, warm_up=plan.warm_up, calls=plan.calls)
        checks.check_alone(variant, answer["seen"])
        seen[variant] = answer["seen"]
        measured.latency_ns[variant].append(answer["times_ns"])
    for variant in ("edgeface_landmarks", "edgeface_all"):
        measured.agreement = checks.check_agreement(seen[variant], seen["mediapipe_static"])


def _whole_process(program: Program, frame: NDArray[np.uint8], variant: str, core: int) -> tuple[int, int]:
    """Time from process start to the first result in ns; the peak of resident memory after 50 calls more."""
    with Side(program, frame, core) as side:
        first = side.calls(variant, warm_up=0, calls=1)
        checks.check_alone(variant, first["seen"])
        side.calls(variant, warm_up=0, calls=50)
        return first["clock_ns"] - side.started_ns, side.ask({"do": "memory"})["peak"]


def report(measured: Measured, conditions: dict[str, Any], description: dict[str, Any]) -> dict[str, Any]:
    """The result as it is written; `facemesh.schema.json` describes it."""
    per_round = {
        "latency": {
            name: [statistics.median(calls) / 1e6 for calls in rounds]
            for name, rounds in measured.latency_ns.items()
        },
        "first_result": {name: [ns / 1e6 for ns in runs] for name, runs in measured.first_result_ns.items()},
        "peak_memory": {
            name: [size / 2**20 for size in runs] for name, runs in measured.peak_memory_bytes.items()
        },
    }

    def compare(what: str, ours: str, theirs: str) -> dict[str, Any]:
        found = samples.ratio(per_round[what][ours], per_round[what][theirs])
        return {"what": what, "of": ours, "to": theirs, **found.to_dict()}

    compared = {name: terms[:3] for name, terms in GOALS.items()} | _FURTHER
    ratios = {name: compare(*terms) for name, terms in compared.items()}
    noisy = any(samples.spread(values) > 0.2 for values in per_round["latency"].values())
    return {
        "schema": SCHEMA,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": description,
        "conditions": conditions,
        "software": measured.software,
        "flags": ["noisy"] if noisy or conditions["steal_share"] > 0.02 else [],
        "agreement": measured.agreement,
        "ratios": ratios,
        "goals": {
            name: {"at_most": most, "met": ratios[name]["value"] <= most}
            for name, (*_, most) in GOALS.items()
        },
        "latency_ms": {
            name: samples.summary([ns / 1e6 for calls in rounds for ns in calls])
            for name, rounds in measured.latency_ns.items()
        },
        "first_result_ms": {name: samples.summary(runs) for name, runs in per_round["first_result"].items()},
        "peak_memory_mib": {name: samples.summary(runs) for name, runs in per_round["peak_memory"].items()},
        "raw": {
            "latency_ns": measured.latency_ns,
            "first_result_ns": measured.first_result_ns,
            "peak_memory_bytes": measured.peak_memory_bytes,
        },
    }


def _table(result: dict[str, Any]) -> str:
    lines = [f"{'variant':<22}{'median ms':>11}{'p95':>9}{'min':>9}{'cold ms':>10}{'peak MiB':>10}"]
    for name, latency in result["latency_ms"].items():
        line = f"{name:<22}{latency['median']:>11.3f}{latency['p95']:>9.3f}{latency['min']:>9.3f}"
        if name in result["first_result_ms"]:
            cold, memory = (
                result["first_result_ms"][name]["median"],
                result["peak_memory_mib"][name]["median"],
            )
            line += f"{cold:>10.0f}{memory:>10.0f}"
        lines.append(line)
    lines.append("")
    for name, found in result["ratios"].items():
        goal = result["goals"].get(name)
        verdict = f"   goal {goal['at_most']:.2f}: {'met' if goal['met'] else 'MISSED'}" if goal else ""
        lines.append(f"{name:<28}{found['value']:>7.3f}  [{found['low']:.3f}, {found['high']:.3f}]{verdict}")
    if result["flags"]:
        lines.append(f"\nflags: {', '.join(result['flags'])}")
    return "\n".join(lines)


def _commit() -> str | None:
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.facemesh", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=200, help="interleaved rounds (default: 200)")
    parser.add_argument("--calls", type=int, default=3, help="timed calls per variant and round (default: 3)")
    parser.add_argument(
        "--cold-rounds", type=int, default=15, help="whole processes per variant (default: 15)"
    )
    parser.add_argument("--out", type=Path, help="write the result here, as JSON")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="pin both sides to it")
    parser.add_argument("--bundle", type=Path, help="a bundle of students instead of the built-in one")
    parser.add_argument(
        "--cache",
        type=Path,
        default=environments.default_cache(),
        help="where MediaPipe's environment is kept",
    )
    parser.add_argument("--mediapipe-python", type=Path, help="a Python that has mediapipe==0.10.14 already")
    parsed = parser.parse_args(arguments)
    if min(parsed.rounds, parsed.calls, parsed.cold_rounds) < 1:
        parser.error("--rounds, --calls and --cold-rounds must be 1 or more")
    return parsed


def _run(asked: argparse.Namespace) -> dict[str, Any]:
    import edgeface

    frame = frames.webcam_frame(edgeface.read_image(_ROOT / "examples" / "astronaut.jpg").rgb)
    bundle = [str(asked.bundle.resolve())] if asked.bundle else []
    peer = asked.mediapipe_python or environments.MEDIAPIPE.interpreter(asked.cache)
    programs = {
        "edgeface": Program("EdgeFace", Path(sys.executable), "edgeface_side.py", bundle),
        "mediapipe": Program("MediaPipe", peer, "mediapipe_side.py"),
    }
    plan = Plan(asked.rounds, asked.calls, 1, asked.cold_rounds, asked.core)
    load, times = os.getloadavg()[0], machine.cpu_times()
    measured = measure(programs, frame, plan)
    conditions = {
        "frame": {"what": frames.WHAT, "sha256": frames.digest(frame)},
        "faces": 1,
        "threads": 1,
        "core": plan.core,
        "rounds": plan.rounds,
        "timed_calls_per_round": plan.calls,
        "untimed_calls_per_round": plan.warm_up,
        "cold_rounds": plan.cold_rounds,
        "load_average_before": round(load, 2),
        "steal_share": round(machine.steal_share(times, machine.cpu_times()), 4),
        "commit": _commit(),
    }
    return report(measured, conditions, machine.describe())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the result; 1 when a side fails, and then nothing is written."""
    asked = _arguments(arguments)
    try:
        result = _run(asked)
    except BenchmarkError as error:
        print(f"no result: {error}", file=sys.stderr)
        return 1
    print(_table(result))
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(result, indent=1) + "\n")
        print(f"\nwritten to {asked.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
