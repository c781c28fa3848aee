"""Annotated videos, written through OpenCV; `edgeface.camera.VideoFile` reads. Sound is not carried over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2

from edgeface.camera.opencv import quiet
from edgeface.cli.inputs import printable
from edgeface.cli.outputs import OutputError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["VideoWriter"]


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
            with quiet():
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
