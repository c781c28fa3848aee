"""What every backend keeps to, in this process and isolated; a new one is found here by itself.

The backends are those that EdgeFace knows and this machine has what they need for, and the one of another
distribution that ``tests/faulty.py`` is. One that opens no format of `CASES`, or no model on this device, is
skipped with the reason.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.backends.base import Backend, Ran, Session, create, known
from edgeface.bundle import Bundle, ModelSpec
from edgeface.errors import BundleError, DeviceError
from edgeface.golden import golden_digest, golden_input
from tests import faulty
from tests.bundles import TINY
from tests.edgeface.backends import onnx_models

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # whoever imports it first in this process


def _missing(name: str) -> str:
    try:
        create(name)
    except DeviceError as error:
        return str(error)
    return ""


_MISSING = {name: _missing(name) for name in known()}
ABSENT = [name for name, reason in _MISSING.items() if reason]
PRESENT = [*(name for name, reason in _MISSING.items() if not reason), "faulty"]
# Of the answer to the golden question, on the int8 kernels of x86-64 and ARM.
EXPRESSION = "fa8eb9fe9d73da24cb7eff8648df3323ee088c5af109387b50eeac15971ea8dc"


@dataclass(frozen=True)
class Case:
    """A model in some format, with a judge of its answer to `golden_input`."""

    spec: ModelSpec
    artifact: bytes
    right: Callable[[dict[str, np.ndarray]], bool]


def _tflite() -> Case:
    bundle = Bundle.load(TINY)
    spec = bundle.model("expression")
    return Case(
        spec, bundle.artifact(spec.artifact), lambda outputs: golden_digest(spec, outputs) == EXPRESSION
    )


def _onnx() -> Case:
    spec = onnx_models.SPEC
    wanted = golden_digest(spec, onnx_models.expected(golden_input(spec)["image"]))
    return Case(spec, onnx_models.student(), lambda outputs: golden_digest(spec, outputs) == wanted)


CASES = {"tflite": _tflite, "onnx": _onnx}


@pytest.fixture(params=[name for one in PRESENT for name in (one, f"isolated:{one}")])
def backend(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    monkeypatch.setenv("EDGEFACE_FAULTY", "honest")
    faulty.installed(tmp_path, monkeypatch)
    return create(request.param)


@pytest.fixture
def case(backend: Backend) -> Case:
    for name in sorted(backend.formats & set(CASES)):
        return CASES[name]()
    pytest.skip(f"no model of the formats {sorted(backend.formats)} here")


@pytest.fixture
def session(backend: Backend, case: Case) -> Iterator[Session]:
    try:
        opened = backend.open(case.spec, case.artifact, 1)
    except DeviceError as error:
        pytest.skip(f"{backend.name}: {error}")
    yield opened
    opened.close()


def noise(spec: ModelSpec, seed: int) -> dict[str, Any]:
    values = np.random.default_rng(seed).integers(0, 256, spec.input.shape, dtype=np.uint8)
    return {spec.input.name: (values.astype(np.int16) - spec.input.mean).astype(spec.input.dtype)}


@pytest.mark.parametrize("name", ABSENT)
def test_what_is_absent_is_named_with_the_mend(name: str) -> None:
    assert len(_MISSING[name].split()) >= 8
    with pytest.raises(DeviceError, match=r"."):
        create(f"isolated:{name}")


def test_it_keeps_to_the_protocol(backend: Backend, session: Session) -> None:
    assert isinstance(backend, Backend)
    assert isinstance(session, Session)
    assert backend.name
    assert backend.formats


@pytest.mark.skipif(platform.machine() not in {"x86_64", "aarch64"}, reason="digests of their kernels")
def test_the_golden_question_gets_the_golden_answer(session: Session, case: Case) -> None:
    assert case.right(session.run(golden_input(case.spec)))


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


def test_what_is_no_model_is_typed(backend: Backend, case: Case) -> None:
    for artifact in (b"", b"nothing of the kind" * 100, case.artifact[: len(case.artifact) // 2]):
        with pytest.raises((DeviceError, BundleError), match=case.spec.artifact.replace(".", r"\.")):
            backend.open(case.spec, artifact, 1)


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
    begun = threading.Semaphore(0)

    def work() -> None:
        try:
            while True:
                outcomes.append(golden_digest(case.spec, session.run(tensors)) == wanted)
                begun.release()
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
