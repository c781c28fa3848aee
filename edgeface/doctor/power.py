"""Checks of current and heat: a Raspberry Pi on a weak supply halves its clock and says so nowhere."""

from __future__ import annotations

import re
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from edgeface.doctor import topics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from edgeface.doctor.board import Board
    from edgeface.doctor.check import Check
    from edgeface.doctor.system import System

__all__ = ["power_checks"]

# Bits of `vcgencmd get_throttled` (Raspberry Pi documentation, `os.html#get_throttled`).
_LOW_NOW, _LOW_ONCE = 1 << 0, 1 << 16
_SLOW_NOW = {
    1 << 1: "the clock is capped",
    1 << 2: "it is throttled",
    1 << 3: "the soft temperature limit is reached",
}
_SLOW_ONCE = {
    1 << 17: "the clock was capped",
    1 << 18: "it was throttled",
    1 << 19: "the soft limit was reached",
}
_LIMIT = (1 << 3, 1 << 19)  # of the temperature, whatever the supply does
_LOG = re.compile(r"under-?voltage detected", re.IGNORECASE)
_WARM, _HOT = 75.0, 85.0  # degrees Celsius: where boards begin to slow down, and where all of them do
_SUPPLY = (
    "use the board's own power supply and a short, thick cable (5.1 V, 3 A; a Pi 5: 5 A), and give a Coral "
    "or a disk a powered hub"
)


def power_checks(system: System, board: Board) -> Iterator[Check]:
    """Both of them."""
    bits = _throttled(system) if board.is_raspberry_pi else None
    yield _under_voltage(system, board, bits)
    yield _heat(system, bits)


def _under_voltage(system: System, board: Board, bits: int | None) -> Check:
    topic = topics.UNDER_VOLTAGE
    if not board.is_raspberry_pi:
        return topic.absent("only a Raspberry Pi tells")
    alarm = any(system.read(f"{path.relative_to(system.root)}") == "1" for path in _alarms(system))
    logged = sum(bool(_LOG.search(line)) for line in system.kernel_log() or ())
    if alarm or (bits or 0) & _LOW_NOW:
        return topic.fault(f"the supply is too weak at this moment{_shown(bits)}", _SUPPLY)
    if logged or (bits or 0) & _LOW_ONCE:
        times = f", {logged} times in the kernel's log" if logged else ""
        return topic.warning(f"the supply was too weak since the last start{times}{_shown(bits)}", _SUPPLY)
    if bits is None and not _alarms(system):
        return topic.absent(
            "neither vcgencmd nor the kernel tells; it needs the package raspi-utils and the group video"
        )
    return topic.ok(f"the supply held since the last start{_shown(bits)}")


def _heat(system: System, bits: int | None) -> Check:
    topic = topics.HEAT
    mend = "give it air or a heat sink, or run fewer frames per second"
    zones = [system.read(f"{zone.relative_to(system.root)}") for zone in _zones(system)]
    degrees = max((int(text) / 1000 for text in zones if re.fullmatch(r"\d{1,6}", text)), default=None)
    warm = "" if degrees is None else f"{degrees:.0f} °C"
    now = _slowed(bits or 0, _SLOW_NOW, _LOW_NOW)
    once = _slowed(bits or 0, _SLOW_ONCE, _LOW_ONCE)
    if now:
        return topic.warning(", ".join(filter(None, [warm, *now])) + _shown(bits), mend)
    if degrees is not None and degrees >= _HOT:
        return topic.fault(f"{warm}: every board slows down or stops here", mend)
    if once or (degrees is not None and degrees >= _WARM):
        return topic.warning(", ".join(filter(None, [warm, *once])) + _shown(bits), mend)
    if degrees is None and bits is None:
        return topic.absent("no sensor of temperature is listed in /sys/class/thermal")
    return topic.ok(warm or "it was not slowed down since the last start")


def _slowed(bits: int, texts: Mapping[int, str], low: int) -> list[str]:
    """How the board was slowed down by heat. A weak supply slows it down, too, and is told by itself."""
    return [text for bit, text in texts.items() if bits & bit and (not bits & low or bit in _LIMIT)]


def _throttled(system: System) -> int | None:
    """The firmware's bits. The kernel's file of them is 0 on some systems where vcgencmd knows more."""
    printed = system.command("vcgencmd", "get_throttled") or ""
    texts = [printed.strip().rpartition("=")[2]]
    texts += [
        system.read(f"{path.relative_to(system.root)}")
        for path in system.find("sys/devices/platform/soc*/*firmware/get_throttled")
    ]
    found = [int(text, 16) for text in texts if re.fullmatch(r"(0x)?[0-9a-fA-F]{1,8}", text)]
    return reduce(or_, found) if found else None


def _alarms(system: System) -> list[Path]:
    """The kernel's own sensor of the supply: raspberrypi-hwmon, called rpi_volt."""
    return [
        path.with_name("in0_lcrit_alarm")
        for path in system.find("sys/class/hwmon/hwmon*/name")
        if system.read(f"{path.relative_to(system.root)}") == "rpi_volt"
    ]


def _zones(system: System) -> list[Path]:
    return system.find("sys/class/thermal/thermal_zone*/temp")


def _shown(bits: int | None) -> str:
    return "" if bits is None else f" (throttled={bits:#x})"
