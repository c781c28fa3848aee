"""What every test shares: where the photos are, and how hard hypothesis looks."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

_REPOSITORY = Path(__file__).resolve().parents[1]

# A shell's background jobs ignore Ctrl-C, and so would the programs that the tests start and end by it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No profile has a deadline: a test of time fails on a busy machine and proves nothing on a quiet one.
settings.register_profile("quick", max_examples=60, deadline=None)
settings.register_profile("long", settings.get_profile("quick"), max_examples=3000)
settings.load_profile(os.environ.get("EDGEFACE_HYPOTHESIS", "quick"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return _REPOSITORY


@pytest.fixture(scope="session")
def astronaut_path(repository: Path) -> Path:
    """The public-domain photo of one face that ships with the repository."""
    return repository / "examples" / "astronaut.jpg"


@pytest.fixture(scope="session")
def shared_data(repository: Path) -> Path:
    """The folder of labelled photos; a test that needs it is skipped where it is absent.

    It lies beside the checkout (`../shared/data`) or where `EDGEFACE_SHARED_DATA` says.
    """
    named = os.environ.get("EDGEFACE_SHARED_DATA")
    folder = Path(named) if named else repository.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no labelled photos at {folder}: put them there or set EDGEFACE_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def teachers(shared_data: Path) -> Path:
    """The folder of the published networks, beside that of the photos."""
    folder = shared_data.parent / "teachers"
    if not folder.is_dir():
        pytest.skip(f"no teachers at {folder}: put the published detectors and the face mesh there")
    return folder
