"""Questions that may crash or hang whoever asks them: each is put to a process of its own, with a deadline.

Importing a runtime can die of an illegal instruction (microsoft/onnxruntime issue 23957), loading a delegate
of a wrong pairing (google-coral/edgetpu issue 812), and a driver can wait for ever. That costs a child.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeface.doctor.system import System

__all__ = ["Outcome", "Question", "ask"]

_AT_ONCE = 2  # a runtime takes 60 MB and more while it is imported, and a Zero 2 W has 512
_END = 2.0  # seconds for a killed child to go
_MOST_TEXT = 600


@dataclass(frozen=True, slots=True)
class Question:
    """What a child is asked: a function of `edgeface.doctor.child` with its arguments, and the deadline."""

    name: str
    arguments: tuple[str, ...] = ()
    seconds: float = 30.0  # the first import of a runtime from an SD card


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended.

    Attributes:
        end: ``answered``; ``failed``: it said why it cannot; ``crashed`` by a signal; ``hung``.
        answer: What it answered, JSON values.
        said: Why it failed, the signal that ended it, or the deadline that it missed.
    """

    end: Literal["answered", "failed", "crashed", "hung"]
    answer: Mapping[str, Any] = field(default_factory=dict)
    said: str = ""


def ask(questions: Sequence[Question], system: System) -> dict[Question, Outcome]:
    """Put every question to a child of its own, two at a time."""
    running: set[subprocess.Popen[bytes]] = set()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            outcomes = tuple(pool.map(lambda question: _asked(question, system, running), questions))
        except BaseException:  # Ctrl-C, which the children do not get: nobody waits for their deadlines
            pool.shutdown(wait=False, cancel_futures=True)
            for child in tuple(running):
                _kill(child)
            raise
    return dict(zip(questions, outcomes, strict=True))


def _asked(question: Question, system: System, running: set[subprocess.Popen[bytes]]) -> Outcome:
    environment = {
        **system.environment,
        "PYTHONPATH": os.pathsep.join(system.search),
        "PYTHONSAFEPATH": "1",
        "ORT_DISABLE_TELEMETRY": "1",
    }
    limit = str(question.seconds)
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "edgeface.doctor.child", limit, question.name, *question.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # so that all that it starts can be ended with it
        )
    except OSError as error:
        return Outcome("failed", said=f"Python cannot be started ({error.strerror})")
    running.add(child)
    try:
        answer, told = child.communicate(timeout=question.seconds)
    except subprocess.TimeoutExpired:
        _end(child)
        return Outcome("hung", said=f"no answer within {question.seconds:g} s")
    finally:
        running.discard(child)
    return _outcome(child.returncode, answer, told)


def _kill(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _end(child: subprocess.Popen[bytes]) -> None:
    _kill(child)
    # One that waits in the kernel for a device cannot be killed; it goes when that answers.
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.communicate(timeout=_END)
    for pipe in (child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()


def _outcome(code: int, answer: bytes, told: bytes) -> Outcome:
    if code < 0:
        return Outcome("crashed", said=signal.Signals(-code).name)
    try:
        found = json.loads(answer)
        if not isinstance(found, dict):
            raise ValueError
    except ValueError:
        lines = told.decode("utf-8", "replace").strip().splitlines()
        return Outcome("failed", said=(lines[-1] if lines else f"exit code {code}")[:_MOST_TEXT])
    if "error" in found:
        return Outcome("failed", said=str(found["error"])[:_MOST_TEXT])
    return Outcome("answered", answer=found)
