"""What a build would stop at is told before anything is done: in a dry run, and in a real one."""

from __future__ import annotations

import importlib.util
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from quantization import missing
from quantization.__main__ import main
from quantization.chain import Step, plan
from quantization.datasets import UNSTATED
from quantization.datasets.sample import Sample
from quantization.datasets.shards import write_shard
from quantization.schema import LABELLED
from tests.quantization import tiny

pytestmark = pytest.mark.workshop

SHARDS = """
[data]
shards = ["labelled"]
validation = 0.2
"""


class Place:
    """Somebody's folder with the drawn data sets, from which a test takes something away."""

    def __init__(self, miniature, root):
        self.lists, self.root = miniature, root
        self.data, self.labels = root / "data", root / "labels"
        shutil.copytree(miniature.data, self.data)
        shutil.copytree(miniature.labels, self.labels)

    def build(self, text, *more):
        """Exit code, the plan, and what was said to be missing, a line each."""
        recipe = tiny.write(self.root / "recipes", mine=text, parsing_teacher=tiny.PARSING_TEACHER)
        words = ["build", recipe, "--data", self.data, "--labels", self.labels, "--runs", self.root / "runs"]
        words += ["--teachers", self.root / "networks", *more]
        with self.lists.split():
            result = CliRunner().invoke(main, [str(word) for word in words])
        told = [line.removeprefix("  ") for line in result.stderr.splitlines() if line.startswith("  ")]
        return result.exit_code, result.stdout, told

    def dry(self, text, *more):
        return self.build(text, "--dry-run", *more)


@pytest.fixture
def place(miniature, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Place(miniature, tmp_path)


@pytest.mark.parametrize("task", ["EXPRESSION", "LANDMARKS"])
def test_nothing_is_missing_where_everything_is(place, task):
    code, said, told = place.dry(getattr(tiny, task))
    assert (code, told) == (0, [])
    assert "steps to do" in said


def test_all_that_is_missing_is_told_beside_the_plan_and_nothing_is_done(place):
    shutil.rmtree(place.labels)
    shutil.rmtree(place.data / "parsing/celeba_hq_unlabelled")
    code, said, told = place.dry(tiny.PARSING)
    assert code == 1
    assert "distill mine" in said
    assert "steps to do" in said
    folder = place.root / "networks"
    assert [line.split(":")[0] for line in told] == [
        *["label lfpw"] * 4,
        "label celeba_hq",
        "teach parsing-teacher",
    ]
    assert f"yunet_n_640_640.onnx, {folder}/yunet_n_640_640.onnx: not there; put it there, or" in told[0]
    assert "the pictures of celeba_hq" in told[4]
    assert "--data" in told[4]
    assert "encoder" in told[5]
    assert "--teachers" in told[5]
    assert place.build(tiny.PARSING)[2] == told
    assert not (place.root / "runs").exists()


def test_a_missing_folder_of_data_sets_is_told_once(place):
    shutil.rmtree(place.data)
    code, _, told = place.dry(tiny.LANDMARKS)
    assert code == 1
    assert told == [
        f"distill mine: the folder of data sets, {place.data}: not there; say where it is: --data"
    ]


def test_of_the_sets_of_landmarks_those_without_a_share_are_not_wanted(place):
    for folder in ("parsing/celeba_hq_unlabelled", "landmarks/youtube_faces_68"):
        shutil.rmtree(place.data / folder)
    (place.data / "face3d/ict_face_model_light.npz").unlink()
    _, _, told = place.dry(tiny.LANDMARKS)
    assert ["youtube_faces" in told[0], "3D face" in told[1], len(told)] == [True, True, 2]


def test_shards_are_asked_for_and_must_have_a_label_of_the_task(place):
    text = tiny.EXPRESSION + SHARDS
    code, _, told = place.dry(text)
    assert code == 1
    assert told == ["distill mine: shards labelled: not there; " + missing.mend("shards labelled")]
    (place.root / "labelled").mkdir()
    assert "no .tar in it" in place.dry(text)[2][0]
    bare = Sample("a", np.zeros((8, 8, 3), np.uint8))
    write_shard(place.root / "labelled/1.tar", [bare], UNSTATED)
    (line,) = place.dry(text)[2]
    assert "labelled: no sample has a label of expression; let a teacher of expression label them" in line
    write_shard(
        place.root / "labelled/2.tar",
        [bare, Sample("b", np.zeros((8, 8, 3), np.uint8), expression=1)],
        UNSTATED,
    )
    assert place.dry(text)[::2] == (0, [])


def test_a_claim_that_pack_would_refuse_is_refused_before_the_training(place):
    claim = ('labels = "fer8"', 'labels = "fer8"\nlicence = "MIT, commercial use allowed"')
    code, _, told = place.dry(tiny.EXPRESSION.replace(*claim))
    assert code == 1
    assert [line for line in told if "convert mine" in line and "claims the licence" in line] == told


def test_a_package_that_is_not_installed_is_named_with_how_to_get_it(place, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(
        missing, "find_spec", lambda name: None if name in {"litert_torch", "onnx"} else there(name)
    )
    code, _, told = place.dry(tiny.EXPRESSION)
    assert code == 1
    pip = 'not installed; `pip install ".[workshop]"` in a checkout'
    assert told == [f"convert mine: the packages litert-torch, onnx: {pip}"]


def test_a_gpu_that_is_not_there_is_missing(place, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    code, _, told = place.dry(tiny.EXPRESSION, "--device", "cuda")
    assert code == 1
    assert "torch sees 0 GPUs" in told[0]


@pytest.mark.parametrize("name", LABELLED)
def test_the_pictures_of_every_set_are_looked_for_where_labels_are_made_of_them(miniature, tmp_path, name):
    assert list(missing.of_set(name, miniature.data)) == []
    (told,) = missing.of_set(name, tmp_path)
    assert f"the pictures of {name}, {tmp_path}" in told


def test_only_steps_that_are_to_be_done_want_something(tmp_path):
    def step(name, source, needs=tuple):
        reads = {source: tmp_path / source}
        return Step(
            name, {}, reads, {name: tmp_path / name}, lambda: None, needs=needs, mend=lambda _: "buy it"
        )

    steps = [step("dough", "flour"), step("bread", "dough", lambda: ["an oven"]), step("cup", "tea")]
    planned = {one.step.name: one.missing for one in plan(steps, tmp_path / "state")}
    assert planned == {
        "dough": (f"flour, {tmp_path}/flour: not there; buy it",),
        "bread": ("an oven",),
        "cup": (f"tea, {tmp_path}/tea: not there; buy it",),
    }
