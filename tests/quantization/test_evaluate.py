from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import edgeface
from edgeface import BBox, Bundle, Expression, Face, FrameResult, Landmarks, ParsingMap
from edgeface.labels import CELEBAMASK19
from quantization import beyond_points, evaluate
from quantization.datasets import celebamask, ferplus, lfpw
from quantization.evaluate import Grader, face_free, graders, record
from quantization.lines import LINES
from quantization.shrunk import shrunk
from quantization.splits import parts
from quantization.teachers.face3d import Face3D

pytestmark = pytest.mark.workshop


class Oracle:
    """An analyzer that knows the answers: what it says about each picture is decided by the test."""

    def __init__(self):
        self.answers = {}
        self.otherwise = ()

    def __call__(self, tasks):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def knows(self, rgb, *faces):
        self.answers[rgb.tobytes()] = faces

    def analyze(self, frame, boxes=None):
        rgb = frame.rgb if isinstance(frame, edgeface.Frame) else frame
        return FrameResult(self.answers.get(rgb.tobytes(), self.otherwise), rgb.shape[1], rgb.shape[0])


@pytest.fixture
def oracle():
    return Oracle()


@pytest.fixture(autouse=True)
def few_heads(monkeypatch):
    """The rendered heads, of which most tests ask nothing, are a handful."""
    monkeypatch.setattr(beyond_points, "rendered_heads", partial(beyond_points.rendered_heads, count=6))


@pytest.fixture
def grader(miniature, oracle):
    with miniature.split():
        yield Grader(miniature.data, miniature.labels, oracle)


@pytest.fixture
def lfpw_faces(miniature):
    """Each validation photo of the drawn LFPW with its true face."""
    root = miniature.data / "landmarks/lfpw/trainset"
    with np.load(miniature.labels / "lfpw_faces.npz") as arrays:
        boxes = dict(zip(arrays["names"].tolist(), arrays["boxes"].tolist(), strict=True))
    with miniature.split():
        rows = [
            (lfpw.load_photo(root, n), lfpw.load_points(root, n), boxes[n])
            for n in parts("lfpw", "validation")
        ]
    return [
        (rgb, Face(BBox(*box), landmarks=Landmarks(points, np.ones(68, np.float32), 1.0)))
        for rgb, points, box in rows
    ]


def shifted(face, x):
    points = face.landmarks.points + np.array([x, 0], np.float32)
    return replace(face, landmarks=replace(face.landmarks, points=points))


def test_perfect_landmarks_have_no_error(grader, oracle, lfpw_faces):
    for rgb, face in lfpw_faces:
        oracle.knows(rgb, face)
    found = grader.grade("landmarks")
    perfect = {"photos": 2, "missed": 0, "nme": 0, "nme_pupil": 0, "fr10": 0, "auc10": 1}
    assert {key: found[key] for key in perfect} == pytest.approx(perfect, abs=1e-3)


def test_landmarks_off_by_a_share_of_the_eyes_distance(grader, oracle, lfpw_faces):
    for share, (rgb, face) in zip((0.04, 0.2), lfpw_faces, strict=True):
        eyes = np.linalg.norm(face.landmarks.points[36] - face.landmarks.points[45])
        oracle.knows(rgb, shifted(face, share * eyes))
    found = grader.grade("landmarks")
    assert found["nme"] == pytest.approx(0.12, abs=1e-4)
    assert found["nme_eyes"] == found["nme_lips"] == pytest.approx(0.12, abs=1e-4)
    assert found["fr10"] == 0.5
    assert found["auc10"] == pytest.approx(0.6 / 2, abs=1e-3)


def test_a_missed_face_is_a_failure_and_the_face_that_holds_the_points_counts(grader, oracle, lfpw_faces):
    (rgb, face), _ = lfpw_faces
    stranger = replace(shifted(face, 50), bbox=BBox(face.bbox.x + 300, face.bbox.y, 400, 400))
    oracle.knows(rgb, stranger, face)
    found = grader.grade("landmarks")
    assert (found["missed"], found["fr10"]) == (1, 0.5)
    assert found["nme"] == pytest.approx(0, abs=1e-4)


