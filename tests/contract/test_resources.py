"""What a backend takes and gives back: threads, an idle processor, descriptors.

Nothing here hangs on how busy the machine is: threads are counted, and a thread that sleeps is told from one
that spins or polls by the kernel's count of how often it was switched to.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from edgeface.backends.base import Backend, Session
from edgeface.golden import golden_digest, golden_input
from tests.contract.cases import Case
from tests.contract.conftest import Subject, opened

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")

Task = tuple[int, int]  # process, thread
_WINDOW = 0.2  # seconds
_PATIENCE = 60.0
# They compute on as many threads as they are told; an accelerator may need none.
_POOLS = {"XNNPACK", "CPUExecutionProvider"}


def tasks() -> set[Task]:
    """The threads of this process and of its children."""
    me = psutil.Process()
    found: set[Task] = set()
    for pid in (me.pid, *(child.pid for child in me.children(recursive=True))):
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            found |= {(pid, int(thread.name)) for thread in Path(f"/proc/{pid}/task").iterdir()}
    return found


def switches(task: Task) -> tuple[str, int]:
    """A thread's state, and how often it was put onto a processor."""
    text = Path(f"/proc/{task[0]}/task/{task[1]}/status").read_text()
    told = dict(line.split(":", 1) for line in text.splitlines())
    return told["State"].split()[0], sum(int(told[f"{kind}voluntary_ctxt_switches"]) for kind in ("", "non"))


def sleeps(found: set[Task]) -> bool:
    """True if none of the threads ran for a moment; a busy machine does not make one run."""
    before = {task: switches(task) for task in found}
    time.sleep(_WINDOW)
    return all(state == "S" for state, _ in before.values()) and before == {t: switches(t) for t in found}


@pytest.fixture
def three(subject: Subject, backend: Backend, case: Case) -> Iterator[list[tuple[Session, set[Task]]]]:
    """Sessions with 1, 1 and 3 threads that have run, each with the threads that it brought."""
    if ":" in subject.name.removeprefix("isolated:"):
        pytest.skip("the driver of a device has threads of its own")
    gc.collect()
    kept: list[tuple[Session, set[Task]]] = []
    before = tasks()
    try:
        for threads in (1, 1, 3):
            session = opened(subject, backend, case, threads)
            for _ in range(5):
                session.run(golden_input(case.spec))
            now = tasks()
            kept.append((session, now - before))
            before = now
        yield kept
    finally:
        for session, _ in kept:
            session.close()


def test_threads_are_as_many_as_were_asked_for_and_give_the_same_bits(
    subject: Subject, case: Case, three: list[tuple[Session, set[Task]]]
) -> None:
    (one, brought), (_, again), (wide, more) = three
    # The first isolated model brings its process, with a thread for each of its libraries.
    assert subject.isolated or not brought
    assert not again, "a model on one thread runs on its caller's"
    assert len(more) in ({2} if wide.ran.delegate in _POOLS else {0, 2})
    assert (one.ran.threads, wide.ran.threads) == (1, 3)
    question = golden_input(case.spec)
    assert len({golden_digest(case.spec, session.run(question)) for session, _ in three}) == 1


def test_between_two_frames_nothing_runs(three: list[tuple[Session, set[Task]]]) -> None:
    """No pool spins, no thread polls: the processor is free, and the battery lasts."""
    brought = set[Task]().union(*(found for _, found in three))
    until = time.monotonic() + _PATIENCE
    while not sleeps(brought):
        assert time.monotonic() < until, {task: switches(task) for task in brought}


@pytest.mark.parametrize("pause", [0.0, 0.01], ids=["spinning", "polling"])
def test_a_thread_that_does_not_sleep_is_noticed(pause: float) -> None:
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            time.sleep(pause)

    before = tasks()
    thread = threading.Thread(target=work)
    thread.start()
    try:
        mine = {(os.getpid(), thread.native_id or 0)}
        assert mine <= tasks() - before
        assert not any(sleeps(mine) for _ in range(3))
    finally:
        over.set()
        thread.join()


def test_closing_gives_everything_back(subject: Subject, backend: Backend, case: Case) -> None:
    def cycle() -> None:
        session = opened(subject, backend, case, 3)
        session.run(golden_input(case.spec))
        session.close()

    me = psutil.Process()
    cycle()
    gc.collect()
    before, descriptors = tasks(), me.num_fds()
    for _ in range(1 if subject.isolated else 10):
        cycle()
    gc.collect()
    until = time.monotonic() + _PATIENCE
    while tasks() - before:  # a thread that was told to end may need a moment
        assert time.monotonic() < until, tasks() - before
        time.sleep(0.01)
    assert me.num_fds() <= descriptors
