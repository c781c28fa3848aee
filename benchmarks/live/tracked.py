"""What one more frame of a film costs: EdgeFace's tracker beside MediaPipe 0.10.14 FaceMesh in video mode.

Each round shows every variant the same stretch of each film, in a new random order; the next round goes on
where that one ended, so that both trackers live as they would before a camera. Each call is timed in its own
process, and its answer checked: who has lost a face has not tracked it.
"""

from __future__ import annotations

import random
import statistics
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks import samples
from benchmarks.errors import BenchmarkError
from benchmarks.peers.accuracy import missed
from benchmarks.process import Program, Side

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.live.clips import Film

__all__ = ["GOALS", "STRETCH", "VARIANTS", "Plan", "Tracked", "measure", "ratios"]

STRETCH = 15
"""Frames of a film in one round: half a second, in which EdgeFace's detector looks once."""

# variant -> (side, what it gives)
VARIANTS = {
    "tracked_landmarks": "edgeface",
    "tracked_all": "edgeface",
    "tracked_all_every_frame": "edgeface",  # the expression, too, which a tracker reads in every third
    "mediapipe_video": "mediapipe",
}
_PEER = "mediapipe_video"
_LEAST_FOUND = 0.9  # of the faces shown; either may lose one for a moment, whoever rests is not timed
_EARLY = 0.25  # of the rounds, until caches are full and memory is that of a tracker at work

# name -> (variant, faces, which frames, the ratio that we want at most)
GOALS: dict[str, tuple[str, int, str, float | None]] = {
    "landmarks_1_face": ("tracked_landmarks", 1, "tracked", 0.5),
    "all_1_face": ("tracked_all", 1, "tracked", 1.0),
    "landmarks_4_faces": ("tracked_landmarks", 4, "tracked", 0.7),
    # Without a goal: more than a tracker does unasked, what MediaPipe does not give, and the mean over all
    # frames, the detector's included.
    "all_every_frame_1_face": ("tracked_all_every_frame", 1, "tracked", None),
    "all_4_faces": ("tracked_all", 4, "tracked", None),
    "landmarks_0_faces_mean": ("tracked_landmarks", 0, "mean", None),
    "landmarks_1_face_mean": ("tracked_landmarks", 1, "mean", None),
    "all_1_face_mean": ("tracked_all", 1, "mean", None),
    "landmarks_4_faces_mean": ("tracked_landmarks", 4, "mean", None),
    "all_4_faces_mean": ("tracked_all", 4, "mean", None),
}


@dataclass(frozen=True)
class Plan:
    """How much is measured. `core` is the one core that both sides are pinned to."""

    rounds: int
    core: int
    seed: int = 0


@dataclass
class Tracked:
    """Raw numbers; the name of a row is that of a variant, an @ and how many faces the film shows.

    Attributes:
        latency_ns: row -> round -> frame.
        detected: row -> round -> frame: EdgeFace's detector looked at it. Of MediaPipe it is not known.
        found: row -> the share of the faces shown that it found.
        memory_bytes: side -> round: resident when it had ended.
        software: side -> versions.
    """

    latency_ns: dict[str, list[list[int]]] = field(default_factory=dict)
    detected: dict[str, list[list[bool]]] = field(default_factory=dict)
    found: dict[str, float] = field(default_factory=dict)
    memory_bytes: dict[str, list[int]] = field(default_factory=dict)
    software: dict[str, dict[str, Any]] = field(default_factory=dict)

    def tracked_ms(self, row: str) -> list[float]:
        """Per round, the mean of the frames that the detector did not look at.

        No median: in most of them no expression is read, and the others must count.
        """
        return [
            statistics.fmean([ns / 1e6 for ns, looked in zip(times, flags, strict=True) if not looked])
            for times, flags in zip(self.latency_ns[row], self.detected[row], strict=True)
        ]

    def mean_ms(self, row: str) -> list[float]:
        """Per round, the mean of all frames."""
        return [statistics.fmean(times) / 1e6 for times in self.latency_ns[row]]

    def growth_mib(self, side: str) -> float:
        """How much memory a side holds at the end beyond what it held after a quarter of the rounds."""
        held = self.memory_bytes[side]
        return (held[-1] - held[int(_EARLY * (len(held) - 1))]) / 2**20


