"""Candidates as files that run, how long these take, and how many instructions on ARM."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter

import edgeface
from benchmarks import frames
from benchmarks.arm_instructions.board import Board, emulator_version, scratch
from quantization.build import deployed, network_of
from quantization.pack import export_student

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Candidate", "counted", "timed"]

_ROOT = Path(__file__).resolve().parents[2]
# The versions that the goldens were made with: another runtime executes something else.
_GOLDENS = _ROOT / "tests" / "golden" / "goldens.json"
_CALIBRATION = 8
_RUNS = 7  # of a network on the emulated board, of which the least counts


class Candidate:
    """A network of a recipe that learned nothing, as its int8 file."""

    def __init__(self, task: str, name: str, recipe: Mapping[str, Any]) -> None:
        torch.manual_seed(0)
        network = network_of(recipe).eval()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                # A block begins as the identity, and its kernels would be all but 0 after folding.
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
        student = recipe["student"]
        side = int(student.get("size", 48))
        height, width = int(student.get("height", side)), int(student.get("width", side))
        rng = np.random.default_rng(0)
        noise = [rng.uniform(-1, 0.99, (height, width, 3)).astype(np.float32) for _ in range(_CALIBRATION)]
        exported = export_student(
            deployed(network),
            type(network).outputs,
            noise,
            min_sqnr_db=-np.inf,  # noise through noise: nothing here is to be read off its answers
            require_edgetpu=False,
        )
        self.task, self.name, self.tflite = task, name, exported.tflite
        self.parameters = sum(parameter.numel() for parameter in network.parameters())
        self.operators = len(exported.edgetpu.operators)
        self.mapped = exported.edgetpu.mapped

    @property
    def key(self) -> str:
        """Its name among those of all tasks."""
        return f"{self.task}-{self.name}"


def timed(candidates: Sequence[Candidate], rounds: int) -> dict[str, list[int]]:
    """Nanoseconds of an invoke, a value per round: one thread, all candidates in turns."""
    ready = {}
    for candidate in candidates:
        interpreter = Interpreter(model_content=candidate.tflite, num_threads=1)
        interpreter.allocate_tensors()
        (image,) = interpreter.get_input_details()
        interpreter.set_tensor(image["index"], np.zeros(image["shape"], image["dtype"]))
        interpreter.invoke()
        ready[candidate.key] = interpreter
    took: dict[str, list[int]] = {key: [] for key in ready}
    for _ in range(rounds):
        for key, interpreter in ready.items():
            begin = perf_counter_ns()
            interpreter.invoke()
            took[key].append(perf_counter_ns() - begin)
    return took


def counted(
    candidates: Sequence[Candidate], cores: Sequence[str]
) -> tuple[dict[str, dict[str, int]], dict[str, str]]:
    """Core -> candidate -> executed instructions of an invoke, and on what they were counted."""
    made_with = json.loads(_GOLDENS.read_text())["made_with"]
    exactly = {name: version for name, version in made_with.items() if name != "machine"}
    frame = frames.webcam_frame(edgeface.read_image(_ROOT / "examples" / "astronaut.jpg").rgb)
    files = {candidate.key: candidate.tflite for candidate in candidates}
    found = {}
    with scratch() as folder:
        board = Board.made(_ROOT, Path(folder), frame=frame, runs=_RUNS, exactly=exactly, others=files)
        for core in cores:
            others = board.count(core)["others"]
            found[core] = {key: int(counts["invoke"]) for key, counts in others.items()}
            print(f"{core}: counted", file=sys.stderr, flush=True)
        return found, {"kernel": board.kernel_version, "emulator": emulator_version()}
