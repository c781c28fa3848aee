"""A device boots: the arm64 package under the real systemd, on an emulated Pi 4's processor.

The machine switches itself off at the end of `firmware/emulation/scenario.py`; the tests read its journal.
The time is the device's own, which waiting does not cost: the watchdog has the half minute of the unit.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from firmware.emulation import machine, scenario, system
from tests.bundles import opened, seal
from tests.firmware.packages import CHECKOUT, board_or_skip, device_tree, site_packages

pytestmark = pytest.mark.device

CORE = "cortex-a72"
GOOD, HANGING = "8.0.0", "9.0.0"
STUDENTS = CHECKOUT / "edgeface/models/students.bundle"
# Beyond what shows at install: these models answer the health check, and never the service.
HANGS = f"""
import sys, time
if "serve" in sys.orig_argv:
    from edgeface import FaceAnalyzer
    made, looked = FaceAnalyzer.__init__, FaceAnalyzer.analyze
    def make(self, *arguments, bundle=None, **options):
        made(self, *arguments, bundle=bundle, **options)
        self.hangs = getattr(bundle, "version", "") == "{HANGING}"
    def look(self, *arguments, **options):
        while self.hangs:
            time.sleep(3600)
        return looked(self, *arguments, **options)
    FaceAnalyzer.__init__, FaceAnalyzer.analyze = make, look
"""
UNIT = """[Unit]
After=multi-user.target edgeface.service
SuccessAction=poweroff
FailureAction=poweroff
[Service]
Type=oneshot
TimeoutStartSec=1h
ExecStart=/usr/bin/python3 /opt/scenario.py /opt/pictures/0.jpg /opt/good.bundle {} /opt/hanging.bundle
"""
MASKED = ("systemd-hwdb-update.service", "systemd-journal-catalog-update.service", "getty.target")
"""What a first boot spends minutes of an emulator on and this device has no use for."""


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> str:
    cache = board_or_skip()
    folder = tmp_path_factory.mktemp("device")
    tree = device_tree(cache, folder / "tree")
    furnish(tree)
    machine.disk(tree, folder / "disk.ext4")
    shutil.rmtree(tree)
    told = system.start(machine.kernel(cache), folder / "disk.ext4", CORE)
    (folder / "disk.ext4").unlink()
    return told


def furnish(tree: Path) -> None:
    """Two updates, a camera, the scenario, and what `postinst` does: dpkg cannot run in a foreign root."""
    place = tree / "opt"
    pictures = place / "pictures"
    pictures.mkdir(parents=True)
    shutil.copyfile(CHECKOUT / "examples/astronaut.jpg", pictures / "0.jpg")
    # Somebody comes by every fourth frame: between the updates the emulator mostly computes frames.
    for number in (1, 2, 3):
        Image.new("RGB", (320, 240), "grey").save(pictures / f"{number}.jpg")
    shutil.copyfile(str(scenario.__file__), place / "scenario.py")
    for name, version in {"good": GOOD, "hanging": HANGING}.items():
        header, body = opened(STUDENTS.read_bytes())
        (place / f"{name}.bundle").write_bytes(seal({**header, "version": version}, body))
    (tree / "etc/edgeface/service.env").write_text('EDGEFACE_OPTIONS="--camera /opt/pictures"\n')
    packages = site_packages(tree)
    # Not `sitecustomize`: Debian's Python has its own, which comes first.
    (packages / "hangs.py").write_text(HANGS)
    (packages / "hangs.pth").write_text("import hangs\n")
    units = tree / "etc/systemd/system"
    (units / "scenario.service").write_text(UNIT.format(GOOD))
    wanted = units / "graphical.target.wants"
    wanted.mkdir(parents=True, exist_ok=True)
    (wanted / "scenario.service").symlink_to("../scenario.service")
    wanted = units / "multi-user.target.wants"
    wanted.mkdir(parents=True, exist_ok=True)
    (wanted / "edgeface.service").symlink_to("/usr/lib/systemd/system/edgeface.service")
    for name in MASKED:
        (units / name).symlink_to("/dev/null")


def step(journal: str, name: str) -> dict[str, Any]:
    told = [json.loads(line) for line in re.findall(r"scenario: (\{.*\})$", journal, re.MULTILINE)]
    found = [entry for entry in told if entry["step"] == name]
    assert found, f"the device did not come to '{name}':\n{journal[-4000:]}"
    return found[0]


def of_the_service(journal: str, words: str) -> int:
    """How often systemd says it of the service."""
    return len(re.findall(rf"systemd\[1\]: edgeface\.service: {words}", journal))


def test_the_first_boot_answers_with_the_fast_kernels_in_the_sandbox(journal: str) -> None:
    first = step(journal, "first")
    [face] = first["answer"]["faces"]
    assert {"landmarks", "expression"} <= set(face)
    # Without /sys or /proc/cpuinfo in the sandbox LiteRT would quietly take its slow kernels.
    assert {ran["delegate"] for ran in first["answer"]["ran"].values()} == {"XNNPACK"}
    assert set(first["security"].split()) == {"NoNewPrivileges=yes", "ProtectSystem=strict", "User=edgeface"}


def test_a_good_update_is_confirmed_by_frames(journal: str) -> None:
    status = step(journal, "updated")["status"]
    assert (status["runs"]["version"], status["trial"], status["failed"]) == (GOOD, None, [])


def test_a_hanging_update_is_left_after_three_starts(journal: str) -> None:
    assert of_the_service(journal, r"Watchdog timeout") == 3
    assert of_the_service(journal, r"Failed with result 'watchdog'") == 3
    healthy = step(journal, "healthy")
    assert (healthy["status"]["runs"]["version"], healthy["status"]["trial"]) == (GOOD, None)
    [failed] = healthy["status"]["failed"]
    assert failed["version"] == HANGING
    assert "three times" in failed["reason"]
    assert len(healthy["answer"]["faces"]) == 1


def test_the_device_switched_itself_off(journal: str) -> None:
    assert "Reached target poweroff.target" in journal
    assert "Failed with result" not in re.sub(
        r"edgeface\.service: Failed with result 'watchdog'", "", journal
    )
