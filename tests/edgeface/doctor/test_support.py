"""The support bundle names nobody: whatever is planted in the machine is not in the file."""

from __future__ import annotations

import json
import resource
import zipfile
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.doctor.board import read_board
from edgeface.doctor.check import Check, Report
from edgeface.doctor.machine import machine_checks
from edgeface.doctor.redaction import Redaction, _word, redaction, secret_name
from edgeface.doctor.support import contents, write_support
from edgeface.doctor.system import System
from edgeface.errors import ArgumentError
from tests.edgeface.backends.coral_trees import usb
from tests.edgeface.doctor.machines import pi, write
from tests.edgeface.doctor.test_check import SCHEMA

# What is planted -> where; none of it may come out, in any case.
SECRETS = (
    "kiosk-lobby-7",
    "lobby.example.org",
    "jane",
    "Jane Q. Doe",
    "Room 7",
    "10000000a1b2c3d4",
    "d8:3a:dd:12:34:56",
    "192.168.17.23",
    "fe80::da3a:ddff:fe12:3456",
    "2001:db8:0:1:2:3:4:5",
    "0f5e8a7c3b1d4e6f9a2b5c8d7e0f1a2b",
    "3b241101-e2bb-4255-8caf-4136c566a962",
    "SER-9911-XY",
    "hunter2",
    "tok_4711",
    "someone@example.org",
)
LOG = """6,1,1,-;mmc0: new card, jane's, at address aaaa
6,2,2,-;usb 2-1: reset SuperSpeed USB device, SerialNumber: SER-9911-XY
6,3,3,-;apex 0000:01:00.0: host kiosk-lobby-7 at 192.168.17.23, fe80::da3a:ddff:fe12:3456
6,3,3,-;apex 0000:01:00.0: and 2001:db8:0:1:2:3:4:5
6,4,4,-;uvcvideo: 3b241101-e2bb-4255-8caf-4136c566a962 d8:3a:dd:12:34:56 mail someone@example.org
6,5,5,-;audit: this line tells of jane's login and is about nothing here
"""


@pytest.fixture
def system(tmp_path: Path) -> System:
    root = tmp_path / "root"
    found = pi(
        root,
        environment={
            "PATH": "/usr/bin",
            "USER": "jane",
            "HOSTNAME": "kiosk-lobby-7.lobby.example.org",
            "EDGEFACE_CACHE": "/home/jane/cache",
            "EDGEFACE_TOKEN": "tok_4711",
            "EDGEFACE_URL": "http://jane:hunter2@192.168.17.23/x?token=tok_4711",
            "DATABASE": "hunter2",
        },
        cache=Path("/home/jane/.cache/edgeface"),
    )
    usb(root, "18d1:9302")
    write(
        root,
        {
            "etc/hostname": "kiosk-lobby-7.lobby.example.org\n",
            "etc/machine-id": "0f5e8a7c3b1d4e6f9a2b5c8d7e0f1a2b\n",
            "proc/device-tree/serial-number": "10000000a1b2c3d4\0",
            "sys/bus/usb/devices/2-1/serial": "SER-9911-XY\n",
            "sys/bus/usb/devices/2-1/manufacturer": "Jane Q. Doe\n",
            "sys/bus/pci/devices/0000:01:00.0/vendor": "0x1ac1\n",
            "sys/bus/pci/devices/0000:01:00.0/device": "0x089a\n",
            "dev/kmsg": LOG,
            "boot/firmware/config.txt": "dtparam=pciex1\n# set up by jane, password=hunter2\n",
        },
    )
    return found


def examined(system: System) -> Report:
    extra = Check(
        "models",
        "models",
        "fault",
        "/home/jane/b.bundle on kiosk-lobby-7 (Jane Q. Doe)",
        "chown jane",
        "page",
    )
    opencv = Check("opencv", "runtimes", "ok", "opencv-python-headless 5.0.0.93 works", source="page")
    return Report("0.2.0", read_board(system), (*machine_checks(system), extra, opencv), 1.0)


def test_nothing_that_is_planted_comes_out(system: System, tmp_path: Path) -> None:
    path = tmp_path / "support.zip"
    write_support(path, system, examined(system))
    with zipfile.ZipFile(path) as bundle:
        assert bundle.testzip() is None
        texts = {info.filename: bundle.read(info).decode() for info in bundle.infolist()}
        assert {info.date_time[0] for info in bundle.infolist()} == {1980}
    for name, text in texts.items():
        for secret in SECRETS:
            assert secret.lower() not in text.lower(), f"{secret} in {name}"
    assert path.stat().st_mode & 0o777 == 0o600
    assert not any(secret.encode() in path.read_bytes() for secret in SECRETS)


