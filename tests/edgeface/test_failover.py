"""An accelerator that is lost at any call: the CPU answers for the same tensors, and it is tried again."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from edgeface.analyzer import FaceAnalyzer
from edgeface.backends.base import Ran, Session, Tensors
from edgeface.backends.isolated import Deadlines, IsolatedBackend
from edgeface.backends.litert import LiteRTBackend
from edgeface.backends.scripted import ScriptedBackend
from edgeface.bundle import Bundle, ModelSpec
from edgeface.choice import Choice
from edgeface.errors import DeviceError
from edgeface.failover import BackOff, FailoverSession, Health
from edgeface.frame import Frame, read_image
from edgeface.golden import golden_input
from tests import faulty
from tests.bundles import TINY

QUESTION = golden_input(Bundle.load(TINY).model("expression"))["image"]


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def healthy(clock: Clock, back_off: BackOff | None = None) -> Health:
    """Attempts are made at once and take no time beside the clock's."""
    return Health(back_off or BackOff(), clock, start=lambda attempt: attempt())


class Accelerator:
    """Answers as the real CPU does, and is lost whenever `lost` says so of the number of the call.

    The known question counts for itself; it finds out whether the next call would be lost.
    """

    def __init__(self, inner: Session, lost: Callable[[int], bool], clock: Clock, cost: float = 0.0) -> None:
        self.calls = self.asked = self.opened = self.closed = 0
        self._inner, self._lost, self._clock, self._cost = inner, lost, clock, cost
        self.ran = Ran("npu", "imagination", 0)

    def open(self) -> Session:
        self.opened += 1
        return self

    def run(self, tensors: Tensors) -> dict[str, Any]:
        if np.array_equal(tensors["image"], QUESTION):
            self.asked += 1
            lost = self._lost(self.calls + 1)
        else:
            self.calls += 1
            lost = self._lost(self.calls)
        if lost:
            self._clock.now += self._cost
            raise DeviceError(f"lost at call {self.calls + self.asked}")
        return self._inner.run(tensors)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(TINY)


@pytest.fixture(scope="module")
def spec(bundle: Bundle) -> ModelSpec:
    return bundle.model("expression")


@pytest.fixture(scope="module")
def cpu(bundle: Bundle, spec: ModelSpec) -> Session:
    return LiteRTBackend().open(spec, bundle.artifact(spec.artifact), 1)


class Spare:
    """The CPU, which counts the frames that it runs and can be opened and closed."""

    def __init__(self, inner: Session) -> None:
        self._inner, self.ran, self.calls, self.closed = inner, inner.ran, 0, 0

    def run(self, tensors: Tensors) -> dict[str, Any]:
        self.calls += not np.array_equal(tensors["image"], QUESTION)
        return self._inner.run(tensors)

    def close(self) -> None:
        self.closed += 1


class ByTheRule:
    """Stands in for `faulty`, whose answers follow a rule of their own."""

    name, formats, ran = "rule", frozenset({"tflite"}), Ran("rule")

    def open(self, spec: ModelSpec, _artifact: bytes, _threads: int) -> Session:
        self.spec = spec
        return self

    def run(self, tensors: Tensors) -> dict[str, Any]:
        return faulty.expected(self.spec, tensors)

    def close(self) -> None:
        pass


def picture(spec: ModelSpec, number: int) -> dict[str, Any]:
    values = np.random.default_rng(number).integers(-128, 128, spec.input.shape, dtype=np.int8)
    return {spec.input.name: values}


@pytest.fixture(scope="module")
def seven(spec: ModelSpec, cpu: Session) -> list[tuple[dict[str, Any], Any]]:
    """Different pictures, each with the CPU's answer."""
    pictures = [picture(spec, number) for number in range(7)]
    answers = [(tensors, cpu.run(tensors)["logits"]) for tensors in pictures]
    assert len({answer.tobytes() for _, answer in answers}) == 7
    return answers


