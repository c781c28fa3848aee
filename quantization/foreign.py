"""ONNX networks that the workshop did not design -> int8 Q/DQ, with what must stay in float named.

A foreign network may use any activation. What onnxruntime has an integer kernel for is quantised; the rest
(HardSwish, PRelu, Exp, ...) stays float between a dequantise and a quantise, and each such island is named.
Where quantising everything costs an output too much, only what has weights is quantised, and the islands
grow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface import read_image

from .convert import ExportError
from .onnx_export import S8S8, U8S8, QdqRecipe, drop_unread_weights, onnx_input, to_qdq_onnx
from .onnx_graph import Fusion, Island, float_islands, fused_convolutions, tensorrt_islands
from .ort import OnnxModel, onnx
from .parity import OutputParity, compare
from .progress import progress

__all__ = ["Converted", "Pixels", "convert_file", "convert_teacher", "image_frames", "prepare"]

_OPSET = 17
_LEAST_OPSET = 13  # per-channel Q/DQ
_IMAGES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
_WEIGHTS = S8S8.operators


@dataclass(frozen=True, slots=True)
class Pixels:
    """How pixels 0 to 255 become what the network takes: (pixel - mean) / std, per channel in its order."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    bgr: bool = False


@dataclass(frozen=True, slots=True)
class Converted:
    """A foreign network in int8, and what that cost."""

    model: bytes
    recipe: QdqRecipe
    fusion: Fusion
    islands: tuple[Island, ...]
    parity: tuple[OutputParity, ...]
    """Against the float file, on every fifth frame, which did not calibrate."""
    min_sqnr_db: float

    @property
    def noisy(self) -> tuple[str, ...]:
        """Outputs that keep less than was asked for."""
        return tuple(o.output for o in self.parity if o.sqnr_db < self.min_sqnr_db)

    @property
    def told_noisy(self) -> tuple[str, ...]:
        """The same in words, and what mends it."""
        return tuple(
            f"{self.recipe.name}: output '{o.output}' is NOISY: {o.sqnr_db:.2f} dB of {self.min_sqnr_db:g}; "
            "give --images like those it will see, more --frames, its own --mean, --std and --bgr, or a "
            "lower --min-sqnr-db"
            for o in self.parity
            if o.output in self.noisy
        )

    def summary(self) -> str:
        """A few lines of text."""
        what = (
            "what has weights alone is" if self.recipe.operators else "everything with an integer kernel is"
        )
        lines = [
            f"{self.recipe.name}: {len(self.model):,} bytes, {what} quantised; onnxruntime's CPU kernels run "
            f"{self.fusion.fused} of {self.fusion.total} convolutions on integers"
        ]
        lines += [
            f"  {o.output}: {o.sqnr_db:.2f} dB{' (NOISY)' if o.output in self.noisy else ''}, "
            f"largest error {o.largest_error:.4g} in frame {5 * o.worst_frame}"
            for o in self.parity
        ]
        lines += [f"  float island: {island}" for island in self.islands]
        return "\n".join(lines)


def convert_teacher(
    model: bytes,
    frames: Sequence[NDArray[np.float32]],
    recipe: QdqRecipe = U8S8,
    *,
    min_sqnr_db: float = 20.0,
) -> Converted:
    """Quantise a one-input ONNX network of any origin.

    Args:
        model: the .onnx, float.
        frames: inputs as the network takes them, [1, ...] each. Every fifth measures, the others calibrate.
        recipe: where the pairs go.
        min_sqnr_db: when an output keeps less, everything but what has weights goes back to float; what is
            still below is named in ``noisy``. An output that is silent on all frames, such as a score of
            faces that they do not show, has no signal to keep: judge it by its largest error.

    Raises:
        ExportError: fewer than two frames, a file that onnxruntime does not open, a size that is not fixed.
    """
    if len(frames) < 2:
        raise ExportError(f"{len(frames)} frames: give at least two, one to calibrate and one to measure")
    ready = prepare(model)
    probes, calibration = frames[::5], [f for i, f in enumerate(frames) if i % 5]
    attempts: list[Converted] = []
    for attempt in [recipe] if recipe.operators else [recipe, replace(recipe, operators=_WEIGHTS)]:
        int8 = to_qdq_onnx(ready, calibration, attempt, image_grid=False)
        islands = tensorrt_islands(int8) if recipe.symmetric else float_islands(int8)
        parity = _parity(ready, int8, probes)
        attempts.append(Converted(int8, attempt, fused_convolutions(int8), islands, parity, min_sqnr_db))
        if not attempts[-1].noisy:
            return attempts[-1]
    return max(attempts, key=lambda made: min(output.sqnr_db for output in made.parity))


