"""Machines that are not here: a tree of files, and the facts of a process on them."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from edgeface.doctor.asking import Outcome
from edgeface.doctor.check import Check
from edgeface.doctor.system import System

# model and compatible, as the firmware writes them into the device tree
DEVICE_TREES = {
    "Raspberry Pi 3 Model B Plus Rev 1.3": "raspberrypi,3-model-b-plus\0brcm,bcm2837\0",
    "Raspberry Pi Zero 2 W Rev 1.0": "raspberrypi,model-zero-2-w\0brcm,bcm2837\0",
    "Raspberry Pi 4 Model B Rev 1.4": "raspberrypi,4-model-b\0brcm,bcm2711\0",
    "Raspberry Pi 5 Model B Rev 1.0": "raspberrypi,5-model-b\0brcm,bcm2712\0",
}

PASSWORDS = """root:x:0:0:root:/root:/bin/bash
messagebus:x:100:107::/nonexistent:/usr/sbin/nologin
jane:x:1000:1000:Jane Q. Doe,Room 7,,:/home/jane:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def pi(root: Path, model: str = "Raspberry Pi 4 Model B Rev 1.4", **changes: Any) -> System:
    """A Raspberry Pi that ails nothing, as an ordinary user sees it; ``changes`` are fields of `System`."""
    write(
        root,
        {
            "proc/device-tree/model": f"{model}\0",
            "proc/device-tree/compatible": DEVICE_TREES[model],
            "proc/cpuinfo": "processor\t: 0\nCPU part\t: 0xd08\nSerial\t\t: 10000000a1b2c3d4\n",
            "proc/meminfo": "MemTotal:        3885396 kB\nMemAvailable:    3214332 kB\n",
            "sys/devices/system/cpu/possible": "0-3\n",
            "sys/devices/system/cpu/present": "0-3\n",
            "sys/class/thermal/thermal_zone0/temp": "48312\n",
            "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n',
            "etc/passwd": PASSWORDS,
            "etc/group": "root:x:0:\nplugdev:x:46:\nvideo:x:44:\n",
            "dev/kmsg": "6,339,5140900,-;NET: Registered PF_INET protocol family\n",
        },
    )
    fields: dict[str, Any] = {
        "root": root,
        "environment": {"PATH": str(root / "bin")},
        "machine": "aarch64",
        "kernel": "6.6.51+rpt-rpi-v8",
        "python": (3, 11),
        "bits": 64,
        "libc": "glibc 2.36",
        "page_size": 4096,
        "uid": 1000,
        "user": "jane",
        "groups": frozenset({"jane"}),
        "packages": {"numpy": "2.4.6", "ai-edge-litert": "2.3.0", "opencv-python-headless": "5.0.0.93"},
        "search": (),
        "cache": None,
        "now": 1.8e9,
        "may_open": lambda node: True,
        "free_bytes": lambda folder: 8 << 30,
    }
    return System(**(fields | changes))


def program(root: Path, name: str, script: str) -> None:
    """A program on the PATH of the machine; it writes down how it was called."""
    path = root / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\necho "{name} $@" >> {root / "called"}\n{script}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def called(root: Path) -> list[str]:
    path = root / "called"
    return path.read_text().splitlines() if path.exists() else []


def answered(**answer: Any) -> Outcome:
    return Outcome("answered", answer)


def only(checks: Any, name: str) -> Check:
    (found,) = [check for check in checks if check.name == name]
    return found
