"""What a result was measured on: enough to compare, nothing that names the machine or its owner."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

__all__ = ["cpu_times", "describe", "steal_share"]

# The instructions that decide the speed of int8 kernels.
_TELLING = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm", "neon")


def describe() -> dict[str, Any]:
    """Processor, its telling instructions, cores, governor, memory, system, C library; None where unknown."""
    cpu = _colon_fields(_read("/proc/cpuinfo").split("\n\n")[0])
    flags = set((cpu.get("flags") or cpu.get("Features") or "").split())
    memory = _colon_fields(_read("/proc/meminfo")).get("MemTotal")
    board = _read("/proc/device-tree/model").strip("\0\n")
    release = dict(line.split("=", 1) for line in _read("/etc/os-release").splitlines() if "=" in line)
    return {
        "board": board or None,
        "cpu": cpu.get("model name") or cpu.get("Model") or None,
        "architecture": platform.machine(),
        "instructions": [flag for flag in _TELLING if flag in flags],
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
        "clock_mhz": float(cpu["cpu MHz"]) if "cpu MHz" in cpu else None,
        "virtual": "hypervisor" in flags,
        "memory_mib": int(memory.split()[0]) // 1024 if memory else None,
        "system": release.get("PRETTY_NAME", "").strip('"') or None,
        "kernel": platform.release().split("-")[0],  # what follows is the name of somebody's build
        "libc": " ".join(platform.libc_ver()).strip() or None,
    }


def cpu_times() -> list[int]:
    """The jiffies of all cores since boot: user, nice, system, idle, iowait, irq, softirq, steal."""
    return [int(field) for field in _read("/proc/stat").splitlines()[0].split()[1:9]]


def steal_share(before: list[int], after: list[int]) -> float:
    """The share of time between two readings of `cpu_times` that other machines on the same host took."""
    spent = [late - early for early, late in zip(before, after, strict=True)]
    return spent[7] / max(sum(spent), 1)


def _colon_fields(text: str) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