@pytest.mark.parametrize("first", [1, 51, 101, 151])
def test_lost_at_every_kth_call_no_frame_is_lost_or_wrong(
    spec: ModelSpec, cpu: Session, seven: list[tuple[dict[str, Any], Any]], first: int
) -> None:
    """Promise 12, for each k from 1 to 200."""
    for k in range(first, first + 50):
        clock = Clock()
        accelerator, spare = Accelerator(cpu, lambda call, k=k: call % k == 0, clock), Spare(cpu)
        session = FailoverSession(spec, accelerator.open, lambda spare=spare: spare, healthy(clock))
        frames, degraded, wrong = 2 * k + 20, 0, 0
        for number in range(frames):
            clock.now += 0.4
            tensors, wanted = seven[number % 7]
            wrong += not np.array_equal(session.run(tensors)["logits"], wanted)
            assert session.ran.backend == ("litert" if session.ran.degraded else "npu")
            degraded += session.ran.degraded
        lost = accelerator.calls // k
        assert wrong == 0
        assert lost >= 2 or k == 1
        assert accelerator.calls - lost + spare.calls == frames
        assert degraded == spare.calls >= lost
        assert accelerator.opened == 1 + accelerator.asked >= lost


def test_one_loss_in_200_at_every_place(
    spec: ModelSpec, cpu: Session, seven: list[tuple[dict[str, Any], Any]]
) -> None:
    for k in range(1, 201):
        clock = Clock()
        accelerator = Accelerator(cpu, lambda call, k=k: call == k, clock)
        session = FailoverSession(spec, accelerator.open, lambda: Spare(cpu), healthy(clock))
        seen, wrong = [], 0
        for number in range(k + 3):
            tensors, wanted = seven[number % 7]
            wrong += not np.array_equal(session.run(tensors)["logits"], wanted)
            seen.append(session.ran.degraded)
            clock.now += 0.6
        assert wrong == 0
        assert seen == [False] * (k - 1) + [True, True, False, False]


def test_it_is_tried_again_ever_more_rarely_and_at_once_after_it_came_back(
    spec: ModelSpec, cpu: Session
) -> None:
    clock, plugged = Clock(), False
    accelerator = Accelerator(cpu, lambda _: not plugged, clock)
    health = healthy(clock, BackOff(first=1, factor=2, most=8))
    session = FailoverSession(spec, accelerator.open, lambda: Spare(cpu), health)
    attempts = []
    while clock.now < 1040:
        before = accelerator.calls + accelerator.asked
        session.run(picture(spec, 0))
        if accelerator.calls + accelerator.asked > before:
            attempts.append(clock.now - 1000)
        clock.now += 0.25
    assert attempts == [0, 1, 3, 7, 15, 23, 31, 39]
    assert "lost at call 8" in health.reason
    plugged = True
    clock.now += 8
    session.run(picture(spec, 0))
    assert (session.ran, health.reason) == (accelerator.ran, "")
    plugged = False
    session.run(picture(spec, 0))
    clock.now += 1  # the first wait again
    plugged = True
    session.run(picture(spec, 0))
    assert not session.ran.degraded


def test_attempts_take_a_tenth_of_the_time_at_most(spec: ModelSpec, cpu: Session) -> None:
    clock = Clock()
    accelerator = Accelerator(cpu, lambda _: True, clock, cost=2.0)
    session = FailoverSession(spec, accelerator.open, lambda: Spare(cpu), healthy(clock))
    tensors = picture(spec, 0)
    while clock.now < 3000:
        session.run(tensors)
        clock.now += 0.5
    assert accelerator.asked * 2.0 <= 0.1 * 2000
    assert accelerator.asked >= 20
    assert accelerator.calls == 1


def test_the_sessions_of_an_accelerator_learn_of_a_loss_from_each_other(
    spec: ModelSpec, cpu: Session
) -> None:
    clock = Clock()
    health = healthy(clock)
    first = Accelerator(cpu, lambda call: call == 1, clock)
    second = Accelerator(cpu, lambda _: False, clock)
    sessions = [FailoverSession(spec, a.open, lambda: Spare(cpu), health) for a in (first, second)]
    for session in sessions:
        session.run(picture(spec, 0))
        assert session.ran.degraded
    assert (first.calls, second.calls) == (1, 0)
    clock.now += 1
    for session in sessions:
        session.run(picture(spec, 0))
        assert not session.ran.degraded