def test_landmarks_by_pose_and_light(grader, oracle, lfpw_faces, miniature):
    """The worse of two photos is alone in its bin of yaw or of light, or shares it with the better one."""
    for share, (rgb, face) in zip((0.0, 0.08), lfpw_faces, strict=True):
        eyes = np.linalg.norm(face.landmarks.points[36] - face.landmarks.points[45])
        oracle.knows(rgb, shifted(face, share * eyes))
    graded = grader.measure("landmarks")
    for by in ("yaw", "brightness"):
        bins = graded.curves["subgroups"][by]
        assert sum(b["count"] for b in bins.values()) == 2
        assert sum(b["count"] * b["nme"] for b in bins.values()) == pytest.approx(0.08, abs=1e-4)
        assert all(
            graded.metrics[f"nme_{by}_{name}"] == pytest.approx(b["nme"], abs=1e-5)
            for name, b in bins.items()
        )
    head = Face3D(miniature.data / "face3d/ict_face_model_light.npz")
    turned = abs(head.pose(lfpw_faces[1][1].landmarks.points)[0])
    (name,) = (
        n for n in ("0_15", "15_30", "30_45", "45_90") if float(n[:2].strip("_")) <= turned < int(n[-2:])
    )
    assert name in graded.curves["subgroups"]["yaw"]


def test_what_is_said_beyond_the_points_is_graded_with_them(grader, oracle, lfpw_faces, monkeypatch):
    monkeypatch.setattr(evaluate, "_LEAST_WIDTH", 16)  # the drawn photos are small
    for rgb, face in lfpw_faces:
        oracle.knows(rgb, face)
    found = grader.grade("landmarks")
    assert found["backgrounds"] >= 4
    assert found["presence_auc"] == 1  # nobody is found in a window
    assert found["backgrounds_mistaken"] == 0
    assert (found["heads"], found["heads_found"]) == (6, 0)
    assert 0 < found["pose_error_of_true_points"] < 15
    points = lfpw_faces[0][1].landmarks.points
    oracle.otherwise = (Face(BBox(0, 0, 9, 9, 0.5), landmarks=Landmarks(points, np.ones(68, np.float32), 1)),)
    taken_in = grader.grade("landmarks")
    assert "presence_auc" not in taken_in  # it says the same of everything
    assert taken_in["backgrounds_mistaken"] > 0


def test_teachers_are_asked_for_the_points_alone(grader, oracle, lfpw_faces):
    for rgb, face in lfpw_faces:
        oracle.knows(rgb, face)
    found, more = replace(grader, beyond=False).grade("landmarks"), grader.grade("landmarks")
    assert more.keys() > found.keys()
    assert not [name for name in found if name.startswith(("presence", "visibility", "pose", "heads"))]


def test_without_the_3d_face_there_is_no_yaw(miniature, oracle, tmp_path, lfpw_faces):
    (tmp_path / "landmarks").symlink_to(miniature.data / "landmarks")
    for rgb, face in lfpw_faces:
        oracle.knows(rgb, face)
    with miniature.split():
        graded = Grader(tmp_path, miniature.labels, oracle).measure("landmarks")
    assert list(graded.curves["subgroups"]) == ["brightness"]


def test_curves_are_plain_json_without_a_picture_or_its_name(grader, oracle, lfpw_faces, miniature):
    for rgb, face in lfpw_faces:
        oracle.knows(rgb, face)
    names = [n for split in ("lfpw", "celebamask") for n in parts(split, "validation")]
    for task in ("landmarks", "parsing", "detection"):
        text = json.dumps(grader.measure(task).curves, allow_nan=False)
        assert not [n for n in names if Path(n).stem in text]


