"""The Debian package: what is in it, and what installing, upgrading, removing and purging it does.

Needs the rights of root, mmdebstrap, and a network for what the cache (`EDGEFACE_ARM_CACHE`) lacks.
"""

from __future__ import annotations

import filecmp
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.emulation import system
from firmware.package.deb import QUICK, build
from tests.firmware.packages import CHECKOUT, NAME, Root, built, cache_or_skip

pytestmark = pytest.mark.device

UNITS = CHECKOUT / "firmware/systemd"
PLACES = {
    "edgeface.sysusers": "usr/lib/sysusers.d/edgeface.conf",
    "60-edgeface.rules": "usr/lib/udev/rules.d/60-edgeface.rules",
    "edgeface-network.conf": "usr/share/edgeface-device/edgeface-network.conf",
}
"""Of what is no unit: file of firmware/systemd -> its place in the package."""

_STAYS = "/var/log/"


@pytest.fixture(scope="module")
def cache() -> Path:
    return cache_or_skip()


@pytest.fixture(scope="module")
def package(cache: Path) -> Path:
    return built(cache, "amd64")


@pytest.fixture
def bare(cache: Path, tmp_path: Path) -> Iterator[Root]:
    root = Root.copied(system.installable(cache), tmp_path / "root")
    yield root
    shutil.rmtree(root.folder)


@pytest.fixture
def installed(bare: Root, package: Path) -> Root:
    bare.give(package, "root/new.deb")
    bare.run("dpkg -i /root/new.deb")
    return bare


@pytest.fixture(scope="module")
def older(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as if an earlier version: without libraries, with a unit and a file that are gone now."""
    folder = tmp_path_factory.mktemp("older")
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "-R", str(package), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", "Version: 0.0.1~bookworm", control.read_text(), flags=re.M))
    [packages] = (tree / f"usr/lib/{NAME}/lib").glob("python*/site-packages")
    for library in packages.iterdir():
        if library.name != "edgeface":
            shutil.rmtree(library) if library.is_dir() else library.unlink()
    (packages / "edgeface/gone.py").write_text("GONE = True\n")
    (tree / "usr/lib/systemd/system/edgeface-gone.service").write_text("[Service]\nExecStart=/bin/true\n")
    made = folder / "older.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", str(tree), str(made)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
    return made


def listed(package: Path) -> dict[str, str]:
    """Path in the package -> its rights and owner, as `dpkg-deb -c` lists them."""
    told = subprocess.run(["dpkg-deb", "-c", str(package)], capture_output=True, text=True, check=True).stdout
    lines = [line.split(maxsplit=5) for line in told.splitlines()]
    return {line[5].partition(" -> ")[0].removeprefix("./"): f"{line[0]} {line[1]}" for line in lines}


@pytest.fixture(scope="module")
def files(package: Path) -> dict[str, str]:
    return listed(package)


def test_every_file_of_firmware_systemd_is_in_it(files: dict[str, str]) -> None:
    """A unit was once left out, and nothing said so."""
    for path in UNITS.iterdir():
        place = PLACES.get(path.name, f"usr/lib/systemd/system/{path.name}")
        assert files.get(place) == "-rw-r--r-- root/root", f"{path.name} is not at {place}"


def test_nothing_of_this_machine_is_in_it(files: dict[str, str]) -> None:
    assert {line.split()[1] for line in files.values()} == {"root/root"}
    assert not [name for name in files if re.search(r"__pycache__|\.pyc$|direct_url\.json$|/tests?/", name)]
    top = {name.split("/")[0] for name in files if name}
    assert top == {"etc", "usr"}


def test_lintian_has_nothing_to_say(package: Path) -> None:
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed")
    command = ["lintian", "--fail-on", "error,warning", "--allow-root", str(package)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert not done.stdout, told


def test_the_same_checkout_gives_the_same_bytes(package: Path, tmp_path: Path) -> None:
    again = build(CHECKOUT, "bookworm", "amd64", tmp_path / "again", compression=QUICK)
    if made_of(package) != made_of(again):  # since the first a library or the last commit is another
        package = build(CHECKOUT, "bookworm", "amd64", tmp_path / "first", compression=QUICK)
    assert filecmp.cmp(package, again, shallow=False)


def made_of(package: Path) -> set[str]:
    """The libraries with their versions, and the time of the last commit, which is that of every file."""
    command = ["dpkg-deb", "-c", str(package)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {
        *re.findall(r"[^/\s]+\.dist-info/METADATA", told),
        *re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d", told),
    }


def test_what_was_installed_finds_the_face(installed: Root, astronaut_path: Path) -> None:
    installed.give(astronaut_path, "root/photo.jpg")
    installed.run("edgeface analyze /root/photo.jpg --json /root/result.json --out /root/out")
    answer = json.loads((installed.folder / "root/result.json").read_text().splitlines()[0])
    [face] = answer["faces"]
    assert face["landmarks"]
    assert face["expression"]
    assert {ran["delegate"] for ran in answer["ran"].values()} == {"XNNPACK"}
    # The service's user exists, has the cameras' group, and both units begin with the device.
    assert {"video", "plugdev"} <= set(installed.run("id -nG edgeface").split())
    assert installed.run("systemctl is-enabled edgeface.service edgeface-update.timer").split() == [
        "enabled",
        "enabled",
    ]
    assert not installed.run("edgeface doctor --json >/root/doctor.json || true")
    told = (installed.folder / "root/doctor.json").read_text()
    assert json.loads(told)["schema"].startswith("edgeface.")


def test_upgrade_removal_and_purge(bare: Root, package: Path, older: Path) -> None:
    before = ours(bare)
    assert before == set()
    bare.give(older, "root/older.deb")
    bare.give(package, "root/new.deb")
    bare.run("dpkg -i /root/older.deb")
    settings, state = bare.folder / "etc/edgeface/service.env", bare.folder / "var/lib/edgeface/store/mine"
    settings.write_text('EDGEFACE_OPTIONS="--camera 1"\n')
    state.parent.mkdir(parents=True)
    state.write_text("models")
    bare.run("systemctl disable edgeface-update.timer")

    bare.run("dpkg -i /root/new.deb")
    assert settings.read_text() == 'EDGEFACE_OPTIONS="--camera 1"\n'
    assert state.read_text() == "models"
    assert not [path for path in ours(bare) if "gone" in path]
    assert bare.run("systemctl is-enabled edgeface-update.timer || true").strip() == "disabled"
    assert bare.run("edgeface models status").splitlines()[1].startswith("runs")

    bare.run("dpkg -r edgeface-device")
    assert settings.read_text() == 'EDGEFACE_OPTIONS="--camera 1"\n'
    assert state.read_text() == "models"
    assert not [path for path in ours(bare) if path.startswith(("/usr/bin", "/usr/lib"))]

    bare.run("dpkg -P edgeface-device")
    assert ours(bare) == set()


def ours(root: Root) -> set[str]:
    """Every path with our name in it, but for what dpkg wrote down of the past."""
    found = root.run("find / -xdev -path /root -prune -o -name '*edgeface*' -print").split()
    return {path for path in found if not path.startswith(_STAYS)}
