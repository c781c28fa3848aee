"""Blendshapes from the teacher's two answers to the student's fourth output, its loss, figure and card."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeface import BBox, Blendshapes, Bundle, Face, FrameResult, Landmarks, read_image
from edgeface.labels import BLENDSHAPES52
from quantization import coefficients, graded, label
from quantization.card import Facts, write_card
from quantization.coefficients import LIVE_NAMES, Answers, label_blendshapes, load_blendshapes, path_of
from quantization.courses import Course
from quantization.datasets import lfpw
from quantization.evaluate import Grader
from quantization.losses import movement_loss
from quantization.metrics import correlations
from quantization.recipe import RecipeError, check_recipe, load_recipe
from quantization.splits import parts
from quantization.steps import Workplace, steps_of
from quantization.student_plots import graded_plots
from quantization.students.landmarks import LandmarkNet, MovementNet
from quantization.tables import _accuracy
from quantization.tasks import RECIPES, load_task
from quantization.tasks.seen import seen, seen_in
from quantization.teachers.blendshapes import DEAD, LIVE, MediaPipeFace
from quantization.training import Schedule, fit, load_weights, save_weights

pytestmark = pytest.mark.workshop

MESH = "mediapipe_face_landmarker.task"
FLIP = list(BLENDSHAPES52.flip)
PLACE = {name: i for i, name in enumerate(LIVE_NAMES)}


def recipe_of(**student):
    recipe = load_recipe(RECIPES / "landmarks-first.toml")
    recipe["student"] |= {"blendshapes": True, **student}
    return recipe


# labels


def test_43_of_the_52_are_learned():
    assert len(LIVE_NAMES) == 43 == int(LIVE.sum())
    assert set(LIVE_NAMES) == set(BLENDSHAPES52.names) - DEAD


def answers(seen, mirror, presence=1.0):
    seen, mirror = np.atleast_2d(seen).astype(np.float32), np.atleast_2d(mirror).astype(np.float32)
    count = len(seen)
    names = np.array([f"{i}.jpg" for i in range(count)])
    boxes = np.zeros((count, 4), np.float32)
    return Answers(names, boxes, seen, mirror, np.full(count, presence, np.float32))


def test_a_label_is_the_mean_of_both_views_with_left_and_right_exchanged():
    rng = np.random.default_rng(0)
    said = answers(rng.random((5, 52)), rng.random((5, 52)))
    own, other = np.swapaxes(said.labels(), 0, 1)
    for name in ("eyeBlinkLeft", "mouthSmileRight", "jawOpen"):
        column, across = BLENDSHAPES52.names.index(name), FLIP[BLENDSHAPES52.names.index(name)]
        mean = (said.seen[:, column] + said.mirror[:, across]) / 2
        np.testing.assert_allclose(own[:, PLACE[name]], mean)
        np.testing.assert_allclose(other[:, PLACE[BLENDSHAPES52.names[across]]], mean)


def test_a_coefficient_whose_partner_is_dead_has_one_answer_alone():
    seen, mirror = np.zeros(52), np.zeros(52)
    left = BLENDSHAPES52.names.index("jawLeft")
    seen[left], mirror[left] = 0.6, 0.2
    ((own, other),) = answers(seen, mirror).labels()
    assert (own[PLACE["jawLeft"]], other[PLACE["jawLeft"]]) == pytest.approx((0.6, 0.2))
    assert np.isnan(answers(seen, mirror).views()[0, 1, PLACE["jawLeft"]])


def test_a_mesh_that_doubts_the_face_says_nothing_of_it():
    assert not answers(np.zeros(52), np.zeros(52), presence=0.4).known.any()


@pytest.fixture
def photos(tmp_path, repository):
    """The astronaut, a picture of nobody, and her mirror image, as rows of a data set's labels."""
    import cv2

    root = tmp_path / "data/parsing/celeba_hq_unlabelled"
    root.mkdir(parents=True)
    photo = cv2.imread(str(repository / "examples/astronaut.jpg"))[:300, 80:380]
    boxes = np.array([[90, 70, 100, 125], [20, 20, 60, 60], [299 - 90 - 100, 70, 100, 125]], np.float32)
    for name, pixels in (("a.jpg", photo), ("b.jpg", np.full_like(photo, 90)), ("c.jpg", photo[:, ::-1])):
        cv2.imwrite(str(root / name), np.ascontiguousarray(pixels))
    labels = tmp_path / "labels"
    labels.mkdir()
    np.savez(
        labels / "celeba_hq.npz",
        names=np.array(["a.jpg", "b.jpg", "c.jpg"]),
        parts=np.array(["train"] * 3),
        boxes=boxes,
        scores=np.ones(3, np.float32),
        keypoints=np.zeros((3, 5, 2), np.float32),
        points=np.zeros((3, 68, 2), np.float32),
        trust=np.ones(3, np.float32),
    )
    return tmp_path / "data", labels


