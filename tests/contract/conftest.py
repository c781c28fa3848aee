"""Every backend there is, in this process and isolated, each with a model that it opens.

That is: those that EdgeFace and the installed packages register, those of the packages in ``examples/``,
``edgetpu`` around a library that the test compiles (and around a real Coral where one is plugged in), and
``scripted``. What the others lack on this machine is tested in ``test_registry.py``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeface.backends.base import Backend, Session, create, known
from edgeface.errors import DeviceError
from tests.contract import cases, outside
from tests.contract.cases import CASES, OWN_BUNDLE, Case
from tests.edgeface.backends import delegates

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # whoever imports it first in this process


@dataclass(frozen=True)
class Subject:
    """A backend by its name; ``library``: with the test's own in the place of libedgetpu."""

    name: str
    library: bool = False

    @property
    def isolated(self) -> bool:
        return self.name.startswith("isolated:")

    def __str__(self) -> str:
        return f"{self.name}, test library" if self.library else self.name


def missing(name: str) -> str:
    """What this machine lacks for a backend; nothing if it is here."""
    try:
        create(name)
    except DeviceError as error:
        return str(error)
    return ""


def subjects() -> list[Subject]:
    """What is here and registered twice: in this process, and in one of its own."""
    here = [name for name in known() if not missing(name)]
    found = [Subject(name) for one in here for name in (one, f"isolated:{one}")]
    outer = [Subject(name) for name in outside.projects() if name not in here]
    return [
        *found,
        *outer,
        *(Subject(f"{way}edgetpu", True) for way in ("", "isolated:")),
        Subject("scripted"),
    ]


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages of ``examples/`` installed in it."""
    folder = tmp_path_factory.mktemp("outside")
    outside.installed(folder / "site", folder / "wheels")
    return folder / "site"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library with a delegate's entry points that accepts and computes."""
    if sys.platform != "linux":
        pytest.skip("shared libraries of Linux")
    return delegates.build(tmp_path_factory.mktemp("library"), delegates.ACCEPTING)


@pytest.fixture(params=subjects(), ids=str)
def subject(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Subject:
    found: Subject = request.param
    if found.library:
        monkeypatch.setenv("EDGEFACE_LIBEDGETPU", request.getfixturevalue("library"))
    if found.name.removeprefix("isolated:") in outside.projects():
        monkeypatch.setattr(sys, "path", [*sys.path, str(request.getfixturevalue("packages"))])
    return found


@pytest.fixture
def backend(subject: Subject) -> Backend:
    return cases.scripted() if subject.name == "scripted" else create(subject.name)


@pytest.fixture
def case(subject: Subject, backend: Backend) -> Case:
    if subject.name == "scripted":
        return cases.scripted_case()
    found = None if subject.library else cases.own(backend.formats)
    if found is not None:
        return found
    # What the test's own library computes is no program for a Coral.
    real = {"edgetpu"} if not subject.library else set()
    for name in sorted(backend.formats & set(CASES) - real):
        return CASES[name]()
    pytest.skip(
        f"no model as {' or '.join(sorted(backend.formats))}; name a bundle that has one in {OWN_BUNDLE}"
    )


def opened(subject: Subject, backend: Backend, case: Case, threads: int) -> Session:
    try:
        return backend.open(case.spec, case.artifact, threads)
    except DeviceError as error:
        # A GPU's provider may be listed and not load; whatever names no device must open its model.
        if ":" not in subject.name.removeprefix("isolated:"):
            raise
        pytest.skip(f"{backend.name}: {error}")


@pytest.fixture
def session(subject: Subject, backend: Backend, case: Case) -> Iterator[Session]:
    one = opened(subject, backend, case, 1)
    yield one
    one.close()
