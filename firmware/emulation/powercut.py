"""What a power cut leaves of a disk, out of a log of everything that was written to it.

QEMU's `blklogwrites` notes every request of a board to its disk, in the form of Linux's dm-log-writes
(Documentation/admin-guide/device-mapper/log-writes.rst, drivers/md/dm-log-writes.c). A disk keeps what was
written before a flush that it answered. Of what came after, it may keep anything, in any order and in part::

    told = boot(kernel_folder, root, "cortex-a72", {"store": copy})
    for made, crashed in crash_states(read_log(Path(f"{copy}.log")), disk, between=6):
        ...  # mount the file `crashed`: the disk of a board whose power went after `made` requests
"""

from __future__ import annotations

import random
import shutil
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from firmware.emulation import machine
from firmware.emulation.errors import EmulationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["PIECE", "SECTOR", "Request", "boot", "crash_states", "read_log"]

SECTOR = 512
"""Bytes by which a log counts."""

PIECE = 4096
"""Bytes that a disk writes whole or not at all: a block of ext4, which does not survive half a superblock."""

_SUPER = struct.Struct("<QQQI")  # magic, version, requests, bytes of a sector
_MAGIC, _VERSION = 0x6A736677736872, 1
_ENTRY = struct.Struct("<QQQQ")  # first sector, sectors, flags, length of a mark's text
_FLUSH, _FUA, _DISCARD, _MARK = 1, 2, 4, 8


@dataclass(frozen=True, slots=True)
class Request:
    """One request to a disk.

    Attributes:
        offset: Bytes from the disk's beginning.
        data: What is written there, whole sectors; of a discarded place, zeros.
        flush: Once it is answered, all that was asked before it lasts.
        lasts: The written data itself, too, although no flush follows it.
    """

    offset: int
    data: bytes
    flush: bool = False
    lasts: bool = False


def boot(
    kernel_folder: Path, image: Path, core: str, disks: Mapping[str, Path], timeout: float = 3600
) -> str:
    """Boot a board whose further disks have their requests logged, and let it run the script `/job`.

    Args:
        kernel_folder: of `firmware.emulation.machine.kernel`.
        image: its own disk, of `firmware.emulation.machine.disk`; it is only read.
        core: processor, as QEMU calls it.
        disks: name -> image, which is written to, and whose log is put beside it as `.log`. The board knows a
            disk by its name, in /sys/block/vd?/serial.
        timeout: seconds of this machine's time.

    Returns:
        What the job printed.

    Raises:
        EmulationError: the job failed or the board did not come to an end; the message has its last words.
    """
    options = {
        "-M": "virt",
        "-cpu": core,
        "-smp": "1",
        "-m": "1024",
        # The board's clock counts instructions: no health check ends because this machine is busy.
        "-icount": "shift=0,sleep=on",
        "-kernel": str(kernel_folder / "vmlinuz"),
        "-initrd": str(kernel_folder / "initrd"),
        "-append": f"console=ttyAMA0 quiet panic=-1 {machine.QUICK_KERNEL}",
    }
    words = [word for option in options.items() for word in option]
    for name, path in disks.items():
        log = Path(f"{path}.log")
        log.touch()
        files = {f"{name}-disk": path, f"{name}-log": log}
        nodes = [f"driver=file,filename={file},node-name={node}" for node, file in files.items()]
        nodes.append(
            f"driver=blklogwrites,node-name={name},file={name}-disk,log={name}-log,log-sector-size={SECTOR}"
        )
        words += [word for node in nodes for word in ("-blockdev", node)]
        words += ["-device", f"virtio-blk-device,drive={name},serial={name}"]
    # The last one is the first that the board finds.
    words += ["-drive", f"file={image},format=raw,if=none,id=disk,readonly=on"]
    words += ["-device", "virtio-blk-device,drive=disk"]
    return machine.run(words, f"the board with {core}", timeout)


def read_log(path: Path) -> list[Request]:
    """The requests of a log in the order in which they were answered, up to the last flush.

    Raises:
        EmulationError: it is no such log, or not whole.
    """
    with path.open("rb") as file:
        begin = file.read(SECTOR)
        magic, version, count, sector = _SUPER.unpack_from(begin) if len(begin) == SECTOR else (0, 0, 0, 0)
        if (magic, version, sector) != (_MAGIC, _VERSION, SECTOR):
            raise EmulationError(f"{path}: no log of writes; did the board flush its disk at all?")
        requests = []
        for number in range(count):
            entry = file.read(SECTOR)
            if len(entry) < SECTOR:
                raise EmulationError(f"{path}: ends after {number} of {count} requests; is the disk full?")
            first, sectors, flags, _ = _ENTRY.unpack_from(entry)
            size = 0 if flags & _MARK else sectors * SECTOR
            data = bytes(size) if flags & _DISCARD else file.read(size)
            if len(data) < size:
                raise EmulationError(f"{path}: request {number} ends in the middle; is the disk full?")
            requests.append(Request(first * SECTOR, data, bool(flags & _FLUSH), bool(flags & _FUA)))
    return requests


def crash_states(
    requests: Sequence[Request], disk: Path, *, between: int, seed: int = 1
) -> Iterator[tuple[int, Path]]:
    """Every disk at the moment of a flush, and a sample of those between two flushes.

    Args:
        requests: of one log.
        disk: as it was before the first of them; it is not changed.
        between: disks for each stretch from a flush to the next in which something is written.
        seed: of the sample.

    Yields:
        How many requests had been made, and the disk, a file beside ``disk`` that the next one replaces.
    """
    chance = random.Random(seed)  # noqa: S311  a sample, no secret
    lasting, crashed = (Path(f"{disk}.{kind}") for kind in ("lasting", "crashed"))
    shutil.copyfile(disk, lasting)
    flushes = [number for number, request in enumerate(requests) if request.flush]
    for last, flush in pairwise([-1, *flushes]):
        pending = requests[last + 1 : flush + 1]
        if not any(request.data for request in pending):
            continue
        for number in range(between):
            made = chance.randrange(1, len(pending) + 1)
            _copy(lasting, crashed)
            # The first keeps all: a disk without a cache.
            parts = [
                _whole(request) if number == 0 else _arrived(request, chance) for request in pending[:made]
            ]
            _write(crashed, [part for found in parts for part in found])
            yield last + 1 + made, crashed
        _write(lasting, [part for request in pending for part in _whole(request)])
        _copy(lasting, crashed)
        yield flush + 1, crashed
    for path in (lasting, crashed):
        path.unlink(missing_ok=True)


def _copy(disk: Path, to: Path) -> None:
    """A new file in the place of another: the kernel may not have let go yet of one that was mounted."""
    to.unlink(missing_ok=True)
    shutil.copyfile(disk, to)


def _whole(request: Request) -> list[tuple[int, bytes]]:
    return [(request.offset, request.data)]


def _arrived(request: Request, chance: random.Random) -> list[tuple[int, bytes]]:
    """What the disk kept of a request that no flush followed: all, none, its beginning, or some pieces."""
    if request.lasts:
        return _whole(request)
    places = range(0, len(request.data), PIECE)
    kept = chance.choice(
        (
            places,
            (),
            places[: chance.randrange(len(places) + 1)],
            [place for place in places if chance.random() < 0.5],
        )
    )
    return [(request.offset + place, request.data[place : place + PIECE]) for place in kept]


def _write(disk: Path, parts: Sequence[tuple[int, bytes]]) -> None:
    with disk.open("r+b") as file:
        for offset, data in parts:
            file.seek(offset)
            file.write(data)
