"""Does the runtime compute what the models say? Who answers wrongly has no latency."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from edgeface.backends.tflite_graph import runtime
from edgeface.errors import DeviceError
from edgeface.golden import agrees, golden_digest, golden_input

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeface.benchmark.subject import Subject
    from edgeface.manifest import ModelSpec

__all__ = ["check_answers"]


def check_answers(subject: Subject) -> dict[str, dict[str, str]]:
    """Ask every model the known question and compare its answer.

    With the digest in the bundle, if it holds one; otherwise with LiteRT's plain kernels, which share no code
    with XNNPACK or an accelerator, within the rounding that `edgeface.golden.agrees` allows.

    Returns:
        By model: ``result`` ("equal" to the bit, "agrees" up to rounding, "unchecked" where there is nothing
        to compare with) and ``against``, what it was compared with.

    Raises:
        DeviceError: an answer is wrong; there is no result then.
        BundleError: a model is not the one that its bundle describes.
    """
    told = {}
    for task, spec in subject.specs.items():
        session = subject.backend.open(spec, subject.bundle.artifact(spec.artifact), subject.threads)
        try:
            told[task] = _compared(subject, spec, session.run(golden_input(spec)))
        finally:
            session.close()
    return told


def _compared(subject: Subject, spec: ModelSpec, outputs: dict[str, NDArray[Any]]) -> dict[str, str]:
    if spec.golden is not None and golden_digest(spec, outputs) == spec.golden:
        return {"result": "equal", "against": "the digest in the bundle"}
    wanted = _plain_answer(subject, spec)
    if wanted is None and spec.golden is None:
        return {"result": "unchecked", "against": "nothing: no digest in the bundle, no LiteRT here"}
    if wanted is None or not agrees(spec, outputs, wanted):
        raise DeviceError(
            f"backend {subject.backend.name!r}: answers wrongly for {spec.task!r}, so there is no result; "
            "update its runtime or firmware, or name another backend"
        )
    equal = golden_digest(spec, outputs) == golden_digest(spec, wanted)
    return {"result": "equal" if equal else "agrees", "against": "LiteRT's plain kernels"}


def _plain_answer(subject: Subject, spec: ModelSpec) -> dict[str, NDArray[Any]] | None:
    """The answer of LiteRT without XNNPACK; None where the model has no such form or LiteRT is not there."""
    forms = subject.bundle.models[spec.task]
    if "tflite" not in forms.formats:
        return None
    plain = forms.for_formats(frozenset({"tflite"}))
    try:
        interpreter_class = runtime()[1]
        kernels = sys.modules[interpreter_class.__module__].OpResolverType
        interpreter = interpreter_class(
            model_content=subject.bundle.artifact(plain.artifact),
            experimental_op_resolver_type=kernels.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
        (image,) = golden_input(plain).values()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        outputs = interpreter.get_output_details()
        return {
            output.name: interpreter.get_tensor(outputs[output.index]["index"]) for output in plain.outputs
        }
    except (DeviceError, RuntimeError, ValueError, AttributeError):
        return None
