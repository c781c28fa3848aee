"""The cameras that the page may choose from: what the operator named, or what is plugged in.

A client chooses by the name of an offer, never by a path or an address: a page that could open those would
read the machine's files and look around in its network.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgeface.camera import Mode, open_camera
from edgeface.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from edgeface.camera import Camera

__all__ = ["Offer", "found_cameras", "named_camera"]

_ANY = Mode()
_LONGEST = 64  # characters of a camera's key


@dataclass(frozen=True, slots=True)
class Offer:
    """A camera that can be chosen.

    Attributes:
        key: What a client calls it.
        title: What people read.
        open: Opens it, as a context manager that closes it.

    Raises:
        ArgumentError: The key is empty or not plain.
    """

    key: str
    title: str
    open: Callable[[], AbstractContextManager[Camera]]

    def __post_init__(self) -> None:
        if not self.key or len(self.key) > _LONGEST or not self.key.isprintable():
            raise ArgumentError(
                f"a camera needs a name of 1 to {_LONGEST} printable characters, not {self.key!r}"
            )


def named_camera(source: str, mode: Mode = _ANY, *, loop: bool = True) -> Offer:
    """Offer what `edgeface.open_camera` opens, live; a film or folder begins again at its end, or does not.

    The title leaves out the folder of a file and the password and path of an address.
    """
    if "://" in source:
        scheme, _, rest = source.partition("://")
        place = f"{scheme}://{rest.rpartition('@')[2].partition('/')[0]}"[:_LONGEST]
        return Offer(place, place, partial(open_camera, source, mode, wait=True))
    if source.isdecimal() or source.startswith(("/dev/", "picamera")):
        # The device itself: `--camera 0` and a camera that was found are then the same one.
        key = f"/dev/video{source}" if source.isdecimal() else source
        return Offer(key, _title(key), partial(open_camera, source, mode, wait=True))
    key = "synthetic" if source.startswith("synthetic:") else Path(source).absolute().name[-_LONGEST:]
    return Offer(key, key, partial(open_camera, source, mode, loop=loop, live=True))


def found_cameras(mode: Mode = _ANY) -> list[Offer]:
    """Offer the USB cameras that are plugged in; none is opened, so no lamp goes on."""
    folder = Path("/sys/class/video4linux")
    nodes = (
        sorted(folder.glob("video*"), key=lambda node: (len(node.name), node.name)) if folder.is_dir() else []
    )
    # Of the nodes of one camera the first gives pictures, the others give data about them.
    return [named_camera(f"/dev/{node.name}", mode) for node in nodes if _read(node / "index") in ("0", "")]


def _title(device: str) -> str:
    if device.startswith("picamera"):
        return f"Raspberry Pi camera {device.partition(':')[2]}".strip()
    name = _read(Path("/sys/class/video4linux", Path(device).name, "name"))
    return f"{name} ({device})" if name else device


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
