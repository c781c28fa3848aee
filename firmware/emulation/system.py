"""Whole devices: Debian roots with systemd in them, and a board that boots one.

- `installable`: this machine's own architecture, configured; `dpkg` installs packages in a copy of it.
- `validators`: the same of a later release, with programs that judge what is in `firmware/`.
- `bootable`: arm64, only unpacked; `start` boots a tree made from it, under the real systemd.

The board's clock is the number of its instructions (see `firmware.emulation.machine`): waiting costs nothing,
and a busy machine is not a slow device, so that no watchdog barks for the emulator's sake. For that the disk
is copied to memory first: while a board waits for a disk, its clock runs to the next alarm at once.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import tempfile
from pathlib import Path

from firmware.emulation import machine
from firmware.emulation.errors import EmulationError
from firmware.emulation.roots import debootstrap, kept

__all__ = ["bootable", "installable", "start", "validators"]

_RELEASE = "bookworm"
# What `edgeface-device` depends on, and what a device has in any case.
_NEEDED = ("python3", "libstdc++6", "libgomp1", "init-system-helpers", "systemd", "udev")
_ESSENTIAL = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "dbus", "findutils", "grep"),
    *("libpam-modules", "libpam-runtime", "login", "mount", "passwd", "sed", "systemd-sysv", "util-linux"),
)
# Of bookworm, cloud-init knows no networks and udev verifies no rules.
_VALIDATORS_OF = "trixie"
_VALIDATORS = ("ansible-core", "cloud-init", "udev")
_FOLDERS = ("dev", "proc", "sys", "run", "root", "tmp", "var/lib/dbus")
_INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox sed -n '/insmod/p' /init >/modules
. /modules
/bin/busybox insmod /brd.ko rd_nr=1 rd_size={size}
/bin/busybox dd if=/dev/vda of=/dev/ram0 bs=16M iflag=direct oflag=direct
/bin/busybox mount -t ext4 /dev/ram0 /new
/bin/busybox mount --move /dev /new/dev
/bin/busybox umount /proc
exec /bin/busybox switch_root /new /lib/systemd/systemd
"""
# The journal goes to the console, which is all that is left of a device afterwards.
_TOLD = "console=ttyAMA0 quiet panic=-1 systemd.journald.forward_to_console=1 systemd.show_status=0"


def installable(cache: Path) -> Path:
    """A configured Debian of this machine's architecture; copy it before writing to it."""

    def make(folder: Path) -> None:
        debootstrap(_RELEASE, folder, _NEEDED, configured=True)
        shutil.rmtree(folder / "var/cache/apt", ignore_errors=True)

    return kept(cache, "installable", (_RELEASE, *_NEEDED), make)


def validators(cache: Path) -> Path:
    """A configured Debian with Ansible, cloud-init and udev; it is never written to again."""

    def make(folder: Path) -> None:
        debootstrap(_VALIDATORS_OF, folder, _VALIDATORS, configured=True)
        shutil.rmtree(folder / "var/cache/apt", ignore_errors=True)

    return kept(cache, "validators", (_VALIDATORS_OF, *_VALIDATORS), make)


def bootable(cache: Path) -> Path:
    """An unpacked arm64 Debian with what a boot needs of what its scripts make; copy it, as above."""

    def make(folder: Path) -> None:
        debootstrap(_RELEASE, folder, (*_NEEDED, *_ESSENTIAL), "arm64")
        for name in _FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
        for name in ("passwd", "group"):
            shutil.copyfile(folder / f"usr/share/base-passwd/{name}.master", folder / f"etc/{name}")
        (folder / "etc/machine-id").touch()
        (folder / "etc/hostname").write_text("device\n")

    return kept(cache, "bootable", (_RELEASE, *_NEEDED, *_ESSENTIAL, *_FOLDERS, "accounts 1"), make)


def start(kernel_folder: Path, image: Path, core: str, timeout: float = 3600) -> str:
    """Boot a disk under its own systemd until it switches itself off; the journal.

    Args:
        kernel_folder: of `firmware.emulation.machine.kernel`.
        image: of `firmware.emulation.machine.disk`; it is only read.
        core: processor, as QEMU calls it.
        timeout: seconds of this machine's time.

    Raises:
        EmulationError: it did not come to its end in time; the message has the end of the journal.
    """
    with tempfile.TemporaryDirectory(prefix="edgeface-system-") as scratch:
        initrd = Path(scratch, "initrd")
        initrd.write_bytes((kernel_folder / "initrd").read_bytes() + _handover(image.stat().st_size))
        options = {
            "-M": "virt",
            "-cpu": core,
            "-smp": "1",
            "-m": "3072",
            "-icount": "shift=0,sleep=off",
            "-rtc": "base=2027-01-01,clock=vm",
            "-seed": "1",
            "-kernel": str(kernel_folder / "vmlinuz"),
            "-initrd": str(initrd),
            "-append": f"{_TOLD} {machine.QUICK_KERNEL} rdinit=/system",
            "-drive": f"file={image},format=raw,if=none,id=disk,readonly=on",
            "-device": "virtio-blk-device,drive=disk",
        }
        words = [part for option in options.items() for part in option]
        journal = Path(scratch, "journal")
        with journal.open("wb") as console:
            try:
                subprocess.run(
                    ["qemu-system-aarch64", *words, "-nographic", "-no-reboot", "-nic", "none"],
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=subprocess.STDOUT,
                    check=True,
                    timeout=timeout,
                )
            except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
                told = journal.read_text(errors="replace")[-3000:]
                raise EmulationError(f"the device with {core} did not switch itself off:\n{told}") from error
        return journal.read_text(errors="replace").replace("\r", "")


def _handover(size: int) -> bytes:
    """One more archive for the kernel's initrd, which has the modules: an init that gives way to systemd.

    ``size`` is the disk's, in bytes.
    """
    init = _INIT.format(size=-(-size // 1024)).encode()
    return gzip.compress(machine.cpio({"system": (0o100755, init)}), mtime=0)
