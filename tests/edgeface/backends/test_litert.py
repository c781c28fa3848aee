"""LiteRT runs the fixture's models: same bits as the bare interpreter, XNNPACK in use, every misuse typed."""

from __future__ import annotations

import dataclasses
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeface.backends.base import create
from edgeface.backends.litert import LiteRTBackend, LiteRTSession
from edgeface.bundle import Bundle, ModelSpec
from edgeface.errors import BundleError, DeviceError
from edgeface.results import Ran
from tests.bundles import TINY


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(TINY)


def open_task(bundle: Bundle, task: str, threads: int = 1) -> LiteRTSession:
    spec = bundle.model(task)
    return LiteRTBackend().open(spec, bundle.artifact(spec.artifact), threads)


def noise(spec: ModelSpec, seed: int = 0) -> dict[str, Any]:
    values = np.random.default_rng(seed).integers(-128, 128, spec.input.shape, dtype=np.int8)
    return {spec.input.name: values}


@pytest.mark.parametrize("task", ["detection", "landmarks", "parsing", "expression"])
def test_outputs_are_those_of_the_bare_interpreter(bundle: Bundle, task: str) -> None:
    from ai_edge_litert.interpreter import Interpreter

    spec = bundle.model(task)
    bare = Interpreter(model_content=bundle.artifact(spec.artifact), num_threads=1)
    bare.allocate_tensors()
    tensors = noise(spec)
    bare.set_tensor(bare.get_input_details()[0]["index"], tensors[spec.input.name])
    bare.invoke()
    details = bare.get_output_details()
    outputs = open_task(bundle, task).run(tensors)
    assert set(outputs) == {output.name for output in spec.outputs}
    for output in spec.outputs:
        np.testing.assert_array_equal(outputs[output.name], bare.get_tensor(details[output.index]["index"]))


def test_xnnpack_runs_the_graph(bundle: Bundle) -> None:
    session = open_task(bundle, "parsing")
    operators = {operator["op_name"] for operator in session._interpreter._get_ops_details()}
    assert "DELEGATE" in operators, f"the default delegate was not applied: {operators}"


def test_outputs_survive_the_next_run_and_inputs_are_not_kept(bundle: Bundle) -> None:
    spec, session = bundle.model("landmarks"), open_task(bundle, "landmarks")
    tensors = noise(spec)
    first = session.run(tensors)
    kept = {name: value.copy() for name, value in first.items()}
    tensors[spec.input.name][:] = 0
    second = session.run(noise(spec, 1))
    for name, value in kept.items():
        np.testing.assert_array_equal(first[name], value)
    assert any((second[name] != value).any() for name, value in kept.items())


def test_wrong_inputs_are_typed(bundle: Bundle) -> None:
    spec, session = bundle.model("expression"), open_task(bundle, "expression")
    good = noise(spec)[spec.input.name]
    wrong: list[dict[str, Any]] = [
        {},
        {"picture": good},
        {spec.input.name: good, "more": good},
        {spec.input.name: good[0]},
        {spec.input.name: good.view(np.uint8)},
        {spec.input.name: good.astype(np.float32)},
        {spec.input.name: good.tolist()},
    ]
    for tensors in wrong:
        with pytest.raises(DeviceError, match="model 'expression'"):
            session.run(tensors)
    assert session.run({spec.input.name: good})["logits"].shape == (1, 1, 1, 8)


def test_an_input_that_is_a_strided_view_gives_the_same_bits(bundle: Bundle) -> None:
    spec, session = bundle.model("expression"), open_task(bundle, "expression")
    wide = np.repeat(noise(spec)[spec.input.name], 2, axis=2)
    view, packed = wide[:, :, ::2], np.ascontiguousarray(wide[:, :, ::2])
    assert not view.flags.c_contiguous
    results = [session.run({spec.input.name: value})["logits"] for value in (view, packed)]
    np.testing.assert_array_equal(*results)


def test_a_closed_session_says_so(bundle: Bundle) -> None:
    session = open_task(bundle, "expression")
    session.close()
    session.close()
    with pytest.raises(DeviceError, match="closed"):
        session.run(noise(bundle.model("expression")))


@pytest.mark.parametrize("artifact", [b"", b"TFL3", b"\0" * 4000, b"not a flatbuffer at all" * 40])
def test_what_is_no_model_is_typed(bundle: Bundle, artifact: bytes) -> None:
    with pytest.raises(DeviceError, match=r"artifact 'expression\.int8\.tflite': LiteRT cannot open it"):
        LiteRTBackend().open(bundle.model("expression"), artifact, 1)


def test_a_graph_other_than_the_headers_is_refused(bundle: Bundle) -> None:
    spec = bundle.model("landmarks")
    points = spec.outputs[0]
    other: list[dict[str, Any]] = [
        {"input": dataclasses.replace(spec.input, scale=0.5)},
        {"input": dataclasses.replace(spec.input, shape=(1, 8, 8, 3))},
        {"outputs": (dataclasses.replace(points, zero_point=points.zero_point + 1), *spec.outputs[1:])},
        {"outputs": (dataclasses.replace(points, dtype="uint8"), *spec.outputs[1:])},
        {"outputs": (dataclasses.replace(points, index=40), *spec.outputs[1:])},
    ]
    for change in other:
        with pytest.raises(BundleError, match=r"artifact 'landmarks\.int8\.tflite'"):
            LiteRTBackend().open(dataclasses.replace(spec, **change), bundle.artifact(spec.artifact), 1)


def test_an_older_runtime_will_do(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    from ai_edge_litert import interpreter

    wanted = open_task(bundle, "expression").run(noise(bundle.model("expression")))
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime", ModuleType("tflite_runtime"))
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", interpreter)
    outputs = open_task(bundle, "expression").run(noise(bundle.model("expression")))
    np.testing.assert_array_equal(outputs["logits"], wanted["logits"])


def test_what_ran_is_told(bundle: Bundle) -> None:
    assert open_task(bundle, "expression", 2).ran == Ran("litert", "XNNPACK", None, "int8", 2)


def test_a_missing_runtime_names_the_mend(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(DeviceError, match="pip install ai-edge-litert"):
        open_task(bundle, "expression")
    create("litert")  # nothing is imported to make one, so that it is a package that is looked for
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime", None)
    with pytest.raises(DeviceError, match="pip install ai-edge-litert"):
        create("litert")
