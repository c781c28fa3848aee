"""Debian arm64 roots, the emulator and aarch64 wheels, each built once and kept by what it is made of.

Nothing of the other architecture runs while a root is built: `mmdebstrap --variant=extract` unpacks packages
and runs no maintainer script.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from contextlib import contextmanager
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING

from firmware.emulation.errors import EmulationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "CORES",
    "PYTHONS",
    "build_wheel",
    "cache_folder",
    "debootstrap",
    "emulator",
    "install",
    "kept",
    "root",
    "root32",
    "site",
    "wheels",
    "why_not",
]

PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
"""Debian release (and that of Raspberry Pi OS) -> its Python."""

CORES = ("cortex-a53", "cortex-a72", "cortex-a76", "max")
"""Pi 3 and Zero 2 W; Pi 4; Pi 5, with the dot product; everything QEMU knows, i8mm included."""

# What the README's commands need of Raspberry Pi OS: Python, a shell, and the libraries of the wheels.
_PACKAGES = ("python3", "python3-venv", "libstdc++6", "libgomp1", "dash", "coreutils")
# Bookworm's own emulator, 7.2, crashes LiteRT and onnxruntime as soon as /sys is mounted.
_EMULATOR_FROM = "trixie"
_EMULATORS = {"arm64": "qemu-aarch64", "armhf": "qemu-arm"}
# 32-bit ARM has no wheel of LiteRT, numpy 2 or OpenCV: Debian's packages, and the last TFLite that has one.
_PACKAGES_32 = (*_PACKAGES, "python3-click", "python3-numpy", "python3-opencv", "python3-rich")
_TFLITE_32 = "tflite-runtime==2.14.0"
_PLATFORMS_32 = ("manylinux_2_34_armv7l",)
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
_PATIENCE = 1800  # seconds for one download or unpacking; a minute is usual


def why_not() -> str:
    """Why this machine cannot build and run roots; empty when it can, a network provided."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "the emulator comes for x86-64 Linux alone"
    if os.geteuid() != 0:
        return "mounting needs root; run it as root, in a container if you like"
    for program, package in {"mmdebstrap": "mmdebstrap", "unshare": "util-linux"}.items():
        if shutil.which(program) is None:
            return f"{program} is missing; run: apt-get install {package}"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        return "this container may not mount; give it CAP_SYS_ADMIN"
    return ""


def cache_folder() -> Path:
    """The folder that `EDGEFACE_ARM_CACHE` names, else one in the temp folder; nobody else may write to it.

    Raises:
        EmulationError: it belongs to somebody else, or others can write to it.
    """
    folder = Path(os.environ.get("EDGEFACE_ARM_CACHE") or Path(tempfile.gettempdir()) / "edgeface-arm")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise EmulationError(f"cache {folder}: others can write to it; name another with EDGEFACE_ARM_CACHE")
    return folder.resolve()


def kept(cache: Path, name: str, recipe: Sequence[str], make: Callable[[Path], None]) -> Path:
    """The cache's entry for ``recipe``; ``make`` fills a folder that does not exist yet, if there is none.

    An interrupted `make` leaves no entry: the folder gets its name last. One process at a time makes entries;
    a `make` that asks for another one would wait for itself.
    """
    digest = hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:12]
    entry = cache / f"{name}-{digest}"
    if not entry.is_dir():
        with _alone(cache), tempfile.TemporaryDirectory(dir=cache, prefix=".making-") as scratch:
            if not entry.is_dir():  # another process may have been quicker
                made = Path(scratch) / name
                make(made)
                try:
                    made.rename(entry)
                except OSError as error:
                    told = f"cache {cache}: {entry.name} could not be put there ({error.strerror})"
                    raise EmulationError(f"{told}; is the disk full?") from error
    return entry


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def emulator(cache: Path, architecture: str = "arm64") -> Path:
    """A static emulator of the architecture; it also works inside a root that has no x86 library."""

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=cache, prefix=".making-") as scratch:
            whole = Path(scratch) / "root"
            debootstrap(_EMULATOR_FROM, whole, ("qemu-user",))
            folder.mkdir()
            for name in _EMULATORS.values():
                shutil.copy2(whole / "usr/bin" / name, folder)

    entry = kept(cache, "emulator", (_EMULATOR_FROM, "qemu-user", *_EMULATORS.values()), make)
    return entry / _EMULATORS[architecture]


def root(cache: Path, release: str) -> Path:
    """A Debian arm64 root of ``release`` with Python; it is never written to again."""

    def make(folder: Path) -> None:
        debootstrap(release, folder, _PACKAGES, "arm64")
        _complete(folder)

    return kept(cache, release, (release, *_PACKAGES, "links 1", "certificates"), make)


