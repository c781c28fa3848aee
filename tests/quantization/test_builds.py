"""A build of a parsing student with its teacher, and one with an operator that no Edge TPU takes."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from edgeface import Bundle
from edgeface.edgetpu_compiler import ON_CPU
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

    def run(recipe, *more, teachers=tmp_path):
        places = ["--data", miniature.data, "--labels", labels, "--teachers", teachers]
        words = [
            "build",
            recipe,
            *places,
            "--runs",
            tmp_path / "runs",
            "--threads",
            "1",
            "--frames",
            "2",
            *more,
        ]
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


class Odd(ExpressionNet):
    def forward(self, x):
        return (self.head(nn.functional.leaky_relu(self.backbone(x), 0.3).mean((2, 3), keepdim=True)),)


def test_an_operator_that_no_edge_tpu_takes_fails_the_build(ask, tmp_path, monkeypatch):
    monkeypatch.setattr("quantization.students.expression.ExpressionNet", Odd)
    recipe = tiny.write(tmp_path / "recipes", odd=tiny.EXPRESSION)
    done = ask(recipe)
    assert done.exit_code == 1
    assert "LEAKY_RELU" in done.output
    assert "use ReLU or PRELU" in done.output
    assert "gates.edgetpu = false" in done.output
    assert not (tmp_path / "runs/built/odd/check.json").exists()


def test_parity_asks_a_runtime_of_another_python_too(ask, elsewhere, tmp_path):
    recipe = tiny.write(tmp_path / "recipes", tiny=tiny.EXPRESSION)
    done = ask(recipe, "--python-tflite-runtime", elsewhere)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "runs/built/tiny/parity.json").read_text())["runtimes"]
    assert found["tflite-runtime 2.99"] == found["litert int8"]
    assert "parity tiny: up to date" not in ask(recipe, "--dry-run").output  # not what was asked for then


def test_a_student_for_cpus_alone_says_so_in_its_recipe(ask, tmp_path, monkeypatch):
    monkeypatch.setattr("quantization.students.expression.ExpressionNet", Odd)
    recipe = tiny.write(tmp_path / "recipes", odd=tiny.EXPRESSION + "edgetpu = false\n")
    done = ask(recipe)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "runs/built/odd/check.json").read_text())
    assert not found["fully_mapped"]
    assert {o["name"] for o in found["predicted"]["unmapped"]} >= {"LEAKY_RELU"}
    packed = Bundle.load(tmp_path / "runs/built/odd/student.bundle").model("expression")
    assert packed.metrics[ON_CPU] == len(found["predicted"]["unmapped"])
    # The same file, held to the gate after all.
    recipe.write_text(tiny.EXPRESSION)
    again = ask(recipe)
    assert again.exit_code == 1
    (failed,) = [line for line in again.output.splitlines() if line.startswith("Error: ")]
    assert failed.startswith("Error: check odd: gates.edgetpu: not all of it maps: ")
    assert "LEAKY_RELU" in failed


class Spoiled(ExpressionNet):
    """Says what it says on top of 1000: fine in float, and lost between the steps of a grid of 256."""

    def forward(self, x):
        return (super().forward(x)[0] + 1000.0 - 1000.0,)


def test_a_spoiled_student_is_stopped_at_one_gate_after_the_other(ask, tmp_path, monkeypatch):
    monkeypatch.setattr("quantization.students.expression.ExpressionNet", Spoiled)
    text = tiny.EXPRESSION

    def stopped(*changes):
        nonlocal text
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        done = ask(tiny.write(tmp_path / "recipes", spoiled=text))
        assert done.exit_code == 1, done.output
        return done.output[done.output.index("Error: ") :]

    told = stopped()
    lost = r"Error: parity spoiled: gates\.parity: expression onnx u8s8 logits SQNR dB: -?[\d.]+, bound 3; "
    assert re.match(lost, told)
    assert "quantised = true" in told  # what mends it
    told = stopped(("min_sqnr_db = 3.0", "min_sqnr_db = 70.0"))
    assert re.match(r"Error: convert spoiled: output 'logits' keeps only -?\d+\.\d dB after quant", told)
    told = stopped(
        ("min_sqnr_db = 70.0", "min_sqnr_db = 3.0"),
        ("[gates]\n", '[gates]\nparity = false\nfigures = { balanced_accuracy = ">= 0.99" }\n'),
    )
    assert re.match(r"Error: evaluate spoiled: gates\.figures\.balanced_accuracy: 0.*, wanted >= 0\.99", told)
    told = stopped(("[gates]\n", "[gates]\nbytes = 2_000\n"))
    size = r"Error: convert spoiled: gates\.bytes: expression\.int8\.tflite has [\d,]+, at most 2,000 "
    assert re.match(size, told)
    assert not (tmp_path / "runs/built/spoiled/student.bundle").exists()
