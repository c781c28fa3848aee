from __future__ import annotations

import json
import math
import shutil
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from quantization.__main__ import main
from quantization.compare import Place, compare, paired, table
from quantization.comparison import ComparisonError, load_comparison
from quantization.recipe import RECIPES, RecipeError

pytestmark = pytest.mark.workshop

COMMITTED = sorted((RECIPES.parent / "comparisons").glob("*.toml"))
TINY = """
task = "expression"

[student]
widths = [4, 8, 8, 12]
balance = 0.35

[schedule]
steps = 4000
batch = 8
rate = 5e-3
warmup = 2

[deploy]
description = "Noise, told apart"
calibration = 8
crop = { scale = 1.0, shift = [0.0, 0.0] }
head = {}
"""
TEACHER = """
task = "expression"
role = "teacher"

[student]
widths = [6, 8, 12, 16]
blocks = [2, 1, 1]
balance = 0.0

[schedule]
steps = 4
batch = 8
rate = 5e-3

[deploy]
crop = { scale = 1.0, shift = [0.0, 0.0] }
"""
QUESTION = """
recipe = "tiny.toml"
figure = "accuracy"
better = "higher"
seeds = [0, 1, 4]

[schedule]
steps = 6
validate_every = 3

[base]
student.balance = 0.0

[variants.balance]

[variants.flat]
student.balance = 0.0

[variants.still]
student.balance = 0.0
schedule.rate = 0.0
"""


@pytest.fixture(autouse=True)
def few_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Bench:
    """A folder with a tiny recipe, its teacher's and a comparison, over the drawn data."""

    def __init__(self, root, miniature):
        self.root, self.miniature = root, miniature
        self.path, self.runs = root / "question.toml", root / "runs"
        (root / "tiny.toml").write_text(TINY)
        (root / "tiny-teacher.toml").write_text(TEACHER)
        self.path.write_text(QUESTION)
        self.said = []

    @property
    def place(self):
        return Place(self.miniature.data, self.miniature.labels, self.root, self.runs, 1, self.said.append)

    def compare(self, **changed):
        with self.miniature.split():
            return compare(load_comparison(self.path), replace(self.place, **changed))

    def command(self, name, *arguments):
        places = ["--data", self.miniature.data, "--labels", self.miniature.labels, "--threads", 1]
        with self.miniature.split():
            return CliRunner().invoke(main, [name, *map(str, arguments), *map(str, places)])


@pytest.fixture
def bench(miniature, tmp_path):
    return Bench(tmp_path, miniature)


@pytest.fixture(scope="module")
def answered(miniature, tmp_path_factory):
    """A comparison without a disturbance."""
    made = Bench(tmp_path_factory.mktemp("answered"), miniature)
    return made, made.compare()


# statistics, held to samples worked out by hand


@pytest.mark.parametrize(
    ("base", "variant", "mean", "reach", "verdict"),
    [
        # Differences 0.03, 0.02, 0.04: sd 0.01, t(2) = 4.302653, reach 4.302653 * 0.01 / sqrt(3).
        ([0.70, 0.72, 0.71], [0.73, 0.74, 0.75], 0.03, 0.0248414, "helps"),
        # 0.03, 0.01, 0.05: the same mean, twice the spread.
        ([0.70, 0.72, 0.71], [0.73, 0.73, 0.76], 0.03, 0.0496827, "not shown"),
        # -2, -4: t(1) = 12.706205, sd sqrt(2).
        ([1.0, 2.0], [-1.0, -2.0], -3.0, 12.706205, "not shown"),
        # -1, -2, -3, -2, -2: sd sqrt(0.5), t(4) = 2.776445.
        ([0, 0, 0, 0, 0], [-1, -2, -3, -2, -2], -2.0, 0.877989, "hurts"),
        ([0.5, 0.6, 0.7], [0.5, 0.6, 0.7], 0.0, 0.0, "not shown"),
    ],
)
def test_intervals_are_those_worked_out_by_hand(base, variant, mean, reach, verdict):
    found = paired(base, variant, "higher")
    assert found.mean == pytest.approx(mean)
    assert found.low == pytest.approx(mean - reach, abs=1e-6)
    assert found.high == pytest.approx(mean + reach, abs=1e-6)
    assert found.verdict == verdict
    turned = {"helps": "hurts", "hurts": "helps"}.get(verdict, verdict)
    assert paired(base, variant, "lower").verdict == turned


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=2, max_size=6),
    st.floats(-5, 5),
)
def test_what_all_figures_of_a_seed_share_changes_nothing(pairs, shift):
    """That is what pairing is for: a lucky seed is lucky for both."""
    base, variant = map(list, zip(*pairs, strict=True))
    alone = paired(base, variant, "higher")
    moved = [shift * (k + 1) for k in range(len(pairs))]
    both = paired(np.add(base, moved).tolist(), np.add(variant, moved).tolist(), "higher")
    assert (both.mean, both.low, both.high) == pytest.approx((alone.mean, alone.low, alone.high), abs=1e-9)
    assert alone.low <= alone.mean <= alone.high


