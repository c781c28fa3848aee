"""Out-of-fold teachers: who leaves a fold out never sees it, and is asked about it alone."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quantization.courses import Course
from quantization.datasets import Sample, Terms, ferplus, write_shard
from quantization.recipe import RECIPES, RecipeError, asked, check_recipe, load_recipe
from quantization.splits import fold_of, parts
from quantization.steps import Workplace, steps_of
from quantization.students.expression import ExpressionNet
from quantization.tasks import load_task
from quantization.tasks.seen import seen, seen_in
from quantization.teachers.expression import answers
from quantization.teachers.folds import split_by_fold, who_may_answer
from quantization.training import Schedule, fit, save_weights
from tests.quantization.layouts import MAKERS

pytestmark = pytest.mark.workshop

WIDTHS = [4, 8, 8]
FOLDS = [f"expression-fold-{k}" for k in range(3)]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def teacher_of(fold):
    """A small teacher's recipe that leaves this fold out; None: no fold."""
    recipe = copy.deepcopy(load_recipe(RECIPES / "expression-first.toml"))
    recipe["student"] |= {"widths": WIDTHS} | ({} if fold is None else {"fold": list(fold)})
    check_recipe(recipe, Path("own.toml"))
    return recipe


def sayer(label):
    """A real network that is sure of one class, whatever it sees."""
    network = ExpressionNet(WIDTHS).eval()
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.zero_()
        network.head.bias[label] = 9.0
    return network


def asking(miniature, tmp_path, folds):
    """The task of a student that asks a teacher of each of these folds; the i-th says class i."""
    recipe = copy.deepcopy(load_recipe(RECIPES / "expression-crossed.toml"))
    recipe["student"] |= {"widths": WIDTHS}
    teachers = {}
    for label, fold in enumerate(folds):
        save_weights(sayer(label), tmp_path / f"{label}.npz")
        teachers[f"teacher-{label}"] = teacher_of(fold), tmp_path / f"{label}.npz"
    with miniature.split():
        return load_task(recipe, miniature.data, miniature.labels, asked=teachers)


def names_in_order(miniature):
    with miniature.split():
        return parts("ferplus", "train")


def names_of(miniature, images):
    """The names of the training images among which these pictures are."""
    names = names_in_order(miniature)
    known = ferplus.load_images(miniature.data / "expression/ferplus", names)
    by_pixels = {pixels.tobytes(): name for pixels, name in zip(known, names, strict=True)}
    return [by_pixels[image.numpy().tobytes()] for image in images]


@given(names=st.lists(st.text(), unique=True, max_size=40), count=st.integers(2, 7))
def test_every_image_lies_in_one_fold_whatever_the_others_are(names, count):
    left = [split_by_fold(names, (k, count))[1] for k in range(count)]
    assert sorted(name for fold in left for name in fold) == sorted(names)
    for k, fold in enumerate(left):
        assert split_by_fold(names, (k, count))[0] == [name for name in names if name not in fold]
        assert all(fold_of(name, count) == k for name in fold)
    assert split_by_fold(names, None) == (names, [])


def test_the_folds_of_the_training_images_are_of_one_size():
    names = parts("ferplus", "train")
    sizes = [len(split_by_fold(names, (k, 3))[1]) for k in range(3)]
    assert sum(sizes) == len(names)
    assert max(sizes) < 1.03 * min(sizes)


@pytest.mark.parametrize("fold", [0, 1])
def test_a_training_never_draws_an_image_of_the_fold_it_leaves_out(miniature, tmp_path, fold):
    with miniature.split():
        task = load_task(teacher_of((fold, 2)), miniature.data, miniature.labels)
        whole = load_task(teacher_of(None), miniature.data, miniature.labels)
    trained, left = (names_of(miniature, images) for images in (task._images, task._left[0]))
    assert {fold_of(name, 2) for name in trained} == {1 - fold}
    assert {fold_of(name, 2) for name in left} == {fold}
    assert sorted(trained + left) == sorted(names_in_order(miniature))
    assert len(task._targets) == len(task._probability) == len(trained)
    assert sum(1 for _ in task.calibration(100)) == len(trained)
    # What it is told of them, and what it gets right of what it left out.
    everything = dict(zip(names_of(miniature, whole._images), whole._targets, strict=True))
    assert all(torch.equal(everything[n], t) for n, t in zip(trained, task._targets, strict=True))
    label = int(everything[left[0]].argmax())
    wanted = np.mean([int(everything[name].argmax()) == label for name in left])
    figures = task.validate(sayer(label))
    assert figures["left_accuracy"] == pytest.approx(wanted)
    assert figures.keys() - whole.validate(sayer(label)).keys() == {"left_accuracy"}


