"""The shipped fake plays what it is told, quantised as the model would."""

from __future__ import annotations

import numpy as np
import pytest

from edgeface.backends.scripted import ScriptedBackend
from edgeface.bundle import Bundle
from edgeface.errors import ArgumentError, DeviceError
from tests.bundles import TINY


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(TINY)


def blank(bundle: Bundle, task: str) -> dict[str, np.ndarray]:
    spec = bundle.model(task).input
    return {spec.name: np.zeros(spec.shape, spec.dtype)}


def test_values_are_quantised_and_missing_ones_mean_nothing(bundle: Bundle) -> None:
    spec = bundle.model("landmarks")
    session = ScriptedBackend({"landmarks": {"presence": [1e9]}}).open(spec, b"", 1)
    outputs = session.run(blank(bundle, "landmarks"))
    assert outputs["presence"].item() == 127
    assert (outputs["points"] == -128).all()
    assert outputs["points"].shape == spec.output("points").shape
    assert outputs["points"].dtype == np.int8
    assert session.calls == 1


def test_a_function_sees_the_inputs_and_may_fail(bundle: Bundle) -> None:
    spec = bundle.model("expression")
    seen = []

    def script(tensors: dict[str, np.ndarray]) -> dict[str, list[float]]:
        seen.append(tensors["image"].shape)
        if len(seen) == 2:
            raise DeviceError("unplugged")
        return {"logits": [0.0] * 8}

    session = ScriptedBackend({"expression": script}).open(spec, b"", 1)
    outputs = session.run(blank(bundle, "expression"))
    assert (outputs["logits"] == np.clip(spec.output("logits").zero_point, -128, 127)).all()
    with pytest.raises(DeviceError, match="unplugged"):
        session.run(blank(bundle, "expression"))
    assert seen == [spec.input.shape] * 2


def test_mistakes_in_a_script_are_named(bundle: Bundle) -> None:
    with pytest.raises(ArgumentError, match="scripts must map tasks to outputs, not be list"):
        ScriptedBackend([])  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="no script for the task 'parsing'"):
        ScriptedBackend({}).open(bundle.model("parsing"), b"", 1)
    spec = bundle.model("expression")
    for script, message in (({"logit": [0.0]}, "no outputs"), ({"logits": [0.0]}, "'logits' has the shape")):
        with pytest.raises(ArgumentError, match=message):
            ScriptedBackend({"expression": script}).open(spec, b"", 1).run(blank(bundle, "expression"))


def test_it_keeps_the_rules_of_a_session(bundle: Bundle) -> None:
    session = ScriptedBackend({"expression": {}}).open(bundle.model("expression"), b"", 1)
    with pytest.raises(DeviceError, match="must be int8"):
        session.run({"image": np.zeros((1, 2, 3, 3), np.int8)})
    session.close()
    with pytest.raises(DeviceError, match="closed"):
        session.run(blank(bundle, "expression"))
