from __future__ import annotations

import numpy as np
import pytest
import torch

from quantization.courses import Course
from quantization.losses import quality_focal
from quantization.recipe import RECIPES, RecipeError, load_recipe
from quantization.tasks import load_task
from quantization.tasks.seen import seen_in
from quantization.teachers.detection import answers, load_teacher
from quantization.training import save_weights

pytestmark = pytest.mark.workshop

SMALL = {
    "detection-teacher": [
        ("widths = [16, 32, 64, 128, 192]", "widths = [4, 8, 8, 12, 12]"),
        ("neck = 64", "neck = 8"),
        ("album = 12000\nalbum_share = 0.75\n", ""),
    ],
    "detection": [
        ("widths = [8, 24, 32, 64, 96]", "widths = [4, 4, 8, 8, 8]"),
        ("neck = 32", "neck = 8\nlosses = { scores = 2.0 }"),
        ("album = 12000\nalbum_share = 0.75\n", ""),
        ('task = "detection"', 'task = "detection"\nteacher = "detection-teacher"'),
    ],
}
SCHEDULE = "[schedule]\nsteps = 2\nbatch = 2\nrate = 2.0e-3\nwarmup = 1\nvalidate_every = 2\n\n"


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    """A teacher and a student that asks it, both small, neither with rendered or turned heads."""
    root = tmp_path_factory.mktemp("recipes")
    for name, changes in SMALL.items():
        text = (RECIPES / f"{name}.toml").read_text()
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        head, rest = text.split("[schedule]")
        scenes = head.replace("rendered = 400", "rendered = 0").replace("turned = 700", "turned = 0")
        (root / f"{name}.toml").write_text(scenes + SCHEDULE + rest[rest.index("[deploy]") :])
    return root


@pytest.fixture
def course(recipes, miniature, tmp_path):
    def of(name):
        path = recipes / f"{name}.toml"
        return Course.of(path, miniature.data, miniature.labels, tmp_path, tmp_path / "runs" / name)

    with miniature.split():
        yield of


def test_a_student_learns_from_a_teacher_that_was_taught_before(course):
    with pytest.raises(RecipeError, match=r"run first: `teach .*detection-teacher\.toml`"):
        course("detection").train(1)
    for name in ("detection-teacher", "detection"):
        course(name).train(1)
        assert course(name).weights.exists()
    assert '"told"' in (course("detection").run / "log.jsonl").read_text()


def test_the_loss_is_the_labels_and_the_weighed_teachers_scores(course, recipes, miniature, tmp_path):
    recipe = load_recipe(recipes / "detection.toml")
    lessons = load_recipe(recipes / "detection-teacher.toml")
    torch.manual_seed(3)
    teacher = load_task(lessons, miniature.data, miniature.labels).network()
    save_weights(teacher, tmp_path / "teacher.npz")
    asked = {"detection-teacher": (lessons, tmp_path / "teacher.npz")}
    asking = load_task(recipe, miniature.data, miniature.labels, None, asked)
    plain = load_task(
        {**recipe, "student": {k: v for k, v in recipe["student"].items() if k != "losses"}},
        miniature.data,
        miniature.labels,
    )
    batch = asking.batch(np.random.default_rng(0), 2)
    with torch.no_grad():
        outputs = asking.network().eval()(batch["image"])
    total, terms = asking.loss(outputs, batch)
    told = answers([load_teacher(*asked["detection-teacher"])], batch["image"])
    scores = plain.decode(outputs)[0]
    assert told.shape == scores.shape
    count = (batch["state"] > 0).sum().clamp(min=1)
    wanted = quality_focal(scores, told).sum() / count
    assert terms["told"] == pytest.approx(float(wanted), rel=1e-4)
    assert float(total) == pytest.approx(float(plain.loss(outputs, batch)[0]) + 2 * float(wanted), rel=1e-4)
    with pytest.raises(RecipeError, match="no teacher was given"):
        load_task(recipe, miniature.data, miniature.labels).loss(outputs, batch)


def test_the_card_will_name_the_teacher(recipes, miniature):
    with miniature.split():
        found = seen_in([load_recipe(recipes / "detection.toml")])
    assert "cell by cell" in found.teachers["detection"]
    assert not found.terms.commercial