def test_frames_go_on_on_the_cpu_until_an_attempt_is_over(spec: ModelSpec, cpu: Session) -> None:
    clock, attempts, plugged = Clock(), [], False
    accelerator = Accelerator(cpu, lambda call: call > 1 and not plugged, clock)
    health = Health(clock=clock, start=attempts.append)
    session = FailoverSession(spec, accelerator.open, lambda: Spare(cpu), health)

    def degraded() -> bool:
        session.run(picture(spec, 0))
        return session.ran.degraded

    assert [degraded(), degraded()] == [False, True]
    for wait in (1, 2):
        clock.now += wait
        assert [degraded() for _ in range(5)] == [True] * 5
        assert (accelerator.calls, accelerator.asked, len(attempts)) == (2, wait - 1, 1)
        attempts.pop()()
    assert (accelerator.opened, accelerator.closed, health.reason) == (3, 3, "lost at call 4")
    plugged = True
    clock.now += 3.9
    assert degraded()
    assert not attempts
    clock.now += 0.1
    assert degraded()
    attempts.pop()()
    assert not degraded()
    assert (accelerator.calls, accelerator.opened) == (3, 4)


def test_all_models_are_open_again_before_one_is_used(spec: ModelSpec, cpu: Session) -> None:
    """One whose model of several fails would otherwise be lost and found for ever."""
    clock, attempts, mended = Clock(), [], False
    health = Health(clock=clock, start=attempts.append)
    good = Accelerator(cpu, lambda _: False, clock)
    bad = Accelerator(cpu, lambda call: not mended, clock)
    sessions = [FailoverSession(spec, a.open, lambda: Spare(cpu), health) for a in (good, bad)]
    for session in reversed(sessions):
        session.run(picture(spec, 0))
    clock.now += 1
    for degraded in (True, False):
        mended = not degraded
        sessions[0].run(picture(spec, 0))
        attempts.pop()()
        for session in sessions:
            session.run(picture(spec, 0))
            assert session.ran.degraded is degraded
        clock.now += 2
    assert good.opened - good.closed == bad.opened - bad.closed == 1


def test_one_that_is_back_and_answers_wrongly_stays_lost(spec: ModelSpec, cpu: Session) -> None:
    clock, damage = Clock(), 50
    accelerator = Accelerator(cpu, lambda call: call == 2, clock)
    health = healthy(clock)
    session = FailoverSession(spec, accelerator.open, lambda: Spare(cpu), health)
    right = accelerator.run

    def damaged(tensors: Tensors) -> dict[str, Any]:
        return {name: value + np.int8(damage) for name, value in right(tensors).items()}

    for degraded in (False, True):
        session.run(picture(spec, 0))
        assert session.ran.degraded is degraded
    accelerator.run = damaged
    for _ in range(3):
        clock.now += 60
        np.testing.assert_array_equal(
            session.run(picture(spec, 1))["logits"], cpu.run(picture(spec, 1))["logits"]
        )
        assert session.ran.degraded
    assert health.reason.startswith("model 'expression': npu answers wrongly since it is back; unplug it")
    assert accelerator.opened == accelerator.closed == 4
    damage = 1  # an accelerator rounds otherwise, and that is no damage
    clock.now += 60
    session.run(picture(spec, 1))
    assert (session.ran.degraded, health.reason) == (False, "")


def test_one_whose_spare_fails_comes_back_all_the_same(spec: ModelSpec, cpu: Session) -> None:
    def refuse() -> Session:
        raise DeviceError("no LiteRT")

    clock = Clock()
    accelerator = Accelerator(cpu, lambda call: call == 1, clock)
    session = FailoverSession(spec, accelerator.open, refuse, healthy(clock))
    with pytest.raises(DeviceError, match="no LiteRT"):
        session.run(picture(spec, 0))
    clock.now += 60
    session.run(picture(spec, 0))
    assert not session.ran.degraded


