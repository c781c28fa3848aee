"""PyTorch student -> ONNX: fp32, fp16, and int8 as Q/DQ pairs in two recipes.

**Layout.** Image and outputs are NCHW, ONNX's own layout: every consumer (TensorRT, onnxruntime, OpenVINO)
computes in it, and a channel-last image would put a TRANSPOSE into a graph that has none. The image is float
[1, 3, H, W] in [-1, 127/128], (pixel - 128) / 128, in every precision, and outputs are float: one host code
serves them all.

**Recipes.** ``U8S8`` is for CPUs: unsigned activations with a zero point, so that a ReLU vanishes into the
range, and every operator that onnxruntime has an integer kernel for. ``S8S8`` is for TensorRT, which wants
zero points of 0 and no int32 bias, and its own rule for where pairs stand: on the inputs of what has
weights, not on its outputs, so that bias, shortcut and ReLU join the convolution (NVIDIA, "Working with
quantized types"). Its weights stay float with a pair of their own, the only form that TensorRT reads in
every version since 8.0.

**Exporter.** ``torch.onnx`` with ``dynamo=False`` needs no further package and writes one operator per layer;
its successor needs onnxscript. torch is pinned, so that it stays until we move.
"""

from __future__ import annotations

import copy
import io
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from quantization.calibrate import INPUT_SCALE
from quantization.convert import ExportError, module_outputs, quiet
from quantization.ort import onnx

__all__ = [
    "S8S8",
    "U8S8",
    "OnnxFiles",
    "QdqRecipe",
    "drop_unread_weights",
    "export_onnx",
    "onnx_input",
    "to_float_onnx",
    "to_half_onnx",
    "to_qdq_onnx",
]

