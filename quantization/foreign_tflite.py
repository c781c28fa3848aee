"""ONNX networks that the workshop did not design -> int8 .tflite, with what must stay in float named.

The way is that of our students (torch, converter, quantiser, canonical form), begun by
:class:`.onnx_torch.OnnxNet`. What the quantiser has no int8 form of (EXP, PRELU, ...) stays float between a
dequantise and a quantise. Where int8 costs an output too much, first everything but what has weights goes
back to float, then the ranges of what goes into those are found at run time, frame by frame. An Edge TPU
takes the network up to the first operator in float: ``check`` tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from .canonical import canonicalise
from .convert import ExportError, quiet
from .fallbacks import Fallback, fallbacks
from .kept import Kept
from .onnx_export import onnx_input
from .onnx_torch import OnnxNet
from .ort import OnnxModel, onnx
from .parity import compare
from .progress import progress
from .runtimes import stacked

__all__ = ["FORMS", "Form", "Quantised", "quantise", "to_tflite"]

# The float .tflite against the ONNX file; conversions that work keep more than 80 dB of what is not silent.
_LEAST_FLOAT_DB = 60.0
_FLOAT_TOLERANCE = 1e-4
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D_TRANSPOSE", "FULLY_CONNECTED", "BATCH_MATMUL")
# They move values on the grid that these came on, which costs nothing.
_KEEPING = ("MAX_POOL_2D", "PAD", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPLIT", "TRANSPOSE")


@dataclass(frozen=True, slots=True)
class Form:
    """What of a network is quantised, and how."""

    name: str
    told: str
    static: tuple[str, ...]
    """Operators with ranges from the calibration, by the quantiser's names; empty: ranges at run time."""
    why_float: str
    """Why operators that the quantiser has an int8 form of are float all the same."""


FORMS = (
    Form("int8", "everything that has an int8 form is quantised", ("*",), "its tensors are no numbers"),
    Form(
        "int8-weighted",
        "what has weights is quantised, and what moves its values",
        ("INPUT", "OUTPUT", *_WEIGHTED, *_KEEPING),
        "in int8 the whole lost too much",
    ),
    Form(
        "int8-dynamic",
        "weights are quantised, and what meets them when the network runs",
        (),
        "with fixed ranges the whole lost too much",
    ),
)


@dataclass(frozen=True, slots=True)
class Quantised(Kept):
    """A foreign network as a .tflite, and what that cost."""

    form: Form
    operators: int
    fallbacks: tuple[Fallback, ...]

    def summary(self) -> str:
        """A few lines of text."""
        interpreter = Interpreter(model_content=self.model)
        (image,) = interpreter.get_input_details()
        scale, zero = image["quantization"]
        grid = f", scale {scale:.6g}, zero point {zero}" if scale else ""
        makes = ", ".join(f"{d['name']} {_kind(d)}" for d in interpreter.get_output_details())
        left = sum(len(fallback.island.operators) for fallback in self.fallbacks)
        return "\n".join([
            f"{self.name}.tflite: {len(self.model):,} bytes, {self.operators - left} of {self.operators} "
            f"operators on fixed int8: {self.form.told}",
            f"  image: {_kind(image)}{grid}",
            f"  outputs: {makes}",
            *self.told,
            *(f"  {fallback}" for fallback in self.fallbacks),
        ])  # fmt: skip


def quantise(
    model: bytes,
    calibration: Sequence[NDArray[np.float32]],
    probes: Sequence[NDArray[np.float32]],
    span: tuple[float, float],
    min_sqnr_db: float,
) -> Iterator[Quantised]:
    """A .tflite in each form, the quickest one first, each made when it is asked for.

    Args:
        model: as :func:`quantization.foreign.prepare` leaves it.
        calibration: inputs as the network takes them, [1, ...] each.
        probes: others, that measure.
        span: least and largest value that any image can have at the input.
        min_sqnr_db: what every output shall keep; an output that keeps less is named.

    Raises:
        ExportError: an operator that is not known, or a conversion that does not compute what the file does.
    """
    net = OnnxNet(model)
    planar = onnx_input(onnx.load_from_string(model))[1][1] == 3
    exact = OnnxModel(model)
    wanted = stacked(exact.run({exact.inputs[0]: probe}) for probe in probes)
    wanted = [_channel_last(map_, 1) if planar else map_ for map_ in wanted]
    images = [_channel_last(probe, 0) if planar else probe for probe in probes]
    float_file = to_tflite(net, images[0].shape, planar=planar)
    fresh = [f"output_{i}" for i in range(len(net.outputs))]
    for output in compare(net.outputs, wanted, _answers(float_file, fresh, images)):
        if output.sqnr_db < _LEAST_FLOAT_DB and output.largest_error > _FLOAT_TOLERANCE:
            raise ExportError(
                f"output '{output.output}' of the float .tflite keeps {output.sqnr_db:.1f} dB of what the "
                "ONNX file computes: take the .onnx files (--to onnx), and report this network"
            )
    frames = [_channel_last(frame, 0) if planar else frame for frame in calibration]
    ranges = _ranges(float_file, frames, span)
    for form in FORMS:
        int8 = _quantised(float_file, ranges, form)
        ready = canonicalise(int8, net.outputs)
        parity = compare(net.outputs, wanted, _answers(ready, net.outputs, images))
        found = fallbacks(int8, net.outputs, net.kinds, form.why_float)
        yield Quantised(form.name, ready, parity, min_sqnr_db, form, *found)


