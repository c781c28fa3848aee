"""What the doctor may mend: udev rules, a group, the cache folder. It says first what it will do.

Nothing here overwrites a file that it did not write: its own begins with a line that holds the digest of the
rest, so that one that somebody has edited counts as somebody else's.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeface.doctor.udev import RULES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edgeface.doctor.check import Check
    from edgeface.doctor.system import System

__all__ = ["RULES_FILE", "Mended", "Repair", "apply", "plan"]

RULES_FILE = "etc/udev/rules.d/60-edgeface-coral.rules"
"""Where the rules for a Coral are written, below the root."""

_MARK = "# Written by `edgeface doctor --fix`; edit it and it is yours. SHA-256 of the rest: "
_SECONDS = 30.0
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?")  # as useradd allows it; never an option
_GROUPS = {"plugdev-group": "plugdev", "video-group": "video"}


@dataclass(frozen=True, slots=True)
class Repair:
    """One thing that can be mended.

    Attributes:
        name: ``"udev-rules"``, ``"plugdev-group"``, ``"video-group"`` or ``"cache"``, as in `Check.repair`.
        steps: What will be done, a sentence each, before anything is done.
        needs_root: Whether only root may do it.
        commands: Programs that are run, in this order.
        text: Content of the file that is written first; empty if none is.
    """

    name: str
    steps: tuple[str, ...]
    needs_root: bool
    commands: tuple[tuple[str, ...], ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Mended:
    """What became of a `Repair`."""

    name: str
    done: bool
    told: str
    """What is left to do by hand, or why it was not done."""

    def to_dict(self) -> dict[str, str | bool]:
        """Return all of it as JSON values."""
        return {"name": self.name, "done": self.done, "told": self.told}


def plan(checks: Iterable[Check], system: System) -> tuple[Repair, ...]:
    """The repairs that these checks ask for, each once; nothing is done yet."""
    wanted = dict.fromkeys(check.repair for check in checks if check.repair)
    return tuple(_repair(name, system) for name in wanted)


def apply(repair: Repair, system: System) -> Mended:
    """Do it, as far as this user may.

    Nothing is raised: what cannot be done is told. A repair that stops in the middle can be done again.
    """
    if repair.needs_root and system.uid != 0:
        return Mended(repair.name, False, 'needs root; run: sudo "$(command -v edgeface)" doctor --fix')
    try:
        if repair.name == "cache":
            _close_folder(system.cache)
        if repair.text:
            _write(system.root / RULES_FILE, repair.text)
        for command in repair.commands:
            _run(command, system)
    except OSError as error:
        return Mended(repair.name, False, error.strerror or str(error))
    left = "log in again, so that the group takes effect" if repair.name in _GROUPS else ""
    return Mended(repair.name, True, "plug the Coral in again" if repair.text else left)


def _repair(name: str, system: System) -> Repair:
    if name == "udev-rules":
        commands: tuple[tuple[str, ...], ...] = (
            ("udevadm", "control", "--reload-rules"),
            ("udevadm", "trigger", "--subsystem-match=usb", "--subsystem-match=apex"),
        )
        lines = (f"writes /{RULES_FILE}:", *(f"    {line}" for line in RULES.splitlines()))
        return Repair(name, (*lines, *_shown(commands)), True, commands, RULES)
    if name == "cache":
        return Repair(name, (f"makes {system.cache} this user's alone (mode 0700)",), False)
    group = _GROUPS[name]
    commands = (
        ("groupadd", "--force", "--system", group),
        ("usermod", "--append", "--groups", group, system.user),
    )
    return Repair(name, _shown(commands), True, commands)


def _shown(commands: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(f"runs {' '.join(command)}" for command in commands)


def _run(command: tuple[str, ...], system: System) -> None:
    if command[0] == "usermod" and not _USER.fullmatch(command[-1]):
        raise OSError(f"{command[-1]!r} is no name of a user")
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=dict(system.environment),
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise OSError(f"there is no {command[0]} on PATH") from error
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{' '.join(command)} did not end within {_SECONDS:g} s") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip() or f"exit code {done.returncode}"
        raise OSError(f"{' '.join(command)} failed: {said[:200]}")


def _write(path: Path, text: str) -> None:
    """Write our file, whole or not at all; refuse if what is there is not ours as we wrote it."""
    if not path.parent.is_dir():
        raise OSError(f"there is no folder {path.parent}: no udev runs here; write the rules on the host")
    if os.path.lexists(path) and not _is_ours(path):
        raise OSError(f"{path} was not written by EdgeFace, or was edited since; it stays as it is")
    head = f"{_MARK}{hashlib.sha256(text.encode()).hexdigest()}\n"
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)  # of a run that was cut off
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(head + text)
        file.flush()
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _is_ours(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    head, _, rest = path.read_text(encoding="utf-8", errors="replace").partition("\n")
    return head == _MARK + hashlib.sha256(rest.encode()).hexdigest()


def _close_folder(folder: Path | None) -> None:
    if folder is None:
        raise OSError("there is no cache folder")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)
