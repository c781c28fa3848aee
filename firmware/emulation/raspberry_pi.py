"""A Raspberry Pi 3 with its own device tree, started from its card: what a program sees of a real board.

QEMU has this Pi whole, with its four Cortex-A53 and 1 GiB of memory. Of the Pi 4 it has too little for
Debian's kernel, and of the Pi 5 and of Jetsons nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from firmware.emulation import machine

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["boot"]


def boot(kernel_folder: Path, image: Path, timeout: float = 3600) -> str:
    """Boot a Raspberry Pi 3 from a card, let it run the card's shell script `/job`; what that printed.

    Args:
        kernel_folder: of `firmware.emulation.machine.kernel`.
        image: of `firmware.emulation.machine.disk`; it grows to a power of two, as cards have it.
        timeout: seconds of this machine's time.

    Raises:
        EmulationError: the job failed or the board did not come to an end; the message has its last words.
    """
    os.truncate(image, 1 << (image.stat().st_size - 1).bit_length())
    options = {
        "-M": "raspi3b",
        # The board's clock counts instructions: no check of the doctor ends because this machine is busy.
        "-icount": "shift=0,sleep=on",
        "-kernel": str(kernel_folder / "vmlinuz"),
        "-initrd": str(kernel_folder / "initrd"),
        "-dtb": str(kernel_folder / "pi3.dtb"),
        "-append": f"console=ttyAMA0,115200 quiet panic=-1 {machine.QUICK_KERNEL} rdinit=/pi",
        "-drive": f"file={image},format=raw,if=sd",
    }
    return machine.run([word for option in options.items() for word in option], "the Raspberry Pi 3", timeout)
