"""Whether a bundle works on this device, found out in a process of its own: a crash costs a verdict.

The child gets the bundle's bytes themselves, so that what was verified is what is tried, and answers with
one JSON line. What it does is in `edgeface.store.probe`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import IO, TYPE_CHECKING

from edgeface.store.errors import HealthError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SECONDS", "check_health"]

SECONDS = 120.0
"""How long a bundle may take: a runtime that is loaded from a slow card, and each backend's own trial."""

_SEVERAL = "install another bundle; `edgeface devices --bundle FILE` tells more"
_MOST_ANSWER = 64 << 10
_GRACE = 2.0  # seconds after its deadline in which the caller ends the child, if it lives


def check_health(data: bytes, picture: Path | None = None, seconds: float = SECONDS) -> None:
    """Run every model of a bundle on a known question and on a frame, in a child process.

    Args:
        data: the bundle.
        picture: a photo of this device's own camera in which a face must be found; None: a drawn frame, of
            which only the answer's form is judged.
        seconds: after which the child is ended.

    Raises:
        HealthError: it crashed, hung, or answered wrongly; the message says which.
    """
    paths = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100  "" means the current folder
    command = [sys.executable, "-m", "edgeface.store.probe", str(seconds + _GRACE)]
    command += [] if picture is None else [os.fspath(picture)]
    # Files in memory rather than pipes: a child that crashes while it is fed is no error of ours, and a disk
    # that is full or read-only does not matter.
    with _memory() as given, _memory() as answer:
        given.write(data)
        given.seek(0)
        try:
            child = subprocess.Popen(
                command,
                stdin=given,
                stdout=answer,
                stderr=subprocess.DEVNULL,  # the verdict says it all; runtimes print what means nothing
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"},
                start_new_session=True,
            )
        except OSError as error:
            raise HealthError(f"the health check cannot start Python ({error}); {_SEVERAL}") from error
        try:
            code = child.wait(seconds)
        except BaseException as error:
            _end(child)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise HealthError(
                f"the bundle gave no answer within {seconds:g} s and its process was ended; {_SEVERAL}"
            ) from error
        answer.seek(0)
        told = answer.read(_MOST_ANSWER)
    if code != 0:
        how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
        raise HealthError(f"the bundle ended the process that tried it ({how}); {_SEVERAL}")
    reason = _reason(told)
    if reason:
        raise HealthError(f"{reason}; {_SEVERAL}")


def _memory() -> IO[bytes]:
    return os.fdopen(os.memfd_create("edgeface"), "w+b")  # the caller closes it


def _reason(told: bytes) -> str:
    """Why the child is not content; empty when it is. A runtime may print before it, never after it."""
    lines = told.decode("utf-8", "replace").splitlines()
    try:
        return str(json.loads(lines[-1])["reason"])
    except (IndexError, KeyError, TypeError, ValueError):
        return "the health check said nothing that can be read"


def _end(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        os.killpg(child.pid, signal.SIGKILL)  # an isolated runtime of the child goes with it
    with contextlib.suppress(subprocess.TimeoutExpired):  # in the kernel, waiting for a device
        child.wait(1.0)
