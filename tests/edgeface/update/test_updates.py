"""A device and its publisher, from the first offer on: stages, rings, sticks, failures."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from edgeface.store import HealthError, StoreBusyError, StoreError
from edgeface.store.storage import FileStorage, locked
from edgeface.update import Settings, SettingsError, UnreachableError, UntrustedError
from edgeface.update.offers import seat
from tests.edgeface.store import rig
from tests.edgeface.update.rig import Publisher, device, runs, served, store


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path)


def test_nothing_is_offered_yet(publisher: Publisher, tmp_path: Path) -> None:
    applied = device(tmp_path / "d", publisher).apply()
    assert applied.slot is None
    assert applied.plan.offer is None


def test_checking_changes_nothing(publisher: Publisher, tmp_path: Path) -> None:
    publisher.offer("9.0.0")
    before = runs(tmp_path / "d")
    found = device(tmp_path / "d", publisher).check()
    assert found.offer is not None
    assert found.offer.version == "9.0.0"
    assert found.runs == before == runs(tmp_path / "d")
    assert not list((tmp_path / "d/update/targets").glob("*.bundle"))


def test_version_after_version(publisher: Publisher, tmp_path: Path) -> None:
    for version in ("9.0.0", "9.1.0", "9.2.0"):
        publisher.offer(version)
        device(tmp_path / "d", publisher).apply()
        assert runs(tmp_path / "d") == version
    assert device(tmp_path / "d", publisher).apply().slot is None


def test_a_rollout_reaches_devices_by_and_by(publisher: Publisher, tmp_path: Path) -> None:
    publisher.offer("9.0.0", share=0.4)
    digest = publisher.repository.releases()[0].digest
    names = [f"device {number}" for number in range(10)]
    early = {name for name in names if seat(name, digest) < 0.4}
    assert 0 < len(early) < 10
    for share, served_ones in ((0.4, early), (1.0, set(names))):
        publisher.repository.stage("9.0.0", share)
        offered = {
            name
            for name in names
            if device(tmp_path / name, publisher, identity=name).check().offer is not None
        }
        assert offered == served_ones


def test_a_halted_rollout_reaches_nobody_more(publisher: Publisher, tmp_path: Path) -> None:
    publisher.offer("9.0.0")
    device(tmp_path / "one", publisher).apply()
    publisher.repository.stage("9.0.0", 0.0)
    assert device(tmp_path / "two", publisher).check().offer is None
    assert runs(tmp_path / "one") == "9.0.0"


def test_a_ring_has_it_first(publisher: Publisher, tmp_path: Path) -> None:
    publisher.offer("9.0.0", rings=("canary",))
    assert device(tmp_path / "one", publisher, ring="canary").check().offer is not None
    assert device(tmp_path / "two", publisher, ring="stable").check().offer is None


def test_a_bundle_for_another_board_is_not_fetched(publisher: Publisher, tmp_path: Path) -> None:
    publisher.offer("9.0.0", boards=("nvidia,p3768",))
    found = device(tmp_path / "d", publisher).check()
    assert found.offer is None
    assert "nvidia,p3768" in found.kept_back[0].reason


def test_what_fails_is_left_and_not_offered_again(publisher: Publisher, tmp_path: Path) -> None:
    publisher.offer("9.0.0")
    before = runs(tmp_path / "d")
    sick = rig.Health(*[HealthError("it crashed")] * 3)
    with pytest.raises(HealthError):
        device(tmp_path / "d", publisher, health=sick).apply()
    assert runs(tmp_path / "d") == before
    found = device(tmp_path / "d", publisher).apply().plan
    assert found.offer is None
    assert "failed" in found.kept_back[0].reason
    publisher.offer("9.0.1")
    device(tmp_path / "d", publisher).apply()
    assert runs(tmp_path / "d") == "9.0.1"


def test_what_was_rolled_back_is_not_fetched_again(publisher: Publisher, tmp_path: Path) -> None:
    publisher.offer("9.0.0")
    device(tmp_path / "d", publisher).apply()
    store(tmp_path / "d").rollback()
    assert device(tmp_path / "d", publisher).apply().slot is None


def test_a_service_has_to_confirm_it(publisher: Publisher, tmp_path: Path) -> None:
    publisher.offer("9.0.0")
    device(tmp_path / "d", publisher).apply(waits=True)
    assert store(tmp_path / "d").status().state.trial is not None


def test_without_keys_in_the_repository_the_device_needs_its_own(
    publisher: Publisher, tmp_path: Path
) -> None:
    publisher.offer("9.0.0")
    device(tmp_path / "d", publisher).apply()
    verdicts = store(tmp_path / "d").verify()
    assert [verdict.text for verdict in verdicts] == ["the bytes are right; signed by alice"]


def test_a_list_without_its_bundle_is_the_publishers_mistake(publisher: Publisher, tmp_path: Path) -> None:
    publisher.offer("9.0.0")
    rows = json.loads(publisher.repository._content("releases.json"))
    rows["releases"][0] |= {"bundle": "other.bundle"}
    publisher.repository._publish({"releases.json": json.dumps(rows).encode()})
    with pytest.raises(UntrustedError, match=r"has no other\.bundle"):
        device(tmp_path / "d", publisher).apply()


def test_two_updates_at_once(publisher: Publisher, tmp_path: Path) -> None:
    updates = device(tmp_path / "d", publisher)
    with locked(FileStorage(tmp_path / "d/update")), pytest.raises(StoreBusyError):
        updates.check()


def test_a_device_without_a_machine_id_keeps_a_name_of_its_own(publisher: Publisher, tmp_path: Path) -> None:
    publisher.offer("9.0.0", share=0.5)
    updates = device(tmp_path / "d", publisher)
    (tmp_path / "d/machine-id").unlink()
    first = updates.check()
    kept = (tmp_path / "d/update/identity").read_text()
    assert len(kept) == 32
    assert updates.check() == first
    assert (tmp_path / "d/update/identity").read_text() == kept


def test_a_stick_that_is_pulled_out(publisher: Publisher, tmp_path: Path) -> None:
    stick = publisher.copied(tmp_path / "stick")
    updates = device(tmp_path / "d", publisher, str(stick))
    updates.check()
    stick.rename(tmp_path / "pocket")
    with pytest.raises(UnreachableError, match="stick"):
        updates.check()


def test_a_folder_that_cannot_be_written(publisher: Publisher, tmp_path: Path) -> None:
    updates = device(tmp_path / "d", publisher)
    (tmp_path / "d/update").write_text("a file")
    with pytest.raises(StoreError, match="d/update"):
        updates.check()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "nobody told this device"),
        ("{", "cannot be used"),
        ('{"schema": "edgeface.update/9", "source": "https://x", "ring": "a"}', "schema"),
        ('{"schema": "edgeface.update/1", "ring": "a"}', "source"),
        ('{"schema": "edgeface.update/1", "source": "https://x", "ring": "a", "more": 1}', "more"),
        ('{"schema": "edgeface.update/1", "source": "/no/such", "ring": "a"}', "metadata/ and targets/"),
    ],
)
def test_settings_that_are_wrong_are_named(tmp_path: Path, text: str | None, told: str) -> None:
    (tmp_path / "root.json").write_text("{}")
    if text is not None:
        (tmp_path / "update.json").write_text(text)
    with pytest.raises(SettingsError, match=told):
        Settings.load(tmp_path / "update.json")


def test_without_a_root_nobody_is_believed(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="root of trust"):
        Settings.load(tmp_path / "update.json", "https://example.org")


def test_a_root_that_is_none(publisher: Publisher, tmp_path: Path) -> None:
    settings = Settings(str(publisher.folder), b"{}", "stable")
    from edgeface.update import Updates

    updates = Updates(settings, store(tmp_path), tmp_path / "update", boards=frozenset())
    with pytest.raises(UntrustedError):
        updates.check()


class TestCommands:
    """`edgeface update`, in processes of their own, with the real students and the real health check."""

    @pytest.fixture
    def etc(self, publisher: Publisher, tmp_path: Path) -> Path:
        folder = tmp_path / "etc"
        folder.mkdir()
        (folder / "root.json").write_bytes(publisher.root)
        source = str(publisher.folder)
        told = {"schema": "edgeface.update/1", "source": source, "ring": "stable"}
        (folder / "update.json").write_text(json.dumps(told))
        return folder

    def run(self, tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": "/usr/bin:/bin",
            "EDGEFACE_UPDATE": str(tmp_path / "etc/update.json"),
            "EDGEFACE_STORE": str(tmp_path / "var/store"),
            "EDGEFACE_CACHE": str(tmp_path / "cache"),
        }
        command = [sys.executable, "-m", "edgeface", "update", *words]
        return subprocess.run(
            command,
            check=False,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            cwd=Path(__file__).parents[3],
        )

    def test_from_the_offer_to_what_runs(self, publisher: Publisher, etc: Path, tmp_path: Path) -> None:
        publisher.offer("9.0.0")
        told = self.run(tmp_path, "check")
        assert (told.returncode, told.stderr) == (0, "")
        assert "9.0.0 is there for this device" in told.stdout
        with served(publisher.folder) as server:
            done = self.run(tmp_path, "apply", "--from", server.address)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[-1] == "installed students 9.0.0, signed by alice"
        again = self.run(tmp_path, "apply", "--json")
        assert again.returncode == 0
        found = json.loads(again.stdout)
        assert (found["schema"], found["runs"], found["installed"]) == ("edgeface.update/1", "9.0.0", None)
        assert stat.S_IMODE((tmp_path / "var/keys.json").stat().st_mode) & 0o022 == 0

    def test_a_forged_repository_has_its_exit_code(
        self, publisher: Publisher, etc: Path, tmp_path: Path
    ) -> None:
        stranger = Publisher(tmp_path / "stranger")
        stranger.offer("9.0.0")
        done = self.run(tmp_path, "apply", "--from", str(stranger.folder))
        assert done.returncode == 4
        assert "not vouched for" in done.stderr
        assert "Traceback" not in done.stderr

    def test_no_server_has_its_exit_code(self, publisher: Publisher, etc: Path, tmp_path: Path) -> None:
        done = self.run(tmp_path, "check", "--from", "http://127.0.0.1:9")
        assert done.returncode == 5
        assert "try again later" in done.stderr
        assert "Traceback" not in done.stderr
