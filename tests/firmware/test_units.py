"""The units and rules, read by systemd's own tools."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

FIRMWARE = Path(__file__).resolve().parents[2] / "firmware"
OURS = sorted(
    service
    for folder in ("systemd", "provisioning/jetson")
    for service in (FIRMWARE / folder).glob("*.service")
)
"""Of the screen's, a browser is the sandbox."""
UNITS = sorted([*FIRMWARE.rglob("*.service"), *FIRMWARE.rglob("*.timer")])
ADDITIONS = {"edgeface-network.conf": "edgeface.service", "edgeface-gpu.conf": "edgeface.service"}
"""What is put beside a unit -> the unit."""

_SYSTEM = Path("/usr/lib/systemd/system")
_PROGRAM = re.compile(r"^Exec\w+=[-+@:!|]*(/\S+)", re.MULTILINE)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine's root with systemd's units, ours, and a stand-in for every program that they start."""
    if shutil.which("systemd-analyze") is None or not _SYSTEM.is_dir():
        pytest.skip("systemd is not installed")
    shutil.copytree(_SYSTEM, tmp_path / "usr/lib/systemd/system", symlinks=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    for unit in UNITS:
        shutil.copy(unit, units)
        for program in _PROGRAM.findall(unit.read_text()):
            path = tmp_path / program.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("#!/bin/sh\n")
            path.chmod(0o755)
    return tmp_path


def verified(root: Path, *units: str) -> str:
    """What systemd has to say about them; nothing, if all is well: its exit code is 0 for most complaints."""
    return subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"--root={root}", *units],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=root / "etc/systemd/system",
    ).stderr


def test_systemd_has_nothing_to_say_about_the_units(root: Path) -> None:
    assert len(UNITS) >= 6
    assert verified(root, *(unit.name for unit in UNITS)) == ""


@pytest.mark.parametrize("name", sorted(ADDITIONS))
def test_nor_about_what_is_put_beside_one(root: Path, name: str) -> None:
    [addition] = FIRMWARE.rglob(name)
    beside = root / "etc/systemd/system" / f"{ADDITIONS[name]}.d"
    beside.mkdir()
    shutil.copy(addition, beside)
    assert verified(root, ADDITIONS[name]) == ""


def test_it_does_say_something_about_a_broken_one(root: Path) -> None:
    unit = root / "etc/systemd/system/edgeface.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=30", "WatchdogSecs=30"))
    assert "WatchdogSecs" in verified(root, "edgeface.service")
    (root / "usr/bin/edgeface").unlink()
    assert "not executable" in verified(root, "edgeface-rollback.service")


@pytest.mark.parametrize("unit", OURS, ids=lambda path: path.stem)
def test_a_service_is_shut_in(unit: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    done = subprocess.run(
        # Of 100: an exposure of 2.0 at most.
        ["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20", str(unit)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, "\n".join(done.stdout.splitlines()[-1:]) + done.stderr
    assert re.search(rf"exposure level for {unit.name}: [0-2]\.\d", done.stdout)


def test_the_sandbox_leaves_the_runtime_its_view_of_the_processor() -> None:
    # Without it XNNPACK is left out in silence; see edgeface.service.
    text = (FIRMWARE / "systemd" / "edgeface.service").read_text()
    settings = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    assert "ProcSubset" not in settings
    assert not re.search(r"^InaccessiblePaths=.*/sys", text, re.MULTILINE)


def test_the_rules_are_rules() -> None:
    rules = FIRMWARE / "systemd" / "60-edgeface.rules"
    known = re.compile(r'(SUBSYSTEM|ATTR\{\w+\})=="[\w.]+"|(GROUP|MODE)="\w+"|TAG\+="uaccess"')
    lines = [line for line in rules.read_text().splitlines() if line and not line.startswith("#")]
    assert lines
    for line in lines:
        assert all(known.fullmatch(part.strip()) for part in line.split(",")), line
    # Both numbers of a Coral on USB: before its firmware is loaded, and after.
    for vendor, product in (("1a6e", "089a"), ("18d1", "9302")):
        assert any(f'=="{vendor}"' in line and f'=="{product}"' in line for line in lines)


def test_udev_takes_the_rules(program: Callable[[str], list[str]]) -> None:
    udevadm = program("udevadm")
    told = subprocess.run([*udevadm, "--version"], capture_output=True, text=True, check=True).stdout
    if int(told.split()[0]) < 254:
        pytest.skip(f"udev {told.strip()} cannot verify rules; 254 and later can")
    rules = FIRMWARE / "systemd" / "60-edgeface.rules"
    command = [*udevadm, "verify", "--resolve-names=never", str(rules)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
