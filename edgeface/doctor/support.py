"""The support bundle: what somebody else needs to help with a device, and nothing that names people.

No picture, no result, no log of the service and no model is in it; files are chosen by name, never by folder,
and every text goes through `edgeface.doctor.redaction`. Its reader can look through it before passing it on.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from typing import TYPE_CHECKING

from edgeface.doctor.redaction import redaction, secret_name
from edgeface.errors import ArgumentError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeface.doctor.check import Report
    from edgeface.doctor.system import System

__all__ = ["contents", "write_support"]

_FILES = (
    "etc/os-release",
    "etc/nv_tegra_release",
    "etc/rpi-issue",
    "proc/cpuinfo",
    "proc/meminfo",
    "proc/version",
    "proc/device-tree/model",
    "proc/device-tree/compatible",
    "boot/firmware/config.txt",
)
_VARIABLES = re.compile(r"(?:EDGEFACE|ORT|OMP|OPENCV)_\w+|XDG_CACHE_HOME|LD_LIBRARY_PATH|PYTHON\w+")
# What the checks look for in the kernel's log, and what stands between it and an answer.
_TELLING = re.compile(
    r"under-?voltage|voltage normalised|apex|gasket|usb .*(?:reset|disconnect|descriptor|over-current)|"
    r"I/O error|mmc\d|EXT4-fs|thermal|throttl|oom|out of memory|uvcvideo|imx\d|unicam|segfault|"
    r"invalid opcode|nvgpu",
    re.IGNORECASE,
)
_MOST_LINES = 300
_DATE = (1980, 1, 1, 0, 0, 0)
_READ_ME = """\
Written by `edgeface doctor --support`, to be given to whoever helps with this device.

It holds the report of `edgeface doctor`, facts of the board and the system, versions of installed packages,
USB and PCI ids, and those lines of the kernel's log that are about power, disks, cameras and accelerators.
It holds no picture, no result and no model. Names of this machine and of its users, serial numbers, addresses
and secrets were replaced by [host], [user], [serial], [address], [secret]. It is plain text: look through it
before you pass it on.
"""


def contents(system: System, report: Report) -> dict[str, str]:
    """The files of the bundle by name, redacted."""
    hide = redaction(system)
    told = {path.replace("/", "_"): system.read(path).replace("\0", "\n") for path in _FILES}
    told["environment"] = _environment(system)
    told["packages"] = "\n".join(f"{name}=={version}" for name, version in sorted(system.packages.items()))
    told["usb"] = _usb(system)
    told["pci"] = _pci(system)
    log = system.kernel_log()
    lines = [line for line in log or () if _TELLING.search(line)]
    told["kernel-log"] = "\n".join(lines[-_MOST_LINES:]) if log else "(this user may not read it)"
    files = {f"{name}.txt": hide.text(text) + "\n" for name, text in told.items() if text}
    files["report.json"] = json.dumps(hide.values(report.to_dict()), indent=2, allow_nan=False) + "\n"
    return {"README.txt": _READ_ME, **dict(sorted(files.items()))}


def write_support(path: Path, system: System, report: Report) -> None:
    """Write the bundle, a zip file that only this user may read.

    Raises:
        ArgumentError: the file exists; nothing is overwritten.
        OSError: it cannot be written; nothing is left of it.
    """
    held = contents(system, report)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise ArgumentError(f"--support: {path} exists; name a new file") from error
    try:
        with os.fdopen(descriptor, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle:
            for name, text in held.items():
                bundle.writestr(
                    zipfile.ZipInfo(f"edgeface-support/{name}", _DATE), text, zipfile.ZIP_DEFLATED
                )
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _environment(system: System) -> str:
    kept = {name: value for name, value in system.environment.items() if _VARIABLES.fullmatch(name)}
    return "\n".join(
        f"{name}={'[secret]' if secret_name(name) else value}" for name, value in sorted(kept.items())
    )


def _usb(system: System) -> str:
    """Place, ids and speed of each device; never the texts that it tells of itself."""
    lines = []
    for folder in system.find("sys/bus/usb/devices/*"):
        at = folder.relative_to(system.root)
        vendor, product = (system.read(f"{at}/{name}") for name in ("idVendor", "idProduct"))
        if vendor:
            lines.append(f"{folder.name} {vendor}:{product} {system.read(f'{at}/speed')} Mbit/s")
    return "\n".join(lines)


def _pci(system: System) -> str:
    lines = []
    for folder in system.find("sys/bus/pci/devices/*"):
        at = folder.relative_to(system.root)
        vendor, device = (system.read(f"{at}/{name}").removeprefix("0x") for name in ("vendor", "device"))
        lines.append(f"{folder.name} {vendor}:{device}")
    return "\n".join(lines)