@pytest.mark.data
def test_the_teacher_is_asked_about_every_labelled_face_and_its_mirror_image(
    photos, teachers, monkeypatch, repository
):
    data, labels = photos
    monkeypatch.setattr(coefficients, "_row", counted := Counted(coefficients._row))
    label_blendshapes(data, teachers, labels, ["celeba_hq"])
    said = load_blendshapes(labels, "celeba_hq")
    assert said.names.tolist() == ["a.jpg", "b.jpg", "c.jpg"]
    assert said.known.tolist() == [True, False, True]
    rgb = read_image(data / "parsing/celeba_hq_unlabelled/a.jpg").rgb
    np.testing.assert_array_equal(said.seen[0], MediaPipeFace(teachers / MESH)(rgb, said.boxes[0])[1])
    # JPEG apart, her mirror image's picture is what the mirror of her picture shows.
    np.testing.assert_allclose(said.mirror[0], said.seen[2], atol=0.05)
    np.testing.assert_allclose(said.labels()[0], said.labels()[2, ::-1], atol=0.05)
    assert said.labels()[0, :, PLACE["mouthSmileLeft"]].min() > 0.6
    assert counted.names == ["a.jpg", "b.jpg", "c.jpg"]
    label_blendshapes(data, teachers, labels, ["celeba_hq"])
    assert len(counted.names) == 3  # a finished file is not made again


class Counted:
    """Calls through, and remembers whom it was asked about."""

    def __init__(self, row):
        self.row, self.names = row, []

    def __call__(self, root, teacher, face):
        self.names.append(face[0])
        return self.row(root, teacher, face)


@pytest.mark.data
def test_answers_of_a_killed_process_are_not_asked_for_again(photos, teachers, monkeypatch):
    data, labels = photos
    monkeypatch.setattr(label, "PIECE", 1)
    row = coefficients._row

    def killed(root, teacher, face):
        if face[0] == "b.jpg":
            raise KeyboardInterrupt
        return row(root, teacher, face)

    monkeypatch.setattr(coefficients, "_row", killed)
    with pytest.raises(KeyboardInterrupt):
        label_blendshapes(data, teachers, labels, ["celeba_hq"])
    assert not path_of(labels, "celeba_hq").exists()
    monkeypatch.setattr(coefficients, "_row", counted := Counted(row))
    label_blendshapes(data, teachers, labels, ["celeba_hq"])
    assert counted.names == ["b.jpg", "c.jpg"]
    assert not list(labels.glob("*.parts"))


def test_answers_about_other_faces_are_refused(miniature, tmp_path):
    with pytest.raises(
        ValueError, match=r"lfpw_blendshapes.npz: there are no blendshapes; run `label --only"
    ):
        load_blendshapes(tmp_path, "lfpw")
    for name in ("lfpw", "lfpw_blendshapes"):
        (tmp_path / f"{name}.npz").write_bytes((miniature.labels / f"{name}.npz").read_bytes())
    assert len(load_blendshapes(tmp_path, "lfpw").names) == 8
    with np.load(tmp_path / "lfpw.npz") as arrays:
        columns = dict(arrays)
    np.savez(tmp_path / "lfpw.npz", **columns | {"boxes": columns["boxes"] + 1})
    with pytest.raises(
        ValueError, match=r"of other faces than lfpw\.npz: delete it, and run `label --only lfpw`"
    ):
        load_blendshapes(tmp_path, "lfpw")


