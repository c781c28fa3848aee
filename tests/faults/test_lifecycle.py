"""Promises 16, 17 and 18: opening does not leak, threads do not disturb each other, same input, same bits."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

from edgeface.analyzer import FaceAnalyzer
from edgeface.backends.litert import LiteRTBackend
from edgeface.bundle import Bundle
from edgeface.errors import BundleError, DeviceError
from edgeface.frame import read_image
from tests.bundles import TINY

if TYPE_CHECKING:
    from pathlib import Path

    from edgeface.results import FrameResult

MIB = 1 << 20


def digest(result: FrameResult) -> str:
    """SHA-256 of every number of every face, bit for bit."""
    parts = hashlib.sha256()
    for face in result.faces:
        assert face.landmarks is not None
        assert face.parsing is not None
        assert face.expression is not None
        numbers = [
            *dataclasses.astuple(face.bbox),
            face.roll,
            *face.expression.scores.values(),
            face.landmarks.presence,
        ]
        parts.update(np.array(numbers, np.float64).tobytes())
        for array in (face.keypoints, face.landmarks.points, face.landmarks.visibility, face.parsing.labels):
            parts.update(np.ascontiguousarray(array).tobytes())
    return f"{len(result.faces)}:{parts.hexdigest()}"


def good_cycle(frame: np.ndarray) -> None:
    with FaceAnalyzer(bundle=TINY) as analyzer:
        analyzer.analyze(frame)


def bad_cycle(bundle: Bundle, damaged: Path) -> None:
    with pytest.raises(BundleError):
        FaceAnalyzer(bundle=damaged)
    with pytest.raises(BundleError):
        FaceAnalyzer(bundle=damaged.parent)
    spec = bundle.model("expression")
    with pytest.raises(DeviceError):
        LiteRTBackend().open(spec, b"TFL3" * 1000, 1)
    wrong = dataclasses.replace(spec, input=dataclasses.replace(spec.input, scale=0.5))
    with pytest.raises(BundleError):
        LiteRTBackend().open(wrong, bundle.artifact(spec.artifact), 1)


def leaked(cycles: int, warm_up: int, tmp_path: Path) -> tuple[float, int, int]:
    """Memory (MiB), descriptors and threads that are left over after ``cycles`` good and bad cycles."""
    bundle, process = Bundle.load(TINY), psutil.Process()
    damaged = tmp_path / "damaged.bundle"
    damaged.write_bytes(TINY.read_bytes()[:-1])
    frame = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    for _ in range(warm_up):
        good_cycle(frame)
        bad_cycle(bundle, damaged)
    gc.collect()
    before = process.memory_info().rss, process.num_fds(), process.num_threads()
    for _ in range(cycles):
        good_cycle(frame)
        bad_cycle(bundle, damaged)
    gc.collect()
    after = process.memory_info().rss, process.num_fds(), process.num_threads()
    return (after[0] - before[0]) / MIB, after[1] - before[1], after[2] - before[2]


LEAK_CHECK = """
import pathlib, sys, tempfile
sys.path.insert(0, ".")
from tests.faults.test_lifecycle import leaked
with tempfile.TemporaryDirectory() as folder:
    print(*leaked(int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(folder)))
