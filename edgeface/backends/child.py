"""The process that an isolated runtime lives in: ``python -m edgeface.backends.child`` with what it is given.

It ends when its caller closes the pipe or dies. While a native call runs, nobody here could notice that,
because the call may hold Python's lock for ever: therefore the kernel's alarm clock ends the process a while
after the deadline at which a living caller would have done so.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeface.backends.base import create
from edgeface.backends.channel import Arena, Channel, Kind
from edgeface.errors import DeviceError, EdgeFaceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeface.backends.base import Backend, Ran, Session
    from edgeface.bundle import ModelSpec

__all__ = ["main"]

_GRACE = 2.0  # seconds after its deadline in which the caller ends this process, if it lives


class _Model:
    """One opened model, with its places in the shared memory."""

    def __init__(self, spec: ModelSpec, session: Session, views: dict[str, NDArray[Any]]) -> None:
        self._spec, self._session, self._views = spec, session, views
        self._told: Ran | None = None

    def run(self) -> bytes:
        """Run once; what really ran (pickled) where that is news, else nothing."""
        outputs = self._session.run({self._spec.input.name: self._views[self._spec.input.name]})
        for output in self._spec.outputs:
            value = outputs.get(output.name)
            if value is None or value.shape != output.shape or value.dtype != output.dtype:
                raise DeviceError(
                    f"model {self._spec.task!r}: the backend gave no output {output.name!r} of "
                    f"{output.dtype} {list(output.shape)}; ask its makers"
                )
            np.copyto(self._views[f"> {output.name}"], value)
        return self.news()

    def news(self) -> bytes:
        """What really runs the model, pickled, unless it was told before."""
        ran = self._session.ran
        if ran == self._told:
            return b""
        self._told = ran
        return pickle.dumps(ran)

    def close(self) -> None:
        """Close the session."""
        self._session.close()


def main(arguments: Sequence[str]) -> None:
    """Serve one caller: the backend's name, the two pipes, the shared memory."""
    resource.setrlimit(
        resource.RLIMIT_CORE, (0, 0)
    )  # a crash is expected here; nobody wants its memory on disk
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller, which then closes the pipe
    channel = Channel(int(arguments[1]), int(arguments[2]))
    try:
        _serve(channel, arguments[0], Arena(int(arguments[3])))
    except EOFError:  # the caller closed the pipe, or is gone
        signal.setitimer(signal.ITIMER_REAL, _GRACE)  # the destructors of a runtime may hang, too


def _serve(channel: Channel, name: str, arena: Arena) -> None:
    backend: Backend | None = None
    models: dict[int, _Model] = {}
    while True:
        kind, content = channel.receive(None)
        key, seconds, *more = pickle.loads(content)  # noqa: S301  from the caller, whose process this one is
        signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE)
        answer = b""
        try:
            if kind is Kind.RUN:
                answer = models[key].run()
            elif kind is Kind.OPEN:
                backend = backend or create(name)
                spec, artifact, threads = more
                models[key] = _Model(spec, backend.open(spec, artifact, threads), arena.views(spec))
                answer = models[key].news()
            else:
                models.pop(key).close()
        except EdgeFaceError as error:
            channel.send(Kind.FAILED, pickle.dumps((type(error).__name__, str(error))), None)
        except Exception as error:  # noqa: BLE001  code of other people; the caller must hear of it, typed
            channel.send(Kind.FAILED, pickle.dumps(("DeviceError", f"backend {name!r}: {error!r}")), None)
        else:
            channel.send(Kind.DONE, answer, None)
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # without the destructors of the runtime's globals: known to hang, and nobody waits for them