_OPSET = 17
_LAYOUT = frozenset({"Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})


@dataclass(frozen=True, slots=True)
class QdqRecipe:
    """How a network is quantised: activations unsigned with a zero point, or signed and symmetric."""

    name: str
    symmetric: bool
    operators: tuple[str, ...] = ()
    """Operators whose inputs get a pair; empty: all that onnxruntime knows an integer kernel for."""


U8S8 = QdqRecipe("u8s8", symmetric=False)
S8S8 = QdqRecipe("s8s8", symmetric=True, operators=("Conv", "ConvTranspose", "Gemm", "MatMul"))


@dataclass(frozen=True, slots=True)
class OnnxFiles:
    """The ONNX files of one student."""

    fp32: bytes
    fp16: bytes
    u8s8: bytes
    s8s8: bytes


def export_onnx(
    model: nn.Module,
    outputs: Sequence[str],
    calibration: Iterable[NDArray[np.float32]],
    *,
    percentile: float = 100.0,
) -> OnnxFiles:
    """All ONNX files of a student.

    Args:
        model: as for :func:`to_float_onnx`.
        outputs: names of the tensors ``forward`` returns, in its order.
        calibration: the frames that its .tflite is calibrated on, float [H, W, 3] or [1, H, W, 3].
        percentile: as for :func:`to_qdq_onnx`.

    Raises:
        ExportError: no calibration frame, frames of several sizes, or a network that does not fit.
    """
    frames = [_nchw(frame) for frame in calibration]
    if not frames:
        raise ExportError("no calibration frames: give at least one crop as the runtime would make it")
    fp32 = to_float_onnx(model, outputs, *frames[0].shape[2:])
    u8s8, s8s8 = (to_qdq_onnx(fp32, frames, recipe, percentile=percentile) for recipe in (U8S8, S8S8))
    return OnnxFiles(fp32, to_half_onnx(fp32), u8s8, s8s8)


def to_float_onnx(model: nn.Module, outputs: Sequence[str], height: int, width: int) -> bytes:
    """Convert ``model`` to a float32 ONNX file with static batch 1.

    Args:
        model: maps float [1, 3, height, width] to one 4-D tensor or a tuple of them. It is copied, switched
            to eval mode on the CPU and left as it was.
        outputs: names of the tensors ``forward`` returns, in its order.
        height: input rows in pixels.
        width: input columns in pixels.

    Returns: The bytes of the .onnx: ``image`` float [1, 3, height, width] to the named float outputs, NCHW.

    Raises:
        ExportError: an output is not a 4-D tensor of batch 1, or the names do not fit.
    """
    net = copy.deepcopy(model).cpu().float().eval()
    image = torch.zeros(1, 3, height, width)
    count = len(module_outputs(net, image))
    if count != len(outputs):
        raise ExportError(
            f"forward returns {count} tensors, but {len(outputs)} names were given: {list(outputs)}"
        )
    target = io.BytesIO()
    with quiet():
        torch.onnx.export(
            net,
            (image,),
            target,
            dynamo=False,
            opset_version=_OPSET,
            input_names=["image"],
            output_names=list(outputs),
        )
    return target.getvalue()


def to_half_onnx(model: bytes) -> bytes:
    """The same network computing in float16; image and outputs stay float32."""
    from onnxruntime.transformers import float16

    kept = [name for name in float16.DEFAULT_OP_BLOCK_LIST if name != "Resize"]  # it has fp16 kernels by now
    with quiet():
        half = float16.convert_float_to_float16(
            onnx.load_from_string(model), keep_io_types=True, op_block_list=kept
        )
    return bytes(half.SerializeToString())


def to_qdq_onnx(
    model: bytes,
    calibration: Iterable[NDArray[np.float32]],
    recipe: QdqRecipe,
    *,
    image_grid: bool = True,
    percentile: float = 100.0,
) -> bytes:
    """Quantise a one-input float network: per-channel int8 weights, static ranges, float outputs.

    Args:
        model: a float ONNX file with static shapes, opset 13 or later.
        calibration: float frames [1, C, H, W], as the network takes them. Walked once.
        recipe: which pairs go where.
        image_grid: the input's grid is declared as 1/128 around 0, one step per grey level, whatever the
            frames contained. False where the network is not fed (pixel - 128) / 128: then it is observed.
        percentile: share of all values over the frames, percent, that a tensor's range must hold on either
            side, by onnxruntime's histograms; 100 is the true minimum and maximum.

    Returns: The bytes of the .onnx. The last pair before each output is dropped, which leaves the head its
        full resolution for free.

    Raises:
        ExportError: no calibration frame, or one that does not fit.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name, shape = onnx_input(onnx.load_from_string(model))
    reader = _Frames(name, shape, calibration)
    options: dict[str, Any] = {"ActivationSymmetric": recipe.symmetric, "WeightSymmetric": True}
    if recipe.symmetric:
        options |= {"QuantizeBias": False, "AddQDQPairToWeight": True}
        options["OpTypesToExcludeOutputQuantization"] = list(recipe.operators)
    method = CalibrationMethod.MinMax
    if percentile < 100:
        # It shares what is left out between both ends.
        method, options["CalibPercentile"] = CalibrationMethod.Percentile, 2 * percentile - 100
    if image_grid:
        middle = np.array(0, np.int8) if recipe.symmetric else np.array(128, np.uint8)
        grid = {"scale": np.array(INPUT_SCALE, np.float32), "zero_point": middle}
        options["TensorQuantOverrides"] = {name: [grid]}
    with tempfile.TemporaryDirectory() as folder, quiet():
        source, prepared, result = (Path(folder) / f"{stage}.onnx" for stage in ("float", "ready", "int8"))
        source.write_bytes(model)
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(result),
            reader,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8 if recipe.symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=method,
            op_types_to_quantize=list(recipe.operators) or None,
            extra_options=options,
        )
        quantised = onnx.load(result)
    _free_outputs(quantised)
    return bytes(quantised.SerializeToString())


def onnx_input(model: onnx.ModelProto) -> tuple[str, tuple[int, ...]]:
    """Name and shape of the one image that a network takes.

    Raises:
        ExportError: it takes several tensors, or one of no fixed size.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise ExportError(f"the network has {len(inputs)} inputs: {[v.name for v in inputs]}; one is wanted")
    name, sides = inputs[0].name, inputs[0].type.tensor_type.shape.dim
    shape = tuple(int(side.dim_value) for side in sides)
    if len(shape) != 4:
        raise ExportError(f"input '{name}' is {list(shape)}; an image is wanted, [1, C, H, W]")
    if not all(side > 0 for side in shape):
        told = ", ".join(side.dim_param or str(side.dim_value or "?") for side in sides)
        axes = "1HWC" if shape[3] in (1, 3) else "1CHW"
        wanted = ",".join(str(n) if n > 0 else axis for n, axis in zip(shape, axes, strict=True))
        raise ExportError(
            f"input '{name}' is [{told}]; it must have one size. With the network's own height and width: "
            "python -m onnxruntime.tools.make_dynamic_shape_fixed "
            f"--input_name {name} --input_shape {wanted} in.onnx out.onnx"
        )
    return name, shape


def _nchw(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    """A student's calibration frame, [1, H, W, C] or [H, W, C], as [1, C, H, W]."""
    frame = frame if frame.ndim == 4 else frame[None]
    return np.ascontiguousarray(frame.transpose(0, 3, 1, 2))


class _Frames:
    """Hands the quantiser one checked frame after the other (its ``CalibrationDataReader``)."""

    def __init__(self, name: str, shape: tuple[int, ...], frames: Iterable[NDArray[np.float32]]) -> None:
        self._name, self._shape = name, shape
        self._frames: Iterator[NDArray[np.float32]] = iter(frames)
        self._count = 0

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        frame = next(self._frames, None)
        if frame is None:
            if not self._count:
                raise ExportError("no calibration frames: give at least one, as the network takes it")
            return None
        if frame.shape != self._shape:
            raise ExportError(
                f"calibration frame {self._count} is {frame.shape}; the network takes {list(self._shape)}"
            )
        self._count += 1
        return {self._name: np.ascontiguousarray(frame, np.float32)}


def _free_outputs(model: onnx.ModelProto) -> None:
    """Drop the Q/DQ pairs between each output and what computes it, past what only moves values."""
    graph = model.graph
    for output in graph.output:
        name = output.name
        while True:
            maker = {out: node for node in graph.node for out in node.output}.get(name)
            if maker is None:
                break
            if maker.op_type in _LAYOUT:
                name = maker.input[0]
                continue
            quantise = {out: node for node in graph.node for out in node.output}.get(maker.input[0])
            if maker.op_type != "DequantizeLinear" or quantise is None or len(_readers(model, name)) > 1:
                break
            source = quantise.input[0]
            if _readers(model, maker.input[0]) != [maker] or _readers(model, source) != [quantise]:
                break  # another operator reads the integers: they are no matter of the output alone
            _rename(model, source, name)
            graph.node.remove(maker)
            graph.node.remove(quantise)
    drop_unread_weights(model)


def _readers(model: onnx.ModelProto, name: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if name in node.input]


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    """Let what makes ``old`` make ``new``."""
    for node in model.graph.node:
        for position, name in enumerate(node.output):
            if name == old:
                node.output[position] = new


def drop_unread_weights(model: onnx.ModelProto) -> None:
    """Remove the initializers that no node reads."""
    read = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
