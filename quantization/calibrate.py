"""Float TFLite -> full int8 TFLite: static, per-channel convolutions, min-max or percentile calibration.

Two choices are deliberate:

* **Min-max unless asked, never a moving average.** The quantiser's default keeps an exponential moving
  average of each tensor's range, which clips rare but meaningful extremes: a trained landmark student went
  from 3.33 to 3.77 pixels of error with it and to 3.35 with the true minimum and maximum. A percentile clips
  what is rare within a frame, of inner tensors alone: the rare large values of an output are its answers.
* **The input grid is declared, not observed.** Runtime frames become int8 by ``pixel - 128``, so the input
  tensor must have scale 1/128 and zero point 0 whatever the calibration frames contained. Feeding an
  all-black and an all-white frame would reach the same grid but stretch every inner range by activations no
  photo causes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantization.convert import ExportError, quiet

__all__ = ["INPUT_HIGH", "INPUT_LOW", "INPUT_SCALE", "tensor_ranges", "to_int8_tflite"]

INPUT_SCALE = 1.0 / 128.0
"""One grey level in network input units: x = (pixel - 128) / 128."""
INPUT_LOW = -1.0
"""Network input of pixel 0, int8 -128."""
INPUT_HIGH = 127.0 / 128.0
"""Network input of pixel 255, int8 127."""


def to_int8_tflite(
    float_tflite: bytes,
    calibration: Iterable[NDArray[np.float32]],
    *,
    percentile: float = 100.0,
    two_sided: Sequence[int] = (),
    threads: int = 1,
) -> bytes:
    """Quantise a one-input network to int8 weights, activations, input and outputs.

    Args:
        float_tflite: what :func:`quantization.convert.to_float_tflite` returned.
        calibration: NHWC frames, each float [1, H, W, C] or [H, W, C], values in [-1, 127/128], that is
            (pixel - 128) / 128. They must be crops as the runtime makes them; one to a few hundred are
            enough. The iterable is walked once, one frame in memory at a time.
        percentile: share of a frame's values, percent, that an inner tensor's range must hold on either side;
            over the frames the widest counts. 100 is the true minimum and maximum.
        two_sided: positions of outputs that get as much room below zero as above, and the other way round,
            whatever the frames show of them.
        threads: threads of the calibrating interpreter.

    Returns: The bytes of the .tflite. int8 input = pixel - 128. Pass it on to
        :func:`quantization.canonical.canonicalise`.

    Raises:
        ExportError: no calibration frame, or one of wrong shape or range.
    """
    tool, ranges = _calibrated(float_tflite, calibration, threads, percentile)
    for position in two_sided:
        _widen(ranges, float_tflite, position)
    with quiet():
        result = tool.quantize(ranges)
    if result.quantized_model is None:
        raise ExportError("the quantiser returned no model")
    return bytes(result.quantized_model)


def tensor_ranges(
    float_tflite: bytes,
    calibration: Iterable[NDArray[np.float32]],
    *,
    percentile: float = 100.0,
    threads: int = 1,
) -> dict[str, tuple[float, float]]:
    """Least and largest value of every tensor over the frames; the input's are declared. See above."""
    _, ranges = _calibrated(float_tflite, calibration, threads, percentile)
    return {
        name: (float(np.min(entry["min"])), float(np.max(entry["max"]))) for name, entry in ranges.items()
    }


def _calibrated(
    float_tflite: bytes, calibration: Iterable[NDArray[np.float32]], threads: int, percentile: float
) -> tuple[Any, dict[str, Any]]:
    """The quantiser with its recipe, and the ranges it shall use."""
    with quiet():
        from ai_edge_quantizer import calibrator, qtyping, quantizer, recipe
        from ai_edge_quantizer.utils import qsv_utils

        tool = quantizer.Quantizer(float_tflite)
        tool.load_quantization_recipe(recipe.static_wi8_ai8())
        # Per-channel fully connected layers are read as garbage by older kernels, without an error.
        tool.add_static_config(
            regex=".*",
            operation_name=qtyping.TFLOperationName.FULLY_CONNECTED,
            activation_num_bits=8,
            weight_num_bits=8,
            weight_granularity=qtyping.QuantGranularity.TENSORWISE,
        )
        observer = calibrator.Calibrator(
            float_tflite, num_threads=threads, qsv_update_func=qsv_utils.min_max_update
        )
    inner = _Inner(float_tflite, percentile) if percentile < 100 else None
    input_tensor = _observe(observer, tool, float_tflite, calibration, inner)
    ranges = observer.get_model_qsvs()
    if inner is not None:
        inner.clip(ranges)
    _declare_input_range(ranges, input_tensor)
    return tool, ranges


