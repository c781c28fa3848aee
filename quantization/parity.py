"""Does every runtime say what the trained network says? Measured on frames that no calibration saw.

Two kinds of gates. Signal over noise per output catches a broken conversion, a swapped output or a ruined
tensor, wherever it runs. The task's own figures, int8 against fp32 as ``evaluate`` wrote them, are held to
what int8 may cost: detection 1 point of recall, landmarks 0.05 points of NME, parsing 0.5 points of mean
F1 and 2 of any class, expression 0.5 points of accuracy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgeface import Bundle

from .onnx_export import S8S8, U8S8, export_onnx
from .onnx_graph import Fusion, RuleBreak, check_tensorrt, fused_convolutions
from .progress import progress
from .runtimes import Frames, Maps, by_interpreter, by_litert, by_onnxruntime, by_torch

__all__ = [
    "METRIC_LIMITS",
    "Gate",
    "MetricLimit",
    "OutputParity",
    "Parity",
    "compare",
    "measure",
    "metric_gates",
]

# Against the float network, dB. Float files differ by the order of additions and by the width of a float.
_FLOAT_FLOORS = {"onnx fp32": 80.0, "onnx fp16": 40.0}


@dataclass(frozen=True, slots=True)
class MetricLimit:
    """How much worse int8 may be than fp32 in one figure of a task, in the figure's own unit."""

    name: str
    task: str
    figure: str
    """The figure, or with a trailing ``*`` the beginning of several."""
    higher_is_better: bool
    limit: float


METRIC_LIMITS = (
    MetricLimit("detection recall", "detection", "recall_50", higher_is_better=True, limit=0.01),
    MetricLimit("landmarks NME", "landmarks", "nme", higher_is_better=False, limit=0.0005),
    MetricLimit("parsing mean F1", "parsing", "mean_f1", higher_is_better=True, limit=0.005),
    MetricLimit("parsing class F1", "parsing", "f1_*", higher_is_better=True, limit=0.02),
    MetricLimit("expression accuracy", "expression", "accuracy", higher_is_better=True, limit=0.005),
)


@dataclass(frozen=True, slots=True)
class Gate:
    """A measured value, the bound it is held to, and whether it holds."""

    name: str
    value: float
    bound: float
    passed: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.value:.4g}, bound {self.bound:.4g}: {'holds' if self.passed else 'FAILS'}"


@dataclass(frozen=True, slots=True)
class OutputParity:
    """One output of one runtime against the float network, over all frames."""

    output: str
    sqnr_db: float
    largest_error: float
    """In the output's own unit: crop sides for points, logits elsewhere."""
    worst_frame: int
    """Index of the frame that holds the largest error."""
    photo: str = ""
    """Name of the photo that this frame was cut from, where it is known."""

    @property
    def where(self) -> str:
        return f"in frame {self.worst_frame}" + (f", {self.photo}" if self.photo else "")


@dataclass(frozen=True, slots=True)
class Parity:
    """One student in all runtimes."""

    task: str
    frames: int
    min_sqnr_db: float
    runtimes: Mapping[str, tuple[OutputParity, ...]]
    fusion: Fusion
    """Of the U8S8 file by onnxruntime."""
    tensorrt: tuple[RuleBreak, ...]
    """Of the S8S8 file."""
    metrics: tuple[Gate, ...]
    """Empty when int8 or fp32 was not evaluated."""

    @property
    def gates(self) -> tuple[Gate, ...]:
        """All of them, passed or not."""
        return (
            *self._noise_gates(),
            Gate(f"{self.task} s8s8 TensorRT rules broken", *self._broken()),
            *self.metrics,
        )

    @property
    def failed(self) -> tuple[Gate, ...]:
        return tuple(gate for gate in self.gates if not gate.passed)

    @property
    def unmeasured(self) -> bool:
        """There are limits to what int8 may cost this task, and no figures to hold to them."""
        return not self.metrics and any(limit.task == self.task for limit in METRIC_LIMITS)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "task": self.task,
            "frames": self.frames,
            "runtimes": {name: [asdict(o) for o in found] for name, found in self.runtimes.items()},
            "fused_convolutions": {"fused": self.fusion.fused, "float": list(self.fusion.float_names)},
            "tensorrt": [str(broken) for broken in self.tensorrt],
            "gates": [asdict(gate) for gate in self.gates],
        }

    def table(self) -> str:
        """One line per runtime and output, then what failed."""
        lines = [
            f"{self.task}: {self.frames} frames, {self.fusion.fused} of {self.fusion.total} "
            f"convolutions fused by onnxruntime ({U8S8.name})"
        ]
        for name, found in self.runtimes.items():
            lines += [
                f"  {name:<24} {o.output:<16} {o.sqnr_db:7.2f} dB   largest error {o.largest_error:.4g} "
                f"{o.where}"
                for o in found
            ]
        lines += [f"  {S8S8.name} breaks a rule of TensorRT: {broken}" for broken in self.tensorrt]
        lines += [f"  {gate}" for gate in (*self.metrics, *(g for g in self.failed if g not in self.metrics))]
        if self.unmeasured:
            lines.append("  figures of int8 and fp32: not measured; run `evaluate`")
        return "\n".join(lines)

    def _noise_gates(self) -> Iterator[Gate]:
        for name, found in self.runtimes.items():
            floor = _FLOAT_FLOORS.get(name, self.min_sqnr_db)
            for o in found:
                yield Gate(f"{self.task} {name} {o.output} SQNR dB", o.sqnr_db, floor, o.sqnr_db >= floor)

    def _broken(self) -> tuple[float, float, bool]:
        return float(len(self.tensorrt)), 0.0, not self.tensorrt


