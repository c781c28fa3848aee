"""The field's figures by the field's definitions: numbers in, numbers out, no image and no model.

What papers leave open is decided here and said beside each function: what normalises an error, what a missed
face counts, whether the background is a class, what becomes of a class that does not occur, how ties are
broken. Boxes are x, y, width, height in pixels.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.labels import IBUG68, f1_per_class, iou_per_class

__all__ = [
    "FAILURE",
    "Precision",
    "Reliability",
    "area_under_ced",
    "area_under_roc",
    "average_precision",
    "balanced_accuracy",
    "correlations",
    "cumulative_errors",
    "failure_rate",
    "inter_ocular",
    "inter_pupil",
    "mean_f1",
    "mean_iou",
    "nme",
    "recall_per_class",
    "reliability",
    "risk_coverage",
]

Floats = NDArray[np.float64]

FAILURE = 0.10
"""NME from which a face counts as failed, and where the cumulative curve ends (WFLW: Wu et al., 2018)."""


def inter_ocular(truth: NDArray[np.floating]) -> NDArray[np.floating]:
    """Distance of the outer eye corners, points 36 and 45 of [..., 68, 2] (300-W: Sagonas et al., 2016)."""
    return np.linalg.norm(truth[..., 36, :] - truth[..., 45, :], axis=-1)


def inter_pupil(truth: NDArray[np.floating]) -> NDArray[np.floating]:
    """Distance of the eyes' middles, each the mean of its six points: "inter-pupil" (Ren et al., 2014)."""
    right, left = (truth[..., IBUG68.parts[f"{side}_eye"], :].mean(-2) for side in ("right", "left"))
    return np.linalg.norm(right - left, axis=-1)


def nme(
    found: NDArray[np.floating], truth: NDArray[np.floating], unit: NDArray[np.floating] | float
) -> NDArray[np.floating]:
    """Normalised mean error: mean distance of the points [..., P, 2] to the truth over ``unit`` [...]."""
    return np.linalg.norm(found - truth, axis=-1).mean(-1) / unit


def cumulative_errors(errors: Floats, end: float = FAILURE, steps: int = 1000) -> tuple[Floats, Floats]:
    """The CED curve: thresholds from 0 to ``end``, and the share of ``errors`` not above each.

    A face that was missed belongs in ``errors`` with any value above ``end`` (infinity will do): it lowers
    the curve as a failure does. The default step is the field's usual 0.0001.
    """
    grid = np.linspace(0, end, steps + 1)
    return grid, (errors[None] <= grid[:, None]).mean(1)


def area_under_ced(errors: Floats, end: float = FAILURE) -> float:
    """AUC: the area under the CED curve up to ``end`` over ``end``, by the trapezoid rule; 1 is perfect."""
    grid, share = cumulative_errors(errors, end)
    return float(np.trapezoid(share, grid) / end)


def area_under_roc(higher: Sequence[float] | Floats, lower: Sequence[float] | Floats) -> float:
    """AUC: the share of pairs in which the one of ``higher`` scores more; equal scores count half.

    By ranks (Mann and Whitney, 1947), so that the steps of an int8 output cost nothing. NaN without a pair.
    """
    if not len(higher) or not len(lower):
        return float("nan")
    _, place, count = np.unique(np.concatenate([higher, lower]), return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place[: len(higher)]]
    return float((rank.mean() - (len(higher) + 1) / 2) / len(lower))


def failure_rate(errors: Floats, at: float = FAILURE) -> float:
    """FR: the share of errors above ``at``; a missed face is one."""
    return float((errors > at).mean())


def correlations(found: NDArray[np.floating], truth: NDArray[np.floating]) -> Floats:
    """Pearson's correlation of each column of two [N, C]; NaN where one of them does not vary."""
    one, other = (np.asarray(each, np.float64) for each in (found, truth))
    one, other = one - one.mean(0), other - other.mean(0)
    scatter = np.sqrt((one**2).sum(0) * (other**2).sum(0))
    return np.divide((one * other).sum(0), scatter, out=np.full(scatter.shape, np.nan), where=scatter > 0)


def mean_f1(matrix: NDArray[np.int64]) -> float:
    """Mean F1 of a confusion matrix as CelebAMask-HQ's and LaPa's tables have it (SegFace: Narayan, 2025).

    F1 per class from pixels counted over all pictures; the mean leaves out class 0, the background, which
    mmseg's mDice would include. The matrix's truth must be without ignored pixels (255), as
    :func:`edgeface.labels.confusion_matrix` counts it. A class in neither truth nor prediction has no F1 and
    is left out; one that is only predicted, or only missed, has 0 and counts.
    """
    return float(np.nanmean(f1_per_class(matrix)[1:]))


def mean_iou(matrix: NDArray[np.int64]) -> float:
    """MIoU of a confusion matrix as mmsegmentation's IoUMetric has it (Contributors, 2020).

    Intersection over union per class from pixels counted over all pictures, pixels of truth 255 ignored;
    the mean includes the background (which SegFace's F1 does not) and leaves out classes that occur neither
    in truth nor in prediction (``nan_to_num`` unset).
    """
    return float(np.nanmean(iou_per_class(matrix)))


