from __future__ import annotations

import hashlib
import math
from contextlib import nullcontext

import pytest
import tomllib
import torch
from hypothesis import given
from hypothesis import strategies as st

from quantization.recipe import (
    RECIPES,
    TASKS,
    RecipeError,
    check_lists,
    flat,
    holds,
    is_teacher,
    load_recipe,
    schema,
    sets_of,
    shards_of,
)
from quantization.schema import GRID_SIZES
from quantization.students.detection import DetectionNet
from quantization.students.landmarks import LandmarkNet
from quantization.students.parsing import ParsingNet
from tests.quantization import tiny

pytestmark = pytest.mark.workshop

ALL = sorted(RECIPES.glob("*.toml"))
# Some tests write their own gates.
TEXT = tiny.EXPRESSION.partition("[gates]")[0].replace("batch = 8", "batch = 64")


@pytest.fixture
def written(tmp_path):
    """A tiny recipe with one piece replaced, or something added at its end."""

    def write(before="", after="", more=""):
        assert before in TEXT
        path = tmp_path / "mine.toml"
        path.write_text((TEXT.replace(before, after, 1) if before else TEXT) + more)
        return path

    return write


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_every_committed_recipe_is_sound(path):
    recipe = load_recipe(path)
    assert recipe == tomllib.loads(path.read_text())
    teachers = {f"{task}-teacher" for task in ("detection", "parsing", "expression")}
    teachers |= {"landmarks-tough", "landmarks-tolerant", "parsing-teacher-first", "parsing-teacher-second"}
    assert is_teacher(recipe) is (path.stem in teachers)
    assert sets_of(recipe) or shards_of(recipe)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("balance", "balanse", "student.balanse: no such key; did you mean balance?"),
        ("batch = 64", "bach = 64", "schedule.bach: no such key; did you mean batch?"),
        ("balance", "zebra", "student.zebra: no such key; write one of widths, expand, balance"),
        ("batch = 64", "", "schedule.batch is missing; write a whole number of at least 1"),
        ("batch = 64", "batch = 0", "schedule.batch is 0; write a whole number of at least 1"),
        ("batch = 64", "batch = 6.5", "schedule.batch is 6.5; write a whole number"),
        ("batch = 64", "batch = true", "schedule.batch is True; write a whole number"),
        ("batch = 64", 'batch = "64"', "schedule.batch is '64'; write a whole number"),
        (
            "shift = [0.0, 0.0]",
            "shift = [0.0]",
            r"deploy.crop.shift is \[0.0\]; write a list: 2 of: a number",
        ),
        ("scale = 1.0, ", "", "deploy.crop.scale is missing; write a number of at least 0.1"),
        ('task = "expression"', 'task = "gaze"', "task is 'gaze'; write one of detection, landmarks"),
        ("[schedule]", "[shedule]", "shedule: no such key; did you mean schedule?"),
        ("[schedule]", "[[schedule]]", r"schedule is \[\{.*; write a table"),
        ("batch = 64", "batch = = 64", "no TOML"),
        ('labels = "fer8"', 'precision = "int4"', "deploy.precision is 'int4'; write one of int8"),
    ],
)
def test_what_may_not_stand_there_is_named_with_what_may(written, before, after, told):
    with pytest.raises(RecipeError, match=rf"mine\.toml: {told}"):
        load_recipe(written(before, after))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ('[data]\nsets = ["lfpw"]', r"data\.sets is \['lfpw'\]; the task reads ferplus"),
        ('[data]\nsets = ["fer"]', r"data\.sets\[0\] is 'fer'; write one of lfpw"),
        ('[data]\nlists = { lfpw = "0123456789" }', r"data\.lists\.lfpw: the task reads ferplus"),
        ("[targets]\naccuracy = 0.8", r"targets\.accuracy is 0\.8; write \">= NUMBER\" or \"<= NUMBER\""),
        ('[targets]\naccuracy = "> 0.8"', r"targets\.accuracy is '> 0\.8'"),
        ('[gates]\nfigures = { nme = "small" }', r"gates\.figures\.nme is 'small'"),
        ("[gates]\nparty = true", r"gates\.party: no such key; did you mean parity\?"),
        ('[gates]\nparity = "yes"', r"gates\.parity is 'yes'; write true or false"),
        ('[gates]\nbytes = "1 MB"', r"gates\.bytes is '1 MB'; write a whole number of at least 1"),
    ],
)
def test_the_tables_about_data_targets_and_gates_are_held_to_their_keys(written, more, told):
    with pytest.raises(RecipeError, match=told):
        load_recipe(written(more=f"\n{more}\n"))


def written_from(name, tmp_path, *changes):
    """A committed recipe, or of landmarks a tiny one, with pieces replaced."""
    text = tiny.LANDMARKS if name == "landmarks.toml" else (RECIPES / name).read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after, 1)
    (tmp_path / name).write_text(text)
    return tmp_path / name