def test_what_is_opened_for_a_closed_session_is_closed(spec: ModelSpec, cpu: Session) -> None:
    clock, attempts = Clock(), []
    health = Health(clock=clock, start=attempts.append)
    accelerator = Accelerator(cpu, lambda call: call == 1, clock)
    for closes_within in (False, True):
        accelerator.calls = 0
        session = FailoverSession(spec, accelerator.open, lambda: Spare(cpu), health)
        session.run(picture(spec, 0))
        clock.now += 60
        session.run(picture(spec, 0))
        opened = accelerator.opened
        if closes_within:
            session._open_accelerator = lambda held=session: held.close() or accelerator.open()
        else:
            session.close()
        attempts.pop()()
        assert accelerator.opened - opened == closes_within
        assert accelerator.opened == accelerator.closed
        assert not health.reason


def test_without_a_thread_to_be_had_frames_go_on(spec: ModelSpec, cpu: Session) -> None:
    clock, threads = Clock(), False

    def start(attempt: Callable[[], None]) -> None:
        if not threads:
            raise RuntimeError("can't start new thread")
        attempt()

    accelerator = Accelerator(cpu, lambda call: call == 1, clock)
    session = FailoverSession(spec, accelerator.open, lambda: Spare(cpu), Health(clock=clock, start=start))
    session.run(picture(spec, 0))
    clock.now += 1
    session.run(picture(spec, 0))
    assert session.ran.degraded
    threads = True
    session.run(picture(spec, 0))
    assert not session.ran.degraded


def test_one_that_cannot_be_opened_is_lost_from_the_start(spec: ModelSpec, cpu: Session) -> None:
    def refuse() -> Session:
        raise DeviceError("no such device")

    health = Health(clock=Clock())
    session = FailoverSession(spec, refuse, lambda: cpu, health)
    assert (session.ran.backend, session.ran.degraded) == ("litert", True)
    session.run(picture(spec, 0))
    assert health.reason == "no such device"
    with pytest.raises(DeviceError, match="no such device"):
        FailoverSession(spec, refuse, refuse, Health())


def test_mistakes_of_the_caller_and_a_closed_session_are_told(spec: ModelSpec, cpu: Session) -> None:
    accelerator, spare = Accelerator(cpu, lambda call: call == 1, Clock()), Spare(cpu)
    session = FailoverSession(spec, accelerator.open, lambda: spare, Health())
    with pytest.raises(DeviceError, match="takes one input"):
        session.run({})
    assert accelerator.calls == 0
    session.run(picture(spec, 0))
    session.close()
    session.close()
    assert (accelerator.closed, spare.closed) == (1, 1)
    with pytest.raises(DeviceError, match="closed"):
        session.run(picture(spec, 0))


@pytest.fixture(scope="module")
def photo(astronaut_path: Path) -> Frame:
    return read_image(astronaut_path)


def test_a_frame_survives_the_loss_and_says_so(bundle: Bundle, photo: Frame) -> None:
    with FaceAnalyzer(bundle=bundle) as analyzer:
        wanted = analyzer.analyze(photo)
    assert not wanted.degraded
    assert {ran.backend for ran in wanted.ran.values()} == {"litert"}

    def lose(_tensors: Tensors) -> Any:
        raise DeviceError("unplugged")

    lost = ScriptedBackend(dict.fromkeys(("detection", "landmarks", "parsing", "expression"), lose))
    with FaceAnalyzer(bundle=bundle, backend=lost) as analyzer:
        analyzer._choice = Choice(lost, "the test says so", LiteRTBackend())
        result = analyzer.analyze(photo)
        told = analyzer.describe()
    assert result.faces == wanted.faces
    assert result.degraded
    assert result.to_dict()["degraded"] is True
    assert result.ran["parsing"] == Ran("litert", "XNNPACK", None, "int8", 1, degraded=True)
    assert (told["backend"], told["spare"], told["lost"]) == ("scripted", "litert", "unplugged")
    assert told["models"]["parsing"]["ran"]["degraded"] is True


