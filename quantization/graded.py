"""What a grading says of each task: figures and curves from one row per picture.

Brightness is the mean grey value of the face: dark below 85, bright from 170, thirds of what a byte holds.
Yaw is to either side, in degrees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.labels import IBUG68, f1_per_class, iou_per_class

from . import metrics

__all__ = [
    "AGREEMENT_BINS",
    "BINS",
    "STILL",
    "Graded",
    "Metrics",
    "agreement",
    "confirmed",
    "detection",
    "expression",
    "landmarks",
    "movements",
    "parsing",
    "recall_by_size",
]

Metrics = dict[str, float]
Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]
_YAW = {"0_15": (0, 15), "15_30": (15, 30), "30_45": (30, 45), "45_90": (45, 91)}
_REGIONS = {"eyes": slice(36, 48), "lips": slice(48, 68)}  # of iBUG's 68 points
_BRIGHTNESS = {"dark": (0, 85), "medium": (85, 170), "bright": (170, 256)}

_AGE = {"0_9": (0, 10), "10_19": (10, 20), "20_39": (20, 40), "40_59": (40, 60), "60_up": (60, 200)}
_SEX = {"male": (0, 1), "female": (1, 2)}

BINS = {"yaw": tuple(_YAW), "brightness": tuple(_BRIGHTNESS)}
"""The names of the bins of each subgroup, in their order."""

AGREEMENT_BINS = {"age": tuple(_AGE), "sex": tuple(_SEX)}
"""The same of the subgroups that :func:`agreement` tells of: years, and what the data set's names say."""


STILL = 0.01
"""Standard deviation of a blendshape over the graded faces below which it says nothing of them."""


@dataclass(frozen=True, slots=True)
class Graded:
    """The figures of one task, and what its plots are drawn from: plain JSON values, no image, no file name.

    A figure that there was nothing to measure on, NaN, is left out of ``metrics``: JSON does not know it.

    ``curves["subgroups"]``: by what, then bin, then how many and the figure; the figures are in ``metrics``
    too, as FIGURE_BY_BIN. A bin without an example is left out.
    """

    metrics: Metrics
    curves: dict[str, Any]

    def __post_init__(self) -> None:
        known = {name: value for name, value in self.metrics.items() if np.isfinite(value)}
        object.__setattr__(self, "metrics", known)


def landmarks(
    found: Sequence[NDArray[np.floating] | None],
    truth: Sequence[NDArray[np.floating]],
    light: Sequence[float],
    yaw: Sequence[float],
) -> Graded:
    """Per photo the points [68, 2], None for a missed face, the human ones, brightness, and yaw or NaN.

    A missed face has no part in a mean error; it is a failure in FR and in the curve.
    """
    pairs = [(f, t) for f, t in zip(found, truth, strict=True) if f is not None]
    seen = np.array([f is not None for f in found])
    errors = np.array([float(metrics.nme(f, t, metrics.inter_ocular(t))) for f, t in pairs])
    everyone = np.full(len(found), np.inf)
    everyone[seen] = errors
    figures = {
        "photos": float(len(everyone)),
        "missed": float((~seen).sum()),
        "nme": _mean(errors),
        "nme_pupil": _mean([metrics.nme(f, t, metrics.inter_pupil(t)) for f, t in pairs]),
        "fr10": metrics.failure_rate(everyone),
        "auc10": metrics.area_under_ced(everyone),
    }
    threshold, share = metrics.cumulative_errors(everyone, steps=100)
    per_part = {
        part: _mean([metrics.nme(f[where], t[where], metrics.inter_ocular(t)) for f, t in pairs])
        for part, where in IBUG68.parts.items()
    }
    curves = {
        "ced": {"threshold": _plain(threshold), "share": _plain(share)},
        "nme_per_part": dict(zip(per_part, _plain(np.array(list(per_part.values()))), strict=True)),
    }
    for region, where in _REGIONS.items():
        errors_there = [metrics.nme(f[where], t[where], metrics.inter_ocular(t)) for f, t in pairs]
        figures[f"nme_{region}"] = _mean(errors_there)
    groups = {"yaw": _bins(np.abs(yaw), _YAW, seen), "brightness": _bins(light, _BRIGHTNESS, seen)}
    return _with_subgroups(Graded(figures, curves), "nme", groups, lambda rows: _mean(everyone[rows]))


