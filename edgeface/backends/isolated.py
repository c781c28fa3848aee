"""Any backend in a process of its own, with a deadline for each call.

A native crash or an endless loop in a driver then costs one call and not the application: it becomes a
`DeviceCrashedError` or a `DeviceHungError` within the deadline, and the next call starts a new process, in
which every model is opened again. All models of one `IsolatedBackend` share a process, because an accelerator
is often given to one process only. A run takes 20 to 60 us more than in the caller's process, for tensors of
50 to 350 KB (see `edgeface.backends.channel`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeface import errors
from edgeface.backends.base import Ran, Tensors, check_inputs
from edgeface.backends.base import create as create_backend
from edgeface.backends.channel import Arena, Channel, Kind, arena_bytes
from edgeface.errors import ArgumentError, DeviceCrashedError, DeviceError, DeviceHungError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeface.bundle import ModelSpec

__all__ = ["OFFERS", "Deadlines", "IsolatedBackend", "IsolatedSession", "create"]

OFFERS = {"isolated": ()}  # opens what the backend in it opens, and is asked for by name alone


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long an isolated runtime may take before its process is ended, in seconds."""

    run: float = 2.0
    """For one run; students take milliseconds."""
    open: float = 60.0
    """To start the process, import the runtime and open a model; `again` is for one that was open before."""
    again: float = 4.0
    """To open a model again, at most so many times as long as it took before, and `run` more."""
    close: float = 1.0
    """To close a model, and to end when asked to."""


_DEADLINES = Deadlines()


class IsolatedBackend:
    """Runs the backend called ``name`` in a child process.

    Raises:
        ArgumentError: there is no such backend, or a deadline is not above 0.
        DeviceError: the machine lacks what the backend needs.
    """

    def __init__(self, name: str, deadlines: Deadlines = _DEADLINES) -> None:
        if min(deadlines.run, deadlines.open, deadlines.again, deadlines.close) <= 0:
            raise ArgumentError(f"deadlines must be above 0, not {deadlines}")
        self.name = f"isolated:{name}"
        inner = create_backend(name)
        self.formats = inner.formats
        self._process = _Process(name, deadlines, str(getattr(inner, "suspicion", "")))

    def open(self, spec: ModelSpec, artifact: bytes, threads: int) -> IsolatedSession:
        """Open a model in the child; see `edgeface.backends.base.Backend.open`.

        Raises:
            DeviceHungError: it takes longer than the deadline.
            DeviceCrashedError: it ends the child.
        """
        return IsolatedSession(self._process, spec, artifact, threads)


