"""Whole emulated boards that boot Debian's kernel and do one job; the one of `boot` counts its instructions.

With `-icount shift=0,sleep=off` the guest's clock is the number of executed instructions, so two readings of
`time.perf_counter_ns()` differ by what was executed between them, on any host, busy or not. Caches, branches
and memory cost nothing here: such a count is never a time.
"""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from firmware.emulation.errors import EmulationError
from firmware.emulation.roots import debootstrap, kept

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["QUICK_KERNEL", "boot", "cpio", "disk", "kernel", "run", "script", "why_no_machine"]

QUICK_KERNEL = "nokaslr mitigations=off"
"""For the command line of a kernel whose time is not measured: half the emulator's work is gone.

With its addresses shuffled, Linux keeps two page tables and changes them with every call of a program, after
which an emulator has to look every address up anew.
"""

_RELEASE = "bookworm"
_PACKAGES = ("linux-image-arm64", "busybox-static")
# The disk of `-M virt`, and the file system that mke2fs makes, which asks for its checksum by name.
_MODULES = ("virtio_mmio", "virtio_blk", "crc32c_generic", "ext4")
# For who copies that disk into memory (`firmware.emulation.system`); it takes its size as it is loaded.
_MODULES_MEMORY = ("brd",)
# What a Raspberry Pi 3 reads its card with, and switches itself off with.
_MODULES_PI = ("bcm2835_wdt", "bcm2835", "sdhci_iproc", "crc32c_generic", "ext4")
_TREE_PI = "broadcom/bcm2837-rpi-3-b.dtb"
_INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox mount -t proc proc /proc
for module in {modules}; do /bin/busybox insmod /$module.ko; done
until [ -b {disk} ]; do /bin/busybox sleep 1; done
/bin/busybox mount -t ext4 -o ro {disk} /new
/bin/busybox mount -t proc proc /new/proc
/bin/busybox mount -t sysfs sysfs /new/sys
/bin/busybox mount -t devtmpfs devtmpfs /new/dev
/bin/busybox mount -t tmpfs tmpfs /new/tmp
/bin/busybox chroot /new /bin/sh /job
/bin/busybox poweroff -f
"""
_BEGIN, _END = "=== job begins", "=== job ended with "


def why_no_machine() -> str:
    """Why no whole board can be emulated here; empty when one can."""
    for program, package in {"qemu-system-aarch64": "qemu-system-arm", "mke2fs": "e2fsprogs"}.items():
        if shutil.which(program) is None:
            return f"{program} is missing; run: apt-get install {package}"
    return ""


def kernel(cache: Path) -> Path:
    """A folder with Debian's `vmlinuz`, its `version`, the device tree `pi3.dtb`, and an `initrd`.

    The initrd finds the disk of `-M virt` and runs a job from it; its `/pi` does so with the card of a Pi.
    """

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=cache, prefix=".making-") as scratch:
            whole = Path(scratch) / "root"
            debootstrap(_RELEASE, whole, _PACKAGES, "arm64")
            (image,) = (whole / "boot").glob("vmlinuz-*")
            folder.mkdir()
            shutil.copy2(image, folder / "vmlinuz")
            (folder / "version").write_text(image.name.removeprefix("vmlinuz-"))
            (trees,) = (whole / "usr/lib").glob("linux-image-*")
            shutil.copy2(trees / _TREE_PI, folder / "pi3.dtb")
            (folder / "initrd").write_bytes(_initrd(whole))

    recipe = (_RELEASE, *_PACKAGES, *_MODULES, *_MODULES_MEMORY, *_MODULES_PI, _TREE_PI, _INIT)
    return kept(cache, "kernel", recipe, make)


def disk(folder: Path, image: Path) -> None:
    """Write the tree ``folder`` to ``image``, a file that does not exist yet.

    Raises:
        EmulationError: mke2fs failed.
    """
    size = sum(path.lstat().st_size for path in folder.rglob("*")) // 2**20
    switches = ["-q", "-t", "ext4", "-O", "^has_journal", "-b", "4096", "-i", "8192", "-d", str(folder)]
    command = ["mke2fs", *switches, str(image), f"{size * 5 // 4 + 64}M"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EmulationError(f"mke2fs: {done.stderr.strip()[-500:]}; is the disk full?")


def boot(kernel_folder: Path, image: Path, core: str, timeout: float = 1500) -> str:
    """Boot a board with one ``core``, let it run the shell script `/job` of its disk; what that printed.

    Raises:
        EmulationError: the job failed or the board did not come to an end; the message has its last words.
    """
    command = {
        "-M": "virt",
        "-cpu": core,
        "-smp": "1",
        "-m": "1024",
        "-icount": "shift=0,sleep=off",
        # Nothing that differs between two runs reaches the guest: no clock, no seed, no address.
        "-rtc": "base=2026-01-01,clock=vm",
        "-seed": "1",
        "-kernel": str(kernel_folder / "vmlinuz"),
        "-initrd": str(kernel_folder / "initrd"),
        "-append": "console=ttyAMA0 quiet nokaslr norandmaps panic=-1",
        "-drive": f"file={image},format=raw,if=none,id=disk,readonly=on",
        "-device": "virtio-blk-device,drive=disk",
    }
    return run([part for option in command.items() for part in option], f"the board with {core}", timeout)


def run(options: Sequence[str], board: str, timeout: float) -> str:
    """Run `qemu-system-aarch64` with ``options``; what its job (`script`) printed.

    Raises:
        EmulationError: the job failed or ``board`` did not come to an end; the message has its last words.
    """
    try:
        done = subprocess.run(
            ["qemu-system-aarch64", *options, "-nographic", "-no-reboot", "-nic", "none"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        last = (error.stdout or b"").decode(errors="replace").strip()[-2000:]
        raise EmulationError(f"{board} did not end its job in {timeout} s:\n{last}") from error
    console = done.stdout.replace("\r", "")
    found = re.search(rf"{_BEGIN}\n(.*){_END}0\n", console, re.DOTALL)
    if found is None:
        raise EmulationError(f"{board} failed:\n{(console + done.stderr).strip()[-2000:]}")
    return found[1]


def script(command: str) -> str:
    """A job for `boot`: the shell command with the marks that tell its output from the kernel's."""
    return f'echo "{_BEGIN}"\n{command}\necho "{_END}$?"\n'


