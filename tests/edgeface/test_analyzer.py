"""The analyzer end to end on the fixture bundle, and its order, limits and refusals on scripted outputs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeface.analyzer import TASKS, FaceAnalyzer
from edgeface.backends.base import create
from edgeface.backends.scripted import ScriptedBackend
from edgeface.bundle import Bundle, ModelSpec, encode_bundle
from edgeface.errors import ArgumentError, BundleError, DeviceError, FrameError
from edgeface.frame import Frame, read_image
from edgeface.labels import flip_labels
from edgeface.results import BBox, Face
from tests.bundles import MOVES, TINY, moving, opened, seal

SILENT: dict[str, Any] = {"detection": {}, "landmarks": {}, "parsing": {}, "expression": {}}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(TINY)


@pytest.fixture(scope="module")
def photo(astronaut_path: Path) -> Frame:
    return read_image(astronaut_path)


def test_the_photo_goes_all_the_way(bundle: Bundle, photo: Frame) -> None:
    with FaceAnalyzer(bundle=bundle) as analyzer:
        result = analyzer.analyze(photo)
    assert result.faces
    assert (result.width, result.height) == (photo.width, photo.height)
    assert (result.source, result.timestamp_ns) == (photo.source, photo.timestamp_ns)
    assert result.backend == "litert"
    assert set(result.timings) == {"detection", *TASKS, "total"}
    assert sum(result.timings.values()) <= 2 * result.timings["total"]
    assert [f.bbox.area for f in result.faces] == sorted((f.bbox.area for f in result.faces), reverse=True)
    for face in result.faces:
        assert face.landmarks is not None
        assert face.parsing is not None
        assert face.expression is not None
        assert face.roll is not None
        assert face.keypoints is not None
        assert face.keypoints.shape == (5, 2)
    json.dumps(result.to_dict())


def test_a_face_free_frame_has_no_faces(bundle: Bundle) -> None:
    with FaceAnalyzer(bundle=bundle) as analyzer:
        result = analyzer.analyze(np.full((240, 320, 3), 127, np.uint8))
    assert result.faces == ()
    assert set(result.timings) == {"detection", "total"}


def test_only_what_is_asked_for_is_opened_and_run(bundle: Bundle) -> None:
    backend = ScriptedBackend(SILENT)
    frame, box = np.zeros((100, 100, 3), np.uint8), BBox(10, 10, 50, 50)
    with FaceAnalyzer(["expression"], bundle=bundle, backend=backend) as analyzer:
        assert backend.opened == []
        face = analyzer.analyze(frame, boxes=[box]).faces[0]
        assert backend.opened == ["expression"]
        assert face.landmarks is None
        assert face.parsing is None
        assert (face.roll, face.keypoints, face.bbox) == (None, None, box)
        result = analyzer.analyze(frame)
        assert backend.opened == ["expression", "detection"]
        assert result.faces == ()
        analyzer.analyze(frame)
    assert backend.opened == ["expression", "detection"]


def test_no_tasks_means_boxes_only(bundle: Bundle, photo: Frame) -> None:
    with FaceAnalyzer(tasks=(), bundle=bundle) as boxes_only, FaceAnalyzer(bundle=bundle) as everything:
        few, full = boxes_only.analyze(photo), everything.analyze(photo)
    assert [face.bbox for face in few.faces] == [face.bbox for face in full.faces]
    assert all(face.landmarks is face.parsing is face.expression is None for face in few.faces)
    assert set(few.timings) == {"detection", "total"}


def test_tasks_can_be_left_out_of_a_frame(bundle: Bundle, photo: Frame) -> None:
    with FaceAnalyzer(bundle=bundle) as analyzer:
        full, few = analyzer.analyze(photo), analyzer.analyze(photo, skip=["expression", "landmarks"])
        again = analyzer.analyze(photo)
        for wrong, message in ((["age"], "skip: 'age' is unknown"), ("parsing", r"write \['parsing'\]")):
            with pytest.raises(ArgumentError, match=message):
                analyzer.analyze(photo, skip=wrong)
    assert full.faces
    assert few.faces == tuple(replace(face, landmarks=None, expression=None) for face in full.faces)
    assert set(few.timings) == set(few.ran) | {"total"} == {"detection", "parsing", "total"}
    assert again.faces == full.faces


def test_the_order_of_tasks_does_not_matter(bundle: Bundle, photo: Frame) -> None:
    results = []
    for tasks in (TASKS, TASKS[::-1], [*TASKS, *TASKS]):
        with FaceAnalyzer(tasks, bundle=bundle) as analyzer:
            results.append(analyzer.analyze(photo).faces)
    assert results[0] == results[1] == results[2]


def test_boxes_of_ones_own_skip_detection_and_come_back_largest_first(bundle: Bundle) -> None:
    boxes = [BBox(10, 10, 20, 20), BBox(50, 50, 90, 80, 0.5), BBox(-5, 20, 40, 30)]
    with FaceAnalyzer(bundle=bundle, max_faces=2) as analyzer:
        result = analyzer.analyze(np.zeros((200, 200, 3), np.uint8), boxes=boxes)
        assert analyzer.analyze(np.zeros((200, 200, 3), np.uint8), boxes=[]).faces == ()
    assert [face.bbox for face in result.faces] == [boxes[1], boxes[2]]
    assert "detection" not in result.timings


def test_a_result_is_the_same_whatever_came_before(bundle: Bundle, photo: Frame) -> None:
    other = Frame.from_array(np.ascontiguousarray(photo.rgb[::-1, ::-1]))
    with FaceAnalyzer(bundle=bundle) as analyzer:
        first = analyzer.analyze(photo)
        snapshot = json.dumps([face.to_dict() for face in first.faces])
        analyzer.analyze(other)
        again = analyzer.analyze(photo)
    assert first.faces == again.faces
    assert json.dumps([face.to_dict() for face in first.faces]) == snapshot


def test_max_faces_keeps_the_largest(bundle: Bundle, photo: Frame) -> None:
    with (
        FaceAnalyzer(tasks=(), bundle=bundle) as all_of_them,
        FaceAnalyzer((), bundle=bundle, max_faces=1) as one,
    ):
        faces, largest = all_of_them.analyze(photo).faces, one.analyze(photo).faces
    assert len(faces) > 1
    assert largest == faces[:1]


def test_of_equal_faces_the_first_are_kept_and_the_result_alone_sorts(bundle: Bundle) -> None:
    boxes = [BBox(10, 10, 20, 20), BBox(40, 10, 30, 30), BBox(80, 10, 20, 20), BBox(110, 10, 30, 30)]
    frame = np.zeros((200, 200, 3), np.uint8)
    for most, kept in ((None, [1, 3, 0, 2]), (3, [1, 3, 0]), (1, [1])):
        with FaceAnalyzer((), bundle=bundle, max_faces=most) as analyzer:
            faces = analyzer.analyze(frame, boxes=boxes).faces
        assert [face.bbox for face in faces] == [boxes[index] for index in kept]
    seen: list[Any] = []
    backend = ScriptedBackend({"expression": lambda tensors: seen.append(tensors["image"].copy()) or {}})
    frame[10:30, 10:30] = 200
    with FaceAnalyzer(["expression"], bundle=bundle, backend=backend) as analyzer:
        analyzer.analyze(frame, boxes=boxes)
    assert [int(image.max()) for image in seen][1:] == [-128] * 3  # described in the order they were given


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.int32])
def test_whole_numbers_of_numpy_will_do(bundle: Bundle, kind: type) -> None:
    with FaceAnalyzer(bundle=bundle, max_faces=kind(2), threads=kind(2)) as analyzer:
        told = analyzer.describe()
        faces = analyzer.analyze(
            np.zeros((99, 99, 3), np.uint8), [BBox(index, 0, 20, 20) for index in range(5)]
        ).faces
    assert len(faces) == 2
    assert json.loads(json.dumps(told))["threads"] == 2


def test_a_score_of_numpy_will_do(bundle: Bundle, photo: Frame) -> None:
    found = []
    for least in (0.5, np.float32(0.5), np.float16(0.5)):
        with FaceAnalyzer((), bundle=bundle, min_score=least) as analyzer:
            found.append(analyzer.analyze(photo).faces)
    assert found[0] == found[1] == found[2]


def test_min_score_takes_the_place_of_the_manifests(bundle: Bundle, photo: Frame) -> None:
    with (
        FaceAnalyzer((), bundle=bundle) as normal,
        FaceAnalyzer((), bundle=bundle, min_score=0.999) as strict,
    ):
        assert len(strict.analyze(photo).faces) < len(normal.analyze(photo).faces)


@pytest.fixture(scope="module")
def crowd(astronaut_path: Path) -> tuple[NDArray[np.uint8], list[BBox]]:
    """The astronaut many times over in 640 x 480, 20 pixels large and larger, and where the faces are."""
    photo = read_image(astronaut_path).rgb[:260, 100:360]
    with FaceAnalyzer(()) as analyzer:
        (face,) = analyzer.analyze(photo).faces
    frame, boxes = np.full((480, 640, 3), 90, np.uint8), []
    for side, left, top in [(20, 5, 8), (20, 300, 240), (20, 590, 430), (26, 150, 200), (90, 380, 20)]:
        scale = side / face.bbox.side
        small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        frame[top : top + small.shape[0], left : left + small.shape[1]] = small
        box = face.bbox
        boxes.append(BBox(left + box.x * scale, top + box.y * scale, box.width * scale, box.height * scale))
    return frame, boxes


@pytest.mark.parametrize("tasks", [(), ("landmarks",)])
def test_faces_too_small_for_one_look_are_found_in_tiles(
    crowd: tuple[NDArray[np.uint8], list[BBox]], tasks: tuple[str, ...]
) -> None:
    """The real students; each face once, though neighbouring tiles share it, and none beside."""
    frame, boxes = crowd
    with FaceAnalyzer(tasks) as plain, FaceAnalyzer(tasks, smallest_face=20) as careful:
        at_once, found = plain.analyze(frame), careful.analyze(frame)
    assert len(at_once.faces) < len(boxes)
    assert len(found.faces) == len(boxes)
    assert all(max(face.bbox.iou(box) for face in found.faces) > 0.6 for box in boxes)
    assert found.timings["detection"] > 4 * at_once.timings["detection"]


def test_a_face_that_is_clear_in_the_whole_frame_costs_one_look(astronaut_path: Path) -> None:
    photo = read_image(astronaut_path)
    backend = Counting()
    with FaceAnalyzer((), backend=backend, smallest_face=80) as analyzer:
        analyzer.analyze(photo)
        assert backend.runs == 1
        analyzer.analyze(np.pad(photo.rgb, ((0, 700), (0, 900), (0, 0))))
        assert backend.runs > 2


def test_the_mirror_image_of_a_face_is_told_the_same(astronaut_path: Path) -> None:
    """The real students: two views, each once as it is and once mirrored, whichever is shown."""
    photo = read_image(astronaut_path).rgb
    box = BBox(159.5, 49.5, 120, 160)
    there = BBox(photo.shape[1] - 1 - 159.5 - 120, 49.5, 120, 160)
    shown = [(photo, box), (np.ascontiguousarray(photo[:, ::-1]), there)]
    backend = Counting()
    with FaceAnalyzer(("parsing", "expression"), backend=backend, mirror=True) as analyzer:
        one, other = (analyzer.analyze(frame, boxes=[at]).faces[0] for frame, at in shown)
        assert backend.runs == 8
    with FaceAnalyzer(("parsing", "expression")) as analyzer:
        alone = [analyzer.analyze(frame, boxes=[at]).faces[0] for frame, at in shown]
    assert one.expression is not None
    assert one.parsing is not None
    assert other.expression == one.expression
    assert alone[0].expression != alone[1].expression
    np.testing.assert_array_equal(flip_labels(other.parsing.labels, "celebamask19"), one.parsing.labels)
    single = flip_labels(alone[1].parsing.labels, "celebamask19")
    assert (single != alone[0].parsing.labels).mean() > 0.001


class Counting:
    """The CPU, and how often it was asked."""

    def __init__(self) -> None:
        self._cpu = create("litert")
        self.name, self.formats = self._cpu.name, self._cpu.formats
        self.runs = 0

    def open(self, spec: ModelSpec, artifact: bytes, threads: int) -> Any:
        session = self._cpu.open(spec, artifact, threads)
        run = session.run

        def counted(tensors: Any) -> Any:
            self.runs += 1
            return run(tensors)

        return SimpleNamespace(run=counted, close=session.close)


@pytest.mark.parametrize(
    "kind", ["grey", "grey with an axis", "rgba", "16 bit", "strided", "one pixel", "one row"]
)
def test_any_picture_will_do(bundle: Bundle, photo: Frame, kind: str) -> None:
    rgb = photo.rgb
    picture = {
        "grey": lambda: rgb[..., 1],
        "grey with an axis": lambda: rgb[..., 1:2],
        "rgba": lambda: np.dstack([rgb, rgb[..., :1]]),
        "16 bit": lambda: rgb.astype(np.uint16) * 257,
        "strided": lambda: rgb[::2, ::2],
        "one pixel": lambda: rgb[:1, :1],
        "one row": lambda: rgb[:1],
    }[kind]()
    with FaceAnalyzer(bundle=bundle) as analyzer:
        result = analyzer.analyze(picture)
        assert (result.height, result.width) == picture.shape[:2]
        if kind in {"16 bit", "rgba"}:
            assert result.faces == analyzer.analyze(photo).faces


@pytest.mark.parametrize("roll", [0.0, 60.0, -90.0])
def test_a_leaning_head_is_cropped_upright(bundle: Bundle, roll: float) -> None:
    """The detector's points give the roll, and the next model sees the crop turned by it."""
    spec, seen = bundle.model("detection"), []
    score, kps, box = (spec.output(f"{name}_16").shape for name in ("score", "kps", "box"))
    logits, offsets, sides = np.full(score, -99.0), np.zeros(kps), np.zeros(box)
    logits[0, 1, 2], sides[0, 1, 2] = 99.0, 1.0
    angle = np.radians(roll)
    upright = np.array([[-0.2, -0.2], [0.2, -0.2], [0.0, 0.0], [-0.15, 0.2], [0.15, 0.2]])
    turned = upright @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    offsets[0, 1, 2] = turned.ravel()

    def remember(tensors: Any) -> dict[str, Any]:
        seen.append(tensors["image"].copy())
        return {}

    scripts = {
        "detection": {"score_16": logits, "kps_16": offsets, "box_16": sides},
        "landmarks": remember,
    }
    frame = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    with FaceAnalyzer(["landmarks"], bundle=bundle, backend=ScriptedBackend(scripts)) as analyzer:
        (face,) = analyzer.analyze(frame).faces
        assert face.roll == pytest.approx(roll, abs=4.0)
        expected, _ = analyzer._heads["landmarks"].prepare(frame, face.bbox, face.roll or 0.0)
    np.testing.assert_array_equal(seen[0], expected["image"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": "landmarks"}, r"must be a list of names, not 'landmarks'; write \['landmarks'\]"),
        ({"tasks": "all"}, "must be a list of names, not 'all'; choose from landmarks, parsing, expression"),
        ({"tasks": ["gaze"]}, "'gaze' is unknown; choose from landmarks, parsing, expression"),
        ({"tasks": ["detection"]}, "'detection' is unknown"),
        ({"tasks": [3]}, "3 is unknown"),
        ({"tasks": [["landmarks"]]}, "is unknown"),
        ({"tasks": None}, r"must be a list of names, not None; choose from .*\[\] for none of them"),
        ({"tasks": 3}, "must be a list"),
        ({"bundle": 3}, "bundle must be a path or a Bundle, not int"),
        ({"bundle": b"EDGEFACE"}, "not bytes; Bundle.from_bytes"),
        ({"max_faces": 0}, "max_faces"),
        ({"max_faces": True}, "max_faces"),
        ({"max_faces": np.True_}, "max_faces"),
        ({"max_faces": np.int64(0)}, "max_faces"),
        ({"max_faces": "3"}, "max_faces must be a whole number from 1 to 100000, not '3'"),
        ({"threads": 0}, "threads"),
        ({"threads": 1.5}, "threads"),
        ({"threads": np.float64(2)}, "threads"),
        ({"threads": None}, "threads"),
        ({"threads": 1000}, "threads"),
        ({"min_score": 0}, "min_score"),
        ({"min_score": "high"}, "min_score"),
        ({"min_score": True}, "min_score"),
        ({"min_score": 10**400}, "min_score"),
        ({"min_score": 50}, "min_score must be a number between 0 and 1, not 50"),
        ({"min_score": float("nan")}, "min_score"),
        ({"smallest_face": 7.9}, "smallest_face must be a number of pixels from 8 to 100000, not 7.9"),
        ({"smallest_face": 10**400}, "smallest_face"),
        ({"smallest_face": float("nan")}, "smallest_face"),
        ({"smallest_face": True}, "smallest_face"),
        ({"smallest_face": "20"}, "smallest_face"),
        ({"backend": "abacus"}, "abacus"),
        ({"backend": 7}, "backend must be a name or a Backend"),
        ({"backend": ScriptedBackend}, r"the class ScriptedBackend itself; pass ScriptedBackend\("),
    ],
)
def test_bad_arguments_are_typed_and_say_what_is_allowed(
    bundle: Bundle, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        FaceAnalyzer(**{"bundle": bundle, **arguments})


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([(1, 2, 3, 4)], "not tuple; write BBox"),
        ([Face(BBox(1, 2, 3, 4))], "not Face; pass face.bbox"),
        (np.ones((1, 4)), "not ndarray; write BBox"),
        (BBox(1, 2, 3, 4), r"must be a list of BBox, not BBox; write \[BBox"),
        (4, "must be a list of BBox, not int"),
        ([BBox(100, 0, 5, 5)], "is not a face in"),
        ([BBox(-50, 0, 50, 5)], "is not a face in"),
        ([BBox(-1e30, -1e30, 2e30, 2e30)], "is not a face in"),
    ],
)
def test_bad_boxes_are_typed(bundle: Bundle, boxes: Any, message: str) -> None:
    with FaceAnalyzer(bundle=bundle) as analyzer, pytest.raises(ArgumentError, match=message):
        analyzer.analyze(np.zeros((100, 100, 3), np.uint8), boxes=boxes)


