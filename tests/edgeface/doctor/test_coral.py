"""The checks of a Coral, each branch on a tree of files; its library is asked for real in test_asking.py."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from edgeface.doctor.asking import Outcome, Question
from edgeface.doctor.board import read_board
from edgeface.doctor.check import Check
from edgeface.doctor.coral import PYCORAL, coral_checks, coral_questions, has_coral
from edgeface.doctor.system import System
from edgeface.doctor.udev import RULES
from tests.edgeface.backends.coral_trees import pci, usb
from tests.edgeface.doctor.machines import answered, only, pi, write

DELEGATE = Question("delegate", ("libedgetpu.so.1", ""), 20.0)


def checks(system: System, outcomes: dict[Question, Outcome] | None = None) -> dict[str, Check]:
    return {check.name: check for check in coral_checks(system, read_board(system), outcomes or {})}


def check(name: str, system: System, library: Outcome | None = None, **changes: Any) -> Check:
    changed = dataclasses.replace(system, **changes)
    return checks(changed, {} if library is None else {DELEGATE: library})[name]


def closed(node: Path) -> bool:
    return False


def test_without_a_coral_nothing_is_said_or_asked(tmp_path: Path) -> None:
    system = pi(tmp_path)
    assert {one.verdict for one in checks(system).values()} == {"not here"}
    assert coral_questions(system) == ()
    assert not has_coral(system)


def test_a_usb_coral_that_works_is_in_order(tmp_path: Path) -> None:
    system = pi(tmp_path)
    usb(tmp_path, "18d1:9302")
    write(tmp_path, {"etc/udev/rules.d/60-coral.rules": RULES, "sys/bus/usb/devices/2-1/speed": "5000\n"})
    assert coral_questions(system) == (DELEGATE,)
    found = checks(system, {DELEGATE: answered(runtime="ai-edge-litert 2.3.0")})
    seen = {name: one.verdict for name, one in found.items()}
    absent = {"coral-driver", "coral-pages", "pycoral-namesake"}
    assert {name for name, verdict in seen.items() if verdict == "not here"} == absent
    assert {verdict for name, verdict in seen.items() if name not in absent} == {"ok"}
    assert found["coral-device"].evidence == "usb 2-1 (18d1:9302)"
    assert found["coral-library"].evidence == "libedgetpu.so.1 gives a delegate to ai-edge-litert 2.3.0"


def test_a_library_that_is_named_is_trusted_to_have_a_device(tmp_path: Path) -> None:
    system = pi(tmp_path, environment={"EDGEFACE_LIBEDGETPU": "/opt/mine.so"})
    (asked,) = coral_questions(system)
    assert asked.arguments == ("/opt/mine.so", "")
    found = checks(system, {asked: Outcome("crashed", said="SIGSEGV")})["coral-library"]
    assert found.evidence == "/opt/mine.so crashes the process that loads it (SIGSEGV)"


@pytest.mark.parametrize(
    ("outcome", "wanted"),
    [
        (Outcome("crashed", said="SIGSEGV"), "crashes the process that loads it (SIGSEGV)"),
        (Outcome("hung", said="no answer within 20 s"), "hangs while it looks for a device"),
        (Outcome("failed", said="DeviceError: no runtime"), "was not loaded (DeviceError: no runtime)"),
        (answered(cause="library missing", seen="no file", mend="install it"), "library missing: no file"),
        (answered(cause="wrong ABI pairing", seen="2021", mend="another"), "wrong ABI pairing: 2021"),
    ],
)
def test_a_library_that_gives_no_delegate_says_why(tmp_path: Path, outcome: Outcome, wanted: str) -> None:
    system = pi(tmp_path)
    usb(tmp_path, "18d1:9302")
    found = check("coral-library", system, outcome)
    assert (found.verdict, wanted in found.evidence) == ("fault", True)
    assert found.mend


def test_a_device_that_does_not_come_back_is_named(tmp_path: Path) -> None:
    system = pi(tmp_path)
    usb(tmp_path, "1a6e:089a")
    refused = answered(cause="refused", seen="no TPU answers", mend="another process")
    found = check("coral-device", system, refused)
    assert (found.verdict, "not re-enumerated: the USB device 2-1" in found.evidence) == ("fault", True)
    assert check("coral-device", system, answered(runtime="x")).verdict == "ok"


def test_rules_must_name_both_ids(tmp_path: Path) -> None:
    system = pi(tmp_path)
    usb(tmp_path, "1a6e:089a")
    found = check("coral-rules", system)
    assert (found.verdict, found.repair) == ("fault", "udev-rules")
    assert found.evidence == "no udev rule names 1a6e:089a and 18d1:9302"
    assert check("coral-rules", system, uid=0).verdict == "warning"
    first = 'SUBSYSTEM=="usb", ATTRS{idVendor}=="1a6e", ATTRS{idProduct}=="089a", MODE="0666"\n'
    write(tmp_path, {"etc/udev/rules.d/99-tpu.rules": first})
    found = check("coral-rules", system)
    assert "no udev rule names 18d1:9302; the device changes its id" in found.evidence
    packaged = 'SUBSYSTEM=="usb",ATTRS{idVendor}=="1a6e",GROUP="plugdev"\n'
    packaged += packaged.replace("1a6e", "18d1")
    write(tmp_path, {"lib/udev/rules.d/60-libedgetpu1-std.rules": packaged})
    assert check("coral-rules", system).verdict == "ok"


def test_a_card_needs_a_rule_of_its_own(tmp_path: Path) -> None:
    system = pi(tmp_path)
    pci(tmp_path, driver=True)
    assert check("coral-rules", system).evidence == "no udev rule names apex"
    write(tmp_path, {"etc/udev/rules.d/60-coral.rules": RULES})
    assert check("coral-rules", system).evidence == "rules name apex"


def test_a_closed_device_says_which_step_is_missing(tmp_path: Path) -> None:
    system = pi(tmp_path)
    usb(tmp_path, "18d1:9302")
    found = check("coral-permission", system, may_open=closed)
    assert (found.verdict, found.repair) == ("fault", "plugdev-group")
    assert found.evidence == "this user may not open /dev/bus/usb/002/004 and is not in the group plugdev"
    assert not check("coral-permission", system, may_open=closed, user="").repair
    write(tmp_path, {"etc/group": "plugdev:x:46:jane\n"})
    assert check("coral-permission", system, may_open=closed).mend == "log in again"
    member = frozenset({"jane", "plugdev"})
    found = check("coral-permission", system, may_open=closed, groups=member)
    assert (found.repair, "though it is in the group" in found.evidence) == ("udev-rules", True)
    write(tmp_path, {"etc/udev/rules.d/60-coral.rules": RULES})
    assert not check("coral-permission", system, may_open=closed, groups=member).repair
    assert coral_questions(dataclasses.replace(system, may_open=closed)) == ()
    assert "not loaded" in check("coral-library", system, may_open=closed).evidence


def test_with_sudo_the_person_counts_and_not_root(tmp_path: Path) -> None:
    system = pi(tmp_path, uid=0)
    usb(tmp_path, "18d1:9302")
    found = check("coral-permission", system)
    assert (found.verdict, found.repair) == ("warning", "plugdev-group")
    assert check("coral-permission", system, user="root").verdict == "ok"
    write(tmp_path, {"etc/group": "plugdev:x:46:pi,jane\n"})
    assert check("coral-permission", system).verdict == "ok"


@pytest.mark.parametrize(
    ("files", "kernel", "wanted"),
    [
        ({}, "6.6.51", "gasket-dkms is not installed"),
        (
            {"usr/src/gasket-1.0/dkms.conf": ""},
            "6.12.25+rpt",
            "was not built for Linux 6.12.25+rpt (Google's does not",
        ),
        ({"var/lib/dkms/gasket/1.0/source": ""}, "6.6.51", "gasket-dkms was not built for Linux 6.6.51"),
        ({"lib/modules/6.6.51/updates/dkms/apex.ko.xz": ""}, "6.6.51", "is built and not loaded"),
        ({"usr/lib/modules/6.6.51/extra/apex.ko": ""}, "6.6.51", "is built and not loaded"),
        ({"sys/module/apex/version": ""}, "6.6.51", "although apex is loaded: the kernel's log says why"),
        (
            {
                "sys/module/apex/version": "",
                "dev/kmsg": "3,1,1,-;apex 0000:01:00.0: Couldn't initialize interrupts: -22",
            },
            "6.6.51",
            "the host gives it no MSI-X interrupts",
        ),
    ],
)
def test_a_card_without_its_driver_says_what_is_missing(
    tmp_path: Path, files: dict[str, str], kernel: str, wanted: str
) -> None:
    system = pi(tmp_path)
    pci(tmp_path, driver=False)
    write(tmp_path, files)
    found = check("coral-driver", system, kernel=kernel)
    assert (found.verdict, wanted in found.evidence) == ("fault", True)
    assert found.evidence.startswith("a Coral is at PCI 0000:01:00.0, but there is no /dev/apex_*")
    if kernel == "6.6.51":
        assert "6.12" not in found.evidence


def test_a_card_with_its_driver_is_in_order(tmp_path: Path) -> None:
    system = pi(tmp_path)
    pci(tmp_path, driver=True)
    found = checks(system)
    assert found["coral-driver"].evidence == "gasket and apex have made /dev/apex_0"
    assert found["coral-pages"].verdict == "ok"
    (tmp_path / "dev/apex_0").unlink()  # a container that it was not passed into
    assert check("coral-driver", system).verdict == "fault"


def test_pages_of_16_kib_matter_to_a_card_alone(tmp_path: Path) -> None:
    system = pi(tmp_path, "Raspberry Pi 5 Model B Rev 1.0", page_size=16384)
    assert check("coral-pages", system).verdict == "not here"
    pci(tmp_path, driver=False)
    found = check("coral-pages", system)
    assert (found.verdict, "pages of 16 KiB" in found.evidence) == ("fault", True)
    assert "kernel=kernel8.img" in found.mend
    write(tmp_path, {"proc/device-tree/compatible": "apple,j274\0"})
    assert "kernel8.img" not in check("coral-pages", system).mend


def test_resets_and_usb_2_are_told(tmp_path: Path) -> None:
    system = pi(tmp_path)
    usb(tmp_path, "18d1:9302")
    write(tmp_path, {"sys/bus/usb/devices/2-1/speed": "480\n"})
    assert "480 Mbit/s" in check("coral-link", system).evidence
    write(tmp_path, {"sys/bus/usb/devices/2-1/speed": "5000\n"})
    assert check("coral-link", system).evidence == "2-1 runs at full speed"
    reset = "6,900,1,-;usb 2-1: reset SuperSpeed USB device number 4 using xhci_hcd\n"
    other = "6,901,2,-;usb 1-1: reset high-speed USB device number 2 using dwc_otg\n"
    write(tmp_path, {"dev/kmsg": 2 * reset + 9 * other})
    assert check("coral-link", system).verdict == "ok"
    write(tmp_path, {"dev/kmsg": 2 * reset + "6,902,3,-;usb 2-1: USB disconnect, device number 4\n"})
    found = check("coral-link", system)
    assert (found.verdict, "reset or lost 3 times" in found.evidence) == ("warning", True)
    (tmp_path / "dev/kmsg").unlink()
    assert "may not read the kernel's log" in check("coral-link", system).evidence


def test_whose_pycoral_is_installed(tmp_path: Path) -> None:
    system = pi(tmp_path / "root", search=(str(tmp_path / "site"),))
    write(tmp_path, {"site/pycoral/reef.py": ""})
    found = checks(system)
    assert found["pycoral-namesake"].verdict == "warning"
    assert "pip uninstall pycoral" in found["pycoral-namesake"].mend
    assert coral_questions(system) == ()
    write(tmp_path, {"site/pycoral/utils/edgetpu.py": ""})
    assert coral_questions(system) == (PYCORAL,)
    found = checks(system, {PYCORAL: Outcome("failed", said="ImportError: _pywrap_coral")})
    assert found["pycoral-namesake"].verdict == "ok"
    assert found["pycoral"].verdict == "fault"
    assert "cannot be imported on Python 3.11 (ImportError: _pywrap_coral)" in found["pycoral"].evidence
    assert only(coral_checks(system, read_board(system), {PYCORAL: answered()}), "pycoral").verdict == "ok"
