from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from edgeface import Bundle
from quantization.__main__ import main
from tests.quantization import tiny

pytestmark = pytest.mark.workshop

TINY = """
task = "expression"

[student]
widths = [4, 8, 8, 12]
balance = 0.35

[schedule]
start = "tiny-first"
steps = 30
batch = 8
rate = 5e-3
warmup = 5
validate_every = 10

[data]
sets = ["ferplus"]
lists = { ferplus = "DIGEST" }

[deploy]
licence = "research only: FER2013 images are for research; FER+ labels are MIT"
labels = "fer8"
description = "Noise, told apart"
calibration = 8
min_sqnr_db = 3.0
precision = "int8"
crop = { scale = 1.0, shift = [0.0, 0.0], align_above = 12.0 }
head = {}

[targets]
accuracy = ">= 1.5"

[gates]
lost = false     # four photos of noise
figures = { ece = "<= 1" }
"""
FIRST = ('start = "tiny-first"\nsteps = 30', "steps = 10")
MADE = ("convert", "check", "parity", "evaluate", "bundle", "report")
STEPS = ["distill tiny-first", "distill tiny", *(f"{name} tiny" for name in MADE)]


class Bench:
    """A folder of recipes and runs over the drawn data, and the command line."""

    def __init__(self, root, miniature):
        self.root, self.miniature = root, miniature
        self.recipe, self.runs = root / "recipes/tiny.toml", root / "runs"
        lists = hashlib.sha256((miniature.lists / "ferplus.csv").read_bytes()).hexdigest()
        self.recipe.parent.mkdir(parents=True)
        self.recipe.write_text(TINY.replace("DIGEST", lists[:16]))
        self.recipe.with_name("tiny-first.toml").write_text(self.recipe.read_text().replace(*FIRST))

    def arguments(self, *more):
        places = ["--data", self.miniature.data, "--runs", self.runs, "--teachers", self.root]
        return ["build", str(self.recipe), *map(str, places), "--threads", "1", "--frames", "3", *more]

    def build(self, *more):
        with self.miniature.split():
            return CliRunner().invoke(main, self.arguments(*more))

    def change(self, before, after):
        text = self.recipe.read_text()
        assert before in text
        self.recipe.write_text(text.replace(before, after))

    def file(self, name):
        return self.runs / "built/tiny" / name

    def digests(self):
        """SHA-256 of every file that is made of the student, by its place."""
        made = self.runs / "built/tiny"
        files = [path for path in made.rglob("*") if path.is_file() and path.suffix != ".png"]
        return {str(p.relative_to(made)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    def times(self):
        """When each file that a step makes was last written."""
        return {p: p.stat().st_mtime_ns for p in self.runs.rglob("*") if p.is_file() and p.name != "lock"}


def done(output):
    """Step -> what was said of it, in order."""
    rows = [line.split(": ", 1) for line in output.splitlines() if ": " in line and line[0] != " "]
    return {name: said for name, said in rows if name in STEPS}


def planned(output):
    return {name: line[len(name) :].strip() for line in output.splitlines() for name in STEPS
            if line.startswith(f"{name} ") and f"{line} ".split("  ")[0].strip() == name}  # fmt: skip


@pytest.fixture(autouse=True)
def few_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(miniature, tmp_path_factory):
    """One build without a disturbance, and what was said."""
    bench = Bench(tmp_path_factory.mktemp("whole"), miniature)
    result = bench.build()
    assert result.exit_code == 0, result.output
    return bench, result.output


# Every batch of the second course takes a while, so that there is time to be killed.
SLOW = """
import sys, time
from pathlib import Path
from quantization import splits
from quantization.__main__ import main
from quantization.tasks.expression import ExpressionTask
splits.SPLITS = Path(sys.argv[1])
batch = ExpressionTask.batch
def slow(self, rng, size):
    time.sleep(0.05)
    return batch(self, rng, size)
ExpressionTask.batch = slow
main(sys.argv[2:])
"""


@pytest.fixture(scope="module")
def killed(miniature, tmp_path_factory, repository):
    """A build that was killed while it trained, at which step it was, and the state of its folders then."""
    bench = Bench(tmp_path_factory.mktemp("killed"), miniature)
    command = [sys.executable, "-c", SLOW, str(miniature.lists), *bench.arguments()]
    environment = os.environ | {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    checkpoint = bench.runs / "tiny/checkpoint.pt"
    with subprocess.Popen(command, env=environment, cwd=bench.root, stdout=subprocess.DEVNULL) as process:
        while not checkpoint.exists():
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    step = torch.load(checkpoint, weights_only=True)["step"]
    told = bench.build("--dry-run").output
    first = (bench.runs / "tiny-first/weights.npz").stat().st_mtime_ns
    result = bench.build()
    assert result.exit_code == 0, result.output
    return bench, step, told, first, result.output, bench.digests()


def test_a_build_does_every_step_in_order_and_leaves_all_it_promises(whole):
    bench, output = whole
    assert list(done(output)) == STEPS
    bundle = Bundle.load(bench.file("student.bundle"))
    assert bundle.tasks == ("expression",)
    spec = bundle.model("expression")
    assert spec.description == "Noise, told apart"
    figures = json.loads(bench.file("results/metrics.json").read_text())["expression"]
    assert set(figures) == {"int8", "fp32"}
    assert spec.metrics["accuracy"] == pytest.approx(figures["int8"]["accuracy"], abs=1e-4)
    assert "target accuracy >= 1.5" in output
    assert "not reached" in output
    assert bundle.artifact(spec.artifact) == bench.file("expression.int8.tflite").read_bytes()
    assert json.loads(bench.file("check.json").read_text())["fully_mapped"]
    assert "tiny-first" in bench.file("report/report.html").read_text()
    assert output.splitlines()[-1].strip() == str(bench.file("report/report.html"))
    assert f"  {bench.file('student.bundle')}" in output.splitlines()
    assert not list(bench.runs.rglob("*.partial"))


def test_what_a_run_was_is_recorded_beside_the_weights(whole):
    bench, _ = whole
    told = json.loads((bench.runs / "tiny/provenance.json").read_text())
    assert told["recipe"] == "tiny.toml"
    assert told["recipe_sha256"] == hashlib.sha256(bench.recipe.read_bytes()).hexdigest()
    assert (told["seed"], told["threads"], told["deterministic"]) == (0, 1, True)
    assert told["not_deterministic"]
    assert torch.__version__.startswith(told["packages"]["torch"].split("+")[0])
    assert {"architecture", "processor", "torch_kernels"} <= set(told["machine"])
    first = (bench.runs / "tiny-first/weights.npz").read_bytes()
    assert told["inputs"]["weights of tiny-first"] == hashlib.sha256(first).hexdigest()


def test_a_second_build_does_nothing(whole):
    bench, _ = whole
    before = bench.times()
    result = bench.build()
    assert result.exit_code == 0
    assert done(result.output) == dict.fromkeys(STEPS, "up to date")
    assert bench.times() == before


def test_a_dry_run_does_nothing_and_says_what_would_change(whole):
    bench, _ = whole
    before, text = bench.times(), bench.recipe.read_text()
    try:
        bench.change("rate = 5e-3", "rate = 4e-3")
        told = planned(bench.build("--dry-run").output)
        assert told["distill tiny-first"] == "up to date"
        assert told["distill tiny"].startswith("schedule.rate 0.005 -> 0.004  (about ")
        assert all(told[f"{name} tiny"].startswith("after ") for name in MADE)
    finally:
        bench.recipe.write_text(text)
    assert bench.times() == before


@pytest.mark.parametrize(
    ("before", "after", "redone"),
    [
        (
            'description = "Noise, told apart"',
            'description = "Snow"',
            {"bundle": 'deploy.description "Noise, told apart" -> "Snow"'},
        ),
        ("calibration = 8", "calibration = 9", {"convert": "deploy.calibration 8 -> 9"}),
        ('labels = "fer8"', "", {"convert": 'deploy.labels "fer8" -> not set'}),
        ("validate_every = 10", "validate_every = 5\nworkers = 2", {}),
        ("accuracy = ", "balanced_accuracy = ", {}),
    ],
)
def test_a_changed_key_asks_for_the_steps_that_depend_on_it(whole, before, after, redone):
    bench, _ = whole
    text = bench.recipe.read_text()
    try:
        bench.change(before, after)
        told = planned(bench.build("--dry-run").output)
    finally:
        bench.recipe.write_text(text)
    asked = {
        name.removesuffix(" tiny"): said.split("  (")[0]
        for name, said in told.items()
        if said.split("  (")[0] != "up to date" and not said.startswith("after")
    }
    assert asked.keys() == redone.keys()
    for name, said in redone.items():
        assert asked[name] == said


def test_only_what_depends_on_a_changed_key_is_done_again(killed):
    """The wording in the bundle changes: the bundle and the page are made anew, and nothing else is."""
    bench, *_ = killed
    before = bench.times()
    bench.change("Noise, told apart", "Noise, tell it apart")
    result = bench.build()
    assert result.exit_code == 0, result.output
    said = done(result.output)
    assert {name for name, what in said.items() if what != "up to date"} == {"bundle tiny", "report tiny"}
    changed = {path for path, when in bench.times().items() if before.get(path) != when}
    allowed = bench.runs / "built/tiny/report", bench.runs / "state"
    assert {p for p in changed if not p.is_relative_to(allowed[0]) and p.parent != allowed[1]} == {
        bench.file("student.bundle")
    }
    assert Bundle.load(bench.file("student.bundle")).model("expression").description == "Noise, tell it apart"


def test_a_killed_build_ends_with_the_files_of_an_undisturbed_one(whole, killed):
    (one, _), (other, step, told, first, output, made) = whole, killed
    assert step < 30
    assert planned(told)["distill tiny-first"] == "up to date"
    assert planned(told)["distill tiny"].startswith("was begun and not finished")
    assert (other.runs / "tiny-first/weights.npz").stat().st_mtime_ns == first
    assert "set aside" not in output
    weights = [(bench.runs / "tiny/weights.npz").read_bytes() for bench in (one, other)]
    assert weights[0] == weights[1]
    rows = [json.loads(line)["step"] for line in (other.runs / "tiny/log.jsonl").read_text().splitlines()]
    assert rows == [10, 20, 30]
    assert made == one.digests()
    assert {"expression.int8.tflite", "expression.int8-u8s8.onnx", "student.bundle"} < made.keys()


@pytest.mark.parametrize("step", ["convert", "parity", "evaluate", "bundle"])
def test_a_build_killed_while_it_makes_a_file_costs_that_step_alone(
    whole, miniature, repository, tmp_path, step
):
    first, _ = whole
    bench = Bench(tmp_path, miniature)
    shutil.copytree(first.runs, bench.runs)
    state = bench.runs / f"state/{step}-tiny.json"
    state.unlink()  # as if it had never been done
    command = [sys.executable, "-c", SLOW, str(miniature.lists), *bench.arguments()]
    environment = os.environ | {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, cwd=bench.root, stdout=subprocess.DEVNULL) as process:
        while not state.exists():
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    told = planned(bench.build("--dry-run").output)
    assert [name for name, said in told.items() if said.startswith("was begun")] == [f"{step} tiny"]
    result = bench.build()
    assert result.exit_code == 0, result.output
    assert [name for name, said in done(result.output).items() if said != "up to date"] == [f"{step} tiny"]
    assert bench.digests() == first.digests()


def test_a_file_that_was_spoiled_is_made_again_and_is_the_same(killed):
    bench, *_ = killed
    path = bench.file("expression.int8.tflite")
    content = path.read_bytes()
    path.write_bytes(content[:100])
    assert planned(bench.build("--dry-run").output)["convert tiny"].startswith(
        "expression.int8.tflite is not what was written"
    )
    result = bench.build()
    assert result.exit_code == 0, result.output
    said = done(result.output)
    redone = [name for name, what in said.items() if what != "up to date"]
    # A draft made after the description changed is another draft; training depends on no file made of it.
    assert redone[0] == "convert tiny", result.output
    assert path.read_bytes() == content


def test_a_gate_that_fails_stops_the_chain_and_is_named(whole):
    bench, _ = whole
    before, text = bench.times(), bench.recipe.read_text()
    try:
        bench.change('figures = { ece = "<= 1" }', 'figures = { accuracy = ">= 1.01" }')
        result = bench.build()
    finally:
        bench.recipe.write_text(text)
    assert result.exit_code == 1
    assert "gates.figures.accuracy" in result.output
    assert "wanted >= 1.01" in result.output
    assert "bundle tiny" not in done(result.output)
    assert bench.times() == before


def test_weights_that_say_something_else_fail_a_gate(whole):
    """The verdict of parity itself: a file that answers otherwise than its network."""
    bench, _ = whole
    path = bench.file("parity.json")
    sound = path.read_bytes()
    state = bench.runs / "state/parity-tiny.json"
    remembered = state.read_bytes()
    found = json.loads(sound)
    found["gates"][0] |= {"value": -3.0, "passed": False}
    try:
        path.write_text(json.dumps(found))
        values = json.loads(remembered)
        values["outputs"]["parity"] = hashlib.sha256(path.read_bytes()).hexdigest()
        state.write_text(json.dumps(values))
        result = bench.build()
    finally:
        path.write_bytes(sound)
        state.write_bytes(remembered)
    assert result.exit_code == 1
    assert "gates.parity: expression litert int8" in result.output


def test_a_split_list_other_than_the_pinned_one_is_refused(whole, tmp_path):
    bench, _ = whole
    text = bench.recipe.read_text()
    try:
        bench.recipe.write_text(text.replace('ferplus = "', 'ferplus = "0'))
        result = bench.build("--dry-run")
    finally:
        bench.recipe.write_text(text)
    assert result.exit_code == 1
    assert "tiny.toml: data.lists.ferplus is '0" in result.output


def test_a_course_by_hand_sets_another_recipes_run_aside(miniature, tmp_path):
    bench = Bench(tmp_path, miniature)
    recipe = bench.recipe.with_name("tiny-first.toml")
    run = tmp_path / "hand"

    def distill():
        with miniature.split():
            return CliRunner().invoke(
                main,
                ["distill", str(recipe), "--data", str(miniature.data), "--run", str(run), "--threads", "1"],
            )

    result = distill()
    assert result.exit_code == 0, result.output
    assert "tiny-first: 10 of 10 steps" in result.output
    first = (run / "weights.npz").read_bytes()
    (run / "weights.npz").unlink()
    assert distill().exit_code == 0
    assert (run / "weights.npz").read_bytes() == first
    recipe.write_text(recipe.read_text().replace("steps = 10", "steps = 10\nseed = 4"))
    result = distill()
    assert "schedule.seed not set -> 4" in result.output
    assert (run / "before/weights.npz").read_bytes() == first
    with np.load(run / "weights.npz") as new, np.load(run / "before/weights.npz") as old:
        assert any(not np.array_equal(new[k], old[k]) for k in new.files)
    assert [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()] == [10]


def test_a_teacher_is_taught_and_a_student_distilled(miniature, tmp_path):
    text = tiny.EXPRESSION
    asking = text.replace("balance = 0.35", "balance = 0.35\nlosses = { soft = 1.0, temperature = 2.0 }")
    recipe = tiny.write(
        tmp_path / "recipes",
        learner=asking.replace('task = "expression"', 'task = "expression"\nteacher = "wise"'),
        wise=tiny.EXPRESSION_TEACHER,
    )
    for command, name in (("teach", "wise"), ("distill", "learner")):
        words = [command, recipe.with_name(f"{name}.toml"), "--run", tmp_path / "runs" / name]
        words += ["--data", miniature.data, "--threads", "1"]
        with miniature.split():
            done = CliRunner().invoke(main, list(map(str, words)))
        assert done.exit_code == 0, done.output
    wise = (tmp_path / "runs/wise/weights.npz").read_bytes()
    told = json.loads((tmp_path / "runs/learner/provenance.json").read_text())
    assert told["inputs"]["weights of wise"] == hashlib.sha256(wise).hexdigest()
    (row,) = map(json.loads, (tmp_path / "runs/learner/log.jsonl").read_text().splitlines())
    assert row["soft"] > 0


def test_teach_and_distill_refuse_each_others_recipes(miniature, repository):
    recipes = repository / "quantization/recipes"
    data = ["--data", str(miniature.data)]
    wrong = CliRunner().invoke(main, ["distill", str(recipes / "parsing-teacher.toml"), *data])
    assert (wrong.exit_code, "use `teach`" in wrong.output) == (2, True)
    wrong = CliRunner().invoke(main, ["teach", str(recipes / "expression.toml"), *data])
    assert (wrong.exit_code, "use `distill`" in wrong.output) == (2, True)


def test_a_course_without_what_it_reads_says_what_is_missing(miniature, tmp_path):
    bench = Bench(tmp_path, miniature)
    with miniature.split():
        result = CliRunner().invoke(
            main,
            ["distill", str(bench.recipe), "--data", str(miniature.data), "--run", str(tmp_path / "tiny")],
        )
    assert result.exit_code == 1
    assert "weights of tiny-first" in result.output


def test_the_help_names_every_command_in_its_group():
    told = CliRunner().invoke(main, ["--help"]).output
    assert set(main.commands) == {
        "split", "teach", "label", "distill", "calibrate", "convert", "check", "parity", "pack", "evaluate",
        "report", "shard", "tables", "teachers", "synthesise", "build", "compare",
        "publish", "mistaken", "robustness",
    }  # fmt: skip
    for name in main.commands:
        assert f"\n  {name} " in told
    order = [
        told.index(title) for title in ("1. Data", "2. Training", "3. Files", "4. Figures", "5. Devices")
    ]
    assert order == sorted(order)
