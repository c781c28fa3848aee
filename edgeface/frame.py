"""A picture on its way in: the header first, then the pixels.

`decode_image` reads size, orientation and completeness from the bytes themselves (`edgeface.imagefile`) and
refuses a picture that is too large, cut off or of an unknown kind before any pixel is allocated. Only then
OpenCV decodes it.
"""

from __future__ import annotations

import numbers
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeface.errors import ArgumentError, FrameError
from edgeface.imagefile import Header, check_complete, read_header

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Frame", "ImageLimits", "decode_image", "read_image"]


@dataclass(frozen=True)
class ImageLimits:
    """How large a picture may be.

    Attributes:
        max_bytes: Size of the file, bytes.
        max_pixels: Width times height. Decoding takes up to ten bytes per pixel for a moment. JPEG, PNG,
            plain BMP and lossy WebP that hold too few bytes for the size they claim are refused beforehand.
            The exception are lossless WebP, WebP with a canvas (VP8X) and run-length BMP: they can hold a
            large flat picture in a few bytes, so that only this limit bounds what a damaged one costs: by
            default half a gigabyte for a moment. Lower it where strangers send pictures.
        max_side: Longer side, pixels; OpenCV's geometry ends at 32766.

    Raises:
        ArgumentError: A limit is not a number above 0, or `max_side` is above 32766.
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 50_000_000
    max_side: int = 20_000

    def __post_init__(self) -> None:
        limits = (self.max_bytes, self.max_pixels, self.max_side)
        if not all(isinstance(limit, numbers.Real) for limit in limits):
            raise ArgumentError(f"{self}: limits must be numbers")
        if min(limits) <= 0 or self.max_side > 32766:
            raise ArgumentError(f"{self}: limits must be above 0 and max_side at most 32766")


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture.

    Attributes:
        rgb: uint8 [H, W, 3], RGB, C-contiguous, read-only here. It may share memory with the array it was
            made from.
        timestamp_ns: Monotonic time at which the picture was taken or read.
        source: Where it came from: a path, a camera, "array".

    Raises:
        FrameError: `rgb` is not such an array; `Frame.from_array` converts many others.
    """

    rgb: NDArray[np.uint8]
    timestamp_ns: int
    source: str

    def __post_init__(self) -> None:
        rgb: Any = self.rgb
        if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise FrameError(
                f"{self.source}: a frame is a uint8 array [height, width, 3], not {_describe(rgb)}: "
                "use Frame.from_array, which converts grey, RGBA and 16-bit pictures"
            )
        if rgb.size == 0 or max(rgb.shape) > 32766:
            raise FrameError(
                f"{self.source}: a frame of {rgb.shape[1]} x {rgb.shape[0]} pixels cannot be analysed: "
                "each side must be 1 to 32766 pixels, crop or resize it"
            )
        # A view, so that the caller's own array stays as writable as it was.
        view = np.ascontiguousarray(rgb).view()
        view.setflags(write=False)
        object.__setattr__(self, "rgb", view)

    def __reduce__(self) -> tuple[type[Frame], tuple[NDArray[np.uint8], int, str]]:
        # Through the constructor, so that a frame sent to another process is read-only there too.
        return type(self), (self.rgb, self.timestamp_ns, self.source)

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.rgb.shape[0])

    @classmethod
    def from_array(
        cls,
        rgb: NDArray[np.uint8] | NDArray[np.uint16],
        *,
        timestamp_ns: int | None = None,
        source: str = "array",
    ) -> Frame:
        """Make a frame of an array in RGB order (OpenCV's BGR: pass ``bgr[..., ::-1]``).

        Args:
            rgb: uint8 or uint16, [H, W, 3] colour, [H, W, 4] colour with alpha (dropped), [H, W] or [H, W, 1]
                grey. uint16 is scaled so that 65535 becomes 255. A C-contiguous uint8 [H, W, 3] is used
                without a copy.
            timestamp_ns: Monotonic time of the picture; now when None.
            source: Where it came from, for messages and results.

        Raises:
            FrameError: The array has another shape or dtype, or no pixels.
        """
        array: Any = rgb
        if not isinstance(array, np.ndarray) or array.dtype not in (np.uint8, np.uint16):
            raise FrameError(
                f"{source}: a picture is a uint8 or uint16 array, not {_describe(array)}: {_mend(array)}"
            )
        if array.ndim == 2:
            array = array[:, :, None]
        if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
            raise FrameError(
                f"{source}: a picture has the shape [height, width, 3] (or 1 or 4 channels, or none), "
                f"not {_describe(array)}: pass one picture, channels last"
            )
        array = array[:, :, :3]
        if array.dtype == np.uint16:
            array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
        if array.shape[2] == 1:
            array = np.repeat(array, 3, axis=2)
        stamp = time.monotonic_ns() if timestamp_ns is None else timestamp_ns
        return cls(np.ascontiguousarray(array), stamp, source)


