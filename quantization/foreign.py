"""ONNX networks that the workshop did not design -> int8 Q/DQ and .tflite, with what must stay float named.

A foreign network may use any activation. What onnxruntime has an integer kernel for is quantised; the rest
(HardSwish, PRelu, Exp, ...) stays float between a dequantise and a quantise, and each such island is named.
Where quantising everything costs an output too much, only what has weights is quantised, and the islands
grow. How a .tflite is made of it tells :mod:`.foreign_tflite`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface import read_image

from .convert import ExportError
from .foreign_tflite import FORMS, Quantised, quantise
from .kept import EVERY, Kept
from .onnx_export import S8S8, U8S8, QdqRecipe, drop_unread_weights, onnx_input, to_qdq_onnx
from .onnx_graph import Fusion, Island, float_islands, fused_convolutions, tensorrt_islands
from .ort import OnnxModel, onnx
from .parity import OutputParity, compare
from .progress import progress

__all__ = [
    "FORMATS",
    "Converted",
    "Pixels",
    "convert_file",
    "convert_teacher",
    "convert_tflite",
    "image_frames",
    "outdated",
    "prepare",
]

FORMATS = ("tflite", "onnx")

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

    @property
    def span(self) -> tuple[float, float]:
        """Least and largest value that a pixel of any channel can have."""
        ends = (np.array([[0.0], [255.0]]) - self.mean) / self.std
        return float(ends.min()), float(ends.max())


@dataclass(frozen=True, slots=True)
class Converted(Kept):
    """A foreign network as int8 ONNX, and what that cost."""

    recipe: QdqRecipe
    fusion: Fusion
    islands: tuple[Island, ...]

    def summary(self) -> str:
        """A few lines of text."""
        what = (
            "what has weights alone is" if self.recipe.operators else "everything with an integer kernel is"
        )
        first = (
            f"{self.name}: {len(self.model):,} bytes, {what} quantised; onnxruntime's CPU kernels run "
            f"{self.fusion.fused} of {self.fusion.total} convolutions on integers"
        )
        return "\n".join([first, *self.told, *(f"  float island: {island}" for island in self.islands)])


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
    ready = prepare(model)
    probes, calibration = _shared_out(frames)
    attempts: list[Converted] = []
    for attempt in [recipe] if recipe.operators else [recipe, replace(recipe, operators=_WEIGHTS)]:
        int8 = to_qdq_onnx(ready, calibration, attempt, image_grid=False)
        islands = tensorrt_islands(int8) if recipe.symmetric else float_islands(int8)
        parity = _parity(ready, int8, probes)
        fusion = fused_convolutions(int8)
        attempts.append(Converted(attempt.name, int8, parity, min_sqnr_db, attempt, fusion, islands))
        if not attempts[-1].noisy:
            return attempts[-1]
    return max(attempts, key=lambda made: made.least_db)


def convert_tflite(
    model: bytes, frames: Sequence[NDArray[np.float32]], pixels: Pixels, *, min_sqnr_db: float = 20.0
) -> Quantised:
    """The same network as a .tflite, in the first of its forms in which every output keeps enough.

    Args:
        model: the .onnx, float.
        frames: as for :func:`convert_teacher`.
        pixels: how they were made, which gives the range of the input.
        min_sqnr_db: where no form keeps so much of every output, the first of those in which the fewest
            keep less is taken: no form is given up for what none mends.

    Raises:
        ExportError: as for :func:`convert_teacher`, and an operator that no .tflite is made of.
    """
    probes, calibration = _shared_out(frames)
    made: list[Quantised] = []
    for form in quantise(prepare(model), calibration, probes, pixels.span, min_sqnr_db):
        made.append(form)
        if not form.noisy:
            return form
    return min(made, key=lambda form: len(form.noisy))


def convert_file(
    path: Path,
    images: Path,
    pixels: Pixels,
    count: int,
    min_sqnr_db: float = 20.0,
    formats: Collection[str] = FORMATS,
) -> tuple[dict[str, bytes], tuple[Converted | Quantised, ...]]:
    """An .onnx file in int8, calibrated on images: file name -> content, and what each cost.

    ``formats``: of `FORMATS`; ``onnx`` is a file by either recipe, for CPUs and for TensorRT.

    Raises:
        ExportError: as for :func:`convert_teacher`, :func:`convert_tflite` and :func:`image_frames`.
        OSError: the file cannot be read.
    """
    model = path.read_bytes()
    frames = list(image_frames(images, model, pixels, count))
    files: dict[str, bytes] = {}
    made: list[Converted | Quantised] = []
    if "tflite" in formats:
        made.append(convert_tflite(model, frames, pixels, min_sqnr_db=min_sqnr_db))
        files[f"{path.stem}.{made[0].name}.tflite"] = made[0].model
    if "onnx" in formats:
        for recipe in progress(f"{path.name}: ONNX files", (U8S8, S8S8)):
            made.append(convert_teacher(model, frames, recipe, min_sqnr_db=min_sqnr_db))
            files[f"{path.stem}.int8-{recipe.name}.onnx"] = made[-1].model
    return files, tuple(made)


def outdated(name: str, files: Collection[str]) -> tuple[str, ...]:
    """Names of the forms of the network ``name`` that an earlier run may have left beside ``files``.

    Of a .tflite there is one form; where none was made now, the earlier one stays.
    """
    forms = {f"{name}.{form.name}.tflite" for form in FORMS}
    return tuple(sorted(forms - set(files))) if forms & set(files) else ()


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


def _shared_out(frames: Sequence[NDArray[np.float32]]) -> tuple[Sequence[NDArray[np.float32]], ...]:
    """Those that measure, and those that calibrate."""
    if len(frames) < 2:
        raise ExportError(f"{len(frames)} frames: give at least two, one to calibrate and one to measure")
    return frames[::EVERY], [frame for i, frame in enumerate(frames) if i % EVERY]


def _parity(model: bytes, int8: bytes, probes: Sequence[NDArray[np.float32]]) -> tuple[OutputParity, ...]:
    exact, rounded = OnnxModel(model), OnnxModel(int8)
    name = exact.inputs[0]
    columns = [
        [np.stack(column) for column in zip(*(opened.run({name: p}) for p in probes), strict=True)]
        for opened in (exact, rounded)
    ]
    return compare(exact.outputs, *columns)
