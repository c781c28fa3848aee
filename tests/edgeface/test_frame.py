"""Pictures of every accepted kind become RGB frames; everything else is a FrameError that names the input."""

import copy
import io
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from edgeface.errors import ArgumentError, EdgeFaceError, FrameError
from edgeface.frame import Frame, ImageLimits, decode_image, read_image

ROWS, COLUMNS = np.mgrid[:48, :64]
# A smooth ramp with a bright corner: lossy codecs keep it within a few grey levels, no flip leaves it alone.
PICTURE = np.stack([COLUMNS * 4, ROWS * 5, (COLUMNS + ROWS) * 2], axis=-1).astype(np.uint8)
PICTURE[4:16, 40:60] = (250, 245, 240)
IMAGE = Image.fromarray(PICTURE)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def distance(frame: Frame, truth: NDArray[np.uint8]) -> float:
    assert frame.rgb.shape == truth.shape
    return float(np.abs(frame.rgb.astype(int) - truth).mean())


def rgb_of(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    ("data", "truth", "tolerance"),
    [
        pytest.param(encode(IMAGE, "JPEG", quality=95), IMAGE, 3, id="jpeg"),
        pytest.param(encode(IMAGE, "JPEG", quality=95, progressive=True), IMAGE, 3, id="jpeg-progressive"),
        pytest.param(encode(IMAGE.convert("L"), "JPEG", quality=95), IMAGE.convert("L"), 3, id="jpeg-grey"),
        pytest.param(encode(IMAGE.convert("CMYK"), "JPEG", quality=95), IMAGE, 4, id="jpeg-cmyk"),
        pytest.param(encode(IMAGE, "PNG"), IMAGE, 0, id="png"),
        pytest.param(encode(IMAGE.convert("L"), "PNG"), IMAGE.convert("L"), 0, id="png-grey"),
        pytest.param(encode(IMAGE.convert("RGBA"), "PNG"), IMAGE, 0, id="png-rgba"),
        pytest.param(encode(IMAGE.convert("LA"), "PNG"), IMAGE.convert("L"), 0, id="png-grey-alpha"),
        pytest.param(encode(IMAGE.convert("P"), "PNG"), IMAGE.convert("P"), 0, id="png-palette"),
        pytest.param(encode(IMAGE.convert("1"), "PNG"), IMAGE.convert("1"), 0, id="png-1-bit"),
        pytest.param(encode(IMAGE, "BMP"), IMAGE, 0, id="bmp"),
        pytest.param(encode(IMAGE.convert("P"), "BMP"), IMAGE.convert("P"), 0, id="bmp-palette"),
        pytest.param(encode(IMAGE.convert("RGBA"), "BMP"), IMAGE, 0, id="bmp-rgba"),
        pytest.param(encode(IMAGE, "WEBP", quality=95), IMAGE, 3, id="webp"),
        pytest.param(encode(IMAGE, "WEBP", lossless=True), IMAGE, 0, id="webp-lossless"),
        pytest.param(encode(IMAGE.convert("RGBA"), "WEBP", lossless=True), IMAGE, 0, id="webp-rgba"),
    ],
)
def test_a_picture_keeps_its_pixels(data: bytes, truth: Image.Image, tolerance: float) -> None:
    frame = decode_image(data)
    assert (frame.width, frame.height) == (64, 48)
    assert frame.rgb.dtype == np.uint8
    assert frame.rgb.flags.c_contiguous
    assert not frame.rgb.flags.writeable
    assert distance(frame, rgb_of(truth)) <= tolerance


def test_a_16_bit_png_is_scaled_to_8_bits() -> None:
    deep = (COLUMNS * 1024).astype(np.uint16)
    frame = decode_image(encode(Image.fromarray(deep), "PNG"))
    assert np.abs(frame.rgb[..., 0].astype(int) - deep / 257).max() <= 1
    assert (frame.rgb[..., 0] == frame.rgb[..., 2]).all()


def test_of_an_animation_the_first_frame_counts() -> None:
    second = IMAGE.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for kind, options in (("WEBP", {"lossless": True}), ("PNG", {})):
        frame = decode_image(encode(IMAGE, kind, save_all=True, append_images=[second], **options))
        assert distance(frame, PICTURE) == 0


