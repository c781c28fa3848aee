from __future__ import annotations

from pathlib import Path

import pytest

from edgeface import Bundle
from edgeface.bundle import SIZES
from quantization.artifacts import Trained
from quantization.build import load_networks
from quantization.commands import options
from quantization.courses import WEIGHTS
from quantization.lines import BASE, LINES
from quantization.provenance import digest
from quantization.recipe import TASKS, load_recipe

pytestmark = pytest.mark.workshop


def test_there_is_a_line_for_each_size_that_is_built_in_and_one_that_is_not():
    assert list(LINES) == [*SIZES, "clean"]
    assert BASE is LINES["base"]
    assert {LINES[size].bundle.name for size in SIZES} == set(SIZES.values())
    assert len({line.results for line in LINES.values()}) == len({line.bundle for line in LINES.values()})
    built_in = Bundle.builtin().source
    assert Path(built_in).parent not in LINES["clean"].bundle.parents


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
@pytest.mark.parametrize("task", TASKS)
def test_a_line_has_recipe_weights_and_student_of_each_task(task, line):
    recipe = load_recipe(line.recipe(task))
    assert recipe["task"] == task
    student = Trained.of(task, line=line)
    assert (student.path, student.weights) == (line.recipe(task), WEIGHTS / f"{line.stem(task)}.npz")
    assert options.bundle_of(student) == line.bundle
    assert options.metrics_of(student) == line.metrics
    bundle = Bundle.load(line.bundle)
    assert bundle.model(task).description == recipe["deploy"]["description"]
    # The card is made with the bundle and tells the digests of what it was made of.
    assert str(digest(student.weights)) in bundle.card(task)
    assert str(digest(student.path)) in bundle.card(task)


def test_float_networks_of_a_line_are_its_own():
    base, nano, clean = (
        sum(p.numel() for p in load_networks(WEIGHTS, ["expression"], line)["expression"].parameters())
        for line in LINES.values()
    )
    assert nano < base / 5
    assert clean == base


def test_the_clean_line_may_be_used_for_anything_and_its_cards_say_so():
    bundle = Bundle.load(LINES["clean"].bundle)
    assert "commercial use allowed" in bundle.licence
    assert "research only" in Bundle.builtin().licence
    for task in TASKS:
        assert "research" not in bundle.model(task).licence
        assert "learned from no photo of a person" in bundle.card(task)
        assert "The int8 figures are of this very file." in bundle.card(task)
