"""Building the package: a tree of files, laid out as Debian wants it, and `dpkg-deb`."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import tempfile
from datetime import datetime, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING

from firmware.emulation import roots
from firmware.emulation.errors import EmulationError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ARCHITECTURES", "QUICK", "SMALL", "build"]

ARCHITECTURES = {
    "arm64": ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64"),
    "amd64": ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64"),
}
"""Debian's name of an architecture -> the wheels that run on it."""

SMALL = ("-Zxz", "-z1")
"""What goes to devices; level 1 of xz is a tenth larger than 6 and takes a fifth of the time."""

QUICK = ("-Zgzip", "-z1")
"""For a package that is only tried: a third larger, and packed in a tenth of the time."""

_NAME = "edgeface-device"
_HOME = f"usr/lib/{_NAME}"
_EXTRAS = "serve,store,update,mqtt"
_MAINTAINER = "EdgeFace's developers <edgeface@example.org>"
_FILES = Path(__file__).with_name("files")
_UNITS = Path(__file__).parents[1] / "systemd"
_SCRIPTS = ("postinst", "prerm", "postrm")
_RUN = ("usr/bin/edgeface", *(f"DEBIAN/{name}" for name in _SCRIPTS))
# What a device never reads: compilers for phones' accelerators, WebGPU, numpy's own build, type stubs, and
# notes of pip's that name this machine's folders.
_NEEDLESS = (
    "ai_edge_litert/aot",
    "ai_edge_litert/libLiteRtWebGpuAccelerator.so",
    "ai_edge_litert/tools",
    "ai_edge_litert/vendors",
    "numpy/distutils",
    "numpy/f2py",
    "**/tests",
    "**/test",
    "**/test_data",
    "**/include",
    "**/_pyinstaller",
    "**/.gitignore",
    "**/*.pyi",
    "*.dist-info/RECORD",
    "*.dist-info/direct_url.json",
)