def measure(
    task: str,
    network: nn.Module,
    bundle: Bundle,
    calibration: Iterable[NDArray[np.float32]],
    frames: Frames,
    *,
    photos: Sequence[str] = (),
    percentile: float = 100.0,
    min_sqnr_db: float = 10.0,
    figures: Mapping[str, Mapping[str, float]] | None = None,
    interpreters: Mapping[str, Path] | None = None,
) -> Parity:
    """Run ``frames`` through the network and everything that is made of it.

    Args:
        task: whose network it is.
        network: the trained float network, as deployed; the reference.
        bundle: holds the task's int8 .tflite.
        calibration: the frames that file was calibrated on, float [H, W, 3] in [-1, 127/128].
        frames: other frames, int8 [1, H, W, 3] = pixel - 128.
        photos: the photo of each frame, by name, where that is known.
        percentile: of that calibration.
        min_sqnr_db: what every int8 file must keep of every output.
        figures: the task's entry of the metrics file, with ``int8`` and ``fp32``.
        interpreters: Pythons that have ``"tflite-runtime"`` or ``"tflite-micro"``, by that name.

    Raises:
        ExportError: an export fails, or a runtime cannot run its file.
    """
    names = [str(name) for name in type(network).outputs]
    spec = bundle.model(task)
    outputs, tflite = [spec.output(name) for name in names], bundle.artifact(spec.artifact)
    files = export_onnx(network, names, calibration, percentile=percentile)
    reference = by_torch(network, frames)
    runtimes = {"litert int8": compare(names, reference, by_litert(tflite, outputs, frames))}
    for precision in progress(f"{task}: runtimes", ("fp32", "fp16", U8S8.name, S8S8.name)):
        maps = by_onnxruntime(getattr(files, precision), frames)
        runtimes[f"onnx {precision}"] = compare(names, reference, maps)
    for kind, python in (interpreters or {}).items():
        version, maps = by_interpreter(python, kind, tflite, outputs, frames)
        runtimes[f"{kind} {version}"] = compare(names, reference, maps)
    if photos:
        runtimes = {
            name: tuple(replace(o, photo=photos[o.worst_frame]) for o in found)
            for name, found in runtimes.items()
        }
    return Parity(
        task,
        len(frames),
        min_sqnr_db,
        runtimes,
        fused_convolutions(files.u8s8),
        check_tensorrt(files.s8s8),
        metric_gates(task, figures or {}),
    )


def compare(names: Sequence[str], reference: Maps, other: Maps) -> tuple[OutputParity, ...]:
    """Signal over noise of ``other`` per output, arrays [N, h, w, C] in the order of ``names``.

    Raises:
        ValueError: the shapes differ.
    """
    found = []
    for name, expected, got in zip(names, reference, other, strict=True):
        if expected.shape != got.shape:
            raise ValueError(f"output '{name}' is {got.shape}, not {expected.shape}")
        error = np.abs(got.astype(np.float64) - expected)
        # A NaN is as wrong as can be: it must not pass a comparison unseen.
        error = np.where(np.isfinite(error), error, np.finfo(np.float32).max)
        signal = float(np.square(expected, dtype=np.float64).sum())
        ratio = 10 * np.log10(max(signal, 1e-30) / max(float(np.square(error).sum()), 1e-30))
        worst = error.reshape(len(error), -1).max(1)
        found.append(OutputParity(name, round(float(ratio), 2), float(worst.max()), int(worst.argmax())))
    return tuple(found)


def metric_gates(task: str, figures: Mapping[str, Mapping[str, float | None]]) -> tuple[Gate, ...]:
    """Hold ``figures["int8"]`` against ``figures["fp32"]``; empty when either is missing.

    Of the figures of a ``*`` those that fp32 lacks, or has NaN or null for, have no gate: a class that
    neither the truth nor the float network names. Every other figure must be there and be a number on both
    sides.
    """
    if not {"int8", "fp32"} <= figures.keys():
        return ()
    int8, fp32 = figures["int8"], figures["fp32"]
    gates = []
    for limit in METRIC_LIMITS:
        if limit.task != task:
            continue
        stem = limit.figure.rstrip("*")
        several = [k for k in fp32 if k.startswith(stem) and not np.isnan(_number(fp32, k))]
        for figure in several if limit.figure.endswith("*") else [stem]:
            loss = _number(fp32, figure) - _number(int8, figure)
            loss = loss if limit.higher_is_better else -loss
            name = limit.name + figure.removeprefix(stem).join((" ", "")).rstrip()
            gates.append(Gate(f"{name}: lost to int8", float(loss), limit.limit, bool(loss <= limit.limit)))
    return tuple(gates)


def _number(figures: Mapping[str, float | None], name: str) -> float:
    """NaN where the figure is missing, or is null: what JSON has for NaN."""
    value = figures.get(name)
    return float("nan") if value is None else float(value)
