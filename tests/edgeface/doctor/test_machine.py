"""The checks of the machine itself, each branch on a tree of files."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from edgeface.doctor.check import Check
from edgeface.doctor.machine import machine_checks
from edgeface.doctor.system import System
from tests.edgeface.doctor.machines import only, pi, write


def check(name: str, system: System, **changes: Any) -> Check:
    return only(machine_checks(dataclasses.replace(system, **changes)), name)


def test_a_sound_machine_has_no_warning(tmp_path: Path) -> None:
    verdicts = {one.name: one.verdict for one in machine_checks(pi(tmp_path, cache=tmp_path / "cache"))}
    assert verdicts.pop("camera") == "not here"
    assert set(verdicts.values()) == {"ok"}


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"machine": "armv7l", "bits": 32}, "armv7l, 32-bit Python 3.11: LiteRT has no wheel"),
        ({"bits": 32}, "aarch64, 32-bit Python"),  # a 32-bit system on a 64-bit kernel
        ({"machine": "riscv64"}, "riscv64"),
        ({"python": (3, 9)}, "Python 3.9"),
        ({"libc": ""}, "no glibc (musl"),
        ({"libc": "glibc 2.27"}, "glibc 2.27"),
    ],
)
def test_a_system_without_wheels_is_a_fault(tmp_path: Path, changes: dict[str, Any], wanted: str) -> None:
    found = check("system", pi(tmp_path), **changes)
    assert found.verdict == "fault"
    assert wanted in found.evidence
    assert found.mend


def test_32_bits_with_the_last_tflite_are_a_warning(tmp_path: Path) -> None:
    packages = {"numpy": "1.24.2", "tflite-runtime": "2.14.0"}
    found = check("system", pi(tmp_path), machine="armv7l", bits=32, packages=packages)
    assert (found.verdict, "gets no updates" in found.evidence) == ("warning", True)


@pytest.mark.parametrize(
    "hidden", ["sys/devices/system/cpu/possible", "sys/devices/system/cpu/present", "proc/cpuinfo"]
)
def test_a_hidden_processor_is_a_fault(tmp_path: Path, hidden: str) -> None:
    system = pi(tmp_path)
    (tmp_path / hidden).unlink()
    found = check("cpu-information", system)
    assert found.verdict == "fault"
    assert f"/{hidden} cannot be read, so LiteRT drops its XNNPACK" in found.evidence


def test_memory_that_is_taken_is_a_warning(tmp_path: Path) -> None:
    system = pi(tmp_path)
    assert check("memory", system).evidence == "3138 of 3794 MiB are free"
    write(tmp_path, {"proc/meminfo": "MemTotal:         428500 kB\nMemAvailable:      61440 kB\n"})
    found = check("memory", system)
    assert (found.verdict, found.evidence) == ("warning", "60 of 418 MiB are free")
    write(tmp_path, {"proc/meminfo": "MemTotal:         428500 kB\n"})
    assert check("memory", system).verdict == "not here"


def test_a_dying_card_is_a_fault_and_a_cd_drive_is_none(tmp_path: Path) -> None:
    system = pi(tmp_path, cache=tmp_path)
    write(tmp_path, {"dev/kmsg": "3,810,812,-;blk_update_request: I/O error, dev sr0, sector 0\n"})
    assert check("storage", system).verdict == "ok"
    log = (
        "3,811,813,-;mmcblk0: error -110 transferring data\n3,812,814,-;EXT4-fs error (device mmcblk0p2): bad"
    )
    write(tmp_path, {"dev/kmsg": log})
    found = check("storage", system)
    assert found.verdict == "fault"
    assert found.evidence.endswith("EXT4-fs error (device mmcblk0p2): bad (2 in all)")


def test_space_is_looked_at_where_the_cache_is(tmp_path: Path) -> None:
    asked = []

    def free(folder: Path) -> int:
        asked.append(folder)
        return 50 << 20

    found = check("storage", pi(tmp_path), cache=tmp_path / "not/yet/there", free_bytes=free)
    assert asked == [tmp_path]
    assert (found.verdict, found.evidence[:6]) == ("warning", "50 MiB")
    assert check("storage", pi(tmp_path), cache=None).verdict == "not here"

    def broken(folder: Path) -> int:
        raise OSError(5, "Input/output error")

    found = check("storage", pi(tmp_path), cache=tmp_path, free_bytes=broken)
    assert (found.verdict, "Input/output error" in found.evidence) == ("warning", True)


@pytest.mark.parametrize(("now", "verdict"), [(0.0, "warning"), (1.8e9, "ok"), (9e9, "warning")])
def test_a_clock_that_cannot_be_right_is_told(tmp_path: Path, now: float, verdict: str) -> None:
    assert check("clock", pi(tmp_path), now=now).verdict == verdict


def test_the_cache_folder(tmp_path: Path) -> None:
    system = pi(tmp_path / "root", uid=os.getuid(), user="root")
    assert "EDGEFACE_CACHE" in check("cache", system, cache=None).mend
    assert check("cache", system, cache=tmp_path, uid=0, user="jane").verdict == "not here"
    assert check("cache", system, cache=tmp_path / "new/cache").verdict == "ok"
    closed = check("cache", system, cache=tmp_path / "new/cache", may_open=lambda node: False)
    assert "may not make it" in closed.evidence
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    assert check("cache", system, cache=folder).verdict == "ok"
    closed = check("cache", system, cache=folder, may_open=lambda node: False)
    assert (closed.verdict, closed.repair) == ("warning", "cache")
    folder.chmod(0o777)
    open_ = check("cache", system, cache=folder)
    assert (open_.verdict, open_.repair) == ("warning", "cache")
    assert "chmod go-w" in open_.mend
    foreign = check("cache", system, cache=folder, uid=os.getuid() + 1)
    assert "belongs to somebody else" in foreign.evidence
    assert not foreign.repair
    file = tmp_path / "file"
    file.touch()
    assert "is no folder" in check("cache", system, cache=file).evidence
    assert "cannot be looked at" in check("cache", system, cache=file / "below").evidence


def test_cameras_are_told_from_codecs(tmp_path: Path) -> None:
    system = pi(tmp_path)
    write(tmp_path, {"sys/class/video4linux/video10/name": "bcm2835-codec-decode\n"})
    assert check("camera", system).verdict == "not here"
    write(tmp_path, {"sys/class/video4linux/video0/name": "HD Webcam C270\n"})
    assert "/dev/video0 is missing" in check("camera", system).evidence
    write(tmp_path, {"dev/video0": ""})
    found = check("camera", system)
    assert (found.verdict, found.evidence) == ("ok", "/dev/video0 (HD Webcam C270)")
    closed = check("camera", system, may_open=lambda node: False)
    assert (closed.verdict, closed.repair) == ("warning", "video-group")
    sudo = check("camera", system, uid=0)
    assert (sudo.verdict, sudo.repair) == ("warning", "video-group")
    assert check("camera", system, uid=0, user="root").verdict == "ok"
    write(tmp_path, {"etc/group": "video:x:44:pi,jane\n"})
    assert check("camera", system, uid=0).verdict == "ok"
    for number in range(1, 5):
        write(tmp_path, {f"sys/class/video4linux/video{number}/name": "", f"dev/video{number}": ""})
    assert check("camera", system).evidence.endswith("/dev/video2 (unnamed) and 2 more")
