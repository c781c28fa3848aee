"""Grades a bundle on the fixed validation splits, through the public API, by :mod:`quantization.metrics`.

- landmarks: NME by the outer eye corners and by the pupils, failure rate and area under the curve up to 10 %,
  with detected boxes; by yaw, as the 3D face reads it off the human points, and by brightness; beyond the
  points visibility, presence and head pose (`quantization.beyond_points`); where they tell blendshapes, the
  correlation of each with MediaPipe's over the photos (`quantization.coefficients`);
- parsing: F1 and IoU per class over all pixels of the photos (a label map from the detected face, 0 outside
  it); by brightness; the mean F1 also with left and right as annotated (`quantization.datasets.celebamask`);
- expression: accuracy, balanced accuracy, calibration error (15 bins), risk over coverage, against the
  taggers' majority; by class and by brightness;
- detection: recall of the faces on which both teachers agree (YuNet >= 0.6, UltraFace >= 0.5, IoU >= 0.5)
  and of all of YuNet's; COCO's AP of the former, all others that YuNet suspects (>= 0.3) ignored; false
  positives on pictures without a face; by brightness; and recall by size: each face on which both agree and
  that is large enough, shrunk to 20, 24, 32, 40 and 60 pixels (`quantization.shrunk`), IoU >= 0.5.

Besides, landmarks and detection are held against their teacher by age and sex (`quantization.agreement`).

A teacher that answers like an analyzer (:mod:`quantization.teachers.analyzer`) is graded the same way, and
so is one that was trained here (:mod:`quantization.taught`). Of YuNet's recall and AP that says nothing: the
boxes to be found are its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

import edgeface
from edgeface import BBox, Bundle, Face, FaceAnalyzer, FrameResult
from edgeface.labels import CELEBAMASK19, confusion_matrix

from . import agreement, beyond_points, graded
from .datasets import celebamask, ferplus, lfpw
from .graded import Graded, Metrics
from .lines import BASE, Line
from .metrics import average_precision
from .panel import Panel
from .progress import progress
from .provenance import digest, numbers_or_null
from .shrunk import SIZES, shrunk
from .splits import parts
from .taught import Taught
from .teachers.face3d import Face3D

__all__ = [
    "DOUBTFUL",
    "Analyzer",
    "Graded",
    "Grader",
    "Metrics",
    "brightness",
    "face_at",
    "face_free",
    "grader_of",
    "graders",
    "record",
]

Rgb = NDArray[np.uint8]
_FACE_FREE = (640, 480)
_LEAST_WIDTH = 56  # of the piece of a photo that becomes one
_TASKS = ("detection", "landmarks", "parsing", "expression")
DOUBTFUL = 0.02  # least score of a face on the precision-recall curve


class Analyzer(Protocol):
    """What is graded: an :class:`edgeface.FaceAnalyzer`, or a teacher that answers like one."""

    def __enter__(self) -> Analyzer: ...
    def __exit__(self, *error: object) -> None: ...
    def analyze(self, frame: Any, boxes: Sequence[BBox] | None = None) -> FrameResult: ...


@dataclass(frozen=True, slots=True)
class Grader:
    """Where the data and the teacher's labels lie, and how an analyzer for some tasks is made.

    ``candidates`` makes a detector that also reports doubtful faces (a low ``min_score``), for the
    precision-recall curve; without it AP is that of the faces reported, and lower. ``confirming`` makes one
    that asks a landmark model about each face. ``digests``: SHA-256 of
    the graded file per task, which the curves repeat, so that a report can tell whose they are; and so they
    do ``sizes``, bytes of the networks that no report will have at hand. ``agree``: hold it against the
    teacher too, which says nothing of the teacher itself. ``beyond``: what there is beyond the points, too;
    ``moves``: and blendshapes, for which `label` must have asked their teacher about these photos.
    """

    data: Path
    labels: Path
    analyzer: Callable[[tuple[str, ...]], Analyzer]
    candidates: Callable[[], Analyzer] | None = None
    confirming: Callable[[], Analyzer] | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    agree: bool = True
    beyond: bool = True
    moves: bool = True

    def grade(self, task: str) -> Metrics:
        """The figures of one task."""
        return self.measure(task).metrics

    def measure(self, task: str) -> Graded:
        """The figures of one task and the curves behind them."""
        found = {
            "detection": self._detection,
            "landmarks": self._landmarks,
            "parsing": self._parsing,
            "expression": self._expression,
        }[task]()
        if self.agree and task in agreement.FIGURES:
            with self.analyzer((task,) if task == "landmarks" else ()) as analyzer:
                found = agreement.add(found, task, analyzer, self.data, self.labels)
        size = {"bytes": self.sizes[task]} if task in self.sizes else {}
        return Graded(found.metrics, found.curves | {"sha256": self.digests.get(task, "")} | size)

    def _landmarks(self) -> Graded:
        root, model = self.data / "landmarks/lfpw/trainset", self.data / "face3d/ict_face_model_light.npz"
        head = Face3D(model) if model.exists() else None
        photos, faces, light, yaw = [], list[Face | None](), [], []
        with self.analyzer(("landmarks",)) as analyzer:
            for name in progress("landmarks", parts("lfpw", "validation")):
                truth, rgb = lfpw.load_points(root, name), lfpw.load_photo(root, name)
                face = face_at(analyzer.analyze(rgb), truth.mean(0))
                faces.append(face)
                photos.append(beyond_points.Photo(rgb, truth))
                light.append(brightness(rgb, np.array([*truth.min(0), *np.ptp(truth, 0)])))
                yaw.append(head.pose(truth)[0] if head else np.nan)
            found = [None if f is None or f.landmarks is None else f.landmarks.points for f in faces]
            result = graded.landmarks(found, [photo.points for photo in photos], light, yaw)
            if self.moves:
                result = self._movements(result, faces)
            if not self.beyond:
                return result
            with (self.candidates or partial(self.analyzer, ()))() as detector:
                more = beyond_points.grade(analyzer, detector, photos, self._windows(photos), model)
        return Graded(result.metrics | more, result.curves)

    def _movements(self, result: Graded, faces: Sequence[Face | None]) -> Graded:
        """Adds the blendshapes of LFPW's validation photos, as far as somebody tells them.

        Raises:
            ValueError: the teacher's answers about these photos are not there.
        """
        said = {i: face.blendshapes for i, face in enumerate(faces) if face and face.blendshapes}
        if not said:
            return result
        from .coefficients import LIVE_NAMES, load_blendshapes

        answers = load_blendshapes(self.labels, "lfpw")
        row_of = {str(name): i for i, name in enumerate(answers.names) if answers.known[i]}
        photos = parts("lfpw", "validation")
        pairs = [(shapes, row_of[photos[i]]) for i, shapes in said.items() if photos[i] in row_of]
        names, rows = pairs[0][0].names, [row for _, row in pairs]
        wanted = [LIVE_NAMES.index(name) for name in names]
        told = np.stack([shapes.scores for shapes, _ in pairs]).astype(np.float64)
        taught, views = answers.labels()[rows, 0][:, wanted], answers.views()[rows][:, :, wanted]
        return graded.movements(result, names, told, taught.astype(np.float64), views.astype(np.float64))

    def _windows(self, photos: Sequence[beyond_points.Photo]) -> Iterator[Rgb]:
        """The pictures without a face, as far as the teachers' boxes are there."""
        if (self.labels / "lfpw_faces.npz").exists():
            with np.load(self.labels / "lfpw_faces.npz") as faces:
                names, boxes = faces["names"], faces["boxes"]
            for name, photo in zip(parts("lfpw", "validation"), photos, strict=True):
                yield from face_free(photo.rgb, boxes[names == name])

    def _parsing(self) -> Graded:
        root = self.data / "parsing/celebamask_hq"
        matrices, annotated, light, missed = [], [], [], 0
        with self.analyzer(("parsing",)) as analyzer:
            for name in progress("parsing", parts("celebamask", "validation")):
                told = celebamask.load_mask(root, name, as_annotated=True)
                truth, rgb = celebamask.sided(told), celebamask.load_photo(root / "images", name)
                result = analyzer.analyze(rgb)
                missed += not result.faces
                parsing = result.faces[0].parsing if result.faces else None
                guess = np.zeros_like(truth) if parsing is None else parsing.to_frame(truth.shape)
                matrices.append(confusion_matrix(guess, truth, len(CELEBAMASK19)))
                annotated.append(confusion_matrix(guess, told, len(CELEBAMASK19)))
                light.append(float(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[truth > 0].mean()))
        names = CELEBAMASK19.names
        found, said = (graded.parsing(counts, names, light, missed) for counts in (matrices, annotated))
        return Graded(found.metrics | {"mean_f1_as_annotated": said.metrics["mean_f1"]}, found.curves)

    def _expression(self) -> Graded:
        root = self.data / "expression/ferplus"
        votes = ferplus.load_votes(root)
        names = parts("ferplus", "validation")
        whole = BBox(-0.5, -0.5, 48, 48, 1.0)
        scores, light = np.zeros((len(names), len(ferplus.CLASSES))), []
        truth = np.array([votes[n][:8].argmax() for n in names])
        with self.analyzer(("expression",)) as analyzer:
            for row, name in zip(scores, progress("expression", names), strict=True):
                frame = edgeface.read_image(root / name)
                face = analyzer.analyze(frame, boxes=[whole]).faces[0]
                assert face.expression is not None  # noqa: S101  # for the type checker
                row[:] = [face.expression.scores[c] for c in ferplus.CLASSES]
                light.append(float(frame.rgb.mean()))
        return graded.expression(scores, truth, ferplus.CLASSES, light)

    def _detection(self) -> Graded:
        root = self.data / "landmarks/lfpw/trainset"
        with np.load(self.labels / "lfpw_faces.npz") as faces:
            names, boxes, agreed = faces["names"], faces["boxes"], faces["agreed"]
            sure = faces["scores"] >= 0.6
        rows: list[tuple[float, bool, float]] = []
        judged: list[tuple[Any, Any, Any]] = []
        false, free = 0, 0
        sized: dict[int, list[bool]] = {side: [] for side in SIZES}
        candidates = self.candidates or (lambda: self.analyzer(()))
        confirmed: list[bool] = []
        doubtful = 0
        confirming = self.confirming or (lambda: self.analyzer(()))
        with self.analyzer(()) as analyzer, candidates() as eager, confirming() as careful:
            for name in progress("detection", parts("lfpw", "validation")):
                rgb, mine = lfpw.load_photo(root, name), names == name
                found = analyzer.analyze(rgb).faces
                for i in np.flatnonzero(mine & sure):
                    truth = BBox(*(float(v) for v in boxes[i]))
                    best = max((f.bbox.iou(truth) for f in found), default=0.0)
                    rows.append((best, bool(agreed[i]), brightness(rgb, boxes[i])))
                sure_of = [f.bbox for f in careful.analyze(rgb).faces]
                for box in boxes[mine & sure & agreed]:
                    truth = BBox(*(float(v) for v in box))
                    confirmed.append(any(found.iou(truth) >= 0.5 for found in sure_of))
                said = [f.bbox for f in eager.analyze(rgb).faces]
                guess = np.array([(b.x, b.y, b.width, b.height, b.score) for b in said]).reshape(-1, 5)
                wanted = mine & sure & agreed
                judged.append((boxes[wanted], (guess[:, :4], guess[:, 4]), boxes[mine & ~wanted]))
                for i in np.flatnonzero(wanted & (boxes[:, 2:].max(1) >= max(SIZES))):
                    for side, hits in sized.items():
                        hits.append(_found_at(analyzer, rgb, BBox(*(float(v) for v in boxes[i])), side))
                for piece in face_free(rgb, boxes[mine]):
                    free += 1
                    false += len(analyzer.analyze(piece).faces)
                    doubtful += len(careful.analyze(piece).faces)
        overlap, both, light = (np.array(column) for column in zip(*rows, strict=True))
        precision = average_precision(*zip(*judged, strict=True))
        found_all = graded.detection(overlap, both, light, precision, false, free)
        found_all = graded.recall_by_size(found_all, sized)
        return graded.confirmed(found_all, confirmed, doubtful, free) if self.confirming else found_all


