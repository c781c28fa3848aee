"""An out-of-tree backend around LiteRT that is slow, or wrong, when it is told to.

`installed` makes it known as another distribution would, by an entry point. ``troubled:slow`` sleeps `SLEEP`
seconds in every run, ``troubled:wrong`` answers with its outputs turned around, ``troubled:drifts`` does so
from its `DRIFT`-th session on, ``troubled:blind`` answers known questions rightly and sees nothing in frames.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.backends.base import Ran, Tensors
from edgeface.backends.litert import LiteRTBackend
from edgeface.bundle import ModelSpec
from edgeface.golden import golden_input

SLEEP = 0.12
DRIFT = 3  # the check before, the frames, then the check after


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = folder / "troubled-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: troubled\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[edgeface.backends]\ntroubled = tests.edgeface.benchmark.troubled\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])


class _Session:
    def __init__(self, mode: str, spec: ModelSpec, artifact: bytes, threads: int) -> None:
        self._inner = LiteRTBackend().open(spec, artifact, threads)
        self._mode = mode
        (self._question,) = golden_input(spec).values()
        left = 4 if mode == "leaves" else None
        self.ran = Ran("troubled", "imagination", left, spec.precision, threads)

    def run(self, tensors: Tensors) -> dict[str, np.ndarray]:
        outputs = self._inner.run(tensors)
        if self._mode == "slow":
            time.sleep(SLEEP)
        (image,) = tensors.values()
        if self._mode == "wrong" or (self._mode == "blind" and not np.array_equal(image, self._question)):
            return {name: np.ascontiguousarray(value[..., ::-1]) ^ 127 for name, value in outputs.items()}
        return outputs

    def close(self) -> None:
        self._inner.close()


class _Backend:
    name = "troubled"
    formats = frozenset({"tflite"})

    def __init__(self, mode: str) -> None:
        self._mode, self._opened = mode, 0

    def open(self, spec: ModelSpec, artifact: bytes, threads: int) -> Any:
        self._opened += 1
        late = self._mode == "drifts" and self._opened >= DRIFT
        return _Session("wrong" if late else self._mode, spec, artifact, threads)


def create(option: str = "") -> _Backend:
    return _Backend(option)
