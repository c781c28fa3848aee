"""What a device is and how it does at this moment, read from files below a root and from two small programs.

Nothing that is read names the machine, its owner or its network. What is not there is None: no value is ever
guessed. Sources: Linux' Documentation/ABI (cpufreq, thermal, hwmon, powercap), the Raspberry Pi documentation
(`vcgencmd`) and NVIDIA's Jetson developer guide (`tegrastats`, INA3221).
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import select
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeface.benchmark import readings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Machine", "run_program"]

_PATIENCE = 2.0  # seconds for a program that should take milliseconds
# The instructions that decide the speed of int8 kernels.
_TELLING = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm", "neon")
# Rails that feed all the others, by board.
_INPUT_RAILS = ("VDD_IN", "POM_5V_IN", "VIN_SYS_5V0")
_THROTTLE_FILES = "sys/devices/platform/*/*firmware/get_throttled"


def run_program(*words: str, first_line: bool = False) -> str | None:
    """What a program prints; None when it is not installed, fails or does not answer. No shell is involved.

    Args:
        words: the program and its arguments.
        first_line: end it after its first line, for one that never ends by itself.
    """
    if shutil.which(words[0]) is None:
        return None
    try:
        with subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as child:
            try:
                if first_line and child.stdout is not None:
                    ready, _, _ = select.select([child.stdout], [], [], _PATIENCE)
                    return child.stdout.readline() if ready else None
                said, _ = child.communicate(timeout=_PATIENCE)
                return said if child.returncode == 0 else None
            finally:
                child.kill()
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


@dataclass(frozen=True, slots=True)
class Machine:
    """Readings of one machine.

    Attributes:
        root: The files are read below it; a tree of another board can be asked as well.
        program: Runs ``vcgencmd`` and ``tegrastats``.
    """

    root: Path = Path("/")
    program: Callable[..., str | None] = run_program
    _last_energy: dict[str, tuple[float, float]] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """What does not change while a benchmark runs."""
        cpuinfo = self._text("proc/cpuinfo")
        fields = readings.colon_fields(cpuinfo)
        flags = set((fields.get("flags") or fields.get("Features") or "").split())
        memory = readings.colon_fields(self._text("proc/meminfo")).get("MemTotal", "").split()
        release = dict(
            line.split("=", 1) for line in self._text("etc/os-release").splitlines() if "=" in line
        )
        return {
            "board": self._text("proc/device-tree/model").strip("\0\n ") or None,
            "soc": self._soc(),
            "cpu": readings.core_name(cpuinfo),
            "architecture": platform.machine(),
            "instructions": [flag for flag in _TELLING if flag in flags],
            "cores": os.cpu_count(),
            "cores_usable": len(os.sched_getaffinity(0)),
            "virtual": "hypervisor" in flags,
            "memory_mib": int(memory[0]) // 1024 if memory and memory[0].isdecimal() else None,
            "system": release.get("PRETTY_NAME", "").strip('"') or None,
            "kernel": platform.release().split("-")[0],  # what follows is the name of somebody's build
            "libc": " ".join(platform.libc_ver()).strip() or None,
        }

    def state(self) -> dict[str, Any]:
        """How it does now: governor, clocks, temperature, throttling, power, load; None where unknown."""
        stats = self._tegrastats()
        return {
            "governor": self._text("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
            "clocks_mhz": self.clocks(),
            "temperature_c": self.temperature(),
            "temperatures_c": self._temperatures(),
            "throttled": self.throttled(),
            "throttle_count": self.throttle_count(),
            "power_w": self.power(),
            "power_source": self._power()[1],
            "load_average": self._load(),
            "tegrastats": stats,
        }

    def clocks(self) -> list[float] | None:
        """Clock of each core, MHz."""
        found = [
            kilohertz / 1000
            for kilohertz in (
                self._number(f"{folder}/cpufreq/scaling_cur_freq")
                for folder in self._glob("sys/devices/system/cpu/cpu[0-9]*")
            )
            if kilohertz is not None
        ]
        if not found:
            values = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", self._text("proc/cpuinfo"), re.MULTILINE)
            found = [float(value) for value in values]
        return [round(value, 1) for value in found] or None

    def temperature(self) -> float | None:
        """The hottest of the sensors that belong to the processor, degrees Celsius; else of all."""
        found = self._temperatures()
        own = [
            value
            for name, value in found.items()
            if re.search(r"cpu|soc|x86_pkg|core|package|tj", name, re.I)
        ]
        return max(own or found.values(), default=None)

    def throttled(self) -> dict[str, Any] | None:
        """What a Raspberry Pi's firmware says, now and since boot; None on other boards."""
        for name in self._glob(_THROTTLE_FILES):
            found = readings.throttle_bits(self._text(name))
            if found is not None:
                return found
        return readings.throttle_bits(self.program("vcgencmd", "get_throttled") or "")

    def throttle_count(self) -> int | None:
        """How often an x86 CPU slowed down for heat since boot; None where it does not count."""
        counts = [
            self._number(f"{folder}/thermal_throttle/{kind}_throttle_count")
            for folder in self._glob("sys/devices/system/cpu/cpu[0-9]*")
            for kind in ("core", "package")
        ]
        known = [count for count in counts if count is not None]
        return int(sum(known)) if known else None

    def power(self) -> float | None:
        """Watts of the board or, where only that is measured, of the processor; `state` names the source."""
        return self._power()[0]

    def cpu_times(self) -> list[int] | None:
        """Jiffies of all cores since boot, see `readings.cpu_times`."""
        return readings.cpu_times(self._text("proc/stat"))

    def memory(self) -> tuple[int, int] | None:
        """Resident memory of this process and its peak so far, bytes."""
        fields = readings.colon_fields(self._text("proc/self/status"))
        sizes = [fields.get(name, "").split() for name in ("VmRSS", "VmHWM")]
        if not all(size and size[0].isdecimal() for size in sizes):
            return None
        return int(sizes[0][0]) * 1024, int(sizes[1][0]) * 1024

    def _soc(self) -> str | None:
        # From the board's own name to the family; the last but not least common one is the SoC.
        names = [name for name in self._text("proc/device-tree/compatible").split("\0") if name.strip()]
        return names[-1] if names else self._text("sys/devices/soc0/soc_id").strip() or None

    def _temperatures(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for folder in self._glob("sys/class/thermal/thermal_zone*"):
            name, value = self._text(f"{folder}/type").strip(), self._number(f"{folder}/temp")
            # A sensor that is off reads -256 degrees or nothing.
            if name and value is not None and -100_000 < value < 200_000:
                found[name] = max(round(value / 1000, 1), found.get(name, -273.0))
        for folder in self._glob("sys/class/hwmon/hwmon*"):
            driver = self._text(f"{folder}/name").strip()
            value = self._number(f"{folder}/temp1_input")
            if driver in ("coretemp", "k10temp", "cpu_thermal") and value is not None:
                found.setdefault(driver, round(value / 1000, 1))
        return found

    def _power(self) -> tuple[float | None, str | None]:
        for folder in self._glob("sys/class/hwmon/hwmon*"):
            for number in range(1, 9):
                label = self._text(f"{folder}/in{number}_label").strip()
                volts, amperes = (self._number(f"{folder}/{kind}{number}_input") for kind in ("in", "curr"))
                if label in _INPUT_RAILS and volts is not None and amperes is not None:
                    return round(volts * amperes / 1e6, 3), f"INA3221 {label}"
        watts = readings.pmic_watts(self.program("vcgencmd", "pmic_read_adc") or "")
        if watts is not None:
            return watts, "the rails of the Raspberry Pi's PMIC"
        return self._rapl()

    def _rapl(self) -> tuple[float | None, str | None]:
        name = "sys/class/powercap/intel-rapl:0/energy_uj"
        energy = self._number(name)  # readable by root alone on most systems
        if energy is None:
            return None, None
        now = time.monotonic()
        before, self._last_energy[name] = self._last_energy.get(name), (now, energy)
        if before is None or now <= before[0] or energy < before[1]:
            return None, "RAPL package 0"
        return round((energy - before[1]) / 1e6 / (now - before[0]), 3), "RAPL package 0"

    def _tegrastats(self) -> dict[str, Any] | None:
        if not self._text("etc/nv_tegra_release"):
            return None
        return readings.tegrastats(self.program("tegrastats", "--interval", "100", first_line=True) or "")

    def _load(self) -> list[float] | None:
        words = self._text("proc/loadavg").split()[:3]
        return [float(word) for word in words] if len(words) == 3 else None

    def _number(self, name: str) -> float | None:
        with contextlib.suppress(ValueError):
            return float(self._text(name))
        return None

    def _text(self, name: str) -> str:
        try:
            return (self.root / name).read_text(errors="replace")
        except OSError:  # absent, forbidden, or a sensor that is off
            return ""

    def _glob(self, pattern: str) -> Iterator[str]:
        for path in sorted(self.root.glob(pattern)):
            yield str(path.relative_to(self.root))