def graders(
    model: Path,
    weights: Path,
    data: Path,
    labels: Path,
    precision: Collection[str],
    teachers: Path | None,
    line: Line = BASE,
    careful: bool = False,
) -> Iterable[tuple[str, tuple[str, ...], Grader]]:
    """A grader of each kind with the tasks it is for: int8, fp32, and "teacher" if ``teachers`` is given.

    ``model``: a bundle; its students run as they are for int8, from ``weights`` of ``line`` for fp32. With
    ``careful`` the int8 ones are asked about the smallest of `SIZES` and about mirror images, too: "careful".
    """
    bundle = Bundle.load(model)
    students = [task for task in _TASKS if task in bundle.models]
    files = {artifact.name: artifact.sha256 for artifact in bundle.artifacts}
    for kind in precision:
        backend: Any = "auto"
        digests = {task: files[bundle.model(task).artifact] for task in students}
        if kind == "fp32":
            from .build import load_networks
            from .reference import TorchBackend

            backend = TorchBackend(load_networks(weights, students, line))
            digests = {task: str(digest(weights / f"{line.stem(task)}.npz")) for task in students}
        make = partial(FaceAnalyzer, bundle=bundle, backend=backend)
        eager = partial(make, (), min_score=DOUBTFUL)
        confirming = partial(make, ("landmarks",)) if "landmarks" in students else None
        yield kind, tuple(students), Grader(data, labels, make, eager, confirming, digests)
    if careful:
        make = partial(FaceAnalyzer, bundle=bundle, smallest_face=SIZES[0], mirror=True)
        confirming = partial(make, ("landmarks",)) if "landmarks" in students else None
        yield "careful", tuple(students), Grader(data, labels, make, confirming=confirming, agree=False)
    if teachers is not None:
        from .teachers.analyzer import GRADED, TeacherAnalyzer, network_bytes

        load = partial(TeacherAnalyzer.load, teachers, data, labels)
        eager = partial(load, (), min_score=DOUBTFUL)
        digests = {task: str(digest(teachers / name)) for task, name in GRADED.items()}
        sizes = {task: network_bytes(teachers, task) for task in GRADED}
        made = Grader(data, labels, load, eager, None, digests, sizes, agree=False, beyond=False)
        yield "teacher", tuple(GRADED), made


