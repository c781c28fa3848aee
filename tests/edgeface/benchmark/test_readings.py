"""Parsers on text that was captured on boards."""

from __future__ import annotations

import pytest

from edgeface.benchmark import readings

# A Jetson Nano with JetPack 4, a Xavier and an Orin with JetPack 5 and 6.
NANO = (
    "RAM 1534/3964MB (lfb 11x4MB) SWAP 0/1982MB (cached 0MB) IRAM 0/252kB(lfb 252kB) "
    "CPU [12%@1479,off,off,8%@1479] EMC_FREQ 1%@1600 GR3D_FREQ 0%@76 APE 25 PLL@40C CPU@42.5C PMIC@100C "
    "GPU@41.5C AO@47.5C thermal@42C POM_5V_IN 2340/2340 POM_5V_GPU 0/0 POM_5V_CPU 412/412"
)
ORIN = (
    "11-21-2026 10:00:00 RAM 3147/7620MB (lfb 2x4MB) SWAP 0/3810MB (cached 0MB) "
    "CPU [9%@1510,4%@1510,2%@1510,0%@1510,100%@1510,1%@1510] GR3D_FREQ 76%@[1015] cv0@-256C cpu@49.281C "
    "soc2@47.843C tj@49.281C gpu@47.968C VDD_IN 5765mW/5712mW VDD_CPU_GPU_CV 1548mW/1522mW "
    "VDD_SOC 1497mW/1490mW"
)
OLD = "RAM 1210/3995MB (lfb 4x4MB) SWAP 0/0MB (cached 0MB) cpu [0%,0%,off,off]@1224 EMC 9%@408"


def test_tegrastats_of_a_nano() -> None:
    told = readings.tegrastats(NANO)
    assert told is not None
    assert (told["ram_mib"], told["ram_total_mib"], told["gpu_percent"]) == (1534, 3964, 0)
    assert told["cores"] == [{"percent": 12, "mhz": 1479}, None, None, {"percent": 8, "mhz": 1479}]
    assert told["temperatures_c"]["CPU"] == 42.5
    assert told["power_w"] == {"POM_5V_IN": 2.34, "POM_5V_GPU": 0.0, "POM_5V_CPU": 0.412}


def test_tegrastats_of_an_orin() -> None:
    told = readings.tegrastats(ORIN)
    assert told is not None
    assert told["cores"][4] == {"percent": 100, "mhz": 1510}
    assert told["gpu_percent"] == 76
    assert told["temperatures_c"] == {"cpu": 49.281, "soc2": 47.843, "tj": 49.281, "gpu": 47.968}
    assert told["power_w"] == {"VDD_IN": 5.765, "VDD_CPU_GPU_CV": 1.548, "VDD_SOC": 1.497}


def test_tegrastats_that_writes_one_clock_for_all_cores() -> None:
    told = readings.tegrastats(OLD.replace("cpu [", "CPU ["))
    assert told is not None
    assert told["cores"] == [{"percent": 0, "mhz": 1224}, {"percent": 0, "mhz": 1224}, None, None]
    assert (told["gpu_percent"], told["power_w"]) == (None, {})


@pytest.mark.parametrize("text", ["", "sudo: a password is required", "RAM 1/2MB", "CPU [1%@2]"])
def test_what_is_not_tegrastats_is_none(text: str) -> None:
    assert readings.tegrastats(text) is None


def test_throttle_bits_now_and_since_boot() -> None:
    assert readings.throttle_bits("throttled=0x0\n") == {"hex": "0x0", "now": [], "since_boot": []}
    assert readings.throttle_bits("throttled=0x50005\n") == {
        "hex": "0x50005",
        "now": ["under-voltage", "throttled"],
        "since_boot": ["under-voltage", "throttled"],
    }
    # As the driver's file writes it; capped and hot before, fine now.
    told = readings.throttle_bits("a0000\n")
    assert told == {"hex": "0xa0000", "now": [], "since_boot": ["frequency capped", "soft temperature limit"]}


@pytest.mark.parametrize("text", ["", "VCHI initialization failed", "throttled=", "throttled=0xZZ"])
def test_what_is_no_throttle_word_is_none(text: str) -> None:
    assert readings.throttle_bits(text) is None


PMIC = """\
 3V7_WL_SW_A current(0)=0.02342232A
   3V3_SYS_A current(1)=0.15419700A
  VDD_CORE_A current(7)=1.12518000A
    NO_VOLT_A current(9)=0.50000000A
 3V7_WL_SW_V volt(8)=3.71740800V
   3V3_SYS_V volt(9)=3.31745700V
  VDD_CORE_V volt(15)=0.89316150V
     EXT5V_V volt(24)=5.09066000V
     BATT_V volt(25)=nanV
      BAD_V volt(1)=1.2.3V
      BAD_A current(1)=1.0A
"""


def test_power_is_of_the_rails_that_have_both_readings() -> None:
    wanted = 0.02342232 * 3.717408 + 0.154197 * 3.317457 + 1.12518 * 0.8931615
    assert readings.pmic_watts(PMIC) == pytest.approx(wanted, abs=1e-4)
    assert readings.pmic_watts('error=1 error_msg="Command not registered"') is None
    assert readings.pmic_watts("") is None


def test_the_first_line_of_proc_stat() -> None:
    text = "cpu  100 2 30 4000 50 6 7 8 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"
    assert readings.cpu_times(text) == [100, 2, 30, 4000, 50, 6, 7, 8]
    assert readings.cpu_times("") is None
    assert readings.cpu_times("cpu 1 2 3") is None


def test_processors_have_the_names_that_people_know() -> None:
    pi5 = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\n" * 4
    assert readings.core_name(pi5) == "4 x Cortex-A76"
    mixed = "CPU part\t: 0xd03\n" * 2 + "CPU part\t: 0xd08\nCPU part\t: 0xfff\n"
    assert readings.core_name(mixed) == "2 x Cortex-A53 + 1 x Cortex-A72 + 1 x 0xfff"
    assert readings.core_name("model name\t: AMD EPYC 7R13\nflags\t: avx2\n") == "AMD EPYC 7R13"
    assert readings.core_name("") is None