def movements(graded: Graded, names: Sequence[str], found: Floats, taught: Floats, views: Floats) -> Graded:
    """Adds how blendshapes go with their teacher's: Pearson's correlation over the faces, mean of the names.

    A name whose teacher answers hardly vary on these faces (standard deviation below `STILL`) is not counted;
    the curves tell it with the others. Faces without an answer have no part in it.

    Args:
        graded: What to add to.
        names: Of the coefficients.
        found: The student's, [N, C].
        taught: The teacher's, the mean of its two views, as the student learned them, [N, C].
        views: The teacher's answers to the picture and to its mirror image, both as of the picture,
            [N, 2, C]; NaN where a view tells nothing of a name.
    """
    spread = taught.std(0)
    moving = spread >= STILL
    each = metrics.correlations(found, taught)
    figures = {
        "blendshapes": _known_mean(each[moving]),
        "blendshapes_one_view": _known_mean(metrics.correlations(found, views[:, 0])[moving]),
        "blendshapes_teacher": _known_mean(metrics.correlations(views[:, 1], views[:, 0])[moving]),
        "blendshapes_counted": float(moving.sum()),
        "blendshapes_faces": float(len(found)),
    }
    told = {"names": list(names), "correlation": _plain(each), "teacher_sd": _plain(spread)}
    return Graded(graded.metrics | figures, graded.curves | {"blendshapes": told})


def parsing(
    matrices: Sequence[NDArray[np.int64]], names: Sequence[str], light: Sequence[float], missed: int
) -> Graded:
    """Per photo the confusion matrix of its pixels and its brightness; ``missed``: photos without a face."""
    pixels = np.array(matrices)
    total = pixels.sum(0)
    figures = {
        "photos": float(len(pixels)),
        "missed": float(missed),
        "mean_f1": metrics.mean_f1(total),
        "miou": metrics.mean_iou(total),
    }
    figures |= {f"f1_{n}": float(v) for n, v in zip(names, f1_per_class(total), strict=True)}
    figures |= {f"iou_{n}": float(v) for n, v in zip(names, iou_per_class(total), strict=True)}
    curves = {"classes": list(names), "confusion": total.tolist()}
    groups = {"brightness": _bins(light, _BRIGHTNESS)}
    return _with_subgroups(
        Graded(figures, curves), "mean_f1", groups, lambda rows: metrics.mean_f1(pixels[rows].sum(0))
    )


def expression(
    scores: Floats, truth: NDArray[np.integer], names: Sequence[str], light: Sequence[float]
) -> Graded:
    """Scores [N, C] and the true class [N]."""
    guess, sure = scores.argmax(1), scores.max(1)
    right = guess == truth
    matrix = np.zeros((len(names), len(names)), np.int64)
    np.add.at(matrix, (truth, guess), 1)
    bins = metrics.reliability(sure, right)
    coverage, risk, aurc = metrics.risk_coverage(sure, right)
    figures = {
        "images": float(len(truth)),
        "accuracy": float(right.mean()),
        "balanced_accuracy": metrics.balanced_accuracy(matrix),
        "ece": bins.ece,
        "aurc": aurc,
    }
    recall = metrics.recall_per_class(matrix)
    figures |= {f"recall_{c}": float(v) for c, v in zip(names, recall, strict=True) if np.isfinite(v)}
    some = np.linspace(0, len(truth) - 1, min(len(truth), 200)).round().astype(int)
    curves = {
        "classes": list(names),
        "confusion": matrix.tolist(),
        "reliability": {
            "count": bins.count.tolist(),
            "confidence": _plain(bins.confidence),
            "accuracy": _plain(bins.accuracy),
        },
        "risk": {"coverage": _plain(coverage[some]), "risk": _plain(risk[some])},
    }
    groups = {"brightness": _bins(light, _BRIGHTNESS)}
    return _with_subgroups(Graded(figures, curves), "accuracy", groups, lambda rows: _mean(right[rows]))


