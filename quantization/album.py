"""An album: composed scenes that the published detectors looked at once more, as they are now.

What a label says of a photo need not hold of a scene made of it: a head pasted small, blurred or behind a
hand may be no face to any detector, a scrambled one still be a face. Taught all the same, such labels make a
student sure of blots and unsure of faces half hidden. So a face of an album is what YuNet finds, too; what
YuNet alone sees, or the label alone, is neither taught nor called background; what YuNet and UltraFace both
see is a face, whatever the label says. That is how the photos the student is graded on were labelled
(:func:`quantization.label.label_faces`).

Asking costs more than a step of training does, so the scenes are kept, in pieces of some hundred, and drawn
from with a jitter.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface.geometry import iou_matrix

from .scenes import Scene, SceneMaker
from .teachers.ultraface import UltraFace
from .teachers.yunet import YuNet

__all__ = ["DETECTORS", "DOUBTFUL", "SAME", "Album", "agree"]

Array = NDArray[np.float32]
DETECTORS = ("yunet_n_640_640.onnx", "ultralight_version-RFB-320.onnx")
"""Files of the published networks that are asked."""

_FORMAT = 2  # to be raised when the same scenes would be composed or judged otherwise
_PIECE = 250  # scenes of a file: about a minute's work
DOUBTFUL, _SURE = 0.3, 0.6  # scores of YuNet's; the latter is what graded faces have
SAME, _ALIKE = 0.4, 0.75  # IoU from which YuNet means the face of the label, and draws it alike


def agree(scene: Scene, wide: YuNet, second: UltraFace) -> None:
    """Changes what ``scene`` says of its faces to what its picture shows of them."""
    found = wide.detect(scene.image, DOUBTFUL)
    others, _ = second.detect(scene.image)
    agreed = found.scores >= _SURE
    agreed &= (iou_matrix(found.boxes, others) >= 0.5).any(1) if len(others) and len(found) else False
    known = np.array(scene.boxes, np.float32).reshape(-1, 4)
    overlap = iou_matrix(known, found.boxes)
    pairs = overlap >= SAME
    for i in range(len(known)):
        scene.sure[i] = bool((scene.sure[i] and pairs[i].any()) or (pairs[i] & agreed).any())
        best = int(np.argmax(overlap[i])) if pairs[i].any() else -1
        # A turned head's box is a rule's; where YuNet would draw it is better asked of YuNet.
        if best >= 0 and found.scores[best] >= _SURE and overlap[i, best] < _ALIKE:
            scene.boxes[i], scene.points[i] = found.boxes[best], found.keypoints[best]
    for j in np.flatnonzero(~pairs.any(0)):
        scene.add(found.boxes[j], found.keypoints[j], bool(agreed[j]))


class Album:
    """Scenes of one :class:`SceneMaker`, on disk; made where they are not there yet."""

    def __init__(self, pieces: list[Path]) -> None:
        self._images = [np.load(path.with_suffix(".npy"), mmap_mode="r") for path in pieces]
        self._faces = [dict(np.load(path)) for path in pieces]

    @classmethod
    def of(
        cls,
        maker: SceneMaker,
        made_of: Mapping[str, object],
        count: int,
        folder: Path,
        teachers: Path,
        say: Callable[[str], None] = print,
    ) -> Album:
        """The album of ``count`` scenes; pieces that a process finished before are taken as they are.

        Args:
            maker: Composes the scenes.
            made_of: What decides about its scenes, as JSON values; another album lies in another folder.
            count: How many scenes, rounded up to full pieces.
            folder: Albums lie in it.
            teachers: Where the files of `DETECTORS` lie.
            say: Is told of every piece that is made.
        """
        told = json.dumps([_FORMAT, dict(made_of)], sort_keys=True).encode()
        home = folder / f"album-{hashlib.sha256(told).hexdigest()[:12]}"
        home.mkdir(parents=True, exist_ok=True)
        pieces = [home / f"{k:04d}.npz" for k in range(-(-count // _PIECE))]
        missing = [k for k, path in enumerate(pieces) if not path.exists()]
        if missing:
            wide, second = YuNet(teachers / DETECTORS[0]), UltraFace(teachers / DETECTORS[1])

            def compose(i: int) -> Scene:
                scene = maker.draw(np.random.default_rng([71, i]))
                agree(scene, wide, second)
                return scene

            with ThreadPoolExecutor(2) as threads:  # the detectors and OpenCV let go of the interpreter
                start = time.monotonic()
                for made, k in enumerate(missing, 1):
                    _write(pieces[k], list(threads.map(compose, range(k * _PIECE, (k + 1) * _PIECE))))
                    left = (time.monotonic() - start) / made * (len(missing) - made)
                    scenes = f"{(k + 1) * _PIECE} of {len(pieces) * _PIECE} scenes"
                    say(f"album: {scenes}, about {left / 60:.1f} min left")
        return cls(pieces)

    def draw(self, rng: np.random.Generator) -> Scene:
        """One of the scenes, moved, scaled, mirrored and lit anew."""
        k = int(rng.integers(len(self._images)))
        i = int(rng.integers(_PIECE))
        picture, faces = self._images[k][i], self._faces[k]
        height, width = picture.shape[:2]
        scale = float(np.exp(rng.uniform(np.log(0.8), np.log(1.25))))
        middle = np.array([width, height]) / 2
        shift = middle + rng.uniform(-0.1, 0.1, 2) * (width, height) - scale * middle
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        fill = [float(rng.integers(0, 256))] * 3
        image = cv2.warpAffine(picture, matrix, (width, height), flags=flags, borderValue=fill)
        alpha, beta = float(rng.uniform(0.8, 1.2)), float(rng.uniform(-15, 15))
        scene = Scene(cv2.convertScaleAbs(image, alpha=alpha, beta=beta) if rng.random() < 0.5 else image)
        for j in range(*faces["ends"][i : i + 2]):
            box, points = faces["boxes"][j], faces["points"][j]
            moved = np.concatenate([box[:2] * scale + shift, box[2:] * scale])
            scene.add(moved, points * scale + shift, bool(faces["sure"][j]))
        if rng.random() < 0.5:
            scene.mirror()
        return scene


def _write(path: Path, scenes: list[Scene]) -> None:
    """The pictures first: a piece is there when its faces are."""
    pictures, faces = path.with_suffix(".partial.npy"), path.with_suffix(".partial.npz")
    np.save(pictures, np.stack([scene.image for scene in scenes]))
    pictures.replace(path.with_suffix(".npy"))
    np.savez(
        faces,
        ends=np.cumsum([0, *(len(scene.boxes) for scene in scenes)]),
        boxes=np.array([b for scene in scenes for b in scene.boxes], np.float32).reshape(-1, 4),
        points=np.array([p for scene in scenes for p in scene.points], np.float32).reshape(-1, 5, 2),
        sure=np.array([s for scene in scenes for s in scene.sure], np.bool_),
    )
    faces.replace(path)