def test_a_doubtful_face_lengthens_the_curve_and_changes_no_recall(miniature, oracle, lfpw_faces):
    """The second photo's face is found by the doubting detector alone, after a wrong one."""
    (rgb, face), (other, missed) = lfpw_faces
    oracle.knows(rgb, face)
    doubting = Oracle()
    doubting.knows(rgb, replace(face, bbox=replace(face.bbox, score=0.9)))
    wrong = Face(BBox(0, 0, 5, 5, 0.4))
    doubting.knows(other, wrong, replace(missed, bbox=replace(missed.bbox, score=0.1)))
    with miniature.split():
        strict = Grader(miniature.data, miniature.labels, oracle).measure("detection")
        loose = Grader(miniature.data, miniature.labels, oracle, lambda: doubting(())).measure("detection")
    assert strict.metrics["recall_50"] == loose.metrics["recall_50"] == 0.5
    # One of two at precision 1: 51 of the 101 recalls; then two of three.
    assert strict.metrics["ap_50"] == pytest.approx(51 / 101)
    assert loose.metrics["ap_50"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_what_is_recorded_joins_what_was(tmp_path):
    path = tmp_path / "new" / "figures.json"
    record(path, "parsing", "int8", {"mean_f1": 0.5, "row": [1, 2]})
    record(path, "parsing", "fp32", {"mean_f1": 0.6})
    record(path, "parsing", "int8", {"mean_f1": 0.7, "row": [1, 2]})
    assert json.loads(path.read_text()) == {
        "parsing": {"int8": {"mean_f1": 0.7, "row": [1, 2]}, "fp32": {"mean_f1": 0.6}}
    }
    assert "[ 1, 2 ]" in path.read_text()
    assert [p.name for p in path.parent.iterdir()] == ["figures.json"]


def test_graders_say_whose_figures_they_are(miniature):
    """The digest is that of the file that runs, not of a bundle that also holds the figures."""
    root = Path(__file__).parents[2]
    path = root / "edgeface/models/students.bundle"
    (kind, tasks, made), *more = graders(
        path, root / "quantization/weights", miniature.data, miniature.labels, ["int8"], None
    )
    assert (kind, sorted(tasks), more) == ("int8", ["detection", "expression", "landmarks", "parsing"], [])
    bundle = Bundle.load(path)
    assert {a.sha256 for a in bundle.artifacts} >= set(made.digests.values())
    with miniature.split(), made.analyzer(()) as analyzer:
        assert analyzer.describe()["models"]["detection"]["sha256"] == made.digests["detection"]
        graded = made.measure("expression")
    assert graded.curves["sha256"] == made.digests["expression"]
    assert 0 <= graded.metrics["aurc"] <= 1


def test_asked_with_care_a_bundle_answers_otherwise_and_stands_beside_itself(miniature):
    root = Path(__file__).parents[2]
    bundle, weights = root / "edgeface/models/nano.bundle", root / "quantization/weights"
    made = {
        kind: (tasks, grader)
        for kind, tasks, grader in graders(
            bundle, weights, miniature.data, miniature.labels, ["int8"], None, LINES["nano"], careful=True
        )
    }
    assert set(made) == {"int8", "careful"}
    assert made["int8"][0] == made["careful"][0]
    with miniature.split():
        plain, careful = (made[kind][1].grade("expression") for kind in ("int8", "careful"))
    assert plain["aurc"] != careful["aurc"]
    far = np.zeros((480, 640, 3), np.uint8)
    astronaut = edgeface.read_image(root / "examples/astronaut.jpg").rgb
    small = cv2.resize(astronaut, None, fx=0.17, fy=0.17, interpolation=cv2.INTER_AREA)
    far[300 : 300 + len(small), 100 : 100 + small.shape[1]] = small
    counts = []
    for kind in ("int8", "careful"):
        with made[kind][1].analyzer(()) as analyzer:
            counts.append(len(analyzer.analyze(far).faces))
    assert counts == [0, 1]


def test_parsing_is_counted_in_the_pixels_of_the_photo(grader, oracle, miniature):
    root = miniature.data / "parsing/celebamask_hq"
    (name,) = parts("celebamask", "validation")
    truth, rgb = celebamask.load_mask(root, name), celebamask.load_photo(root / "images", name)
    height, width = truth.shape
    whole = BBox(-0.5, -0.5, width, height)
    oracle.knows(rgb, Face(whole, parsing=ParsingMap(truth, whole)))
    found = grader.grade("parsing")
    present = [CELEBAMASK19.names[i] for i in np.unique(truth)]
    assert [found[f"f1_{n}"] for n in present] == [1.0] * len(present)
    assert not {"f1_hat", "iou_hat"} & found.keys()  # neither in the photo nor named: no number
    assert found["mean_f1_as_annotated"] == found["mean_f1"] == 1
    left = BBox(-0.5, -0.5, width // 2, height)
    oracle.knows(rgb, Face(whole, parsing=ParsingMap(truth[:, : width // 2], left)))
    half = grader.grade("parsing")
    seen, all_ = (truth[:, : width // 2] == 13).sum(), (truth == 13).sum()
    assert half["f1_hair"] == pytest.approx(2 * seen / (seen + all_))
    path = root / "masks" / f"{Path(name).stem}.png"
    before = path.read_bytes()
    try:
        Image.fromarray(np.array(CELEBAMASK19.flip, np.uint8)[truth]).save(path)
        oracle.knows(rgb, Face(whole, parsing=ParsingMap(truth, whole)))
        swapped = grader.grade("parsing")
    finally:
        path.write_bytes(before)
    assert swapped["mean_f1"] == 1
    assert swapped["mean_f1_as_annotated"] < 0.9
    oracle.answers.clear()
    nobody = grader.grade("parsing")
    assert (nobody["photos"], nobody["missed"], nobody["f1_hair"]) == (1, 1, 0)


def test_expression_accuracy_and_calibration(grader, oracle, miniature):
    root = miniature.data / "expression/ferplus"
    votes = ferplus.load_votes(root)
    names = parts("ferplus", "validation")
    for i, name in enumerate(names):
        true = int(votes[name][:8].argmax())
        said = true if i < 3 else (true + 1) % 8
        scores = np.full(8, 0.4 / 7)
        scores[said] = 0.6
        expression = Expression(dict(zip(ferplus.CLASSES, scores.tolist(), strict=True)))
        oracle.knows(edgeface.read_image(root / name).rgb, Face(BBox(0, 0, 48, 48), expression=expression))
    found = grader.grade("expression")
    assert found["images"] == 4
    assert found["accuracy"] == found["balanced_accuracy"] == 0.75
    assert found["ece"] == pytest.approx(0.15)
    assert sorted(v for k, v in found.items() if k.startswith("recall_")) == [0, 1, 1, 1]


def test_detection_recall_and_false_positives(grader, oracle, lfpw_faces, monkeypatch):
    (rgb, face), (other, moved) = lfpw_faces
    oracle.knows(rgb, face)
    monkeypatch.setattr(evaluate, "_LEAST_WIDTH", 16)  # the drawn photos are small
    box = moved.bbox
    oracle.knows(other, replace(moved, bbox=BBox(box.x + 0.25 * box.width, box.y, box.width, box.height)))
    found = grader.grade("detection")
    assert found["faces"] == 2
    assert found["recall_50"] == 1
    assert found["recall_70"] == 0.5
    assert found["mean_iou"] == pytest.approx((1 + 0.6) / 2, abs=1e-3)
    assert found["false_positives_per_image"] == 0
    assert found["face_free_images"] > 0
    oracle.otherwise = (Face(BBox(0, 0, 9, 9)),)
    noisy = grader.grade("detection")
    assert (noisy["recall_50"], noisy["false_positives_per_image"]) == (1, 1)


def test_false_faces_on_no_picture_are_no_number_in_the_file_either(
    grader, lfpw_faces, tmp_path, monkeypatch
):
    monkeypatch.setattr(evaluate, "_LEAST_WIDTH", 10_000)  # no piece of a photo is so wide
    graded = grader.measure("detection")
    assert graded.metrics["face_free_images"] == 0
    assert "false_positives_per_image" not in graded.metrics
    record(tmp_path / "metrics.json", "detection", "int8", graded.metrics)
    record(tmp_path / "curves.json", "detection", "int8", graded.curves)
    for name in ("metrics.json", "curves.json"):
        json.loads((tmp_path / name).read_text(), parse_constant=pytest.fail)  # NaN is no JSON


def test_recall_by_size_is_that_of_the_faces_shrunk(grader, oracle, lfpw_faces, monkeypatch):
    """At 12 px both are found, at 20 px one, at 24 px one in the wrong place and one not at all."""
    monkeypatch.setattr(evaluate, "SIZES", (12, 20, 24))  # the drawn faces are small
    (rgb, face), (other, second) = lfpw_faces
    for photo, drawn, side in ((rgb, face, 12), (other, second, 12), (rgb, face, 20)):
        frame, there = shrunk(photo, drawn.bbox, side)
        oracle.knows(frame, Face(there))
    frame, there = shrunk(rgb, face.bbox, 24)
    oracle.knows(frame, Face(replace(there, x=there.x + 0.6 * there.width)))
    found = grader.grade("detection")
    assert [found[f"recall_at_{side}px"] for side in (12, 20, 24)] == [1, 0.5, 0]
    assert found["faces_shrunk"] == 2
    assert found["recall_50"] == 0  # at their own size nobody said anything


def test_no_face_is_enlarged_to_be_counted(grader, oracle, lfpw_faces, monkeypatch):
    """What the largest size would enlarge is shown at no size, so that all sizes show the same faces."""
    monkeypatch.setattr(evaluate, "SIZES", (12, 1000))
    assert not [name for name in grader.grade("detection") if "shrunk" in name or "px" in name]


boxes = st.lists(
    st.tuples(st.floats(-20, 380), st.floats(-20, 280), st.floats(10, 150), st.floats(10, 150)),
    min_size=1,
    max_size=4,
)


@given(found=boxes)
def test_a_face_free_picture_comes_from_where_no_face_is(found):
    """Faces are painted white with a margin of a fifth; no white is in any piece."""
    photo = np.zeros((300, 400, 3), np.uint8)
    for x, y, w, h in found:
        low = np.clip(np.round([x - 0.2 * w, y - 0.2 * w]), 0, None).astype(int)
        high = np.clip(np.round([x + 1.2 * w, y + h + 0.2 * w]), 0, None).astype(int)
        photo[low[1] : high[1], low[0] : high[0]] = 255
    pieces = face_free(photo, np.array(found, np.float32))
    assert len(pieces) <= 4
    for piece in pieces:
        assert piece.shape == (480, 640, 3)
        assert piece.max() == 0


def test_a_small_face_in_a_corner_leaves_pieces_large_first():
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    pieces = face_free(photo, np.array([[350, 250, 40, 40]], np.float32))
    assert len(pieces) >= 2
    # Noise that was enlarged more is smoother.
    roughness = [np.abs(np.diff(p.astype(int), axis=1)).mean() for p in pieces]
    assert roughness == sorted(roughness, reverse=True)
