"""`python -m quantization publish`, from the first key to a device that runs what was published."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgeface.store import FileStorage, Store, TrustedKeys
from edgeface.update import Settings, Updates
from quantization.commands import main
from quantization.publish import PublishError, Repository, make_key, sign_release
from tests.edgeface.store import rig

pytestmark = pytest.mark.workshop


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGEFACE_KEY_PASSWORD", raising=False)
    return tmp_path


def _run(*words: str, code: int = 0) -> str:
    result: Result = CliRunner().invoke(main, ["publish", *words])
    assert result.exit_code == code, result.output
    return result.output


def _device(place: Path) -> Updates:
    folder = place / "device"
    store = Store(
        FileStorage(folder / "store"),
        keys=lambda: TrustedKeys.load(folder / "keys.json"),
        health=rig.Health(),
        boards=rig.BOARD,
    )
    root = (place / "repository/metadata/1.root.json").read_bytes()
    settings = Settings(str(place / "repository"), root, "stable")
    return Updates(settings, store, folder / "update", boards=rig.BOARD)


def test_the_way_that_the_runbook_tells(place: Path) -> None:
    assert "onto every device" in _run("begin", "repository")
    owner = _run("key", "keys/release-alice.pem").strip()
    assert owner.startswith("alice=")
    assert "1 of 1 must have signed" in _run("trust", "repository", owner)
    (place / "a.bundle").write_bytes(rig.bundle("9.0.0"))
    assert "a.bundle.release" in _run("sign", "a.bundle", "--key", "keys/release-alice.pem")
    assert "9.0.0 is offered to 0% of all devices" in _run("add", "repository", "a.bundle", "--share", "0")
    assert _device(place).check().offer is None
    assert "100% now" in _run("stage", "repository", "9.0.0", "--share", "1")
    applied = _device(place).apply()
    assert applied.slot is not None
    assert (applied.slot.version, applied.slot.signers) == ("9.0.0", ("alice",))
    _run("rotate", "repository", "timestamp")
    _run("refresh", "repository")
    assert _device(place).check().offer is None


def test_what_is_wrong_is_told_in_a_line(place: Path) -> None:
    assert "is no repository" in _run("refresh", "repository", code=1)
    _run("begin", "repository")
    assert "a repository already" in _run("begin", "repository", code=1)
    assert "a key is never written over" in _run("key", "keys/targets.pem", code=1)
    (place / "a.bundle").write_bytes(rig.bundle("9.0.0"))
    assert "no release beside the bundle" in _run("add", "repository", "a.bundle", code=1)
    _run("key", "keys/release-alice.pem")
    _run("sign", "a.bundle", "--key", "keys/release-alice.pem")
    assert "publish trust" in _run("add", "repository", "a.bundle", code=1)
    assert "is not offered; there are: none" in _run("stage", "repository", "1.0", "--share", "1", code=1)
    assert "64 hexadecimal digits" in _run("trust", "repository", "alice=0", code=1)


def test_two_owners_sign_one_after_the_other(place: Path) -> None:
    repository = Repository(place / "repository", place / "keys")
    repository.begin()
    owners = [place / "keys" / f"release-{name}.pem" for name in ("alice", "bob")]
    public = {path.stem.removeprefix("release-"): make_key(path) for path in owners}
    repository.trust(public, 2)
    bundle = place / "a.bundle"
    bundle.write_bytes(rig.bundle("9.0.0"))
    sign_release(bundle, owners[:1], 30)
    with pytest.raises(PublishError, match="1 good signatures"):
        repository.add(bundle)
    sign_release(bundle, owners[1:], 30)
    assert repository.add(bundle).version == "9.0.0"


def test_a_changed_bundle_loses_its_signatures(place: Path) -> None:
    owners = [place / f"release-{name}.pem" for name in ("alice", "bob")]
    public = {path.stem.removeprefix("release-"): bytes.fromhex(make_key(path)) for path in owners}
    bundle = place / "a.bundle"
    bundle.write_bytes(rig.bundle("9.0.0"))
    sign_release(bundle, owners[:1], 30)
    bundle.write_bytes(rig.bundle("9.1.0"))
    from edgeface.store.release import parse_envelope

    envelope = parse_envelope(sign_release(bundle, owners[1:], 30).read_bytes())
    assert TrustedKeys(public).signers(envelope) == ("bob",)


def test_a_version_is_offered_once(place: Path) -> None:
    repository = Repository(place / "repository", place / "keys")
    repository.begin()
    owner = place / "keys/release-alice.pem"
    repository.trust({"alice": make_key(owner)}, 1)
    for version, padding in (("9.0", 0), ("9.0.0", 10)):
        path = place / f"{version}.bundle"
        path.write_bytes(rig.bundle(version, padding=padding))
        sign_release(path, [owner], 30)
    repository.add(place / "9.0.bundle")
    with pytest.raises(PublishError, match="offered already"):
        repository.add(place / "9.0.0.bundle")


def test_keys_are_for_their_owner_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFACE_KEY_PASSWORD", "correct horse")
    path = place / "secret/release-alice.pem"
    make_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"ENCRYPTED" in path.read_bytes()
    bundle = place / "a.bundle"
    bundle.write_bytes(rig.bundle("9.0.0"))
    sign_release(bundle, [path], 30)
    monkeypatch.delenv("EDGEFACE_KEY_PASSWORD")
    with pytest.raises(PublishError, match="EDGEFACE_KEY_PASSWORD"):
        sign_release(bundle, [path], 30)


def test_what_devices_may_have_seen_is_not_written_again(place: Path) -> None:
    repository = Repository(place / "repository", place / "keys")
    repository.begin()
    before = {path.name: path.read_bytes() for path in (place / "repository").rglob("*.*.*")}
    repository.trust({"alice": make_key(place / "keys/release-alice.pem")}, 1)
    repository.rotate("root")
    after = {path.name: path.read_bytes() for path in (place / "repository").rglob("*.*.*")}
    assert before.items() <= after.items()


def test_the_online_keys_are_enough_to_refresh(place: Path) -> None:
    repository = Repository(place / "repository", place / "keys")
    repository.begin()
    online = place / "online"
    online.mkdir()
    for role in ("snapshot", "timestamp"):
        shutil.copy(place / "keys" / f"{role}.pem", online)
    Repository(place / "repository", online).refresh()
    with pytest.raises(PublishError, match=r"targets\.pem"):
        Repository(place / "repository", online).trust({"eve": "0" * 64}, 1)