@pytest.mark.parametrize(
    ("rolls", "message"),
    [
        ([0.0], "2 boxes and 1 rolls; give one to each"),
        ([0.0, 1.0, 2.0], "2 boxes and 3 rolls"),
        (["left", None], "degrees from -180 to 180 or None, not 'left'"),
        ([0.0, 181.0], "not 181"),
        ([float("nan"), 0.0], "not nan"),
        ([True, False], "not True"),
        (30.0, r"must be a list of degrees, not 30\.0; write \[30\.0\]"),
        ("3", "must be a list of degrees"),
    ],
)
def test_bad_rolls_are_typed(bundle: Bundle, rolls: Any, message: str) -> None:
    boxes = [BBox(10, 10, 50, 50), BBox(40, 40, 50, 50)]
    with FaceAnalyzer(bundle=bundle) as analyzer, pytest.raises(ArgumentError, match=message):
        analyzer.analyze(np.zeros((100, 100, 3), np.uint8), boxes=boxes, rolls=rolls)


def test_rolls_without_boxes_are_refused(bundle: Bundle, photo: Frame) -> None:
    with FaceAnalyzer(bundle=bundle) as analyzer, pytest.raises(ArgumentError, match="pass boxes, too"):
        analyzer.analyze(photo, rolls=[10.0])


