"""The Debian package of this checkout, built once, and roots that it is installed in."""

from __future__ import annotations

import compileall
import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from firmware.emulation import machine, roots, system
from firmware.package.deb import QUICK, build

CHECKOUT = Path(__file__).resolve().parents[2]
NAME = "edgeface-device"
_MADE_OF = ("edgeface", "firmware/package", "firmware/systemd")


@dataclass(frozen=True)
class Root:
    """A Debian of one's own to write to."""

    folder: Path

    @classmethod
    def copied(cls, whole: Path, folder: Path) -> Root:
        subprocess.run(["cp", "-a", "--reflink=auto", str(whole), str(folder)], check=True)
        return cls(folder)

    def run(self, command: str) -> str:
        """What a shell command in it prints; it has no network, and must succeed.

        dpkg is told that no systemd runs: the kernel of this machine is not this root's.
        """
        mounts = "mount -t proc proc {0}/proc && mount --rbind /sys {0}/sys && mount --rbind /dev {0}/dev"
        inside = ["chroot", str(self.folder), "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
        outside = mounts.format(self.folder) + ' && exec "$@"'
        done = subprocess.run(
            ["unshare", "--mount", "--net", "sh", "-c", outside, "sh", *inside, "sh", "-ec", command],
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def give(self, file: Path, place: str) -> None:
        """Copy a file into it."""
        shutil.copyfile(file, self.folder / place)


def cache_or_skip() -> Path:
    """The folder of roots and packages; without the rights to make them the test is skipped."""
    reason = roots.why_not()
    if reason:
        pytest.skip(f"no roots here: {reason}")
    return roots.cache_folder()


def board_or_skip() -> Path:
    """The same folder, where whole boards can be emulated, too."""
    reason = machine.why_no_machine()
    if reason:
        pytest.skip(f"no emulated device here: {reason}")
    return cache_or_skip()


def built(cache: Path, architecture: str) -> Path:
    """The package of this checkout for bookworm, which is built when something it is made of has changed."""
    parts = sorted(
        path
        for folder in _MADE_OF
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    parts += [
        CHECKOUT / name for name in ("LICENSE", "README.md", "pyproject.toml", "firmware/emulation/roots.py")
    ]
    recipe = [
        f"{path.relative_to(CHECKOUT)}: {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in parts
    ]
    entry = roots.kept(
        cache,
        f"package-{architecture}",
        recipe,
        lambda folder: build(CHECKOUT, "bookworm", architecture, folder, compression=QUICK) and None,
    )
    [package] = entry.glob("*.deb")
    return package


def device_tree(cache: Path, folder: Path) -> Path:
    """A Debian arm64 root in ``folder`` with the package unpacked in it: `postinst` did not run.

    With the bytecode of Python's modules, where this Python's is that one's: most of a start there is that.
    """
    subprocess.run(["cp", "-a", "--reflink=auto", str(system.bootable(cache)), str(folder)], check=True)
    subprocess.run(["dpkg-deb", "-x", str(built(cache, "arm64")), str(folder)], check=True)
    if f"{sys.version_info.major}.{sys.version_info.minor}" == roots.PYTHONS["bookworm"]:
        for modules in (site_packages(folder), folder / f"usr/lib/python{roots.PYTHONS['bookworm']}"):
            compileall.compile_dir(modules, quiet=2, stripdir=str(folder), prependdir="/")
    return folder


def site_packages(tree: Path) -> Path:
    """The package's own Python environment in a root."""
    return tree / f"usr/lib/{NAME}/lib/python{roots.PYTHONS['bookworm']}/site-packages"