# network


def test_the_fourth_output_changes_nothing_of_the_three():
    student = recipe_of()["student"]
    torch.manual_seed(4)
    plain = LandmarkNet.of(student | {"blendshapes": False}).eval()
    torch.manual_seed(4)
    moving = LandmarkNet.of(student).eval()
    assert (type(plain), type(moving)) == (LandmarkNet, MovementNet)
    assert MovementNet.outputs == (*LandmarkNet.outputs, "blendshapes")
    state = moving.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in plain.state_dict().items())
    image = torch.rand(2, 3, 112, 112)
    *first, last = moving(image)
    assert all(torch.equal(a, b) for a, b in zip(plain(image), first, strict=True))
    assert last.shape == (2, 43, 1, 1)


# loss and figure


USUAL = torch.tensor([0.3, 0.02]), torch.tensor([0.2, 0.03])


def test_a_perfect_answer_costs_nothing_and_what_nobody_knows_neither():
    taught = torch.tensor([[0.2, 0.01], [0.7, 0.0]])
    logits = torch.logit(taught, 1e-7)
    assert movement_loss(logits, taught, *USUAL, torch.ones(2)).item() == pytest.approx(0, abs=1e-4)
    wild = torch.stack([logits[0], torch.tensor([50.0, 50.0])])
    assert movement_loss(wild, taught, *USUAL, torch.tensor([1.0, 0.0])).item() == pytest.approx(0, abs=1e-4)
    assert movement_loss(wild, taught, *USUAL, torch.zeros(2)).item() == 0


@given(st.floats(0.05, 0.95), st.floats(0.02, 0.3))
def test_near_its_mean_a_coefficient_costs_half_its_unexplained_share(mean, scatter):
    error, mean = 0.01 * scatter, torch.tensor([mean], dtype=torch.float64)
    scatter = torch.tensor([scatter], dtype=torch.float64)
    logits = torch.logit(mean + error)[None]
    found = movement_loss(logits, mean[None], mean, scatter, torch.ones(1, dtype=torch.float64)).item()
    assert found == pytest.approx((error / scatter.item()) ** 2 / 2, rel=0.05)


def test_a_logit_that_is_far_off_still_learns():
    logits = torch.tensor([[-20.0, 20.0]], requires_grad=True)
    movement_loss(logits, torch.tensor([[1.0, 0.0]]), *USUAL, torch.ones(1)).backward()
    assert logits.grad[0, 0] < -1
    assert logits.grad[0, 1] > 1


def test_correlations_are_pearsons_and_unknown_where_nothing_varies():
    rng = np.random.default_rng(3)
    one, other = rng.random((50, 3)), rng.random((50, 3))
    other[:, 1] = 2 * one[:, 1] - 5
    other[:, 2] = 0.25
    found = correlations(one, other)
    assert found[:2] == pytest.approx([np.corrcoef(one[:, 0], other[:, 0])[0, 1], 1.0])
    assert np.isnan(found[2])


# lessons


@pytest.fixture(scope="module")
def task(miniature):
    with miniature.split():
        return load_task(recipe_of(), miniature.data, miniature.labels)


@pytest.mark.parametrize("seed", range(12))
def test_a_mirrored_crop_has_the_mirror_images_movements(task, seed):
    face = next(face for face in task._train if face.movement is not None)
    crop, points, _, movement = task._face_sample(np.random.default_rng(seed), face)
    straight = task._face_sample(np.random.default_rng(seed), replace(face, movement=None))
    assert straight[3] is None
    np.testing.assert_array_equal(crop, straight[0])  # nothing more is drawn by lot
    # A point that no mirror exchanges tells which it is: the chin of a face whose chin was moved aside.
    aside = replace(face, points=face.points + np.eye(68, dtype=np.float32)[8][:, None] * (9, 0))
    moved = task._face_sample(np.random.default_rng(seed), aside)[1][8] - points[8]
    np.testing.assert_array_equal(movement, face.movement[int(moved[0] < 0)])


