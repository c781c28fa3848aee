"""How much of its figure a student keeps when pictures are damaged, and where it breaks.

The fixed validation splits are graded again under each kind of damage and level of `damaged`, one kind at a
time, int8, through the public API:

- detection: recall at IoU 0.5 of the faces on which two teachers agree;
- landmarks: area under the error curve up to 10 %, in which a missed face is a failure: the mean error alone
  would be that of the faces that are still found;
- parsing: mean F1; what is covered is not asked for;
- expression: accuracy on the whole picture as it lies. Elsewhere the detector says how far a face leans, and
  the crop is turned back. The pictures are grey and small already.

A student breaks at the mildest level that costs it more than a fifth of its figure on the clean pictures.
Every picture has its own generator per kind of damage, so that a harder level is more of the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import edgeface
from edgeface import FrameResult
from edgeface.labels import FER8, IBUG68

from .damaged import KINDS, Kind
from .datasets import Sample, celebamask, ferplus, lfpw
from .graded_rows import FIGURES, Row, detection_row, expression_row, landmarks_row, parsing_row
from .lines import LINES
from .progress import progress
from .splits import parts
from .synthetic import box_of

if TYPE_CHECKING:
    from .evaluate import Analyzer
    from .plots import Plot

__all__ = ["JUDGED", "LOST", "breaks_at", "known", "measure", "plot_of", "rows_of", "samples"]

LOST = 0.2
"""Share of the clean figure that a student may lose before it counts as broken."""
JUDGED: Mapping[str, tuple[str, str]] = {
    "detection": ("recall_50", "faces found, IoU >= 0.5"),
    "landmarks": ("auc10", "area under the error curve up to 10 %"),
    "parsing": ("mean_f1", "mean F1"),
    "expression": ("accuracy", "accuracy"),
}
"""By which figure a task is judged, and what it is; higher is better."""

_SEED = 978
_CLEAN = "clean"
_MORE = {  # told as well
    "detection": ("recall_70",),
    "landmarks": ("nme", "missed"),
    "parsing": ("miou", "missed"),
    "expression": ("balanced_accuracy", "ece"),
}
_FACE = (1, 13)  # classes from skin to the lips: what a detector would box
_ROWS: Mapping[str, Callable[[Any, Sample, NDArray[np.uint8]], Row]] = {
    "detection": lambda analyzer, sample, rgb: _detected(analyzer.analyze(rgb), sample, rgb),
    "landmarks": lambda analyzer, sample, rgb: landmarks_row(analyzer, None, sample, rgb),
    "parsing": parsing_row,
    "expression": expression_row,
}


def measure(task: str, analyzer: Analyzer, data: Path, labels: Path) -> dict[str, Any]:
    """The figures on the clean pictures, and by kind of damage its levels with a figure for each.

    Returns: plain JSON values, ``{"pictures": 105, "clean": {"auc10": 0.6, ...}, "blur": {"level": [...],
        "auc10": [...], ...}, ...}``.

    Raises:
        FileNotFoundError: Detection is graded by the teachers' boxes, and the labels have none.
    """
    kinds = [name for name in KINDS if (task, name) != ("expression", "grey")]  # its pictures have no colour
    cases = [(_CLEAN, 0.0), *((name, level) for name in kinds for level in KINDS[name].levels)]
    rows: dict[tuple[str, float], list[Row]] = {case: [] for case in cases}
    count = 0
    for sample in progress(f"{task}, damaged", samples(task, data, labels)):
        rgb = sample.pixels()
        for name, level in cases:
            damaged = (sample, rgb)
            if name != _CLEAN:
                rng = np.random.default_rng([_SEED, list(KINDS).index(name), count])
                damaged = KINDS[name].apply(sample, rgb, level, rng)
            rows[name, level].append(_ROWS[task](analyzer, *damaged))
        count += 1
    figures = {case: FIGURES[task](told).metrics for case, told in rows.items()}
    wanted = (JUDGED[task][0], *_MORE[task])
    found: dict[str, Any] = {"pictures": count, _CLEAN: _only(wanted, figures[_CLEAN, 0.0])}
    for name in kinds:
        levels = KINDS[name].levels
        columns = {key: [figures[name, level].get(key) for level in levels] for key in wanted}
        found[name] = {"level": list(levels)} | columns
    return found


def samples(task: str, data: Path, labels: Path) -> Iterator[Sample]:
    """The pictures that grade a task, with what is known of them and a box around each face."""
    return {
        "detection": lambda: _detection(data, labels),
        "landmarks": lambda: _landmarks(data),
        "parsing": lambda: _parsing(data),
        "expression": lambda: _expression(data),
    }[task]()


def known(task: str, sha256: str, results: Path | None = None) -> dict[str, Any] | None:
    """What was measured of a task's int8 file with this digest; None where nothing was.

    ``results``: the file to look in; None: those of every line.
    """
    for path in [results] if results else [line.robustness for line in LINES.values()]:
        found = json.loads(path.read_text()).get(task, {}).get("int8") if path.exists() else None
        if found is not None and found["sha256"] == sha256:
            return dict(found)
    return None


def breaks_at(task: str, found: Mapping[str, Any], name: str) -> float | None:
    """The mildest level of a kind of damage that costs more than `LOST`; None where none does."""
    figure = JUDGED[task][0]
    least = (1 - LOST) * found[_CLEAN][figure]
    pairs = zip(found[name]["level"], found[name][figure], strict=True)
    return next((level for level, value in pairs if value is None or value < least), None)


def rows_of(task: str, found: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, float | None]], str]]:
    """Per kind of damage what its levels are, each level with its figure, and where the student breaks."""
    rows = []
    for name, kind in _measured(found):
        told = zip(found[name]["level"], found[name][JUDGED[task][0]], strict=True)
        at = breaks_at(task, found, name)
        broken = "holds" if at is None else f"breaks at {kind.show(at)}"
        rows.append((kind.what, [(kind.show(level), value) for level, value in told], broken))
    return rows


def plot_of(task: str, found: Mapping[str, Any]) -> Plot:
    """The share of the clean figure that is kept, by kind of damage and level."""
    from .plots import Plot, percent

    figure, what = JUDGED[task]
    clean = found[_CLEAN][figure]
    names = [name for name, _ in _measured(found)]
    cells = [
        (i, j, kind.show(level), (value or 0.0) / clean if clean else np.nan)
        for i, (name, kind) in enumerate(_measured(found))
        for j, (level, value) in enumerate(zip(found[name]["level"], found[name][figure], strict=True))
    ]
    kept = np.full((len(names), max(j for _, j, _, _ in cells) + 1), np.nan)
    for i, j, _, share in cells:
        kept[i, j] = share

    def paint(axes: Any, theme: Mapping[str, str]) -> None:
        axes.imshow(kept, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        axes.set_yticks(range(len(names)), names)
        axes.set_xticks(range(kept.shape[1]), ["mild", *[""] * (kept.shape[1] - 2), "hard"])
        axes.spines[:].set_visible(False)
        for i, j, level, share in cells:
            kept_here = f"{100 * share:.0f}" if clean else "-"
            text = f"{level}: {kept_here}{' x' if share < 1 - LOST else ''}"
            ink = "black" if share > 0.5 else "white"
            axes.text(j, i, text, ha="center", va="center", color=ink, fontsize=9)

    broken = [
        f"{name} {kind.show(at)}"
        for name, kind in _measured(found)
        if (at := breaks_at(task, found, name)) is not None
    ]
    alt = f"{task}, {what}, percent of the clean figure ({percent(clean)}) by damage and level; x: broken."
    alt += f" It breaks at: {', '.join(broken) or 'none of these'}."
    rows = [(names[i], level, percent(share)) for i, _, level, share in cells]
    table = [("damage", "level", "of clean"), *rows]
    return Plot(f"{task}-robustness", "Damaged pictures", alt, table, paint, (6.0, 1.0 + 0.36 * len(names)))


def _measured(found: Mapping[str, Any]) -> list[tuple[str, Kind]]:
    return [(name, kind) for name, kind in KINDS.items() if name in found]


def _detected(result: FrameResult, sample: Sample, rgb: NDArray[np.uint8]) -> Row:
    """The row of what was found; no curve over doubtful faces is asked for, so that it is found once."""
    told = SimpleNamespace(analyze=lambda _: result)
    return detection_row(told, told, sample, rgb)


def _only(wanted: Sequence[str], figures: Mapping[str, float]) -> dict[str, float]:
    return {key: figures[key] for key in wanted if key in figures}


def _detection(data: Path, labels: Path) -> Iterator[Sample]:
    root, known_faces = data / "landmarks/lfpw/trainset", labels / "lfpw_faces.npz"
    if not known_faces.exists():
        raise FileNotFoundError(f"{known_faces}: not there; `python -m quantization label` writes it")
    with np.load(known_faces) as faces:
        names, boxes = faces["names"], faces["boxes"]
        wanted = (faces["scores"] >= 0.6) & faces["agreed"]
    for name in parts("lfpw", "validation"):
        mine = names == name
        invalid = tuple(int(v) for v in ~wanted[mine])
        yield Sample(name, lfpw.load_photo(root, name), boxes=boxes[mine], attributes={"invalid": invalid})


def _landmarks(data: Path) -> Iterator[Sample]:
    root = data / "landmarks/lfpw/trainset"
    for name in parts("lfpw", "validation"):
        points = lfpw.load_points(root, name)
        yield Sample(
            name,
            lfpw.load_photo(root, name),
            boxes=box_of(points)[None],
            points=points,
            points_scheme=IBUG68.key,
        )


def _parsing(data: Path) -> Iterator[Sample]:
    root = data / "parsing/celebamask_hq"
    for name in parts("celebamask", "validation"):
        mask = celebamask.load_mask(root, name)
        rows, columns = np.nonzero((mask >= _FACE[0]) & (mask < _FACE[1]))
        low, size = (columns.min() - 0.5, rows.min() - 0.5), (np.ptp(columns) + 1, np.ptp(rows) + 1)
        picture = celebamask.load_photo(root / "images", name)
        boxes = np.array([[*low, *size]], np.float32)
        yield Sample(name, picture, boxes=boxes, mask=mask, mask_scheme="celebamask19")


def _expression(data: Path) -> Iterator[Sample]:
    root = data / "expression/ferplus"
    votes = ferplus.load_votes(root)
    for name in parts("ferplus", "validation"):
        frame = edgeface.read_image(root / name)
        box = np.array([[-0.5, -0.5, frame.width, frame.height]], np.float32)
        yield Sample(name, frame.rgb, boxes=box, expression=int(votes[name][: len(FER8)].argmax()))