def grader_of(teacher: Taught | Panel, data: Path, labels: Path) -> Grader:
    """The grader of a teacher that was trained here, or of teachers asked together, for their task."""
    eager = partial(teacher.analyzer, (), min_score=DOUBTFUL)
    whose, size = {teacher.task: teacher.digest}, {teacher.task: teacher.size}
    return Grader(data, labels, teacher.analyzer, eager, None, whose, size, beyond=False)


def _found_at(analyzer: Analyzer, rgb: Rgb, box: BBox, side: int) -> bool:
    """Whether the face of `box` is found where it is (IoU >= 0.5) once it is so small."""
    frame, there = shrunk(rgb, box, side)
    return any(f.bbox.iou(there) >= 0.5 for f in analyzer.analyze(frame).faces)


def record(path: Path, task: str, kind: str, values: Mapping[str, Any]) -> None:
    """Puts the values of a task and kind into the JSON file ``path``, and leaves the others as they are."""
    everything = json.loads(path.read_text()) if path.exists() else {}
    everything.setdefault(task, {})[kind] = values
    text = json.dumps(numbers_or_null(everything), indent=1, sort_keys=True)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda m: " ".join(m[0].split()), text)  # a list of numbers is one line
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".partial")
    unfinished.write_text(text + "\n")
    unfinished.replace(path)


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


def face_at(result: FrameResult, point: NDArray[np.float32]) -> edgeface.Face | None:
    """The face whose box holds the point, nearest by its middle."""
    x, y = float(point[0]), float(point[1])
    holding = [
        f
        for f in result.faces
        if f.bbox.x <= x <= f.bbox.x + f.bbox.width and f.bbox.y <= y <= f.bbox.y + f.bbox.height
    ]
    return min(holding, key=lambda f: np.hypot(f.bbox.center[0] - x, f.bbox.center[1] - y), default=None)


def brightness(rgb: Rgb, box: NDArray[np.floating]) -> float:
    """Mean grey value, 0 to 255, of what lies in the box (x, y, width, height) and in the picture."""
    height, width = rgb.shape[:2]
    x0, y0 = np.clip(box[:2], 0, (width - 1, height - 1)).astype(int)
    x1, y1 = np.clip(box[:2] + box[2:], (x0 + 1, y0 + 1), (width, height)).astype(int)
    return float(cv2.cvtColor(rgb[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY).mean())
