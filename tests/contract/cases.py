"""A model in each format, with its answer to the golden question, for the suite to put to a backend."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeface.backends.litert import LiteRTBackend
from edgeface.backends.scripted import ScriptedBackend
from edgeface.bundle import Bundle, ModelSpec
from edgeface.golden import golden_digest, golden_input
from tests.bundles import TINY
from tests.edgeface.backends import delegates, onnx_models

# Of the answer to the golden question, on the int8 kernels of x86-64 and ARM.
EXPRESSION = "5f6efe85dfe632f38f5d503cbffdfe4268c0b92c17bfc9f874f3f413b70e2fe6"
# Names a bundle whose models the suite takes wherever they are in a format that a backend opens. A real Coral
# needs one, because only Google's compiler writes what it runs, and so does a format that is not in `CASES`.
OWN_BUNDLE = "EDGEFACE_CONTRACT_BUNDLE"


@dataclass(frozen=True)
class Case:
    """A model, and what is known of its answer to `golden_input`: all of it, or its digest."""

    spec: ModelSpec
    artifact: bytes
    wanted: dict[str, np.ndarray]
    digest: str


def _tiny() -> tuple[ModelSpec, bytes]:
    bundle = Bundle.load(TINY)
    spec = bundle.model("expression")
    return spec, bundle.artifact(spec.artifact)


def _asked(spec: ModelSpec, artifact: bytes) -> dict[str, np.ndarray]:
    session = LiteRTBackend().open(spec, artifact, 1)
    try:
        return session.run(golden_input(spec))
    finally:
        session.close()


def _tflite() -> Case:
    spec, artifact = _tiny()
    return Case(spec, artifact, _asked(spec, artifact), EXPRESSION)


def _onnx() -> Case:
    spec = onnx_models.SPEC
    wanted = onnx_models.expected(golden_input(spec)["image"])
    return Case(spec, onnx_models.student(), wanted, golden_digest(spec, wanted))


def _edgetpu() -> Case:
    """For the test's own library alone: no Edge TPU has this operator's program."""
    spec = delegates.SPEC
    wanted = {"logits": delegates.expected(golden_input(spec)["image"])}
    return Case(spec, delegates.compiled_model(), wanted, golden_digest(spec, wanted))


def played(spec: ModelSpec, tensors: Any) -> dict[str, np.ndarray]:
    """What the script of `scripted` answers, as stored: something that hangs on every pixel."""
    image = tensors[spec.input.name].astype(np.int64).ravel()
    total = int((image * np.arange(1, image.size + 1)).sum())
    return {
        output.name: ((total + np.arange(np.prod(output.shape))) % 100)
        .astype(output.dtype)
        .reshape(output.shape)
        for output in spec.outputs
    }


def scripted() -> ScriptedBackend:
    """The fake, with a script that computes; what a script gives are real values, not stored ones."""
    spec, _ = _tiny()

    def script(tensors: Any) -> dict[str, np.ndarray]:
        answer = played(spec, tensors)
        return {o.name: (answer[o.name].astype(float) - o.zero_point) * o.scale for o in spec.outputs}

    return ScriptedBackend({spec.task: script})


def scripted_case() -> Case:
    spec, artifact = _tiny()
    wanted = played(spec, golden_input(spec))
    return Case(spec, artifact, wanted, golden_digest(spec, wanted))


def own(formats: frozenset[str]) -> Case | None:
    """A model of the bundle that `OWN_BUNDLE` names, in one of ``formats``; None if there is none."""
    path = os.environ.get(OWN_BUNDLE)
    if not path:
        return None
    bundle = Bundle.load(path)
    for spec in bundle.models.values():
        if spec.formats & formats and "tflite" in spec.formats:
            found, plain = spec.for_formats(formats), spec.for_formats(frozenset({"tflite"}))
            wanted = _asked(plain, bundle.artifact(plain.artifact))
            return Case(found, bundle.artifact(found.artifact), wanted, golden_digest(found, wanted))
    return None


CASES: dict[str, Callable[[], Case]] = {"tflite": _tflite, "onnx": _onnx, "edgetpu": _edgetpu}