def test_both_views_are_drawn(task):
    face = task._train[0]
    seen = {
        task._face_sample(np.random.default_rng(seed), face)[3].tobytes() == face.movement[0].tobytes()
        for seed in range(12)
    }
    assert seen == {True, False}


def test_crops_without_a_face_teach_no_movement(task):
    batch = task.batch(np.random.default_rng(2), 24)
    assert 0 < batch["present"].sum() < 24
    torch.testing.assert_close(batch["moved"], batch["present"])
    assert not batch["movement"][batch["moved"] == 0].any()
    torch.manual_seed(0)
    network = task.network()
    loss, terms = task.loss(network(batch["image"]), batch)
    assert torch.isfinite(loss)
    assert terms["blendshapes"] > 0
    batch["moved"] = torch.zeros(24)
    assert task.loss(network(batch["image"]), batch)[1]["blendshapes"] == 0


def test_a_recipe_without_blendshapes_draws_and_learns_as_ever(task, miniature):
    with miniature.split():
        plain = load_task(recipe_of(blendshapes=False), miniature.data, miniature.labels)
    one, other = (t.batch(np.random.default_rng([0, 1]), 6) for t in (plain, task))
    assert set(other) - set(one) == {"movement", "moved"}
    assert all(torch.equal(one[key], other[key]) for key in one)
    torch.manual_seed(0)
    assert set(plain.validate(plain.network())) == {"nme"}
    assert set(task.validate(task.network())) == {"nme", "blendshapes"}


def test_the_layer_begins_with_what_faces_usually_do(task):
    torch.manual_seed(0)
    network = task.network().eval()
    told = torch.sigmoid(network(torch.zeros(1, 3, 112, 112))[3]).flatten()
    assert (told - task._usual[0]).abs().max() < 0.1


def test_a_course_goes_on_from_weights_without_the_layer(task, miniature, tmp_path):
    student = recipe_of()["student"]
    torch.manual_seed(7)
    before = LandmarkNet.of(student | {"blendshapes": False})
    (tmp_path / "before").mkdir()
    save_weights(before, tmp_path / "before/weights.npz")
    with pytest.raises(ValueError, match=r"weights are of another network; missing \['blendshapes"):
        load_weights(LandmarkNet.of(student), tmp_path / "before/weights.npz")  # packing needs all of it
    schedule = Schedule(
        steps=2, batch=4, rate=1e-9, weight_decay=0, ema=0.5, start="before", validate_every=2
    )
    after = fit(task, schedule, tmp_path / "after", threads=1).state_dict()
    for name, value in before.state_dict().items():
        if name.endswith(("weight", "bias")):
            torch.testing.assert_close(after[name], value, atol=2e-3, rtol=2e-3)
    assert torch.isfinite(after["blendshapes.weight"]).all()
    row = json.loads((tmp_path / "after/log.jsonl").read_text())
    assert {"blendshapes", "val_blendshapes", "val_nme"} <= set(row)
    assert not load_weights(LandmarkNet.of(student), tmp_path / "after/weights.npz").training


def test_the_layer_learns_ten_times_as_fast(task):
    from quantization.training import _groups

    network = task.network()
    groups = _groups(network, Schedule(steps=1, batch=1, rate=1e-3))
    own = {id(p) for p in network.blendshapes.parameters()}
    shares = {group["share"] for group in groups if any(id(p) in own for p in group["params"])}
    assert shares == {10.0}
    assert {group["share"] for group in groups} == {1.0, 10.0}
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))


# recipes