def recall_per_class(matrix: NDArray[np.int64]) -> Floats:
    """Share of each true class (row) that was said to be it; NaN for a class without an example."""
    count = matrix.sum(1)
    recall = np.full(len(matrix), np.nan)
    np.divide(np.diag(matrix), count, out=recall, where=count > 0)
    return recall


def balanced_accuracy(matrix: NDArray[np.int64]) -> float:
    """The mean of the recalls of the classes that occur in the truth (Brodersen et al., 2010)."""
    return float(np.nanmean(recall_per_class(matrix)))


@dataclass(frozen=True, slots=True)
class Reliability:
    """Confidence against accuracy in bins of equal width over [0, 1]; NaN where a bin is empty."""

    count: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats

    @property
    def ece(self) -> float:
        """Expected calibration error: the bins' gaps, weighted by their share (Guo et al., 2017)."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(gaps * self.count) / self.count.sum())


def reliability(sure: Floats, right: NDArray[np.bool_], bins: int = 15) -> Reliability:
    """Bins predictions by the probability of the class they name, ``sure`` [N], in [0, 1].

    A bin holds its lower edge (Guo et al.: its upper one); 1.0 is in the last.
    """
    at = np.minimum((sure * bins).astype(int), bins - 1)
    count = np.bincount(at, minlength=bins)
    some = count > 0
    means = []
    for values in (sure, right.astype(np.float64)):
        mean = np.full(bins, np.nan)
        np.divide(np.bincount(at, values, bins), count, out=mean, where=some)
        means.append(mean)
    return Reliability(count, means[0], means[1])


def risk_coverage(sure: Floats, right: NDArray[np.bool_]) -> tuple[Floats, Floats, float]:
    """Coverage, selective risk, and AURC, the mean of the risks (Geifman, Uziel & El-Yaniv, 2019).

    ``risk[i]`` is the share of wrong ones among the ``i + 1`` predictions that are surest. Equally sure
    predictions have no order: each counts their common share of wrong ones, which is the mean over all
    orders.
    """
    _, group, size = np.unique(-sure, return_inverse=True, return_counts=True)
    wrong = np.bincount(group, ~right) / size
    count = np.arange(1, len(sure) + 1)
    risk = np.cumsum(np.repeat(wrong, size)) / count
    return count / len(sure), risk, float(risk.mean())


@dataclass(frozen=True, slots=True)
class Precision:
    """COCO's average precision of one class, and its precision-recall curve at IoU 0.5 (101 recalls)."""

    ap: float
    """Mean over IoU 0.5, 0.55, ... 0.95."""
    ap_50: float
    recall: Floats
    precision_50: Floats


def average_precision(
    truth: Sequence[NDArray[np.floating]],
    found: Sequence[tuple[NDArray[np.floating], NDArray[np.floating]]],
    ignored: Sequence[NDArray[np.floating]] | None = None,
) -> Precision:
    """AP by pycocotools (Lin et al., 2014): all sizes, at most 100 boxes a picture, 101 recalls.

    Args:
        truth: Per picture the true boxes [N, 4].
        found: Per picture the boxes [M, 4] and their scores [M].
        ignored: Per picture boxes [K, 4] that are neither asked for nor wrong to find (COCO's crowds).

    Returns: NaN throughout if there is no true box.
    """
    from pycocotools.cocoeval import COCOeval

    wanted = [
        (image, box, {"iscrowd": int(crowd)})
        for crowd, boxes in enumerate((truth, ignored or ()))
        for image, box in _each(boxes)
    ]
    said = [
        (image, box, {"iscrowd": 0, "score": float(score)})
        for image, (boxes, scores) in enumerate(found)
        for box, score in zip(boxes, scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # it tells its steps
        images = range(len(truth))
        judge = COCOeval(_coco(images, wanted), _coco(images, said), "bbox")
        judge.params.areaRng, judge.params.areaRngLbl, judge.params.maxDets = [[0, 1e10]], ["all"], [100]
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][:, :, 0, 0, 0].astype(np.float64)  # [IoU, recall]
    precision[precision < 0] = np.nan  # -1: there was nothing to find
    recalls = np.asarray(judge.params.recThrs)
    return Precision(float(precision.mean()), float(precision[0].mean()), recalls, precision[0])


def _each(boxes: Iterable[NDArray[np.floating]]) -> Iterable[tuple[int, NDArray[np.floating]]]:
    return ((image, box) for image, group in enumerate(boxes) for box in group)


def _coco(images: range, rows: Iterable[tuple[int, NDArray[np.floating], dict[str, Any]]]) -> Any:
    from pycocotools.coco import COCO

    made = COCO()
    made.dataset = {
        "images": [{"id": i} for i in images],
        "categories": [{"id": 1}],
        "annotations": [
            {
                "id": i,
                "image_id": image,
                "category_id": 1,
                "bbox": [float(v) for v in box],
                "area": float(box[2] * box[3]),
                **more,
            }
            for i, (image, box, more) in enumerate(rows, 1)  # an id of 0 would read as "no match"
        ],
    }
    made.createIndex()
    return made
