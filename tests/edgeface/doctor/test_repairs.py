"""What is mended: said before, done with real files and programs, refused where it is somebody else's."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from edgeface.doctor.check import Check
from edgeface.doctor.repairs import RULES_FILE, Mended, apply, plan
from edgeface.doctor.system import System
from edgeface.doctor.udev import RULES, missing_ids, names_apex
from tests.edgeface.doctor.machines import called, pi, program


def asking(*repairs: str) -> list[Check]:
    return [Check("check", "coral", "fault", "seen", "mend", "page", repair) for repair in repairs]


@pytest.fixture
def system(tmp_path: Path) -> System:
    """As root, called by jane with sudo, with the programs that a repair runs."""
    found = pi(tmp_path, uid=0, environment={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"})
    for name in ("udevadm", "usermod", "groupadd"):
        program(tmp_path, name, "")
    (tmp_path / "etc/udev/rules.d").mkdir(parents=True)
    return found


def mend(system: System, name: str) -> Mended:
    (repair,) = plan(asking(name), system)
    return apply(repair, system)


def test_each_repair_is_planned_once_and_says_what_it_does(system: System) -> None:
    rules, group, camera = plan(
        asking("udev-rules", "", "plugdev-group", "udev-rules", "video-group"), system
    )
    assert rules.steps[0] == "writes /etc/udev/rules.d/60-edgeface-coral.rules:"
    assert [step.strip() for step in rules.steps[1:4]] == RULES.splitlines()
    assert rules.steps[-2:] == (
        "runs udevadm control --reload-rules",
        "runs udevadm trigger --subsystem-match=usb --subsystem-match=apex",
    )
    assert group.steps[-1] == "runs usermod --append --groups plugdev jane"
    assert camera.steps[-1] == "runs usermod --append --groups video jane"
    assert rules.needs_root
    assert called(system.root) == []


def test_the_rules_are_written_and_read_back(system: System) -> None:
    assert mend(system, "udev-rules") == Mended("udev-rules", True, "plug the Coral in again")
    assert (missing_ids(system), names_apex(system)) == ((), True)
    assert called(system.root) == [
        "udevadm control --reload-rules",
        "udevadm trigger --subsystem-match=usb --subsystem-match=apex",
    ]
    path = system.root / RULES_FILE
    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    before = path.read_bytes()
    assert mend(system, "udev-rules").done  # its own file it may write again
    assert path.read_bytes() == before


def test_a_file_of_somebody_else_stays(system: System, tmp_path: Path) -> None:
    path = system.root / RULES_FILE
    mend(system, "udev-rules")
    edited = path.read_text() + "# mine\n"
    for text in ('SUBSYSTEM=="usb"\n', edited, edited.partition("\n")[0] + "\n", ""):
        path.write_text(text)
        refused = mend(system, "udev-rules")
        assert (refused.done, "was not written by EdgeFace, or was edited" in refused.told) == (False, True)
        assert path.read_text() == text
    target = tmp_path / "target"
    target.write_text("theirs")
    path.unlink()
    path.symlink_to(target)
    assert not mend(system, "udev-rules").done
    assert target.read_text() == "theirs"
    path.unlink()
    path.symlink_to(tmp_path / "dangling")
    assert not mend(system, "udev-rules").done
    assert not (tmp_path / "dangling").exists()


def test_what_a_run_that_was_cut_off_left_is_no_obstacle(system: System) -> None:
    left = (system.root / RULES_FILE).with_name(".60-edgeface-coral.rules.new")
    left.write_text("half")
    assert mend(system, "udev-rules").done
    assert not left.exists()


def test_without_udev_nothing_is_written(system: System) -> None:
    (system.root / "etc/udev/rules.d").rmdir()
    refused = mend(system, "udev-rules")
    assert "write the rules on the host" in refused.told
    assert not (system.root / "etc/udev/rules.d").exists()


@pytest.mark.parametrize("name", ["udev-rules", "plugdev-group", "video-group"])
def test_who_is_not_root_is_told_so_and_nothing_happens(system: System, name: str) -> None:
    refused = mend(dataclasses.replace(system, uid=1000), name)
    assert (refused.done, refused.told.startswith("needs root; run: sudo ")) == (False, True)
    assert called(system.root) == []
    assert not (system.root / RULES_FILE).exists()


def test_the_group_is_made_and_the_person_joins_it(system: System) -> None:
    assert mend(system, "plugdev-group") == Mended(
        "plugdev-group", True, "log in again, so that the group takes effect"
    )
    assert called(system.root) == [
        "groupadd --force --system plugdev",
        "usermod --append --groups plugdev jane",
    ]


@pytest.mark.parametrize("user", ["-aG", "jane doe", "", "jane\n"])
def test_a_user_that_is_no_name_is_not_passed_on(system: System, user: str) -> None:
    refused = mend(dataclasses.replace(system, user=user), "video-group")
    assert (refused.done, "is no name of a user" in refused.told) == (False, True)
    assert not any(line.startswith("usermod") for line in called(system.root))


def test_programs_that_fail_or_are_absent_are_told(system: System) -> None:
    program(system.root, "usermod", "echo usermod: user jane does not exist >&2; exit 6")
    refused = mend(system, "video-group")
    assert (refused.done, refused.told.endswith("failed: usermod: user jane does not exist")) == (False, True)
    program(system.root, "usermod", "exit 6")
    assert mend(system, "video-group").told.endswith("failed: exit code 6")
    empty = dataclasses.replace(system, environment={"PATH": str(system.root / "empty")})
    assert mend(empty, "udev-rules").told == "there is no udevadm on PATH"


def test_a_program_that_does_not_end_is_left(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeface.doctor.repairs._SECONDS", 0.3)
    program(system.root, "usermod", "exec sleep 20")
    assert mend(system, "video-group").told == "usermod --append --groups video jane did not end within 0.3 s"


def test_the_cache_folder_is_closed_and_a_link_is_not_followed(system: System, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    mine = dataclasses.replace(system, uid=os.getuid(), cache=folder)
    (repair,) = plan(asking("cache"), mine)
    assert not repair.needs_root
    assert repair.steps == (f"makes {folder} this user's alone (mode 0700)",)
    assert apply(repair, mine) == Mended("cache", True, "")
    assert folder.stat().st_mode & 0o777 == 0o700
    other = tmp_path / "other"
    other.mkdir(mode=0o755)
    link = tmp_path / "link"
    link.symlink_to(other)
    assert not mend(dataclasses.replace(mine, cache=link), "cache").done
    assert other.stat().st_mode & 0o777 == 0o755
    assert mend(dataclasses.replace(mine, cache=None), "cache").told == "there is no cache folder"


def test_a_full_disk_leaves_the_old_rules(system: System) -> None:
    mend(system, "udev-rules")
    before = (system.root / RULES_FILE).read_bytes()
    folder = (system.root / RULES_FILE).parent
    (folder / ".60-edgeface-coral.rules.new").mkdir()  # the temporary file cannot be made
    refused = mend(system, "udev-rules")
    assert not refused.done
    assert refused.told
    assert (system.root / RULES_FILE).read_bytes() == before


def test_values_are_plain() -> None:
    assert Mended("cache", True, "").to_dict() == {"name": "cache", "done": True, "told": ""}