"""


def run_leak_check(repository: Path, cycles: int, warm_up: int) -> tuple[float, int, int]:
    # In a process of its own: the other tests' garbage would hide or fake a leak.
    done = subprocess.run(
        [sys.executable, "-c", LEAK_CHECK, str(cycles), str(warm_up)],
        check=True,
        capture_output=True,
        text=True,
        cwd=repository,
    )
    memory, descriptors, threads = done.stdout.split()
    return float(memory), int(descriptors), int(threads)


def test_opening_and_closing_does_not_leak(repository: Path) -> None:
    memory, descriptors, threads = run_leak_check(repository, cycles=200, warm_up=100)
    assert memory <= 1.0
    assert (descriptors, threads) == (0, 0)


@pytest.mark.soak
def test_three_thousand_cycles_do_not_leak(repository: Path) -> None:
    # Once, after some 1,400 cycles, the native heap grows by 0.9 MiB and then stays: the warm-up includes it.
    memory, descriptors, threads = run_leak_check(repository, cycles=3000, warm_up=2000)
    assert memory <= 1.0
    assert (descriptors, threads) == (0, 0)


def in_threads(analyzers: list[FaceAnalyzer], frames: list[np.ndarray], rounds: int) -> list[list[str]]:
    """What 8 threads see, each going through the frames from another start."""
    outcomes: list[list[str]] = [[] for _ in range(8)]

    def work(index: int) -> None:
        analyzer = analyzers[index % len(analyzers)]
        for turn in range(rounds):
            outcomes[index].append(digest(analyzer.analyze(frames[(turn + index) % len(frames)])))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def variants(path: Path) -> list[np.ndarray]:
    rgb = read_image(path).rgb
    return [
        np.ascontiguousarray(picture) for picture in (rgb, rgb[:, ::-1], rgb[::2, ::2], rgb[::-1], 255 - rgb)
    ]


def compare_threads_with_serial(path: Path, rounds: int, shared: bool) -> None:
    frames, bundle = variants(path), Bundle.load(TINY)
    with FaceAnalyzer(bundle=bundle) as analyzer:
        serial = [digest(analyzer.analyze(frame)) for frame in frames]
    assert len(set(serial)) > 1
    analyzers = [FaceAnalyzer(bundle=bundle) for _ in range(1 if shared else 8)]
    try:
        outcomes = in_threads(analyzers, frames, rounds)
    finally:
        for analyzer in analyzers:
            analyzer.close()
    for index, seen in enumerate(outcomes):
        assert seen == [serial[(turn + index) % len(frames)] for turn in range(rounds)]


@pytest.mark.parametrize("shared", [True, False], ids=["one analyzer", "one each"])
def test_eight_threads_are_as_good_as_one(astronaut_path: Path, shared: bool) -> None:
    compare_threads_with_serial(astronaut_path, 25, shared)


@pytest.mark.soak
@pytest.mark.parametrize("shared", [True, False], ids=["one analyzer", "one each"])
def test_eight_threads_with_a_thousand_frames_each(astronaut_path: Path, shared: bool) -> None:
    compare_threads_with_serial(astronaut_path, 1000, shared)


def test_an_open_session_is_shared_bit_for_bit() -> None:
    """The lock is the session's own: the bare backend keeps the promise, too."""
    bundle = Bundle.load(TINY)
    spec = bundle.model("parsing")
    session = LiteRTBackend().open(spec, bundle.artifact(spec.artifact), 1)
    rng = np.random.default_rng(4)
    inputs = [rng.integers(-128, 128, spec.input.shape, dtype=np.int8) for _ in range(8)]
    expected = [session.run({"image": value})["logits"] for value in inputs]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(100):
            if not np.array_equal(session.run({"image": inputs[index]})["logits"], expected[index]):
                wrong.append(index)  # noqa: PERF401  the other threads append too

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


RESTART = """
import sys
sys.path.insert(0, ".")
from edgeface.analyzer import FaceAnalyzer
from tests.bundles import TINY
from tests.faults.test_lifecycle import digest, variants
with FaceAnalyzer(bundle=TINY, threads=int(sys.argv[2])) as analyzer:
    print(*(digest(analyzer.analyze(frame)) for frame in variants(sys.argv[1])))
"""


def test_threads_and_restarts_give_the_same_bits(repository: Path, astronaut_path: Path) -> None:
    seen = {
        subprocess.run(
            [sys.executable, "-c", RESTART, str(astronaut_path), threads],
            check=True,
            capture_output=True,
            text=True,
            cwd=repository,
        ).stdout
        for threads in ("1", "1", "2", "4")
    }
    assert len(seen) == 1
    with FaceAnalyzer(bundle=TINY) as analyzer:
        here = [digest(analyzer.analyze(frame)) for frame in variants(astronaut_path)]
    assert seen.pop().split() == here
