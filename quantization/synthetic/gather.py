"""Makes ``pictures``: what is behind rendered heads, from two packages whose pictures anybody may use.

Run it where both are unpacked (``npm pack @pmndrs/assets@1.7.0``, ``pip download --no-deps
scikit-image==0.26.0``), after ``pip install OpenEXR==3.5.3``, which nothing else here needs::

    python -m quantization.synthetic.gather package/hdri skimage/data
"""

from __future__ import annotations

import base64
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .backgrounds import PICTURES

__all__ = ["main"]

# CC0 or in the public domain by scikit-image's own notes on them; none shows a person.
_PHOTOS = ("brick", "chelsea", "coffee", "grass", "gravel", "hubble_deep_field", "rocket")
_LONGEST = 720
_QUALITY = 88
_BRIGHT = 85  # percentile of a panorama that becomes 0.6 of white


def _panorama(path: Path) -> NDArray[np.uint8]:
    """A panorama, linear and without bound in its file, as a camera would show it: BGR uint8 [H, W, 3]."""
    import OpenEXR

    encoded = path.read_text().split("base64,", 1)[1].split("'", 1)[0]
    with tempfile.NamedTemporaryFile(suffix=".exr") as file:
        file.write(base64.b64decode(encoded))
        file.flush()
        with OpenEXR.File(file.name) as opened:
            channels = opened.channels()
            linear = channels["RGB"].pixels.astype(np.float32)
    # Beside a lamp the file's compression rings below 0, which would be a black rim around it.
    linear = np.where(linear.min(2, keepdims=True) < 0, cv2.dilate(linear, np.ones((5, 5))), linear)
    shown = np.clip(linear / np.percentile(linear, _BRIGHT) * 0.6, 0, 1) ** (1 / 2.2) * 255
    return np.ascontiguousarray(shown.astype(np.uint8)[:, :, ::-1])


def main(panoramas: Path, photos: Path) -> None:
    """Writes every picture as WebP."""
    found = {f"panorama-{p.name.split('.')[0]}": _panorama(p) for p in sorted(panoramas.glob("*.exr.js"))}
    for name in _PHOTOS:
        (path,) = photos.glob(f"{name}.*")
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        scale = min(1.0, _LONGEST / max(picture.shape[:2]))
        found[f"photo-{name.split('_')[0]}"] = cv2.resize(
            picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
        )
    PICTURES.mkdir(exist_ok=True)
    for name, picture in found.items():
        cv2.imwrite(str(PICTURES / f"{name}.webp"), picture, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
