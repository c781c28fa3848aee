"""What a picture file says about itself before it is decoded: kind, size, completeness, orientation.

Sources: JPEG ITU-T T.81 annex B, PNG ISO/IEC 15948, WebP RFC 9649 and RFC 6386, the Windows BMP headers,
EXIF 2.32 (orientation in a TIFF 6.0 directory). No parser here allocates more than it is given, or trusts a
length that it did not compare with the data.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgeface.errors import FrameError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Header", "check_complete", "read_header"]


@dataclass(frozen=True)
class Header:
    """What the header promises.

    Attributes:
        kind: "JPEG", "PNG", "BMP" or "WebP".
        width: Width in pixels as stored, above 0.
        height: Height in pixels as stored, above 0.
    """

    kind: Literal["JPEG", "PNG", "BMP", "WebP"]
    width: int
    height: int


_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FOREIGN = (
    (b"GIF8", 0, "GIF"),
    (b"II*\0", 0, "TIFF"),
    (b"MM\0*", 0, "TIFF"),
    (b"ftyphei", 4, "HEIC"),
    (b"ftypmif1", 4, "HEIC"),
    (b"ftypavif", 4, "AVIF"),
    (b"\0\0\0\x0cJXL ", 0, "JPEG XL"),
    (b"\xff\x0a", 0, "JPEG XL"),
    (b"ftyp", 4, "a video"),
    (b"%PDF", 0, "PDF"),
    (b"<svg", 0, "SVG"),
)


class _BadFileError(Exception):
    """What is wrong with a file and how to mend it, without its name."""


def _cut(kind: str) -> _BadFileError:
    return _BadFileError(f"truncated {kind}, its data end early: copy or download the file again")


def _damaged(kind: str, what: str) -> _BadFileError:
    return _BadFileError(f"damaged {kind}, {what}: save the picture again")


def read_header(data: bytes, source: str) -> Header:
    """Return kind and size of a JPEG, PNG, BMP or WebP file.

    Args:
        data: The whole file.
        source: What to call it in messages.

    Raises:
        FrameError: Another kind of file, empty, cut off before the size is known, or of no size.
    """
    try:
        header = _measure(data)
        if header is not None and min(header.width, header.height) <= 0:
            raise _damaged(header.kind, f"its header says {header.width} x {header.height} pixels")
    except _BadFileError as bad:
        raise FrameError(f"{source}: {bad}") from None
    if header is not None:
        return header
    if not data:
        raise FrameError(f"{source}: is empty: the file was never written or its download was cut off")
    kind = next((name for magic, at, name in _FOREIGN if data[at : at + len(magic)] == magic), None)
    looks = f"looks like {kind}" if kind else "is not a picture that EdgeFace reads"
    raise FrameError(f"{source}: {looks}: convert it to JPEG, PNG, BMP or WebP")


def check_complete(data: bytes, header: Header, source: str) -> int:
    """Return the EXIF orientation, 1 to 8 (1 when the file says nothing usable), of a file that is all there.

    A file counts as complete when its parts reach to its end mark and hold no fewer bytes than a picture of
    this size can be packed into. PNG parts that matter are compared with their checksums.

    Args:
        data: The whole file.
        header: What `read_header` found in it.
        source: What to call it in messages.

    Raises:
        FrameError: The file is cut off or damaged.
    """
    try:
        if header.kind == "JPEG":
            return _jpeg_complete(data, header)
        if header.kind == "PNG":
            return _png_complete(data, header)
        if header.kind == "BMP":
            return _bmp_complete(data, header)
        return _webp_complete(data, header)
    except _BadFileError as bad:
        raise FrameError(f"{source}: {bad}") from None


def _measure(data: bytes) -> Header | None:
    if data.startswith(b"\xff\xd8"):
        return _jpeg_size(data)
    if data.startswith(_PNG_SIGNATURE):
        return _png_size(data)
    if data.startswith(b"BM"):
        return _bmp_size(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp_size(data)
    return None


def _big(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")


def _little(data: bytes, at: int, size: int, signed: bool = False) -> int:
    return int.from_bytes(data[at : at + size], "little", signed=signed)


# JPEG: segments of marker and length; scans of entropy-coded data in between.

_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HUFFMAN_MARKERS = frozenset((0xC0, 0xC1, 0xC2))
_START_OF_SCAN, _END_OF_IMAGE, _APP1 = 0xDA, 0xD9, 0xE1
# A thousand scans over one large picture are minutes of work in a few kilobytes; real pictures have ten.
_MAX_SCANS = 200
# What ends entropy-coded data: 0xff and neither stuffing (00), a restart (d0-d7) nor fill (ff).
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment (of a scan: of its coded data) up to the end mark."""
    at = 2
    while True:
        if data[at : at + 1] not in (b"\xff", b""):
            raise _damaged("JPEG", f"there is no marker at byte {at}")
        while data[at : at + 1] == b"\xff":
            at += 1
        if at >= len(data):
            raise _cut("JPEG")
        marker, start = data[at], at + 3
        if marker == _END_OF_IMAGE:
            return
        at += 1 + _big(data, at + 1, 2)
        if at < start or at > len(data):
            raise _cut("JPEG")
        if marker == _START_OF_SCAN:
            end = _MARKER.search(data, at)
            if end is None:
                raise _cut("JPEG")
            at = end.start()
        yield marker, start, at


