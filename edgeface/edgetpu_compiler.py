"""Google's own ``edgetpu_compiler``, where it is installed: run on a file, its report read.

The report's format is that of compilers 2.1 to 16.0, as users quote them (google-coral/edgetpu issues 60,
225, 358, 490, 601, 845): a version line, sizes, then a table of operator, count and status, in which an
operator has one line per status. A file that it refuses ends in ``Model could not be parsed``, ``Compilation
failed!`` or ``Internal compiler error. Aborting!``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeface.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ON_CPU", "CompiledOperator", "CompilerReport", "compile_model", "find_compiler", "parse_report"]

ON_CPU = "edgetpu_on_cpu"
"""The metric of a model in a bundle that says how many operators an Edge TPU leaves to the CPU."""

_MAPPED = "Mapped to Edge TPU"
_ROW = re.compile(r"^([\w-]+)[ \t]+(\d+)[ \t]+(\S.*?)[ \t\r]*$", re.MULTILINE)
_REFUSED = re.compile(
    r"^(?:ERROR: (?!Registration failed)|Invalid model|Compilation failed|Internal compiler error).*$",
    re.MULTILINE,
)
_SECONDS = 600


@dataclass(frozen=True, slots=True)
class CompiledOperator:
    """One line of the compiler's table."""

    name: str
    count: int
    status: str

    @property
    def mapped(self) -> bool:
        """Whether these run on the Edge TPU."""
        return self.status == _MAPPED


@dataclass(frozen=True, slots=True)
class CompilerReport:
    """What the compiler said of one file."""

    version: str
    refusal: str | None
    """Why it made nothing of the file; None when it compiled."""
    subgraphs: int
    operators: tuple[CompiledOperator, ...]
    memory: Mapping[str, str]
    """Its figures on parameter memory, by its own words: ``On-chip memory used ...`` -> ``6.86MiB``."""

    @property
    def on_cpu(self) -> int:
        """Operators that stay on the CPU."""
        return sum(operator.count for operator in self.operators if not operator.mapped)

    @property
    def on_edgetpu(self) -> int:
        """Operators that run on the Edge TPU."""
        return sum(operator.count for operator in self.operators if operator.mapped)

    @property
    def fully_mapped(self) -> bool:
        """Whether the file compiled into one subgraph and leaves nothing to the CPU."""
        return self.refusal is None and self.subgraphs == 1 and bool(self.operators) and not self.on_cpu

    def summary(self) -> str:
        """One line, then one per status that keeps operators on the CPU."""
        if self.refusal is not None:
            return f"edgetpu_compiler {self.version}: refused: {self.refusal}"
        lines = [
            f"edgetpu_compiler {self.version}: {self.on_edgetpu} operators mapped in {self.subgraphs} "
            f"subgraph{'' if self.subgraphs == 1 else 's'}, {self.on_cpu} on the CPU"
        ]
        lines += [f"  {o.count} x {o.name}: {o.status}" for o in self.operators if not o.mapped]
        return "\n".join(lines)


def find_compiler() -> Path | None:
    """The compiler on PATH, if any."""
    found = shutil.which("edgetpu_compiler")
    return Path(found) if found else None


def compile_model(compiler: Path, tflite: bytes) -> tuple[CompilerReport, bytes | None]:
    """Compile a .tflite file.

    Returns:
        The report, and the compiled file; None when the compiler refused.

    Raises:
        DeviceError: the compiler does not run, takes too long, prints what is no report, or says that it
            compiled and writes nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.tflite"
        source.write_bytes(tflite)
        try:
            done = subprocess.run(
                [str(compiler), "-s", "-o", folder, str(source)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
                cwd=folder,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DeviceError(f"{compiler} does not run: {error}") from error
        report = parse_report(done.stdout)
        if report.refusal is not None:
            return report, None
        try:
            return report, (Path(folder) / "model_edgetpu.tflite").read_bytes()
        except OSError as error:
            raise DeviceError(f"{compiler} says that it compiled, but wrote no file") from error


def parse_report(text: str) -> CompilerReport:
    """Read what ``edgetpu_compiler -s`` printed.

    Raises:
        DeviceError: it is no report of the compiler.
    """
    version = re.search(r"Edge TPU Compiler version (\S+)", text)
    if version is None:
        raise DeviceError(f"no report of edgetpu_compiler: {text.strip()[:200]!r}")
    compiled = "Model compiled successfully" in text
    subgraphs = re.search(r"^Number of Edge TPU subgraphs: (\d+)", text, re.MULTILINE)
    table = text.partition("\nOperator ")[2]
    operators = tuple(CompiledOperator(n, int(c), s) for n, c, s in _ROW.findall(table))
    if compiled and (subgraphs is None or not operators):
        raise DeviceError("edgetpu_compiler compiled the file, but its table of operators is missing")
    refused = _REFUSED.search(text)
    return CompilerReport(
        version.group(1),
        None if compiled else refused.group(0) if refused else text.strip().splitlines()[-1],
        int(subgraphs.group(1)) if subgraphs else 0,
        operators,
        dict(re.findall(r"^((?:On|Off)-chip memory[^:]*): (\S+)", text, re.MULTILINE)),
    )
