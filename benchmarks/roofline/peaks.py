"""What this machine reaches at best: MACs per second of LiteRT's kernels, bytes per second of memory."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from benchmarks.roofline.graphs import convolution

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Roof", "call_of", "least_ns", "measured"]

# Rows and columns, channels, kernel: large enough that the kernel is all there is.
_CONVOLUTIONS = ((28, 256, 1), (28, 128, 3), (14, 256, 3), (56, 64, 3))
_COPIES = (64 << 10, 256 << 10, 1 << 20, 4 << 20, 64 << 20)


@dataclass(frozen=True)
class Roof:
    """The roof.

    Attributes:
        int8: MACs per second of int8 convolutions.
        fp32: Of float ones.
        bandwidth: Size in bytes -> bytes per second, read and written, of a copy within so many.
    """

    int8: float
    fp32: float
    bandwidth: dict[int, float]

    def least_ns(self, macs: int, size: int) -> float:
        """The least time that an int8 operator of so many MACs over so many bytes could take, nanoseconds."""
        reach = next((fast for within, fast in self.bandwidth.items() if size <= within), None)
        fast = reach or min(self.bandwidth.values())
        return 1e9 * max(macs / self.int8, size / fast)


def measured(seconds: float) -> Roof:
    """Measure each of them for so many seconds; the best counts."""
    best = {}
    for quantised in (True, False):
        rates = []
        for size, channels, kernel in _CONVOLUTIONS:
            model, macs = convolution(size, channels, kernel, quantised=quantised)
            rates.append(1e9 * macs / least_ns(call_of(model), seconds))
        best[quantised] = max(rates)
    return Roof(best[True], best[False], {size: _copied(size, seconds) for size in _COPIES})


def call_of(model: bytes) -> Callable[[], Any]:
    """The bare run of a model on inputs that are all alike, on one thread."""
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    for tensor in interpreter.get_input_details():
        interpreter.set_tensor(tensor["index"], np.ones(tensor["shape"], tensor["dtype"]))
    return interpreter.invoke


def least_ns(call: Callable[[], Any], seconds: float) -> int:
    """The least time of a call, of as many as there are in so many seconds, nanoseconds.

    The least, because a roof is what could be reached: what disturbs a call only makes it longer.
    """
    call()
    end = perf_counter_ns() + round(seconds * 1e9)
    least = None
    while least is None or perf_counter_ns() < end:
        begin = perf_counter_ns()
        call()
        took = perf_counter_ns() - begin
        least = took if least is None else min(least, took)
    return least


def _copied(size: int, seconds: float) -> float:
    source, target = np.ones(size // 2, np.uint8), np.zeros(size // 2, np.uint8)
    return 1e9 * size / least_ns(lambda: np.copyto(target, source), seconds)
