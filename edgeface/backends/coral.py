"""Which Coral devices this machine has, and what stands between a program and one of them.

Every file is read below a ``root``, so that a tree of a machine that is not here can be asked. A USB
accelerator shows 1a6e:089a when it is plugged in and 18d1:9302 once libedgetpu has loaded its firmware
(google-coral/libedgetpu, `debian/edgetpu-accelerator.rules`); the PCIe and M.2 cards and the Dev Board are
1ac1:089a and need the kernel modules gasket and apex.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeface.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "DRIVERLESS",
    "REBUILD",
    "Fault",
    "Tpu",
    "find_tpus",
    "not_re_enumerated",
    "parse_device",
    "preventing",
]

_FRESH, _LOADED = "1a6e:089a", "18d1:9302"
_PCI = ("0x1ac1", "0x089a")
_DEVICE = re.compile(r"(usb|pci)?(?::(\d{1,2}))?")
DRIVERLESS = Path("driver missing")
"""Stands for the device file of a card that no driver has taken."""

REBUILD = (
    "install libedgetpu1-std 16.0TF2.17.1-1 or later (github.com/feranick/libedgetpu/releases), which is "
    "built for today's runtimes"
)
"""The mend of a library that does not fit its runtime."""

_PASSED_IN = "; a container or VM needs /dev/bus/usb passed in"
_PLUGGING = {
    "usb": f"plug it into a USB 3 port with its own cable{_PASSED_IN}",
    "pci": "check its slot with lspci -nn | grep 089a; on a Pi 5 set dtparam=pciex1 in config.txt",
    None: f"plug a USB one into a USB 3 port, and look for a card with lspci -nn | grep 089a{_PASSED_IN}",
}
_RULES = (
    'SUBSYSTEM=="usb", ATTRS{idVendor}=="1a6e", ATTRS{idProduct}=="089a", MODE="0660", GROUP="plugdev"; '
    'SUBSYSTEM=="usb", ATTRS{idVendor}=="18d1", ATTRS{idProduct}=="9302", MODE="0660", GROUP="plugdev"; '
    'SUBSYSTEM=="apex", MODE="0660", GROUP="plugdev"'
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an Edge TPU cannot be used: the kind of cause, what was seen, and the mend."""

    cause: str
    """``library missing``, ``wrong ABI pairing``, ``no device``, ``no permission``, ``not re-enumerated``,
    ``kernel driver missing``, or ``refused`` when all of these are in order."""
    seen: str
    mend: str

    def __str__(self) -> str:
        return f"{self.cause}: {self.seen}; {self.mend}"


@dataclass(frozen=True, slots=True)
class Tpu:
    """One device as the kernel lists it."""

    bus: str
    """``usb`` or ``pci``."""
    place: str
    """Its name in sysfs: ``2-1``, ``0000:01:00.0``."""
    usb_id: str | None
    node: Path
    """Its device file, or `DRIVERLESS`."""


def parse_device(option: str) -> tuple[str | None, int]:
    """Bus (None: any) and number of a device by libedgetpu's names: ``""``, ``usb``, ``usb:0``, ``pci:1``.

    Raises:
        ArgumentError: it is another text.
    """
    match = _DEVICE.fullmatch(option)
    if match is None:
        raise ArgumentError(f"backend 'edgetpu:{option}': unknown device; write usb, usb:0, pci or pci:1")
    return match[1], int(match[2] or 0)


def find_tpus(root: Path = Path("/")) -> tuple[Tpu, ...]:
    """All devices, those on USB first, each bus in the order of its places."""
    found = []
    for folder in _entries(root / "sys/bus/usb/devices"):
        usb_id = f"{_read(folder / 'idVendor')}:{_read(folder / 'idProduct')}"
        if usb_id in (_FRESH, _LOADED):
            numbers = [_read(folder / name) for name in ("busnum", "devnum")]
            if all(number.isdigit() for number in numbers):
                bus, device = (f"{int(number):03d}" for number in numbers)
                found.append(Tpu("usb", folder.name, usb_id, root / "dev/bus/usb" / bus / device))
    for folder in _entries(root / "sys/bus/pci/devices"):
        if (_read(folder / "vendor"), _read(folder / "device")) == _PCI:
            apex = [root / "dev" / entry.name for entry in _entries(folder / "apex")]
            found.append(Tpu("pci", folder.name, None, apex[0] if apex else DRIVERLESS))
    return tuple(found)


def preventing(
    option: str,
    root: Path = Path("/"),
    *,
    may_open: Callable[[Path], bool] = lambda node: os.access(node, os.R_OK | os.W_OK),
    page_size: int | None = None,
) -> Fault | None:
    """What prevents the use of a device, before any library is loaded; None when nothing seems to.

    Where any device will do (``""``), one that can be used is enough; else the first one's fault is told.

    Raises:
        ArgumentError: ``option`` names no device.
    """
    bus, number = parse_device(option)
    tpus = [tpu for tpu in find_tpus(root) if bus in (None, tpu.bus)]
    if len(tpus) <= number:
        kind = {"usb": "USB Coral", "pci": "PCIe Coral", None: "Coral"}[bus]
        count = f"{len(tpus)} found, {option} is wanted" if tpus else "none is listed in /sys"
        return Fault("no device", f"no {kind} ({count})", _PLUGGING[bus])
    pages = os.sysconf("SC_PAGE_SIZE") if page_size is None else page_size
    faults = [_fault(tpu, root, may_open, pages) for tpu in (tpus[number:][:1] if option else tpus)]
    return None if None in faults else faults[0]


def _fault(tpu: Tpu, root: Path, may_open: Callable[[Path], bool], page_size: int) -> Fault | None:
    if tpu.node is DRIVERLESS or (tpu.bus == "pci" and not tpu.node.exists()):
        return _without_driver(tpu, page_size)
    if not may_open(tpu.node):
        return Fault(
            "no permission",
            f"this user may not open {_shown(tpu.node, root)}",
            "write these udev rules (both USB ids: the device changes its own) to "
            f"/etc/udev/rules.d/60-coral.rules: {_RULES}; then sudo udevadm control --reload-rules, sudo "
            "udevadm trigger, sudo usermod -aG plugdev $USER, and log in again",
        )
    return None


def not_re_enumerated(option: str, root: Path = Path("/")) -> Fault | None:
    """For a device that the library refused: whether it still waits for its firmware."""
    bus, number = parse_device(option)
    tpus = [tpu for tpu in find_tpus(root) if bus in (None, tpu.bus)]
    if len(tpus) <= number or tpus[number].usb_id != _FRESH:
        return None
    return Fault(
        "not re-enumerated",
        f"the USB device {tpus[number].place} is still {_FRESH} and did not come back as {_LOADED}",
        "unplug it and plug it in again; give udev rules for both ids; pass a container all of /dev/bus/usb "
        "and a VM both ids, because the device leaves its old address",
    )


def _without_driver(tpu: Tpu, page_size: int) -> Fault:
    mend = "install gasket-dkms, then sudo modprobe apex; kernels from 6.12 on need a patched gasket-dkms"
    if page_size != 4096:
        mend = (
            f"this kernel has pages of {page_size // 1024} KiB and the driver needs 4: on a Pi 5 set "
            f"kernel=kernel8.img in config.txt and reboot; then {mend}"
        )
    return Fault("kernel driver missing", f"a Coral is at PCI {tpu.place}, but there is no /dev/apex_*", mend)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _shown(node: Path, root: Path) -> str:
    return f"/{node.relative_to(root)}"
