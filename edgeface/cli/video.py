"""Video files: frames in, annotated frames out, both through OpenCV. Sound is not carried over."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeface.cli.inputs import printable
from edgeface.cli.outputs import OutputError
from edgeface.errors import FrameError
from edgeface.frame import Frame, ImageLimits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

__all__ = ["VideoReader", "VideoWriter"]

_USUAL_RATE = 25.0
_LIMITS = ImageLimits()
# containers whose announced frame count can be believed
_INDEXED = frozenset({".mp4", ".m4v", ".mov", ".avi"})


class VideoReader:
    """The frames of a video file, in order. `count` is what the file announces, None if it does not.

    Raises:
        FrameError: the file is no video that can be read, its pictures are larger than `limits` allow, or it
            ends long before it should; frames read until then were given out.
    """

    def __init__(self, path: Path, limits: ImageLimits = _LIMITS) -> None:
        # The decoder's own complaints go to stderr past Python; ours say the same once.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        self.path = path
        # An absolute path of an existing file is never taken for an address or a protocol.
        with _quiet():
            self._capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
        if not path.is_file() or not self._capture.isOpened():
            self._capture.release()
            raise FrameError(
                f"{path}: not a video that can be read; is it complete, and does it play elsewhere?"
            )
        width, height = (
            int(self._capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        if width * height > limits.max_pixels or max(width, height) > limits.max_side:
            self._capture.release()
            raise FrameError(
                f"{path}: {width} x {height} pixels are over the limit of {limits.max_pixels} pixels and "
                f"{limits.max_side} per side: resize the video"
            )
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if np.isfinite(rate) and 1.0 <= rate <= 240.0 else _USUAL_RATE
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.count = int(count) if np.isfinite(count) and 0 < count < 1e9 else None

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while True:
            with _quiet():
                ok, bgr = self._capture.read()
            if not ok:
                break
            rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
            time = round(index / self.rate * 1e9)
            yield Frame.from_array(rgb, timestamp_ns=time, source=f"{self.path}#{index}")
            index += 1
        if index == 0:
            raise FrameError(
                f"{self.path}: no frame can be decoded; the file is damaged or of an unknown codec"
            )
        if self.count and self.path.suffix.lower() in _INDEXED and index < 0.9 * self.count - 2:
            raise FrameError(
                f"{self.path}: ends after {index} of {self.count} frames; the file is cut or damaged"
            )

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()


class VideoWriter:
    """Writes RGB frames of one size to `path` (.mp4), or an .avi beside it without an MPEG-4 encoder.

    The file appears under its name when the writer closes, also after an interruption, with the frames until
    then.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path = path
        self._rate = rate
        self._part: Path | None = None
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, rgb: NDArray[np.uint8]) -> None:
        """Append a frame, uint8 [H, W, 3]; the first sets the size."""
        height, width = rgb.shape[:2]
        # encoders want even sides
        size = (width + width % 2, height + height % 2)
        if self._writer is None:
            self._size = size
            self._writer = self._open()
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        if size != (width, height):
            bgr = cv2.copyMakeBorder(bgr, 0, size[1] - height, 0, size[0] - width, cv2.BORDER_REPLICATE)
        if size != self._size:  # OpenCV would drop the frame without a word
            bgr = cv2.resize(bgr, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(bgr)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is None or self._part is None:
            return
        self._writer.release()
        self._writer = None
        try:
            if self._part.stat().st_size == 0:
                raise OutputError(
                    f"{printable(str(self.path))}: the video could not be written; is the disk full?"
                )
            self._part.replace(self.path)
        except OSError as error:
            raise OutputError(f"{printable(str(self.path))}: {error.strerror}") from error
        finally:
            self._part.unlink(missing_ok=True)

    def _open(self) -> cv2.VideoWriter:
        for suffix, codec in ((".mp4", "mp4v"), (".avi", "MJPG")):
            part = self.path.with_name(f".{self.path.stem}.part{suffix}")
            with _quiet():
                writer = cv2.VideoWriter(
                    str(part),
                    cv2.VideoWriter.fourcc(*codec),
                    self._rate,
                    self._size,
                )
            if writer.isOpened():
                self._part, self.path = part, self.path.with_suffix(suffix)
                return writer
            part.unlink(missing_ok=True)
        raise OutputError(
            f"{printable(str(self.path))}: no video can be written here; is the folder writable?"
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV answers with False or an empty frame; its log lines would only tear the progress bar."""
    logging = getattr(getattr(cv2, "utils", None), "logging", None)
    if logging is None:
        yield
        return
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)
