"""Logits become calibrated probabilities."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from edgeface.bundle import Bundle, ModelSpec
from edgeface.errors import BundleError
from edgeface.geometry import crop_similarity
from edgeface.heads.expression import ExpressionHead
from edgeface.labels import FER8
from tests.bundles import TINY, rescaled, stored

CROP = crop_similarity((10, 10), 20, 0.0, 48, 48)


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return rescaled(Bundle.load(TINY).model("expression"), logits=(0.05, 12))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_scores_are_the_softmax_at_the_temperature(spec: ModelSpec, temperature: float) -> None:
    logits = np.array([1.0, -2.0, 0.5, 3.0, -6.0, 0.0, 5.5, 2.0])
    head = ExpressionHead(dataclasses.replace(spec, head={"temperature": temperature}))
    found = head.decode({"logits": stored(spec.output("logits"), logits)}, CROP)
    weights = np.exp(logits / temperature)
    np.testing.assert_allclose(
        [found.scores[name] for name in FER8.names], weights / weights.sum(), atol=1e-9
    )
    assert found.label == "fear"
    assert sum(found.scores.values()) == pytest.approx(1.0)


def test_of_two_views_it_is_the_mean(spec: ModelSpec) -> None:
    head = ExpressionHead(spec)
    one, other = (
        {"logits": stored(spec.output("logits"), np.roll([4.0, 1.0, 0, 0, 0, 0, 0, -2.0], k))} for k in (0, 3)
    )
    both = head.decode(one, CROP, other).scores
    each = [head.decode(view, CROP).scores for view in (one, other)]
    assert both == pytest.approx({name: (each[0][name] + each[1][name]) / 2 for name in both})


def test_extreme_logits_do_not_overflow(spec: ModelSpec) -> None:
    loud = rescaled(spec, logits=(1000.0, 0))
    outputs = {"logits": np.array([127, *[-128] * 7], np.int8).reshape(1, 1, 1, 8)}
    assert ExpressionHead(loud).decode(outputs, CROP).score == 1.0


@pytest.mark.parametrize(
    "change", [{"labels": "fer7"}, {"labels": None}, {"head": {}}, {"head": {"temperature": 0}}], ids=str
)
def test_a_wrong_model_is_a_bundle_error(spec: ModelSpec, change: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match=r"models\.expression"):
        ExpressionHead(dataclasses.replace(spec, **change))
