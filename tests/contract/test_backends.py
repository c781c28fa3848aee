"""What every backend keeps to, in this process and isolated; ``conftest.py`` says which they are."""

from __future__ import annotations

import dataclasses
import platform
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest

from edgeface.backends.base import Backend, Ran, Session
from edgeface.bundle import ModelSpec
from edgeface.errors import BundleError, DeviceError
from edgeface.golden import agrees, golden_digest, golden_input
from tests.contract.cases import Case
from tests.contract.conftest import Subject

# Their int8 kernels give the same bits on every machine; an accelerator may round otherwise.
EXACT = {"XNNPACK", "CPUExecutionProvider"}


def noise(spec: ModelSpec, seed: int) -> dict[str, Any]:
    values = np.random.default_rng(seed).integers(0, 256, spec.input.shape, dtype=np.uint8)
    return {spec.input.name: (values.astype(np.int16) - spec.input.mean).astype(spec.input.dtype)}


def test_it_keeps_to_the_protocol(backend: Backend, session: Session) -> None:
    assert isinstance(backend, Backend)
    assert isinstance(session, Session)
    assert backend.name
    assert backend.formats


def test_the_golden_question_gets_the_golden_answer(session: Session, case: Case) -> None:
    answer = session.run(golden_input(case.spec))
    assert agrees(case.spec, answer, case.wanted)
    if session.ran.delegate in EXACT and platform.machine() in {"x86_64", "aarch64"}:
        assert golden_digest(case.spec, answer) == case.digest
    # A constant would agree with itself.
    assert not agrees(case.spec, session.run(noise(case.spec, 0)), case.wanted)


def test_what_ran_is_told(session: Session, backend: Backend, case: Case) -> None:
    session.run(golden_input(case.spec))
    ran = session.ran
    assert isinstance(ran, Ran)
    assert ran.backend.startswith(backend.name)
    assert (ran.precision, ran.threads, ran.degraded) == (case.spec.precision, 1, False)


def test_outputs_are_the_headers_and_belong_to_the_caller(session: Session, case: Case) -> None:
    first = session.run(noise(case.spec, 0))
    assert set(first) == {output.name for output in case.spec.outputs}
    kept = {}
    for output in case.spec.outputs:
        value = first[output.name]
        assert (value.shape, str(value.dtype)) == (output.shape, output.dtype)
        kept[output.name] = value.copy()
        value += 1  # the caller's to write to
    again = session.run(noise(case.spec, 0))
    session.run(noise(case.spec, 1))
    for name, value in kept.items():
        np.testing.assert_array_equal(again[name], value)


def test_an_input_may_be_a_view_and_is_left_alone(session: Session, case: Case) -> None:
    (image,) = noise(case.spec, 3).values()
    wide = np.repeat(image, 2, axis=2)
    view, before = wide[:, :, ::2], wide.copy()
    view.setflags(write=False)
    outputs, wanted = session.run({case.spec.input.name: view}), session.run({case.spec.input.name: image})
    for name, value in wanted.items():
        np.testing.assert_array_equal(outputs[name], value)
    np.testing.assert_array_equal(wide, before)


def test_wrong_inputs_are_typed_and_the_session_goes_on(session: Session, case: Case) -> None:
    (good,) = noise(case.spec, 0).values()
    name = case.spec.input.name
    wrong: list[dict[str, Any]] = [
        {},
        {"picture": good},
        {name: good, "more": good},
        {name: good[0]},
        {name: good[:, :-1]},
        {name: good.astype(np.float32)},
        {name: good.view(np.uint8 if good.dtype == np.int8 else np.int8)},
        {name: good.tolist()},
        {name: None},
    ]
    for tensors in wrong:
        with pytest.raises(DeviceError, match=f"model '{case.spec.task}'"):
            session.run(tensors)
    session.run({name: good})


def reads_artifacts(subject: Subject) -> None:
    if subject.name == "scripted":
        pytest.skip("a script looks at no artifact")