@pytest.mark.parametrize(
    ("name", "before", "after", "told"),
    [
        ("landmarks.toml", "size = 112", "size = 96", "size is 96; write .* at least 97 and at most 128"),
        ("landmarks.toml", "size = 112", "size = 224", "size is 224; .*: the network reads a map of 4 x 4"),
        ("landmarks.toml", "size = 112", "size = 128\ngrid = 7", "size is 128; .* at most 112: .* 7 x 7"),
        ("landmarks.toml", "size = 112", "size = 112\ngrid = 5", "grid is 5; write 4 or 7"),
        ("landmarks.toml", "widths = [4, ", "widths = [", r"widths is \[8, .*; write a list: 5 of: "),
        ("landmarks-tough.toml", "size = 128", "size = 112", "size is 112; write .* 32, a multiple of 32"),
        ("parsing.toml", "size = 128", "size = 72", "size is 72; write .* 32, a multiple of 32"),
        ("parsing-second.toml", "sizes = [128", "sizes = [120", r"sizes\[0\] is 120; .* a multiple of 32"),
        ("parsing.toml", "decoder = [64, ", "decoder = [", "decoder is .*; write a list: 4 of: "),
        ("detection.toml", "height = 256", "height = 240", "height is 240; write .* a multiple of 32"),
        ("detection.toml", "blocks = [1, ", "blocks = [", "blocks is .*; write a list: 3 of: "),
    ],
)  # fmt: skip
def test_a_picture_that_a_network_cannot_take_is_refused_before_it_is_tried(
    tmp_path, name, before, after, told
):
    with pytest.raises(RecipeError, match=rf"{name}: student\.{told}"):
        load_recipe(written_from(name, tmp_path, (before, after)))


@pytest.mark.parametrize("grid", GRID_SIZES)
def test_the_sizes_of_a_grid_are_those_that_the_network_makes_one_answer_of(grid):
    with torch.device("meta"):
        net = LandmarkNet((2, 2, 2, 2, 2), 2, grid).eval()

    def taken(size):
        try:
            return net(torch.zeros(1, 3, size, size, device="meta"))[0].shape == (1, 136, 1, 1)
        except RuntimeError:
            return False

    assert [size for size in range(64, 161) if taken(size)] == list(GRID_SIZES[grid])


@pytest.mark.parametrize("size", [32, 48, 64, 80, 96])
def test_parsing_and_detection_take_multiples_of_32_alone(size):
    with torch.device("meta"):
        nets = ParsingNet((2,) * 5, (2,) * 4).eval(), DetectionNet((2,) * 5, (1, 1, 1), 2).eval()
    for net in nets:
        picture = torch.zeros(1, 3, size, size, device="meta")
        with nullcontext() if size % 32 == 0 else pytest.raises(RuntimeError):
            net(picture)


def test_a_recipe_may_name_everything(written):
    digest = hashlib.sha256(b"a list").hexdigest()
    more = f"""
[data]
sets = ["ferplus"]
lists = {{ ferplus = "{digest[:12]}" }}
[targets]
accuracy = ">= 0.8"
[gates]
edgetpu = true
parity = true
lost = false
figures = {{ accuracy = ">=0.75", ece = "<= 5e-2" }}
"""
    path = written(more=more)
    recipe = load_recipe(path)
    (path.parent / "ferplus.csv").write_bytes(b"a list")
    check_lists(recipe, path, path.parent)
    (path.parent / "ferplus.csv").write_bytes(b"another")
    with pytest.raises(RecipeError, match=r"mine\.toml: data\.lists\.ferplus is .*bring the list"):
        check_lists(recipe, path, path.parent)


def test_maps_need_a_share_and_a_teacher_needs_maps(tmp_path):
    lines = (RECIPES / "parsing-first.toml").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith(("taught", "teacher")))
    path = tmp_path / "p.toml"
    path.write_text(text.replace("\ndice", '\ntaught = ["celeba_hq"]\ndice', 1))
    with pytest.raises(RecipeError, match=r"student\.taught_share is missing"):
        load_recipe(path)
    path.write_text('teacher = "parsing-teacher"\n' + text)
    with pytest.raises(RecipeError, match=r"teacher: it draws the maps of student\.taught, which is missing"):
        load_recipe(path)
    path.write_text(text.replace("\ndice", '\ntaught = ["celeba_hq"]\ntaught_share = 0.5\ndice', 1))
    assert sets_of(load_recipe(path)) == ("celebamask", "celeba_hq")


def test_only_teachers_of_landmarks_and_parsing_have_an_encoder(written):
    with pytest.raises(
        RecipeError, match=r"student\.encoder: only teachers of landmarks and parsing have one"
    ):
        load_recipe(written("balance = 0.35", 'balance = 0.35\nencoder = "x.tflite"'))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"nowhere\.toml: not readable"):
        load_recipe(tmp_path / "nowhere.toml")


@given(value=st.floats(-1e3, 1e3), limit=st.floats(-1e3, 1e3).map(lambda v: round(v, 3)))
def test_a_bound_holds_on_its_own_side(value, limit):
    assert holds(value, f">= {limit:.3f}") == (value >= limit)
    assert holds(value, f"<={limit:.3f}") == (value <= limit)
    assert holds(limit, f">= {limit:.3f}")
    assert not holds(math.nan, f">= {limit:.3f}")


def test_flat_names_every_key_below_a_place():
    recipe = {"task": "x", "schedule": {"rate": 1.0, "deep": {"er": [1]}}, "deploy": {"crop": {"scale": 2}}}
    assert flat(recipe, "task", "schedule", "deploy.crop.scale", "deploy.labels") == {
        "task": "x",
        "schedule.rate": 1.0,
        "schedule.deep.er": [1],
        "deploy.crop.scale": 2,
    }


@given(kind=st.sampled_from([*TASKS, *(f"{task} teacher" for task in TASKS)]))
def test_every_key_of_the_schema_says_what_may_stand_there(kind):
    waiting = list(schema(kind).values())
    while waiting:
        key = waiting.pop()
        assert len(str(key)) > 3
        if isinstance(key.of, dict):
            waiting += key.of.values()
        elif key.of is not None:
            waiting.append(key.of)
