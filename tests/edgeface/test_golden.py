"""The known question is the same everywhere, and wrong answers to it are told from rounding."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from edgeface.backends.litert import LiteRTBackend
from edgeface.bundle import Bundle
from edgeface.golden import agrees, golden_digest, golden_input


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.builtin()


def answers(bundle: Bundle, task: str, tensors: dict[str, Any]) -> dict[str, Any]:
    spec = bundle.model(task)
    return LiteRTBackend().open(spec, bundle.artifact(spec.artifact), 1).run(tensors)


def test_the_question_never_changes(bundle: Bundle) -> None:
    """Bundles hold digests of the answer: another question would refuse every backend."""
    (image,) = golden_input(bundle.model("expression")).values()
    assert (image.shape, image.dtype) == ((1, 48, 48, 3), np.int8)
    assert (
        hashlib.sha256(image.tobytes()).hexdigest()
        == "5583c7745a1d3353dc6abf8b1b463268ca7aefb0a176198e9080794a659ba88c"
    )


@pytest.mark.parametrize("task", ["detection", "expression", "landmarks", "parsing"])
def test_rounding_agrees_and_another_answer_does_not(bundle: Bundle, task: str) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    spec = bundle.model(task)
    question = golden_input(spec)
    right = answers(bundle, task, question)
    assert golden_digest(spec, right) == golden_digest(spec, answers(bundle, task, question))
    # LiteRT's reference kernels round otherwise than XNNPACK's.
    plain = Interpreter(
        model_content=bundle.artifact(spec.artifact),
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
    )
    plain.allocate_tensors()
    plain.set_tensor(plain.get_input_details()[0]["index"], question[spec.input.name])
    plain.invoke()
    details = plain.get_output_details()
    rounded = {output.name: plain.get_tensor(details[output.index]["index"]) for output in spec.outputs}
    assert golden_digest(spec, rounded) != golden_digest(spec, right)
    assert agrees(spec, rounded, right)
    flat = {spec.input.name: np.zeros(spec.input.shape, np.int8)}
    assert not agrees(spec, answers(bundle, task, flat), right)
    ((name, image),) = question.items()
    for wrong in (~image, image[..., ::-1].copy(), image[:, ::-1].copy()):  # colours, their order, rows
        assert not agrees(spec, answers(bundle, task, {name: wrong}), right)
    for value in (-128, 0, 127):
        constant = {name: np.full_like(tensor, value) for name, tensor in right.items()}
        assert not agrees(spec, constant, right)
