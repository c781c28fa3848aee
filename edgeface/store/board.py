"""Which board this is, in the words of its device tree: what a release says it was made for."""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ["board_names"]

_ROOT = Path("/proc/device-tree")


def board_names(tree: Path = _ROOT) -> frozenset[str]:
    """The names that this machine answers to, the board first made known by its maker.

    Those of the device tree's ``compatible`` (Devicetree Specification 0.4, section 2.3.1: texts ended by
    zero bytes, such as ``raspberrypi,4-model-b`` and ``brcm,bcm2711``), and the processor's architecture
    (``aarch64``, ``x86_64``), which is all that a PC has.
    """
    names = {platform.machine()}
    try:
        texts = (tree / "compatible").read_bytes().split(b"\0")
    except OSError:
        texts = []
    names |= {text.decode("ascii", "replace") for text in texts if text}
    return frozenset(names)
