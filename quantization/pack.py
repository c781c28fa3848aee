"""The last room: a trained module becomes a checked int8 file, and checked files become one bundle.

:func:`export_student` runs convert -> calibrate -> canonicalise -> Edge TPU check and compares what came
out with the module that went in, output by output, because a converter is free to reorder outputs and a
quantiser to ruin one. :func:`build_bundle` puts the files, their manifest entries and their model cards
into the single file that ``edgeface.Bundle`` verifies before it parses. What only the workshop can say goes
with them: LiteRT's answer to the known question, by which a device judges its accelerators, and how many
operators an Edge TPU would leave to the CPU.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from torch import nn

from edgeface import Bundle
from edgeface.backends import Backend, Ran
from edgeface.backends.litert import LiteRTBackend
from edgeface.backends.onnx import OnnxBackend
from edgeface.edgetpu_compiler import ON_CPU
from edgeface.golden import agrees, golden_digest, golden_input
from edgeface.manifest import InputSpec, ModelSpec, OutputSpec, parse_model
from quantization import edgetpu
from quantization.calibrate import INPUT_HIGH, INPUT_LOW, INPUT_SCALE, to_int8_tflite
from quantization.canonical import canonicalise
from quantization.convert import ExportError, module_outputs, to_float_tflite
from quantization.onnx_export import export_onnx
from quantization.tall import exchanged

__all__ = ["Exported", "Student", "build_bundle", "export_student", "export_tall", "student_of"]

_FLOAT_TOLERANCE = 1e-4  # of the largest magnitude; conversions that work agree to 1e-6
_PARITY_FRAMES = 8


@dataclass(frozen=True, slots=True)
class Exported:
    """A student that left the workshop: its int8 file and what is known about it."""

    tflite: bytes
    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    sqnr_db: Mapping[str, float]
    """Signal over quantisation noise per output, dB, against the module on calibration frames."""
    edgetpu: edgetpu.EdgeTpuReport
    variants: Mapping[str, bytes] = field(default_factory=dict)
    """The same student in other formats, by their names in the manifest."""


@dataclass(frozen=True, slots=True)
class Student:
    """All that the manifest says about one task, beside the tensors that :class:`Exported` knows.

    ``crop``, ``head`` and ``labels`` are the manifest's own entries for the task; ``card`` is the model
    card, Markdown.
    """

    task: str
    exported: Exported
    crop: Mapping[str, Any] | None
    head: Mapping[str, Any]
    labels: str | None
    licence: str
    description: str
    card: str
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def artifact(self) -> str:
        """Name of the network's file inside the bundle."""
        return f"{self.task}.int8.tflite"

    @property
    def variants(self) -> dict[str, str]:
        """Names of the network's files in other formats, by format."""
        return {format_: f"{self.task}.int8.{format_}" for format_ in self.exported.variants}

    def manifest(self) -> dict[str, Any]:
        """The manifest entry of this student, as plain JSON values.

        Raises:
            ExportError: LiteRT has no fast kernels here, whose answer is the one to keep, or the ONNX file
                answers otherwise.
        """
        image, report = self.exported.input, self.exported.edgetpu
        entry = {
            "task": self.task,
            "artifact": self.artifact,
            "format": "tflite",
            "precision": "int8",
            "input": asdict(image) | {"shape": list(image.shape)},
            "outputs": [asdict(spec) | {"shape": list(spec.shape)} for spec in self.exported.outputs],
            "crop": dict(self.crop) if self.crop is not None else None,
            "head": dict(self.head),
            "labels": self.labels,
            "metrics": {**self.metrics, ON_CPU: len(report.operators) - report.mapped},
            "licence": self.licence,
            "description": self.description,
            "variants": self.variants,
        }
        return entry | {"golden": _golden(entry, self.exported)}


