"""Float TFLite -> full int8 TFLite: static, per-channel convolutions, min-max calibration.

Two choices are deliberate:

* **Min-max, not a moving average.** The quantiser's default keeps an exponential moving average of each
  tensor's range, which clips rare but meaningful extremes: a trained landmark student went from 3.33 to
  3.77 pixels of error with it and to 3.35 with the true minimum and maximum.
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
    two_sided: Sequence[int] = (),
    threads: int = 1,
) -> bytes:
    """Quantise a one-input network to int8 weights, activations, input and outputs.

    Args:
        float_tflite: what :func:`quantization.convert.to_float_tflite` returned.
        calibration: NHWC frames, each float [1, H, W, C] or [H, W, C], values in [-1, 127/128], that is
            (pixel - 128) / 128. They must be crops as the runtime makes them; one to a few hundred are
            enough. The iterable is walked once, one frame in memory at a time.
        two_sided: positions of outputs that get as much room below zero as above, and the other way round,
            whatever the frames show of them.
        threads: threads of the calibrating interpreter.

    Returns: The bytes of the .tflite. int8 input = pixel - 128. Pass it on to
        :func:`quantization.canonical.canonicalise`.

    Raises:
        ExportError: no calibration frame, or one of wrong shape or range.
    """
    tool, ranges = _calibrated(float_tflite, calibration, threads)
    for position in two_sided:
        _widen(ranges, float_tflite, position)
    with quiet():
        result = tool.quantize(ranges)
    if result.quantized_model is None:
        raise ExportError("the quantiser returned no model")
    return bytes(result.quantized_model)


def tensor_ranges(
    float_tflite: bytes, calibration: Iterable[NDArray[np.float32]], *, threads: int = 1
) -> dict[str, tuple[float, float]]:
    """Least and largest value of every tensor over the frames; the input's are declared. See above."""
    _, ranges = _calibrated(float_tflite, calibration, threads)
    return {
        name: (float(np.min(entry["min"])), float(np.max(entry["max"]))) for name, entry in ranges.items()
    }


def _calibrated(
    float_tflite: bytes, calibration: Iterable[NDArray[np.float32]], threads: int
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
    input_tensor = _observe(observer, tool, float_tflite, calibration)
    ranges = observer.get_model_qsvs()
    _declare_input_range(ranges, input_tensor)
    return tool, ranges


def _observe(
    observer: Any, tool: Any, float_tflite: bytes, calibration: Iterable[NDArray[np.float32]]
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