def test_what_is_no_model_is_typed(subject: Subject, backend: Backend, case: Case) -> None:
    reads_artifacts(subject)
    for artifact in (b"", b"nothing of the kind" * 100, case.artifact[: len(case.artifact) // 2]):
        with pytest.raises((DeviceError, BundleError), match=case.spec.artifact.replace(".", r"\.")):
            backend.open(case.spec, artifact, 1)


def test_a_graph_other_than_the_headers_is_refused(subject: Subject, backend: Backend, case: Case) -> None:
    """Decoding with another scale would be quietly wrong."""
    reads_artifacts(subject)
    image = dataclasses.replace(case.spec.input, scale=case.spec.input.scale * 2)
    renamed = tuple(dataclasses.replace(o, shape=(*o.shape[:-1], o.shape[-1] + 1)) for o in case.spec.outputs)
    for wrong in ({"input": image}, {"outputs": renamed}):
        with pytest.raises(BundleError, match=case.spec.artifact.replace(".", r"\.")):
            backend.open(dataclasses.replace(case.spec, **wrong), case.artifact, 1)


def test_a_closed_session_says_so_and_closes_twice(backend: Backend, session: Session, case: Case) -> None:
    other = backend.open(case.spec, case.artifact, 1)
    session.run(noise(case.spec, 0))
    session.close()
    session.close()
    with pytest.raises(DeviceError, match="closed"):
        session.run(noise(case.spec, 0))
    other.run(noise(case.spec, 0))  # the backend's other sessions live on
    other.close()


def test_many_threads_get_what_one_gets(session: Session, case: Case) -> None:
    """Promise 17."""
    inputs = [noise(case.spec, seed) for seed in range(4)]
    wanted = [golden_digest(case.spec, session.run(tensors)) for tensors in inputs]
    wrong: list[object] = []

    def work(start: int) -> None:
        for step in range(20):
            place = (start + step) % 4
            if golden_digest(case.spec, session.run(inputs[place])) != wanted[place]:
                wrong.append(place)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_closing_while_others_run_is_orderly(session: Session, case: Case) -> None:
    tensors = noise(case.spec, 0)
    wanted = golden_digest(case.spec, session.run(tensors))
    outcomes: list[object] = []
    begun, until = threading.Semaphore(0), time.monotonic() + 60

    def work() -> None:
        try:
            while time.monotonic() < until:
                outcomes.append(golden_digest(case.spec, session.run(tensors)) == wanted)
                begun.release()
            outcomes.append("a closed session ran on")
        except DeviceError as error:
            outcomes.append("closed" in str(error))
        except BaseException as error:  # noqa: BLE001  whatever it is, the test says it
            outcomes.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(6):
        begun.acquire(timeout=60)
    session.close()
    for thread in threads:
        thread.join()
    assert set(outcomes) == {True}


class _Interrupt(BaseException):
    """What Ctrl-C is: no error that a backend may keep to itself."""


def test_an_interrupted_run_leaves_the_session_whole(session: Session, case: Case) -> None:
    """Cancellation from outside: the signal comes while the runtime works, in its lock or its child."""
    tensors = noise(case.spec, 0)
    wanted = golden_digest(case.spec, session.run(tensors))

    def interrupt(*_: object) -> None:
        raise _Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(_Interrupt):  # noqa: PT012  whichever run it is that the signal meets
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            until = time.monotonic() + 60
            while time.monotonic() < until:
                session.run(tensors)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    answers: list[str] = []
    other = threading.Thread(
        target=lambda: answers.append(golden_digest(case.spec, session.run(tensors))), daemon=True
    )
    other.start()  # a lock that is still held would keep another thread out for ever
    other.join(60)
    assert answers == [wanted]
    assert golden_digest(case.spec, session.run(tensors)) == wanted


def test_a_session_closed_by_another_thread_wakes_who_waits(session: Session, case: Case) -> None:
    """Cancellation from inside: many are waiting for their turn, and all of them get an answer."""
    tensors = noise(case.spec, 0)
    gate = threading.Barrier(9)
    outcomes: list[object] = []

    def work() -> None:
        gate.wait()
        try:
            session.run(tensors)
            outcomes.append("answer")
        except DeviceError as error:
            outcomes.append("closed" if "closed" in str(error) else error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    gate.wait()
    session.close()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == 8
    assert set(outcomes) <= {"answer", "closed"}