def test_what_helps_is_in_it(system: System) -> None:
    held = contents(system, examined(system))
    assert set(held) >= {"README.txt", "report.json", "packages.txt", "usb.txt", "pci.txt", "kernel-log.txt"}
    report = json.loads(held["report.json"])
    jsonschema.validate(report, SCHEMA)
    assert report["board"]["name"] == "Raspberry Pi 4 Model B Rev 1.4"
    evidence = {check["name"]: check["evidence"] for check in report["checks"]}
    assert evidence["models"] == "/home/[user]/b.bundle on [host] ([user])"
    assert evidence["opencv"] == "opencv-python-headless 5.0.0.93 works"  # a version, no address
    assert "opencv-python-headless==5.0.0.93" in held["packages.txt"]
    assert "2-1 18d1:9302" in held["usb.txt"]
    assert held["pci.txt"] == "0000:01:00.0 1ac1:089a\n"
    assert "CPU part\t: 0xd08" in held["proc_cpuinfo.txt"]
    assert "dtparam=pciex1" in held["boot_firmware_config.txt.txt"]
    assert "EDGEFACE_TOKEN=[secret]" in held["environment.txt"]
    assert "PATH" not in held["environment.txt"]
    assert "apex 0000:01:00.0: host [host] at [address]" in held["kernel-log.txt"]
    assert "audit" not in held["kernel-log.txt"]


def test_a_log_that_may_not_be_read_is_told(system: System) -> None:
    (system.root / "dev/kmsg").unlink()
    assert contents(system, examined(system))["kernel-log.txt"] == "(this user may not read it)\n"


def test_no_file_is_overwritten_and_none_is_left_half(system: System, tmp_path: Path) -> None:
    path = tmp_path / "support.zip"
    path.write_text("mine")
    with pytest.raises(ArgumentError, match="exists; name a new file"):
        write_support(path, system, examined(system))
    assert path.read_text() == "mine"
    with pytest.raises(OSError, match="No such file"):
        write_support(tmp_path / "no/folder.zip", system, examined(system))


def test_a_disk_that_is_full_leaves_nothing(system: System, tmp_path: Path) -> None:
    """A limit of the kernel stands for the disk: writing beyond it fails in the same place."""
    path = tmp_path / "support.zip"
    report = examined(system)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_support(path, system, report)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not path.exists()


def test_words_are_hidden_and_their_neighbours_stay(tmp_path: Path) -> None:
    system = pi(tmp_path, user="pi", environment={"USER": "pi"})
    write(tmp_path, {"etc/hostname": "raspberrypi\n"})
    hide = redaction(system).text
    assert hide("pi@raspberrypi: a pipe, pi's") == "[mail]: a pipe, [user]'s"
    assert hide("Raspberry Pi 4") == "Raspberry [user] 4"  # rather too much
    assert hide("raspberrypi.local") == "[host].local"
    assert hide("12:34:56 at 0000:01:00.0, 1.2.3, throttled=0x50005") == (
        "12:34:56 at 0000:01:00.0, 1.2.3, throttled=0x50005"
    )
    assert hide("password: hunter2") == "password: [secret]"


def test_keys_are_ours_and_stay_when_somebody_is_called_like_one(tmp_path: Path) -> None:
    system = pi(tmp_path, user="name", environment={})
    assert redaction(system).values({"name": ["the name", 3, None]}) == {"name": ["the [user]", 3, None]}


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("EDGEFACE_TOKEN", True),
        ("ORT_SECRET", True),
        ("API_KEY", True),
        ("EDGEFACE_CACHE", False),
        ("KEYBOARD", False),
    ],
)
def test_secrets_are_known_by_their_names(name: str, secret: bool) -> None:
    assert secret_name(name) == secret


@given(
    user=st.from_regex(r"[a-z_][a-z0-9_.-]{0,11}", fullmatch=True),
    before=st.sampled_from([" ", "/", "=", "'", "(", "@"]),
    after=st.sampled_from([" ", "/", ":", "'", ")", ",", ""]),
)
def test_no_name_of_a_user_comes_through(user: str, before: str, after: str) -> None:
    hide = Redaction(((_word(user), "[user]"),), frozenset()).text
    assert f"{before}{user}{after}" not in hide(f"0{before}{user}{after} 0")
