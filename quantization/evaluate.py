"""Grades a bundle on the fixed validation splits, through the public API, by the field's own definitions.

- landmarks: NME by the outer eye corners, failure rate and area under the curve up to 10 % (300-W), with
  detected boxes;
- parsing: F1 per class over all pixels of the photos (a label map from the detected face, 0 outside it);
- expression: accuracy, balanced accuracy, expected calibration error (15 bins) against the taggers'
  majority;
- detection: recall of the faces on which both teachers agree (YuNet >= 0.6, UltraFace >= 0.5, IoU >= 0.5)
  and of all of YuNet's; false positives on pictures without a face.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

import edgeface
from edgeface import BBox, FaceAnalyzer, FrameResult
from edgeface.labels import CELEBAMASK19, confusion_matrix, f1_per_class

from .datasets import celebamask, ferplus, lfpw
from .splits import parts

__all__ = ["Grader", "Metrics"]

Metrics = dict[str, float]
Rgb = NDArray[np.uint8]
_FAILURE = 0.10  # NME of a failure, and the end of the cumulative curve
_FACE_FREE = (640, 480)
_LEAST_WIDTH = 56  # of the piece of a photo that becomes one


@dataclass(frozen=True, slots=True)
class Grader:
    """Where the data and the teacher's labels lie, and how an analyzer for some tasks is made."""

    data: Path
    labels: Path
    analyzer: Callable[[tuple[str, ...]], FaceAnalyzer]

    def grade(self, task: str) -> Metrics:
        """The figures of one task."""
        return {
            "detection": self.detection,
            "landmarks": self.landmarks,
            "parsing": self.parsing,
            "expression": self.expression,
        }[task]()

    def landmarks(self) -> Metrics:
        root = self.data / "landmarks/lfpw/trainset"
        errors, missed = [], 0
        with self.analyzer(("landmarks",)) as analyzer:
            for name in _progress("landmarks", parts("lfpw", "validation")):
                truth = lfpw.load_points(root, name)
                face = _face_at(analyzer.analyze(lfpw.load_photo(root, name)), truth.mean(0))
                if face is None or face.landmarks is None:
                    missed += 1
                    continue
                apart = np.linalg.norm(face.landmarks.points - truth, axis=1).mean()
                errors.append(float(apart / np.linalg.norm(truth[36] - truth[45])))
        everyone = np.array(errors + [1.0] * missed)
        grid = np.linspace(0, _FAILURE, 1001)
        curve = (everyone[None] <= grid[:, None]).mean(1)
        return {
            "photos": float(len(everyone)),
            "missed": float(missed),
            "nme": float(np.mean(errors)),
            "fr10": float((everyone > _FAILURE).mean()),
            "auc10": float(np.trapezoid(curve, grid) / _FAILURE),
        }

    def parsing(self) -> Metrics:
        root = self.data / "parsing/celebamask_hq"
        names = CELEBAMASK19.names
        total = np.zeros((len(names), len(names)), np.int64)
        photos = parts("celebamask", "validation")
        missed = 0
        with self.analyzer(("parsing",)) as analyzer:
            for name in _progress("parsing", photos):
                truth = celebamask.load_mask(root, name)
                result = analyzer.analyze(celebamask.load_photo(root / "images", name))
                missed += not result.faces
                parsing = result.faces[0].parsing if result.faces else None
                guess = np.zeros_like(truth) if parsing is None else parsing.to_frame(truth.shape)
                total += confusion_matrix(guess, truth, len(names))
        f1 = f1_per_class(total)
        metrics = {"photos": float(len(photos)), "missed": float(missed), "mean_f1": float(np.mean(f1[1:]))}
        return metrics | {f"f1_{n}": float(v) for n, v in zip(names, f1, strict=True)}

    def expression(self) -> Metrics:
        root = self.data / "expression/ferplus"
        votes = ferplus.load_votes(root)
        names = parts("ferplus", "validation")
        whole = BBox(-0.5, -0.5, 48, 48, 1.0)
        scores = np.zeros((len(names), len(ferplus.CLASSES)))
        truth = np.array([votes[n][:8].argmax() for n in names])
        with self.analyzer(("expression",)) as analyzer:
            for row, name in zip(scores, _progress("expression", names), strict=True):
                face = analyzer.analyze(edgeface.read_image(root / name), boxes=[whole]).faces[0]
                assert face.expression is not None  # noqa: S101  # for the type checker
                row[:] = [face.expression.scores[c] for c in ferplus.CLASSES]
        guess, sure = scores.argmax(1), scores.max(1)
        right = guess == truth
        recall = {
            c: float(right[truth == k].mean()) for k, c in enumerate(ferplus.CLASSES) if (truth == k).any()
        }
        bins = np.minimum((sure * 15).astype(int), 14)
        ece = sum(
            abs(right[bins == b].mean() - sure[bins == b].mean()) * (bins == b).mean() for b in set(bins)
        )
        metrics = {
            "images": float(len(names)),
            "accuracy": float(right.mean()),
            "balanced_accuracy": float(np.mean(list(recall.values()))),
            "ece": float(ece),
        }
        return metrics | {f"recall_{c}": v for c, v in recall.items()}

    def detection(self) -> Metrics:
        root = self.data / "landmarks/lfpw/trainset"
        with np.load(self.labels / "lfpw_faces.npz") as faces:
            names, boxes = faces["names"], faces["boxes"]
            sure, agreed = faces["scores"] >= 0.6, faces["agreed"]
        overlaps: list[float] = []
        both: list[bool] = []
        false, free = 0, 0
        with self.analyzer(()) as analyzer:
            for name in _progress("detection", parts("lfpw", "validation")):
                rgb = lfpw.load_photo(root, name)
                mine = boxes[names == name]
                found = analyzer.analyze(rgb).faces
                for i in np.flatnonzero((names == name) & sure):
                    truth = BBox(*(float(v) for v in boxes[i]))
                    overlaps.append(max((f.bbox.iou(truth) for f in found), default=0.0))
                    both.append(bool(agreed[i]))
                for piece in face_free(rgb, mine):
                    free += 1
                    false += len(analyzer.analyze(piece).faces)
        every, iou = np.array(overlaps), np.array(overlaps)[np.array(both)]
        return {
            "faces": float(len(iou)),
            "recall_50": float((iou >= 0.5).mean()),
            "recall_70": float((iou >= 0.7).mean()),
            "mean_iou": float(iou[iou >= 0.5].mean()),
            "recall_50_any_teacher": float((every >= 0.5).mean()),
            "faces_any_teacher": float(len(every)),
            "face_free_images": float(free),
            "false_positives_per_image": false / max(free, 1),
        }