def export_student(
    model: nn.Module,
    outputs: Sequence[str],
    calibration: Iterable[NDArray[np.float32]],
    *,
    percentile: float = 100.0,
    min_sqnr_db: float = 10.0,
    require_edgetpu: bool = True,
    threads: int = 1,
) -> Exported:
    """Turn a trained module into a checked int8 file.

    Args:
        model: maps float [1, 3, H, W] to one 4-D tensor or a tuple of them; it is copied and left as it was.
            Outputs that its class names in ``two_sided`` get a range symmetric about zero.
        outputs: names of the tensors ``forward`` returns, in its order.
        calibration: NHWC frames, float [1, H, W, 3] or [H, W, 3] in [-1, 127/128]. The first one gives H
            and W.
        percentile: as for :func:`quantization.calibrate.to_int8_tflite`.
        min_sqnr_db: an output that is noisier than this after quantisation stops the export.
        require_edgetpu: stop the export when an operator would not map to an Edge TPU.
        threads: threads of the calibrating interpreter.

    Raises:
        ExportError: bad names or frames, an output that does not match the module, or an unmapped operator.
    """
    frames = iter(calibration)
    probes = [np.asarray(frame, np.float32) for frame in itertools.islice(frames, _PARITY_FRAMES)]
    if not probes:
        raise ExportError("no calibration frames: give at least one crop as the runtime would make it")
    probes = [probe if probe.ndim == 4 else probe[None] for probe in probes]
    if probes[0].ndim != 4:
        raise ExportError(f"calibration frame 0 is {probes[0].shape[1:]}, not [H, W, C]")
    height, width, channels = (int(side) for side in probes[0].shape[1:])
    net = copy.deepcopy(model).cpu().float().eval()
    if len(set(outputs)) != len(outputs):
        raise ExportError(f"output names repeat: {list(outputs)}")
    count = len(module_outputs(net, _nchw(probes[0])))
    if count != len(outputs):
        raise ExportError(
            f"forward returns {count} tensors, but {len(outputs)} names were given: {list(outputs)}"
        )

    float_file = to_float_tflite(net, height, width, channels=channels)
    _check_conversion(net, float_file, outputs, (1, height, width, channels))
    two_sided = [i for i, name in enumerate(outputs) if name in getattr(type(model), "two_sided", ())]
    calibrating = itertools.chain(probes, frames)
    tflite = canonicalise(
        to_int8_tflite(float_file, calibrating, percentile=percentile, two_sided=two_sided, threads=threads),
        outputs,
    )
    image, specs = _tensor_specs(tflite, outputs)
    report = edgetpu.check(tflite)
    if require_edgetpu and not report.fully_mapped:
        raise ExportError(
            f"{report.summary()}\n  a student for CPUs alone says gates.edgetpu = false in its recipe"
        )
    return Exported(
        tflite, image, specs, _check_quantisation(net, tflite, specs, probes, min_sqnr_db), report
    )


def export_tall(
    model: nn.Module,
    exported: Exported,
    frames: Sequence[NDArray[np.float32]],
    *,
    min_sqnr_db: float = 10.0,
) -> Exported:
    """The same int8 network for frames that are higher than wide, checked with ``model`` as the first was.

    ``frames`` are calibration frames of the first, float [H, W, 3] in [-1, 127/128] with H <= W.

    Raises:
        ExportError: its rows and columns cannot be exchanged, or it is not what the module computes.
    """
    tflite = exchanged(exported.tflite)
    image, specs = _tensor_specs(tflite, [spec.name for spec in exported.outputs])
    probes = [_tall(np.asarray(frame, np.float32)) for frame in frames[:_PARITY_FRAMES]]
    net = copy.deepcopy(model).cpu().float().eval()
    ratios = _check_quantisation(net, tflite, specs, probes, min_sqnr_db)
    variants = {}
    if "onnx" in exported.variants:
        variants["onnx"] = export_onnx(
            net, [spec.name for spec in specs], [_tall(frame) for frame in frames]
        ).s8s8
    return Exported(tflite, image, specs, ratios, edgetpu.check(tflite), variants)


