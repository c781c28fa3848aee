"""What goes onto a Raspberry Pi's card and into its image: parsed, checked, its scripts run on made files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

FIRMWARE = Path(__file__).resolve().parents[2] / "firmware"
PI = FIRMWARE / "provisioning" / "raspberry-pi"
CARD = PI / "card"
READ_ONLY = CARD / "edgeface" / "edgeface-read-only"
OPTION = "overlayroot=tmpfs:recurse=0"
KERNEL = "console=tty1 root=PARTUUID=1234-02 rootfstype=ext4 fsck.repair=yes rootwait"


class Board:
    """A root of files and stand-ins for programs that would change a board, which note their calls."""

    def __init__(self, folder: Path) -> None:
        self.root, self._programs, self._calls = folder / "root", folder / "programs", folder / "calls"
        self._programs.mkdir()
        self._calls.write_text("")
        for place in ("boot/firmware", "etc", "var/lib/edgeface/store"):
            (self.root / place).mkdir(parents=True)
        self.kernel.write_text(KERNEL + "\n")
        self.fstab.write_text("PARTUUID=1234-02 / ext4 defaults,noatime 0 1\n")
        (self.root / "var/lib/edgeface/store/pointer").write_text("slot-a")
        for program in ("apt-get", "blkid", "mount", "umount", "systemctl", "systemd-sysusers", "sync"):
            self.program(program)
        # What `mount` would have put there is in a folder of its own instead.
        self.program("mktemp", f"mkdir -p {folder}/partition && echo {folder}/partition")
        self.program("rmdir")
        self.program("findmnt", "echo ext4")

    @property
    def kernel(self) -> Path:
        """The kernel's command line."""
        return self.root / "boot/firmware/cmdline.txt"

    @property
    def fstab(self) -> Path:
        """What is mounted."""
        return self.root / "etc/fstab"

    @property
    def calls(self) -> list[str]:
        """The programs that were called, with their arguments."""
        return self._calls.read_text().splitlines()

    def program(self, name: str, does: str = "true") -> None:
        """Put a stand-in there."""
        path = self._programs / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>{self._calls}\n{does}\n')
        path.chmod(0o755)

    def run(self, script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a script there."""
        path = f"{self._programs}:{os.environ['PATH']}"
        return subprocess.run(
            ["sh", str(script), *arguments],
            env={"PATH": path, "DESTDIR": str(self.root)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """A Raspberry Pi with models in its store."""
    return Board(tmp_path)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """The folder of the card with a package in it."""
    copy = tmp_path / "card"
    shutil.copytree(CARD / "edgeface", copy)
    (copy / "edgeface-device_1.0~trixie_arm64.deb").write_bytes(b"")
    return copy


def test_every_file_parses() -> None:
    found = [path for path in FIRMWARE.rglob("*") if path.suffix in (".yaml", ".yml")]
    found += [CARD / name for name in ("user-data", "meta-data", "network-config")]
    assert len(found) >= 10
    for path in found:
        assert yaml.safe_load(path.read_text()), path
    scripts = [
        path for path in FIRMWARE.rglob("*") if path.is_file() and path.read_bytes().startswith(b"#!/bin/sh")
    ]
    assert {READ_ONLY, CARD / "edgeface" / "install.sh"} <= set(scripts)
    for script in scripts:
        done = subprocess.run(["sh", "-n", str(script)], capture_output=True, text=True, check=False)
        assert done.stderr == "", script


@pytest.mark.parametrize("name", ["user-data", "network-config"])
def test_cloud_init_takes_it(name: str, program: Callable[[str], list[str]]) -> None:
    cloud_init = program("cloud-init")
    command = [*cloud_init, "schema", "--config-file", str(CARD / name)]
    if name == "network-config":
        told = subprocess.run(
            [*cloud_init, "schema", "--help"], capture_output=True, text=True, timeout=120, check=False
        )
        if "--schema-type" not in told.stdout:
            pytest.skip("this cloud-init has no schema of network-config; 24.1 and later have")
        command += ["--schema-type", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deprecated" not in (done.stdout + done.stderr).lower()


def test_wireless_wants_no_more_than_its_lines() -> None:
    text = (CARD / "network-config").read_text()
    used = yaml.safe_load(re.sub(r"^#( {2,})", r"\1", text, flags=re.MULTILINE))["network"]
    assert set(used) == {"version", "ethernets", "wifis"}
    assert used["wifis"]["wlan0"]["regulatory-domain"]
    assert used["wifis"]["wlan0"]["access-points"]


def test_nobody_gets_in_with_a_password() -> None:
    first = yaml.safe_load((CARD / "user-data").read_text())
    assert (CARD / "user-data").read_text().startswith("#cloud-config\n")
    assert first["ssh_pwauth"] is False
    for user in first["users"]:
        assert user["lock_passwd"] is True
        assert not {"passwd", "plain_text_passwd", "hashed_passwd"} & set(user)
    assert first["runcmd"][-1] == ["sh", "/boot/firmware/edgeface/install.sh"]
    assert (CARD / "edgeface" / "install.sh").exists()


def test_a_card_makes_a_kiosk(board: Board, card: Path) -> None:
    (card / "root.json").write_text("{}")
    for _ in range(2):  # a second time changes nothing
        done = board.run(card / "install.sh")
        assert done.returncode == 0, done.stderr
        files = {str(path.relative_to(board.root)) for path in board.root.rglob("*") if path.is_file()}
        assert files >= {
            "etc/edgeface/service.env",
            "etc/edgeface/root.json",
            "etc/systemd/system/edgeface-kiosk.service",
            "usr/lib/sysusers.d/edgeface-kiosk.conf",
            "usr/local/sbin/edgeface-read-only",
        }
        assert "etc/edgeface/update.json" not in files  # none was on the card
    installed = next(call for call in board.calls if "install" in call)
    assert "edgeface-device_1.0~trixie_arm64.deb" in installed
    for needed in ("cage", "chromium", "curl"):
        assert needed in installed.split()
    assert any(
        "enable edgeface.service edgeface-update.timer edgeface-kiosk.service" in call for call in board.calls
    )


@pytest.mark.parametrize("packages", [0, 2])
def test_a_card_without_its_package_says_so(board: Board, card: Path, packages: int) -> None:
    for path in card.glob("*.deb"):
        path.unlink()
    for number in range(packages):
        (card / f"edgeface-device_{number}~trixie_arm64.deb").write_bytes(b"")
    done = board.run(card / "install.sh")
    assert done.returncode == 1
    assert "python -m firmware.package" in done.stderr
    assert board.calls == []


def test_the_root_becomes_read_only_and_the_store_does_not(board: Board, tmp_path: Path) -> None:
    for _ in range(2):
        done = board.run(READ_ONLY, "on")
        assert done.returncode == 0, done.stderr
        [line] = board.kernel.read_text().splitlines()  # the kernel reads no second one
        assert line.split().count(OPTION) == 1
        assert line.startswith(KERNEL)
        store = [line.split() for line in board.fstab.read_text().splitlines() if "/var/lib/edgeface" in line]
        assert [fields[:3] for fields in store] == [["LABEL=EDGEFACE", "/var/lib/edgeface", "ext4"]]
        assert {"nofail", "nosuid", "nodev"} <= set(store[0][3].split(","))
    # What was installed went along, once.
    assert (tmp_path / "partition/store/pointer").read_text() == "slot-a"
    assert sum(call.startswith("mount LABEL=EDGEFACE") for call in board.calls) == 1
    waits = board.root / "etc/systemd/system/edgeface.service.d/store.conf"
    assert "After=var-lib-edgeface.mount" in waits.read_text()
    updates = board.root / "etc/systemd/system/edgeface-update.service.d/store.conf"
    assert "ConditionPathIsMountPoint=/var/lib/edgeface" in updates.read_text()


def test_and_writable_again(board: Board) -> None:
    assert board.run(READ_ONLY, "on").returncode == 0
    assert board.run(READ_ONLY, "off").returncode == 0
    assert board.kernel.read_text().split() == KERNEL.split()
    # The store stays on its partition.
    assert "/var/lib/edgeface" in board.fstab.read_text()


def test_what_raspi_config_set_is_replaced(board: Board) -> None:
    board.kernel.write_text(f"overlayroot=tmpfs {KERNEL}\n")
    assert board.run(READ_ONLY, "on").returncode == 0
    assert board.kernel.read_text().split() == [*KERNEL.split(), OPTION]


@pytest.mark.parametrize(
    ("program", "does", "said"),
    [
        ("blkid", "false", "no partition is labelled EDGEFACE"),
        ("findmnt", "echo overlay", "read-only already"),
        ("apt-get", "false", ""),
        ("mount", "false", ""),
    ],
)
def test_what_fails_leaves_the_board_as_it_was(board: Board, program: str, does: str, said: str) -> None:
    before = board.fstab.read_text()
    board.program(program, does)
    done = board.run(READ_ONLY, "on")
    assert done.returncode != 0
    assert said in done.stderr
    assert board.kernel.read_text() == KERNEL + "\n"
    assert board.fstab.read_text() == before


def test_the_screen_shows_the_service_and_nothing_else() -> None:
    unit = (CARD / "edgeface" / "edgeface-kiosk.service").read_text()
    settings = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
    assert settings["ExecStart"].startswith("/usr/bin/cage -- /usr/bin/chromium --kiosk ")
    assert settings["Environment"] == "EDGEFACE_PAGE=http://127.0.0.1:8080/"
    # /run/user, where the screen's socket is made, has to stay writable.
    assert "ProtectHome" not in settings
    assert settings["ProtectSystem"] != "strict"
    users = (CARD / "edgeface" / "edgeface-kiosk.sysusers").read_text()
    assert f"u {settings['User']} " in users
    assert settings["RuntimeDirectory"] == settings["User"]


def test_the_image_has_the_layer_and_the_layer_the_card() -> None:
    image = yaml.safe_load((PI / "config" / "edgeface-kiosk.yaml").read_text())
    layer = (PI / "layer" / "edgeface-kiosk.yaml").read_text()
    head = layer.partition("# METAEND")[0]
    [name] = re.findall(r"^# X-Env-Layer-Name: (\S+)$", head, re.MULTILINE)
    assert name in image["layer"]
    assert head.startswith("# METABEGIN")
    hooks = " ".join(yaml.safe_load(layer)["mmdebstrap"]["customize-hooks"])
    for path in re.findall(r"(?<![\w-])card/[\w./-]+", hooks):
        assert (PI / path).exists(), path


def test_the_camera_and_the_screen_are_in_the_boards_own_format() -> None:
    line = re.compile(r"\[\w+\]|(dtoverlay|dtparam|\w+)=[\w,=.-]+|")
    for told in (CARD / "config-edgeface.txt").read_text().splitlines():
        # What is commented out without a space is there to be used.
        used = told if not told.startswith("#") else told[1:] if not told.startswith("# ") else ""
        assert line.fullmatch(used), told
