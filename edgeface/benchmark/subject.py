"""What is measured: the models of a bundle on the backend that would be used, with their bare runs timed."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from edgeface.analyzer import FaceAnalyzer
from edgeface.backends.base import Backend, create
from edgeface.bundle import Bundle
from edgeface.choice import choose, taken

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeface.backends.base import Session, Tensors
    from edgeface.manifest import ModelSpec
    from edgeface.results import Ran

__all__ = ["Subject", "Watched"]


class Watched:
    """A backend that notes how long the runs of its models took; all else is the backend's own.

    Attributes:
        spent: Nanoseconds by task since it was last emptied; of several faces, together.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.name, self.formats = backend.name, backend.formats
        self.spent: dict[str, int] = {}

    def open(self, spec: ModelSpec, artifact: bytes, threads: int) -> _WatchedSession:
        """Open a model; see `edgeface.backends.base.Backend.open`."""
        return _WatchedSession(self._backend.open(spec, artifact, threads), spec.task, self.spent)


class _WatchedSession:
    def __init__(self, session: Session, task: str, spent: dict[str, int]) -> None:
        self._session, self._task, self._spent = session, task, spent

    @property
    def ran(self) -> Ran:
        return self._session.ran

    def run(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        start = perf_counter_ns()
        outputs = self._session.run(tensors)
        took = perf_counter_ns() - start
        self._spent[self._task] = self._spent.get(self._task, 0) + took
        return outputs

    def close(self) -> None:
        self._session.close()


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """The models, the backend that was chosen for them, and how.

    No other backend stands behind it: one that fails ends the benchmark, instead of the CPU being measured.
    """

    bundle: Bundle
    backend: Backend
    reason: str
    tasks: tuple[str, ...]
    threads: int

    @classmethod
    def of(cls, bundle: Path | None, backend: str, tasks: Sequence[str], threads: int) -> Subject:
        """Load a bundle (None: the built-in one) and choose the backend as `FaceAnalyzer` does.

        Raises:
            ArgumentError: there is no such backend.
            BundleError: the bundle is damaged, or has no model for a task.
            DeviceError: no backend opens the models.
        """
        loaded = Bundle.builtin() if bundle is None else Bundle.load(bundle)
        for task in tasks:
            loaded.model(task)
        specs = tuple(loaded.models[name] for name in _names(loaded, tasks))
        found = choose(specs, loaded, threads) if backend == "auto" else taken(create(backend), specs)
        return cls(loaded, found.backend, found.reason, tuple(tasks), threads)

    @property
    def specs(self) -> dict[str, ModelSpec]:
        """The models that can take part, in the form that the backend opens."""
        names = _names(self.bundle, self.tasks)
        return {name: self.bundle.models[name].for_formats(self.backend.formats) for name in names}

    def analyzer(self, tasks: Sequence[str] | None = None) -> tuple[FaceAnalyzer, Watched]:
        """An analyzer for all the tasks, or some of them, and what watches its models."""
        watched = Watched(self.backend)
        chosen = self.tasks if tasks is None else tuple(tasks)
        return FaceAnalyzer(chosen, threads=self.threads, backend=watched, bundle=self.bundle), watched

    def describe(self, ran: dict[str, Ran]) -> dict[str, Any]:
        """Backend and models as plain values; ``ran`` tells what really ran each."""
        digests = {artifact.name: artifact.sha256 for artifact in self.bundle.artifacts}
        sizes = {artifact.name: artifact.size for artifact in self.bundle.artifacts}
        return {
            "backend": self.backend.name,
            "why": self.reason,
            "threads": self.threads,
            "bundle": {name: getattr(self.bundle, name) for name in ("name", "version", "digest")},
            "models": {
                task: {
                    "artifact": spec.artifact,
                    "sha256": digests[spec.artifact],
                    "bytes": sizes[spec.artifact],
                    "precision": spec.precision,
                    "input": list(spec.input.shape),
                    "ran": ran[task].to_dict() if task in ran else None,
                }
                for task, spec in self.specs.items()
            },
        }


def _names(bundle: Bundle, tasks: Sequence[str]) -> list[str]:
    """The models of these tasks, and the detectors: what finds faces is part of every pipeline."""
    return [name for name in bundle.tasks if name in tasks or name.startswith("detection")]
