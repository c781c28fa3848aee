from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface import BBox, Face, FrameResult, Landmarks
from quantization import agreement
from quantization.graded import Graded
from quantization.label import load_labels
from tests.quantization.miniature import Miniature

pytestmark = pytest.mark.workshop

NOTHING = Graded({}, {})


class Pupil:
    """Answers what the test decides; notes what it was shown."""

    def __init__(self, answer):
        self.answer, self.shown = answer, []

    def analyze(self, frame, boxes=None):
        self.shown.append(frame)
        return FrameResult(self.answer(frame, boxes), frame.shape[1], frame.shape[0])


@pytest.fixture(scope="module")
def aged(tmp_path_factory) -> Miniature:
    """A miniature whose UTKFace tuning part is all four photos, of 5, 30, 30 and 70 years."""
    made = Miniature.make(tmp_path_factory.mktemp("aged"))
    root = made.data / "unlabelled/utkface"
    with np.load(made.labels / "utkface.npz") as arrays:
        columns = dict(arrays)
    names = ["5_0_0.jpg.chip.jpg", "30_1_0.jpg.chip.jpg", "30_0_0.jpg.chip.jpg", "70_1_0.jpg.chip.jpg"]
    for old, new in zip(columns["names"], names, strict=True):
        (root / str(old)).rename(root / new)
    columns |= {"names": np.array(names), "parts": np.array(["tuning"] * 4)}
    np.savez(made.labels / "utkface.npz", **columns)
    return made


@given(st.integers(0, 116), st.integers(0, 1), st.text("0123456789._jpgchip", max_size=20))
def test_a_name_says_age_and_sex(age, sex, rest):
    assert agreement.age_and_sex(f"{age}_{sex}_{rest}") == (age, sex)


@pytest.mark.parametrize("name", ["", "portrait.jpg", "39_1.jpg", "_1_0.jpg", "20_2_0.jpg", "x20_1_0.jpg"])
def test_a_name_that_says_nothing_is_not_guessed_from(name):
    assert agreement.age_and_sex(name) is None


def test_points_that_differ_by_a_share_of_the_eyes_distance(aged):
    """The younger the person, the better the student agrees; each group has its own figure."""
    people = list(agreement.people(aged.data, aged.labels))
    assert [(p.age, p.sex) for p in people] == [(5, 0), (30, 1), (30, 0), (70, 1)]
    off = {5: 0.01, 30: 0.03, 70: 0.08}
    queue = iter(people)

    def answer(frame, boxes):
        person = next(queue)
        assert boxes == [person.box]
        eyes = np.linalg.norm(person.points[36] - person.points[45])
        points = person.points + np.array([off[person.age] * eyes, 0], np.float32)
        return (Face(person.box, landmarks=Landmarks(points, np.ones(68, np.float32), 1.0)),)

    found = agreement.add(NOTHING, "landmarks", Pupil(answer), aged.data, aged.labels)
    assert found.metrics["teacher_distance"] == pytest.approx((0.01 + 0.03 + 0.03 + 0.08) / 4, abs=1e-4)
    assert found.metrics["teacher_distance_faces"] == 4
    told = found.curves["subgroups"]
    assert {name: b["count"] for name, b in told["age"].items()} == {"0_9": 1, "20_39": 2, "60_up": 1}
    distances = [told["age"][name]["teacher_distance"] for name in ("0_9", "20_39", "60_up")]
    assert distances == pytest.approx([0.01, 0.03, 0.08], abs=1e-4)
    assert told["sex"]["male"]["teacher_distance"] == pytest.approx(0.02, abs=1e-4)
    assert found.metrics["teacher_distance_sex_female"] == pytest.approx(0.055, abs=1e-4)
    assert "chip" not in json.dumps(found.curves)


def test_a_small_face_is_found_where_the_teacher_saw_it(aged):
    """The box that the frame's own pixels show: a drawn face is no darker than its black frame."""

    def cover(frame, boxes):
        lit = np.argwhere(frame.any(2))
        (y0, x0), (y1, x1) = lit.min(0), lit.max(0)
        queue = next(people)
        scale = 24 / max(queue.box.width, queue.box.height)
        height, width = (side // 2 for side in queue.rgb.shape[:2])
        assert (y1 - y0 + 1, x1 - x0 + 1) == pytest.approx((height * scale, width * scale), abs=2)
        box = queue.box
        return (
            Face(
                BBox(
                    x0 + (box.x - width / 2) * scale,
                    y0 + (box.y - height / 2) * scale,
                    box.width * scale,
                    box.height * scale,
                )
            ),
        )

    people = iter(list(agreement.people(aged.data, aged.labels)))
    pupil = Pupil(cover)
    found = agreement.add(NOTHING, "detection", pupil, aged.data, aged.labels)
    assert found.metrics["teacher_found"] == 1
    assert {frame.shape for frame in pupil.shown} == {(480, 640, 3)}
    nobody = agreement.add(NOTHING, "detection", Pupil(lambda *_: ()), aged.data, aged.labels)
    assert nobody.metrics["teacher_found_age_60_up"] == 0
    wrong = Pupil(lambda *_: (Face(BBox(0, 0, 24, 24)),))
    assert agreement.add(NOTHING, "detection", wrong, aged.data, aged.labels).metrics["teacher_found"] == 0


def test_a_face_without_points_has_no_part_and_nothing_is_told_of_nobody(aged, tmp_path):
    silent = Pupil(lambda frame, boxes: (Face(boxes[0]),))
    before = Graded({"nme": 0.04}, {"subgroups": {"yaw": {}}})
    assert agreement.add(before, "landmarks", silent, aged.data, aged.labels) == before
    assert agreement.add(before, "landmarks", silent, tmp_path, aged.labels) == before


def test_only_the_part_that_trains_nothing_is_looked_at(miniature):
    labels = load_labels(miniature.labels, "utkface")
    people = list(agreement.people(miniature.data, miniature.labels))
    assert len(people) == int((labels.parts == "tuning").sum()) == 1
    height, width = people[0].rgb.shape[:2]
    ring = people[0].rgb.copy()
    ring[height // 4 : -height // 4, width // 4 : -width // 4] = 0
    assert not ring.any()