@pytest.mark.parametrize(
    ("base", "variant"), [([0.1], [0.2]), ([0.1, 0.2], [0.2]), ([0.1, math.nan], [0.1, 0.2])]
)
def test_what_is_no_sample_of_pairs_is_refused(base, variant):
    with pytest.raises(ComparisonError, match="pairs are needed, two at least, of finite numbers"):
        paired(base, variant, "higher")


# the whole, on a miniature


def test_base_and_variants_train_on_the_same_seeds(answered):
    _, result = answered
    assert [run["seed"] for run in result["base"]["runs"]] == [0, 1, 4]
    for name in ("balance", "flat", "still"):
        entry = result["variants"][name]
        base = [run["figures"]["accuracy"] for run in result["base"]["runs"]]
        own = [run["figures"]["accuracy"] for run in entry["runs"]]
        assert [run["seed"] for run in entry["runs"]] == [0, 1, 4]
        assert entry["differences"] == pytest.approx([b - a for a, b in zip(base, own, strict=True)])
        assert entry["verdict"] == paired(base, own, "higher").verdict
    assert result["variants"]["balance"]["inputs"]["student.balance"] == 0.35
    assert result["base"]["inputs"]["student.balance"] == 0.0
    assert result["base"]["inputs"]["schedule.steps"] == 6
    assert "2 degrees of freedom" in result["interval"]
    digests = {result[key] for key in ("comparison_sha256", "recipe_sha256")}
    digests |= {entry["settings_sha256"] for entry in result["variants"].values()}
    assert all(len(digest) == 64 for digest in digests)
    assert result["packages"]["torch"] == torch.__version__
    assert len(result["machines"]) == 1


def test_a_variant_that_changes_nothing_is_no_second_training(answered):
    bench, result = answered
    assert result["variants"]["flat"]["differences"] == [0.0, 0.0, 0.0]
    assert result["variants"]["flat"]["verdict"] == "not shown"
    assert len(list(bench.runs.iterdir())) == 3 * 3  # base, balance, still


def test_a_run_is_what_the_recipe_alone_would_have_trained(answered, tmp_path):
    bench, _ = answered
    text = TINY.replace("0.35", "0.0").replace("steps = 4000", "steps = 6\nseed = 4")
    (tmp_path / "alone.toml").write_text(text)
    done = bench.command("distill", tmp_path / "alone.toml", "--run", tmp_path / "run")
    assert done.exit_code == 0, done.output
    alone = (tmp_path / "run/weights.npz").read_bytes()
    same = [run.name for run in bench.runs.iterdir() if (run / "weights.npz").read_bytes() == alone]
    assert len(same) == 1
    assert same[0].endswith("-4")


def test_finished_runs_are_not_repeated(answered):
    bench, result = answered
    before = {p: p.stat().st_mtime_ns for p in bench.runs.rglob("*")}
    bench.said.clear()
    again = bench.compare()
    assert {p: p.stat().st_mtime_ns for p in bench.runs.rglob("*")} == before
    assert len([line for line in bench.said if "finished before" in line]) == 12
    assert json.dumps(again) == json.dumps(result)


