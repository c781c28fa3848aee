"""That the suite meets every backend: the files of EdgeFace's folder, and packages that nothing names."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeface import FaceAnalyzer, backends, read_image
from edgeface.backends.base import create, known
from edgeface.errors import DeviceError
from tests.bundles import TINY
from tests.contract import outside
from tests.contract.conftest import missing, subjects


def test_what_is_absent_is_named_with_the_mend() -> None:
    absent = {name: reason for name in known() if (reason := missing(name))}
    for name, reason in absent.items():
        assert len(reason.split()) >= 8
        with pytest.raises(DeviceError, match=r"."):
            create(f"isolated:{name}")


def _files() -> set[str]:
    """The modules of EdgeFace's folder that define what opens models."""
    found = set()
    for module in pkgutil.iter_modules(backends.__path__):
        if module.name == "base":  # the protocols
            continue
        loaded = importlib.import_module(f"edgeface.backends.{module.name}")
        for _, kind in inspect.getmembers(loaded, inspect.isclass):
            opens = getattr(kind, "open", None)
            own = kind.__module__ == loaded.__name__
            if (
                own
                and callable(opens)
                and {"spec", "artifact", "threads"} <= set(inspect.signature(opens).parameters)
            ):
                found.add(module.name)
    return found


def test_every_file_of_the_folder_is_in_the_suite() -> None:
    tested = {part for subject in subjects() for part in subject.name.split(":")}
    assert _files() >= {"litert", "edgetpu", "onnx", "isolated", "scripted"}
    offered = {name.partition(":")[0] for name in known()}
    assert _files() <= tested | offered, "a file without a line OFFERS is a backend that nobody can choose"


def test_a_new_file_is_known_and_in_the_suite_without_an_edit_elsewhere(
    tmp_path: Path, repository: Path
) -> None:
    """The example's module, in the folder of a second checkout, with the line that a file needs there."""
    package = tmp_path / "edgeface"
    shutil.copytree(repository / "edgeface" / "backends", package / "backends")
    for place in [*(repository / "edgeface").iterdir(), repository / "tests", repository / "pyproject.toml"]:
        if place.name not in ("backends", "__pycache__"):
            (tmp_path / place.relative_to(repository)).symlink_to(place)
    module = (repository / "examples" / "backend" / "edgeface_npu.py").read_text().replace('"npu"', '"new"')
    (package / "backends" / "new.py").write_text(f'{module}\n\nOFFERS = {{"new": ("tflite",)}}\n')
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-k", "test_what_ran_is_told and new"]
    done = subprocess.run(
        [*command, "tests/contract/test_backends.py"],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("new", "isolated:new"):
        assert f"PASSED tests/contract/test_backends.py::test_what_ran_is_told[{name}]" in done.stdout


@pytest.mark.parametrize("name", list(outside.projects()))
def test_an_installed_package_is_known_measured_and_runs_a_frame(
    name: str,
    packages: Path,
    monkeypatch: pytest.MonkeyPatch,
    astronaut_path: Path,
    tmp_path: Path,
    repository: Path,
) -> None:
    if name in known():
        pytest.skip("it is installed here for good")
    with FaceAnalyzer(bundle=TINY) as analyzer:
        wanted = analyzer.analyze(read_image(astronaut_path)).faces
    monkeypatch.setattr(sys, "path", [*sys.path, str(packages)])
    assert name in known()
    for backend in (name, f"isolated:{name}"):
        with FaceAnalyzer(bundle=TINY, backend=backend) as analyzer:
            result = analyzer.analyze(read_image(astronaut_path))
        assert result.faces == wanted
        assert {ran.backend for ran in result.ran.values()} == {backend}
    path = os.pathsep.join([str(repository), str(packages)])
    environment = {**os.environ, "PYTHONPATH": path, "EDGEFACE_CACHE": str(tmp_path)}
    command = [sys.executable, "-m", "edgeface", "devices", "--bundle", str(TINY), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300, env=environment)
    (told,) = (one for one in json.loads(done.stdout)["candidates"] if one["name"] == name)
    assert told["usable"]
    assert told["milliseconds"] > 0
