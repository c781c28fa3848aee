from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgeface.labels import IBUG68
from quantization.courses import Course
from quantization.label import load_labels
from quantization.recipe import RECIPES, RecipeError, load_recipe
from quantization.tasks import load_task
from quantization.tasks.faces import rendered
from quantization.tasks.seen import seen_in
from quantization.teachers.landmarks import LandmarkTeacher, answers, both_views, load_pair, load_student
from quantization.teachers.mobilenet import MobileNetV2
from quantization.training import load_weights
from tests.quantization.miniature import make_head

pytestmark = pytest.mark.workshop

PAIR = ("landmarks-tough", "landmarks-tolerant")
SMALL = [
    ("size = 128", "size = 64"),
    ("widths = [64, 128, 128]", "widths = [8, 8, 8]"),
    ("code = 512", "code = 24"),
]
SCHEDULE = "[schedule]\nsteps = 6\nbatch = 4\nrate = 2.0e-3\nwarmup = 2\nvalidate_every = 3\n\n"


@pytest.fixture(autouse=True, scope="module")
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@contextmanager
def no_classifier():
    """Without the published classifier's file the backbone has random weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quantization.teachers.mobilenet._stored_convolutions", lambda _: [])
        yield


def schedule(text):
    return re.sub(r"(?s)\[schedule\].*?(?=\[deploy\])", SCHEDULE, text)


def student_text(**more):
    """The shipped recipe with small widths and ``more`` keys of its student."""
    text = (RECIPES / "landmarks-fifth.toml").read_text()
    for before, after in (
        ("widths = [16, 32, 64, 128, 64]", "widths = [4, 8, 8, 12, 12]"),
        ("code = 256", "code = 24"),
        ("losses = { visibility = 1.0 }\n", ""),
        ("strength = 0.4", "\n".join([*(f"{k} = {v}" for k, v in more.items()), "strength = 0.4"])),
    ):
        assert before in text
        text = text.replace(before, after)
    return schedule(text)


@pytest.fixture(scope="module")
def labels(miniature, tmp_path_factory):
    """The labels, but no two of LFPW's faces are of the same shape."""
    folder = tmp_path_factory.mktemp("labels")
    for path in miniature.labels.glob("*.npz"):
        (folder / path.name).write_bytes(path.read_bytes())
    with np.load(folder / "lfpw.npz") as arrays:
        columns = dict(arrays)
    columns["points"] += np.random.default_rng(3).normal(0, 1, columns["points"].shape).astype(np.float32)
    np.savez(folder / "lfpw.npz", **columns)
    return folder


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    """The pair's recipes made small, and a student's that both teach."""
    folder = tmp_path_factory.mktemp("recipes")
    for name in PAIR:
        text = (RECIPES / f"{name}.toml").read_text()
        for before, after in SMALL:
            assert before in text
            text = text.replace(before, after)
        (folder / f"{name}.toml").write_text(schedule(text))
    text = student_text(losses="{ kd = 1.0 }")
    (folder / "student.toml").write_text(f"teacher = {list(PAIR)}\n{text}")
    (folder / "earlier.toml").write_text(student_text())
    (folder / "later.toml").write_text(f'teacher = "earlier"\n{student_text(refined=0.25)}')
    return folder


@pytest.fixture(scope="module")
def course(miniature, labels, recipes, tmp_path_factory):
    """The courses by name, in one folder of runs; both teachers are taught already."""
    root = tmp_path_factory.mktemp("runs")
    encoders = tmp_path_factory.mktemp("encoders")
    (encoders / load_recipe(recipes / f"{PAIR[0]}.toml")["student"]["encoder"]).touch()

    def of(name, runs=root):
        made = Course.of(recipes / f"{name}.toml", miniature.data, labels, encoders, runs / name)
        return replace(made, committed=None)

    with miniature.split():
        with no_classifier():
            for name in PAIR:
                of(name).train(threads=1)
        of("earlier").train(threads=1)
        yield of


@pytest.fixture(scope="module")
def load(miniature, labels):
    """A task from a recipe's text or path."""

    def make(recipe, asked=None, where=labels, data=miniature.data, encoders=None):
        with miniature.split():
            return load_task(recipe, data, where, encoders, asked)

    return make