class _Inner:
    """The ranges that hold a share of the values of each inner tensor, in every frame."""

    def __init__(self, float_tflite: bytes, percentile: float) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        if not 50 < percentile <= 100:
            raise ExportError(f"percentile is {percentile:g}; write a number above 50, at most 100")
        self._share = percentile
        self._interpreter = Interpreter(
            model_content=float_tflite,
            # A delegate would not show what it computes on the way.
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        ends = {self._input, *(detail["index"] for detail in self._interpreter.get_output_details())}
        self._tensors = [t for t in self._interpreter.get_tensor_details() if t["index"] not in ends]
        self._ranges: dict[str, tuple[float, float]] = {}

    def look(self, frame: NDArray[np.float32]) -> None:
        self._interpreter.set_tensor(self._input, frame)
        self._interpreter.invoke()
        for tensor in self._tensors:
            values = self._interpreter.get_tensor(tensor["index"])
            if values.dtype == np.float32 and values.size:
                low, high = np.percentile(values, [100 - self._share, self._share])
                before = self._ranges.get(tensor["name"], (np.inf, -np.inf))
                self._ranges[tensor["name"]] = min(before[0], float(low)), max(before[1], float(high))

    def clip(self, ranges: dict[str, Any]) -> None:
        """Narrow the ranges of inner tensors; those of weights are not in question and stay."""
        for name, (low, high) in self._ranges.items():
            if name in ranges:
                entry = ranges[name]
                entry["min"], entry["max"] = np.full_like(entry["min"], low), np.full_like(entry["max"], high)


def _observe(
    observer: Any,
    tool: Any,
    float_tflite: bytes,
    calibration: Iterable[NDArray[np.float32]],
    inner: _Inner | None,
) -> str:
    """Run every frame through the float network; returns the name of the input tensor."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=float_tflite)
    (signature, names), *_ = interpreter.get_signature_list().items()
    details = interpreter.get_input_details()
    if len(details) != 1:
        raise ExportError(f"the network has {len(details)} inputs; a student takes one image")
    shape = tuple(int(side) for side in details[0]["shape"])
    count = 0
    for count, frame in enumerate(calibration, start=1):
        array = _checked_frame(frame, shape, count - 1)
        with quiet():
            if inner is not None:
                inner.look(array)
            observer.calibrate({signature: [{names["inputs"][0]: array}]}, tool._recipe_manager)
    if not count:
        raise ExportError("no calibration frames: give at least one crop as the runtime would make it")
    return str(details[0]["name"])


def _checked_frame(frame: NDArray[np.float32], shape: tuple[int, ...], position: int) -> NDArray[np.float32]:
    array = np.ascontiguousarray(frame, dtype=np.float32)
    array = array[None] if array.ndim == len(shape) - 1 else array
    if array.shape != shape:
        raise ExportError(f"calibration frame {position} is {frame.shape}; the network takes {list(shape)}")
    low, high = float(array.min()), float(array.max())
    if not (low >= INPUT_LOW and high <= INPUT_HIGH):
        raise ExportError(
            f"calibration frame {position} spans [{low:g}, {high:g}], outside [-1, 127/128]: "
            "scale pixels by (pixel - 128) / 128"
        )
    return array


def _widen(ranges: dict[str, Any], float_tflite: bytes, output: int) -> None:
    """Make the range of an output, by its position in ``forward``, symmetric about zero."""
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(model_content=float_tflite).get_signature_runner().get_output_details()
    entry = ranges[str(details[f"output_{output}"]["name"])]
    bound = np.maximum(np.abs(entry["min"]), np.abs(entry["max"]))
    entry["min"], entry["max"] = -bound, bound


def _declare_input_range(ranges: dict[str, Any], name: str) -> None:
    if name not in ranges:
        raise ExportError(f"the calibration did not see the input tensor '{name}'")
    entry = ranges[name]
    ranges[name] = {
        **entry,
        "min": np.full_like(entry["min"], INPUT_LOW),
        "max": np.full_like(entry["max"], INPUT_HIGH),
    }
