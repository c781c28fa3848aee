"""The commands one after another, as a user without `build` gives them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from edgeface import Bundle
from edgeface.store import TrustedKeys
from edgeface.store.release import parse_envelope
from quantization import splits
from quantization.__main__ import main
from quantization.commands import options
from quantization.label import load_parsing
from quantization.publish import make_key
from quantization.splits import read_split
from quantization.teachers.parsing import ParsingTeacher
from quantization.training import save_weights
from tests.quantization import tiny

pytestmark = pytest.mark.workshop


@pytest.fixture(autouse=True)
def few_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def ask(miniature):
    """Runs a command over the miniature."""

    def run(*words, labels=miniature.labels):
        places = ["--data", miniature.data, "--labels", labels]
        with miniature.split():
            return CliRunner().invoke(main, [str(word) for word in (*words, *places)])

    return run


@pytest.fixture(scope="module")
def distilled(miniature, tmp_path_factory):
    """A recipe of somebody's own, and the run that `distill` left of it."""
    root = tmp_path_factory.mktemp("mine")
    recipe, run = tiny.write(root, mine=tiny.EXPRESSION), root / "run"
    words = ["distill", recipe, "--data", miniature.data, "--run", run, "--threads", "1"]
    with miniature.split():
        done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == 0, done.output
    return recipe, run


def test_what_distill_left_goes_through_every_command_to_a_bundle_and_a_page(distilled, ask, tmp_path):
    recipe, run = distilled
    run = shutil.copytree(run, tmp_path / "run")

    def step(name, *more, code=0):
        done = ask(name, recipe, "--run", run, *more)
        assert done.exit_code == code, done.output
        return done.output

    step("convert", "--out", tmp_path / "files")
    names = {path.name for path in (tmp_path / "files").iterdir()}
    assert names >= {"expression.int8.tflite", "expression.int8-s8s8.onnx"}
    checked = CliRunner().invoke(main, ["check", str(tmp_path / "files/expression.int8.tflite")])
    assert checked.exit_code == 0, checked.output
    step("calibrate", "--out", tmp_path / "ranges.json")
    ranges = json.loads((tmp_path / "ranges.json").read_text())
    assert len(ranges) > 5
    assert all(low <= high for low, high in ranges.values())
    assert f"{run / 'student.bundle'}: " in step("pack")
    draft = Bundle.load(run / "student.bundle")
    assert draft.model("expression").description == "Noise, told apart"
    assert "accuracy" not in draft.model("expression").metrics
    tflite = (tmp_path / "files/expression.int8.tflite").read_bytes()
    assert draft.artifact(draft.model("expression").artifact) == tflite
    # Nothing is measured yet: parity cannot judge what int8 costs, and says so.
    assert "FAILED: expression: what int8 costs is not measured" in step("parity", "--frames", "2", code=1)
    step("parity", "--frames", "2", "--unmeasured")
    step("evaluate")
    figures = json.loads((run / "results/metrics.json").read_text())["expression"]
    assert set(figures) == {"int8", "fp32"}
    owner = tmp_path / "release-alice.pem"
    public = make_key(owner)
    assert "student.bundle.release" in step("pack", "--sign", owner)
    envelope = parse_envelope((run / "student.bundle.release").read_bytes())
    assert TrustedKeys({"alice": bytes.fromhex(public)}).signers(envelope) == ("alice",)
    assert envelope.release.digest == Bundle.load(run / "student.bundle").digest
    packed = Bundle.load(run / "student.bundle").model("expression")
    assert packed.metrics["accuracy"] == pytest.approx(figures["int8"]["accuracy"], abs=1e-4)
    done = CliRunner().invoke(main, ["report", str(recipe), "--run", str(run)])
    assert done.exit_code == 0, done.output
    assert "mine" in (run / "report/report.html").read_text()


