"""Runs an int8 .tflite in another Python: ``python tflite_worker.py KIND MODEL FRAMES COUNT RESULTS``.

A file of its own, which imports nothing of the workshop and reads like Python 3.8: tflite-runtime 2.14 needs
numpy < 2, and tflite-micro is wanted by hardly anybody, so each lives in an environment apart. FRAMES is an
.npy of stored inputs [N, 1, H, W, C], COUNT the number of outputs; RESULTS becomes an .npz with one array
[N, ...] per output, named by its position, as stored. The runtime's version goes to stdout.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np


def run_runtime(model, frames, count):
    """Every output of every frame by tflite-runtime."""
    from tflite_runtime.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    image = interpreter.get_input_details()[0]["index"]
    outputs = [detail["index"] for detail in interpreter.get_output_details()[:count]]
    for frame in frames:
        interpreter.set_tensor(image, frame)
        interpreter.invoke()
        yield [interpreter.get_tensor(index) for index in outputs]


def run_micro(model, frames, count):
    """The same by tflite-micro, which computes as a microcontroller would."""
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(model)
    for frame in frames:
        interpreter.set_input(frame, 0)
        interpreter.invoke()
        yield [np.array(interpreter.get_output(index)) for index in range(count)]


if __name__ == "__main__":
    kind, model_path, frames_path, count, results_path = sys.argv[1:]
    run = {"tflite-runtime": run_runtime, "tflite-micro": run_micro}[kind]
    rows = list(run(Path(model_path).read_bytes(), np.load(frames_path), int(count)))
    np.savez(results_path, **{str(i): np.stack([row[i] for row in rows]) for i in range(int(count))})
    print(version(kind))