def face_free(rgb: Rgb, boxes: NDArray[np.float32]) -> list[Rgb]:
    """Up to four pictures 640 x 480 out of a photo, without a face, the largest first.

    4:3 windows tiled over the strips left of, right of, above and below all faces that the teacher suspects
    (score 0.3), a quarter of a face away from them.
    """
    height, width = rgb.shape[:2]
    margin = 0.25 * boxes[:, 2:].max(1)
    x0, y0 = np.minimum((boxes[:, :2] - margin[:, None]).min(0), (width, height)).tolist()
    x1, y1 = np.maximum((boxes[:, :2] + boxes[:, 2:] + margin[:, None]).max(0), 0).tolist()
    windows = []
    for left, top, right, bottom in (
        (0, 0, x0, height),
        (x1, 0, width, height),
        (0, 0, width, y0),
        (0, y1, width, height),
    ):
        wide = int(min(right - left, (bottom - top) * 4 / 3))
        high = wide * 3 // 4
        if wide >= _LEAST_WIDTH:
            across, down = int((right - left) // wide), int((bottom - top) // high)
            windows += [
                (wide, int(left) + i * wide, int(top) + j * high) for i in range(across) for j in range(down)
            ]
    windows.sort(key=lambda w: -w[0])
    return [
        cv2.resize(rgb[y : y + w * 3 // 4, x : x + w], _FACE_FREE, interpolation=cv2.INTER_LINEAR)
        for w, x, y in windows[:4]
    ]


def _face_at(result: FrameResult, point: NDArray[np.float32]) -> edgeface.Face | None:
    """The face whose box holds the point, nearest by its middle."""
    x, y = float(point[0]), float(point[1])
    holding = [
        f
        for f in result.faces
        if f.bbox.x <= x <= f.bbox.x + f.bbox.width and f.bbox.y <= y <= f.bbox.y + f.bbox.height
    ]
    return min(holding, key=lambda f: np.hypot(f.bbox.center[0] - x, f.bbox.center[1] - y), default=None)


def _progress(label: str, names: list[str]) -> Iterable[str]:
    with click.progressbar(names, label=label, file=sys.stderr) as bar:
        yield from bar