def test_what_it_left_out_is_a_curve_of_the_log(miniature, tmp_path):
    with miniature.split():
        task = load_task(teacher_of((0, 2)), miniature.data, miniature.labels)
        rows = []
        schedule = Schedule(steps=4, batch=4, rate=1e-3, validate_every=2, warmup=1)
        fit(task, schedule, tmp_path, 1, lambda _, row: rows.append(row) if row else None)
    assert [0 <= row["val_left_accuracy"] <= 1 for row in rows] == [True, True]


def test_each_image_is_answered_for_by_those_that_had_not_seen_it(miniature, tmp_path):
    task = asking(miniature, tmp_path, [(2, 3), (0, 3), (1, 3)])
    fold_said = torch.tensor([2, 0, 1])  # by the label of who answers
    names = names_of(miniature, task._images)
    assert len({fold_of(name, 3) for name in names}) == 3
    batch = task.batch(np.random.default_rng(5), 24)
    drawn = np.random.default_rng(5).choice(len(names), 24, p=task._probability)
    folds = torch.tensor([fold_of(names[i], 3) for i in drawn])
    assert len(set(folds.tolist())) == 3
    told = answers(task._teachers, batch["image"], True, batch["may"])
    assert torch.equal(fold_said[told.argmax(1)], folds)
    assert (told.exp().max(1).values > 0.99).all()  # nobody else was heard
    assert torch.allclose(told.exp().sum(1), torch.ones(24), atol=1e-4)
    # The student's loss hears the same: whoever repeats it pays the votes alone.
    _, terms = task.loss((told[:, :, None, None],), batch)
    assert terms["soft"] == pytest.approx(0, abs=1e-5)
    _, terms = task.loss((told.roll(1, 0)[:, :, None, None],), batch)
    assert terms["soft"] > 1


def test_two_of_a_fold_are_averaged_and_who_left_nothing_out_answers_for_all(miniature, tmp_path):
    task = asking(miniature, tmp_path, [(0, 2), (0, 2), None])
    batch = task.batch(np.random.default_rng(1), 16)
    told = answers(task._teachers, batch["image"], False, batch["may"]).exp()
    many = batch["may"].sum(1) == 3
    assert 0 < many.sum() < 16
    assert torch.allclose(told[many][:, :3], torch.full((int(many.sum()), 3), 1 / 3), atol=0.01)
    assert (told[~many][:, 2] > 0.99).all()


def test_a_teacher_runs_on_its_own_rows_alone():
    teachers, rows = [sayer(label) for label in range(4)], []
    for teacher in teachers:
        teacher.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    images = torch.rand(9, 1, 48, 48) * 2 - 1
    may = torch.nn.functional.one_hot(torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 1]), 4).bool()
    told = answers(teachers, images, True, may)
    assert rows == [4, 3, 2] * 2  # both views; the last one is not asked at all
    assert told.argmax(1).tolist() == [0, 1, 2, 0, 1, 2, 0, 0, 1]


def test_teachers_without_folds_are_asked_as_ever(miniature, tmp_path):
    task = asking(miniature, tmp_path, [None, None])
    assert "may" not in task.batch(np.random.default_rng(0), 4)
    assert "left_accuracy" not in task.validate(sayer(0))


def test_an_image_that_all_teachers_learned_from_is_refused(miniature, tmp_path):
    with pytest.raises(RecipeError, match=r"teacher-0, teacher-1 learned from \d of the 11 images"):
        asking(miniature, tmp_path, [(0, 3), (2, 3)])
    one, two = teacher_of((0, 2)), teacher_of((0, 3))
    names = [str(i) for i in range(60)]
    lacking = [name for name in names if fold_of(name, 2) != 0 and fold_of(name, 3) != 0]
    first = f"fold 1 of 2 or fold {fold_of(lacking[0], 3)} of 3"
    with pytest.raises(RecipeError, match=rf"a, b learned from {len(lacking)} of the 60 .* out {first}"):
        who_may_answer({"a": one, "b": two}, names)
    assert who_may_answer({"a": one, "b": teacher_of((1, 2))}, names).sum(1).tolist() == [1] * 60


@pytest.mark.parametrize(
    ("fold", "told"),
    [
        ([0, 1], r"student\.fold is \[0, 1\]; write \[k, n\] .* n of at least 2"),
        ([3, 3], r"student\.fold is \[3, 3\]; write \[k, n\] .* k from 0 to n - 1"),
        ([-1, 3], r"student\.fold\[0\] is -1; write a whole number of at least 0"),
        ([1], r"student\.fold is \[1\]; write a list: 2 of: "),
        (0, r"student\.fold is 0; write a list"),
    ],
)
def test_a_fold_that_is_none_is_refused(fold, told):
    for name in ("expression-first", "expression-teacher"):
        recipe = copy.deepcopy(load_recipe(RECIPES / f"{name}.toml"))
        recipe["student"]["fold"] = fold
        with pytest.raises(RecipeError, match=rf"own\.toml: {told}"):
            check_recipe(recipe, Path("own.toml"))