@pytest.mark.parametrize("mode", ["segv", "sigill", "loop"])
def test_a_real_crash_and_a_real_hang_cost_one_deadline(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Promises 11 and 12 together: native code dies, the frame gets the CPU's answer."""
    faulty.installed(tmp_path, monkeypatch)
    spec = bundle.model("expression")
    choice = Choice(
        IsolatedBackend(f"faulty:{mode}", Deadlines(run=0.5)), "the test says so", LiteRTBackend()
    )
    session = choice.open(spec, bundle, 1)
    good, bad = picture(spec, 0), picture(spec, 1)
    good[spec.input.name].flat[0], bad[spec.input.name].flat[0] = 0, faulty.TRIGGER
    np.testing.assert_array_equal(session.run(good)["logits"], faulty.expected(spec, good)["logits"])
    assert session.ran == Ran("isolated:faulty", "imagination", 3, spec.precision, 1)
    cpu = LiteRTBackend().open(spec, bundle.artifact(spec.artifact), 1)
    np.testing.assert_array_equal(session.run(bad)["logits"], cpu.run(bad)["logits"])
    assert session.ran.degraded
    assert choice.health.reason
    session.close()


def test_no_frame_waits_for_a_process_that_hangs_while_it_starts_again(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty.installed(tmp_path, monkeypatch)
    flag = tmp_path / "hang"
    monkeypatch.setenv("EDGEFACE_FAULTY_FLAG", str(flag))
    backend = IsolatedBackend("faulty:segv", Deadlines(run=20.0))
    health = Health(BackOff(first=0.01, factor=1.0, share=1.0))
    spec = bundle.model("expression")
    session = Choice(backend, "the test says so", ByTheRule(), health=health).open(spec, bundle, 1)
    good, bad = picture(spec, 0), picture(spec, 1)
    good[spec.input.name].flat[0], bad[spec.input.name].flat[0] = 0, faulty.TRIGGER
    session.run(good)
    assert not session.ran.degraded
    flag.touch()
    session.run(bad)  # ends the process; the next one hangs for more than the 20 s
    time.sleep(0.05)
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        start = time.monotonic()
        session.run(good)
        assert session.ran.degraded
        assert time.monotonic() - start < 10
    assert [thread.name for thread in threading.enumerate()].count("edgeface-failover") == 1
    flag.unlink()
    os.kill(backend._process._child.pid, signal.SIGKILL)  # else the test would wait for the deadline
    end = time.monotonic() + 60
    while session.ran.degraded and time.monotonic() < end:
        session.run(good)
        time.sleep(0.02)
    assert session.ran.backend == "isolated:faulty"
    session.close()


@pytest.mark.soak
def test_opening_losing_and_closing_leaks_nothing(spec: ModelSpec, bundle: Bundle) -> None:
    """Promise 16: sessions of one accelerator that works, is lost and comes back, or is in neither place."""
    clock = Clock()
    artifact = bundle.artifact(spec.artifact)

    def real() -> Session:
        return LiteRTBackend().open(spec, artifact, 1)

    def refuse() -> Session:
        raise DeviceError("no such device")

    works, lost, nowhere = healthy(clock), healthy(clock), healthy(clock)

    def good() -> None:
        session = FailoverSession(spec, real, real, works)
        session.run(picture(spec, 0))
        session.close()

    def comes_back() -> None:
        accelerator = Accelerator(real(), lambda call: call == 1, clock)
        session = FailoverSession(spec, accelerator.open, real, lost)
        seen = []
        for _ in range(2):
            session.run(picture(spec, 0))
            seen.append(session.ran.degraded)
            clock.now += 600
        session.close()
        assert seen == [True, False]

    def bad() -> None:
        clock.now += 600
        with pytest.raises(DeviceError):
            FailoverSession(spec, refuse, refuse, nowhere)

    process = psutil.Process()
    for cycle in (good, comes_back, bad):
        for _ in range(1500):  # memory grows by less and less until then
            cycle()
        before = process.memory_info().rss, process.num_fds(), process.num_threads()
        for _ in range(3000):
            cycle()
        assert process.memory_info().rss - before[0] <= 1 << 20
        assert (process.num_fds(), process.num_threads()) == before[1:]
