"""A chain of steps that are done only when they must be.

Each step leaves a small state file: what it depended on (settings by value, files by SHA-256) and what it
wrote. A step whose inputs and outputs are as its file says is not done again. The file is written before the
work begins and again after it, so that a process killed at any time leaves either the old state, a begun one
that the next process goes on with, or a finished one.

::

    ChainError(RuntimeError)     the chain cannot go on; names what is missing and who makes it
      GateError                  a gate stopped it; names every gate that failed
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .courses import differences
from .provenance import commit, digest, write_json

__all__ = ["ChainError", "GateError", "Planned", "Step", "only_one", "plan", "run"]


class ChainError(RuntimeError):
    """The chain cannot go on; the message names what is missing and who makes it."""


class GateError(ChainError):
    """A gate stopped the chain; the message names every gate that failed."""


@dataclass(frozen=True, slots=True)
class Step:
    """One piece of work: what decides about it, what it reads and writes, and the work itself."""

    name: str
    settings: Mapping[str, Any]
    """JSON values that decide about the result: keys of the recipe, versions of packages."""
    reads: Mapping[str, Path]
    """Files and folders that decide about the result, by what they are."""
    writes: Mapping[str, Path]
    """Files and folders that are the result, each finished when it is there (temporary name, then renamed),
    but for a folder, which is filled file by file."""
    work: Callable[[], None]
    gates: Callable[[], Sequence[str]] = tuple
    """The gates that what was written fails, in words. Asked each time, because it costs nothing."""
    told: Callable[[], Sequence[str]] = tuple
    """What there is to say about what was written."""
    estimate: Callable[[], float | None] = lambda: None
    """Seconds that the work will take, where something better is known than what it took before."""
    needs: Callable[[], Sequence[str]] = tuple
    """What the work would stop at that is no file it reads, each with its mend."""
    mend: Callable[[str], str] = lambda _: "see where it should come from"
    """What brings a file that the step reads and no step writes, by what it is."""
    goes_on: bool = False
    """The work itself knows what it may go on with; otherwise what was made from other inputs is removed."""
    adopts: bool = False
    """What is there without a state file is taken as it is: others make it, too."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A step, why it will be done (None: it is up to date), and the seconds it will take, where known."""

    step: Step
    reason: str | None
    seconds: float | None
    missing: tuple[str, ...] = ()
    """What the work would stop at, each with its mend; of what earlier steps make nothing is missing."""


def plan(steps: Sequence[Step], states: Path) -> list[Planned]:
    """What :func:`run` would do, as far as it can be known before it is done."""
    found: list[Planned] = []
    changing: dict[Path, str] = {}
    made: set[Path] = set()
    for step in steps:
        before = {changing[path] for path in step.reads.values() if path in changing}
        if before:
            last = [one.step.name for one in found if one.step.name in before][-1]
            reason: str | None = f"after {last}"
        else:
            reason = _reason(step, _state(states, step), _inputs(step))
        works = reason is not None and not _adopted(step, states)
        missing = tuple(_missing(step, made)) if works else ()
        found.append(Planned(step, reason, _seconds(step, states), missing))
        if works:
            changing |= dict.fromkeys(step.writes.values(), step.name)
        made |= set(step.writes.values())
    return found


def run(steps: Sequence[Step], states: Path, say: Callable[[str], None]) -> None:
    """Does what must be done, in order, and judges every step's gates.

    Raises:
        GateError: a gate failed; nothing after it was done.
        ChainError: a file that a step reads is not there.
    """
    for step in steps:
        inputs = _inputs(step)
        state = _state(states, step)
        reason = _reason(step, state, inputs)
        if reason is None:
            say(f"{step.name}: up to date")
        elif _adopted(step, states):
            say(f"{step.name}: {reason}")
            _write_state(states, step, inputs, None)
        else:
            say(f"{step.name}: {reason}")
            _do(step, states, state, inputs)
        for line in step.told():
            say(f"  {line}")
        failed = step.gates()
        if failed:
            raise GateError(f"{step.name}: " + "; ".join(failed))


@contextlib.contextmanager
def only_one(states: Path) -> Iterator[None]:
    """Holds the folder of the state files for this process; let go of by its death, whatever its cause.

    Raises:
        ChainError: another process has it.
    """
    states.mkdir(parents=True, exist_ok=True)
    with (states / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ChainError(
                f"{states}: another build is at work here; wait, or give another --runs"
            ) from None
        yield


def _do(step: Step, states: Path, state: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    missing = [f"{what}, {step.reads[what]}" for what in step.reads if inputs[what] is None]
    if missing:
        raise ChainError(f"{step.name}: not there: {'; '.join(missing)}")
    if state and state["inputs"] != inputs and not step.goes_on:
        for path in step.writes.values():
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    _write_state(states, step, inputs, state.get("seconds"), begun=True)
    start = time.monotonic()
    try:
        step.work()
    except RuntimeError as error:  # of the converter, a gate of its own, a network: it tells what to mend
        raise ChainError(f"{step.name}: {error}") from error
    _write_state(states, step, inputs, round(time.monotonic() - start, 1))


def _reason(step: Step, state: Mapping[str, Any], inputs: Mapping[str, Any]) -> str | None:
    missing = [path.name for path in step.writes.values() if not path.exists()]
    if not state and not missing:
        return "made by another command, taken as it is" if step.adopts else "not recorded as made"
    if not state:
        return f"{missing[0]} is missing"
    changed = differences(state["inputs"], inputs)
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        return ", ".join(changed[:3]) + more
    if state["outputs"] is None:
        return "was begun and not finished"
    if missing:
        return f"{missing[0]} is missing"
    spoiled = [p.name for what, p in step.writes.items() if digest(p) != state["outputs"].get(what)]
    return f"{spoiled[0]} is not what was written" if spoiled else None


def _missing(step: Step, made: Collection[Path]) -> Iterator[str]:
    for what, path in step.reads.items():
        if path not in made and not path.exists():
            named = what if what.endswith(str(path)) else f"{what}, {path}"
            yield f"{named}: not there; {step.mend(what)}"
    yield from step.needs()


def _adopted(step: Step, states: Path) -> bool:
    there = all(path.exists() for path in step.writes.values())
    return step.adopts and there and not _path(states, step).exists()


def _inputs(step: Step) -> dict[str, Any]:
    # Through JSON, as the state file will give them back.
    values: dict[str, Any] = json.loads(json.dumps(dict(step.settings)))
    return values | {what: digest(path) for what, path in step.reads.items()}


def _seconds(step: Step, states: Path) -> float | None:
    known = 0.0 if _adopted(step, states) else step.estimate()
    seconds = known if known is not None else _state(states, step).get("seconds")
    return None if seconds is None else float(seconds)


def _path(states: Path, step: Step) -> Path:
    return states / f"{step.name.replace(' ', '-')}.json"


def _state(states: Path, step: Step) -> dict[str, Any]:
    path = _path(states, step)
    return json.loads(path.read_text()) if path.exists() else {}


def _write_state(
    states: Path, step: Step, inputs: Mapping[str, Any], seconds: float | None, *, begun: bool = False
) -> None:
    outputs = None if begun else {what: digest(path) for what, path in step.writes.items()}
    values = {"step": step.name, "inputs": inputs, "outputs": outputs, "seconds": seconds, "commit": commit()}
    write_json(_path(states, step), values)
