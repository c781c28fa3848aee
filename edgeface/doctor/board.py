"""Which board this is, by the texts that its firmware puts into the device tree.

The texts are those of the kernels' own device trees (Linux arch/arm64/boot/dts and raspberrypi/linux) and of
devices that people showed (NVIDIA/jetson-gpio issue 125, rbonghi/jetson_stats issue 400).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeface.doctor.system import System

__all__ = ["Board", "read_board"]

# (part of `compatible` or `model`, kind); the first that fits. Most kinds have a page in firmware/boards.
_KINDS = (
    (re.compile(r"brcm,bcm2712"), "raspberry-pi-5"),
    (re.compile(r"brcm,bcm2711"), "raspberry-pi-4"),
    (re.compile(r"brcm,bcm2837"), "raspberry-pi-3"),
    (re.compile(r"brcm,bcm283[56]"), "raspberry-pi"),
    (re.compile(r"nvidia,tegra234"), "jetson-orin"),
    (re.compile(r"nvidia,tegra(?:210|186|194|264)"), "jetson"),
    (re.compile(r"(?:google|fsl),imx8mq-phanbell|Google Coral"), "coral-dev-board"),
)
_MACHINES = {"x86_64": "x86", "aarch64": "arm64"}
_PAGES = frozenset(
    {"raspberry-pi-3", "raspberry-pi-4", "raspberry-pi-5", "jetson-orin", "coral-dev-board", "arm64", "x86"}
)


@dataclass(frozen=True, slots=True)
class Board:
    """A board by name.

    Attributes:
        name: As its maker calls it: ``"Raspberry Pi 4 Model B Rev 1.4"``; a PC by its processor.
        kind: ``raspberry-pi-3`` (Zero 2 W, too), ``raspberry-pi-4``, ``raspberry-pi-5``, ``raspberry-pi`` (32
            bits), ``jetson-orin``, ``jetson``, ``coral-dev-board``, ``arm64``, ``x86`` or ``other``.
        page: Its page in the repository; empty if it has none.
        machine: As ``uname -m`` says it.
        kernel: As ``uname -r`` says it.
        system: Name and version of the operating system.
        python: Version of the interpreter.
    """

    name: str
    kind: str
    page: str
    machine: str
    kernel: str
    system: str
    python: str

    @property
    def is_raspberry_pi(self) -> bool:
        """Whether its firmware answers `vcgencmd`."""
        return self.kind.startswith("raspberry-pi")

    def to_dict(self) -> dict[str, str]:
        """Return all of it as JSON values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def read_board(system: System) -> Board:
    """Name the machine that ``system`` stands for."""
    model = system.read("proc/device-tree/model")
    told = system.read("proc/device-tree/compatible").replace("\0", " ") + f" {model}"
    kind = next((kind for pattern, kind in _KINDS if pattern.search(told)), None)
    kind = kind or _MACHINES.get(system.machine, "other")
    name = model or _processor(system) or "unknown board"
    return Board(
        name=name,
        kind=kind,
        page=f"firmware/boards/{kind}.md" if kind in _PAGES else "",
        machine=system.machine,
        kernel=system.kernel,
        system=_operating_system(system),
        python=".".join(map(str, system.python)),
    )


def _processor(system: System) -> str:
    for line in system.read("proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return ""


def _operating_system(system: System) -> str:
    text = system.read("etc/os-release") or system.read("usr/lib/os-release")
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip().strip("\"'")
    return "unknown system"
