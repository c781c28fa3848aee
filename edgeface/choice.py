"""Which backend runs the models, why, and what stands in when it fails.

Where LiteRT alone opens the models, which is the case on most machines, it is taken: nothing is measured and
nothing remembered. Else each backend, also one that is alone, runs a known question (`edgeface.golden`) with
every model: all but LiteRT in a process of their own, as they would run later, so that a runtime that crashes
harms nobody. Who answers wrongly is refused; of the others the fastest is taken, LiteRT unless it is clearly
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
from typing import TYPE_CHECKING, Any

from edgeface.backends.base import Backend, Session, create, installed, known
from edgeface.backends.libraries import library_versions
from edgeface.cache import recall, remember
from edgeface.errors import BundleError, DeviceError, DeviceHungError
from edgeface.failover import FailoverSession, Health
from edgeface.golden import golden_input, is_right

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeface.bundle import Bundle, ModelSpec

__all__ = ["Candidate", "Choice", "choose", "device_name", "taken"]

_SPARE = "litert"  # runs everywhere, in this process; what others are compared with and fall back to
_WORTH = 0.8  # a backend in a process of its own must take less than this part of LiteRT's time
_RUNS, _SECONDS = 20, 0.25  # per model and backend: so many runs, or so long
_ALL_REFUSED = "every other backend that is present was refused"
_ALONE = "no other backend here opens these models"
_DAY = 86400.0  # seconds for which a refusal is believed: a device may have been busy, or unplugged


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is known about one backend on this machine.

    Attributes:
        name: As `FaceAnalyzer` takes it.
        usable: It is present, opens these models and was not refused.
        seconds: One run of every model, the best of several; None when nothing was measured.
        verdict: What it lacks with the mend, why it was refused, or what it was found to be.
        refused: It is present and failed: it crashed, hung or answered wrongly, or it is unready and was not
            built with other options either.
        unready: It would have to build something for minutes first. That is never remembered.
    """

    name: str
    usable: bool
    seconds: float | None = None
    verdict: str = ""
    refused: bool = False
    unready: bool = False


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
            return _open(self.backend, spec, bundle, threads)
        spare = self.spare
        return FailoverSession(
            spec,
            lambda: _open(self.backend, spec, bundle, threads),
            lambda: _open(spare, spec, bundle, threads),
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
    behind = create(_SPARE) if spare and backend.name.removeprefix("isolated:") != _SPARE else None
    if behind is not None and not all(spec.formats & behind.formats for spec in specs):
        behind = None
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
        DeviceError: no backend of this machine opens the models, or ``strict`` forbids what would run.
    """
    candidates, backends = _present(specs, bundle, survey)
    usable = [candidate.name for candidate in candidates if candidate.usable]
    if not usable:
        reasons = "; ".join(candidate.verdict for candidate in candidates)
        raise DeviceError(f"no backend opens the models of bundle {bundle.source}: {reasons}")
    if usable == [_SPARE]:
        reason = _ALL_REFUSED if _refused(candidates, strict) else _ALONE
        return Choice(backends[_SPARE], reason, None, candidates)
    key = _key(specs, bundle, threads, usable)
    measured = None if again else _recalled(key, usable)
    remembered = measured is not None
    if measured is None:
        measured = _measured(specs, bundle, threads, backends, usable)
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


def _present(
    specs: Sequence[ModelSpec], bundle: Bundle, survey: bool
) -> tuple[tuple[Candidate, ...], dict[str, Backend]]:
    candidates, backends = [], {}
    formats = frozenset[str]().union(*(spec.formats for spec in specs))
    names = list(known(None if survey else formats))
    while names:
        name = names.pop(0)
        try:
            backend = create(name)
        except DeviceError as error:
            candidates.append(Candidate(name, False, verdict=str(error)))
            continue
        candidate, others = _found(name, backend, specs, bundle)
        if candidate.usable:
            backends[name] = backend
        candidates.append(candidate)
        seen = {candidate.name for candidate in candidates}
        names[:0] = sorted(others - seen.union(names))
    return tuple(candidates), backends


def _found(
    name: str, backend: Backend, specs: Sequence[ModelSpec], bundle: Bundle
) -> tuple[Candidate, frozenset[str]]:
    """What a backend that is present is worth, and its names with other options that are ready to be used."""
    for spec in specs:
        if not spec.formats & backend.formats:
            verdict = (
                f"is present and opens {', '.join(sorted(backend.formats))}; the bundle holds "
                f"{spec.task!r} as {', '.join(sorted(spec.formats))}"
            )
            return Candidate(name, False, verdict=verdict), frozenset()
    found = [spec.for_formats(backend.formats) for spec in specs]
    ready = getattr(backend, "ready", None)
    artifacts = [] if ready is None else [bundle.artifact(spec.artifact) for spec in found]
    others = _built(backend, artifacts)
    # Nobody waits minutes for a probe.
    if ready is None or all(ready(artifact) for artifact in artifacts):
        return Candidate(name, True), others
    verdict = f"backend {name!r}: {_warm_up(name)}"
    return Candidate(name, False, verdict=verdict, refused=not others, unready=True), others


def _built(backend: Backend, artifacts: Sequence[bytes]) -> frozenset[str]:
    built = getattr(backend, "built", None)
    if built is None or not artifacts:
        return frozenset()
    return frozenset[str].intersection(*(built(artifact) for artifact in artifacts))


def _warm_up(name: str) -> str:
    return (
        "must build something for these models first, which takes minutes; "
        f"run: edgeface models warmup --backend {name} --bundle FILE"
    )


def _measured(
    specs: Sequence[ModelSpec],
    bundle: Bundle,
    threads: int,
    backends: dict[str, Backend],
    usable: Sequence[str],
) -> dict[str, Candidate]:
    wanted: dict[str, dict[str, NDArray[Any]]] = {}
    found = {}
    for name in sorted(usable, key=lambda name: name != _SPARE):  # it answers first, the others are compared
        found[name] = _probed(name, backends[name], specs, bundle, threads, wanted=wanted)
    return found


def _probed(
    name: str,
    backend: Backend,
    specs: Sequence[ModelSpec],
    bundle: Bundle,
    threads: int,
    *,
    wanted: dict[str, dict[str, NDArray[Any]]],
) -> Candidate:
    """Ask one backend about every model; what LiteRT answers is put into ``wanted``."""
    seconds = 0.0
    try:
        asked = backend if name == _SPARE else create(f"isolated:{name}")
        for spec in specs:
            took, outputs = _asked(asked, spec, bundle, threads)
            if name == _SPARE:
                wanted[spec.task] = outputs
            elif not is_right(spec, outputs, wanted.get(spec.task)):
                raise DeviceError(
                    f"backend {name!r}: answers wrongly for {spec.task!r}; update its runtime or firmware"
                )
            seconds += took
    except (DeviceError, BundleError) as error:
        # What was built may be for an older driver: then it is built anew.
        unready = isinstance(error, DeviceHungError) and hasattr(backend, "ready")
        verdict = f"{error}; it may be that it {_warm_up(name)}" if unready else str(error)
        return Candidate(name, False, verdict=verdict, refused=True, unready=unready)
    return Candidate(name, True, seconds, f"answers rightly in {seconds * 1e3:.1f} ms")


def _asked(
    backend: Backend, spec: ModelSpec, bundle: Bundle, threads: int
) -> tuple[float, dict[str, NDArray[Any]]]:
    """Seconds of the quickest run, and the outputs of the last."""
    question = golden_input(spec)
    session = _open(backend, spec, bundle, threads)
    try:
        outputs = session.run(question)  # the first run may still set something up
        best, end = float("inf"), time.perf_counter() + _SECONDS
        for _ in range(_RUNS):
            start = time.perf_counter()
            outputs = session.run(question)
            best = min(best, time.perf_counter() - start)
            if time.perf_counter() > end:
                break
    finally:
        session.close()
    return best, outputs


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
        raise DeviceError(f"every backend that is present was refused: {reasons}")
    name = min(timed, key=lambda name: timed[name])
    if _SPARE in timed and name != _SPARE and timed[name] >= _WORTH * timed[_SPARE]:
        name = _SPARE
        reason = "no other backend is clearly faster"
    elif len(timed) == 1:
        reason = _ALL_REFUSED if refused else _ALONE
    else:
        reason = "it is the fastest of those that answer rightly"
    if name == _SPARE:
        return Choice(backends[name], reason, None, candidates, remembered)
    spare = backends[_SPARE] if _SPARE in timed and not strict else None
    return Choice(create(f"isolated:{name}"), reason, spare, candidates, remembered)


def _open(backend: Backend, spec: ModelSpec, bundle: Bundle, threads: int) -> Session:
    found = spec.for_formats(backend.formats)
    return backend.open(found, bundle.artifact(found.artifact), threads)


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