def _jpeg_size(data: bytes) -> Header:
    for marker, start, _ in _jpeg_segments(data):
        if marker in _SIZE_MARKERS:
            return Header("JPEG", _big(data, start + 3, 2), _big(data, start + 1, 2))
        if marker == _START_OF_SCAN:
            break
    raise _damaged("JPEG", "its size is missing")


def _jpeg_complete(data: bytes, header: Header) -> int:
    orientation, coded, scans, coding = 1, 0, 0, 0
    for marker, start, end in _jpeg_segments(data):
        if marker in _SIZE_MARKERS:
            coding = coding or marker
        elif marker == _APP1 and orientation == 1 and data.startswith(b"Exif\0\0", start):
            orientation = _orientation(data[start + 6 : end])
        elif marker == _START_OF_SCAN:
            coded += end - start
            scans += 1
            if scans > _MAX_SCANS:
                raise _damaged("JPEG", f"it has more than {_MAX_SCANS} scans")
    # Huffman coding spends one bit at least on each block of 8 x 8.
    if coding in _HUFFMAN_MARKERS and coded * 512 < header.width * header.height:
        raise _cut("JPEG")
    return orientation


# PNG: chunks of length, type, data and checksum.


def _png_size(data: bytes) -> Header:
    if data[12:16] != b"IHDR" or _big(data, 8, 4) != 13:
        raise _damaged("PNG", "it does not begin with its header") if len(data) >= 16 else _cut("PNG")
    if len(data) < 33:
        raise _cut("PNG")
    return Header("PNG", _big(data, 16, 4), _big(data, 20, 4))


def _png_complete(data: bytes, header: Header) -> int:
    at, packed, orientation, name = len(_PNG_SIGNATURE), 0, 1, b""
    while name != b"IEND":
        length, name = _big(data, at, 4), data[at + 4 : at + 8]
        body, end = at + 8, at + 8 + length
        if end + 4 > len(data):
            raise _cut("PNG")
        # Parts whose name begins with a capital are critical.
        if not name[0] & 0x20 and zlib.crc32(data[at + 4 : end]) != _big(data, end, 4):
            raise _damaged("PNG", f"the checksum of its part at byte {at} does not match")
        if name == b"IDAT":
            packed += length
        elif name == b"eXIf":
            orientation = _orientation(data[body:end])
        at = end + 4
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(data[25], 1)
    # Deflate packs 1032 bytes into one at best.
    if packed * 1032 < header.height * (header.width * data[24] * samples // 8):
        raise _cut("PNG")
    return orientation


# BMP: one header of several ages; uncompressed rows at a fixed place.


def _bmp_size(data: bytes) -> Header:
    old = _little(data, 14, 4) == 12
    if len(data) < (26 if old else 34):
        raise _cut("BMP")
    if old:
        return Header("BMP", _little(data, 18, 2), _little(data, 20, 2))
    # A negative height means that the rows run from top to bottom.
    return Header("BMP", _little(data, 18, 4, signed=True), abs(_little(data, 22, 4, signed=True)))


def _bmp_complete(data: bytes, header: Header) -> int:
    old = _little(data, 14, 4) == 12
    bits, packing = (_little(data, 24, 2), 0) if old else (_little(data, 28, 2), _little(data, 30, 4))
    plain = packing in (0, 3)
    if plain and len(data) < _little(data, 10, 4) + (header.width * bits + 31) // 32 * 4 * header.height:
        raise _cut("BMP")
    return 1


# WebP: a RIFF file whose first chunk says which of three kinds it is.


def _webp_size(data: bytes) -> Header:
    if len(data) < 30:
        raise _cut("WebP")
    kind = data[12:16]
    if kind == b"VP8 ":
        if data[23:26] != b"\x9d\x01\x2a":
            raise _damaged("WebP", "its first frame has no start code")
        return Header("WebP", _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF)
    if kind == b"VP8L":
        bits = _little(data, 21, 4)
        return Header("WebP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8X":
        return Header("WebP", _little(data, 24, 3) + 1, _little(data, 27, 3) + 1)
    raise _damaged("WebP", "its first part is neither VP8, VP8L nor VP8X")


def _webp_complete(data: bytes, header: Header) -> int:
    end = _little(data, 4, 4) + 8
    if end > len(data):
        raise _cut("WebP")
    at, orientation = 12, 1
    while at + 8 <= end:
        name, length = data[at : at + 4], _little(data, at + 4, 4)
        if at + 8 + length > end:
            raise _cut("WebP")
        if name == b"EXIF":
            orientation = _orientation(data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
        # A key frame spends over a bit on each macroblock of 16 x 16, for the modes alone (RFC 6386, 11).
        if name == b"VP8 " and at == 12 and length * 8 * 256 < header.width * header.height:
            raise _cut("WebP")
        at += 8 + length + length % 2
    return orientation


def _orientation(tiff: bytes) -> int:
    """Return the EXIF orientation of a TIFF directory, 1 where it holds none that makes sense."""
    number = {b"II*\0": _little, b"MM\0*": _big}.get(tiff[:4])
    if number is None:
        return 1
    first = number(tiff, 4, 4)
    for entry in range(first + 2, min(first + 2 + 12 * number(tiff, first, 2), len(tiff) - 11), 12):
        if number(tiff, entry, 2) == 0x0112:
            long = number(tiff, entry + 2, 2) == 4
            value = number(tiff, entry + 8, 4 if long else 2)
            return value if 1 <= value <= 8 else 1
    return 1
