"""What a picture file says about itself before it is decoded: kind, size, orientation, and whether it is all there.

Sources: JPEG ITU-T T.81 annex B, PNG ISO/IEC 15948, WebP RFC 9649 and RFC 6386, the Windows BMP headers, EXIF 2.32
(orientation in a TIFF 6.0 directory). No parser here allocates more than it is given or trusts a length it did not
compare with the data.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from edgeface.errors import FrameError

__all__ = ["Header", "read_header"]


@dataclass(frozen=True)
class Header:
    """What the header promises.

    Attributes:
        kind: "JPEG", "PNG", "BMP" or "WebP".
        width: Width in pixels as stored, above 0.
        height: Height in pixels as stored, above 0.
        orientation: EXIF orientation, 1 to 8; 1 when the file says nothing usable.
    """

    kind: str
    width: int
    height: int
    orientation: int


_PNG = b"\x89PNG\r\n\x1a\n"
_FOREIGN = (
    (b"GIF8", 0, "GIF"), (b"II*\0", 0, "TIFF"), (b"MM\0*", 0, "TIFF"), (b"ftyphei", 4, "HEIC"), (b"ftypmif1", 4, "HEIC"),
    (b"ftypavif", 4, "AVIF"), (b"\0\0\0\x0cJXL ", 0, "JPEG XL"), (b"\xff\x0a", 0, "JPEG XL"), (b"%PDF", 0, "PDF"),
    (b"ftyp", 4, "a video"), (b"<svg", 0, "SVG"),
)  # fmt: skip
_MAX_SCANS = 200
# The byte after 0xff that ends entropy-coded data: neither stuffing (00), a restart (d0-d7) nor fill (ff).
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def read_header(data: bytes, source: str) -> Header:
    """Return what the header of a JPEG, PNG, BMP or WebP file says.

    Args:
        data: The whole file.
        source: What to call it in messages.

    Raises:
        FrameError: Another kind of file, empty, cut off, or a header that contradicts itself or the length of the data.
    """
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(_PNG):
            return _png(data)
        if data.startswith(b"BM"):
            return _bmp(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
    except _Bad as bad:
        raise FrameError(f"{source}: {bad}") from None
    if not data:
        raise FrameError(f"{source}: is empty: the file was never written or its download was cut off")
    kind = next((name for magic, at, name in _FOREIGN if data[at : at + len(magic)] == magic), None)
    looks = f"looks like {kind}" if kind else "is not a picture that EdgeFace reads"
    raise FrameError(f"{source}: {looks}: convert it to JPEG, PNG, BMP or WebP")


class _Bad(Exception):
    """What is wrong with a file and how to mend it, without its name."""


def _cut(kind: str) -> _Bad:
    return _Bad(f"truncated {kind}, its data end early: copy or download the file again")


def _damaged(kind: str, what: str) -> _Bad:
    return _Bad(f"damaged {kind}, {what}: save the picture again")


def _checked(kind: str, width: int, height: int, orientation: int = 1) -> Header:
    if width <= 0 or height <= 0:
        raise _damaged(kind, f"its header says {width} x {height} pixels")
    return Header(kind, width, height, orientation)


# JPEG: segments of marker and length; scans of entropy-coded data in between.

_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HUFFMAN_MARKERS = frozenset((0xC0, 0xC1, 0xC2))


def _jpeg(data: bytes) -> Header:
    at, size, marker_of_frame, orientation, coded, scans = 2, (0, 0), 0, 1, 0, 0
    while True:
        marker, at = _jpeg_marker(data, at)
        if marker == 0xD9:
            break
        body = at + 2
        at += int.from_bytes(data[at:body], "big")
        if at < body or at > len(data):
            raise _cut("JPEG")
        if marker in _FRAME_MARKERS and not marker_of_frame:
            marker_of_frame = marker
            size = int.from_bytes(data[body + 3 : body + 5], "big"), int.from_bytes(data[body + 1 : body + 3], "big")
        elif marker == 0xE1 and orientation == 1 and data.startswith(b"Exif\0\0", body):
            orientation = _orientation(data[body + 6 : at])
        elif marker == 0xDA:
            scans += 1
            end = _MARKER.search(data, at)
            if end is None:
                raise _cut("JPEG")
            if scans > _MAX_SCANS:
                raise _damaged("JPEG", f"it has more than {_MAX_SCANS} scans")
            coded += end.start() - at
            at = end.start()
    header = _checked("JPEG", *size, orientation)
    # A Huffman-coded picture spends one bit at least on each of its 8 x 8 blocks.
    if marker_of_frame in _HUFFMAN_MARKERS and coded * 512 < (header.width - 7) * (header.height - 7):
        raise _cut("JPEG")
    return header


def _jpeg_marker(data: bytes, at: int) -> tuple[int, int]:
    if data[at : at + 1] not in (b"\xff", b""):
        raise _damaged("JPEG", f"there is no marker at byte {at}")
    while data[at : at + 1] == b"\xff":
        at += 1
    if at >= len(data):
        raise _cut("JPEG")
    return data[at], at + 1


# PNG: chunks of length, type, data and checksum.


def _png(data: bytes) -> Header:
    at, ihdr, packed, orientation, last = len(_PNG), b"", 0, 1, b""
    while last != b"IEND":
        length = int.from_bytes(data[at : at + 4], "big")
        last, body, end = data[at + 4 : at + 8], at + 8, at + 8 + length
        if not ihdr and last != b"IHDR":
            raise _damaged("PNG", "it does not begin with its header")
        # The size comes first: a picture that claims too much is refused for that, not for being cut off.
        if last == b"IHDR" and length == 13:
            ihdr = data[body : body + 13]
        if end + 4 > len(data):
            raise _cut("PNG")
        critical = not last[0] & 0x20
        if critical and zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise _damaged("PNG", f"the checksum of its {last.decode('latin-1')} part at byte {at} does not match")
        if last == b"IDAT":
            packed += length
        elif last == b"eXIf":
            orientation = _orientation(data[body:end])
        at = end + 4
    header = _checked("PNG", int.from_bytes(ihdr[:4], "big"), int.from_bytes(ihdr[4:8], "big"), orientation)
    depth, channels = ihdr[8], {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(ihdr[9], 1)
    # Deflate packs 1032 bytes into one at best.
    if packed * 1032 < header.height * (header.width * depth * channels // 8):
        raise _cut("PNG")
    return header


# BMP: one header; uncompressed rows at a fixed place.


def _bmp(data: bytes) -> Header:
    if len(data) < 26:
        raise _cut("BMP")

    def number(at: int, size: int, signed: bool = False) -> int:
        return int.from_bytes(data[at : at + size], "little", signed=signed)

    if number(14, 4) == 12:
        width, height, bits, packing = number(18, 2), number(20, 2), number(24, 2), 0
    elif len(data) < 34:
        raise _cut("BMP")
    else:
        width, height = number(18, 4, signed=True), abs(number(22, 4, signed=True))
        bits, packing = number(28, 2), number(30, 4)
    header = _checked("BMP", width, height)
    if packing in (0, 3) and len(data) < number(10, 4) + (width * bits + 31) // 32 * 4 * height:
        raise _cut("BMP")
    return header


# WebP: a RIFF file whose first chunk says which of three kinds it is.


def _webp(data: bytes) -> Header:
    if len(data) < 30 or int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise _cut("WebP")
    kind, length = data[12:16], int.from_bytes(data[16:20], "little")
    if kind == b"VP8 ":
        if data[23:26] != b"\x9d\x01\x2a":
            raise _damaged("WebP", "its first frame has no start code")
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
        # A key frame spends more than a bit and a half on each macroblock of 16 x 16, for its modes alone.
        if length * 8 * 256 < (width - 15) * (height - 15):
            raise _cut("WebP")
        return _checked("WebP", width, height)
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return _checked("WebP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        exif = next((body for name, body in _riff_chunks(data) if name == b"EXIF"), b"")
        return _checked("WebP", width, height, _orientation(exif.removeprefix(b"Exif\0\0")))
    raise _damaged("WebP", "its first part is neither VP8, VP8L nor VP8X")


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _orientation(tiff: bytes) -> int:
    """Return the EXIF orientation of a TIFF directory, 1 where it holds none that makes sense."""
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], "little" if order == "little" else "big")

    first = number(4, 4)
    for entry in range(first + 2, min(first + 2 + 12 * number(first, 2), len(tiff) - 11), 12):
        if number(entry, 2) == 0x0112:
            value = number(entry + 8, 4 if number(entry + 2, 2) == 4 else 2)
            return value if 1 <= value <= 8 else 1
    return 1
