"""What a peer is: its environment, its rows of the table, and what its user must bring."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.environments import NodeEnvironment, PythonEnvironment

__all__ = ["Brought", "Ours", "Peer", "Variant"]


@dataclass(frozen=True)
class Ours:
    """The environment that runs the benchmark: EdgeFace's own."""

    name: str = "edgeface"

    def interpreter(self, _cache: Path) -> Path:
        """The Python that runs this."""
        return Path(sys.executable)


@dataclass(frozen=True)
class Brought:
    """A file or folder that its user has: its licence, its size or its origin keep it out of this repository.

    Attributes:
        key: Its name for the side.
        names: What it may be called, in one of the folders of `--files`.
        how: Where it comes from, in words for who does not have it.
    """

    key: str
    names: tuple[str, ...]
    how: str

    def found(self, folders: list[Path]) -> Path | None:
        """The first of its names in the first folder that holds one."""
        there = (folder / name for folder in folders for name in self.names)
        return next((path.resolve() for path in there if path.exists()), None)


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes:
        name: What the side calls it.
        title: What the table does.
        gives: "boxes", "points", "all" (points, and what else it tells of a face) or "network" (the landmark
            network alone, on a crop) or "expression" (of a face whose box is told): rows that give the same
            are compared.
        accuracy_of: The variant whose accuracy this one has; None: its own. A tracker is not shown photos
            that have nothing to do with each other.
        licence: Of its weights.
    """

    name: str
    title: str
    gives: str
    licence: str
    accuracy_of: str | None = None

    def asked(self, faces: int) -> str:
        """What its side is asked for where there are so many faces at most; a given face or crop is one."""
        return self.name if self.gives in ("network", "expression") else f"{self.name}@{faces}"


@dataclass(frozen=True)
class Peer:
    """One library.

    Attributes:
        key: What `--only` calls it.
        script: In `benchmarks/sides`.
        environment: What its side runs in.
        variants: Its rows.
        brought: What its user must have.
        runtime: Of a side that runs our network: the distribution that runs it.
    """

    key: str
    script: str
    environment: PythonEnvironment | NodeEnvironment | Ours
    variants: tuple[Variant, ...]
    brought: tuple[Brought, ...] = ()
    runtime: str = ""

    def missing(self, folders: list[Path]) -> list[Brought]:
        """What is not in these folders."""
        return [one for one in self.brought if one.found(folders) is None]

    def without(self, gives: str) -> Peer:
        """The same without the rows that give this."""
        return replace(self, variants=tuple(one for one in self.variants if one.gives != gives))

    def told(self, cache: Path, folders: list[Path]) -> dict[str, Any]:
        """What its side is told: where its packages and what was brought are.

        Raises:
            BenchmarkError: its packages cannot be installed.
        """
        told: dict[str, Any] = {}
        if isinstance(self.environment, NodeEnvironment):
            told["packages"] = str(self.environment.folder(cache))
        for one in self.brought:
            told[one.key] = str(one.found(folders))
        return told