def convert_file(
    path: Path, images: Path, pixels: Pixels, count: int, min_sqnr_db: float = 20.0
) -> tuple[dict[str, bytes], tuple[Converted, ...]]:
    """Both recipes of an .onnx file, calibrated on images: file name -> content, and what each cost.

    Raises:
        ExportError: as for :func:`convert_teacher` and :func:`image_frames`.
        OSError: the file cannot be read.
    """
    model = path.read_bytes()
    frames = list(image_frames(images, model, pixels, count))
    recipes = progress(f"{path.name}: files", (U8S8, S8S8))
    made = tuple(convert_teacher(model, frames, recipe, min_sqnr_db=min_sqnr_db) for recipe in recipes)
    files = {f"{path.stem}.int8-{c.recipe.name}.onnx": c.model for c in made}
    return files, made


def prepare(model: bytes) -> bytes:
    """A file that can be quantised: weights no inputs, batch 1, an opset with per-channel pairs.

    Raises:
        ExportError: it is no ONNX file, or its opset cannot be raised.
    """
    try:
        proto = onnx.load_from_string(model)
        onnx.checker.check_model(proto)
        weights = {tensor.name for tensor in proto.graph.initializer}
        inputs = [value for value in proto.graph.input if value.name not in weights]
        drop_unread_weights(proto)
        for index, node in enumerate(proto.graph.node):
            node.name = node.name or f"{node.op_type}_{index}"  # an island must have a name
        del proto.graph.input[:]
        proto.graph.input.extend(inputs)
        for value in [*proto.graph.input, *proto.graph.output]:
            sides = value.type.tensor_type.shape.dim
            if sides and sides[0].dim_value <= 0:
                sides[0].dim_value = 1
        if next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")) < _LEAST_OPSET:
            proto.ir_version = max(proto.ir_version, 8)  # the converter wants weights that are no inputs
            proto = onnx.version_converter.convert_version(proto, _OPSET)
    except Exception as error:  # the converter's errors have no common base
        raise ExportError(f"not an ONNX file that can be quantised: {error}") from error
    return bytes(proto.SerializeToString())


def image_frames(folder: Path, model: bytes, pixels: Pixels, count: int) -> Iterator[NDArray[np.float32]]:
    """Up to ``count`` images of a folder, spread over it, stretched to the network's input.

    Raises:
        ExportError: the folder has no image, or the network takes none.
        FrameError: an image is damaged.
    """
    name, shape = onnx_input(onnx.load_from_string(prepare(model)))
    if 3 not in (shape[1], shape[3]):
        raise ExportError(f"input '{name}' is {list(shape)}: neither [1, 3, H, W] nor [1, H, W, 3]")
    planar = shape[1] == 3
    height, width = shape[2:] if planar else shape[1:3]
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _IMAGES)
    if not paths:
        raise ExportError(f"{folder}: no image in it ({', '.join(sorted(_IMAGES))})")
    for path in progress(f"{name}: images", paths[:: max(1, len(paths) // count)][:count]):
        rgb = cv2.resize(read_image(path).rgb, (width, height), interpolation=cv2.INTER_AREA)
        values = (rgb[:, :, ::-1] if pixels.bgr else rgb).astype(np.float32)
        values = (values - np.float32(pixels.mean)) / np.float32(pixels.std)
        yield np.ascontiguousarray(values.transpose(2, 0, 1) if planar else values)[None]


def _parity(model: bytes, int8: bytes, probes: Sequence[NDArray[np.float32]]) -> tuple[OutputParity, ...]:
    exact, rounded = OnnxModel(model), OnnxModel(int8)
    name = exact.inputs[0]
    columns = [
        [np.stack(column) for column in zip(*(opened.run({name: p}) for p in probes), strict=True)]
        for opened in (exact, rounded)
    ]
    return compare(exact.outputs, *columns)