def test_a_comparison_that_was_cut_off_goes_on(answered, bench):
    seen = []

    class CutOff(Exception):
        pass

    @contextmanager
    def watch(name, steps):
        assert (name, steps) == ("question", 9 * 6)

        def report(done, row):
            seen.append(done)
            if done == 10:  # in the second run, after its first checkpoint
                raise CutOff

        yield report

    with pytest.raises(CutOff):
        bench.compare(watch=watch)
    assert seen == [0, 1, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10]
    first = next(run for run in bench.runs.iterdir() if (run / "compared.json").exists())
    stamp = (first / "weights.npz").stat().st_mtime_ns
    result = bench.compare()
    assert (first / "weights.npz").stat().st_mtime_ns == stamp
    assert not list(bench.runs.rglob("before"))
    _, undisturbed = answered
    for name, entry in result["variants"].items():
        assert entry["differences"] == undisturbed["variants"][name]["differences"]


def test_the_command_writes_json_and_prints_a_table(answered, tmp_path):
    bench, result = answered
    out = tmp_path / "found.json"
    done = bench.command("compare", bench.path, "--runs", bench.runs, "--out", out)
    assert done.exit_code == 0, done.output
    assert json.loads(out.read_text()) == json.loads(json.dumps(result))
    assert table(result) in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows] == ["variant", "balance", "flat", "still"]
    assert rows[2].endswith("| +0.0000 | +0.0000 to +0.0000 | not shown |")


def test_all_are_validated_by_one_recipe_where_one_is_named(answered, bench):
    """What a run is trained by stays; what it is validated by is the comparison's."""
    done, result = answered
    shutil.copytree(done.runs, bench.runs)
    bench.path.write_text(QUESTION + "\n[validation]\nstudent.balance = 1.0\n")
    found = bench.compare()
    assert len([line for line in bench.said if "run 9 of 9" in line]) == 1  # validated, not trained:
    for run in bench.runs.iterdir():
        assert (run / "weights.npz").read_bytes() == (done.runs / run.name / "weights.npz").read_bytes()
    assert found["validation"]["student.balance"] == 1.0
    assert result["validation"] is None
    # Nothing of this task's validation hangs on the key, so only the weights' rounding differs.
    for name, variant in found["variants"].items():
        before = result["variants"][name]["runs"]
        for run, old in zip(variant["runs"], before, strict=True):
            assert run["figures"]["temperature"] == pytest.approx(old["figures"]["temperature"], abs=0.05)
    bench.said.clear()
    bench.compare()
    assert len([line for line in bench.said if "finished before" in line]) == 12
    bench.path.write_text(QUESTION)
    assert bench.compare()["variants"] == result["variants"]


# teachers


ASKED = """
[variants.soft]
teacher = "tiny-teacher"
student.losses = { soft = 2.0, temperature = 2.0 }

[variants.decoupled]
teacher = ["tiny-teacher"]
student.losses = { decoupled = 1.0 }
"""


def test_a_teacher_that_was_not_taught_is_named_with_what_to_run(bench):
    bench.path.write_text(QUESTION.partition("[base]")[0] + ASKED)
    with pytest.raises(
        RecipeError, match=r"weights of tiny-teacher, .*run first: `teach .*tiny-teacher\.toml`"
    ):
        bench.compare()
    assert not bench.runs.exists()  # said before the base trains in vain


def test_students_are_asked_beside_their_teacher(bench):
    bench.path.write_text(QUESTION.partition("[base]")[0].replace("[0, 1, 4]", "[0, 1]") + ASKED)
    run = bench.runs / "tiny-teacher"
    done = bench.command("teach", bench.root / "tiny-teacher.toml", "--run", run)
    assert done.exit_code == 0, done.output
    result = bench.compare()
    weights = {path.read_bytes() for path in bench.runs.glob("compare-*/weights.npz")}
    assert len(weights) == 3 * 2  # what the teacher says changes what is learnt, and each loss in its way
    inputs = result["variants"]["soft"]["inputs"]
    assert len(inputs["weights of tiny-teacher"]) == 64
    assert "weights of tiny-teacher" not in result["base"]["inputs"]
    logs = [json.loads(log.read_text().splitlines()[-1]) for log in bench.runs.glob("compare-*/log.jsonl")]
    assert sum("soft" in row for row in logs) == sum("decoupled" in row for row in logs) == 2
    assert all(row.get("soft", 1.0) > 0 for row in logs)
    # Another teacher is another training, in the same folder: the earlier one is set aside.
    path = bench.root / "tiny-teacher.toml"
    path.write_text(TEACHER.replace("steps = 4", "steps = 5"))
    assert bench.command("teach", path, "--run", run).exit_code == 0
    bench.said.clear()
    bench.compare()
    assert len([line for line in bench.said if "weights of tiny-teacher changed" in line]) == 4


