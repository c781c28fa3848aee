"""What the backends of a machine are worth for the models of a bundle: found by looking, and by asking.

Each is asked a known question (`edgeface.golden`) with every model, all but LiteRT in a process of their own,
as they would run later, so that a runtime that crashes harms nobody. Who answers wrongly is refused.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeface.backends.base import Backend, Session, create, known
from edgeface.errors import BundleError, DeviceError, DeviceHungError
from edgeface.golden import golden_input, is_right

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeface.bundle import Bundle, ModelSpec

__all__ = ["SPARE", "Candidate", "look", "measure", "open_model"]

SPARE = "litert"
"""Runs everywhere, in this process; what others are compared with and fall back to."""

_RUNS, _SECONDS = 20, 0.25  # per model and backend: so many runs, or so long


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


def look(
    specs: Sequence[ModelSpec], bundle: Bundle, survey: bool
) -> tuple[tuple[Candidate, ...], dict[str, Backend]]:
    """What is here, without asking it anything: every backend, and by name those that may be asked.

    Args:
        specs: the models that it must open.
        bundle: holds them.
        survey: also backends that open none of the models' formats.
    """
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


def measure(
    specs: Sequence[ModelSpec],
    bundle: Bundle,
    threads: int,
    backends: dict[str, Backend],
    usable: Sequence[str],
) -> dict[str, Candidate]:
    """Ask the ``usable`` ones of ``backends`` about every model, on so many threads each.

    LiteRT, if it is among them, is asked first, and the others must answer as it does.
    """
    wanted: dict[str, dict[str, NDArray[Any]]] = {}
    found = {}
    for name in sorted(usable, key=lambda name: name != SPARE):  # it answers first, the others are compared
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
        asked = backend if name == SPARE else create(f"isolated:{name}")
        for spec in specs:
            took, outputs = _asked(asked, spec, bundle, threads)
            if name == SPARE:
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
    session = open_model(backend, spec, bundle, threads)
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


def open_model(backend: Backend, spec: ModelSpec, bundle: Bundle, threads: int) -> Session:
    """Open what a bundle holds of a model in a format of the backend.

    Raises:
        BundleError: the artifact is not the model that ``spec`` describes.
        DeviceError: the backend cannot open it.
    """
    found = spec.for_formats(backend.formats)
    return backend.open(found, bundle.artifact(found.artifact), threads)
