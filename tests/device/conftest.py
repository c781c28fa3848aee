"""The emulated boards: a root with the built wheel in it, and recorded tensors for its networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface import FaceAnalyzer, read_image
from firmware.emulation import guest, roots
from firmware.emulation.errors import EmulationError
from tests.golden.make import BUNDLES, GOLDENS, PHOTO, Recorder, load


class Tape(Recorder):
    """A recorder that keeps the inputs themselves, by task."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: dict[str, list[np.ndarray]] = {}

    def open(self, spec, artifact, threads):
        session = super().open(spec, artifact, threads)
        played, kept = session.run, self.inputs.setdefault(spec.task, [])

        def run(tensors):
            kept.append(np.array(tensors[spec.input.name]))
            return played(tensors)

        session.run = run
        return session


@pytest.fixture(scope="session")
def goldens() -> dict[str, Any]:
    return json.loads(GOLDENS.read_text())


@pytest.fixture(scope="session")
def cache() -> Path:
    """The folder of roots and wheels; a machine that cannot build them skips every test of this folder."""
    reason = roots.why_not()
    if reason:
        pytest.skip(f"no emulated boards here: {reason}")
    return roots.cache_folder()


@pytest.fixture(scope="session")
def wheel(cache: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return roots.build_wheel(repository, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def tensors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What this machine feeds the networks for the photo: `BUNDLE TASK` -> int8 [runs, 1, H, W, 3]."""
    kept = {}
    for name in BUNDLES:
        tape = Tape()
        with FaceAnalyzer(bundle=load(name), backend=tape) as analyzer:
            analyzer.analyze(read_image(PHOTO))
        kept |= {f"{name} {task}": np.stack(inputs) for task, inputs in tape.inputs.items()}
    path = tmp_path_factory.mktemp("tensors") / "tensors.npz"
    np.savez(path, **kept)
    return path


@pytest.fixture(scope="session")
def wheelhouse(cache: Path, wheel: Path, goldens: dict[str, Any]) -> Callable[[str], Path]:
    """aarch64 wheels for a release: of what decides about the bits, exactly the versions of the goldens."""
    exactly = {name: version for name, version in goldens["made_with"].items() if name != "machine"}

    def get(release: str) -> Path:
        try:
            return roots.wheels(cache, wheel, release, exactly)
        except EmulationError as error:
            pytest.skip(str(error))

    return get


@pytest.fixture(scope="session")
def system(cache: Path) -> Callable[[str], guest.Guest]:
    """A bare root of a release, with nothing of EdgeFace in it."""

    def get(release: str) -> guest.Guest:
        try:
            return guest.Guest(roots.root(cache, release), roots.emulator(cache))
        except EmulationError as error:
            pytest.skip(str(error))

    return get


@pytest.fixture(scope="session")
def board(
    cache: Path,
    wheel: Path,
    repository: Path,
    tensors: Path,
    wheelhouse: Callable[[str], Path],
    system: Callable[[str], guest.Guest],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], guest.Guest]:
    """A root with the built wheel, all it needs, the photo and the recorded tensors."""
    made: dict[str, guest.Guest] = {}

    def get(release: str) -> guest.Guest:
        if release not in made:
            bare = system(release)
            site = roots.site(cache, wheel, release, wheelhouse(release))
            own = tmp_path_factory.mktemp("installed") / release
            roots.install(release, own, ["--no-deps", str(wheel)])
            mounts = {
                "/opt/edgeface": own,
                "/opt/site": site,
                "/opt/photo.jpg": PHOTO,
                "/opt/tensors.npz": tensors,
                # The code of the goldens, which finds the bundles by its own place.
                "/opt/checkout/tests": repository / "tests",
            }
            environment = {"PYTHONPATH": "/opt/edgeface:/opt/site", "PYTHONDONTWRITEBYTECODE": "1"}
            made[release] = guest.Guest(bare.root, bare.emulator, mounts, environment)
        return made[release]

    return get
