"""One way to read a picture of a data set: its pixels, or an error that names the file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["read_picture"]


def read_picture(path: Path, grey: bool = False) -> NDArray[np.uint8]:
    """The pixels as OpenCV decodes them: BGR uint8 [H, W, 3], or [H, W] for ``grey``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a picture.
    """
    data = np.fromfile(path, np.uint8)
    flags = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
    pixels = cv2.imdecode(data, flags) if data.size else None
    if pixels is None:
        raise ValueError(f"{path}: not a readable image; remove it or fetch it again")
    return pixels
