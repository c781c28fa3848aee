"""Promises 1 and 2: malformed pictures give a typed error and cost little; a huge claim costs nothing.

The mutants run in a process of their own, because a crash or a leak there must be seen, not suffered.
"""

import json
import struct
import subprocess
import sys
import zlib

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

PROBE = r"""
import io, json, random, sys
import numpy as np
from PIL import Image
from edgeface.errors import FrameError
from edgeface.frame import Frame, ImageLimits, decode_image

def memory(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))

def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()

def mutant(data, chance):
    data = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        at = chance.randrange(len(data)) if chance.random() < 0.5 else chance.randrange(min(64, len(data)))
        kind = chance.randrange(6)
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF))
        elif kind == 2:
            data[at : at + 2] = chance.randbytes(2)
        elif kind == 3:
            del data[at : at + chance.randrange(1, 9)]
        elif kind == 4:
            data[at:at] = chance.randbytes(chance.randrange(1, 9))
        else:
            data[at:at] = data[at : at + chance.randrange(1, 40)]
        if not data:
            break
    if chance.random() < 0.1:
        del data[chance.randrange(len(data) + 1) :]
    return bytes(data)

def limits_for(data):
    # Lossless WebP, WebP canvases and run-length BMP hold large flat pictures in a few bytes, so that no
    # claim of theirs can be refused by length: only the limit bounds the cost (50 megapixels unless told).
    flat = data[12:16] in (b"VP8L", b"VP8X") or (data[:2] == b"BM" and data[30:31] not in (b"\0", b"\3"))
    return ImageLimits(max_pixels=500_000) if flat else ImageLimits()

def mended(png):
    # A mutant whose checksums are right again reaches the decoder itself.
    import struct, zlib
    out, at = bytearray(png[:8]), 8
    while at + 12 <= len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4], "big")
        if end + 4 > len(png):
            break
        out += png[at:end] + struct.pack(">I", zlib.crc32(png[at + 4 : end]))
        at = end + 4
    return bytes(out) + png[at:]

chance = random.Random(20)
rows, columns = np.mgrid[:40, :56]
noise = np.random.default_rng(3).integers(0, 40, (40, 56, 3))
image = Image.fromarray((np.stack([columns * 3, rows * 4, columns + rows], -1) + noise).astype(np.uint8))
exif = Image.Exif()
exif[0x0112] = 6
seeds = [
    encoded(image, "JPEG", exif=exif),
    encoded(image, "JPEG", progressive=True),
    encoded(image.convert("CMYK"), "JPEG"),
    encoded(image, "PNG", exif=exif),
    encoded(image.convert("P"), "PNG"),
    encoded(image.convert("I;16"), "PNG"),
    encoded(image, "BMP"),
    encoded(image.convert("P"), "BMP"),
    encoded(image, "WEBP", exif=exif),
    encoded(image, "WEBP"),
    encoded(image.convert("RGBA"), "WEBP", lossless=True),
    encoded(image, "WEBP", save_all=True, append_images=[image.rotate(180)]),
]
for seed in seeds * 3:
    decode_image(seed)
before = memory("VmRSS")
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")
counts = {"frames": 0, "errors": 0, "other": []}
for number in range(int(sys.argv[1])):
    data = mutant(seeds[number % len(seeds)], chance)
    if data.startswith(b"\x89PNG") and number % 2:
        data = mended(data)
    try:
        frame = decode_image(data, limits_for(data), source="mutant")
    except FrameError as error:
        counts["errors"] += 1
        if not str(error).startswith("mutant: "):
            counts["other"].append(str(error))
    except BaseException as error:
        counts["other"].append(repr(error))
    else:
        counts["frames"] += isinstance(frame, Frame) and frame.rgb.size > 0
counts["kept"] = memory("VmRSS") - before
counts["peak"] = memory("VmHWM") - before
print(json.dumps(counts))
"""


def run_probe(code: str, *arguments: str) -> dict[str, int]:
    # The decoders write their complaints about damaged data to stderr; they are not what is tested here.
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("mutants", [10_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
def test_mutants_give_a_frame_or_a_frame_error(mutants: int) -> None:
    counts = run_probe(PROBE, str(mutants))
    assert counts["other"] == []
    assert counts["frames"] + counts["errors"] == mutants
    # Both ways are really taken, or the mutants would prove nothing.
    assert min(counts["frames"], counts["errors"]) > mutants // 20
    assert counts["peak"] <= 10 * 2**20


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(b"\0" * 6, level=0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


CLAIM = r"""
import json, sys
import cv2
from edgeface.errors import FrameError
from edgeface.frame import ImageLimits, decode_image

def memory(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))

data, limits = bytes.fromhex(sys.argv[1]), ImageLimits(max_pixels=int(sys.argv[2]), max_side=32766)
before = memory("VmRSS")
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")
try:
    decode_image(data, limits)
    message = ""
except FrameError as error:
    message = str(error)
print(json.dumps({"message": message, "peak": memory("VmHWM") - before}))
"""


def bmp_that_claims(width: int, height: int) -> bytes:
    return (
        b"BM"
        + struct.pack("<IIIIiiHHIIIIII", 74, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
        + b"\0" * 20
    )


def jpeg_that_claims(width: int, height: int) -> bytes:
    frame = struct.pack(">BBHBHHB", 0xFF, 0xC0, 11, 8, height, width, 1) + b"\x01\x11\0"
    scan = b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" + b"\x55" * 20
    return b"\xff\xd8" + frame + scan + b"\xff\xd9"


def webp_that_claims(width: int, height: int) -> bytes:
    body = b"\x10\x02\0\x9d\x01\x2a" + struct.pack("<HH", width, height) + b"\x55" * 20
    return b"RIFF" + struct.pack("<I", len(body) + 12) + b"WEBPVP8 " + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("make", [png_that_claims, bmp_that_claims, jpeg_that_claims])
def test_a_huge_claim_is_refused_before_it_costs_memory(make: object) -> None:
    data = make(30_000, 30_000)  # type: ignore[operator]
    found = run_probe(CLAIM, data.hex(), str(50_000_000))
    assert "30000 x 30000 pixels are over the limit" in found["message"]
    assert found["peak"] <= 5 * 2**20


def test_the_huge_png_has_74_bytes() -> None:
    assert len(png_that_claims(30_000, 30_000)) == 74


@pytest.mark.parametrize("make", [png_that_claims, bmp_that_claims, jpeg_that_claims, webp_that_claims])
def test_a_claim_within_wide_limits_is_compared_with_the_data(make: object) -> None:
    data = make(16_000, 16_000)  # type: ignore[operator]
    found = run_probe(CLAIM, data.hex(), str(2**31))
    assert "truncated" in found["message"]
    assert found["peak"] <= 5 * 2**20
