"""Promises 8 and 25: a failing disk, a killed process, a second installer; what ran before runs on."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgeface.store import (
    FileStorage,
    HealthError,
    StorageError,
    StoreBusyError,
    StoreDamagedError,
    StoreError,
    VersionError,
)
from tests.edgeface.store.disks import FailingStorage, MemoryStorage
from tests.edgeface.store.rig import Health, bundle, digest, installed, store
from tests.edgeface.store.test_crashes import BUILTIN, STORIES, folder

if TYPE_CHECKING:
    from edgeface.store import Store

WRITES = ("prepare", "lock", "create", "write", "sync", "close", "rename", "remove", "sync_folder")


def faults(name: str, error: int, for_ever: bool) -> int:
    """Do a story with the n-th call failing, for every n; how many n there are."""
    versions, do, verdicts, allowed, final = STORIES[name]
    before = folder(*versions)
    at = 1
    while True:
        inner = MemoryStorage(before)
        failing = FailingStorage(inner, at, error, for_ever=for_ever)
        place = store(failing, Health(*verdicts))
        failure: Exception | None = None
        try:
            do(place)
        except (StoreError, HealthError) as error_told:
            failure = error_told
        done = failure is None
        if isinstance(failure, StorageError):
            assert isinstance(failure.__cause__, OSError)
            assert "; " in str(failure), "no mend is named"
        assert not inner.held
        runs = place.open()  # also on the disk that goes on failing
        assert runs.bundle.version in {*allowed, BUILTIN}
        version, trouble = installed(store(inner))  # and on the disk, mended
        assert trouble == ""
        assert version in allowed
        if done and name not in ("trial", "left"):  # a service's starts go on where they cannot be counted
            assert version == final
        store(inner).install(bundle("4"), unsigned=True)
        assert installed(store(inner)) == ("4", "")
        if failing.count < at:
            return at - 1
        at += 1


@pytest.mark.parametrize("name", ["second", "third", "trial", "bad", "back"])
@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
def test_every_call_fails_with_an_io_error(name: str, for_ever: bool) -> None:
    assert faults(name, errno.EIO, for_ever) > 10


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_every_call_of_an_update_fails_otherwise(error: int, for_ever: bool) -> None:
    assert faults("third", error, for_ever) > 30


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "raise the quota"),
        (errno.EROFS, "mount the disk .* writable"),
        (errno.EACCES, "run as the user"),
        (errno.EIO, "replace the card"),
        (errno.ENODEV, "check the folder"),
    ],
)
def test_the_error_names_the_mend(error: int, mend: str) -> None:
    failing = FailingStorage(MemoryStorage(), 1, error, only=("write",))
    with pytest.raises(StorageError, match=rf"store memory: cannot write a\.bundle .*{mend}"):
        store(failing).install(bundle("1"), unsigned=True)


def test_a_full_disk_is_not_left_fuller() -> None:
    inner = MemoryStorage(folder("1", "2"))
    size = sum(map(len, inner.files.values()))
    failing = FailingStorage(inner, 2, errno.ENOSPC, only=("write",), for_ever=True)
    with pytest.raises(StorageError, match="make room"):
        store(failing).install(bundle("3"), unsigned=True)
    assert sum(map(len, inner.files.values())) <= size


def test_a_disk_that_writes_little_at_a_time_is_a_good_disk() -> None:
    class Slow(MemoryStorage):
        def write(self, handle: int, data: bytes | memoryview) -> int:
            return super().write(handle, data[:7])

    storage = Slow()
    store(storage).install(bundle("1"), unsigned=True)
    assert storage.files["a.bundle"] == bundle("1")


@pytest.mark.parametrize("name", ["third", "trial"])
def test_a_store_that_became_read_only_runs_what_is_confirmed(name: str) -> None:
    inner = MemoryStorage(folder("1", "2"))
    if name == "trial":
        store(inner).install(bundle("3"), unsigned=True, waits=True)
    place = store(FailingStorage(inner, 1, errno.EROFS, for_ever=True, only=WRITES))
    for _ in range(5):
        runs = place.start()
        assert runs.bundle.version == "2"
        assert not runs.trial
    assert [verdict.sound for verdict in place.verify()] == [True, True]
    assert place.status().state.confirmed is not None
    for refused in (place.rollback, lambda: place.install(bundle("4"), unsigned=True)):
        with pytest.raises(StorageError, match=r"mount the disk of the store writable"):
            refused()


def test_a_read_only_folder_of_a_real_disk(tmp_path: Path) -> None:
    place = store(FileStorage(tmp_path / "store"))
    place.install(bundle("1"), unsigned=True)
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere; the disk in memory stands for it")
    (tmp_path / "store").chmod(0o500)
    (tmp_path / "store" / "lock").chmod(0o400)
    try:
        assert installed(place) == ("1", "")
        with pytest.raises(StorageError, match="run as the user"):
            place.install(bundle("2"), unsigned=True)
    finally:
        (tmp_path / "store").chmod(0o700)


def test_a_second_installer_is_refused_at_once(tmp_path: Path) -> None:
    heard: list[str] = []
    other = store(FileStorage(tmp_path))

    def during(data: bytes) -> None:
        for work in (lambda: other.install(bundle("9"), unsigned=True), other.rollback):
            with pytest.raises(StoreBusyError, match="another process"):
                work()
        heard.append(other.open().bundle.version)
        heard.append(other.start().bundle.version)

    store(FileStorage(tmp_path), during).install(bundle("1"), unsigned=True)
    assert heard == [BUILTIN, BUILTIN]
    assert installed(other) == ("1", "")
    assert not other.confirm(digest("9"))
    other.install(bundle("9"), unsigned=True)


@pytest.mark.parametrize("what", ["open", "verify"])
def test_a_reader_never_sees_a_slot_of_another_version(what: str, tmp_path: Path) -> None:
    """Between the reading of the pointer and that of the slot, two updates replace the slot."""
    writer = store(FileStorage(tmp_path))
    writer.install(bundle("1"), unsigned=True)

    class Slow(FileStorage):
        left = 1

        def read(self, name: str, most: int) -> bytes:
            if name.endswith(".bundle") and self.left:
                self.left -= 1
                writer.install(bundle("2"), unsigned=True)
                writer.install(bundle("3"), unsigned=True)
            return super().read(name, most)

    reader = store(Slow(tmp_path))
    if what == "open":
        assert installed(reader) == ("3", "")
    else:
        assert [verdict.sound for verdict in reader.verify()] == [True, True]


_KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from edgeface.store import FileStorage
from tests.edgeface.store.disks import FailingStorage
from tests.edgeface.store.rig import bundle, installed, store

root, found = Path(sys.argv[1]), []
before = root / "before"
store(FileStorage(before)).install(bundle("1"), unsigned=True)
for at in range(1, 200):
    folder = root / str(at)
    shutil.copytree(before, folder)
    child = os.fork()
    if child == 0:
        die = lambda: os.kill(os.getpid(), signal.SIGKILL)
        store(FailingStorage(FileStorage(folder), at, die)).install(bundle("2"), unsigned=True)
        os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    place = store(FileStorage(folder))
    assert place.start().trouble == "", at
    found.append(installed(place)[0])
    if not killed:
        break
print(*found)
"""