def test_a_box_with_its_roll_gives_what_detection_gave(astronaut_path: Path) -> None:
    """The same crop, bit for bit, also of a head that leans so far that its crop is turned."""
    rgb = read_image(astronaut_path).rgb
    turn = cv2.getRotationMatrix2D((225.0, 115.0), -35.0, 1.0)  # clockwise
    leaning = np.asarray(cv2.warpAffine(rgb, turn, (512, 512)), np.uint8)
    with FaceAnalyzer() as analyzer:
        found = analyzer.analyze(leaning).faces[0]
        assert found.roll == pytest.approx(35, abs=8)
        given = analyzer.analyze(leaning, [found.bbox], [found.roll]).faces[0]
        upright = analyzer.analyze(leaning, [found.bbox]).faces[0]
    assert (given.landmarks, given.parsing, given.expression) == (
        found.landmarks,
        found.parsing,
        found.expression,
    )
    assert (given.roll, given.keypoints) == (found.roll, None)
    assert upright.landmarks != found.landmarks
    assert upright.roll is None


def _asking_for(presence: float) -> Bundle:
    """The built-in bundle, whose landmark model takes no face of less presence for one."""
    builtin = Bundle.builtin()
    header, _ = opened(Path(builtin.source).read_bytes())
    header["models"]["landmarks"]["head"]["min_presence"] = presence
    files = {artifact.name: builtin.artifact(artifact.name) for artifact in builtin.artifacts}
    del header["artifacts"]
    return Bundle.from_bytes(encode_bundle(header, files))