def detection(
    overlap: Floats, agreed: Rows, light: Floats, precision: metrics.Precision, false: int, free: int
) -> Graded:
    """Per face of YuNet the best IoU, if UltraFace saw it too, and its brightness.

    ``false``: faces found on the ``free`` pictures that have none.
    """
    iou = overlap[agreed]
    figures = {
        "faces": float(len(iou)),
        "recall_50": _mean(iou >= 0.5),
        "recall_70": _mean(iou >= 0.7),
        "mean_iou": _mean(iou[iou >= 0.5]),
        "recall_50_any_teacher": float((overlap >= 0.5).mean()),
        "faces_any_teacher": float(len(overlap)),
        "ap": precision.ap,
        "ap_50": precision.ap_50,
        "face_free_images": float(free),
        "false_positives_per_image": false / free if free else float("nan"),
    }
    curves = {
        "precision_recall": {
            "recall": _plain(precision.recall),
            "precision": _plain(precision.precision_50),
        }
    }
    groups = {"brightness": _bins(light[agreed], _BRIGHTNESS)}
    return _with_subgroups(Graded(figures, curves), "recall_50", groups, lambda rows: _mean(iou[rows] >= 0.5))


def recall_by_size(graded: Graded, found: Mapping[int, Sequence[bool]]) -> Graded:
    """Adds the share of faces found at each size, by pixels of the larger side; nothing if none was shown."""
    figures = {f"recall_at_{side}px": _mean(hits) for side, hits in found.items() if len(hits)}
    if figures:
        figures["faces_shrunk"] = float(max(len(hits) for hits in found.values()))
    return Graded(graded.metrics | figures, graded.curves)


def confirmed(graded: Graded, agreed: Sequence[bool], false: int, free: int) -> Graded:
    """Adds what is left of the detected faces when the landmark model is asked about each, too.

    ``agreed``: for each face that both teachers saw, whether it is there (IoU >= 0.5).
    """
    rate = false / free if free else float("nan")
    figures = {"recall_50_confirmed": _mean(agreed), "false_positives_confirmed": rate}
    return Graded(graded.metrics | figures, graded.curves)


def agreement(
    graded: Graded, figure: str, values: Floats, age: Sequence[float], sex: Sequence[float]
) -> Graded:
    """Adds ``figure``, the mean of ``values``, over all and by age in years and sex (0 male, 1 female).

    NaN is no value: the student said nothing that could agree. Without any value nothing is added.
    """
    told = np.isfinite(values)
    if not told.any():
        return graded
    figures = {figure: _mean(values[told]), f"{figure}_faces": float(told.sum())}
    groups = {"age": _bins(age, _AGE, told), "sex": _bins(sex, _SEX, told)}
    joined = Graded(graded.metrics | figures, graded.curves)
    return _with_subgroups(joined, figure, groups, lambda rows: _mean(values[rows]))


def _bins(
    values: Sequence[float] | Floats, edges: Mapping[str, tuple[float, float]], counted: Rows | bool = True
) -> dict[str, Rows]:
    array = np.asarray(values, np.float64)  # NaN, unknown, is in no bin
    return {name: (array >= low) & (array < high) & counted for name, (low, high) in edges.items()}


def _with_subgroups(
    graded: Graded, figure: str, groups: dict[str, dict[str, Rows]], of: Callable[[Rows], float]
) -> Graded:
    """Adds one figure, ``of`` the rows of each bin."""
    flat: Metrics = {}
    told: dict[str, dict[str, dict[str, float]]] = dict(graded.curves.get("subgroups", {}))
    for by, bins in groups.items():
        for name, rows in bins.items():
            if rows.any() and np.isfinite(value := of(rows)):
                flat[f"{figure}_{by}_{name}"] = value
                told.setdefault(by, {})[name] = {"count": int(rows.sum()), figure: round(value, 5)}
    return Graded(graded.metrics | flat, graded.curves | {"subgroups": told})


def _mean(values: Sequence[Any] | NDArray[Any]) -> float:
    """NaN of nothing, without numpy's warning."""
    return float(np.mean(values)) if len(values) else float("nan")


def _known_mean(values: Floats) -> float:
    return _mean(values[np.isfinite(values)])


def _plain(values: Floats) -> list[float | None]:
    """Five decimals, and None for NaN, which JSON does not know."""
    return [round(v, 5) if np.isfinite(v) else None for v in values.tolist()]
