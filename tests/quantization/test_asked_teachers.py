"""Teachers that a recipe names are asked as one, and about the mirror image if it says so."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from quantization.recipe import RECIPES, RecipeError, asked, check_recipe, load_recipe
from quantization.steps import Workplace, steps_of
from quantization.students.detection import STRIDES, DetectionNet
from quantization.students.expression import ExpressionNet
from quantization.teachers import detection, expression
from quantization.teachers.parsing import Drawer, ParsingTeacher, label_photo
from tests.quantization.miniature import draw

pytestmark = pytest.mark.workshop


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def nets(make, count=2):
    found = []
    for seed in range(count):
        torch.manual_seed(seed)
        found.append(make().eval())
    return found


def test_expressions_shares_are_averaged_over_teachers_and_mirror_images():
    teachers = nets(lambda: ExpressionNet((4, 8, 8)))
    for teacher in teachers:  # far from saying the same of everything
        teacher.head.weight.data.mul_(20)
    images = torch.rand(3, 1, 48, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        shares = [t(x)[0].flatten(1).softmax(1) for x in (images, images.flip(3)) for t in teachers]
    assert (shares[0] - shares[2]).abs().max() > 1e-3
    told = expression.answers(teachers, images)
    assert torch.allclose(told.exp(), torch.stack(shares[:2]).mean(0), atol=0.02)  # it asks in bfloat16
    both = expression.answers(teachers, images, mirror=True)
    assert torch.allclose(both.exp(), torch.stack(shares).mean(0), atol=0.02)
    assert torch.allclose(both, expression.answers(teachers, images.flip(3), mirror=True), atol=1e-4)
    assert torch.allclose(both.exp().sum(1), torch.ones(3), atol=1e-4)


def test_cells_of_the_mirror_image_are_put_back_where_they_belong():
    teachers = nets(lambda: DetectionNet((4, 8, 8, 12, 12), (1, 1, 1), 8))
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(2)) * 2 - 1
    alone = [detection.answers([t], images) for t in teachers]
    assert torch.allclose(detection.answers(teachers, images), torch.stack(alone).mean(0))
    both = detection.answers(teachers, images, mirror=True)
    other = detection.answers(teachers, images.flip(3), mirror=True)
    sizes = [(64 // stride, 96 // stride) for stride in STRIDES]
    start = 0
    for height, width in sizes:
        cells = slice(start, start + height * width)
        one, two = (said[:, cells].view(2, height, width) for said in (both, other))
        assert torch.allclose(one, two.flip(2), atol=1e-5)
        start += height * width
    assert start == both.shape[1]
    assert (both - detection.answers(teachers, images)).abs().max() > 1e-5


def test_maps_that_several_draw_are_their_mean_and_unknown_where_they_differ():
    face = draw(5, width=160, height=140, side=70)

    def drawer(label, sure):
        network = ParsingTeacher((8, 8, 8, 8)).eval()
        with torch.no_grad():
            for values in network.parameters():
                values.zero_()
            network.head.bias[label] = sure
        return Drawer(network, 64, (0.0, 0.0))

    hair, skin = drawer(17, 9.0), drawer(1, 9.0)
    alone = label_photo([hair], face.rgb, face.box)
    inside = alone != 255
    assert (alone[inside] == 17).all()
    assert (label_photo([hair, skin], face.rgb, face.box) == 255).all()
    assert (label_photo([hair, hair, skin], face.rgb, face.box)[inside] == 17).all()


def test_a_recipe_may_say_mirror_which_alone_asks_nobody():
    recipe = copy.deepcopy(load_recipe(RECIPES / "expression.toml"))
    recipe["teacher"] = ["expression-teacher"]
    recipe["student"]["losses"] = {"soft": 0.5, "mirror": True}
    check_recipe(recipe, Path("own.toml"))
    assert asked(recipe) == ("expression-teacher",)
    recipe["student"]["losses"] = {"soft": 0.0, "mirror": True}
    assert asked(recipe) == ()
    recipe["student"]["losses"] = {"mirror": 0.5}
    with pytest.raises(RecipeError, match=r"student\.losses\.mirror"):
        check_recipe(recipe, Path("own.toml"))


def steps_with(tmp_path, name, change):
    """The steps of a shipped recipe that was changed, beside the others."""
    for path in RECIPES.glob("*.toml"):
        (tmp_path / path.name).write_text(path.read_text())
    recipe = tmp_path / f"{name}.toml"
    recipe.write_text(change(recipe.read_text()))
    place = Workplace(tmp_path, tmp_path, tmp_path, tmp_path / "runs", tmp_path / "none.bundle")
    return [step.name for step in steps_of(recipe, place)]


def test_an_expression_student_teaches_its_next_course(tmp_path):
    names = steps_with(tmp_path, "expression", str)
    assert names[:2] == ["distill expression-first", "distill expression"]
    assert len(names) == len(set(names))


def test_a_teachers_next_course_begins_with_the_one_before(tmp_path):
    names = steps_with(tmp_path, "parsing", str)
    courses = [names.index(f"teach parsing-teacher{course}") for course in ("-first", "-second", "")]
    assert courses == sorted(courses)
    assert courses[-1] < names.index("label --parsing lfpw") < names.index("distill parsing-first")


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda text: text.replace('teacher = "parsing-teacher"', 'teacher = "parsing-first"'),
         "teacher is 'parsing-first', which trains no teacher"),
        (lambda text: text.replace('start = "parsing-fifth"', 'start = "parsing-teacher"'),
         "schedule.start is 'parsing-teacher', which trains a teacher"),
    ],
)  # fmt: skip
def test_who_cannot_teach_and_what_cannot_be_gone_on_with_is_refused(tmp_path, change, wrong):
    with pytest.raises(RecipeError, match=wrong):
        steps_with(tmp_path, "parsing", change)
