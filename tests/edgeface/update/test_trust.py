"""Whom a device believes: the attacks that the TUF specification names (section 1.5.2), and lost keys.

What is swapped, truncated or endless among the targets is in ``test_transfer``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeface.store import SignatureError
from edgeface.update import UnreachableError, UntrustedError
from quantization.publish import PublishError, make_key
from tests.edgeface.update.rig import Publisher, device, runs


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    made = Publisher(tmp_path)
    made.offer("9.0.0")
    return made


def test_arbitrary_software_a_stranger_signs(publisher: Publisher, tmp_path: Path) -> None:
    stranger = Publisher(tmp_path / "stranger")
    stranger.offer("9.9.9")
    with pytest.raises(UntrustedError, match="not vouched for"):
        device(tmp_path / "d", publisher, str(stranger.folder)).apply()


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_role_signed_by_a_stranger(publisher: Publisher, tmp_path: Path, role: str) -> None:
    key = publisher.keys / f"{role}.pem"
    key.unlink()
    make_key(key)
    publisher.offer("9.1.0")
    with pytest.raises(UntrustedError, match="not vouched for"):
        device(tmp_path / "d", publisher).apply()


def test_replay_of_what_was_true_once(publisher: Publisher, tmp_path: Path) -> None:
    old = publisher.copied(tmp_path / "old")
    publisher.offer("9.1.0")
    device(tmp_path / "d", publisher).check()
    with pytest.raises(UntrustedError, match="older than"):
        device(tmp_path / "d", publisher, str(old)).apply()
    device(tmp_path / "d", publisher).apply()
    assert runs(tmp_path / "d") == "9.1.0"


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_freeze_an_expired_word_is_not_believed(publisher: Publisher, tmp_path: Path, role: str) -> None:
    if role == "targets":
        from quantization.publish import Days, Repository

        Repository(publisher.folder, publisher.keys, Days(targets=-1)).stage("9.0.0", 1.0)
    else:
        publisher.speaks(**{role: -1})
    with pytest.raises(UntrustedError, match="publish refresh"):
        device(tmp_path / "d", publisher).check()


def test_mix_and_match_an_old_list_under_a_new_number(publisher: Publisher, tmp_path: Path) -> None:
    metadata = publisher.folder / "metadata"
    old = max(metadata.glob("*.snapshot.json"), key=_version)
    publisher.offer("9.1.0")
    new = max(metadata.glob("*.snapshot.json"), key=_version)
    shutil.copy(old, new)
    with pytest.raises(UntrustedError):
        device(tmp_path / "d", publisher).apply()


def test_endless_metadata_is_not_read_to_its_end(publisher: Publisher, tmp_path: Path) -> None:
    path = publisher.folder / "metadata" / "timestamp.json"
    path.write_bytes(path.read_bytes() + b" " * 10_000_000)
    with pytest.raises(UnreachableError, match="maximum allowed length"):
        device(tmp_path / "d", publisher).check()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"signed": {}, "signatures": []}', b"\xff\xfe"])
def test_damaged_metadata_is_told(publisher: Publisher, tmp_path: Path, damage: bytes) -> None:
    (publisher.folder / "metadata" / "timestamp.json").write_bytes(damage)
    with pytest.raises(UntrustedError):
        device(tmp_path / "d", publisher).check()


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff"])
@pytest.mark.parametrize(
    "name", ["timestamp.json", "snapshot.json", "targets.json", "root_history/2.root.json"]
)
def test_what_a_power_cut_left_of_the_memory_does_no_harm(
    publisher: Publisher, tmp_path: Path, name: str, damage: bytes
) -> None:
    publisher.repository.rotate("timestamp")
    device(tmp_path / "d", publisher).check()
    (tmp_path / "d/update/metadata" / name).write_bytes(damage)
    device(tmp_path / "d", publisher).apply()
    assert runs(tmp_path / "d") == "9.0.0"


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_a_device_follows_new_keys(publisher: Publisher, tmp_path: Path, role: str) -> None:
    device(tmp_path / "d", publisher).check()
    publisher.repository.rotate(role)
    publisher.offer("9.1.0")
    publisher.repository.rotate(role)
    publisher.offer("9.2.0")
    device(tmp_path / "d", publisher).apply()
    assert runs(tmp_path / "d") == "9.2.0"


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_a_replaced_key_counts_no_more(publisher: Publisher, tmp_path: Path, role: str) -> None:
    thief = tmp_path / "stolen.pem"
    shutil.copy(publisher.keys / f"{role}.pem", thief)
    publisher.repository.rotate(role)
    device(tmp_path / "d", publisher).check()
    shutil.copy(thief, publisher.keys / f"{role}.pem")
    publisher.offer("9.9.9")
    with pytest.raises(UntrustedError):
        device(tmp_path / "d", publisher).apply()


def test_a_new_root_that_the_old_one_did_not_sign(publisher: Publisher, tmp_path: Path) -> None:
    path = publisher.repository.rotate("root")
    root = json.loads(path.read_bytes())
    kept = root["signed"]["roles"]["root"]["keyids"]
    root["signatures"] = [item for item in root["signatures"] if item["keyid"] in kept]
    path.write_text(json.dumps(root))
    with pytest.raises(UntrustedError):
        device(tmp_path / "d", publisher).check()


def test_a_root_of_two_keys_needs_both(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path, roots=2, threshold=2)
    publisher.offer("9.0.0")
    device(tmp_path / "d", publisher).check()
    path = publisher.repository.rotate("timestamp")
    root = json.loads(path.read_bytes())
    root["signatures"] = root["signatures"][:1]
    path.write_text(json.dumps(root))
    with pytest.raises(UntrustedError):
        device(tmp_path / "d", publisher).check()


def test_a_root_of_two_keys_is_not_signed_by_one(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path, roots=2, threshold=2)
    (publisher.keys / "root-2.pem").unlink()
    with pytest.raises(PublishError, match="2 root keys must sign"):
        publisher.repository.rotate("timestamp")


def test_a_thief_who_counted_up_is_undone_by_new_keys(publisher: Publisher, tmp_path: Path) -> None:
    """Fast-forward: with a stolen key a version so high that nothing honest comes after it."""
    stolen = publisher.copied(tmp_path / "stolen")
    thief = _Counting(publisher, stolen)
    thief.say(1_000_000)
    device(tmp_path / "d", publisher, str(stolen)).check()
    with pytest.raises(UntrustedError):
        device(tmp_path / "d", publisher).check()
    publisher.repository.rotate("timestamp")
    publisher.repository.rotate("snapshot")
    device(tmp_path / "d", publisher).apply()
    assert runs(tmp_path / "d") == "9.0.0"


def test_a_release_key_that_was_replaced_counts_no_more(publisher: Publisher, tmp_path: Path) -> None:
    device(tmp_path / "d", publisher).apply()
    fresh = publisher.keys / "release-bob.pem"
    publisher.repository.trust({"bob": make_key(fresh)}, 1)
    with pytest.raises(PublishError, match="0 good signatures"):
        publisher.offer("9.1.0")
    publisher.owner = fresh
    publisher.offer("9.1.0")
    applied = device(tmp_path / "d", publisher).apply()
    assert applied.slot is not None
    assert applied.slot.signers == ("bob",)


def test_the_server_alone_cannot_publish(publisher: Publisher, tmp_path: Path) -> None:
    """Who has the online keys, but nobody's release key, cannot make a device install anything."""
    from edgeface.store import Release, encode_envelope, encode_statement
    from tests.edgeface.store import rig

    data = rig.bundle("9.9.9")
    release = rig.release(data)
    assert isinstance(release, Release)
    name = "students-9.9.9.bundle"
    offers = json.loads(publisher.repository._content("releases.json"))
    offers["releases"].append({**offers["releases"][0], "bundle": name, "version": "9.9.9"})
    publisher.repository._publish(
        {
            name: data,
            f"{name}.release": encode_envelope(encode_statement(release)),
            "releases.json": json.dumps(offers).encode(),
        }
    )
    with pytest.raises(SignatureError, match="0 good signatures"):
        device(tmp_path / "d", publisher).apply()


class _Counting:
    """A thief with the timestamp's and the snapshot's keys."""

    def __init__(self, publisher: Publisher, folder: Path) -> None:
        from quantization.publish import Repository

        self._repository = Repository(folder, publisher.keys)

    def say(self, version: int) -> None:
        from tuf.api.metadata import MetaFile, Snapshot, Timestamp

        repository: Any = self._repository
        snapshot, timestamp = repository._next(Snapshot), repository._next(Timestamp)
        snapshot.version = timestamp.version = version
        timestamp.snapshot_meta = MetaFile(version)
        repository._put(snapshot)
        repository._put(timestamp)


def _version(path: Path) -> int:
    return int(path.name.partition(".")[0])
