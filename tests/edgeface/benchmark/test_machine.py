"""What a machine says of itself, from trees of boards, and of this one."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from edgeface.benchmark.machine import Machine, run_program
from tests.edgeface.benchmark import boards
from tests.edgeface.benchmark.test_readings import ORIN, PMIC


def silent(*_words: str, first_line: bool = False) -> None:
    """No program is installed."""


def test_a_raspberry_pi(tmp_path: Path) -> None:
    machine = Machine(boards.pi5(tmp_path), lambda *words, **_: PMIC if "pmic_read_adc" in words else None)
    told = machine.describe()
    assert (told["board"], told["soc"], told["cpu"]) == (
        "Raspberry Pi 5 Model B Rev 1.0",
        "brcm,bcm2712",
        "4 x Cortex-A76",
    )
    assert (told["memory_mib"], told["instructions"]) == (8061, ["asimd", "asimddp"])
    assert told["system"] == "Debian GNU/Linux 12 (bookworm)"
    state = machine.state()
    assert (state["governor"], state["clocks_mhz"]) == ("ondemand", [2400.0] * 4)
    assert (state["temperature_c"], state["load_average"]) == (61.2, [0.52, 0.4, 0.31])
    assert state["throttled"] == {"hex": "0x0", "now": [], "since_boot": []}
    assert state["power_w"] == pytest.approx(1.6036, abs=1e-3)
    assert "PMIC" in state["power_source"]
    assert state["tegrastats"] is None
    assert machine.memory() == (81920 * 1024, 90112 * 1024)


def test_throttling_is_asked_of_vcgencmd_where_no_file_tells(tmp_path: Path) -> None:
    asked = []

    def program(*words: str, first_line: bool = False) -> str | None:
        asked.append(words)
        return "throttled=0x4\n" if words == ("vcgencmd", "get_throttled") else None

    told = Machine(tmp_path, program).throttled()
    assert told is not None
    assert told["now"] == ["throttled"]
    assert asked == [("vcgencmd", "get_throttled")]


def test_a_jetson(tmp_path: Path) -> None:
    def program(*words: str, first_line: bool = False) -> str | None:
        return ORIN + "\n" if words[0] == "tegrastats" and first_line else None

    state = Machine(boards.orin(tmp_path), program).state()
    # The board's own input, not the sum of rails that feed each other; a sensor that is off is left out.
    assert (state["power_w"], state["power_source"]) == (5.766, "INA3221 VDD_IN")
    assert state["temperatures_c"] == {"cpu-thermal": 49.3, "tj-thermal": 51.0}
    assert state["temperature_c"] == 51.0
    assert state["tegrastats"]["gpu_percent"] == 76
    assert Machine(tmp_path, silent).describe()["soc"] == "nvidia,tegra234"


def test_the_power_of_a_pc_is_what_was_spent_between_two_readings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "sys/class/powercap/intel-rapl:0/energy_uj"
    machine = Machine(boards.write(tmp_path, {name: "1000000\n"}), silent)
    now = [10.0]
    monkeypatch.setattr("edgeface.benchmark.machine.time.monotonic", lambda: now[0])
    assert machine.power() is None
    now[0] = 12.0
    boards.write(tmp_path, {name: "31000000\n"})
    assert machine.power() == 15.0
    now[0] = 13.0
    boards.write(tmp_path, {name: "5\n"})  # the counter came around
    assert machine.power() is None


def test_an_empty_root_is_all_unknown(tmp_path: Path) -> None:
    machine = Machine(tmp_path, silent)
    state = machine.state()
    assert {name: value for name, value in state.items() if value not in (None, {})} == {}
    assert (machine.cpu_times(), machine.memory(), machine.throttle_count()) == (None, None, None)
    assert machine.describe()["board"] is None


@pytest.mark.parametrize("text", ["", "nonsense\n", "\x00\xff", "-" * 99])
def test_damaged_files_are_unknown_too(tmp_path: Path, text: str) -> None:
    names = (
        "proc/cpuinfo",
        "proc/stat",
        "proc/meminfo",
        "proc/loadavg",
        "proc/self/status",
        "etc/nv_tegra_release",
        "sys/class/thermal/thermal_zone0/type",
        "sys/class/thermal/thermal_zone0/temp",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
        "sys/class/hwmon/hwmon0/in1_label",
        "sys/devices/platform/soc/soc:firmware/get_throttled",
    )
    machine = Machine(boards.write(tmp_path, dict.fromkeys(names, text)), silent)
    machine.describe()
    state = machine.state()
    assert (state["temperature_c"], state["throttled"], state["tegrastats"]) == (None, None, None)
    assert (machine.memory(), machine.cpu_times()) == (None, None)


def test_this_machine_says_something_and_nothing_that_names_it() -> None:
    machine = Machine()
    told = json.dumps([machine.describe(), machine.state()])
    assert machine.memory() is not None
    assert machine.cpu_times() is not None
    assert os.uname().nodename not in told
    assert str(Path.home()) not in told


def test_programs_that_fail_hang_or_are_absent_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeface.benchmark.machine._PATIENCE", 0.5)
    assert run_program("edgeface-no-such-program") is None
    assert run_program(sys.executable, "-c", "print('x'); raise SystemExit(3)") is None
    assert run_program(sys.executable, "-c", "import time; time.sleep(60)") is None
    assert run_program(sys.executable, "-c", "import time; time.sleep(60)", first_line=True) is None


def test_a_program_that_never_ends_is_ended_after_its_first_line() -> None:
    script = "import time\nwhile True: print('RAM', flush=True); time.sleep(0.05)"
    assert run_program(sys.executable, "-c", script, first_line=True) == "RAM\n"
    assert run_program(sys.executable, "-c", "print('a b')") == "a b\n"