def student_of(bundle: Bundle, task: str) -> Student:
    """A student out of a finished bundle, to be put into another."""
    spec = bundle.model(task)
    tflite = bundle.artifact(spec.artifact)
    variants = {format_: bundle.artifact(name) for format_, name in spec.variants.items()}
    return Student(
        task=task,
        exported=Exported(tflite, spec.input, spec.outputs, {}, edgetpu.check(tflite), variants),
        crop=None if spec.crop is None else asdict(spec.crop),
        head=spec.head,
        labels=spec.labels,
        licence=spec.licence,
        description=spec.description,
        card=bundle.card(task),
        metrics=spec.metrics,
    )


def build_bundle(
    students: Iterable[Student], *, name: str, version: str, created_by: str, licence: str
) -> bytes:
    """Assemble the bundle file: one verified header, then every network and model card.

    Raises:
        ExportError: two students claim one task, or from :meth:`Student.manifest`.
    """
    from edgeface.bundle import encode_bundle

    models: dict[str, Any] = {}
    cards: dict[str, str] = {}
    artifacts: dict[str, bytes] = {}
    for student in students:
        if student.task in models:
            raise ExportError(f"two students for the task '{student.task}'")
        models[student.task] = student.manifest()
        cards[student.task] = f"{student.task}.md"
        artifacts[student.artifact] = student.exported.tflite
        artifacts |= {student.variants[name]: file for name, file in student.exported.variants.items()}
        artifacts[cards[student.task]] = student.card.encode()
    header = {
        "name": name,
        "version": version,
        "created_by": created_by,
        "licence": licence,
        "models": models,
        "cards": cards,
    }
    return encode_bundle(header, artifacts)


def _golden(entry: Mapping[str, Any], exported: Exported) -> str:
    """Digest of the answer of LiteRT's fast kernels, which is the same to the bit on x86-64 and on ARM.

    The ONNX file must agree with it as far as a device demands that of an accelerator.
    """
    spec = parse_model(json.loads(json.dumps(entry)), f"models.{entry['task']}")  # as a device reads it
    ran, answer = _asked(LiteRTBackend(), spec, exported.tflite)
    if ran.delegate is None:
        raise ExportError(
            "LiteRT runs without XNNPACK here, and its plain kernels round otherwise: is /sys mounted?"
        )
    if "onnx" in exported.variants:
        _, other = _asked(OnnxBackend(), spec.for_formats(OnnxBackend.formats), exported.variants["onnx"])
        if not agrees(spec, other, answer):
            raise ExportError(
                f"the ONNX file of '{spec.task}' answers the known question otherwise than the .tflite, so "
                "that devices would refuse it: give more varied calibration frames"
            )
    return golden_digest(spec, answer)


def _asked(backend: Backend, spec: ModelSpec, artifact: bytes) -> tuple[Ran, Mapping[str, NDArray[Any]]]:
    session = backend.open(spec, artifact, threads=1)
    try:
        answer = session.run(golden_input(spec))
        return session.ran, answer
    finally:
        session.close()