def to_tflite(net: OnnxNet, shape: Sequence[int], *, planar: bool) -> bytes:
    """The float .tflite of a network; image ``shape`` is [1, H, W, C].

    A ``planar`` one takes [1, C, H, W]: its image and its maps become channel-last.

    Raises:
        ExportError: an operator cannot be computed, or the converter does not take it; it is named.
    """
    image = torch.zeros(*shape)
    with torch.no_grad():
        outputs = net(image.permute(0, 3, 1, 2) if planar else image)
    maps = [i for i, output in enumerate(outputs) if output.ndim == 4] if planar else []
    with quiet():
        import litert_torch

        module = litert_torch.to_channel_last_io(net, args=[0] if planar else [], outputs=maps).eval()
        try:
            return bytes(litert_torch.convert(module, (image,)).model_content())
        except Exception as error:  # of torch.export or of the converter: no common base
            reason = str(error).strip().splitlines()
            raise ExportError(
                f"the converter gave up: {reason[0] if reason else type(error).__name__}: end the network "
                "before this operator, or take the .onnx files (--to onnx)"
            ) from error


def _channel_last(array: NDArray[Any], batch: int) -> NDArray[Any]:
    """Planes [.., 1, C, H, W] as [.., 1, H, W, C], where it is a map; ``batch`` axes stand before it."""
    if array.ndim != 4 + batch:
        return array
    return np.ascontiguousarray(np.moveaxis(array, batch + 1, -1))


def _answers(
    tflite: bytes, outputs: Sequence[str], images: Sequence[NDArray[np.float32]]
) -> list[NDArray[Any]]:
    """The outputs, by their names in the signature, over all images, in their own unit."""
    runner = Interpreter(model_content=tflite, num_threads=1).get_signature_runner()
    (name, image), *_ = runner.get_input_details().items()
    details = runner.get_output_details()
    answers = (runner(**{name: _stored(frame, image)}) for frame in images)
    return stacked([_real(found[key], details[key]) for key in outputs] for found in answers)


def _kind(detail: Mapping[str, Any]) -> str:
    return f"{np.dtype(detail['dtype']).name} {detail['shape'].tolist()}"


def _grid(detail: Mapping[str, Any]) -> tuple[float, int]:
    scale, zero = detail["quantization"]
    return float(scale) or 1.0, int(zero)


def _stored(values: NDArray[np.float32], detail: Mapping[str, Any]) -> NDArray[Any]:
    if detail["dtype"] != np.int8:
        return values
    scale, zero = _grid(detail)
    return np.clip(np.round(values / scale) + zero, -128, 127).astype(np.int8)


def _real(stored: NDArray[Any], detail: Mapping[str, Any]) -> NDArray[Any]:
    if detail["dtype"] != np.int8:
        return stored
    scale, zero = _grid(detail)
    return ((stored.astype(np.float64) - zero) * scale).astype(np.float32)


def _ranges(
    float_file: bytes, frames: Sequence[NDArray[np.float32]], span: tuple[float, float]
) -> dict[str, Any]:
    """Least and largest value of every tensor over the frames, for the quantiser; the input's are given."""
    with quiet():
        from ai_edge_quantizer import calibrator, quantizer, recipe
        from ai_edge_quantizer.utils import qsv_utils

        tool = quantizer.Quantizer(float_file)
        tool.load_quantization_recipe(recipe.static_wi8_ai8())
        update = qsv_utils.min_max_update
        observer = calibrator.Calibrator(float_file, num_threads=1, qsv_update_func=update)
    interpreter = Interpreter(model_content=float_file)
    (signature, names), *_ = interpreter.get_signature_list().items()
    for frame in progress("tflite: ranges", frames):
        with quiet():
            observer.calibrate({signature: [{names["inputs"][0]: frame}]}, tool._recipe_manager)
    ranges: dict[str, Any] = observer.get_model_qsvs()
    entry = ranges[str(interpreter.get_input_details()[0]["name"])]
    entry["min"], entry["max"] = np.full_like(entry["min"], span[0]), np.full_like(entry["max"], span[1])
    return ranges


def _quantised(float_file: bytes, ranges: Mapping[str, Any], form: Form) -> bytes:
    with quiet():
        from ai_edge_quantizer import qtyping, quantizer

        tool, names = quantizer.Quantizer(float_file), qtyping.TFLOperationName
        for kind in form.static:
            tool.add_static_config(
                regex=".*", operation_name=names(kind), activation_num_bits=8, weight_num_bits=8
            )
        for kind in () if form.static else _WEIGHTED:
            tool.add_dynamic_config(regex=".*", operation_name=names(kind), num_bits=8)
        # Per channel, older kernels read a full connection as garbage without an error.
        full, whole = names.FULLY_CONNECTED, qtyping.QuantGranularity.TENSORWISE
        if form.static:
            tool.add_static_config(
                regex=".*",
                operation_name=full,
                activation_num_bits=8,
                weight_num_bits=8,
                weight_granularity=whole,
            )
        else:
            tool.add_dynamic_config(regex=".*", operation_name=full, num_bits=8, granularity=whole)
        result = tool.quantize(dict(ranges) if form.static else None).quantized_model
    if result is None:
        raise ExportError("the quantiser returned no model")
    return bytes(result)
