"""Runs on the emulated board: instructions of every student, stage by stage, and of other networks.

    python3 inside.py FRAME.npy RUNS [NAME=MODEL.tflite ...]

Prints one JSON object. The board's clock ticks once per instruction (`firmware.emulation.machine`); of RUNS
counts the least is kept, the one with the fewest interrupts of the kernel in it.
"""

from __future__ import annotations

import json
import platform
import sys
from importlib import metadata
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeface import Bundle, FaceAnalyzer
from edgeface.backends import litert, tflite_graph
from edgeface.bundle import SIZES
from edgeface.heads import DetectionHead, ExpressionHead, LandmarksHead, ParsingHead
from edgeface.heads.base import ImageInput

if TYPE_CHECKING:
    from collections.abc import Callable

# The students of the table, of each size that is built in. The frame is wider than high, so `FaceAnalyzer`
# never opens the detector for tall frames that a bundle may hold beside them.
_HEADS = {
    "detection": DetectionHead,
    "landmarks": LandmarksHead,
    "parsing": ParsingHead,
    "expression": ExpressionHead,
}
_FRAMES: dict[str, tuple[str, ...]] = {
    "detection + landmarks": ("landmarks",),
    "all four students": ("landmarks", "parsing", "expression"),
}


class _Storing:
    """Counts what `ImageInput` does to the pixels after they were cut out: the pre-processing."""

    def __init__(self) -> None:
        self.count = 0
        inner: Callable[[ImageInput], Any] = ImageInput._stored

        def stored(image: ImageInput) -> Any:
            begin = perf_counter_ns()
            tensors = inner(image)
            self.count = perf_counter_ns() - begin
            return tensors

        ImageInput._stored = stored  # type: ignore[method-assign]  # timed in place, this process only counts


def _student(head: Any, session: Any, storing: _Storing, where: tuple[Any, ...], runs: int) -> dict[str, int]:
    stages: dict[str, list[int]] = {"crop": [], "pre-processing": [], "invoke": [], "decode": []}
    for _ in range(runs):
        begin = perf_counter_ns()
        tensors, place = head.prepare(*where)
        prepared = perf_counter_ns()
        outputs = session.run(tensors)
        ran = perf_counter_ns()
        head.decode(outputs, place)
        decoded = perf_counter_ns()
        stages["crop"].append(prepared - begin - storing.count)
        stages["pre-processing"].append(storing.count)
        stages["invoke"].append(ran - prepared)
        stages["decode"].append(decoded - ran)
    return {stage: min(counts) for stage, counts in stages.items()}


def _named(what: str, size: str) -> str:
    """As the table has it: the base ones were there first, and have their own name."""
    return what if size == "base" else f"{size} {what}"


def _whole(frame: np.ndarray, tasks: tuple[str, ...], runs: int, bundle: Bundle) -> int:
    # One face is asked for, as of MediaPipe: what else is taken for one would cost the heads a second run.
    with FaceAnalyzer(
        tasks, max_faces=1, threads=1, bundle=bundle, backend="litert", strict=True
    ) as analyzer:
        counts = []
        for _ in range(runs):
            begin = perf_counter_ns()
            result = analyzer.analyze(frame)
            counts.append(perf_counter_ns() - begin)
    if len(result.faces) != 1:
        raise SystemExit(f"found {len(result.faces)} faces in a frame with one")
    return min(counts)


def _stranger(path: str, runs: int) -> dict[str, int]:
    """Another network through the same runtime, on a grey picture: its kernels do not look at values."""
    interpreter = tflite_graph.runtime()[1](model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    if litert.delegate_of(interpreter) != "XNNPACK":
        raise SystemExit(f"{path}: LiteRT runs it without XNNPACK")
    for tensor in interpreter.get_input_details():
        interpreter.set_tensor(tensor["index"], np.full(tensor["shape"], 0.5, tensor["dtype"]))
    counts = []
    for _ in range(runs):
        begin = perf_counter_ns()
        interpreter.invoke()
        counts.append(perf_counter_ns() - begin)
    return {"invoke": min(counts)}


def main() -> None:
    frame, runs = np.load(sys.argv[1]), int(sys.argv[2])
    bundles = {size: Bundle.builtin(size) for size in SIZES}
    frames = {
        _named(name, size): _whole(frame, tasks, runs, bundle)
        for size, bundle in bundles.items()
        for name, tasks in _FRAMES.items()
    }
    with FaceAnalyzer(tasks=(), max_faces=1, backend="litert") as analyzer:
        (face,) = analyzer.analyze(frame).faces
    storing = _Storing()
    students = {}
    for size, bundle in bundles.items():
        for task, head in _HEADS.items():
            spec = bundle.model(task)
            session = litert.create().open(spec, bundle.artifact(spec.artifact), 1)
            if session.ran.delegate != "XNNPACK":
                raise SystemExit(f"{size} {task}: LiteRT runs it without XNNPACK")
            where = (frame,) if task == "detection" else (frame, face.bbox, face.roll or 0.0)
            students[_named(task, size)] = _student(head(spec), session, storing, where, runs)
    strangers = dict(argument.split("=", 1) for argument in sys.argv[3:])
    told = {
        "students": students,
        "frames": frames,
        "others": {name: _stranger(path, runs) for name, path in strangers.items()},
        "bundle": bundles["base"].digest,
        "python": platform.python_version(),
        "libraries": {
            name: metadata.version(name) for name in ("numpy", "opencv-python-headless", "ai-edge-litert")
        },
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
