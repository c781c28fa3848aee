"""The sides of one run, timed in turns on the same frames.

Every round shows every frame, and every variant answers it once, in a new random order: one untimed call,
then a few timed ones. A variant that does not find every face shown has no result on that frame; a side that
dies has none at all, and the others go on.
"""

from __future__ import annotations

import random
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.errors import BenchmarkError
from benchmarks.peers.accuracy import Judged, missed
from benchmarks.process import PATIENCE, Program, Side

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from benchmarks.peers.peer import Peer, Variant

__all__ = ["CROP", "FACE", "Measured", "Plan", "Shown", "measure"]

CROP = "crop"
"""The frame of variants that give "network": the first frame's face, cut out."""

FACE = "given face"
"""The frame of variants that give "expression": the first frame, and where its face is."""

_ALONE = {"network": CROP, "expression": FACE}
_MOST_APART = 1.0  # pixels of the crop of 112: int8 and float differ by rounding
_ROUNDING = 1e-3  # of float32 scores
_PROCESS = "a whole process"
_MORE_CALLS = 20  # of a process whose memory is looked at


@dataclass(frozen=True)
class Shown:
    """A frame, uint8 [H, W, 3] RGB, and what is known of it.

    Attributes:
        boxes: Of the faces in it: x, y, width, height; none of a crop.
        offsets: Of a crop, where EdgeFace's points are from their mean, pixels of the crop.
        unit: Pixels of the crop in one unit of the network's answer.
        box: Of the face that the variants are told of; none where they look for faces themselves.
        expression: What everybody sees in that face.
    """

    rgb: NDArray[np.uint8]
    boxes: tuple[tuple[float, ...], ...]
    offsets: tuple[float, ...] = ()
    unit: float = 1.0
    box: tuple[float, ...] = ()
    expression: str = ""

    def wrong(self, seen: dict[str, Any]) -> str:
        """What is wrong with an answer, in words; empty when nothing is."""
        lost = missed(seen, self.boxes)
        if lost:
            return f"found {len(self.boxes) - lost} of {len(self.boxes)} faces"
        if self.offsets:
            pairs = zip(seen["offsets"], self.offsets, strict=True)
            off = sum(abs(theirs * self.unit - ours) for theirs, ours in pairs) / len(self.offsets)
            if not off < _MOST_APART:
                return f"its points are {off:.1f} px from those of LiteRT"
        return self._misread(seen["expression"]) if self.expression else ""

    def _misread(self, scores: dict[str, float]) -> str:
        if not abs(sum(scores.values()) - 1) < _ROUNDING:
            return f"its scores add up to {sum(scores.values()):.3f}, not to 1"
        told = max(scores, key=lambda name: scores[name])
        return "" if told == self.expression else f"sees {told} in a face that shows {self.expression}"


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        core: The one core that every side is pinned to.
        patience: Seconds that a side has for an answer; one that hangs is ended, and the others go on.
    """

    rounds: int
    calls: int
    cold_rounds: int
    core: int
    seed: int = 0
    patience: float = PATIENCE


@dataclass
class Measured:
    """Raw numbers of a run, each list in the order of the rounds.

    Attributes:
        latency_ns: variant -> frame -> round -> call.
        extra_faces: variant -> frame -> how many boxes there were beside the faces shown.
        failed: variant -> frame -> why there is no result.
        first_result_ns: variant -> process: from before its start to the first result.
        peak_bytes: variant -> process: of resident memory.
        judged: variant -> what its answers are worth.
        software: peer -> versions.
        rounds: How many were finished.
        interrupted: Ctrl-C came; only finished rounds are kept.
    """

    latency_ns: dict[str, dict[str, list[list[int]]]] = field(default_factory=dict)
    extra_faces: dict[str, dict[str, int]] = field(default_factory=dict)
    failed: dict[str, dict[str, str]] = field(default_factory=dict)
    first_result_ns: dict[str, list[int]] = field(default_factory=dict)
    peak_bytes: dict[str, list[int]] = field(default_factory=dict)
    judged: dict[str, Judged] = field(default_factory=dict)
    software: dict[str, dict[str, Any]] = field(default_factory=dict)
    rounds: int = 0
    interrupted: bool = False

    def fails(self, variant: Variant, frame: str, why: str) -> None:
        """A variant has no result on a frame; what was timed of it is dropped."""
        self.failed.setdefault(variant.name, {})[frame] = why
        self.latency_ns.get(variant.name, {}).pop(frame, None)

    def cut_short(self) -> None:
        """Keep what all variants have: ratios are of the same rounds."""
        self.interrupted = True
        for frames in self.latency_ns.values():
            for rounds in frames.values():
                del rounds[self.rounds :]

    def runs(self, variant: Variant, frame: str) -> bool:
        """Whether it still has a result on a frame."""
        return frame not in self.failed.get(variant.name, {})


def measure(
    programs: dict[Peer, Program],
    shown: dict[str, Shown],
    plan: Plan,
    tell: Callable[[str], None],
) -> Measured:
    """Time every variant of every peer, then whole processes of each.

    Args:
        programs: what is started for each peer.
        shown: frame's name -> frame; `CROP` among them.
        plan: how much.
        tell: shows progress.

    Returns:
        What was measured; after Ctrl-C the finished rounds.

    Raises:
        KeyboardInterrupt: no round was finished.
    """
    measured = Measured()
    order = random.Random(plan.seed)  # noqa: S311 - an order, not a secret
    try:
        _rounds(programs, shown, plan, order=order, tell=tell, measured=measured)
        _whole_processes(programs, shown, plan, order=order, tell=tell, measured=measured)
    except KeyboardInterrupt:
        if not measured.rounds:
            raise
        measured.cut_short()
    return measured


def _rounds(
    programs: dict[Peer, Program],
    shown: dict[str, Shown],
    plan: Plan,
    *,
    order: random.Random,
    tell: Callable[[str], None],
    measured: Measured,
) -> None:
    with ExitStack() as stack:
        sides = {}
        for peer, program in programs.items():
            tell(f"starting {peer.key}")
            side = _started(peer, program, shown, plan, measured)
            if side is not None:
                sides[peer] = stack.enter_context(side)
        turns = [(peer, variant) for peer in sides for variant in peer.variants]
        for number in range(plan.rounds):
            tell(f"round {number + 1} of {plan.rounds}")
            for name, frame in shown.items():
                for peer, variant in order.sample(turns, len(turns)):
                    if _sees(variant, name) and measured.runs(variant, name):
                        _turn(sides[peer], (peer, variant), name, frame, calls=plan.calls, measured=measured)
            measured.rounds += 1


def _whole_processes(
    programs: dict[Peer, Program],
    shown: dict[str, Shown],
    plan: Plan,
    *,
    order: random.Random,
    tell: Callable[[str], None],
    measured: Measured,
) -> None:
    """Of what has a result on its first frame."""
    turns = [(peer, variant) for peer in programs for variant in peer.variants]
    first = {variant.name: next(name for name in shown if _sees(variant, name)) for _, variant in turns}
    turns = [turn for turn in turns if first[turn[1].name] in measured.latency_ns.get(turn[1].name, {})]
    for number in range(plan.cold_rounds + 1 if plan.cold_rounds else 0):
        tell(f"whole processes, {number} of {plan.cold_rounds}")
        for peer, variant in order.sample(turns, len(turns)):
            name = first[variant.name]
            if not measured.runs(variant, _PROCESS):
                continue
            try:
                first_ns, peak = _whole_process(programs[peer], variant, name, shown[name], plan)
            except BenchmarkError as error:
                measured.fails(variant, _PROCESS, str(error))
                continue
            if number:  # the first one fills the disk cache and writes byte code
                measured.first_result_ns.setdefault(variant.name, []).append(first_ns)
                measured.peak_bytes.setdefault(variant.name, []).append(peak)


def _started(
    peer: Peer, program: Program, shown: dict[str, Shown], plan: Plan, measured: Measured
) -> Side | None:
    """A side with every variant open and warm; None, and the reason noted, when it dies at that."""
    side = None
    try:
        side = Side(program, next(iter(shown.values())).rgb, plan.core, plan.patience)
        for variant in peer.variants:
            for name, frame in shown.items():
                if _sees(variant, name):
                    side.show(frame.rgb, frame.box)
                    side.calls(variant.asked(len(frame.boxes)), warm_up=10, calls=1)
        measured.software[peer.key] = side.ask({"do": "about"})
    except BenchmarkError as error:
        _all_fail(peer, shown, measured, str(error))
        if side is not None:
            side.close()
        return None
    except KeyboardInterrupt:
        if side is not None:
            side.close()
        raise
    return side


def _turn(
    side: Side, turn: tuple[Peer, Variant], name: str, frame: Shown, *, calls: int, measured: Measured
) -> None:
    peer, variant = turn
    try:
        side.show(frame.rgb, frame.box)
        answer = side.calls(variant.asked(len(frame.boxes)), warm_up=1, calls=calls)
    except BenchmarkError as error:
        _all_fail(peer, {name: frame}, measured, str(error))
        return
    seen, times = answer["seen"], answer["times_ns"]
    wrong = frame.wrong(seen)
    if wrong:
        measured.fails(variant, name, wrong)
        return
    measured.latency_ns.setdefault(variant.name, {}).setdefault(name, []).append(times)
    extra = max(0, seen["faces"] - max(1, len(frame.boxes)))
    measured.extra_faces.setdefault(variant.name, {})[name] = extra


def _all_fail(peer: Peer, shown: dict[str, Shown], measured: Measured, why: str) -> None:
    for variant in peer.variants:
        for name in shown:
            if _sees(variant, name):
                measured.fails(variant, name, why)


def _whole_process(
    program: Program, variant: Variant, name: str, frame: Shown, plan: Plan
) -> tuple[int, int]:
    """Time from process start to the first result, ns; the peak of resident memory after some calls more."""
    with Side(program, frame.rgb, plan.core, plan.patience, frame.box) as side:
        asked = variant.asked(len(frame.boxes))
        first = side.calls(asked, warm_up=0, calls=1)
        wrong = frame.wrong(first["seen"])
        if wrong:
            raise BenchmarkError(f"{variant.name}: in its first frame ({name}) {wrong}")
        side.calls(asked, warm_up=0, calls=_MORE_CALLS)
        return first["clock_ns"] - side.started_ns, side.ask({"do": "memory"})["peak"]


def _sees(variant: Variant, frame: str) -> bool:
    return _ALONE.get(variant.gives) == (frame if frame in _ALONE.values() else None)