def decode_image(data: bytes, limits: ImageLimits = ImageLimits(), source: str = "bytes") -> Frame:
    """Decode a JPEG, PNG, BMP or WebP picture, turned upright as its EXIF orientation says.

    Grey, palette, RGBA (alpha is dropped), 16-bit and CMYK pictures become RGB uint8; of an animation the
    first frame counts. A picture whose data end early is refused, not filled with grey. Damage inside
    complete data is found where the format carries a checksum (PNG) and otherwise as far as the decoder
    notices.

    Args:
        data: The bytes of the file.
        limits: What is refused by the header alone.
        source: What to call the picture in messages and results.

    Raises:
        FrameError: Not such a picture, damaged, cut off or over a limit.
        ArgumentError: `limits` is no ImageLimits.
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise FrameError(
            f"{source}: expected the bytes of a picture, not {type(data).__name__}: "
            "read_image takes a path, Frame.from_array an array"
        )
    _check_limits(limits)
    data = bytes(data)
    if len(data) > limits.max_bytes:
        raise FrameError(f"{source}: {_too_many_bytes(len(data), limits)}")
    header = read_header(data, source)
    if max(header.width, header.height) > limits.max_side or header.width * header.height > limits.max_pixels:
        raise FrameError(
            f"{source}: {header.width} x {header.height} pixels are over the limit of {limits.max_pixels} "
            f"pixels and {limits.max_side} per side: resize the picture, "
            "or pass wider ImageLimits if you trust it"
        )
    orientation = check_complete(data, header, source)
    return Frame(_upright(_pixels(data, header, source), orientation), time.monotonic_ns(), source)


def read_image(path_or_bytes: str | os.PathLike[str] | bytes, limits: ImageLimits = ImageLimits()) -> Frame:
    """Read a picture from a file, or decode it when its bytes are given; see `decode_image`.

    Raises:
        FrameError: There is no such regular file, it cannot be read, or `decode_image` refuses its content.
        ArgumentError: `limits` is no ImageLimits.
    """
    _check_limits(limits)
    if isinstance(path_or_bytes, (bytes, bytearray, memoryview)):
        return decode_image(path_or_bytes, limits)
    try:
        path = os.fspath(path_or_bytes)
    except TypeError:
        raise FrameError(
            f"expected a path or the bytes of a picture, not {type(path_or_bytes).__name__}: "
            "Frame.from_array takes an array"
        ) from None
    if not path:
        raise FrameError("the path is empty: give the path of one JPEG, PNG, BMP or WebP picture")
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise FrameError(f"{path}: is {kind}: give the path of one JPEG, PNG, BMP or WebP picture")
        if status.st_size > limits.max_bytes:
            raise FrameError(f"{path}: {_too_many_bytes(status.st_size, limits)}")
        with Path(path).open("rb") as file:
            data = file.read(limits.max_bytes + 1)
    except FileNotFoundError as error:
        mend = "download it first, EdgeFace does not" if "://" in os.fsdecode(path) else "check the path"
        raise FrameError(f"{path}: there is no such file: {mend}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FrameError(
            f"{path!r}: cannot be read ({reason}): check the path and its permissions"
        ) from error
    return decode_image(data, limits, source=path)


def _check_limits(limits: object) -> None:
    if not isinstance(limits, ImageLimits):
        raise ArgumentError(f"limits must be ImageLimits(...), not {limits!r}")


def _too_many_bytes(size: int, limits: ImageLimits) -> str:
    return (
        f"{size} bytes are over the limit of {limits.max_bytes}: resize the picture, or pass "
        "wider ImageLimits if you trust it"
    )


def _describe(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return type(value).__name__


def _mend(value: object) -> str:
    if value is None:
        return "whatever was to read it found none"  # OpenCV says so of a missing file or a lost camera
    if isinstance(value, (str, bytes, os.PathLike)):
        return "read the file with edgeface.read_image first"
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return (
            "scale floats from 0..1 with (x * 255).round().astype(numpy.uint8), "
            "those from 0..255 need x.round().astype(numpy.uint8)"
        )
    return "make it one with numpy.asarray(picture).astype(numpy.uint8), values from 0 to 255"


def _pixels(data: bytes, header: Header, source: str) -> NDArray[np.uint8]:
    import cv2  # 60 ms that `import edgeface` must not pay

    # Of damage inside a JPEG libjpeg remarks on stderr itself, past OpenCV's log, and nothing but a stderr
    # turned away for the whole process would stop it; a library has no right to do that.
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise FrameError(f"{source}: the {header.kind} decoder refuses it: save the picture again") from error
    if bgr is None or bgr.shape != (header.height, header.width, 3) or bgr.dtype != np.uint8:
        raise FrameError(
            f"{source}: damaged {header.kind}, its data do not hold the {header.width} x {header.height} "
            "pixels that its header promises: save the picture again"
        )
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _upright(rgb: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo an EXIF orientation (1 to 8: TIFF 6.0, tag 274)."""
    if orientation in (5, 6, 7, 8):
        rgb = rgb.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    if orientation in (3, 4, 7, 8):
        rgb = rgb[::-1]
    return np.ascontiguousarray(rgb)