def measure(
    programs: dict[str, Program], films: Sequence[Film], plan: Plan, tell: Callable[[str], None]
) -> Tracked:
    """Show the films to every side that there is.

    Args:
        programs: side -> what is started for it.
        films: with how many faces each.
        plan: how much.
        tell: shows progress.

    Raises:
        BenchmarkError: a side died, or found less than nine of ten faces.
    """
    measured = Tracked()
    order = random.Random(plan.seed)  # noqa: S311 - an order, not a secret
    turns = [(film, variant) for film in films for variant, side in VARIANTS.items() if side in programs]
    lost = dict.fromkeys(((_row(variant, film.faces)) for film, variant in turns), 0)
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(Side(program, films[0].frames[0], plan.core))
            for name, program in programs.items()
        }
        for number in range(plan.rounds + 1):
            tell(f"tracked: round {number} of {plan.rounds}")
            for film, variant in order.sample(turns, len(turns)):
                row = _row(variant, film.faces)
                times, flags, gone = _stretch(sides[VARIANTS[variant]], variant, film, number)
                if number:  # in the first one models load and faces are found
                    measured.latency_ns.setdefault(row, []).append(times)
                    measured.detected.setdefault(row, []).append(flags)
                    lost[row] += gone
            for name, side in sides.items():
                if number:
                    measured.memory_bytes.setdefault(name, []).append(side.ask({"do": "memory"})["now"])
        measured.software = {name: side.ask({"do": "about"}) for name, side in sides.items()}
    for film, variant in turns:
        row, shown = _row(variant, film.faces), film.faces * STRETCH * plan.rounds
        measured.found[row] = 1 - lost[row] / shown if shown else 1.0
        if measured.found[row] < _LEAST_FOUND:
            raise BenchmarkError(f"{row} found {measured.found[row]:.0%} of the faces: nothing to compare")
    return measured


def ratios(measured: Tracked) -> dict[str, dict[str, Any]]:
    """EdgeFace over MediaPipe on the same frames, of what was measured; below 1, EdgeFace is faster."""
    found = {}
    for name, (variant, faces, frames, most) in GOALS.items():
        ours, theirs = _row(variant, faces), _row(_PEER, faces)
        if not {ours, theirs} <= set(measured.latency_ns):
            continue
        of = measured.tracked_ms if frames == "tracked" else measured.mean_ms
        ratio = samples.ratio(of(ours), of(theirs))
        told = {"of": ours, "to": theirs, "frames": frames, **ratio.to_dict()}
        found[name] = told if most is None else {**told, "at_most": most, "met": ratio.value <= most}
    return found


def _row(variant: str, faces: int) -> str:
    return f"{variant}@{faces}"


def _asked(row: str) -> str:
    """What a side calls a row. MediaPipe is told how many faces there are: told more, it would look for them.

    Of none it takes no number; "01" is one face again, and another tracker than that of the film with one.
    """
    return row.replace("mediapipe_video@0", "mediapipe_video@01")


def _stretch(side: Side, variant: str, film: Film, number: int) -> tuple[list[int], list[bool], int]:
    """The times of a stretch, whether the detector looked, and how many faces were not found."""
    times, flags, lost = [], [], 0
    name = _asked(_row(variant, film.faces))
    for index in range(number * STRETCH, (number + 1) * STRETCH):
        at = index % len(film.frames)
        side.show(film.frames[at])
        answer = side.calls(name, warm_up=0, calls=1)
        times.append(answer["times_ns"][0])
        flags.append(bool(answer["seen"].get("detected", False)))
        lost += missed(answer["seen"], film.boxes[at])
    return times, flags, lost