def _tall(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    """The left of a frame [H, W, 3] in a black one [1, W, H, 3]."""
    height, width = frame.shape[:2]
    return np.pad(frame[:, :height], ((0, width - height), (0, 0), (0, 0)), constant_values=INPUT_LOW)[None]


def _nchw(frame: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(frame.transpose(0, 3, 1, 2)))


def _reference(net: nn.Module, frame: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [output.permute(0, 2, 3, 1).numpy() for output in module_outputs(net, _nchw(frame))]


def _check_conversion(
    net: nn.Module, float_file: bytes, outputs: Sequence[str], shape: tuple[int, ...]
) -> None:
    """Compare the float file with the module on noise, output by output."""
    noise = np.random.default_rng(0).uniform(INPUT_LOW, INPUT_HIGH, shape).astype(np.float32)
    interpreter = Interpreter(model_content=float_file, num_threads=1)
    runner = interpreter.get_signature_runner()
    results = runner(**{next(iter(runner.get_input_details())): noise})
    for position, (name, expected) in enumerate(zip(outputs, _reference(net, noise), strict=True)):
        result = results[f"output_{position}"]
        if result.shape != expected.shape:
            raise ExportError(
                f"output '{name}' is {result.shape} in the file and {expected.shape} in the module"
            )
        error = float(np.abs(result - expected).max())
        if not error <= _FLOAT_TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise ExportError(f"output '{name}' differs from the module by {error:g} after conversion")


def _tensor_specs(tflite: bytes, outputs: Sequence[str]) -> tuple[InputSpec, tuple[OutputSpec, ...]]:
    interpreter = Interpreter(model_content=tflite, num_threads=1)
    (image,) = interpreter.get_input_details()
    image_spec = InputSpec("image", *_quantised("image", image), mean=128)
    if (image_spec.dtype, image_spec.scale, image_spec.zero_point) != ("int8", INPUT_SCALE, 0):
        raise ExportError(f"the input is {image_spec}, but must be int8 with scale 1/128 and zero point 0")
    details = interpreter.get_output_details()
    return image_spec, tuple(
        OutputSpec(name, i, *_quantised(name, details[i])) for i, name in enumerate(outputs)
    )


def _quantised(name: str, detail: Mapping[str, Any]) -> tuple[tuple[int, ...], str, float, int]:
    """Shape, type, scale and zero point of a tensor that has one scale."""
    scales = detail["quantization_parameters"]["scales"]
    zero_points = detail["quantization_parameters"]["zero_points"]
    if len(scales) != 1:
        raise ExportError(f"tensor '{name}' has {len(scales)} scales; full int8 needs exactly one")
    shape = tuple(int(side) for side in detail["shape"])
    return shape, np.dtype(detail["dtype"]).name, float(scales[0]), int(zero_points[0])


def _check_quantisation(
    net: nn.Module,
    tflite: bytes,
    specs: Sequence[OutputSpec],
    probes: Sequence[NDArray[np.float32]],
    min_sqnr_db: float,
) -> dict[str, float]:
    """Signal to quantisation noise per output on real frames; catches swapped outputs and ruined ones."""
    interpreter = Interpreter(model_content=tflite, num_threads=1)
    interpreter.allocate_tensors()
    input_index = interpreter.get_input_details()[0]["index"]
    output_details = interpreter.get_output_details()
    signal, noise = np.zeros(len(specs)), np.zeros(len(specs))
    for probe in probes:
        stored = np.clip(np.round(probe / INPUT_SCALE), -128, 127).astype(np.int8)
        interpreter.set_tensor(input_index, stored)
        interpreter.invoke()
        for i, (spec, expected) in enumerate(zip(specs, _reference(net, probe), strict=True)):
            result = (
                interpreter.get_tensor(output_details[i]["index"]).astype(np.float64) - spec.zero_point
            ) * spec.scale
            if result.shape != expected.shape:
                raise ExportError(
                    f"output '{spec.name}' is {result.shape} in the file, {expected.shape} in the module"
                )
            signal[i] += float(np.square(expected, dtype=np.float64).sum())
            noise[i] += float(np.square(result - expected).sum())
    ratios = 10 * np.log10(np.maximum(signal, 1e-30) / np.maximum(noise, 1e-30))
    for spec, ratio in zip(specs, ratios, strict=True):
        if not ratio >= min_sqnr_db:  # a ratio that is no number holds nothing
            raise ExportError(
                f"output '{spec.name}' keeps only {ratio:.1f} dB after quantisation "
                f"(at least {min_sqnr_db:g} wanted): give more varied calibration frames, "
                "look for a tensor with a few extreme values before it, or train a quantised last course "
                "(schedule.quantised)"
            )
    return {spec.name: round(float(ratio), 2) for spec, ratio in zip(specs, ratios, strict=True)}
