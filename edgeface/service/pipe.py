"""Lines of JSON into a named pipe or the standard output, without ever waiting for who reads them.

A descriptor is only written to when the kernel says that there is room, and by no more than a page at once,
which then does not block; making it non-blocking would do the same to every other program that shares it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edgeface.errors import ServiceError

if TYPE_CHECKING:
    import threading

__all__ = ["NamedPipe", "StandardOutput"]

_PAGE = 4096  # bytes; as much as a pipe takes at once when it has room at all (POSIX: PIPE_BUF)
_AGAIN = 0.1  # seconds between two looks whether somebody reads


class StandardOutput:
    """Writes to the standard output, or to another descriptor that is open; it is not closed.

    When its reader has gone, nobody can open it again: that ends the outlet.
    """

    kind = "stdout"

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self.open = True

    def ready(self, patience: float) -> bool:
        """Wait until there is room; see `Writer`."""
        return _has_room(self._descriptor, patience)

    def write(self, line: str, over: threading.Event) -> None:
        """Write a line; see `Writer`."""
        _pour(self._descriptor, line, over)

    def close(self) -> None:
        """Leave the descriptor as it is."""
        self.open = False


class NamedPipe:
    """Writes to a named pipe; readers may come, go and come again, and each begins with a whole line.

    The pipe is made if there is none, for this user alone, and is then deleted at the end.

    Args:
        path: of the pipe.

    Raises:
        ServiceError: something else has that name, or it cannot be made.
    """

    kind = "pipe"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.open = False
        self._descriptor: int | None = None
        self._own = False
        try:
            if not self.path.exists():
                os.mkfifo(self.path, 0o600)
                self._own = True
            elif not self.path.is_fifo():
                raise ServiceError(f"{path}: is no named pipe; delete it or choose another name")
        except OSError as error:
            raise ServiceError(f"{path}: no named pipe can be made ({error.strerror})") from error

    def ready(self, patience: float) -> bool:
        """Wait until somebody reads and there is room; see `Writer`."""
        if self._descriptor is None:
            self._descriptor = self._opened()
            self.open = self._descriptor is not None
        if self._descriptor is None:
            time.sleep(min(patience, _AGAIN))
            return False
        try:
            return _has_room(self._descriptor, patience)
        except BrokenPipeError:
            self._leave()
            return False

    def write(self, line: str, over: threading.Event) -> None:
        """Write a line; what a reader who has gone left of it goes with him. See `Writer`."""
        if self._descriptor is not None:
            try:
                _pour(self._descriptor, line, over)
            except BrokenPipeError:
                self._leave()

    def close(self) -> None:
        """Close the pipe, and delete it if it was made here."""
        self._leave()
        if self._own and self.path.is_fifo():  # and not what somebody put in its place
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _opened(self) -> int | None:
        """Open it; None while nobody reads, or while it is gone."""
        try:
            # Without a reader this fails instead of waiting for one.
            descriptor = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):  # somebody put a file in its place
            os.close(descriptor)
            return None
        # What lies in the pipe grows old: one page of it, not the usual sixteen.
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PAGE)
        return descriptor

    def _leave(self) -> None:
        descriptor, self._descriptor, self.open = self._descriptor, None, False
        if descriptor is not None:
            os.close(descriptor)


def _has_room(descriptor: int, patience: float) -> bool:
    """Wait so many seconds for room.

    Raises:
        BrokenPipeError: nobody reads any more.
    """
    poller = select.poll()
    poller.register(descriptor, select.POLLOUT)
    told = poller.poll(patience * 1000)
    if any(event & (select.POLLERR | select.POLLNVAL) for _, event in told):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    return bool(told)


def _pour(descriptor: int, line: str, over: threading.Event) -> None:
    left = memoryview(line.encode() + b"\n")
    while left and not over.is_set():
        if _has_room(descriptor, _AGAIN):
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(descriptor, left[:_PAGE]) :]
