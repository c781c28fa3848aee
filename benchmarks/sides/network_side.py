"""EdgeFace's own landmark network, bare, under the runtime that the variant names; never started by hand.

The frame is the crop that the network sees, and what it is turned into for the runtime is not timed. What
comes out is what every runtime must agree on: how far each point is from its mean place, in the network's
units.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
from lines import serve, software

if TYPE_CHECKING:
    from collections.abc import Callable

    # Takes the runtime's own tensor and gives its own answer, all outputs computed.
    Run = Callable[[np.ndarray], Any]

_FILES = json.loads(sys.argv[1])


def _litert(path: str) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(path, num_threads=1)
    network.allocate_tensors()
    (image,) = network.get_input_details()
    points = next(tensor for tensor in network.get_output_details() if tensor["shape"][-1] == 136)

    def run(crop: np.ndarray) -> Any:
        network.set_tensor(image["index"], crop)
        network.invoke()
        return network.get_tensor(points["index"])

    return run


def _openvino(path: str) -> Run:
    import openvino

    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1})
    points = next(output for output in model.outputs if output.shape[-1] == 136)
    request = model.create_infer_request()
    return lambda crop: request.infer([crop])[points]


def _onnxruntime(path: str) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda crop: session.run(None, {"image": crop})[names.index("points")]


def _ncnn(path: str) -> Run:
    import ncnn

    found = importlib.util.find_spec("pnnx")  # to import it would need torch
    if found is None or found.origin is None:
        raise SystemExit("this environment has no pnnx")
    tool = os.path.join(os.path.dirname(found.origin), "pnnx")  # noqa: PTH118, PTH120 - as in `lines`
    network = ncnn.Net()
    network.opt.num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(path, f"{folder}/student.onnx")  # noqa: PTH211 - as in `lines`
        subprocess.run([tool, "student.onnx", "inputshape=[1,3,112,112]"], cwd=folder, check=True)
        network.load_param(f"{folder}/student.ncnn.param")
        network.load_model(f"{folder}/student.ncnn.bin")
    outputs = network.output_names()

    def run(crop: np.ndarray) -> Any:
        extractor = network.create_extractor()
        extractor.input("in0", ncnn.Mat(crop[0]))
        found = [np.array(extractor.extract(name)[1]) for name in outputs]
        return next(output for output in found if output.size == 136)

    return run


_RUNTIMES = {"litert": _litert, "openvino": _openvino, "onnxruntime": _onnxruntime, "ncnn": _ncnn}


def _open(variant: str) -> Run:
    runtime, _, form = variant.partition("_")
    run = _RUNTIMES[runtime](_FILES[f"student-{form}"])
    quantised = form == "tflite"
    pixels_of: list[Any] = [None, None]  # the crop as it came, and as this runtime takes it

    def of_pixels(pixels: np.ndarray) -> Any:
        if pixels_of[0] is not pixels:
            pixels_of[:] = pixels, _as_int8(pixels) if quantised else _as_float(pixels)
        return run(pixels_of[1]), quantised

    return of_pixels


def _as_int8(pixels: np.ndarray) -> np.ndarray:
    return (pixels ^ 128).view(np.int8)[None]


def _as_float(pixels: np.ndarray) -> np.ndarray:
    """[1, 3, H, W] in [-1, 127/128], as the ONNX forms of a student take it."""
    return np.ascontiguousarray((pixels.astype(np.float32) / 128 - 1).transpose(2, 0, 1)[None])


def _witness(result: Any) -> dict[str, Any]:
    raw, quantised = result
    offsets = np.asarray(raw, np.float64).reshape(-1)
    if quantised:
        offsets = (offsets - _FILES["points-zero"]) * _FILES["points-scale"]
    return {"faces": 1, "offsets": offsets.tolist()}


def _about() -> dict[str, Any]:
    return software(_FILES["runtime"], "numpy")


if __name__ == "__main__":
    serve(_open, _witness, _about)
