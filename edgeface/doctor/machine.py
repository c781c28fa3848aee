"""Checks of the machine itself: what every program on it needs, accelerator or not."""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING

from edgeface.doctor import topics

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path

    from edgeface.doctor.check import Check
    from edgeface.doctor.system import System

__all__ = ["machine_checks"]

_OLDEST_PYTHON = (3, 10)
_OLDEST_GLIBC = (2, 28)  # that of the manylinux tag of LiteRT's wheels
_MACHINES = ("x86_64", "aarch64")
_CPU_LISTS = ("sys/devices/system/cpu/possible", "sys/devices/system/cpu/present")
_LITTLE_MEMORY, _LITTLE_SPACE = (
    150 << 20,
    100 << 20,
)  # bytes: what four models, OpenCV and Python take, and twice
_BEGINNING = 1767225600.0  # 2026-01-01: before this version was written
_END = _BEGINNING + 20 * 365 * 86400
# Not of CD drives, floppies and loop devices, whose errors mean nothing.
_BROKEN_CARD = re.compile(
    r"I/O error(?:, dev| on dev(?:ice)?) (?!sr|fd|loop)|mmcblk\d+: error|EXT4-fs error|Remounting .*read-only"
)
_TO_VIDEO = "run: sudo usermod -aG video $USER, and log in again"
_RECORD = re.compile(r"^\d+,\d+,\d+,[^;]*;")
# Video devices that take no pictures: codecs and image processors of the Raspberry Pi.
_NO_CAMERA = re.compile(r"codec|isp|hevc|pispbe|dec$|enc$|m2m|jpeg", re.IGNORECASE)


def machine_checks(system: System) -> Iterator[Check]:
    """All of them."""
    yield _system(system)
    yield _cpu_information(system)
    yield _memory(system)
    yield _storage(system)
    yield _clock(system)
    yield _cache(system)
    yield _camera(system)


def _system(system: System) -> Check:
    topic = topics.SYSTEM
    shown = f"{system.machine}, {system.bits}-bit Python {'.'.join(map(str, system.python))}"
    if system.bits != 64 or system.machine not in _MACHINES:
        seen, mend = f"{shown}: LiteRT has no wheel for this", "install the 64-bit system (x86_64 or aarch64)"
        if "tflite-runtime" in system.packages:
            return topic.warning(f"{seen}, and tflite-runtime, which is there, gets no updates", mend)
        return topic.fault(seen, mend)
    if system.python < _OLDEST_PYTHON:
        return topic.fault(shown, "use Python 3.10 to 3.13")
    if not system.libc.startswith("glibc"):
        return topic.fault(
            f"{shown}, no glibc (musl, as in Alpine, has no wheel of LiteRT)",
            "use an image with glibc, for example Debian's",
        )
    if tuple(map(int, re.findall(r"\d+", system.libc)[:2])) < _OLDEST_GLIBC:
        return topic.fault(
            f"{shown}, {system.libc}", "update the system: LiteRT asks for glibc 2.28 or later"
        )
    return topic.ok(f"{shown}, {system.libc}")


def _cpu_information(system: System) -> Check:
    topic = topics.CPU_INFORMATION
    hidden = [path for path in (*_CPU_LISTS, "proc/cpuinfo") if not system.read(path)]
    if not hidden:
        return topic.ok("/sys and /proc show the processor, so that LiteRT keeps its XNNPACK kernels")
    return topic.fault(
        f"/{', /'.join(hidden)} cannot be read, so LiteRT drops its XNNPACK kernels in silence and is many "
        "times slower",
        "mount /sys and /proc; in a container do not mask /sys/devices/system/cpu; in a systemd unit leave "
        "out ProcSubset=pid and InaccessiblePaths of these",
    )


def _memory(system: System) -> Check:
    topic = topics.MEMORY
    found = dict(
        re.findall(r"^(MemTotal|MemAvailable):\s+(\d+) kB", system.read("proc/meminfo"), re.MULTILINE)
    )
    if "MemAvailable" not in found:
        return topic.absent("/proc/meminfo does not say how much memory is free")
    total, free = (int(found.get(name, 0)) << 10 for name in ("MemTotal", "MemAvailable"))
    shown = f"{free >> 20} of {total >> 20} MiB are free"
    if free < _LITTLE_MEMORY:
        return topic.warning(shown, "close what else runs (a desktop takes 300 MiB), or add swap on zram")
    return topic.ok(shown)


