"""The float networks behind the runtime's own seam, so that the same public API grades fp32 and int8."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeface.backends.base import Backend, Session, Tensors, select
from edgeface.bundle import ModelSpec
from edgeface.heads import DETECTORS

__all__ = ["MixedBackend", "TorchBackend"]

_LOGISTIC = ("score_", "visibility", "presence", "blendshapes")
_STEPS = 8  # of a parsing logit to 1: finer than an int8 student's own, down to a chance of e^-32


class TorchBackend:
    """Runs a PyTorch network per task; returns floats in the stored units of the int8 model's outputs.

    Two kinds of output are bytes, because the runtime's heads read nothing else there: logits that go through
    the logistic function are rounded to the int8 output's own steps, and parsing logits are told by how far
    they lie below their pixel's winning class, which is 127 and alone there. That decodes to exactly the
    float network's labels; borders between pixels stay where they were, as all classes of a pixel lose alike.
    """

    name = "torch"
    formats = frozenset({"tflite"})

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        self._networks = networks

    def open(self, spec: ModelSpec, artifact: bytes, threads: int) -> _TorchSession:
        torch.set_num_threads(threads)
        return _TorchSession(self._networks[_task(spec)], spec)


class MixedBackend:
    """Some tasks by PyTorch, the others as the runtime would: a float student behind a fixed detector."""

    name = "torch and the default"

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        self._networks, self._float = networks, TorchBackend(networks)
        self._other = select("auto", frozenset({"tflite"}))
        self.formats = self._other.formats

    def open(self, spec: ModelSpec, artifact: bytes, threads: int) -> Session:
        chosen: Backend = self._float if _task(spec) in self._networks else self._other
        return chosen.open(spec, artifact, threads)


def _task(spec: ModelSpec) -> str:
    """What the model was trained for."""
    return DETECTORS[0] if spec.task in DETECTORS else spec.task


class _TorchSession:
    def __init__(self, network: nn.Module, spec: ModelSpec) -> None:
        self._network, self._spec = network.eval(), spec
        self._lock = threading.Lock()

    @torch.no_grad()
    def run(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        image = torch.from_numpy(np.asarray(tensors[self._spec.input.name], np.float32) / 128).permute(
            0, 3, 1, 2
        )
        with self._lock:
            outputs = [o.permute(0, 2, 3, 1).numpy() for o in self._network(image)]
        names = type(self._network).outputs
        stored: dict[str, NDArray[Any]] = {}
        for name, value in zip(names, outputs, strict=True):
            spec = self._spec.output(str(name))
            if self._spec.task == "parsing":
                best = value.argmax(-1)[..., None] == np.arange(value.shape[-1])
                below = np.clip(np.round((value.max(-1, keepdims=True) - value) * _STEPS), 1, 255)
                stored[spec.name] = np.where(best, 127, 127 - below).astype(np.int8)
            else:
                units = value / spec.scale + spec.zero_point
                is_byte = spec.name.startswith(_LOGISTIC)
                stored[spec.name] = np.clip(np.round(units), -128, 127).astype(np.int8) if is_byte else units
        return stored

    def close(self) -> None:
        pass
