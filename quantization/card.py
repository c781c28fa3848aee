"""A student's model card: the prose of ``cards/TASK.md``, and at its marks what was measured and derived.

The card is Markdown that is read in a terminal as it is (``edgeface models --card TASK``), so its tables are
aligned. It names data sets, never a file of one. What was not measured is said to be missing, and figures of
another file than the packed one are said to be that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeface.labels import BLENDSHAPES52, CELEBAMASK19, FER8

from .graded import AGREEMENT_BINS, BINS, STILL
from .robustness import JUDGED, LOST, known, rows_of
from .shrunk import SIZES
from .tasks.seen import SHARDS, Seen, data_terms
from .teachers.catalogue import terms_of
from .terms import WeightsTerms, check_card, short_title

__all__ = ["CARDS", "HEADLINES", "OWN_CARD", "CardError", "Facts", "write_card"]

CARDS = Path(__file__).parent / "cards"
OWN_CARD = CARDS / "shards.md"  # of a student that learned from shards, whatever its task

_MARK = re.compile(r"\{(\w*)\}")
_Row = tuple[str, str, list[Any]]  # what, unit, a value for each column

# Task -> figure, what it is, its unit: "%" of one, a count "n", or none.
HEADLINES: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "detection": (
        ("recall_50", "faces of two teachers found, IoU >= 0.5", "%"),
        ("recall_70", "faces of two teachers found, IoU >= 0.7", "%"),
        ("recall_50_any_teacher", "faces of any teacher found, IoU >= 0.5", "%"),
        *((f"recall_at_{side}px", f"faces shrunk to {side} px found, IoU >= 0.5", "%") for side in SIZES),
        ("ap_50", "average precision, IoU 0.5", "%"),
        ("ap", "average precision, IoU 0.5 to 0.95", "%"),
        ("false_positives_per_image", "false faces per face-free picture", ""),
        ("recall_50_confirmed", "faces of two teachers found, and confirmed by the landmark model", "%"),
        ("false_positives_confirmed", "false faces per face-free picture, confirmed too", ""),
        ("faces", "faces of two teachers", "n"),
        ("faces_shrunk", "of them shrunk into a frame of 640 x 480", "n"),
        ("face_free_images", "face-free pictures", "n"),
    ),
    "landmarks": (
        ("nme", "NME by the outer eye corners", "%"),
        ("nme_pupil", "NME by the pupils", "%"),
        ("nme_eyes", "of the eyes' points, by the outer eye corners", "%"),
        ("nme_lips", "of the lips' points, by the outer eye corners", "%"),
        ("fr10", "faces with NME above 10 %", "%"),
        ("auc10", "area under the error curve up to 10 %", "%"),
        ("missed", "faces missed by the detector", "n"),
        ("photos", "photos", "n"),
        ("visibility_auc_covered", "visibility: covered points told from open ones, area under ROC", "%"),
        ("points_covered", "points covered by hands, masks, glasses, pieces", "n"),
        ("visibility_auc_turned", "visibility: points that a rendered head hides, area under ROC", "%"),
        ("presence_auc", "presence: faces told from backgrounds, area under ROC", "%"),
        ("backgrounds", "backgrounds", "n"),
        ("presence_auc_mistaken", "presence: faces told from what detectors mistake for one", "%"),
        ("backgrounds_mistaken", "such mistakes, doubtful ones included", "n"),
        ("blendshapes", "blendshapes that vary: mean correlation with MediaPipe's, mean of two views", ""),
        ("blendshapes_one_view", "the same with its answer to the photo alone", ""),
        ("blendshapes_teacher", "MediaPipe's own of the photo with that of the mirrored photo", ""),
        ("blendshapes_counted", "blendshapes that vary on these faces", "n"),
        ("blendshapes_faces", "faces with blendshapes", "n"),
        ("pose_error", "head pose of rendered heads up to 45 degrees, mean error in degrees", ""),
        ("pose_error_yaw", "its error of yaw", ""),
        ("pose_error_pitch", "its error of pitch", ""),
        ("pose_error_roll", "its error of roll", ""),
        ("heads", "rendered heads", "n"),
        ("heads_found", "of them found by the detector", "n"),
        ("heads_posed", "of these up to 45 degrees", "n"),
    ),
    "parsing": (
        ("mean_f1", "mean F1", "%"),
        ("miou", "mean IoU", "%"),
        ("missed", "faces missed by the detector", "n"),
        ("photos", "photos", "n"),
    ),
    "expression": (
        ("accuracy", "accuracy", "%"),
        ("balanced_accuracy", "accuracy, mean over classes", "%"),
        ("ece", "calibration error, 15 bins", "%"),
        ("aurc", "risk over coverage", "%"),
        ("images", "images", "n"),
    ),
}
# Figure -> how many it is of. Where they were counted and none was there, the figure is a dash.
_COUNTS = dict.fromkeys(("false_positives_per_image", "false_positives_confirmed"), "face_free_images")
_CLASSES = {
    "parsing": (CELEBAMASK19.names, (("f1", "F1"), ("iou", "IoU"))),
    "expression": (FER8.names, (("recall", "recall"),)),
}
_SUBGROUP = {
    "detection": "faces of two teachers found, IoU >= 0.5",
    "landmarks": "NME by the outer eye corners",
    "parsing": "mean F1",
    "expression": "accuracy",
}
_AGREEMENT = {
    "detection": "By age and sex: the share of YuNet's faces found (IoU >= 0.5), each shrunk to 24 pixels\n"
    "in a black frame of 640 x 480.",
    "landmarks": "By age and sex: the points' mean distance to those of the face mesh and its ridge map, in\n"
    "percent of the outer eye corners' distance, in YuNet's boxes.",
}
_AGREEMENT_NOTE = """\
On the part of UTKFace that trained nothing, age and sex as that data set says. It is agreement with a
teacher, not truth: where the teacher errs on a group, a student that agrees errs with it. Groups of few faces
say little."""
_UNDAMAGED = "On damaged pictures this very file was not graded: `python -m quantization robustness` does it."
_KINDS = ("int8", "fp32")
_UNGRADED = "Not graded yet: `python -m quantization evaluate` measures it, and `pack` writes it here."


class CardError(ValueError):
    """A card's text cannot be filled; the message names its file and the mark."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a card tells beside its prose.

    Attributes:
        seen: What the student learned from.
        terms: What follows for its weights.
        recipes: Each course's recipe and the SHA-256 of its file, in their order.
        weights: SHA-256 of the float weights.
        artifact: SHA-256 of the int8 file.
        size: Bytes of the int8 file.
        metrics: Figures by kind, ``int8`` and ``fp32``, as ``metrics.json`` has them.
        curves: The same of ``curves.json``, of which the subgroups and the graded file's digest are told.
    """

    seen: Seen
    terms: WeightsTerms
    recipes: Sequence[tuple[str, str]]
    weights: str
    artifact: str
    size: int
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def write_card(task: str, facts: Facts, template: Path | None = None) -> str:
    """The card of a task, Markdown; ``template`` in place of the prose of `CARDS`.

    Raises:
        TermsError: The template speaks of terms itself.
        CardError: The template's marks are not the ones that are filled.
    """
    template = template or CARDS / f"{task}.md"
    text = template.read_text(encoding="utf-8")
    check_card(text, str(template))
    filled = {
        "size": f"{facts.size:,} bytes",
        "learned": _learned(facts.seen),
        "terms": _terms(facts.terms),
        "figures": "\n\n".join(_measured(task, facts)),
        "made": _made(facts),
    }
    wrong = set(_MARK.findall(text)) ^ set(filled)
    if wrong:
        named = ", ".join(f"{{{mark}}}" for mark in sorted(wrong))
        wanted = ", ".join(f"{{{mark}}}" for mark in filled)
        raise CardError(f"{template}: {named} is missing or filled by nothing: the marks must be {wanted}")
    return _MARK.sub(lambda mark: filled[mark[1]], text)


def _learned(seen: Seen) -> str:
    rows = [("from", "what")]
    rows += [(short_title(data_terms(name)), role) for name, role in seen.data.items()]
    rows += [(short_title(terms_of(name)), f"{role} (teacher)") for name, role in seen.teachers.items()]
    taught = seen.teachers or any(name.startswith(SHARDS) for name in seen.data)
    return _table(rows) + ("" if taught else "\n\nNo teacher.")


def _terms(terms: WeightsTerms) -> str:
    lines = [_sentence(terms.licence), "They follow from what the student learned from:", ""]
    lines += [f"- {line}" for line in terms.attribution]
    return "\n".join([*lines, "", "The code is Apache-2.0."])


def _made(facts: Facts) -> str:
    rows = [("file", "SHA-256")]
    rows += [(f"recipe {name}, course {i}", digest) for i, (name, digest) in enumerate(facts.recipes, 1)]
    return _table([*rows, ("float weights", facts.weights), ("int8 network", facts.artifact)])


def _measured(task: str, facts: Facts) -> Iterator[str]:
    """Sections of the figures: whose they are, headlines, classes, subgroups, agreement."""
    kinds = [kind for kind in _KINDS if kind in facts.metrics]
    if not kinds:
        yield _UNGRADED
        return
    if "int8" in kinds:
        yield _whose(facts.curves.get("int8", {}).get("sha256", ""), facts.artifact)
    known = {key for kind in kinds for key in facts.metrics[kind]}
    told = [row for row in HEADLINES[task] if row[0] in known or _COUNTS.get(row[0]) in known]
    yield _figures(
        ("figure", *kinds),
        [(what, unit, [facts.metrics[kind].get(key) for kind in kinds]) for key, what, unit in told],
    )
    yield from _classes(task, kinds, facts.metrics)
    yield from _movements({kind: facts.curves.get(kind, {}).get("blendshapes") for kind in kinds})
    groups = {kind: facts.curves.get(kind, {}).get("subgroups", {}) for kind in kinds}
    if rows := _subgroups(groups, BINS):
        yield f"By subgroup: {_SUBGROUP[task]}."
        yield _figures(("subgroup", "faces", *kinds), rows)
    if rows := _subgroups(groups, AGREEMENT_BINS):
        yield _AGREEMENT[task]
        yield _figures(("group", "faces", *kinds), rows)
        yield _AGREEMENT_NOTE
    yield from _damaged(task, facts.artifact)


def _damaged(task: str, artifact: str) -> Iterator[str]:
    """What is left on damaged pictures, where this very file was shown them."""
    found = known(task, artifact)
    if found is None:
        yield _UNDAMAGED
        return
    figure, what = JUDGED[task]
    clean = _shown(found["clean"][figure], "%")
    yield (
        f"On damaged pictures, int8, in percent: {what}; {clean} on the clean ones.\n"
        f"Mild to the left; it breaks where it loses more than {100 * LOST:.0f} % of that."
    )
    rows = [("damage", "1", "2", "3", "4", "verdict")]
    for name, levels, verdict in rows_of(task, found):
        cells = [f"{level}: {'-' if v is None else f'{100 * v:.1f}'}" for level, v in levels]
        rows.append((name, *cells, *[""] * (4 - len(cells)), verdict))
    yield _table(rows)


def _whose(graded: str, packed: str) -> str:
    if graded == packed:
        return "The int8 figures are of this very file."
    which = f"a file with the SHA-256 {graded[:16]}..." if graded else "a file that nobody noted"
    return f"The int8 figures are of {which}, not of this one: grade this one and pack again."


def _classes(task: str, kinds: Sequence[str], metrics: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    names, measures = _CLASSES.get(task, ((), ()))
    columns = [
        (kind, key, what)
        for key, what in measures
        for kind in kinds
        if any(f"{key}_{n}" in metrics[kind] for n in names)
    ]
    if columns:
        rows = [(n, "%", [metrics[kind].get(f"{key}_{n}") for kind, key, _ in columns]) for n in names]
        yield "By class:"
        yield _figures(("class", *(f"{what} {kind}" for kind, _, what in columns)), rows)


def _movements(told: Mapping[str, Mapping[str, Any] | None]) -> Iterator[str]:
    """A row per blendshape, and which ones are not counted; nothing where the student tells none."""
    kinds = {kind: found for kind, found in told.items() if found}
    if not kinds:
        return
    first = next(iter(kinds.values()))
    names = first["names"]
    never = [name for name in BLENDSHAPES52.names if name not in names]
    spread = dict(zip(names, first["teacher_sd"], strict=True))
    still = [name for name in names if spread[name] < STILL]
    yield (
        "By blendshape: correlation with MediaPipe's over these faces; the teacher's answer is the mean of\n"
        "those to the photo and to its mirror image, the live coefficients of both alone."
    )
    each = {kind: dict(zip(names, found["correlation"], strict=True)) for kind, found in kinds.items()}
    rows = [(name, "", [spread[name], *(values.get(name) for values in each.values())]) for name in names]
    yield _figures(("blendshape", "teacher's sd", *kinds), rows)
    if still:
        yield _sentence(
            f"not counted, because the teacher's answers have a standard deviation below {STILL:g} on these "
            f"faces: {', '.join(still)}"
        )
    yield _sentence(f"not given, because the teacher never moves them: {', '.join(never)}")


def _subgroups(groups: Mapping[str, Mapping[str, Any]], bins: Mapping[str, Sequence[str]]) -> list[_Row]:
    """A row per bin that holds a face: its name, how many, and the one figure of each kind."""
    rows: list[_Row] = []
    for by, name in [(by, name) for by, names in bins.items() for name in names]:
        told = [groups[kind].get(by, {}).get(name, {}) for kind in groups]
        counts = [values["count"] for values in told if values]
        if counts:
            figures = [next((v for k, v in values.items() if k != "count"), None) for values in told]
            rows.append((f"{by} {_bin(name)}", "%", [*counts[:1], *figures]))
    return rows


def _bin(name: str) -> str:
    return name.replace("_up", " and more").replace("_", " to ")


def _figures(title: Sequence[str], rows: Iterable[_Row]) -> str:
    """A table of figures; whole numbers are counts whatever the row's unit."""
    return _table([title, *((what, *(_shown(v, unit) for v in values)) for what, unit, values in rows)])


def _shown(value: float | None, unit: str) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    if unit == "n" or isinstance(value, int):
        return f"{value:,.0f}"
    return f"{100 * value:.2f} %" if unit == "%" else f"{value:.3f}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown, every column as wide as its widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
