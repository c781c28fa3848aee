"""Power cuts while models are installed: a board's disk, replayed to what a cut can leave of it.

`models install` runs on an emulated board, with ext4 on a disk of which QEMU notes each write and flush
(`firmware.emulation.powercut`). This machine's kernel then mounts each disk and replays its journal, as the
board would at its next start, and the store must be whole on it.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeface.bundle import Bundle
from edgeface.store import FileStorage, Store, StoreError
from firmware.emulation import machine, powercut
from firmware.emulation.errors import EmulationError
from firmware.emulation.powercut import PIECE, SECTOR, Request, crash_states, read_log
from tests.bundles import opened, seal
from tests.edgeface.store.rig import bundle, installed
from tests.firmware.packages import CHECKOUT, NAME, board_or_skip, device_tree

STUDENTS = CHECKOUT / "edgeface/models/students.bundle"
CORE = "cortex-a72"
VERSIONS = ("7.0.0", "8.0.0", "9.0.0")
BUILTIN = Bundle.builtin().version
FILES, MARKS = 32 << 20, 1 << 20
"""Bytes of a disk that the file system has, and of its end, where the board says how far it is."""

# The same command, by a program that believes that what it wrote lasts.
CARELESS = (
    f"/usr/lib/{NAME}/bin/python3 -P -c 'import os, runpy; os.fsync = lambda handle: None; "
    'runpy.run_module("edgeface", run_name="__main__")\''
)
JOB = f"""
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8 EDGEFACE_STORE=/mnt/store
set -e
conv=notrunc
said() {{ # at the disk's end, past its cache and its file system, and without a flush
    printf '%-{SECTOR}s' "$*" |
        dd of=$disk bs={SECTOR} seek={FILES // SECTOR} oflag=direct conv=$conv status=none
}}
use() {{ # use NAME OPTIONS
    for disk in /sys/block/vd*; do [ "$(cat $disk/serial)" != $1 ] || break; done
    disk=/dev/${{disk##*/}}
    mount -t ext4 -o $2 $disk /mnt
}}

use careful noatime
for version in {" ".join(VERSIONS)}; do
    said $version begins
    edgeface models install /opt/$version.bundle --unsigned
    said $version
done
said {VERSIONS[1]} begins
edgeface models rollback
said {VERSIONS[1]}
umount /mnt

use careless noatime,commit=300
said {VERSIONS[0]} begins
{CARELESS} models install /opt/{VERSIONS[0]}.bundle --unsigned
# The disk flushes for another's sake, and at this moment at the latest the power goes.
conv=notrunc,fsync
said {VERSIONS[0]}
umount /mnt
"""


@dataclass(frozen=True)
class Disk:
    """A disk before anything was written to it, and what was."""

    image: Path
    requests: list[Request]

    def allowed(self, made: int) -> set[str]:
        """The versions that may run after so many requests: what the board said last is done, stays done."""
        runs, begins = BUILTIN, BUILTIN
        for request in self.requests[:made]:
            if request.data and request.offset == FILES:
                version, _, beginning = request.data.decode().strip().partition(" ")
                begins = version
                runs = runs if beginning else version
        return {runs, begins}


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Disk]]:
    """What the careful store and the careless one wrote on an emulated board."""
    cache = board_or_skip()
    folder = tmp_path_factory.mktemp("power")
    formatted(folder / "empty")
    trial = ["unshare", "--mount", "mount", "-o", "loop", str(folder / "empty"), "/mnt"]
    if subprocess.run(trial, capture_output=True, check=False).returncode:
        pytest.skip("this machine mounts no image of a disk; give the container loop devices")
    tree = device_tree(cache, folder / "tree")
    for place in ("mnt", "opt"):
        (tree / place).mkdir(exist_ok=True)
    header, body = opened(STUDENTS.read_bytes())
    for version in VERSIONS:
        (tree / f"opt/{version}.bundle").write_bytes(seal({**header, "version": version}, body))
    (tree / "job").write_text(machine.script(JOB))
    machine.disk(tree, folder / "disk.ext4")
    shutil.rmtree(tree)
    written = {}
    for name in ("careful", "careless"):
        formatted(folder / name)
        written[name] = folder / f"{name}.written"
        shutil.copyfile(folder / name, written[name])
    told = powercut.boot(machine.kernel(cache), folder / "disk.ext4", CORE, written)
    assert told.count("installed ") == len(VERSIONS) + 1
    yield {name: Disk(folder / name, read_log(Path(f"{path}.log"))) for name, path in written.items()}
    shutil.rmtree(folder)


def formatted(image: Path) -> None:
    """Make an empty ext4 with a journal, and room behind it."""
    with image.open("wb") as file:
        file.truncate(FILES + MARKS)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-b", "4096", str(image), f"{FILES >> 10}k"], check=True)


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """The disk as its next start finds it, its journal replayed."""
    subprocess.run(["mount", "-o", "loop", "-t", "ext4", str(image), str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def broken(disk: Disk, between: int, place: Path) -> tuple[int, list[str]]:
    """How many disks were tried, and what is wrong with which."""
    tried, found = 0, []
    for made, crashed in crash_states(disk.requests, disk.image, between=between):
        tried += 1
        with mounted(crashed, place):
            wrong = trouble(place / "store", disk.allowed(made))
        if wrong:
            found.append(f"after {made} requests: {wrong}")
    return tried, found


def trouble(folder: Path, allowed: set[str]) -> str:
    """What is wrong with a store after a cut; nothing, if a version runs that may, and the next is taken."""
    store = Store(FileStorage(folder), health=lambda data: None)
    opened_now = store.open()
    if opened_now.trouble:
        return opened_now.trouble
    if opened_now.bundle.version not in allowed:
        return f"{opened_now.bundle.version} runs; allowed: {sorted(allowed)}"
    unsound = [verdict.text for verdict in store.verify() if not verdict.sound]
    if unsound:
        return unsound[0]
    try:
        store.install(bundle("99"), unsigned=True)
    except StoreError as error:
        return str(error)
    return "" if installed(store) == ("99", "") else "the next version does not run"


@pytest.mark.device
def test_no_disk_that_a_cut_leaves_is_broken(disks: dict[str, Disk], tmp_path: Path) -> None:
    tried, found = broken(disks["careful"], 3, tmp_path)
    assert found == []
    assert tried >= 200


@pytest.mark.device
def test_a_writer_that_does_not_wait_for_the_disk_is_caught(disks: dict[str, Disk], tmp_path: Path) -> None:
    _, found = broken(disks["careless"], 3, tmp_path)
    assert found


def log(path: Path, entries: list[tuple[int, int, int, bytes]]) -> Path:
    """A log as QEMU writes it: (first sector, sectors, flags, data)."""
    with path.open("wb") as file:
        for header, data in (
            (struct.pack("<QQQI", 0x6A736677736872, 1, len(entries), SECTOR), b""),
            *((struct.pack("<QQQQ", *entry[:3], 0), entry[3]) for entry in entries),
        ):
            file.write(header.ljust(SECTOR, b"\0") + data)
    return path


ONE, TWO = b"1" * PIECE, b"2" * PIECE


def test_a_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    entries = [(3, 8, 0, ONE), (0, 0, 1, b""), (8, 2, 4, b""), (4, 16, 2, ONE + TWO)]
    assert read_log(log(tmp_path / "log", entries)) == [
        Request(3 * SECTOR, ONE),
        Request(0, b"", flush=True),
        Request(8 * SECTOR, bytes(2 * SECTOR)),
        Request(4 * SECTOR, ONE + TWO, lasts=True),
    ]


@pytest.mark.parametrize(
    ("sectors", "told"), [(0, "no log of writes"), (1, "ends after 0 of 1"), (9, "in the middle")]
)
def test_half_a_log_is_refused(tmp_path: Path, sectors: int, told: str) -> None:
    path = log(tmp_path / "log", [(3, 8, 0, ONE)])
    path.write_bytes(path.read_bytes()[: sectors * SECTOR])
    with pytest.raises(EmulationError, match=told):
        read_log(path)


def test_what_was_flushed_stays_and_what_was_not_may_go(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4 * PIECE))
    flush = Request(0, b"", flush=True)
    requests = [Request(0, ONE), flush, flush, Request(PIECE, TWO + TWO), Request(0, TWO), flush]
    seen = [(made, crashed.read_bytes()) for made, crashed in crash_states(requests, disk, between=50)]
    assert len(seen) == 102, "a stretch in which nothing is written has one disk, which was there already"
    empty = bytes(PIECE)
    assert {state for made, state in seen if made == 1} == {ONE + 3 * empty, 4 * empty}
    assert dict(seen)[2] == ONE + 3 * empty
    assert {state for made, state in seen if made > 2} == {
        first + second + third + empty
        for first in (ONE, TWO)
        for second in (empty, TWO)
        for third in (empty, TWO)
    }
    assert seen[-1] == (6, TWO * 3 + empty)
    assert sorted(tmp_path.iterdir()) == [disk]


def test_what_the_disk_said_would_last_lasts(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(PIECE))
    requests = [Request(0, ONE, lasts=True), Request(0, b"", flush=True)]
    assert {crashed.read_bytes() for _, crashed in crash_states(requests, disk, between=20)} == {ONE}
