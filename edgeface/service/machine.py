"""What the machine itself says: its temperature, and what this process takes of it."""

from __future__ import annotations

import os
import resource
from pathlib import Path

__all__ = ["cpu_seconds", "resident_bytes", "temperature"]

_ZONES = Path("/sys/class/thermal")


def temperature(zones: Path = _ZONES) -> float | None:
    """Return the temperature of the hottest part that Linux tells of, °C; None where it tells of none."""
    found = []
    for zone in zones.glob("thermal_zone*/temp") if zones.is_dir() else ():
        try:
            degrees = int(zone.read_text(encoding="ascii")) / 1000
        except (OSError, ValueError):  # a zone that is switched off answers with an error
            continue
        if -40 < degrees < 150:
            found.append(degrees)
    return max(found, default=None)


def resident_bytes() -> int:
    """Return the memory that this process holds, bytes."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):  # not Linux: the most it ever held, in KiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds() -> float:
    """Return the processor time that this process has used, seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