def _storage(system: System) -> Check:
    topic = topics.STORAGE
    errors = [line for line in system.kernel_log() or () if _BROKEN_CARD.search(line)]
    if errors:
        return topic.fault(
            f"the kernel reports errors of a disk or card: {_message(errors[-1])} ({len(errors)} in all)",
            "save what matters and replace the card or disk; check its power supply first",
        )
    folder = _existing(system.cache)
    if folder is None:
        return topic.absent("there is no home folder to look at")
    try:
        free = system.free_bytes(folder)
    except OSError as error:
        return topic.warning(f"the free space cannot be asked for ({error.strerror})", "check the disk")
    shown = f"{free >> 20} MiB are free where the cache folder is"
    if free < _LITTLE_SPACE:
        return topic.warning(shown, "make room: journalctl --vacuum-size=50M, apt-get clean")
    return topic.ok(shown)


def _clock(system: System) -> Check:
    if _BEGINNING <= system.now < _END:
        return topics.CLOCK.ok("the clock shows a time that can be right")
    return topics.CLOCK.warning(
        "the clock is wrong: EdgeFace was not yet written at the time that it shows, or decades ago",
        "connect to a network and run: sudo timedatectl set-ntp true; a board without a battery forgets it",
    )


def _cache(system: System) -> Check:
    topic = topics.CACHE
    folder = system.cache
    if folder is None:
        return topic.warning(
            "there is no home folder, so what was measured and built is forgotten at every start",
            "set EDGEFACE_CACHE to a folder that this user may write to",
        )
    if system.called_by_sudo:  # whose folder that is depends on how sudo treats HOME
        return topic.absent("with sudo nobody's cache folder is looked at")
    try:
        status = folder.stat()
    except FileNotFoundError:
        holder = _existing(folder)
        if holder is not None and system.may_open(holder):
            return topic.ok("the cache folder will be made when it is needed")
        return topic.warning(
            f"the cache folder {folder} does not exist and this user may not make it",
            "set EDGEFACE_CACHE to a folder that this user may write to",
        )
    except OSError as error:
        return topic.warning(
            f"the cache folder {folder} cannot be looked at ({error.strerror})",
            "set EDGEFACE_CACHE to a folder of your own",
        )
    return _existing_cache(system, folder, status)


def _existing_cache(system: System, folder: Path, status: os.stat_result) -> Check:
    topic = topics.CACHE
    if not stat.S_ISDIR(status.st_mode):
        return topic.warning(f"{folder} is no folder", "move it away, or set EDGEFACE_CACHE to a folder")
    if status.st_uid != system.uid:
        return topic.warning(
            f"the cache folder {folder} belongs to somebody else",
            f"give it back: sudo chown -R $USER {folder}; it was probably made by a run with sudo",
        )
    if status.st_mode & 0o022:
        return topic.warning(
            f"others may write to the cache folder {folder}; engines in it are code that a GPU runs",
            f"run: chmod go-w {folder}",
            repair="cache",
        )
    if not system.may_open(folder):
        return topic.warning(
            f"this user may not write to the cache folder {folder}",
            f"run: chmod u+rwx {folder}",
            repair="cache",
        )
    return topic.ok(f"the cache folder {folder} is this user's alone")


def _camera(system: System) -> Check:
    topic = topics.CAMERA
    cameras = []
    for entry in system.find("sys/class/video4linux/video*"):
        name = system.read(f"{entry.relative_to(system.root)}/name")
        if not _NO_CAMERA.search(name):
            cameras.append((system.root / "dev" / entry.name, name or "unnamed"))
    if not cameras:
        return topic.absent("no camera is listed in /sys/class/video4linux")
    missing = [node for node, _ in cameras if not node.exists()]
    if missing:
        return topic.warning(
            f"{system.shown(missing[0])} is missing, though the kernel knows a camera",
            "pass the device into the container: --device " + system.shown(missing[0]),
        )
    closed = [node for node, _ in cameras if not system.may_open(node)]
    if closed:
        return topic.warning(
            f"this user may not open {system.shown(closed[0])}",
            _TO_VIDEO,
            repair="video-group" if system.user and system.uid else "",
        )
    if system.called_by_sudo and system.user not in system.members("video"):
        return topic.warning(
            "root may open the camera, but the user who called sudo is not in the group video",
            _TO_VIDEO,
            repair="video-group",
        )
    shown = ", ".join(f"{system.shown(node)} ({name})" for node, name in cameras[:3])
    return topic.ok(shown + (f" and {len(cameras) - 3} more" if len(cameras) > 3 else ""))


def _existing(path: Path | None) -> Path | None:
    """The nearest folder above that exists."""
    while path is not None and not path.is_dir():
        path = path.parent
    return path


def _message(record: str) -> str:
    """A record of the kernel's log without its head of numbers."""
    return _RECORD.sub("", record).strip()[:160]