def rows(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


# the pair


def test_both_teachers_learn_and_leave_a_curve_and_weights(course):
    for name in PAIR:
        made = course(name)
        log = rows(made.run)
        assert [row["step"] for row in log] == [3, 6]
        assert all(np.isfinite(value) for row in log for value in row.values())
        assert 0 < log[-1]["val_nme"] < 5
        student = made.recipe["student"]
        network = LandmarkTeacher(student["size"], student["widths"], student["code"])
        assert not load_weights(network, made.weights).training
    with np.load(course(PAIR[0]).weights) as tough, np.load(course(PAIR[1]).weights) as tolerant:
        assert tough.files == tolerant.files
        assert not np.array_equal(tough["points.bias"], tolerant["points.bias"])


def test_a_teacher_answers_as_the_student_does_and_keeps_its_first_edges():
    torch.manual_seed(0)
    teacher = LandmarkTeacher(96, (8, 8, 8), 16).train()
    points, seen, present = teacher(torch.rand(2, 3, 96, 96) * 2 - 1)
    assert (points.shape, seen.shape, present.shape) == ((2, 136, 1, 1), (2, 68, 1, 1), (2, 1, 1, 1))
    (points.square().mean() + seen.square().mean()).backward()
    assert teacher.encoder.stem[0].weight.grad is None
    assert all(float(part[0].weight.grad.abs().max()) > 0 for part in (teacher.fine, teacher.coarse))
    with pytest.raises(ValueError, match="100 pixels wide; give a multiple of 32"):
        LandmarkTeacher(100)


@pytest.mark.data
def test_a_teacher_begins_with_what_imagenet_taught(teachers, load):
    recipe = load_recipe(RECIPES / f"{PAIR[0]}.toml")
    published = MobileNetV2.pretrained(teachers / recipe["student"]["encoder"]).state_dict()
    own = load(recipe, encoders=teachers).network().encoder.state_dict()
    assert all(torch.equal(own[name], published[name]) for name in published)
    assert float(published["blocks.16.layers.4.bias"].abs().max()) > 0.05


def test_the_tolerant_teacher_learns_smoothed_shapes_and_is_graded_on_true_ones(load, recipes):
    tough, tolerant = (load(load_recipe(recipes / f"{name}.toml")) for name in PAIR)
    apart = [
        np.linalg.norm(a.points - b.points, axis=1).mean()
        for a, b in zip(tough._train, tolerant._train, strict=True)
        if a.known
    ]
    assert len(apart) == 6
    assert 0.05 < np.mean(apart) < 2  # of a noise of about one pixel
    assert all(
        np.abs(a.points.mean(0) - b.points.mean(0)).max() < 0.2
        for a, b in zip(tough._train, tolerant._train, strict=True)
    )
    assert all(
        np.array_equal(a.points, b.points)
        for a, b in zip(tough._validation, tolerant._validation, strict=True)
    )


# a student of both


def test_a_student_trains_with_both_teachers(course):
    student = course("student")
    student.train(threads=1)
    log = rows(student.run)
    assert [row["step"] for row in log] == [3, 6]
    assert all(np.isfinite(value) for row in log for value in row.values())
    assert all(row["kd"] > 0 for row in log)
    inputs = json.loads((student.run / "provenance.json").read_text())["inputs"]
    assert all(inputs[f"weights of {name}"] for name in PAIR)


def test_a_student_without_its_teachers_names_what_to_run_first(course, tmp_path):
    with pytest.raises(RecipeError, match=r"run first: `teach .*landmarks-tough\.toml`; `teach .*tolerant"):
        course("student", tmp_path).train(threads=1)
    assert not (tmp_path / "student" / "log.jsonl").exists()


@pytest.fixture(scope="module")
def asked(course):
    return course("student").asked()


@pytest.fixture(scope="module")
def taught(load, recipes, asked):
    return load(load_recipe(recipes / "student.toml"), asked)


def test_the_truth_is_a_persons_where_there_is_one_and_else_the_teachers_mean(taught, load, recipes):
    recipe = load_recipe(recipes / "student.toml")
    del recipe["student"]["losses"]
    alone = load(recipe)
    plain = alone.batch(np.random.default_rng([4, 2]), 24)
    asked = taught.batch(np.random.default_rng([4, 2]), 24)
    assert all(torch.equal(plain[name], asked[name]) for name in ("image", "seen", "present"))
    known, face = asked["known"], asked["present"] > 0
    assert 0 < known.sum() < face.sum() < len(face)
    assert torch.equal(asked["points"][known], plain["points"][known])
    others = face & ~known
    mean = (asked["tough"] + asked["tolerant"]) / 2
    assert torch.equal(asked["points"][others], mean[others])
    assert not torch.allclose(asked["points"][others], plain["points"][others], atol=1e-3)
    assert not asked["tough"][~face].any()
    assert (asked["tough"] - asked["tolerant"])[face].abs().max() > 0


class ByPlace(nn.Module):
    """Says what it sees along its middle row, 64 pixels of it."""

    size = 64

    def forward(self, x):
        return (functional.pad(x[:, 0, 32], (0, 136 - 64)),)


@pytest.mark.parametrize("side", [48, 64, 112])
def test_a_crop_of_another_size_is_scaled_about_its_middle(side):
    """A ramp over the crop, 0 at its left edge and 1 at its right, stays one whatever the teacher's size."""
    ramp = (torch.arange(side) + 0.5) / side
    said = answers(ByPlace(), ramp.expand(2, 3, side, side)).flatten(1)
    assert (said[:, 2:62] - (torch.arange(2, 62) + 0.5) / 64).abs().max() < 1e-3


def test_a_trained_teacher_answers_in_evaluation_mode(taught):
    crops = taught.batch(np.random.default_rng(1), 3)["image"]
    for teacher in taught._pair:
        assert not teacher.training
        alone = torch.cat([answers(teacher, crops[i : i + 1]) for i in range(3)])
        together = answers(teacher, crops)
        assert together.std(0).max() > 0
        assert (alone - together).abs().max() < 0.02 * together.abs().max()  # bfloat16


def kd_of_one(own, tough, tolerant):
    """KD-Loss of a coordinate whose truth is 0 (Fard and Mahoor, 2021), branch by branch."""
    margin, error = abs(tolerant), abs(own)
    total = 2 * (3 * error if error <= margin else error**2 + 3 * margin - margin**2)
    for teacher, beyond, before in ((abs(tough), 1.9, -0.45), (abs(tolerant), 1.8, -0.40)):
        phi = beyond if error > teacher else before if error >= 0.15 * teacher else 0.0
        total += phi * abs(teacher - error)
    return total


def test_known_faces_cost_kd_loss_and_the_others_the_wing_loss(taught):
    """One known face, one that the teachers speak for, one crop without any."""
    zero = torch.zeros(3, 68, 2)
    batch = {
        "image": torch.zeros(3, 3, 112, 112),
        "points": zero,
        "tough": zero + 0.02,
        "tolerant": zero - 0.05,
        "known": torch.tensor([True, False, False]),
        "present": torch.tensor([1.0, 1.0, 0.0]),
        "seen": torch.ones(3, 68),
        "pointed": torch.ones(3),
        "told": torch.ones(3),
    }
    for own in (0.1, 0.04, 0.03, 0.01, 0.002):
        points = torch.full((3, 136, 1, 1), own)
        logits = torch.full((3, 68, 1, 1), 30.0), torch.tensor([30.0, 30.0, -30.0]).view(3, 1, 1, 1)
        total, terms = taught.loss((points, *logits), batch)
        distance = own * 2**0.5
        wing = 0.08 * np.log1p(distance / 0.02)
        if distance >= 0.08:
            wing = distance - 0.08 + 0.08 * np.log1p(4)
        wanted = (kd_of_one(own, 0.02, 0.05) + wing) / 2
        assert terms["kd"] == pytest.approx(kd_of_one(own, 0.02, 0.05), rel=1e-4)
        assert terms["shape"] == pytest.approx(wanted, rel=1e-4)
        assert total.item() == pytest.approx(20 * wanted, rel=1e-4)
    assert kd_of_one(0.1, 0.02, 0.05) == pytest.approx(0.557)


def test_a_batch_without_a_face_asks_and_costs_nothing(taught):
    recipe = dict(taught._recipe) | {"negatives": 1.0}
    before, taught._recipe = taught._recipe, recipe
    try:
        batch = taught.batch(np.random.default_rng(0), 2)
    finally:
        taught._recipe = before
    loss, terms = taught.loss(taught.network()(batch["image"]), batch)
    assert torch.isfinite(loss)
    assert (terms["shape"], terms["kd"]) == (0, 0)


def test_a_pair_that_is_none_is_named(asked, load, recipes):
    crop = load_recipe(RECIPES / "landmarks-fifth.toml")["deploy"]["crop"]
    tough, tolerant = asked.items()
    for several in ([tolerant, tough], [tough], [tough, tolerant, tough]):
        wrong = {f"{i} {name}": value for i, (name, value) in enumerate(several)}
        with pytest.raises(RecipeError, match=r"asks two: a tough one, .* then a tolerant one"):
            load_pair(wrong, crop)
    with pytest.raises(
        RecipeError, match=r"teacher landmarks-tough: deploy\.crop is .*; write the student's"
    ):
        load_pair(asked, crop | {"scale": 1.4})
    alone = load(load_recipe(recipes / "student.toml"))
    assert len(list(alone.calibration(3))) >= 3
    with pytest.raises(RecipeError, match=r"student\.losses\.kd asks two teachers, and none was given"):
        alone.batch(np.random.default_rng(0), 2)


# what else the recipe can say


@pytest.fixture(scope="module")
def with_eyes(miniature, tmp_path_factory):
    """The data with a head fine enough to have eyes, as rendering needs it."""
    root = tmp_path_factory.mktemp("data")
    for folder in miniature.data.iterdir():
        if folder.name != "face3d":
            (root / folder.name).symlink_to(folder)
    make_head(root / "face3d/ict_face_model_light.npz", 40, 48)
    return root


def test_points_of_rendered_heads_lie_on_their_face(with_eyes):
    """The same heads before two backgrounds: what did not change is the face."""
    model = with_eyes / "face3d/ict_face_model_light.npz"
    dark, light = (rendered(model, [np.full((90, 90, 3), tone, np.uint8)], 6, side=60) for tone in (0, 255))
    assert len({face.box.tobytes() for face in dark}) == 6
    for one, other in zip(dark, light, strict=True):
        assert one.known
        assert one.image.shape == (132, 132, 3)
        assert np.array_equal(one.points, other.points)
        face = (one.image.astype(int) == other.image).all(2).astype(np.uint8)
        near = cv2.dilate(face, np.ones((5, 5), np.uint8)) > 0
        inner = np.flatnonzero(one.visible)[np.flatnonzero(one.visible) >= 17]
        at = one.points[inner].round().astype(int)
        assert len(inner) > 5
        assert near[at[:, 1], at[:, 0]].all()
        assert not near[0, 0]
        middle = one.box[:2] + one.box[2:] / 2
        assert np.abs(middle - 66).max() < 30


def test_a_share_of_the_faces_is_rendered_and_the_rest_are_photos(load, with_eyes, tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(student_text(rendered=5, rendered_share=0.3))
    task = load(load_recipe(path), data=with_eyes)
    assert len(task._rendered) == 5
    rng = np.random.default_rng(0)
    faces = [task._draw(rng) for _ in range(600)]
    own = [any(face is head for head in task._rendered) for face in faces]
    assert 0.23 < np.mean(own) < 0.37
    photos = [face.known for face, is_rendered in zip(faces, own, strict=True) if not is_rendered]
    assert np.mean(photos) == pytest.approx(task._recipe["share"]["lfpw"], abs=0.08)
    again = rendered(
        with_eyes / "face3d/ict_face_model_light.npz", [photo for photo, _ in task._backgrounds], 2, 90
    )
    for a, b in zip(task._rendered, again, strict=False):
        assert np.array_equal(a.image, b.image)
        assert np.array_equal(a.points, b.points)
    for head in task._rendered:
        crop, points, seen, _ = task._face_sample(np.random.default_rng(8), head)
        assert crop.shape == (112, 112, 3)
        assert ((points[seen > 0] > 0) & (points[seen > 0] < 1)).all()
    # What the quantiser calibrates on are photos alone.
    plain = load(load_recipe(RECIPES / "landmarks-fifth.toml"))
    assert np.array_equal(np.stack(list(task.calibration(9))), np.stack(list(plain.calibration(9))))
    path.write_text(student_text(rendered=5))
    with pytest.raises(RecipeError, match=r"student\.rendered_share is missing beside student\.rendered"):
        load_recipe(path)


def test_what_grades_parsing_teaches_landmarks_only_where_a_recipe_says_so(load, miniature, tmp_path):
    recipe = load_recipe(RECIPES / "landmarks-fifth.toml")
    assert recipe["student"].pop("also_validation") == ["celebamask"]
    task = load(recipe, where=miniature.labels)
    assert len(task._train) == 6 + 4 + 3 + 3 + 4
    assert len(task._validation) == 1 + 1 + 2
    found = load_labels(miniature.labels, "celebamask")
    (graded,) = np.flatnonzero(found.parts == "validation")
    photo = cv2.imread(str(miniature.data / "parsing/celebamask_hq/images" / str(found.names[graded])))[
        ..., ::-1
    ]
    piece = photo[:6, :6]
    assert not any(np.array_equal(face.image[:6, :6], piece) for face in task._train)
    with miniature.split():
        told = seen_in([recipe]).data["celebamask"]
        recipe["student"]["also_validation"] = ["celebamask"]
        assert (told, seen_in([recipe]).data["celebamask"]) == ("4 pictures", "5 pictures")
    (tmp_path / "r.toml").write_text(student_text().replace('["celebamask"]', '["lfpw"]'))
    with pytest.raises(
        RecipeError, match=r"student\.also_validation\[0\] is 'lfpw'; write one of celebamask"
    ):
        load_recipe(tmp_path / "r.toml")
    lent = load(recipe, where=miniature.labels)
    assert sum(np.array_equal(face.image[:6, :6], piece) for face in lent._train) == 1


def test_what_was_asked_rendered_and_begun_with_is_told(recipes, miniature, tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(student_text(rendered=5, rendered_share=0.3))
    with miniature.split():
        plain, student = seen_in([load_recipe(path)]), seen_in([load_recipe(recipes / "student.toml")])
        teacher = seen_in([load_recipe(recipes / f"{PAIR[1]}.toml")])
    assert plain.teachers["face3d"].endswith("5 rendered heads with their points")
    assert "landmarks" not in plain.teachers
    assert "tolerant" in student.teachers["landmarks"]
    # A student of LFPW alone inherits what its teachers saw besides.
    alone = load_recipe(recipes / "student.toml")
    alone["student"]["share"] = {"lfpw": 1.0}
    with miniature.split():
        assert all(name in seen_in([alone]).terms.licence for name in ("LFPW", "CelebAMask-HQ", "UTKFace"))
    assert "backbone" in teacher.teachers["mobilenet"]


# a student whose earlier course corrects the mesh


def test_a_later_course_learns_points_between_the_meshs_and_those_of_the_earlier_one(course, load):
    later = course("later")
    plain, fixed = load(later.recipe), load(later.recipe, later.asked())
    teacher = load_student(later.asked(), 112, later.recipe["deploy"]["crop"])
    moved = 0
    for before, after in zip(plain._train, fixed._train, strict=True):
        if before.known:
            assert np.array_equal(after.points, before.points)
            continue
        crop, matrix = plain._upright(before)
        placed = before.points @ matrix[:, :2].T + matrix[:, 2]
        said = both_views(teacher, crop[None], plain._mean)[0] * 112 - 0.5
        wanted = placed + 0.25 * (said - placed)
        assert np.abs(after.points @ matrix[:, :2].T + matrix[:, 2] - wanted).max() < 1e-3
        moved += np.abs(after.points - before.points).max() > 0.05
    assert moved > 3
    for before, after in zip(plain._validation, fixed._validation, strict=True):
        assert np.array_equal(after.points, before.points)  # what grades stays the mesh's


def test_a_later_course_trains_and_its_inputs_name_the_earlier_ones_weights(course):
    later = course("later")
    later.train(threads=1)
    assert [row["step"] for row in rows(later.run)] == [3, 6]
    assert later.inputs()["weights of earlier"]
    assert later.inputs()["student.refined"] == 0.25


class Looks(nn.Module):
    """Says a residual that grows with what it sees at the left of its picture."""

    def forward(self, x):
        return (x[:, :1, 0, :1].repeat(1, 136, 1)[..., None] * 0.01,)


def test_both_views_are_of_one_face():
    """Brightness at the left edge moves all points right; in the mirror image there is none."""
    mean = np.random.default_rng(0).random((68, 2)).astype(np.float32)
    mean = ((mean + mean[list(IBUG68.flip)] * (-1, 1) + (1, 0)) / 2).astype(np.float32)
    crops = np.full((1, 8, 8, 3), 128, np.uint8)
    crops[0, :, 0] = 178
    found = both_views(Looks(), crops, mean)
    apart = 0.01 * 50 / 128
    assert found.shape == (1, 68, 2)
    assert np.abs(found[0] - mean - (apart / 2, apart / 2)).max() < 1e-6


def test_who_cannot_correct_the_mesh_is_named(asked, course, load):
    later = course("later")
    crop, ((name, own),) = later.recipe["deploy"]["crop"], later.asked().items()
    for wrong in (asked, dict([next(iter(asked.items()))]), {name: own, "another": own}):
        with pytest.raises(RecipeError, match=r"student\.refined asks one: an earlier student of landmarks"):
            load_student(wrong, 112, crop)
    with pytest.raises(RecipeError, match=r"teacher earlier: student\.size is 112; write the student's, 96"):
        load_student(later.asked(), 96, crop)
    with pytest.raises(RecipeError, match=r"teacher earlier: deploy\.crop is .*; write the student's"):
        load_student(later.asked(), 112, crop | {"scale": 1.4})
    with pytest.raises(RecipeError, match="asks two: a tough one"):
        load_pair({name: own, "another": own}, crop)
