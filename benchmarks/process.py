"""One side of a comparison as a child process on one core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.errors import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PATIENCE", "Program", "Side", "tell"]

_ROOT = Path(__file__).resolve().parents[1]
_SIDES = Path(__file__).with_name("sides")
# Every way in which a library under either side is told to keep to one thread.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


PATIENCE = 300.0
"""Seconds for one answer: eleven calls of the slowest peer take a minute on the slowest board."""


@dataclass(frozen=True)
class Program:
    """What to start for a side: its name, its environment's interpreter, its script and its arguments."""

    name: str
    interpreter: Path
    script: str
    arguments: Sequence[str] = ()


class Side:
    """A running side. `started_ns` is the monotonic clock just before the process was asked for."""

    def __init__(
        self,
        program: Program,
        frame: NDArray[np.uint8],
        core: int,
        patience: float = PATIENCE,
        box: Sequence[float] = (),
    ) -> None:
        """Start `program` pinned to `core` and show it `frame`, see `show`.

        A side that leaves a request unanswered for `patience` seconds is ended.
        """
        self.name = program.name
        self._patience, self._hung = patience, False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child that writes to it
        command = [str(program.interpreter), str(_SIDES / program.script), *program.arguments]
        environment = {**os.environ, **_ONE_THREAD, "PYTHONPATH": str(_ROOT)}
        self.started_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            start_new_session=True,  # Ctrl-C is for us: what was measured is kept
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509 - this process has no threads
        )
        try:
            self.show(frame, box)
        except BenchmarkError:
            self.close()
            raise

    def ask(self, request: dict[str, Any], payload: bytes = b"") -> dict[str, Any]:
        """Send one request and wait for its answer.

        Raises:
            BenchmarkError: the side died, hangs (it is ended then) or says what is no answer; the message
                names it and carries the end of what it wrote to stderr.
        """
        stdin, stdout = self._child.stdin, self._child.stdout
        if stdin is None or stdout is None:
            raise BenchmarkError(f"{self.name}: started without pipes")
        # Ended from outside, because a side that hangs may block the writing of a frame too.
        watch = threading.Timer(self._patience, self._give_up)
        watch.start()
        try:
            stdin.write(json.dumps(request).encode() + b"\n" + payload)
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            watch.cancel()
            watch.join()  # the next side is started by a process without threads
        if not line:
            raise BenchmarkError(self._fate())
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise BenchmarkError(f"{self.name} answered {line[:200]!r}, which is no JSON") from error
        return answer

    def _give_up(self) -> None:
        self._hung = True
        self._child.kill()

    def _fate(self) -> str:
        code = self._child.wait()
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip()[-1500:]
        if (
            self._hung
        ):  # the reason comes last, as in what a dying side says: that line is what the table shows
            return f"{last}\n{self.name} gave no answer within {self._patience:g} s and was ended".lstrip()
        return f"{self.name} ended with code {code}:\n{last}"

    def show(self, frame: NDArray[np.uint8], box: Sequence[float] = ()) -> None:
        """Hand over what the next calls look at: uint8 [H, W, 3] RGB.

        `box` (x, y, width, height) is that of a face in it, for variants that look for none themselves.
        """
        height, width, _ = frame.shape
        request = {"do": "frame", "height": height, "width": width}
        self.ask({**request, "box": list(box)} if box else request, frame.tobytes())

    def calls(self, variant: str, *, warm_up: int, calls: int) -> dict[str, Any]:
        """Run `variant`; gives `times_ns` of timed calls, `clock_ns` after them, what was `seen`."""
        return self.ask({"do": "calls", "variant": variant, "warm_up": warm_up, "calls": calls})

    def close(self) -> None:
        """End the process."""
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # what is still buffered for a side that has died
                    pipe.close()
        try:
            self._child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._errors.close()

    def __enter__(self) -> Side:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def tell(what: str) -> None:
    """Says what is going on; results alone go to the standard output."""
    print(what, file=sys.stderr, flush=True)