def test_committed_weights_stand_in_for_a_run(bench, tmp_path, monkeypatch):
    from quantization.courses import Course

    bench.path.write_text(QUESTION.partition("[base]")[0] + ASKED)
    committed = tmp_path / "weights"
    committed.mkdir()
    (committed / "tiny-teacher.npz").write_bytes(b"anything")
    recipe = load_comparison(bench.path).recipes["soft"]
    course = Course(bench.root / "tiny.toml", recipe, bench.root, bench.root, bench.root, bench.runs / "tiny")
    assert course.reads()["weights of tiny-teacher"] == bench.runs / "tiny-teacher/weights.npz"
    course = replace(course, committed=committed)
    assert course.reads()["weights of tiny-teacher"] == committed / "tiny-teacher.npz"
    (bench.runs / "tiny-teacher").mkdir(parents=True)
    (bench.runs / "tiny-teacher/weights.npz").write_bytes(b"the run's go first")
    assert course.reads()["weights of tiny-teacher"] == bench.runs / "tiny-teacher/weights.npz"


def test_a_build_teaches_the_teacher_first(bench):
    asking = TINY.replace("balance = 0.35", "balance = 0.35\nlosses = { soft = 1.0 }")
    (bench.root / "tiny.toml").write_text('teacher = "tiny-teacher"' + asking)
    arguments = ["--runs", bench.runs, "--teachers", bench.root, "--dry-run"]
    done = bench.command("build", bench.root / "tiny.toml", *arguments)
    assert done.exit_code == 0, done.output
    first, second, *_ = done.output.splitlines()
    assert first.startswith("teach tiny-teacher ")
    assert second.startswith("distill tiny ")
    assert "after teach tiny-teacher" in second


# files


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('figure = "accuracy"', "", "figure: write a text"),
        ('better = "higher"', 'better = "more"', "better is 'more'; write one of higher, lower"),
        ("seeds = [0, 1, 4]", "seeds = [0, 0]", r"seeds is \[0, 0\]; write two at least, each once"),
        ("seeds = [0, 1, 4]", "seeds = [0]", r"seeds is \[0\]; write two at least, each once"),
        ("seeds", "seed", "seed: no such key; did you mean seeds"),
        ("[variants.balance]", "[variants.base]", "variants: write one at least, each with a name other"),
        ("schedule.rate = 0.0", "schedule.seed = 7", "still: schedule.seed: the pairs share their seeds"),
        ("steps = 6", "seed = 6", "base: schedule.seed: the pairs share their seeds"),
        ("schedule.rate = 0.0", "student.balanse = 1", "still: student.balanse: no such key; did you"),
        ("schedule.rate = 0.0", "student.losses.soft = 1", "still: teacher is missing beside student.losses"),
        ('"tiny.toml"', '"tiny"', r"recipes/tiny\.toml: not readable"),
        ("seeds =", "seeds = =", "no TOML"),
    ],
)
def test_what_may_not_stand_in_a_comparison_is_named(bench, before, after, told):
    assert before in QUESTION
    bench.path.write_text(QUESTION.replace(before, after, 1))
    with pytest.raises(ComparisonError, match=rf"question\.toml: .*{told}"):
        load_comparison(bench.path)


def test_a_figure_that_no_training_tells_is_named_after_one_run(bench):
    bench.path.write_text(QUESTION.replace('"accuracy"', '"acuracy"'))
    with pytest.raises(ComparisonError, match="'acuracy'; write one of accuracy, balanced, temperature"):
        bench.compare()
    assert len(list(bench.runs.iterdir())) == 1


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_every_committed_comparison_is_sound(path):
    """Its recipes are, and each variant is another one than the base, trained as long."""
    comparison = load_comparison(path)
    assert len(comparison.seeds) == 3
    base, *variants = comparison.recipes.values()
    assert all(recipe != base for recipe in variants)
    assert all(recipe["schedule"] == base["schedule"] for recipe in variants)


def test_there_are_committed_comparisons():
    assert len(COMMITTED) >= 8