def test_weights_may_be_a_file_and_are_looked_for_where_distill_puts_them(distilled, ask, tmp_path):
    recipe, run = distilled
    done = ask("calibrate", recipe, "--weights", run / "weights.npz", "--out", tmp_path / "ranges.json")
    assert done.exit_code == 0, done.output
    for wrong, said in (
        ((recipe,), "runs/mine/weights.npz: there are no weights; train them"),
        (("nobody",), "nobody: give one of detection, landmarks, parsing, expression, or a recipe's .toml"),
    ):
        refused = ask("calibrate", *wrong)
        assert (refused.exit_code, said in refused.output) == (1, True), refused.output
    several = ask("pack", recipe, "expression", "--run", run)
    assert (several.exit_code, "name it alone" in several.output) == (2, True)
    np.savez(tmp_path / "expression.npz", **np.load(run / "weights.npz"))
    both = ask(
        "pack", recipe, "expression", "--weights", tmp_path, "--out", tmp_path / "b", "--metrics", "no"
    )
    assert (both.exit_code, "two students of one task" in both.output) == (1, True), both.output


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_one_students_options_want_its_recipe(command, ask, distilled, tmp_path):
    _, run = distilled
    for given, said in (
        (("--run", run), "--run is of"),
        (("--weights", run / "weights.npz"), "with a file is of"),
    ):
        words = [command, *given, "--out", tmp_path / "out"]
        refused = ask(*words) if command == "evaluate" else CliRunner().invoke(main, list(map(str, words)))
        assert (refused.exit_code, said in refused.output) == (2, True), refused.output


def test_split_writes_a_list_for_every_data_set(miniature, tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "SPLITS", tmp_path / "lists")
    done = CliRunner().invoke(main, ["split", "--data", str(miniature.data)])
    assert done.exit_code == 0, done.output
    told = dict(line.split(": ") for line in done.output.splitlines())
    written = {path.name: f"{len(read_split(path.stem))} images" for path in (tmp_path / "lists").iterdir()}
    assert told == written
    assert len(told) == 6
    assert told["celebamask.csv"] == "6 images"


def test_tables_puts_a_wrong_figure_of_the_readme_right(repository, tmp_path, monkeypatch):
    (tmp_path / "quantization").mkdir()
    monkeypatch.setattr(options, "HERE", tmp_path / "quantization")
    readme = tmp_path / "README.md"
    shutil.copy(repository / "README.md", readme)
    benchmark = repository / "benchmarks/results/facemesh-x86-64.json"

    def rewritten():
        done = CliRunner().invoke(main, ["tables", "--benchmark", str(benchmark)])
        assert done.exit_code == 0, done.output
        return readme.read_text()

    right = rewritten()
    figure = next(line for line in right.splitlines() if line.startswith("| parsing | mean F1"))
    readme.write_text(right.replace(figure, figure.replace(" %", "1 %")))
    assert readme.read_text() != right
    assert rewritten() == right


def test_report_writes_the_page_of_what_was_measured(repository, tmp_path):
    folder = repository / "quantization/results"
    done = CliRunner().invoke(main, ["report", "--results", str(folder), "--out", str(tmp_path / "page")])
    assert done.exit_code == 0, done.output
    page = tmp_path / "page/report.html"
    assert done.output == f"{page}: {page.stat().st_size:,} bytes\n"
    assert {"parsing-teacher-learning.png", "parsing-size.png"} <= {p.name for p in page.parent.iterdir()}


def test_label_lets_a_parsing_teacher_draw_the_maps_of_a_split(miniature, ask, tmp_path):
    recipe = tiny.write(tmp_path / "recipes", mine=tiny.PARSING_TEACHER)
    torch.manual_seed(3)
    save_weights(ParsingTeacher((8, 8, 8, 8)), tmp_path / "teacher.npz")
    labels = tmp_path / "labels"
    labels.mkdir()
    shutil.copy(miniature.labels / "celeba_hq.npz", labels)
    words = ("label", "--parsing", tmp_path / "teacher.npz", "--teacher", recipe, "--teachers", tmp_path)
    done = ask(*words, labels=labels)
    assert done.exit_code == 0, done.output
    assert done.output.endswith("celeba_hq: 3 maps\n")
    with miniature.split():
        for item in read_split("celeba_hq"):
            assert load_parsing(labels, "celeba_hq", item.name).shape == (96, 120)
    refused = ask(*words[:3], "--teacher", tmp_path / "no.toml", "--teachers", tmp_path, labels=labels)
    assert (refused.exit_code, "no.toml: not readable" in refused.output) == (1, True)
