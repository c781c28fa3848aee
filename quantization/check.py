"""The Edge TPU's verdict on a file or on every network of a bundle: predicted, and compiled if it can be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeface import Bundle
from edgeface.edgetpu_compiler import CompilerReport, compile_model

from . import edgetpu

__all__ = ["Verdict", "read_networks", "verdict"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was predicted for one network, and what the compiler said if it was there."""

    name: str
    predicted: edgetpu.EdgeTpuReport
    compiled: CompilerReport | None

    @property
    def fully_mapped(self) -> bool:
        """Whether nothing stays on the CPU; the compiler has the last word."""
        return (self.compiled or self.predicted).fully_mapped

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        report = self.predicted
        return {
            "name": self.name,
            "fully_mapped": self.fully_mapped,
            "predicted": {
                "operators": len(report.operators),
                "mapped": report.mapped,
                "subgraphs": int(report.mapped > 0),
                "refusals": [asdict(problem) for problem in report.refusals],
                "unmapped": [asdict(f) for f in report.operators if f.problem is not None],
                "types": _counts(report),
            },
            "compiled": None
            if self.compiled is None
            else asdict(self.compiled) | {"fully_mapped": self.compiled.fully_mapped},
        }

    def summary(self) -> str:
        """A few lines of text."""
        first, *rest = self.predicted.summary().splitlines()
        where = ", in one subgraph" if self.predicted.fully_mapped else ""
        lines = [f"{self.name}: {first}{where}", *rest]
        lines.append("  " + ", ".join(f"{count} {name}" for name, count in _counts(self.predicted).items()))
        if self.compiled is not None:
            lines += [f"  {line}" for line in self.compiled.summary().splitlines()]
            if self.compiled.fully_mapped != self.predicted.fully_mapped:
                lines.append("  prediction and compiler disagree: the compiler counts; please report it")
        return "\n".join(lines)


def read_networks(path: Path) -> Iterator[tuple[str, bytes]]:
    """The .tflite files in ``path``, by name: of a bundle all that it has, otherwise the file itself.

    Raises:
        BundleError: it is a damaged bundle.
    """
    content = path.read_bytes()
    if content[4:8] == b"TFL3" or path.suffix == ".tflite":
        yield path.name, content
        return
    bundle = Bundle.load(path)
    for task in bundle.tasks:
        spec = bundle.model(task)
        if spec.format == "tflite":
            yield spec.artifact, bundle.artifact(spec.artifact)


def verdict(name: str, tflite: bytes, compiler: Path | None = None) -> Verdict:
    """Predict how ``tflite`` maps, and compile it where a compiler is given.

    Raises:
        ExportError: it is no TFLite file.
        DeviceError: the compiler does not run, or prints what is no report.
    """
    compiled = None if compiler is None else compile_model(compiler, tflite)[0]
    return Verdict(name, edgetpu.check(tflite), compiled)


def _counts(report: edgetpu.EdgeTpuReport) -> dict[str, int]:
    """How many operators of each type and version, most frequent first."""
    return dict(Counter(f"{f.name} v{f.version}" for f in report.operators).most_common())
