"""How a machine is read: nothing raises, nothing blocks, nothing is endless."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeface.doctor.system import this_system
from tests.edgeface.doctor.machines import pi, program, write


def test_what_cannot_be_read_is_empty(tmp_path: Path) -> None:
    system = pi(tmp_path)
    write(tmp_path, {"etc/folder/file": "x"})
    (tmp_path / "etc/zeros").symlink_to("/dev/zero")
    (tmp_path / "etc/bytes").write_bytes(b"\xff\xfe text\0\n")
    assert system.read("etc/nothing") == system.read("etc/folder") == ""
    assert system.read("etc/zeros") == ""
    assert system.read("etc/bytes") == "\ufffd\ufffd text"
    assert system.find("etc/*/nothing*") == []
    assert system.find(f"etc/{'x' * 300}/*") == []
    assert system.shown(tmp_path / "dev/apex_0") == "/dev/apex_0"


def test_the_kernels_log_comes_from_where_it_may_be_read(tmp_path: Path) -> None:
    system = pi(tmp_path)
    assert system.kernel_log() == ["6,339,5140900,-;NET: Registered PF_INET protocol family"]
    (tmp_path / "dev/kmsg").unlink()
    assert system.kernel_log() is None
    write(tmp_path, {"var/log/dmesg": "usb 2-1: reset\nmore\n"})
    assert system.kernel_log() == ["usb 2-1: reset", "more"]
    (tmp_path / "dev/kmsg").symlink_to(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe")  # nobody writes: reading it must not block
    assert system.kernel_log() == ["usb 2-1: reset", "more"]


def test_programs_are_those_of_the_machines_path(tmp_path: Path) -> None:
    system = pi(tmp_path)
    program(tmp_path, "hello", 'echo "$1 world"')
    program(tmp_path, "fails", "exit 1")
    assert system.command("hello", "small") == "small world\n"
    assert system.command("fails") is None
    assert system.command("absent") is None


def test_groups_are_read_and_sudo_is_seen(tmp_path: Path) -> None:
    system = pi(tmp_path)
    write(tmp_path, {"etc/group": "video:x:44:pi,jane\nplugdev:x:46:\n"})
    assert system.members("video") == ["pi", "jane"]
    assert system.members("plugdev") == system.members("nothing") == []
    assert not system.called_by_sudo
    assert dataclasses.replace(system, uid=0).called_by_sudo
    assert not dataclasses.replace(system, uid=0, user="root").called_by_sudo


def test_this_machine() -> None:
    system = this_system()
    assert system.root == Path("/")
    assert system.python == sys.version_info[:2]
    assert system.may_open(Path("/dev/null"))
    assert not system.may_open(Path("/nowhere"))
    assert system.free_bytes(Path("/")) > 0
    assert system.page_size % 4096 == 0
    log = system.kernel_log()  # endless if it were read until its end
    assert log is None or all(log)


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that runs under a number, and sudo."""
    monkeypatch.setenv("SUDO_USER", "jane")
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert (this_system().user, this_system().uid) == ("", 54321)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert this_system().user == "jane"


def test_the_doctor_loads_neither_numpy_nor_a_runtime() -> None:
    """NumPy may be what is broken."""
    script = (
        "import sys, edgeface.doctor, edgeface.doctor.repairs, edgeface.doctor.support; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"numpy", "cv2", "ai_edge_litert", "onnxruntime", "click", "rich"} & set(done.stdout.split())