def stored_turned(orientation: int) -> tuple[Image.Image, Image.Exif]:
    """Return IMAGE as a camera would store it that writes this orientation."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> Pillow transpose that produces it
    stored = IMAGE if orientation == 1 else IMAGE.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    return stored, exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {"quality": 95}), ("PNG", {}), ("WEBP", {"lossless": True})]
)
def test_exif_orientation_is_undone(orientation: int, kind: str, options: dict[str, object]) -> None:
    stored, exif = stored_turned(orientation)
    data = encode(stored, kind, exif=exif, **options)
    by_pillow = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    frame = decode_image(data)
    assert (frame.width, frame.height) == by_pillow.size == (64, 48)
    assert distance(frame, PICTURE) <= 3
    assert distance(frame, rgb_of(by_pillow)) <= 1


def exif_jpeg(tiff: bytes) -> bytes:
    plain = encode(IMAGE, "JPEG", quality=95)
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff + plain[2:]


@pytest.mark.parametrize(
    "tiff",
    [
        b"",
        b"II*\0",
        b"II*\0\xff\xff\xff\x7f",
        b"MM\0*\0\0\0\x08\xff\xff",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0",
        b"XX*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0",
    ],
)
def test_exif_that_makes_no_sense_turns_nothing(tiff: bytes) -> None:
    assert distance(decode_image(exif_jpeg(tiff)), PICTURE) <= 3


@pytest.mark.parametrize(
    "tiff",
    [
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\0\0\x03\0\0\0\0",
    ],
)
def test_both_byte_orders_and_both_integer_types_of_exif_count(tiff: bytes) -> None:
    assert distance(decode_image(exif_jpeg(tiff)), PICTURE[::-1, ::-1]) <= 3


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {}), ("PNG", {}), ("BMP", {}), ("WEBP", {})])
def test_a_picture_that_is_cut_off_is_refused_at_every_length(kind: str, options: dict[str, object]) -> None:
    data = encode(IMAGE, kind, **options)
    for length in range(0, len(data), max(1, len(data) // 300)):
        with pytest.raises(FrameError):
            decode_image(data[:length])
    with pytest.raises(FrameError, match="photo: truncated"):
        decode_image(data[:-1], source="photo")


def test_bytes_after_the_end_do_not_hurt() -> None:
    for kind in ("JPEG", "PNG", "BMP", "WEBP"):
        assert decode_image(encode(IMAGE, kind) + b"trailer\xff\xd8\0").width == 64


def test_a_jpeg_with_a_thumbnail_inside_is_measured_by_its_own_size() -> None:
    thumbnail = encode(IMAGE.resize((16, 12)), "JPEG")
    frame = decode_image(exif_jpeg(b"II*\0\x08\0\0\0\0\0\0\0\0\0" + thumbnail))
    assert (frame.width, frame.height) == (64, 48)
    with pytest.raises(FrameError, match="truncated"):
        decode_image(exif_jpeg(b"II*\0\x08\0\0\0\0\0\0\0\0\0" + thumbnail)[: 40 + len(thumbnail)])


def test_a_png_whose_checksum_does_not_match_is_refused() -> None:
    data = bytearray(encode(IMAGE, "PNG"))
    data[data.index(b"IDAT") + 20] ^= 1
    with pytest.raises(FrameError, match=r"damaged PNG, the checksum"):
        decode_image(bytes(data))


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    data = encode(IMAGE, "JPEG", progressive=True)
    scan = data[data.index(b"\xff\xda") : -2]
    with pytest.raises(FrameError, match="scans"):
        decode_image(data[:-2] + scan * 200 + b"\xff\xd9")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"hello, this is no picture at all", "not a picture"),
        (b"GIF89a" + b"\0" * 40, "looks like GIF: convert it"),
        (b"II*\0" + b"\0" * 40, "looks like TIFF"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 40, "looks like HEIC"),
        (b"\0\0\0\x18ftypisom" + b"\0" * 40, "looks like a video"),
        (b"\xff\xd8\xff\xd9", "size is missing|truncated"),
        (b"RIFF\x40\0\0\0WEBPJUNK" + b"\0" * 60, "neither VP8"),
    ],
)
def test_what_is_no_picture_is_told_by_name(data: bytes, message: str) -> None:
    with pytest.raises(FrameError, match=rf"^upload 7: .*({message})"):
        decode_image(data, source="upload 7")


def test_a_bmp_of_the_oldest_kind_is_read() -> None:
    rows = b"".join(row[:, ::-1].tobytes() for row in PICTURE[::-1])
    old = b"BM" + struct.pack("<IIIIHHHH", 26 + len(rows), 0, 26, 12, 64, 48, 1, 24) + rows
    assert distance(decode_image(old), PICTURE) == 0
    with pytest.raises(FrameError, match="truncated BMP"):
        decode_image(old[:20])


def altered(kind: str, at: int, value: bytes) -> bytes:
    data = bytearray(encode(IMAGE, kind))
    data[at : at + len(value)] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(altered("BMP", 18, b"\0\0\0\0"), "damaged BMP, its header says 0 x 48", id="no-width"),
        pytest.param(
            altered("BMP", 18, b"\xff\xff\xff\xff"), "damaged BMP, its header says -1", id="negative"
        ),
        pytest.param(altered("BMP", 28, b"\x11\0"), "BMP", id="bmp-of-17-bits"),
        pytest.param(altered("BMP", 30, b"\x09"), "BMP", id="bmp-of-unknown-packing"),
        pytest.param(altered("PNG", 12, b"IDAT"), "damaged PNG, it does not begin", id="png-without-header"),
        pytest.param(
            altered("WEBP", 23, b"\0"), "damaged WebP, its first frame", id="webp-without-start-code"
        ),
        pytest.param(altered("WEBP", 4, b"\xff\xff"), "truncated WebP", id="webp-that-promises-more"),
        pytest.param(altered("WEBP", 16, b"\xff\xff"), "truncated WebP", id="webp-part-that-promises-more"),
        pytest.param(
            altered("JPEG", 2, b"\0"), "damaged JPEG, there is no marker at byte 2", id="jpeg-marker"
        ),
        pytest.param(
            b"\xff\xd8\xff\xda\0\2\xff\xd9", "damaged JPEG, its size is missing", id="jpeg-scan-first"
        ),
        pytest.param(b"\xff\xd8\xff\xc0\0\1\xff\xd9", "truncated JPEG", id="jpeg-length-below-2"),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        decode_image(data)


def test_limits_are_kept_at_the_pixel() -> None:
    data = encode(IMAGE, "PNG")
    assert decode_image(data, ImageLimits(len(data), 64 * 48, 64)).width == 64
    for limits, message in (
        (ImageLimits(max_bytes=len(data) - 1), "bytes are over the limit"),
        (ImageLimits(max_pixels=64 * 48 - 1), "64 x 48 pixels are over the limit"),
        (ImageLimits(max_side=63), "63 per side"),
    ):
        with pytest.raises(FrameError, match=message):
            decode_image(data, limits)
    for wrong in ({"max_bytes": 0}, {"max_pixels": -1}, {"max_side": 32767}, {"max_side": "big"}):
        with pytest.raises(ArgumentError, match="limits must be"):
            ImageLimits(**wrong)
    for no_limits in (100, None, {"max_side": 10}):
        for read in (read_image, decode_image):
            with pytest.raises(ArgumentError, match=r"limits must be ImageLimits\(\.\.\.\), not "):
                read(data, no_limits)  # type: ignore[operator]


def test_a_file_is_read_by_path_and_by_text(tmp_path: Path) -> None:
    path = tmp_path / "gesicht äöü.png"
    path.write_bytes(encode(IMAGE, "PNG"))
    for frame in (read_image(path), read_image(str(path))):
        assert distance(frame, PICTURE) == 0
        assert frame.source == str(path)
    assert read_image(path.read_bytes()).source == "bytes"
    assert read_image(path).timestamp_ns < read_image(path).timestamp_ns


def test_a_path_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    big = tmp_path / "big.png"
    big.write_bytes(encode(IMAGE, "PNG"))
    os.mkfifo(tmp_path / "pipe")
    for path, limits, message in (
        (tmp_path / "none.jpg", ImageLimits(), "no such file"),
        (tmp_path, ImageLimits(), "is a folder"),
        (tmp_path / "pipe", ImageLimits(), "not a regular file"),
        (big, ImageLimits(max_bytes=50), "over the limit of 50"),
    ):
        with pytest.raises(FrameError, match=message) as caught:
            read_image(path, limits)
        assert str(path) in str(caught.value)
    for nonsense, message in (
        ("a\0b", "check the path"),
        ("", "the path is empty"),
        ("http://example.org/a.jpg", "download it first"),
        (7, "not int"),
        (None, "not NoneType"),
        (np.zeros((4, 4, 3), np.uint8), "not ndarray: Frame.from_array takes an array"),
    ):
        with pytest.raises(FrameError, match=message):
            read_image(nonsense)  # type: ignore[arg-type]
    with pytest.raises(FrameError, match="not str: read_image takes a path"):
        decode_image("text")  # type: ignore[arg-type]


def test_a_frame_sent_to_another_process_is_the_same_and_read_only() -> None:
    frame = Frame.from_array(PICTURE, timestamp_ns=7, source="camera")
    for copied in (pickle.loads(pickle.dumps(frame)), copy.deepcopy(frame)):
        np.testing.assert_array_equal(copied.rgb, PICTURE)
        assert (copied.timestamp_ns, copied.source) == (7, "camera")
        assert not copied.rgb.flags.writeable


def test_an_array_becomes_a_frame() -> None:
    same = Frame.from_array(PICTURE, timestamp_ns=5, source="camera 0")
    assert (same.width, same.height, same.timestamp_ns, same.source) == (64, 48, 5, "camera 0")
    assert np.shares_memory(same.rgb, PICTURE)
    assert PICTURE.flags.writeable
    assert not same.rgb.flags.writeable
    grey = PICTURE[..., 0]
    for array, truth in (
        (grey, np.repeat(grey[..., None], 3, axis=2)),
        (grey[..., None], np.repeat(grey[..., None], 3, axis=2)),
        (np.dstack([PICTURE, grey]), PICTURE),
        (PICTURE.astype(np.uint16) * 257, PICTURE),
        (PICTURE[:, ::-1], PICTURE[:, ::-1]),
    ):
        frame = Frame.from_array(array)
        assert (frame.rgb == truth).all()
        assert frame.rgb.flags.c_contiguous


@given(st.integers(0, 65535))
def test_16_bit_values_are_rounded(value: int) -> None:
    frame = Frame.from_array(np.full((1, 1), value, dtype=np.uint16))
    assert frame.rgb[0, 0].tolist() == [round(value / 257)] * 3


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (PICTURE.astype(np.float32), "float32"),
        (PICTURE[None], r"\[1, 48, 64, 3\]"),
        (PICTURE[..., :2], "channels"),
        (PICTURE[:0], "0 pixels"),
        (np.zeros((2, 32767, 3), np.uint8), "32766"),
        ([[1, 2, 3]], "list"),
        (None, "NoneType"),
    ],
)
def test_an_array_of_another_kind_is_refused(array: object, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        Frame.from_array(array)  # type: ignore[arg-type]


def test_a_frame_made_by_hand_is_checked() -> None:
    assert Frame(PICTURE, 0, "hand").width == 64
    with pytest.raises(FrameError, match=r"use Frame\.from_array"):
        Frame(PICTURE[..., 0], 0, "hand")


def test_a_limit_of_the_decoder_itself_is_a_frame_error_too() -> None:
    # OpenCV has limits of its own, which the environment can set; they are read once per process.
    code = (
        "import sys; from edgeface.frame import decode_image; from edgeface.errors import FrameError\n"
        "try: decode_image(bytes.fromhex(sys.argv[1]), source='photo')\n"
        "except FrameError as error: print(error)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, encode(IMAGE, "PNG").hex()],
        capture_output=True, text=True, check=True, env={**os.environ, "OPENCV_IO_MAX_IMAGE_PIXELS": "100"},
    )  # fmt: skip
    assert run.stdout.startswith("photo: ")
    assert "OPENCV" not in run.stdout


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF\x20\0\0\0WEBPVP8X"]),
)
def test_noise_is_a_frame_error(noise: bytes, start: bytes) -> None:
    with pytest.raises(EdgeFaceError):
        decode_image(start + noise)
