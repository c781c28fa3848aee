"""The udev rules that let people use a Coral: which are there, and the file that the doctor writes.

The USB accelerator has two ids, before and after libedgetpu has loaded its firmware
(google-coral/libedgetpu, `debian/edgetpu-accelerator.rules`); a rule for one alone works once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeface.doctor.system import System

__all__ = ["RULES", "missing_ids", "names_apex"]

# (subject of the kernel, vendor, product)
_IDS = (("1a6e", "089a"), ("18d1", "9302"))
_FOLDERS = (
    "etc/udev/rules.d",
    "run/udev/rules.d",
    "usr/local/lib/udev/rules.d",
    "usr/lib/udev/rules.d",
    "lib/udev/rules.d",
)
_MATCH = 'SUBSYSTEM=="usb", ATTRS{{idVendor}}=="{}", ATTRS{{idProduct}}=="{}", MODE="0660", GROUP="plugdev"'

RULES = "\n".join(
    [
        *(_MATCH.format(vendor, product) for vendor, product in _IDS),
        'SUBSYSTEM=="apex", MODE="0660", GROUP="plugdev"',
        "",
    ]
)
"""What the doctor writes: both ids of the USB accelerator, and the device files of the cards."""

_GRANTS = re.compile(r'(?:MODE|GROUP|TAG)\s*:?\+?=\s*"')


def missing_ids(system: System) -> tuple[str, ...]:
    """The ids of a USB accelerator (``1a6e:089a``, ``18d1:9302``) that no rule gives to anybody."""
    lines = _rules(system)
    return tuple(
        f"{vendor}:{product}"
        for vendor, product in _IDS
        if not any(_names(line, vendor, product) for line in lines)
    )


def names_apex(system: System) -> bool:
    """Whether a rule gives the device files of the PCIe cards to somebody."""
    return any("apex" in line for line in _rules(system))


def _rules(system: System) -> list[str]:
    """All lines that grant something. A file of an earlier folder hides one of its name in a later."""
    seen: dict[str, str] = {}
    for folder in _FOLDERS:
        for path in system.find(f"{folder}/*.rules"):
            seen.setdefault(path.name, system.read(str(path.relative_to(system.root))))
    joined = "\n".join(seen.values()).replace("\\\n", " ")
    lines = (line.strip() for line in joined.splitlines())
    return [line for line in lines if not line.startswith("#") and _GRANTS.search(line)]


def _names(line: str, vendor: str, product: str) -> bool:
    """A rule may name the vendor alone, as those of libedgetpu's packages do."""
    if not re.search(rf'idVendor}}\s*==\s*"{vendor}"', line, re.IGNORECASE):
        return False
    products: list[str] = re.findall(r'idProduct}\s*==\s*"([^"]*)"', line)
    return not products or any(product == named.lower() for named in products)
