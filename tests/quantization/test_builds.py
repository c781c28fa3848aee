"""A build of a parsing student with its teacher, and one with an operator that no Edge TPU takes."""

from __future__ import annotations

import shutil
from functools import partial

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from edgeface import Bundle
from quantization import build as building
from quantization.__main__ import main
from quantization.students.expression import ExpressionNet
from tests.quantization import tiny

pytestmark = pytest.mark.workshop


@pytest.fixture(autouse=True)
def few_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def ask(miniature, tmp_path):
    """Runs `build` over the miniature, with labels of its own to write into."""
    labels = shutil.copytree(miniature.labels, tmp_path / "labels")

    def run(recipe, teachers=tmp_path):
        places = ["--data", miniature.data, "--labels", labels, "--teachers", teachers]
        words = ["build", recipe, *places, "--runs", tmp_path / "runs", "--threads", "1", "--frames", "2"]
        with miniature.split():
            return CliRunner().invoke(main, [str(word) for word in words])

    return run


@pytest.mark.data
def test_a_parsing_student_is_taught_by_maps_that_its_teacher_drew(ask, teachers, tmp_path):
    recipes = tiny.write(tmp_path / "recipes", parts=tiny.PARSING, parsing_teacher=tiny.PARSING_TEACHER)
    shutil.rmtree(tmp_path / "labels/parsing")
    done = ask(recipes, teachers=teachers)
    assert done.exit_code == 0, done.output
    order = [done.output.index(f"{name}: ") for name in ("teach parsing-teacher", "label --parsing celeba_hq",
                                                         "distill parts", "bundle parts")]  # fmt: skip
    assert order == sorted(order)
    maps = list((tmp_path / "labels/parsing/celeba_hq").glob("*.png"))
    assert len(maps) == 3
    assert Bundle.load(tmp_path / "runs/built/parts/student.bundle").tasks == ("parsing",)
    again = ask(recipes, teachers=teachers)
    assert "teach parsing-teacher: up to date" in again.output
    assert "report parts: up to date" in again.output


def test_an_operator_that_no_edge_tpu_takes_fails_the_build(ask, tmp_path, monkeypatch):
    class Odd(ExpressionNet):
        def forward(self, x):
            return (self.head(nn.functional.leaky_relu(self.backbone(x), 0.3).mean((2, 3), keepdim=True)),)

    monkeypatch.setattr("quantization.students.expression.ExpressionNet", Odd)
    recipe = tiny.write(tmp_path / "recipes", odd=tiny.EXPRESSION)
    done = ask(recipe)
    assert done.exit_code == 1
    assert "LEAKY_RELU" in done.output
    assert "use ReLU or PRELU" in done.output
    # Exported all the same, the gate is what stops it.
    lenient = partial(building.export_student, require_edgetpu=False)
    monkeypatch.setattr(building, "export_student", lenient)
    done = ask(recipe)
    assert done.exit_code == 1
    (failed,) = [line for line in done.output.splitlines() if line.startswith("Error: ")]
    assert failed.startswith("Error: check odd: gates.edgetpu: not all of it maps: ")
    assert "LEAKY_RELU" in failed
    assert not (tmp_path / "runs/built/odd/parity.json").exists()
