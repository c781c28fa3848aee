"""One student through every runtime it may meet: the same stored frames in, float maps out.

Each function takes frames int8 [1, H, W, 3] = pixel - 128 and returns one float32 array [N, h, w, C] per
output, in the order of ``forward``, whatever layout and number type the file itself has.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from torch import nn

from edgeface.bundle import OutputSpec

from .calibrate import INPUT_SCALE
from .convert import ExportError, module_outputs
from .ort import OnnxModel

__all__ = ["Frames", "Maps", "by_interpreter", "by_litert", "by_onnxruntime", "by_torch", "stacked"]

Frames = Sequence[NDArray[np.int8]]
Maps = list[NDArray[np.float32]]
_WORKER = Path(__file__).with_name("tflite_worker.py")
_SECONDS_PER_FRAME = 30  # tflite-micro's reference kernels on the largest student, with room


def by_torch(network: nn.Module, frames: Frames) -> Maps:
    """The float network itself."""
    network = network.eval()
    return stacked(
        [o.permute(0, 2, 3, 1).numpy()[0] for o in module_outputs(network, torch.from_numpy(_image(frame)))]
        for frame in frames
    )


def by_onnxruntime(model: bytes, frames: Frames) -> Maps:
    """An exported ONNX file, any precision, on the CPU.

    Raises:
        ExportError: onnxruntime cannot open it.
    """
    opened = OnnxModel(model)
    name = opened.inputs[0]
    return stacked(
        [o.transpose(0, 2, 3, 1)[0] for o in opened.run({name: _image(frame)})] for frame in frames
    )


def by_litert(tflite: bytes, outputs: Sequence[OutputSpec], frames: Frames) -> Maps:
    """The int8 file by LiteRT, as on a Pi; ``outputs`` name each output's place, scale and zero point."""
    interpreter = Interpreter(model_content=tflite, num_threads=1)
    interpreter.allocate_tensors()
    image = interpreter.get_input_details()[0]["index"]
    places = [interpreter.get_output_details()[spec.index]["index"] for spec in outputs]

    def run(frame: NDArray[np.int8]) -> list[NDArray[Any]]:
        interpreter.set_tensor(image, frame)
        interpreter.invoke()
        return [interpreter.get_tensor(place)[0] for place in places]

    return _real(stacked(run(frame) for frame in frames), outputs)


def by_interpreter(
    python: Path, kind: str, tflite: bytes, outputs: Sequence[OutputSpec], frames: Frames
) -> tuple[str, Maps]:
    """The int8 file by a runtime of another environment, spoken to through files.

    Args:
        python: the interpreter that has it.
        kind: ``"tflite-runtime"`` or ``"tflite-micro"``.
        tflite: the file.
        outputs: as for :func:`by_litert`.
        frames: as for the others.

    Returns: The runtime's version and the maps.

    Raises:
        ExportError: the interpreter does not start, lacks the runtime, or cannot run the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        model, given, results = (
            Path(folder) / name for name in ("model.tflite", "frames.npy", "results.npz")
        )
        model.write_bytes(tflite)
        np.save(given, np.stack(frames))
        count = 1 + max(spec.index for spec in outputs)
        command = [str(python), str(_WORKER), kind, str(model), str(given), str(count), str(results)]
        limit = 60 + _SECONDS_PER_FRAME * len(frames)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ExportError(f"{kind}: {python} does not run: {error}") from error
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ExportError(
                f"{kind}: {python} failed: {last}; does it have {kind} (and numpy < 2 if it must)?"
            )
        with np.load(results) as arrays:
            stored = [arrays[str(spec.index)][:, 0] for spec in outputs]
    return done.stdout.strip(), _real(stored, outputs)


def _image(frame: NDArray[np.int8]) -> NDArray[np.float32]:
    """What the float networks take: [1, 3, H, W] in [-1, 127/128]."""
    return np.ascontiguousarray(frame.transpose(0, 3, 1, 2), np.float32) * np.float32(INPUT_SCALE)


def stacked(rows: Any) -> list[NDArray[Any]]:
    """Rows of one array per output as one array [N, ...] per output."""
    return [np.stack(column) for column in zip(*rows, strict=True)]


def _real(stored: Sequence[NDArray[Any]], outputs: Sequence[OutputSpec]) -> Maps:
    return [
        (values.astype(np.float32) - spec.zero_point) * np.float32(spec.scale)
        for values, spec in zip(stored, outputs, strict=True)
    ]
