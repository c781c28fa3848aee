"""Under-voltage and heat: from vcgencmd, the kernel's files, its sensor and its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeface.doctor.board import read_board
from edgeface.doctor.check import Check
from edgeface.doctor.power import power_checks
from edgeface.doctor.system import System
from tests.edgeface.doctor.machines import only, pi, program, write

FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"


def check(name: str, system: System) -> Check:
    return only(power_checks(system, read_board(system)), name)


@pytest.mark.parametrize(
    ("bits", "voltage", "heat"),
    [
        ("0x0", "ok", "ok"),
        ("0x50005", "fault", "ok"),
        ("0x50000", "warning", "ok"),
        ("0x10000", "warning", "ok"),
        ("0x80008", "ok", "warning"),
        ("0x20000", "ok", "warning"),
        ("0x40000", "ok", "warning"),
        ("0x6", "ok", "warning"),
        ("0xf000f", "fault", "warning"),
    ],
)
def test_the_firmwares_bits(tmp_path: Path, bits: str, voltage: str, heat: str) -> None:
    system = pi(tmp_path)
    program(tmp_path, "vcgencmd", f"echo throttled={bits}")
    found = check("under-voltage", system), check("heat", system)
    assert [one.verdict for one in found] == [voltage, heat]
    for one in found:
        assert one.verdict == "ok" or f"(throttled={bits})" in one.evidence
        assert bool(one.mend) == (one.verdict != "ok")


def test_the_kernels_file_counts_where_vcgencmd_is_absent_and_is_not_believed_alone(tmp_path: Path) -> None:
    system = pi(tmp_path)
    write(tmp_path, {FIRMWARE: "50005\n"})
    assert check("under-voltage", system).verdict == "fault"
    write(tmp_path, {FIRMWARE: "0\n"})
    assert check("under-voltage", system).verdict == "ok"
    program(tmp_path, "vcgencmd", "echo throttled=0x50000")
    assert check("under-voltage", system).verdict == "warning"


def test_the_kernels_sensor_and_its_log_count_too(tmp_path: Path) -> None:
    system = pi(tmp_path)
    assert check("under-voltage", system).verdict == "not here"
    write(
        tmp_path,
        {"sys/class/hwmon/hwmon1/name": "rpi_volt\n", "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0\n"},
    )
    assert check("under-voltage", system).verdict == "ok"
    log = "2,900,1,-;hwmon hwmon1: Undervoltage detected!\n6,901,2,-;hwmon hwmon1: Voltage normalised\n"
    write(tmp_path, {"dev/kmsg": log + "2,902,3,-;Under-voltage detected! (0x00050005)\n"})
    found = check("under-voltage", system)
    assert (found.verdict, "2 times in the kernel's log" in found.evidence) == ("warning", True)
    write(tmp_path, {"sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1\n"})
    assert check("under-voltage", system).verdict == "fault"


@pytest.mark.parametrize("script", ["exit 1", "echo VCHI initialization failed"])
def test_a_vcgencmd_that_fails_says_nothing(tmp_path: Path, script: str) -> None:
    system = pi(tmp_path)
    program(tmp_path, "vcgencmd", script)
    assert check("under-voltage", system).verdict == "not here"


def test_other_boards_are_not_asked(tmp_path: Path) -> None:
    system = pi(tmp_path)
    program(tmp_path, "vcgencmd", "echo throttled=0x50005")
    write(tmp_path, {"proc/device-tree/compatible": "radxa,rock-5b\0", "proc/device-tree/model": "Radxa\0"})
    assert check("under-voltage", system).verdict == "not here"
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize(
    ("temp", "verdict"), [("48312", "ok"), ("76000", "warning"), ("86500", "fault"), ("-2000", "not here")]
)
def test_the_warmest_sensor_counts(tmp_path: Path, temp: str, verdict: str) -> None:
    system = pi(tmp_path)
    write(tmp_path, {"sys/class/thermal/thermal_zone0/temp": temp})
    found = check("heat", system)
    assert found.verdict == verdict
    if verdict == "not here":
        program(tmp_path, "vcgencmd", "echo throttled=0x0")
        assert check("heat", system).evidence == "it was not slowed down since the last start"
    else:
        assert found.evidence.startswith(f"{round(int(temp) / 1000)} °C")