def build(
    checkout: Path, release: str, architecture: str, out: Path, *, compression: Sequence[str] = SMALL
) -> Path:
    """Build the package and return its path.

    Args:
        checkout: EdgeFace's.
        release: Of Debian and Raspberry Pi OS; its Python is the environment's.
        architecture: One of `ARCHITECTURES`.
        out: Where the package goes.
        compression: How it is packed, as `dpkg-deb` calls it.

    Raises:
        EmulationError: a wheel cannot be had, or dpkg-deb fails.
    """
    with tempfile.TemporaryDirectory(prefix="edgeface-package-") as scratch:
        wheel = roots.build_wheel(checkout, Path(scratch))
        version = wheel.name.split("-")[1]
        tree = Path(scratch, "tree")
        _environment(tree / _HOME, wheel, release, architecture)
        _fill(tree)
        _document(tree, f"{version}~{release}", _changed(checkout))
        _control(tree, f"{version}~{release}", release, architecture)
        _settle(tree, _changed(checkout))
        out.mkdir(parents=True, exist_ok=True)
        package = out / f"{_NAME}_{version}~{release}_{architecture}.deb"
        command = ["dpkg-deb", "--root-owner-group", *compression, "--build", str(tree), str(package)]
        # Without it the archive around the files says when it was made.
        moment = {"SOURCE_DATE_EPOCH": str(int(_changed(checkout).timestamp()))}
        done = subprocess.run(
            command, env={**os.environ, **moment}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise EmulationError(f"dpkg-deb failed: {done.stderr.strip()}; is dpkg installed?")
        return package


def _environment(home: Path, wheel: Path, release: str, architecture: str) -> None:
    """A virtual environment as `venv` would make it on the device, filled with that device's wheels."""
    python = roots.PYTHONS[release]
    packages = home / f"lib/python{python}/site-packages"
    roots.install(release, packages, [f"{wheel}[{_EXTRAS}]"], ARCHITECTURES[architecture])
    shutil.rmtree(packages / "bin", ignore_errors=True)
    for pattern in _NEEDLESS:
        for path in list(packages.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    (home / "bin").mkdir()
    (home / "bin/python3").symlink_to("../../../bin/python3")  # relative, as Debian has it below /usr
    (home / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {python}\n"
    )


def _fill(tree: Path) -> None:
    for source, target, mode in (
        (_FILES / "edgeface", "usr/bin/edgeface", 0o755),
        (_FILES / "service.env", "etc/edgeface/service.env", 0o644),
        (_FILES / "lintian-overrides", f"usr/share/lintian/overrides/{_NAME}", 0o644),
        (_UNITS / "edgeface.sysusers", "usr/lib/sysusers.d/edgeface.conf", 0o644),
        (_UNITS / "60-edgeface.rules", "usr/lib/udev/rules.d/60-edgeface.rules", 0o644),
        (_UNITS / "edgeface-network.conf", f"usr/share/{_NAME}/edgeface-network.conf", 0o644),
        *(
            (unit, f"usr/lib/systemd/system/{unit.name}", 0o644)
            for pattern in ("*.service", "*.timer")
            for unit in sorted(_UNITS.glob(pattern))
        ),
    ):
        path = tree / target
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
        path.chmod(mode)


def _document(tree: Path, version: str, changed: datetime) -> None:
    told = f"{_NAME} ({version}) stable; urgency=medium\n\n  * See CHANGELOG.md of EdgeFace.\n\n"
    told += f" -- {_MAINTAINER}  {format_datetime(changed)}\n"
    docs = tree / f"usr/share/doc/{_NAME}"
    docs.mkdir(parents=True)
    shutil.copyfile(_FILES / "copyright", docs / "copyright")
    _packed(docs / "changelog.gz", told.encode())
    manual = tree / "usr/share/man/man1"
    manual.mkdir(parents=True)
    _packed(manual / "edgeface.1.gz", (_FILES / "edgeface.1").read_bytes())


def _control(tree: Path, version: str, release: str, architecture: str) -> None:
    major, minor = roots.PYTHONS[release].split(".")
    folder = tree / "DEBIAN"
    folder.mkdir()
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    (folder / "control").write_text(
        f"Package: {_NAME}\n"
        f"Version: {version}\n"
        f"Architecture: {architecture}\n"
        f"Maintainer: {_MAINTAINER}\n"
        f"Installed-Size: {size // 1024}\n"
        f"Depends: python3 (>= {major}.{minor}), python3 (<< {major}.{int(minor) + 1}), libc6, libgcc-s1, "
        "libstdc++6, libgomp1, init-system-helpers (>= 1.52), systemd\n"
        "Recommends: udev\n"
        "Section: video\n"
        "Priority: optional\n"
        "Homepage: https://www.debian.org/\n"
        "Description: faces with landmarks, a parsing map and an expression, as a service\n"
        " EdgeFace turns camera frames into faces with 68 landmarks, a parsing map\n"
        " and an expression, on small machines and without a network. This package\n"
        " has it in a Python environment of its own, with a sandboxed service, models\n"
        " that are updated in two slots and left again when they do not work, and\n"
        " rules for accelerators.\n"
        " It does not recognise who somebody is.\n"
    )
    (folder / "conffiles").write_text("/etc/edgeface/service.env\n")
    for name in _SCRIPTS:
        shutil.copyfile(_FILES / name, folder / name)
        (folder / name).chmod(0o755)


def _settle(tree: Path, changed: datetime) -> None:
    """Plain rights, and the time of the last change for all: the same checkout gives the same package."""
    moment = changed.timestamp()
    for path in sorted(tree.rglob("*")):
        if path.is_symlink():
            os.utime(path, (moment, moment), follow_symlinks=False)
            continue
        runs = path.is_dir() or path.relative_to(tree).as_posix() in _RUN
        path.chmod(0o755 if runs else 0o644)
        os.utime(path, (moment, moment))


def _packed(path: Path, data: bytes) -> None:
    path.write_bytes(gzip.compress(data, 9, mtime=0))


def _changed(checkout: Path) -> datetime:
    """The time of the last commit; an archive of it has no history, but its files bear that time."""
    told = ["git", "-c", f"safe.directory={checkout}", "-C", str(checkout), "log", "-1", "--format=%ct"]
    done = subprocess.run(told, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        seconds = int(done.stdout)
    else:
        found = (checkout / "pyproject.toml").stat().st_mtime
        seconds = int(os.environ.get("SOURCE_DATE_EPOCH", found))
    return datetime.fromtimestamp(seconds, timezone.utc)
