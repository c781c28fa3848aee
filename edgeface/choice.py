"""Which backend runs the models, why, and what stands in when it fails.

Where LiteRT alone opens the models, which is the case on most machines, it is taken: nothing is measured and
nothing remembered. Else each backend, also one that is alone, is asked a known question
(`edgeface.backends.probe`). Of those that answer rightly the fastest is taken, LiteRT unless it is clearly
beaten, and the decision is remembered in the user's cache folder for this device, what is installed on it and
these models.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgeface.backends.base import Backend, Session, create, installed
from edgeface.backends.libraries import library_versions
from edgeface.backends.probe import SPARE, Candidate, look, measure, open_model
from edgeface.cache import recall, remember
from edgeface.errors import DeviceError
from edgeface.failover import FailoverSession, Health

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeface.bundle import Bundle, ModelSpec

__all__ = ["Candidate", "Choice", "NoBackendError", "choose", "device_name", "taken"]

_WORTH = 0.8  # a backend in a process of its own must take less than this part of LiteRT's time
_ALL_REFUSED = "every other backend that is present was refused"
_ALONE = "no other backend here opens these models"
_DAY = 86400.0  # seconds for which a refusal is believed: a device may have been busy, or unplugged


class NoBackendError(DeviceError):
    """No backend of this machine runs the models; ``candidates`` says of each one why."""

    def __init__(self, message: str, candidates: tuple[Candidate, ...]) -> None:
        super().__init__(message)
        self.candidates = candidates


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """The backend that runs the models.

    Attributes:
        backend: What runs them.
        reason: Why this one.
        spare: What stands in when it fails; None: nothing does.
        candidates: Every known backend; empty when the caller named one.
        remembered: The decision comes from the cache folder.
    """

    backend: Backend
    reason: str
    spare: Backend | None = None
    candidates: tuple[Candidate, ...] = ()
    remembered: bool = False
    health: Health = field(default_factory=Health)

    def open(self, spec: ModelSpec, bundle: Bundle, threads: int) -> Session:
        """Open a model on the backend, with its spare behind it.

        Raises:
            BundleError: the artifact is not the model that ``spec`` describes.
            DeviceError: the backend, and the spare if there is one, cannot open it.
        """
        if self.spare is None:
            return open_model(self.backend, spec, bundle, threads)
        spare = self.spare
        return FailoverSession(
            spec,
            lambda: open_model(self.backend, spec, bundle, threads),
            lambda: open_model(spare, spec, bundle, threads),
            self.health,
        )


def taken(backend: Backend, specs: Sequence[ModelSpec], *, spare: bool = False) -> Choice:
    """The choice of a caller who named the backend.

    Args:
        backend: runs the models.
        specs: the models that it must open.
        spare: put the CPU behind it: LiteRT in this process, where the bundle holds every model as
            ``tflite`` and the backend is not LiteRT itself. It stands in from the first loss on and says
            ``degraded``; what the backend's first model fails with is told and not covered, because a name
            that does not work here is a mistake. Without it the backend runs alone and its failures are told.

    Raises:
        DeviceError: it does not open the models' formats.
    """
    for spec in specs:
        if not spec.formats & backend.formats:
            raise DeviceError(
                f"backend {backend.name!r}: opens models of the formats {sorted(backend.formats)}, the "
                f"bundle holds {spec.task!r} as {sorted(spec.formats)}; use another backend or bundle"
            )
    behind = _spare(specs) if spare and backend.name.removeprefix("isolated:") != SPARE else None
    return Choice(backend, "it was asked for", behind, health=Health(proven=False))


def choose(
    specs: Sequence[ModelSpec],
    bundle: Bundle,
    threads: int,
    *,
    strict: bool = False,
    again: bool = False,
    survey: bool = False,
) -> Choice:
    """The best backend of this machine for these models.

    Args:
        specs: the models that it must open.
        bundle: holds them.
        threads: per model.
        strict: refuse to fall back: no spare, and an error if a backend that is present had to be refused.
        again: measure anew, whatever is remembered.
        survey: look also at backends that open none of the models' formats, to tell what is present.

    Raises:
        NoBackendError: no backend of this machine opens the models, or each was refused.
        DeviceError: ``strict`` forbids what would run.
    """
    candidates, backends = look(specs, bundle, survey)
    usable = [candidate.name for candidate in candidates if candidate.usable]
    if not usable:
        reasons = "; ".join(candidate.verdict for candidate in candidates)
        raise NoBackendError(f"no backend opens the models of bundle {bundle.source}: {reasons}", candidates)
    if usable == [SPARE]:
        reason = _ALL_REFUSED if _refused(candidates, strict) else _ALONE
        return Choice(backends[SPARE], reason, None, candidates)
    key = _key(specs, bundle, threads, usable)
    measured = None if again else _recalled(key, usable)
    remembered = measured is not None
    if measured is None:
        measured = measure(specs, bundle, threads, backends, usable)
        lasting = not any(candidate.unready for candidate in measured.values())
        kept = [
            {"name": c.name, "seconds": c.seconds, "verdict": c.verdict, "refused": c.refused}
            for c in measured.values()
        ]
        if lasting:
            remember(key, {"at": time.time(), "candidates": kept})
    candidates = tuple(measured.get(candidate.name, candidate) for candidate in candidates)
    return _best(candidates, backends, strict=strict, remembered=remembered)


def device_name() -> str:
    """The board and processor, for people and as a part of what a decision is remembered under."""
    parts = [platform.machine()]
    try:
        parts.append(Path("/proc/device-tree/model").read_text().rstrip("\0\n"))
    except (OSError, UnicodeDecodeError):  # a PC has no device tree
        try:
            lines = Path("/proc/cpuinfo").read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            lines = []
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        parts += models[:1]
    return ", ".join([*parts, f"{os.cpu_count()} cores"])


def _spare(specs: Sequence[ModelSpec]) -> Backend | None:
    try:
        backend = create(SPARE)
    except DeviceError:  # it is not installed
        return None
    return backend if all(spec.formats & backend.formats for spec in specs) else None


def _refused(candidates: tuple[Candidate, ...], strict: bool) -> list[Candidate]:
    refused = [candidate for candidate in candidates if candidate.refused]
    if strict and refused:
        raise DeviceError(
            f"strict: {refused[0].verdict}; mend it, name another backend, or allow to fall back"
        )
    return refused


def _best(
    candidates: tuple[Candidate, ...], backends: dict[str, Backend], *, strict: bool, remembered: bool
) -> Choice:
    refused = _refused(candidates, strict)
    timed = {c.name: c.seconds for c in candidates if c.usable and c.seconds is not None}
    if not timed:
        reasons = "; ".join(candidate.verdict for candidate in refused)
        raise NoBackendError(f"every backend that is present was refused: {reasons}", candidates)
    name = min(timed, key=lambda name: timed[name])
    if SPARE in timed and name != SPARE and timed[name] >= _WORTH * timed[SPARE]:
        name = SPARE
        reason = "no other backend is clearly faster"
    elif len(timed) == 1:
        reason = _ALL_REFUSED if refused else _ALONE
    else:
        reason = "it is the fastest of those that answer rightly"
    if name == SPARE:
        return Choice(backends[name], reason, None, candidates, remembered)
    spare = backends[SPARE] if SPARE in timed and not strict else None
    return Choice(create(f"isolated:{name}"), reason, spare, candidates, remembered)


def _key(specs: Sequence[ModelSpec], bundle: Bundle, threads: int, usable: Sequence[str]) -> str:
    """What the decision depends on: the machine, everything that runs on it, and what is asked."""
    packages = [name for name, _ in installed()]  # a name holds the version
    machine = [device_name(), sys.version, packages, library_versions()]
    tasks = sorted(spec.task for spec in specs)
    what = json.dumps([2, machine, bundle.digest, tasks, threads, list(usable)])
    return f"choice-{hashlib.sha256(what.encode()).hexdigest()[:24]}"


def _recalled(key: str, usable: Sequence[str]) -> dict[str, Candidate] | None:
    """What is remembered; None when it is nothing, too old, or not what `choose` writes."""
    kept = recall(key)
    try:
        found = [
            Candidate(c["name"], not c["refused"], c["seconds"], str(c["verdict"]), bool(c["refused"]))
            for c in (kept or {})["candidates"]
        ]
        fresh = abs(time.time() - (kept or {})["at"]) < _DAY
    except (KeyError, TypeError):
        return None
    sound = all(c.refused == (c.seconds is None) and isinstance(c.seconds, float | None) for c in found)
    if not sound or sorted(c.name for c in found) != sorted(usable):
        return None
    if not fresh and any(candidate.refused for candidate in found):
        return None
    return {candidate.name: candidate for candidate in found}
