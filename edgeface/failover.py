"""An accelerator with the CPU behind it, which answers what the accelerator fails on.

A loss costs the frame that meets it one deadline. Whether the accelerator is back is found out in the
background: frames go on on the CPU until every model has been opened there again and has answered a known
question as the CPU does.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeface.backends.base import Ran, Session, Tensors, check_inputs
from edgeface.errors import DeviceError, EdgeFaceError
from edgeface.golden import golden_input, is_right

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgeface.bundle import ModelSpec

__all__ = ["BackOff", "FailoverSession", "Health"]


@dataclass(frozen=True, slots=True)
class BackOff:
    """When a lost accelerator is tried again; seconds."""

    first: float = 1.0
    """After the first failure."""
    factor: float = 2.0
    """How much longer after each further one."""
    most: float = 60.0
    """Never longer than this, unless `share` asks for it."""
    share: float = 0.1
    """Of the time, at most this much goes into failures: after one that hung for 2 s come 20 s on the CPU."""


_BACK_OFF = BackOff()


def _in_background(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="edgeface-failover", daemon=True).start()


class Health:
    """Whether an accelerator answers. Its sessions share one, so that a loss costs one deadline and not four.

    Args:
        back_off: when it is tried again.
        clock: seconds that only grow; tests bring their own.
        start: does some work beside the frames; tests do it when they please.
        proven: it is known to work. What one that is not fails with at first is raised and not covered.
    """

    def __init__(
        self,
        back_off: BackOff = _BACK_OFF,
        clock: Callable[[], float] = time.monotonic,
        start: Callable[[Callable[[], None]], None] = _in_background,
        *,
        proven: bool = True,
    ) -> None:
        self.clock = clock
        self.reason = ""
        """Why it does not answer; empty when it does."""
        self.proven = proven
        """Whether it has opened a model before, here or in a probe."""
        self._back_off = back_off
        self._start = start
        self._sessions: weakref.WeakSet[FailoverSession] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._trying = False
        self._wait = 0.0
        self._again = 0.0

    def join(self, session: FailoverSession) -> None:
        """Take a session among those that are opened again after a loss."""
        with self._lock:
            self._sessions.add(session)

    def answers(self) -> bool:
        """True if the accelerator is to be used; an attempt begins if it is lost and the time has come."""
        with self._lock:
            due = bool(self.reason) and not self._trying and self.clock() >= self._again
            self._trying = self._trying or due
        if due:
            try:
                self._start(self._attempt)
            except RuntimeError:  # there is no thread to be had; the next frame asks again
                self._trying = False
        return not self.reason

    def lost(self, reason: str, took: float) -> None:
        """It failed, and that took so many seconds."""
        back_off = self._back_off
        self._wait = min(self._wait * back_off.factor, back_off.most) if self._wait else back_off.first
        self._again = self.clock() + max(self._wait, took / back_off.share)
        self.reason = reason

    def found(self) -> None:
        """It answered for a frame: the next loss is the first one again."""
        self._wait = 0.0

    def _attempt(self) -> None:
        start = self.clock()
        with self._lock:
            sessions = tuple(self._sessions)
        try:
            for session in sessions:
                session.reopen()
        except EdgeFaceError as error:
            self.lost(str(error), self.clock() - start)
        else:
            self.reason = ""
        finally:
            self._trying = False


class FailoverSession:
    """A model on an accelerator, and on the CPU while the accelerator is lost.

    No tensors are lost: those that the accelerator failed on are run again on the CPU at once, and ``ran``
    then says ``degraded``. The CPU's session is opened when it is first needed, and kept.

    Args:
        spec: the model.
        accelerator: opens it there.
        spare: opens it on the CPU.
        health: of the accelerator, shared by its sessions.

    Raises:
        BundleError: the artifact is not the model that ``spec`` describes.
        DeviceError: it can be opened in neither place, or not on an accelerator that is not proven.
    """

    def __init__(
        self,
        spec: ModelSpec,
        accelerator: Callable[[], Session],
        spare: Callable[[], Session],
        health: Health,
    ) -> None:
        self._spec = spec
        self._open_accelerator, self._open_spare = accelerator, spare
        self._health = health
        self._lock = threading.RLock()
        self._accelerator: Session | None = None
        self._spare: Session | None = None
        self._wanted: dict[str, NDArray[Any]] | None = None  # the CPU's answer to the known question
        self._closed = False
        health.join(self)
        session = self._used(lambda session: session) or self._on_spare()
        self._ran = replace(session.ran, degraded=session is self._spare)

    @property
    def ran(self) -> Ran:
        """What ran the model the last time."""
        return self._ran

    def run(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        """Run once, wherever it works; see `edgeface.backends.base.Session.run`."""
        check_inputs(self._spec, tensors)  # a mistake of the caller is none of the accelerator's
        with self._lock:
            if self._closed:
                raise DeviceError(f"model {self._spec.task!r}: the session is closed")
            outputs: dict[str, NDArray[Any]] | None = self._used(lambda session: session.run(tensors))
            if outputs is not None and self._accelerator is not None:
                self._health.found()
                self._ran = self._accelerator.ran
                return outputs
            spare = self._on_spare()
            outputs = spare.run(tensors)
            self._ran = replace(spare.ran, degraded=True)
            return outputs

    def close(self) -> None:
        """Close both; waits for a run in progress. What is being opened then is closed when it is open."""
        with self._lock:
            self._closed = True
            _drop(self._accelerator)
            if self._spare is not None:
                self._spare.close()
            self._accelerator = self._spare = None

    def reopen(self) -> None:
        """Open the model on the accelerator anew and let it answer; frames go on on the CPU meanwhile.

        Raises:
            BundleError: the artifact is not the model that the header describes.
            DeviceError: the accelerator is still lost, or answers wrongly.
        """
        question = golden_input(self._spec)
        with self._lock:
            stale, self._accelerator = self._accelerator, None
            if self._closed:
                return
            if self._wanted is None:
                with contextlib.suppress(EdgeFaceError):  # without a spare the accelerator is needed the more
                    self._wanted = self._on_spare().run(question)
            wanted = self._wanted
        _drop(stale)
        fresh = self._open_accelerator()
        try:
            # No frame shall be the first to meet one that hangs, or that came back damaged.
            if not is_right(self._spec, fresh.run(question), wanted):
                raise DeviceError(
                    f"model {self._spec.task!r}: {fresh.ran.backend} answers wrongly since it is back; "
                    "unplug it and plug it in again, or update its firmware"
                )
        except DeviceError:
            _drop(fresh)
            raise
        self._take(fresh)

    def _take(self, fresh: Session) -> None:
        with self._lock:
            if self._closed:  # since it was asked to open
                _drop(fresh)
            else:
                self._accelerator = fresh

    def _used(self, use: Callable[[Session], Any]) -> Any:
        """What the accelerator is used for; None if it is lost, or was lost at this."""
        health = self._health
        if not health.answers():
            return None
        start = health.clock()
        try:
            if self._accelerator is None:
                self._accelerator = self._open_accelerator()
            health.proven = True
            return use(self._accelerator)
        except DeviceError as error:
            if not health.proven:
                raise
            health.lost(str(error), health.clock() - start)
            _drop(self._accelerator)
            self._accelerator = None
            return None

    def _on_spare(self) -> Session:
        if self._spare is None:
            self._spare = self._open_spare()
        return self._spare


def _drop(session: Session | None) -> None:
    if session is not None:
        with contextlib.suppress(DeviceError):  # it is lost: that it cannot be closed either says nothing new
            session.close()
