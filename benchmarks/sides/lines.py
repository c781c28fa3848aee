"""What both sides of a comparison share: requests on stdin, answers on stdout, one JSON line each.

This file runs in the peer's environment too, so it needs nothing but numpy and Python 3.9. A side times its
own calls, so neither the pipe nor JSON is ever inside a measured time.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    # A variant takes the frame, or frame and box, and gives what came out; a witness puts that into plain
    # JSON for the checks.
    Variant = Callable[[Any], Any]
    Witness = Callable[[Any], dict[str, Any]]

__all__ = ["memory_bytes", "one_thread", "serve", "software"]


def memory_bytes() -> dict[str, int]:
    """The peak and the present resident memory of this process.

    `VmHWM` starts anew with every program, while `ru_maxrss` may still carry the parent's peak.
    """
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 - pathlib is start-up time
        fields = dict(line.split(":", 1) for line in status)
    return {
        name: int(fields[field].split()[0]) * 1024 for name, field in (("peak", "VmHWM"), ("now", "VmRSS"))
    }


def software(*distributions: str) -> dict[str, Any]:
    """The first of these distributions is the side's own; its version, Python's, and those of the others."""
    from importlib import metadata

    first, *others = distributions
    return {
        "version": metadata.version(first),
        "python": platform.python_version(),
        "libraries": {name: metadata.version(name) for name in others},
    }


def one_thread(onnxruntime: Any) -> None:
    """Give every session that is made from now on one thread: for libraries that cannot be told.

    The core that a side is pinned to does not hold them: onnxruntime makes a thread for each core of the
    processor and puts it there.
    """
    made = onnxruntime.InferenceSession.__init__

    def make(self: Any, model: Any, sess_options: Any = None, *others: Any, **named: Any) -> None:
        options = onnxruntime.SessionOptions() if sess_options is None else sess_options
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        made(self, model, options, *others, **named)

    onnxruntime.InferenceSession.__init__ = make


def serve(
    open_variant: Callable[[str], Variant],
    witness: Witness,
    about: Callable[[], dict[str, Any]],
    *,
    bgr: bool = False,
) -> None:
    """Answer requests until stdin ends; an exception ends the process, so that no failed call is timed.

    ``bgr``: the side's library wants its pixels in that order, as its cameras give them; turning them costs
    it nothing. A frame with a box comes as both, [H, W, 3] and x, y, width, height.
    """
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a native library that logs to stdout must not speak into the answers
    variants: dict[str, Variant] = {}
    frame: Any = None
    for line in requests:
        request = json.loads(line)
        if request["do"] == "frame":
            import numpy as np

            height, width = request["height"], request["width"]
            pixels = requests.read(height * width * 3)
            frame = np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
            if bgr:
                frame = np.ascontiguousarray(frame[..., ::-1])
            if "box" in request:
                frame = frame, request["box"]
            answer: dict[str, Any] = {}
        elif request["do"] == "calls":
            name = request["variant"]
            if name not in variants:
                variants[name] = open_variant(name)
            answer = _calls(variants[name], frame, request["warm_up"], request["calls"])
            answer["seen"] = witness(answer.pop("result"))
        elif request["do"] == "memory":
            answer = memory_bytes()
        else:
            answer = about()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _calls(variant: Variant, frame: Any, warm_up: int, calls: int) -> dict[str, Any]:
    for _ in range(warm_up):
        variant(frame)
    times = []
    result = None
    for _ in range(calls):
        begin = time.perf_counter_ns()
        result = variant(frame)
        times.append(time.perf_counter_ns() - begin)
    # CLOCK_MONOTONIC is one clock for all processes of a machine: the parent subtracts its own reading of it.
    return {"times_ns": times, "clock_ns": time.clock_gettime_ns(time.CLOCK_MONOTONIC), "result": result}
