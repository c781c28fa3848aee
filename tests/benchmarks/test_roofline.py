"""The roofline: the models that it cuts compute what the students do, and its arithmetic."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from benchmarks import published
from benchmarks.roofline import __main__ as command
from benchmarks.roofline import graphs, page, peaks
from edgeface.bundle import Bundle
from edgeface.golden import golden_input


@pytest.fixture(scope="module")
def expression() -> bytes:
    bundle = Bundle.builtin()
    return bundle.artifact(bundle.model("expression").artifact)


def test_operators_in_turn_are_the_student(expression: bytes) -> None:
    """Each cut model, fed with what was before it in the whole (plain kernels), gives what was behind it."""
    spec = Bundle.builtin().model("expression")
    (image,) = golden_input(spec).values()
    whole = Interpreter(
        model_content=expression,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    whole.allocate_tensors()
    whole.set_tensor(whole.get_input_details()[0]["index"], image)
    whole.invoke()
    known = {
        detail["name"]: whole.get_tensor(detail["index"])
        for detail in whole.get_tensor_details()
        if detail["name"] and detail["shape"].size
    }
    told = graphs.operators(expression)
    assert len(told) > 10
    for operator in told:
        alone = Interpreter(model_content=operator.model)
        alone.allocate_tensors()
        for detail in alone.get_input_details():
            alone.set_tensor(detail["index"], known[detail["name"]])
        alone.invoke()
        (out,) = alone.get_output_details()
        apart = np.abs(alone.get_tensor(out["index"]).astype(int) - known[out["name"]].astype(int))
        assert apart.max() <= 1, operator.name


def test_macs_of_a_student(expression: bytes) -> None:
    """58.7 million, as its card says of the same network; every MAC is in an operator that has weights."""
    told = graphs.operators(expression)
    assert sum(one.macs for one in told) == pytest.approx(58.7e6, rel=0.01)
    assert all(one.macs for one in told if "CONV" in one.kind)
    assert all(one.bytes > 0 for one in told)


def test_a_pad_goes_with_its_convolution() -> None:
    bundle = Bundle.builtin()
    kinds = [one.kind for one in graphs.operators(bundle.artifact(bundle.model("detection").artifact))]
    assert "PAD + CONV_2D" in kinds
    assert "PAD" not in kinds


@pytest.mark.parametrize("quantised", [True, False])
def test_a_made_convolution_runs(quantised: bool) -> None:
    model, macs = graphs.convolution(8, 16, 3, quantised=quantised)
    assert macs == 8 * 8 * 16 * 16 * 9
    peaks.call_of(model)()
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    assert interpreter.get_input_details()[0]["dtype"] is (np.int8 if quantised else np.float32)


def test_the_roof_is_the_greater_of_both() -> None:
    roof = peaks.Roof(int8=1e9, fp32=1e8, bandwidth={1000: 1e9, 10_000: 1e8})
    assert roof.least_ns(macs=100, size=10) == pytest.approx(100)
    assert roof.least_ns(macs=1, size=1000) == pytest.approx(1000)
    assert roof.least_ns(macs=1, size=2000) == pytest.approx(20_000)
    assert roof.least_ns(macs=1, size=20_000) == pytest.approx(200_000)  # beyond all: the slowest


def test_a_whole_run(tmp_path: Path) -> None:
    import os

    before = os.sched_getaffinity(0)
    out = tmp_path / "roofline.json"
    try:
        assert command.main(["--seconds", "0.001", "--rounds", "2", "--out", str(out)]) == 0
    finally:
        os.sched_setaffinity(0, before)
    found = json.loads(out.read_text())
    assert published.faults(out, found) == []
    assert set(found["students"]) == {"detection", "landmarks", "parsing", "expression"}
    assert found["frame"]["times_the_bare_runs"]["of_minima"] > 1
    assert "| CONV_2D |" in page.markdown(found)
    assert out.with_suffix(".html").read_text().count("<svg") > 3