def root32(cache: Path) -> Path:
    """A bookworm armhf root with all that EdgeFace needs there; the runtime lies in `opt/site`."""

    def make(folder: Path) -> None:
        debootstrap("bookworm", folder, _PACKAGES_32, "armhf")
        _complete(folder)
        install("bookworm", folder / "opt/site", ["--no-deps", _TFLITE_32], _PLATFORMS_32)

    return kept(cache, "bookworm32", (*_PACKAGES_32, _TFLITE_32, "links 1"), make)


def _complete(root: Path) -> None:
    """Make what Debian's scripts would have made: they are not run."""
    for name in ("bin", "sbin", "lib"):  # since trixie the packages ship under /usr alone
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    for name in ("proc", "sys", "dev", "tmp", "root", "opt"):
        (root / name).mkdir(exist_ok=True)
    # Trixie's pip will not start without it, not even to install from a folder.
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    found = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    bundle.write_text("".join(certificate.read_text() for certificate in found))


def debootstrap(
    release: str,
    folder: Path,
    packages: Sequence[str],
    architecture: str = "amd64",
    *,
    configured: bool = False,
) -> None:
    """Unpack Debian packages with all they depend on into ``folder``.

    Args:
        release: of Debian.
        folder: does not exist yet.
        packages: their names.
        architecture: as Debian calls it.
        configured: also run their scripts, which only this machine's own architecture can, so that `dpkg`
            works inside.

    Raises:
        EmulationError: a package or the network is missing.
    """
    variant = "minbase" if configured else "extract"
    include = "--include=" + ",".join(packages)
    _run(["mmdebstrap", f"--variant={variant}", f"--arch={architecture}", include, release, str(folder)])


def build_wheel(checkout: Path, folder: Path) -> Path:
    """The wheel of the checkout, as `pip` builds it."""
    _run([*_pip("wheel"), "--no-deps", "--wheel-dir", str(folder), str(checkout)])
    (wheel,) = folder.glob("edgeface-*.whl")
    return wheel


def wheels(cache: Path, wheel: Path, release: str, exactly: dict[str, str]) -> Path:
    """A folder of aarch64 wheels: all that ``wheel`` needs, and what builds it from source.

    Args:
        cache: the cache.
        wheel: the wheel of EdgeFace.
        release: the root that they are for.
        exactly: distribution -> the one version of it to take.

    Raises:
        EmulationError: there is no aarch64 wheel of something for this Python.
    """
    needs = (*_needs(wheel), "hatchling")
    pins = [f"{name}=={version}" for name, version in sorted(exactly.items())]

    def make(folder: Path) -> None:
        folder.mkdir()
        _run([*_pip("download"), *_for(release), "--dest", str(folder), *needs, *pins])

    return kept(cache, f"wheels-{release}", (PYTHONS[release], *_PLATFORMS, *needs, *pins), make)


def site(cache: Path, wheel: Path, release: str, found: Path) -> Path:
    """What ``wheel`` needs, installed from the folder ``found`` of `wheels`, for the PYTHONPATH of a root."""
    needs = _needs(wheel)

    def make(folder: Path) -> None:
        install(release, folder, ["--no-index", "--find-links", str(found), *needs])

    return kept(cache, f"site-{release}", (found.name, *needs), make)


def install(release: str, folder: Path, asked: Sequence[str], platforms: Sequence[str] = _PLATFORMS) -> None:
    """`pip install` for the Python of ``release`` on ARM, from this machine, into ``folder``."""
    _run([*_pip("install"), "--no-compile", *_for(release, platforms), "--target", str(folder), *asked])


def _needs(wheel: Path) -> tuple[str, ...]:
    """What a wheel requires without an extra."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        fields = HeaderParser().parsestr(archive.read(name).decode())
    required = fields.get_all("Requires-Dist") or []
    return tuple(sorted(need for need in required if not re.search(r";.*\bextra\b", need)))


def _pip(command: str) -> list[str]:
    return [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check"]


def _for(release: str, platforms: Sequence[str] = _PLATFORMS) -> list[str]:
    named = [part for name in platforms for part in ("--platform", name)]
    return ["--only-binary=:all:", "--python-version", PYTHONS[release], *named]


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise EmulationError(f"{command[0]}: took longer than {_PATIENCE} s; try again") from error
    if done.returncode:
        raise EmulationError(
            f"{' '.join(command)}\nfailed; is there a network?\n{(done.stdout + done.stderr).strip()[-1500:]}"
        )
