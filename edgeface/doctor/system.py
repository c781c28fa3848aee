"""The machine as the checks see it: files below a root, an environment, and a few facts of this process.

Every check reads through this, so that a tree of files stands for a board that is not here. Nothing raises:
what cannot be read is empty, and the checks say so.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgeface.cache import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["System", "this_system"]

_COMMAND_SECONDS = 5.0
_MOST_BYTES = 1 << 20  # of one file; everything here is small, but a link may lead anywhere
_MOST_LOG_BYTES = 8 << 20
_KERNEL_LOGS = ("var/log/kern.log", "var/log/dmesg")


def _may_open(node: Path) -> bool:
    return os.access(node, os.R_OK | os.W_OK)


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


@dataclass(frozen=True, slots=True)
class System:
    """One machine.

    Attributes:
        root: Where /sys, /proc, /dev, /etc and /usr are looked for.
        environment: Variables, for this process and the children that it asks.
        machine: As ``uname -m`` says it.
        kernel: As ``uname -r`` says it.
        python: Version of the interpreter.
        bits: Of the interpreter's pointers, 32 or 64.
        libc: Name and version of the C library; empty when it is not glibc.
        page_size: Of the kernel, bytes.
        uid: Of this process.
        user: Name of the person, who may have called sudo; empty if nobody knows.
        groups: Names of the groups that this process is in.
        packages: Installed distributions, normalised name -> version.
        search: Folders in which Python looks for modules.
        cache: EdgeFace's cache folder; None where there is no home to hold one.
        now: Seconds since 1970, as the clock has it.
        may_open: Whether this process may read and write a device file.
        free_bytes: Free space of the file system that holds a folder.
    """

    root: Path
    environment: Mapping[str, str]
    machine: str
    kernel: str
    python: tuple[int, int]
    bits: int
    libc: str
    page_size: int
    uid: int
    user: str
    groups: frozenset[str]
    packages: Mapping[str, str]
    search: tuple[str, ...]
    cache: Path | None
    now: float
    may_open: Callable[[Path], bool] = field(default=_may_open)
    free_bytes: Callable[[Path], int] = field(default=_free_bytes)

    def read(self, path: str) -> str:
        """The text of a file below the root, without white space and zero bytes at its ends; else empty."""
        try:
            with (self.root / path).open("rb") as file:
                return file.read(_MOST_BYTES).decode("utf-8", "replace").strip(" \t\r\n\0")
        except (OSError, ValueError):
            return ""

    def find(self, pattern: str) -> list[Path]:
        """What matches a pattern below the root, sorted."""
        try:
            return sorted(self.root.glob(pattern))
        except OSError:
            return []

    def shown(self, path: Path) -> str:
        """A path below the root, as it is called on the machine."""
        return f"/{path.relative_to(self.root)}"

    def command(self, *words: str) -> str | None:
        """What a program prints; None when it is absent, fails or takes longer than 5 seconds."""
        try:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=dict(self.environment),
                timeout=_COMMAND_SECONDS,
                check=False,
            )
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return None
        return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None

    def kernel_log(self) -> list[str] | None:
        """The kernel's messages since boot; None if this user may not read them."""
        text = _records(self.root / "dev/kmsg")
        for path in _KERNEL_LOGS:
            text = text or self.read(path)
        return text.splitlines() or None

    @property
    def called_by_sudo(self) -> bool:
        """Whether this process is root's, and somebody else's wish."""
        return self.uid == 0 and self.user not in ("", "root")

    def members(self, group: str) -> list[str]:
        """The users that /etc/group lists in a group; not those whose first group it is."""
        for line in self.read("etc/group").splitlines():
            name, _, rest = line.partition(":")
            if name == group:
                return [member for member in rest.rpartition(":")[2].split(",") if member]
        return []

    def version(self, package: str) -> tuple[int, ...] | None:
        """The version of an installed distribution as numbers; None if it is not installed."""
        text = self.packages.get(package)
        return None if text is None else tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def this_system() -> System:
    """The machine that this process runs on."""
    search = tuple(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100  "" means the current folder
    return System(
        root=Path("/"),
        environment=dict(os.environ),
        machine=platform.machine(),
        kernel=platform.release(),
        python=(sys.version_info[0], sys.version_info[1]),
        bits=64 if sys.maxsize > 1 << 32 else 32,
        libc=" ".join(platform.libc_ver()).strip(),
        page_size=os.sysconf("SC_PAGE_SIZE"),
        uid=os.getuid(),
        user=_user(),
        groups=_groups(),
        packages=_packages(search),
        search=search,
        cache=cache_folder(),
        now=time.time(),
    )


def _records(path: Path) -> str:
    """The kernel's ring buffer gives one record per read, and never an end: it must not block."""
    pieces: list[bytes] = []
    left = _MOST_LOG_BYTES
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        while left > 0:
            try:
                piece = os.read(descriptor, 8192)
            except BrokenPipeError:  # older records were overwritten meanwhile; the next read goes on
                continue
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
    except OSError:  # no more records, for now
        pass
    finally:
        os.close(descriptor)
    return b"".join(pieces).decode("utf-8", "replace")


def _packages(search: tuple[str, ...]) -> dict[str, str]:
    from importlib.metadata import distributions

    found: dict[str, str] = {}
    for distribution in distributions(path=list(search)):
        with contextlib.suppress(Exception):  # metadata of other people, possibly half deleted
            name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
            found.setdefault(name, distribution.version)
    return found


def _user() -> str:
    import pwd

    named = os.environ.get("SUDO_USER", "") if os.getuid() == 0 else ""
    try:
        return named or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container that runs under a number
        return ""


def _groups() -> frozenset[str]:
    import grp

    found = set()
    for number in {os.getegid(), *os.getgroups()}:
        with contextlib.suppress(KeyError):
            found.add(grp.getgrgid(number).gr_name)
    return frozenset(found)