def _initrd(whole: Path) -> bytes:
    """A cpio archive, gzipped, of busybox, modules, and an init for each board."""
    modules = {path.stem.replace("-", "_"): path for path in (whole / "lib/modules").rglob("*.ko")}

    def ordered(names: Sequence[str]) -> list[str]:
        """The modules after those that they need."""
        order: list[str] = []
        for name in names:
            needs = re.search(rb"\0depends=([^\0]*)\0", modules[name].read_bytes())
            listed = needs[1].decode().replace("-", "_").split(",") if needs and needs[1] else []
            order += ordered(listed)
            order.append(name)
        return list(dict.fromkeys(order))

    files = dict.fromkeys(("bin", "dev", "proc", "new"), (0o040755, b""))
    files |= {f"{name}.ko": (0o100644, modules[name].read_bytes()) for name in ordered(_MODULES_MEMORY)}
    for init, names, found in (("init", _MODULES, "/dev/vda"), ("pi", _MODULES_PI, "/dev/mmcblk0")):
        order = ordered(names)
        files |= {f"{name}.ko": (0o100644, modules[name].read_bytes()) for name in order}
        files[init] = (0o100755, _INIT.format(modules=" ".join(order), disk=found).encode())
    files["bin/busybox"] = (0o100755, (whole / "bin/busybox").read_bytes())
    return gzip.compress(cpio(files), compresslevel=1, mtime=0)


def cpio(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """The "newc" format of the kernel's Documentation/driver-api/early-userspace/buffer-format.rst."""
    archive = bytearray()
    entries = [*files.items(), ("TRAILER!!!", (0, b""))]
    for number, (name, (mode, content)) in enumerate(entries, 1):
        stored = name.encode() + b"\0"
        fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(stored), 0]
        archive += b"070701" + "".join(f"{value:08X}" for value in fields).encode() + stored
        archive += bytes(-len(archive) % 4) + content
        archive += bytes(-len(archive) % 4)
    return bytes(archive)