def test_a_detected_face_whose_landmarks_see_none_is_left_out(astronaut_path: Path) -> None:
    photo = read_image(astronaut_path)
    bundle = _asking_for(1.0)  # more than a logistic function ever gives
    with FaceAnalyzer((), bundle=bundle) as boxes_alone:
        (found,) = boxes_alone.analyze(photo).faces
    with FaceAnalyzer(bundle=bundle) as analyzer:
        result = analyzer.analyze(photo)
        assert result.faces == ()
        assert "parsing" not in result.timings  # nor was it described any further
        assert len(analyzer.analyze(photo, [found.bbox]).faces) == 1  # who brings a box knows of a face


def test_of_the_wanted_faces_none_is_lost_to_a_larger_one_that_is_none(astronaut_path: Path) -> None:
    rgb = read_image(astronaut_path).rgb[:220, 130:330]
    large = cv2.GaussianBlur(cv2.resize(rgb, None, fx=1.6, fy=1.6), (0, 0), 9)
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[: large.shape[0], : large.shape[1]] = large
    frame[: rgb.shape[0], 400:600] = rgb
    with FaceAnalyzer(["landmarks"], bundle=_asking_for(0.0)) as analyzer:
        first, second = analyzer.analyze(frame).faces
    blurred, clear = (face.landmarks.presence for face in (first, second) if face.landmarks)
    assert blurred < clear
    bundle = _asking_for((blurred + clear) / 2)
    for most in (1, 2, None):
        with FaceAnalyzer(["landmarks", "expression"], bundle=bundle, max_faces=most) as analyzer:
            assert [face.bbox for face in analyzer.analyze(frame).faces] == [second.bbox]