class IsolatedSession:
    """One model in the child, opened anew in the next child when this one is gone."""

    def __init__(self, process: _Process, spec: ModelSpec, artifact: bytes, threads: int) -> None:
        self._process, self._spec = process, spec
        # Mapping proxies cannot be pickled.
        plain = replace(spec, head=dict(spec.head), metrics=dict(spec.metrics), variants=dict(spec.variants))
        self._model = (plain, artifact, threads)
        self._key = next(process.keys)
        self._closed = False
        with process.lock:
            self._open()

    @property
    def ran(self) -> Ran:
        """What the child says about the last run."""
        return self._ran

    def run(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        """Run once in the child; see `edgeface.backends.base.Session.run`.

        Raises:
            DeviceHungError: no answer came within the deadline.
            DeviceCrashedError: the child ended.
        """
        image = check_inputs(self._spec, tensors)
        process = self._process
        with process.lock:
            if self._closed:
                raise DeviceError(f"model {self._spec.task!r}: the session is closed")
            if self._key not in process.alive():
                self._open()
            views = process.arena.views(self._spec)
            views[self._spec.input.name][...] = image
            self._hear(process.call(self._spec.task, Kind.RUN, self._key, process.deadlines.run))
            return {output.name: views[f"> {output.name}"].copy() for output in self._spec.outputs}

    def close(self) -> None:
        """Close the model, and with the last one the child; waits for a run in progress."""
        process = self._process
        with process.lock:
            if self._closed:
                return
            self._closed = True
            if self._key in process.alive():
                with contextlib.suppress(DeviceError):  # it is gone, which is what was asked for
                    process.call(self._spec.task, Kind.CLOSE, self._key, process.deadlines.close)
                process.opened.discard(self._key)
            if not process.opened:
                process.end()

    def _open(self) -> None:
        process = self._process
        process.arena.grow(arena_bytes(self._spec))
        start = time.monotonic()
        seconds = process.patience(self._spec.artifact)
        try:
            self._hear(process.call(self._spec.task, Kind.OPEN, self._key, seconds, *self._model))
        except BaseException:
            if not process.opened:
                process.end()
            raise
        process.opened.add(self._key)
        process.opening[self._spec.artifact] = time.monotonic() - start

    def _hear(self, answer: bytes) -> None:
        if answer:
            ran: Ran = pickle.loads(answer)  # noqa: S301  from our own child
            self._ran = replace(ran, backend=f"isolated:{ran.backend}")


class _Process:
    """The child, or none: it is started by the first call, and again by the first call after its end."""

    def __init__(self, name: str, deadlines: Deadlines, suspicion: str) -> None:
        self.deadlines = deadlines
        self.lock = threading.RLock()
        self.keys = itertools.count()
        self.opened: set[int] = set()
        self.opening: dict[str, float] = {}  # artifact -> how long it took, seconds
        self._name = name
        self._suspicion = f"; {suspicion}" if suspicion else ""
        self._child: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._forget: weakref.finalize[..., _Process] | None = None
        self._pid = 0
        if not hasattr(os, "memfd_create"):
            raise DeviceError(f"backend 'isolated:{name}': needs Linux; use {name!r} without isolation")
        self._memory = os.memfd_create("edgeface")
        self.arena = Arena(self._memory)
        weakref.finalize(self, os.close, self._memory)

    def alive(self) -> set[int]:
        """The models that are open in the child; none when it has ended since the last call."""
        if self._child is not None and (self._child.poll() is not None or self._pid != os.getpid()):
            self.end()
        return self.opened

    def patience(self, artifact: str) -> float:
        """The deadline for opening an artifact: a hang in the middle of a stream must not cost a minute."""
        deadlines = self.deadlines
        if artifact not in self.opening:
            return deadlines.open
        # The longest, because any of them may be the one that waits for the process to start.
        return min(deadlines.open, deadlines.run + deadlines.again * max(self.opening.values()))

    def call(self, task: str, kind: Kind, key: int, seconds: float, *more: object) -> bytes:
        """Ask the child and wait for its answer, ``seconds`` at most.

        Raises:
            DeviceHungError: no answer came in time; the child is ended.
            DeviceCrashedError: the child ended.
            EdgeFaceError: what the child's backend raised.
        """
        until = time.monotonic() + seconds
        try:
            channel = self._channel or self._start()
            channel.send(kind, pickle.dumps((key, seconds, *more)), until)
            answered, content = channel.receive(until)
        except TimeoutError as error:
            self.end(kill=True)
            raise DeviceHungError(
                f"model {task!r}: {self._name!r} gave no answer within {seconds:g} s and its process was "
                f"ended{self._suspicion}; the next call starts a new one, and a longer deadline is given "
                "with Deadlines"
            ) from error
        except EOFError as error:
            raise DeviceCrashedError(
                f"model {task!r}: {self._name!r} ended its process ({self.end()}){self._suspicion}; the next "
                "call starts a new one, and `edgeface devices` tells what works here"
            ) from error
        except BaseException:
            # Ctrl-C while waiting: an answer that comes later must not meet another question.
            self.end(kill=True)
            raise
        if answered is Kind.FAILED:
            name, message = pickle.loads(content)  # noqa: S301  from our own child
            raise getattr(errors, name, DeviceError)(message)
        return content

    def end(self, kill: bool = False) -> str:
        """End the child and say how it ended."""
        child, channel, self._child, self._channel = self._child, self._channel, None, None
        self.opened.clear()
        if self._forget is not None:
            self._forget.detach()
        if channel is None:
            return "not started"
        if child is None:  # interrupted while it was started: what was begun sees the end of its pipe
            channel.close()
            return "not started"
        return _ended(child, channel, self._pid, 0.0 if kill else self.deadlines.close)

    def _start(self) -> Channel:
        ours, theirs = os.pipe(), os.pipe()  # (read, write) of what they say, and of what we say
        paths = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100  "" means the current folder
        # Before the child: wherever Ctrl-C comes, `end` finds what there is to be ended.
        self._pid, self._channel = os.getpid(), Channel(ours[0], theirs[1])
        arguments = [self._name, str(theirs[0]), str(ours[1]), str(self._memory)]
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "edgeface.backends.child", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a runtime prints must not get into the caller's output
                pass_fds=(theirs[0], ours[1], self._memory),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"},
                start_new_session=True,  # a Ctrl-C in the terminal goes to the caller alone
            )
        except OSError as error:
            raise DeviceError(f"backend 'isolated:{self._name}': cannot start Python ({error})") from error
        finally:
            os.close(theirs[0])
            os.close(ours[1])
        self._forget = weakref.finalize(self, _ended, self._child, self._channel, self._pid, 0.0)
        return self._channel


def _ended(child: subprocess.Popen[bytes], channel: Channel, owner: int, patience: float) -> str:
    """Close the channel, wait for the end of the child, kill it when patience is over; say how it ended."""
    channel.close()
    if owner != os.getpid():  # this process was forked from the one that the child belongs to
        return "belongs to another process"
    try:
        code = child.wait(patience)
    except subprocess.TimeoutExpired:
        child.kill()
        try:
            code = child.wait(_DEADLINES.close)
        except subprocess.TimeoutExpired:  # in the kernel, waiting for a device; it dies when that answers
            return "cannot be killed yet"
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def create(option: str = "litert") -> IsolatedBackend:
    """The backend, for `edgeface.backends.base.create`: ``isolated:onnx`` isolates ``onnx``."""
    return IsolatedBackend(option)
