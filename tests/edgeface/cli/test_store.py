"""`edgeface models install | status | verify | rollback`: one story with real models, and every exit code."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from edgeface.analyzer import FaceAnalyzer
from edgeface.bundle import Bundle, encode_bundle
from edgeface.cli import main
from edgeface.store import FileStorage, HealthError, Release, Store, chosen_path, installed
from tests.bundles import TINY, opened
from tests.edgeface.store.rig import signed

BUILTIN = Bundle.builtin()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store; keys of nobody."""
    monkeypatch.setenv("EDGEFACE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("EDGEFACE_KEYS", str(tmp_path / "keys.json"))
    return tmp_path


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every bundle passes at once; the list holds the pictures that it was to be tried with."""
    asked: list[object] = []
    monkeypatch.setattr("edgeface.store.store.check_health", lambda data, picture=None: asked.append(picture))
    return asked


def packed(folder: Path, version: str) -> Path:
    """The fixture in another version."""
    header, _ = opened(TINY.read_bytes())
    held = Bundle.load(TINY)
    header.pop("artifacts")
    path = folder / f"tiny-{version}.bundle"
    artifacts = {artifact.name: held.artifact(artifact.name) for artifact in held.artifacts}
    path.write_bytes(encode_bundle({**header, "version": version}, artifacts))
    return path


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["models", *words]) == code
    out, err = capsys.readouterr()
    return out if code == 0 else out + err


def test_from_an_empty_device_to_an_update_and_back(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = pytest.importorskip(
        "cryptography.hazmat.primitives.asymmetric.ed25519", reason="needs the extra `store`"
    )
    owner = keys.Ed25519PrivateKey.generate()
    raw = owner.public_key().public_bytes_raw().hex()
    document = {"schema": "edgeface.keys/1", "threshold": 1, "keys": {"owner": raw}}
    (place / "keys.json").write_text(json.dumps(document))
    assert "runs     edgeface-students" in told(capsys, "status")
    assert not (place / "store").exists(), "asking writes nothing"
    assert "nothing is installed" in told(capsys, "verify")
    path = packed(place, "1.1")
    data, now = path.read_bytes(), datetime.now(timezone.utc)
    said = Release.of(data, Bundle.load(path), now - timedelta(days=1), now + timedelta(days=1))
    path.with_name(f"{path.name}.release").write_bytes(signed(said, owner=owner))
    text = told(capsys, "install", str(path))
    assert text == f"installed tiny 1.1, digest {said.digest[:12]}, signed by owner\n"
    assert "runs     tiny 1.1" in told(capsys, "status")
    assert told(capsys, "verify") == "slot a: the bytes are right; signed by owner\n"
    with FaceAnalyzer(bundle=installed()) as analyzer:
        assert analyzer.describe()["bundle"]["version"] == "1.1"
    assert chosen_path(Path("store")) == place / "store" / "a.bundle"
    assert chosen_path(Path("other")) == Path("other")
    assert chosen_path(None) is None
    assert f"{BUILTIN.version}, digest {BUILTIN.digest[:12]}, built in" in told(capsys, "rollback")
    assert re.search(r"failed   1\.1, .*somebody rolled it back", told(capsys, "status"))
    assert chosen_path(Path("store")) is None


def test_without_a_signature_only_when_told(
    place: Path, healthy: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    path = packed(place, "1.1")
    assert "--unsigned" in told(capsys, "install", str(path), code=4)
    assert healthy == []
    assert "taken without a signature" in told(capsys, "install", str(path), "--unsigned")
    assert re.search(r"slot a   tiny 1\.1, UNSIGNED, installed 20", told(capsys, "status"))
    document = json.loads(told(capsys, "status", "--json"))
    assert document["schema"] == "edgeface.store/1"
    assert document["slots"]["a"]["signers"] == []
    assert document["runs"]["slot"] == "a"
    assert json.loads(told(capsys, "verify", "--json"))["verdicts"][0]["sound"] is True


def test_versions_go_up_unless_told(
    place: Path, healthy: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "install", str(packed(place, "1.2")), "--unsigned")
    older = str(packed(place, "1.1"))
    assert "is not above 1.2" in told(capsys, "install", older, "--unsigned", code=4)
    told(capsys, "install", older, "--unsigned", "--allow-older")
    assert "floor    the next version must be above 1.1" in told(capsys, "status")


def test_a_service_may_have_to_confirm(
    place: Path, healthy: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "install",
        str(packed(place, "1.2")),
        "--unsigned",
        "--wait-for-service",
        "--picture",
        "face.jpg",
    ]
    assert "on trial until the service confirms" in told(capsys, *words)
    assert healthy == [Path("face.jpg").absolute()]
    assert "runs until the service confirms it; 0 of 3 tries are used" in told(capsys, "status")
    place_of_it = Store.at(place / "store")
    assert place_of_it.confirm(place_of_it.start().bundle.digest)
    assert "trial" not in told(capsys, "status")


def test_a_bundle_that_fails_here_is_exit_code_4(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def sick(data: bytes, picture: Path | None = None) -> None:
        raise HealthError("it answers\x1b[31m wrongly")

    monkeypatch.setattr("edgeface.store.store.check_health", sick)
    text = told(capsys, "install", str(packed(place, "1.2")), "--unsigned", code=4)
    assert "version 1.2 was given up" in text
    assert "\x1b" not in text
    assert "failed   1.2" in told(capsys, "status")


def test_a_store_that_is_busy_or_damaged_is_exit_code_5(
    place: Path, healthy: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(packed(place, "1.2"))
    told(capsys, "install", path, "--unsigned")
    storage = FileStorage(place / "store")
    handle = storage.lock()
    assert "another process is writing it" in told(capsys, "rollback", code=5)
    storage.close(handle)
    slot = place / "store" / "a.bundle"
    slot.write_bytes(slot.read_bytes()[:-1])
    assert "trouble  store" in told(capsys, "status", code=5)
    assert "slot a: store" in told(capsys, "verify", code=5)
    (place / "store" / "state.json").write_text("{}")
    assert "begins anew" in told(capsys, "status", code=5)
    told(capsys, "install", path, "--unsigned", "--allow-older")
    told(capsys, "verify")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent.bundle"], r"absent\.bundle: cannot be read"),
        (["GOOD", "--release", "absent.release"], r"--release .*there is no such file"),
        (["GOOD", "--release", "FOLDER"], "is a directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    words: list[str], message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"GOOD": str(TINY), "FOLDER": str(place)}
    found = [known.get(word, word if word.startswith("-") else str(place / word)) for word in words]
    code = 2 if "FOLDER" in words else 4
    assert re.search(message, told(capsys, "install", *found, code=code))


def test_the_store_is_in_the_users_data_folder_unless_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("EDGEFACE_STORE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert f"store    {tmp_path}/edgeface/store\n" in told(capsys, "status")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert f"store    {tmp_path}/home/.local/share/edgeface/store\n" in told(capsys, "status")


def test_the_commands_are_listed_with_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, "--help")
    for name in ("warmup", "compile", "install", "status", "verify", "rollback"):
        assert re.search(rf"^  {name} +\S", text, re.MULTILINE)
    assert main(["models", "--json", "status"]) == 2


@pytest.mark.usefixtures("healthy")
def test_bundle_store_is_what_is_installed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With nothing installed the built-in models; afterwards the installed ones."""
    assert json.loads(told(capsys, "--bundle", "store", "--json"))["digest"] == BUILTIN.digest
    update = packed(place, "99.0.0")
    told(capsys, "install", str(update), "--unsigned")
    assert json.loads(told(capsys, "--bundle", "store", "--json"))["digest"] == Bundle.load(update).digest