def test_who_leaves_a_fold_out_may_not_hear_of_it_in_another_way(tmp_path):
    recipe = teacher_of((0, 3))
    losses = {"student": recipe["student"] | {"losses": {"soft": 1.0}}}
    for more, told in (
        ({"teacher": "expression"} | losses, "teacher is 'expression' beside student.fold"),
        ({"schedule": recipe["schedule"] | {"start": "a"}}, r"schedule\.start is 'a' beside student.fold"),
        ({"data": {"shards": [str(tmp_path)], "share": 0.5}}, "and data.shards are read"),
    ):
        with pytest.raises(RecipeError, match=told):
            check_recipe(recipe | more, Path("own.toml"))


def test_folds_and_shards_do_not_go_together(miniature, tmp_path):
    MAKERS["ferplus"](tmp_path / "set")
    grey = (tmp_path / "set/FER2013Train/fer0000000.png").read_bytes()
    made = [Sample(f"{i}.png", grey, votes=np.eye(10, dtype=np.float32)[i % 8]) for i in range(30)]
    write_shard(tmp_path / "a.tar", made, Terms("drawn", "free", True, "this test"))
    recipe = copy.deepcopy(load_recipe(RECIPES / "expression-crossed.toml"))
    recipe["student"] |= {"widths": WIDTHS}
    recipe["data"] = {"shards": [str(tmp_path / "a.tar")], "share": 0.5}
    check_recipe(recipe, Path("own.toml"))
    save_weights(sayer(0), tmp_path / "weights.npz")
    teachers = {f"fold-{k}": (teacher_of((k, 2)), tmp_path / "weights.npz") for k in range(2)}
    with miniature.split():
        with pytest.raises(RecipeError, match=r"fold-0, fold-1: student\.fold is of FER.*leave data\.shards"):
            load_task(recipe, miniature.data, miniature.labels, asked=teachers)
        plain = {"plain": (teacher_of(None), tmp_path / "weights.npz")}
        load_task(recipe, miniature.data, miniature.labels, asked=plain)


# the shipped recipes


def test_the_shipped_folds_are_the_students_own_network_and_leave_out_all(tmp_path):
    crossed = load_recipe(RECIPES / "expression-crossed.toml")
    assert list(asked(crossed)) == FOLDS
    recipes = {name: load_recipe(RECIPES / f"{name}.toml") for name in FOLDS}
    assert [recipe["student"]["fold"] for recipe in recipes.values()] == [[k, 3] for k in range(3)]
    assert {str(recipe["student"]["widths"]) for recipe in recipes.values()} == {
        str(crossed["student"]["widths"])
    }
    assert who_may_answer(recipes, parts("ferplus", "train")).sum(1).tolist() == [1] * len(
        parts("ferplus", "train")
    )
    place = Workplace(tmp_path, tmp_path, tmp_path, tmp_path / "runs", tmp_path / "none.bundle")
    steps = [step.name for step in steps_of(RECIPES / "expression-crossed.toml", place)]
    courses = ["expression-first", "expression", *FOLDS]
    assert {f"distill {name}" for name in courses} == set(steps[: len(courses)])
    assert steps[len(courses)] == "distill expression-crossed"


def test_a_teachers_fold_decides_about_its_students_weights(tmp_path):
    for path in RECIPES.glob("expression*.toml"):
        shutil.copy(path, tmp_path)
    path = tmp_path / "expression-crossed.toml"
    course = Course.of(path, tmp_path, tmp_path, tmp_path, tmp_path / "runs" / path.stem)
    assert course.settings()["expression-fold-2: student.fold"] == [2, 3]
    plain = Course.of(
        tmp_path / "expression.toml", tmp_path, tmp_path, tmp_path, tmp_path / "runs/expression"
    )
    assert not any("fold" in name for name in plain.settings())


def test_the_terms_and_the_card_tell_who_had_not_seen_the_image():
    saw = seen(RECIPES / "expression-crossed.toml")
    assert list(saw.teachers) == ["expression", "folds"]  # the second course's, and the third's once
    assert "had not seen the image" in saw.teachers["folds"]
    assert not saw.terms.commercial
    assert "teachers by folds" in saw.terms.licence
    assert "folds" not in seen(RECIPES / "expression.toml").teachers
    count = len(split_by_fold(parts("ferplus", "train"), (1, 3))[0])
    assert saw.data["ferplus"].startswith(f"{len(parts('ferplus', 'train')):,} images")
    assert seen(RECIPES / "expression-fold-1.toml").data["ferplus"].startswith(f"{count:,} images")
    mixed = load_recipe(RECIPES / "expression-crossed.toml")
    both = seen_in([mixed | {"asked": [teacher_of((0, 2)), teacher_of(None)]}])
    assert set(both.teachers) == {"expression", "folds"}
    alone = seen_in([mixed | {"asked": [teacher_of((0, 2)), teacher_of((1, 2))]}])
    assert set(alone.teachers) == {"folds"}