def test_a_weight_without_the_output_is_refused(tmp_path):
    recipe = recipe_of(blendshapes=False, losses={"blendshapes": 2.0})
    with pytest.raises(
        RecipeError, match=r"student\.losses\.blendshapes: there are none; write student\.blend"
    ):
        check_recipe(recipe, tmp_path / "landmarks.toml")
    check_recipe(recipe_of(losses={"blendshapes": 2.0}), tmp_path / "landmarks.toml")


def test_shards_alone_may_teach_blendshapes(tmp_path):
    """Where they tell them: tests/quantization/test_rendered.py."""
    recipe = recipe_of() | {"data": {"shards": [str(tmp_path)]}}
    del recipe["student"]["share"]
    recipe["student"].pop("also_validation", None)
    check_recipe(recipe, tmp_path / "landmarks.toml")


def test_a_course_with_blendshapes_reads_them_and_a_build_makes_them(tmp_path):
    text = (
        (RECIPES / "landmarks-first.toml").read_text().replace("[student]", "[student]\nblendshapes = true")
    )
    for name, content in (
        ("moving", text),
        ("landmarks-first", (RECIPES / "landmarks-first.toml").read_text()),
    ):
        (tmp_path / f"{name}.toml").write_text(content)
    places = (tmp_path / "data", tmp_path / "labels", tmp_path / "teachers", tmp_path / "runs")
    moving, plain = (
        Course.of(tmp_path / f"{name}.toml", *places).reads() for name in ("moving", "landmarks-first")
    )
    more = {f"labels {name}_blendshapes" for name in recipe_of()["student"]["share"]}
    assert set(moving) - set(plain) == more
    place = Workplace(*places, bundle=tmp_path / "no.bundle")
    steps = [step.name for step in steps_of(tmp_path / "moving.toml", place)]
    assert steps.index("label lfpw") < steps.index("label blendshapes lfpw") < steps.index("distill moving")
    assert not [s for s in steps_of(tmp_path / "landmarks-first.toml", place) if "blendshapes" in s.name]


def test_the_teacher_of_blendshapes_counts_for_the_terms():
    assert "blendshapes" in seen_in([recipe_of()]).teachers
    assert "blendshapes" not in seen(RECIPES / "landmarks-first.toml").teachers


# grading


def test_a_coefficient_that_hardly_varies_is_told_and_not_counted():
    rng = np.random.default_rng(8)
    taught = rng.random((40, 3)) * (1, 1, 0.01)
    found = np.stack([taught[:, 0], rng.random(40), -taught[:, 2]], axis=1)
    views = np.stack([taught, taught + rng.normal(0, 0.2, taught.shape) * (1, 1, 0)], axis=1)
    result = graded.movements(
        graded.Graded({"nme": 0.1}, {}), ("jawOpen", "jawLeft", "cheekPuff"), found, taught, views
    )
    told = result.curves["blendshapes"]
    assert told["correlation"][0] == pytest.approx(1)
    assert told["correlation"][2] == pytest.approx(-1)
    assert result.metrics["blendshapes"] == pytest.approx(np.mean(told["correlation"][:2]), abs=1e-4)
    assert result.metrics["blendshapes_one_view"] == result.metrics["blendshapes"]
    assert result.metrics["blendshapes_teacher"] < 0.95
    assert (result.metrics["blendshapes_counted"], result.metrics["blendshapes_faces"]) == (2, 40)
    json.dumps(result.curves, allow_nan=False)


class Knowing:
    """Answers about each photo what it was told, without a network."""

    def __init__(self, faces):
        self.faces = faces

    def __call__(self, tasks):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def analyze(self, frame, boxes=None):
        face = self.faces.get(np.asarray(frame).tobytes())
        return FrameResult(() if face is None else (face,), 1, 1)


