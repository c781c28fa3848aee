"""A backend is found by its name or by the formats that it opens, and keeps to the protocol."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeface.backends import Backend, Session, base, create, known, select
from edgeface.backends.litert import LiteRTBackend
from edgeface.backends.scripted import ScriptedBackend
from edgeface.bundle import Bundle
from edgeface.errors import ArgumentError, DeviceError
from tests import faulty
from tests.bundles import TINY


@pytest.mark.parametrize("name", ["auto", "litert"])
def test_tflite_is_opened_by_litert(name: str) -> None:
    assert select(name, frozenset({"tflite"})).name == "litert"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ArgumentError, match=r"'cuda': unknown.*litert"):
        select("cuda", frozenset({"tflite"}))


@pytest.mark.parametrize("name", ["auto", "isolated:auto"])
def test_one_backend_is_no_choice_among_them(name: str) -> None:
    with pytest.raises(ArgumentError, match=r"'auto': is a choice.*name one of \['litert'"):
        create(name)


def test_formats_that_nobody_opens_are_named() -> None:
    with pytest.raises(DeviceError, match="engine"):
        select("auto", frozenset({"tflite", "engine"}))


@pytest.mark.parametrize(
    "backend", [LiteRTBackend(), ScriptedBackend({"expression": {}})], ids=lambda b: b.name
)
def test_shipped_backends_keep_to_the_protocol(backend: Backend) -> None:
    assert isinstance(backend, Backend)
    bundle = Bundle.load(TINY)
    spec = bundle.model("expression")
    session = backend.open(spec, bundle.artifact(spec.artifact), 1)
    assert isinstance(session, Session)
    session.close()


@pytest.mark.parametrize("name", [name for name, formats in base._own().items() if formats])
def test_a_file_offers_what_its_backend_opens(name: str) -> None:
    """The line spares an import; were it wrong, "auto" would overlook a backend."""
    try:
        backend = create(name)
    except DeviceError as error:
        pytest.skip(f"this machine lacks it: {error}")
    assert backend.formats == base._own()[name]


def test_what_has_nothing_to_open_is_not_imported() -> None:
    code = (
        "import sys; from edgeface.backends import select; select('auto', frozenset({'tflite'})); "
        "print([name for name in sys.modules if name in "
        "('edgeface.backends.onnx', 'edgeface.backends.edgetpu', 'importlib.metadata', 'tempfile')])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


def test_a_backend_of_another_distribution_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "faulty" not in known()
    with pytest.raises(ArgumentError, match="'faulty': unknown"):
        create("faulty")
    faulty.installed(tmp_path, monkeypatch)
    assert known()[-1] == "faulty"
    assert create("faulty").name == create("faulty:segv").name == "faulty"
    with pytest.raises(DeviceError, match="no such device; plug it in"):
        create("faulty:absent")
    with pytest.raises(DeviceError, match=r"'faulty:broken': failed to start \(ZeroDivisionError"):
        create("faulty:broken")
    with pytest.raises(ArgumentError, match="'litert:fast': takes no option; write 'litert'"):
        create("litert:fast")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("tests.nowhere", "cannot be loaded"),
        ("tests.faulty:TRIGGER", "has no create"),
        ("tests.faulty:expected", "failed to start"),
        ("builtins:dict", "gave a dict"),
    ],
)
def test_a_broken_distribution_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, said: str
) -> None:
    faulty.installed(tmp_path, monkeypatch)
    points = tmp_path / "faulty-1.0.dist-info" / "entry_points.txt"
    points.write_text(f"[edgeface.backends]\nfaulty = {value}\nlitert = {value}\n")
    with pytest.raises(DeviceError, match=f"'faulty'.*{said}"):
        create("faulty")
    assert create("litert").name == "litert"  # nobody takes the place of a backend of the house
    assert known().count("litert") == 1
    assert select("auto", frozenset({"tflite"})).name == "litert"
