"""Trees of files as the kernel shows them for a Coral, for tests without one."""

from __future__ import annotations

from pathlib import Path


def usb(root: Path, usb_id: str, place: str = "2-1", device: int = 4) -> Path:
    """A USB accelerator at a place like ``2-1``; returns its device file."""
    folder = root / "sys/bus/usb/devices" / place
    folder.mkdir(parents=True)
    vendor, _, product = usb_id.partition(":")
    bus = place.partition("-")[0]
    values = {"idVendor": vendor, "idProduct": product, "busnum": bus, "devnum": str(device)}
    for name, value in values.items():
        (folder / name).write_text(f"{value}\n")
    node = root / f"dev/bus/usb/{int(bus):03d}/{device:03d}"
    node.parent.mkdir(parents=True, exist_ok=True)
    node.touch()
    return node


def pci(root: Path, place: str = "0000:01:00.0", number: int = 0, *, driver: bool) -> Path:
    """A PCIe card, with the driver that makes its device file or without; returns that file's path."""
    folder = root / "sys/bus/pci/devices" / place
    folder.mkdir(parents=True)
    (folder / "vendor").write_text("0x1ac1\n")
    (folder / "device").write_text("0x089a\n")
    node = root / f"dev/apex_{number}"
    if driver:
        (folder / "apex" / f"apex_{number}").mkdir(parents=True)
        node.parent.mkdir(parents=True, exist_ok=True)
        node.touch()
    return node