def test_each_box_keeps_its_own_roll(bundle: Bundle) -> None:
    boxes = [BBox(10, 10, 20, 20), BBox(50, 50, 90, 80), BBox(5, 120, 40, 30)]
    with FaceAnalyzer((), bundle=bundle) as analyzer:
        faces = analyzer.analyze(np.zeros((200, 200, 3), np.uint8), boxes, [-30, None, np.float32(90)]).faces
    assert [(face.bbox, face.roll) for face in faces] == [(boxes[1], None), (boxes[2], 90), (boxes[0], -30)]


@pytest.mark.parametrize(
    ("picture", "mend"),
    [
        (np.zeros((4, 4, 3), np.float32), r"not float32 \[4, 4, 3\]: scale floats from 0..1"),
        (np.zeros((4, 4, 3), int), r"not int64 \[4, 4, 3\]: make it one with numpy.asarray"),
        (np.zeros((3, 9, 9), np.uint8), "channels last"),
        (np.zeros((1, 4, 4, 3), np.uint8), "pass one picture"),
        ([[[1, 2, 3]]], "not list: make it one with numpy.asarray"),
        ("people.jpg", "not str: read the file with edgeface.read_image first"),
        (Path("people.jpg"), "read the file with edgeface.read_image first"),
        (b"JPEG", "not bytes: read the file with edgeface.read_image first"),
        (None, "not NoneType: whatever was to read it found none"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_picture_is_a_frame_error_with_its_mend(bundle: Bundle, picture: Any, mend: str) -> None:
    with FaceAnalyzer(bundle=bundle) as analyzer, pytest.raises(FrameError, match=mend):
        analyzer.analyze(picture)


def test_a_bundle_without_a_task_says_so(bundle: Bundle) -> None:
    header, _ = opened(TINY.read_bytes())
    models = {"expression": header["models"]["expression"]}
    artifact = models["expression"]["artifact"]
    header.pop("artifacts")
    small = Bundle.from_bytes(
        encode_bundle({**header, "models": models, "cards": {}}, {artifact: bundle.artifact(artifact)})
    )
    with pytest.raises(BundleError, match="no model for the task 'landmarks'"):
        FaceAnalyzer(bundle=small)
    with FaceAnalyzer(["expression"], bundle=small) as analyzer:
        frame = np.zeros((50, 50, 3), np.uint8)
        assert analyzer.analyze(frame, boxes=[BBox(5, 5, 20, 20)]).faces[0].expression is not None
        with pytest.raises(BundleError, match="no model for the task 'detection'"):
            analyzer.analyze(frame)


def test_a_backend_must_open_the_formats(bundle: Bundle) -> None:
    class Other(ScriptedBackend):
        formats = frozenset({"engine"})

    with pytest.raises(DeviceError, match="tflite"):
        FaceAnalyzer(bundle=bundle, backend=Other({}))


def test_a_fault_of_the_device_passes_and_the_next_frame_works(bundle: Bundle) -> None:
    calls = []

    def flaky(tensors: Any) -> dict[str, Any]:
        calls.append(tensors)
        if len(calls) == 1:
            raise DeviceError("lost")
        return {}

    frame, boxes = np.zeros((100, 100, 3), np.uint8), [BBox(10, 10, 50, 50)]
    with FaceAnalyzer(
        ["expression"], bundle=bundle, backend=ScriptedBackend({"expression": flaky})
    ) as analyzer:
        with pytest.raises(DeviceError, match="lost"):
            analyzer.analyze(frame, boxes)
        assert len(analyzer.analyze(frame, boxes).faces) == 1


def test_a_closed_analyzer_says_so_and_closes_twice(bundle: Bundle) -> None:
    analyzer = FaceAnalyzer(bundle=bundle)
    analyzer.analyze(np.zeros((50, 50, 3), np.uint8))
    analyzer.close()
    analyzer.close()
    with pytest.raises(DeviceError, match="the analyzer is closed"):
        analyzer.analyze(np.zeros((50, 50, 3), np.uint8))


def test_closing_while_others_analyze_is_orderly(bundle: Bundle, photo: Frame) -> None:
    analyzer = FaceAnalyzer(bundle=bundle)
    expected = analyzer.analyze(photo).faces
    outcomes: list[bool | BaseException] = []

    def work() -> None:
        try:
            while True:
                outcomes.append(analyzer.analyze(photo).faces == expected)
        except DeviceError:
            pass
        except BaseException as error:  # noqa: BLE001  whatever it is, the test says it
            outcomes.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    while len(outcomes) < 6:
        pass
    analyzer.close()
    for thread in threads:
        thread.join()
    assert all(outcome is True for outcome in outcomes)


def test_describe_names_what_runs(bundle: Bundle) -> None:
    with FaceAnalyzer(["landmarks"], bundle=bundle, threads=2) as analyzer:
        told = analyzer.describe()
    assert told["backend"] == "litert"
    assert told["threads"] == 2
    assert told["bundle"]["digest"] == bundle.digest
    assert set(told["models"]) == {"detection", "landmarks"}
    digests = {artifact.name: artifact.sha256 for artifact in bundle.artifacts}
    assert told["models"]["landmarks"]["sha256"] == digests[told["models"]["landmarks"]["artifact"]]
    json.dumps(told)


FIRST_RESULT = """
import sys, time
import edgeface
with edgeface.FaceAnalyzer(bundle=sys.argv[1]) as analyzer:
    frame = edgeface.read_image(sys.argv[2])
    assert len(analyzer.analyze(frame).faces) > 0
print(time.process_time())
"""


def test_the_first_result_comes_within_400_ms(astronaut_path: Path) -> None:
    """Promise 23, from process start, in processor time: the wall time of an otherwise idle machine."""
    command = [sys.executable, "-c", FIRST_RESULT, str(TINY), str(astronaut_path)]
    spent = [float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(3)]
    assert min(spent) <= 0.4


def test_a_tall_frame_is_shown_to_the_detector_for_tall_frames(bundle: Bundle) -> None:
    header, body = opened(TINY.read_bytes())
    wide = header["models"]["detection"]

    def exchange(shape: list[int]) -> list[int]:
        return [shape[0], shape[2], shape[1], shape[3]]

    tall = {
        **wide,
        "task": "detection_tall",
        "input": {**wide["input"], "shape": exchange(wide["input"]["shape"])},
    }
    tall["outputs"] = [{**output, "shape": exchange(output["shape"])} for output in wide["outputs"]]
    header["models"]["detection_tall"] = tall
    both = Bundle.from_bytes(seal(header, body))
    rows, columns = wide["input"]["shape"][1:3]
    assert rows < columns
    shown: list[tuple[str, int]] = []

    def script(name: str) -> Any:
        # How much of the input the frame fills, in pixels that are not black.
        return lambda tensors: shown.append((name, int((tensors["image"] > -128).all(axis=-1).sum()))) or {}

    scripts = {name: script(name) for name in ("detection", "detection_tall")}
    with FaceAnalyzer([], bundle=both, backend=ScriptedBackend(scripts)) as analyzer:
        for width, height in ((64, 48), (48, 64), (50, 50)):
            result = analyzer.analyze(np.full((height, width, 3), 255, np.uint8))
            assert list(result.ran) == [shown[-1][0]]
            assert set(result.timings) == {"detection", "total"}
    assert [name for name, _ in shown] == ["detection", "detection_tall", "detection"]
    assert shown[0][1] == shown[1][1]  # both as large as a detector can show them
    with FaceAnalyzer([], bundle=bundle, backend=ScriptedBackend(scripts)) as analyzer:
        analyzer.analyze(np.full((64, 48, 3), 255, np.uint8))
    assert shown[-1][0] == "detection"
    assert shown[-1][1] < shown[1][1]


def test_a_face_moves_where_the_landmark_model_tells_it(bundle: Bundle) -> None:
    boxes, frame = [BBox(40, 40, 60, 60)], np.zeros((200, 200, 3), np.uint8)
    told = {**SILENT, "landmarks": {"blendshapes": [0.0, -9.0, 9.0]}}
    tells = Bundle.from_bytes(moving(TINY.read_bytes()))
    with FaceAnalyzer(bundle=tells, backend=ScriptedBackend(told)) as analyzer:
        (face,) = analyzer.analyze(frame, boxes=boxes).faces
        (other,) = analyzer.analyze(frame, boxes=boxes, skip=["landmarks"]).faces
    assert face.blendshapes is not None
    assert face.blendshapes.to_dict() == pytest.approx(dict(zip(MOVES, (0.5, 0, 1), strict=True)), abs=0.01)
    assert other.landmarks is other.blendshapes is None
    with FaceAnalyzer(bundle=bundle, backend=ScriptedBackend(SILENT)) as analyzer:
        (face,) = analyzer.analyze(frame, boxes=boxes).faces
    assert face.landmarks is not None
    assert face.blendshapes is None