@pytest.fixture
def told(miniature):
    """What a student that knows the labels says of the miniature's two validation photos."""

    def make(scores):
        root, faces = miniature.data / "landmarks/lfpw/trainset", {}
        for i, name in enumerate(parts("lfpw", "validation")):
            points = lfpw.load_points(root, name)
            low, size = points.min(0), np.ptp(points, 0)
            box = BBox(*low.tolist(), *size.tolist())
            marks = Landmarks(points, np.ones(68, np.float32), 1.0)
            shapes = None if scores is None else Blendshapes(LIVE_NAMES, scores[i])
            faces[lfpw.load_photo(root, name).tobytes()] = Face(box, landmarks=marks, blendshapes=shapes)
        return Grader(miniature.data, miniature.labels, Knowing(faces), agree=False, beyond=False)

    with miniature.split():
        yield make


def test_blendshapes_are_graded_where_the_student_gives_them(told, miniature):
    right = load_blendshapes(miniature.labels, "lfpw").labels()[
        :2, 0
    ]  # its first two are the validation part
    figures = told(right).grade("landmarks")
    assert figures["blendshapes"] == pytest.approx(1, abs=1e-4)
    assert figures["blendshapes_teacher"] == pytest.approx(1, abs=1e-4)
    assert figures["blendshapes_faces"] == 2
    assert "blendshapes" not in told(None).grade("landmarks")


def test_a_card_tells_each_coefficient_and_what_is_not_counted_or_given():
    saw = seen(RECIPES / "landmarks.toml")
    curves = {
        "blendshapes": {
            "names": ["jawOpen", "jawLeft"],
            "correlation": [0.93, None],
            "teacher_sd": [0.05, 0.002],
        }
    }
    figures = {"nme": 0.04, "blendshapes": 0.93, "blendshapes_faces": 105.0}
    facts = Facts(saw, saw.terms, [("landmarks", "ab" * 32)], "cd" * 32, "ef" * 32, 12)
    card = write_card("landmarks", replace(facts, metrics={"int8": figures}, curves={"int8": curves}))
    lines = card.splitlines()
    assert "| jawOpen    | 0.050        | 0.930 |" in lines
    assert "| jawLeft    | 0.002        | -     |" in lines
    assert any(
        line.startswith("Not counted, ") and line.endswith("below 0.01 on these faces: jawLeft.")
        for line in lines
    )
    not_given = next(line for line in lines if line.startswith("Not given, "))
    assert "cheekPuff" in not_given
    assert "jawOpen" not in not_given
    plain = write_card("landmarks", replace(facts, metrics={"int8": {"nme": 0.04}}))
    assert "Not given" not in plain


def test_the_table_has_its_row_only_where_it_was_graded():
    def row(**more):
        figures = {"nme": 0.04, "blendshapes_faces": 105.0} | more
        tasks = {task: {"int8": {}, "fp32": {}} for task in ("detection", "parsing", "expression")}
        nano = tasks | {"landmarks": {"int8": {}}}  # a line without them has a dash
        found = _accuracy(tasks | {"landmarks": {"int8": figures, "fp32": figures}}, {"nano": nano})
        return [line for line in found if "blend" in line]

    assert row() == []
    (line,) = row(blendshapes=0.9123)
    assert line == (
        "| landmarks | blendshapes of sd >= 0.01, mean correlation with MediaPipe's | 0.912 | - | 0.912 "
        "| - | 105 faces of 105 LFPW photos |"
    )


# the shipped bundle


def test_the_shipped_students_coefficients_are_live_ones():
    named = Bundle.builtin().model("landmarks").head.get("blendshapes")
    assert named is None or tuple(named) == LIVE_NAMES


def test_each_coefficient_has_a_bar_in_the_report():
    names, values = ["jawOpen", "jawLeft"], [0.93, None]
    curves = {"blendshapes": {"names": names, "correlation": values, "teacher_sd": [0.05, 0.002]}}
    (plot,) = graded_plots("landmarks", {"int8": {"nme": 0.04}}, {"int8": curves})
    assert plot.name == "landmarks-blendshapes"
    assert list(plot.table[1]) == ["jawOpen", "93.0 %"]
    assert plot.table[2][0] == "jawLeft"