def test_a_process_killed_at_every_call_leaves_the_old_bundle_or_the_new(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    found = done.stdout.split()
    assert len(found) > 30
    assert set(found) == {"1", "2"}
    assert found[0] == "1"
    assert found[-1] == "2"


_RACE = """
import os, sys, time
from pathlib import Path
from edgeface.store import FileStorage, StoreBusyError, VersionError
from tests.edgeface.store.rig import bundle, store

folder, children = Path(sys.argv[1]), []
for version in "2345":
    data = bundle(version)
    child = os.fork()
    if child == 0:
        for _ in range(2000):
            try:
                store(FileStorage(folder)).install(data, unsigned=True)
            except StoreBusyError:
                time.sleep(0.001)
            except VersionError:
                os._exit(1)
            else:
                os._exit(0)
        os._exit(2)
    children.append(child)
while children:
    found = store(FileStorage(folder)).open()
    assert found.trouble == "", found.trouble
    child, code = os.waitpid(-1, os.WNOHANG)
    if child:
        children.remove(child)
        assert os.WEXITSTATUS(code) in (0, 1), code
print(store(FileStorage(folder)).open().bundle.version)
"""


def test_installers_that_race_end_with_the_newest(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, "-c", _RACE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["5"]


def test_three_failed_checks_go_back_and_are_remembered() -> None:
    storage = MemoryStorage(folder("1"))
    health = Health(*[HealthError("it answers wrongly")] * 3)
    place = store(storage, health)
    with pytest.raises(HealthError, match=r"version 2 was given up .* it answers wrongly"):
        place.install(bundle("2"), unsigned=True)
    assert health.calls == 3
    assert installed(place) == ("1", "")
    [failed] = place.status().state.failed
    assert (failed.version, failed.digest) == ("2", digest("2"))
    with pytest.raises(VersionError, match=r"was given up on this device .*--allow-older"):
        place.install(bundle("2"), unsigned=True)
    place.install(bundle("2"), unsigned=True, allow_older=True)
    assert installed(place) == ("2", "")
    assert place.status().state.failed == ()


def test_a_check_that_fails_once_is_made_again() -> None:
    place = store(MemoryStorage(), Health(HealthError("busy"), HealthError("busy"), None))
    place.install(bundle("1"), unsigned=True)
    assert installed(place) == ("1", "")


def test_a_bundle_that_takes_the_machine_down_is_given_up_after_three_boots() -> None:
    """Its check never ends, the power does; every try was counted before it began."""

    class PowerCutError(BaseException):
        pass

    def crash(data: bytes) -> None:
        raise PowerCutError

    storage = MemoryStorage(folder("1"))
    with pytest.raises(PowerCutError):
        store(storage, crash).install(bundle("2"), unsigned=True)
    for boot in range(2):
        place = store(storage, crash)
        # An updater that begins anew does not begin to count anew.
        again = place.start if boot else lambda place=place: place.install(bundle("2"), unsigned=True)
        with pytest.raises(PowerCutError):
            again()
        assert installed(store(storage)) == ("1", "")
    calm = store(storage, crash)
    assert calm.start().bundle.version == "1"
    [failed] = calm.status().state.failed
    assert "cut short" in failed.reason


def test_a_service_that_never_confirms_gets_the_previous_bundle_at_its_fourth_start() -> None:
    place = store(MemoryStorage(folder("1")))
    place.install(bundle("2"), unsigned=True, waits=True)
    runs = [place.start() for _ in range(5)]
    assert [found.bundle.version for found in runs] == ["2", "2", "2", "1", "1"]
    assert [found.trial for found in runs] == [True, True, True, False, False]
    assert "never confirmed" in place.status().state.failed[0].reason


def test_a_service_that_confirms_keeps_its_bundle() -> None:
    place = store(MemoryStorage(folder("1")))
    place.install(bundle("2"), unsigned=True, waits=True)
    assert place.status().state.floor == "1"
    assert not place.confirm(digest("1")), "another bundle than the one on trial"
    assert place.confirm(place.start().bundle.digest)
    assert not place.confirm(digest("2")), "no news"
    assert [place.start().bundle.version for _ in range(5)] == ["2"] * 5
    assert place.status().state.floor == "2"


def test_a_damaged_slot_never_stops_anything() -> None:
    storage = MemoryStorage(folder("1", "2"))
    place = store(storage)
    runs = place.open().slot
    storage.files[f"{runs}.bundle"] = storage.files[f"{runs}.bundle"][:-1] + b"?"
    version, trouble = installed(place)
    assert version == "1"
    assert "SHA-256" in trouble
    assert "edgeface models rollback" in trouble
    assert {verdict.slot: verdict.sound for verdict in place.verify()}[runs] is False
    storage.files = {name: b"" for name in storage.files if name != "state.json"} | {
        "state.json": storage.files["state.json"]
    }
    assert installed(place)[0] == BUILTIN
    del storage.files[f"{runs}.bundle"]
    assert "has lost its file" in installed(place)[1]


def test_a_slot_with_another_sound_bundle_is_not_run() -> None:
    storage = MemoryStorage(folder("1"))
    storage.files["a.bundle"] = bundle("7")
    assert installed(store(storage)) == (BUILTIN, store(storage).open().trouble)
    assert "another bundle than was put there" in store(storage).open().trouble


def test_a_damaged_state_is_told_and_can_be_begun_anew() -> None:
    storage = MemoryStorage(folder("1", "2"))
    storage.files["state.json"] = storage.files["state.json"].replace(
        b'"confirmed": "b"', b'"confirmed": "a"'
    )
    place = store(storage)
    version, trouble = installed(place)
    assert version == BUILTIN
    assert "--allow-older begins anew" in trouble
    assert place.start().bundle.version == BUILTIN
    for asked in (
        place.status,
        place.verify,
        place.rollback,
        lambda: place.install(bundle("3"), unsigned=True),
    ):
        with pytest.raises(StoreDamagedError, match="SHA-256 does not match"):
            asked()
    place.install(bundle("3"), unsigned=True, allow_older=True)
    assert installed(place) == ("3", "")


def test_files_are_for_others_to_read_and_links_are_not_followed(tmp_path: Path) -> None:
    place = store(FileStorage(tmp_path / "deep" / "store"))
    place.install(bundle("1"), unsigned=True)
    mode = stat.S_IMODE((tmp_path / "deep" / "store" / "a.bundle").stat().st_mode)
    assert mode & 0o444
    assert not mode & 0o022
    assert place.path() == tmp_path / "deep" / "store" / "a.bundle"
    (tmp_path / "elsewhere").write_bytes(bundle("1"))
    (tmp_path / "deep" / "store" / "a.bundle").unlink()
    (tmp_path / "deep" / "store" / "a.bundle").symlink_to(tmp_path / "elsewhere")
    assert place.open().slot is None
    (tmp_path / "deep" / "store" / "a.bundle").unlink()
    os.mkfifo(tmp_path / "deep" / "store" / "a.bundle")
    assert place.open().slot is None
    assert place.path() is None


def test_a_store_keeps_no_file_open(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    place = store(FileStorage(tmp_path))
    place.install(bundle("1"), unsigned=True)
    before = descriptors()
    for version in range(2, 12):
        place.install(bundle(str(version)), unsigned=True)
        for at in range(1, 20):
            failing = FailingStorage(
                FileStorage(tmp_path), at, errno.EIO, only=("write", "sync", "close", "rename")
            )
            with pytest.raises(StoreError):
                store(failing).install(bundle("99", padding=at), unsigned=True)
            if failing.count < at:
                break
            if at > 6:
                break
    assert descriptors() == before


def rolled(place: Store) -> str:
    return place.rollback().bundle.version


def test_rollback_goes_one_step_at_a_time_down_to_the_built_in_models() -> None:
    place = store(MemoryStorage(folder("1", "2")))
    assert rolled(place) == "1"
    with pytest.raises(VersionError, match=r"given up on this device \(somebody rolled it back"):
        place.install(bundle("2"), unsigned=True)
    with pytest.raises(VersionError, match="not above 2"):
        place.install(bundle("1.5"), unsigned=True)
    assert rolled(place) == BUILTIN
    with pytest.raises(StoreError, match="nothing is before them"):
        place.rollback()
    place.install(bundle("3"), unsigned=True)
    place.install(bundle("4"), unsigned=True, waits=True)
    assert rolled(place) == "3"


def test_rollback_passes_over_a_damaged_slot() -> None:
    storage = MemoryStorage(folder("1", "2"))
    other = {"a": "b", "b": "a"}[str(store(storage).open().slot)]
    storage.files[f"{other}.bundle"] = b"damaged"
    assert rolled(store(storage)) == BUILTIN
