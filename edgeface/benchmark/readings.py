"""Parsers of what boards say about themselves. Pure: text in, values out; None for what makes no sense."""

from __future__ import annotations

import re
from typing import Any

__all__ = [
    "colon_fields",
    "core_name",
    "cpu_times",
    "pmic_watts",
    "tegrastats",
    "throttle_bits",
]

# Bits of the Raspberry Pi firmware's `get_throttled`; the same, 16 higher, for "since boot".
# Source: the Raspberry Pi documentation, "vcgencmd".
_THROTTLED = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}

# "CPU part" of /proc/cpuinfo for implementer 0x41, as in the MIDR register of Arm's reference manuals.
_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
}


def throttle_bits(text: str) -> dict[str, Any] | None:
    """What ``vcgencmd get_throttled`` or the driver's file says: ``throttled=0x50005``, or ``50005``.

    Returns:
        ``hex``, ``now`` and ``since_boot``: the names of the bits that are set.
    """
    found = re.fullmatch(r"(?:throttled=)?(?:0x)?([0-9a-fA-F]{1,8})", text.strip())
    if found is None:
        return None
    bits = int(found[1], 16)
    return {
        "hex": f"0x{bits:x}",
        "now": [name for bit, name in _THROTTLED.items() if bits >> bit & 1],
        "since_boot": [name for bit, name in _THROTTLED.items() if bits >> bit + 16 & 1],
    }


def pmic_watts(text: str) -> float | None:
    """The sum over the rails of ``vcgencmd pmic_read_adc`` (Raspberry Pi 5): volts times amperes.

    Losses of the converters and what hangs on USB and HDMI are not in it.
    """
    read: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for rail, kind, value in re.findall(r"(\w+)_([AV]) (?:current|volt)\(\d+\)=(\d+(?:\.\d+)?)[AV]\b", text):
        read[kind][rail] = float(value)
    both = read["A"].keys() & read["V"].keys()
    return round(sum(read["A"][rail] * read["V"][rail] for rail in both), 4) if both else None


def tegrastats(line: str) -> dict[str, Any] | None:
    """One line of NVIDIA's ``tegrastats``.

    Returns:
        ``ram_mib`` and ``ram_total_mib``; ``cores``: load in percent and clock in MHz of each, None for one
        that is off; ``gpu_percent``; ``temperatures_c`` by sensor; ``power_w`` by rail.
    """
    ram = re.search(r"\bRAM (\d+)/(\d+)MB", line)
    cores = re.search(r"\bCPU \[([^\]]*)\](@\d+)?", line)
    if ram is None or cores is None:
        return None
    gpu = re.search(r"\bGR3D(?:_FREQ)? (\d+)%", line)
    heat = re.findall(r"\b(\w+)@(-?[\d.]+)C\b", line)
    rails = re.findall(r"\b([A-Z]\w*) (\d+)(?:mW)?/\d+(?:mW)?(?=\s|$)", line)
    return {
        "ram_mib": int(ram[1]),
        "ram_total_mib": int(ram[2]),
        # Older releases write one clock behind the bracket.
        "cores": [_core(text.strip() + (cores[2] or "")) for text in cores[1].split(",")],
        "gpu_percent": int(gpu[1]) if gpu else None,
        # A sensor that is off reads -256.
        "temperatures_c": {name: float(value) for name, value in heat if float(value) > -100},
        "power_w": {name: int(now) / 1000 for name, now in rails},
    }


def _core(text: str) -> dict[str, int] | None:
    found = re.fullmatch(r"(\d+)%@(\d+)", text)
    return {"percent": int(found[1]), "mhz": int(found[2])} if found else None


def cpu_times(text: str) -> list[int] | None:
    """The first line of /proc/stat, jiffies: user, nice, system, idle, iowait, irq, softirq, steal."""
    words = text.partition("\n")[0].split()
    if len(words) < 9 or words[0] != "cpu" or not all(word.isdecimal() for word in words[1:9]):
        return None
    return [int(word) for word in words[1:9]]


def colon_fields(text: str) -> dict[str, str]:
    """``name : value`` lines, as in /proc/cpuinfo and /proc/self/status; of equal names the first counts."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    return fields


def core_name(cpuinfo: str) -> str | None:
    """The processor of a /proc/cpuinfo: ``model name`` of a PC, the kinds of core of an ARM SoC."""
    fields = colon_fields(cpuinfo)
    if "model name" in fields:
        return fields["model name"]
    parts = re.findall(r"^CPU part\s*:\s*(0x\w+)", cpuinfo, re.MULTILINE)
    counts = {part: parts.count(part) for part in dict.fromkeys(parts)}
    return " + ".join(f"{count} x {_PARTS.get(part, part)}" for part, count in counts.items()) or None
