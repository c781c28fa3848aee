"""Pictures that nobody labelled, labelled by what was trained here, teach a student of every task."""

from __future__ import annotations

import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from edgeface import read_image
from edgeface.labels import FER8
from quantization.__main__ import main
from quantization.datasets import Sample, Terms, open_dataset, write_shard
from quantization.datasets.shards import read_notes
from quantization.panel import Panel
from quantization.recipe import RECIPES
from quantization.tasks import load_task
from quantization.taught import Taught
from quantization.teachers.landmarks import LandmarkTeacher
from quantization.teachers.yunet import TERMS as YUNET
from quantization.training import Schedule, fit, save_weights
from tests.quantization.test_task_shards import NOWHERE, few_threads, recipe_of, toml
from tests.quantization.test_taught import LANDMARKS, still

pytestmark = [pytest.mark.workshop, pytest.mark.data]
__all__ = ["few_threads"]

COUNT = 16
OURS = Terms("our pictures", "ours", True, "this test")
TAUGHT = {
    "detection": "detection",
    "landmarks": "landmarks-tough",
    "parsing": "parsing-teacher",
    "expression": "expression-teacher",
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, repository):
    """A shard of her photo, cut out and lit in many ways, and of one without anybody."""
    photo = read_image(repository / "examples/astronaut.jpg").rgb
    rng = np.random.default_rng(3)
    samples = []
    for i in range(COUNT):
        low = rng.integers(0, 60, 2)
        piece = photo[low[1] : low[1] + 320, 60 + low[0] : 380 + low[0]]
        rgb = np.clip(cv2.resize(piece, (224, 224)) * rng.uniform(0.6, 1.3), 0, 255).astype(np.uint8)
        rgb = rgb[:, ::-1] if i % 2 else rgb
        samples.append(Sample(f"her-{i}", cv2.imencode(".png", rgb[:, :, ::-1])[1].tobytes()))
    samples.append(Sample("nobody", cv2.imencode(".png", np.full((200, 200, 3), 90, np.uint8))[1].tobytes()))
    folder = tmp_path_factory.mktemp("pictures")
    write_shard(folder / "a.tar", samples, OURS)
    return folder


def label(pictures, out, miniature, teachers, *words):
    words = ("label", "--shards", pictures, "--out", out, "--teachers", teachers, *words)
    words += ("--data", miniature.data, "--labels", miniature.labels)
    with miniature.split():
        told = CliRunner().invoke(main, [str(word) for word in words])
    assert told.exit_code == 0, told.output
    return told.output


def recipe_and_weights(task, folder):
    """A recipe and, where none are committed, weights: of points a network that says the mean shape."""
    if task != "landmarks":
        return RECIPES / f"{TAUGHT[task]}.toml", None
    recipe, weights = folder / f"{TAUGHT[task]}.toml", folder / "weights.npz"
    recipe.write_text(LANDMARKS)
    save_weights(still(LandmarkTeacher(64, (8, 8, 8), 24)), weights)
    return recipe, weights


@pytest.mark.parametrize("task", sorted(TAUGHT))
def test_what_was_trained_here_labels_pictures_and_a_student_learns_from_them(
    task, pictures, miniature, teachers, tmp_path
):
    recipe, weights = recipe_and_weights(task, tmp_path)
    words = ("--teacher", recipe, *(("--model", weights) if weights else ()))
    told = label(pictures, tmp_path / "out", miniature, teachers, *words)
    empty = task != "detection"  # a detector says of that picture that there is nobody
    assert f"{COUNT + (not empty)} samples labelled, {int(empty)} without a face, 0 broken" in told
    (shard,) = (tmp_path / "out").glob("*.tar")
    assert read_notes(shard)["teacher"] == TAUGHT[task]
    data = open_dataset("webdataset", shard)
    assert data.terms.title.startswith(f"our pictures; {TAUGHT[task]}, trained here")
    assert (YUNET.title in data.terms.title) == empty
    assert not data.terms.commercial  # nor are the weights' sources
    with miniature.split():
        ask = Taught.of(recipe, miniature.data, miniature.labels, weights).open()
    for sample, rgb in list(data.decoded())[:2]:
        assert not any(
            key.startswith("agreement") for key in sample.attributes
        )  # one view agrees with nobody
        if task == "detection":
            assert sample.boxes.tolist() == ask(rgb).boxes.tolist() != []
            continue
        box = sample.boxes[0]
        if task == "expression":
            assert sample.votes[:8].tolist() == pytest.approx(ask(rgb, box).probabilities.tolist(), abs=0.2)
            assert FER8.names[sample.expression] == "happiness"
        elif task == "landmarks":
            assert sample.points.shape == (68, 2)
            assert np.abs(sample.points - ask(rgb, box).points).max() < box[2] / 4
        else:
            known = sample.mask != 255  # what lies outside of its crop is unknown
            assert (sample.mask == ask(rgb, box).labels)[known].mean() > 0.98
            assert 0.2 < known.mean() < 1
            assert {1, 2, 17} < set(np.unique(sample.mask).tolist())  # skin, nose, hair
    data = {"validation": 0.3, **({"lossy": True} if task == "parsing" else {})}
    student = recipe_of(task, tmp_path / "out", **data)
    student["schedule"] |= {"steps": 12}
    lessons = load_task(student, NOWHERE, NOWHERE)
    batch = lessons.batch(np.random.default_rng(0), 8)
    torch.manual_seed(0)
    start = lessons.network().train()
    before = lessons.loss(start(batch["image"]), batch)[0].item()
    network = fit(lessons, Schedule(**student["schedule"]), tmp_path / "run", threads=1).train()
    assert lessons.loss(network(batch["image"]), batch)[0].item() < before
    # What it learned can teach in its turn, and needs no other data for that.
    (tmp_path / "own.toml").write_text(toml(student))
    own = ("--teacher", tmp_path / "own.toml", "--model", tmp_path / "run/weights.npz")
    nothing = replace(miniature, data=NOWHERE, labels=NOWHERE)
    told = label(pictures, tmp_path / "again", nothing, teachers, *own)
    assert f"{COUNT + (not empty)} samples labelled" in told
    terms = open_dataset("webdataset", tmp_path / "again").terms
    assert terms.title.startswith("our pictures; own, trained here")
    assert f"{TAUGHT[task]}, trained here" in terms.licence  # whose terms go on through its student


def test_several_of_them_and_a_mirror_say_how_far_they_agree(pictures, miniature, teachers, tmp_path):
    names = [RECIPES / "expression-teacher.toml", RECIPES / "expression.toml"]
    words = [word for name in names for word in ("--teacher", name)]
    label(pictures, tmp_path / "out", miniature, teachers, *words, "--mirror")
    (shard,) = (tmp_path / "out").glob("*.tar")
    with miniature.split():
        members = [Taught.of(name, miniature.data, miniature.labels) for name in names]
    panel = Panel.of(members, mirror=True)
    assert read_notes(shard)["teacher"] == panel.name == "expression-teacher + expression, mirrored"
    samples = list(open_dataset("webdataset", shard).decoded())
    assert len(samples) == COUNT
    agreements = [sample.attributes["agreement_expression"] for sample, _ in samples]
    assert 0.5 < min(agreements) <= max(agreements) < 1
    (sample, rgb), ask = samples[0], panel.open()
    said = ask(rgb, sample.boxes[0])
    assert said.answer.label == FER8.names[sample.expression]
    assert agreements[0] == pytest.approx(said.agreement, abs=0.1)
    # What they agree least about need not train; who is held out grades all the same.
    least = float(np.median(agreements))
    lessons, lines = [], []
    for more in ({}, {"agreement": least}):
        recipe = recipe_of("expression", tmp_path / "out", validation=0.3, **more)
        lessons.append(load_task(recipe, NOWHERE, NOWHERE, say=lines.append))
    whole, sure = lessons
    assert len(sure._tuning) == len(whole._tuning)
    assert 0 < len(sure._images) < len(whole._images)
    assert (
        f"{len(whole._images) - len(sure._images)} left out: its teachers agree less than {least:g}" in lines
    )
    again = pickle.loads(pickle.dumps(panel))
    assert (again.name, again.digest) == (panel.name, panel.digest)


def test_detectors_and_parsers_leave_out_what_their_mirror_image_denies(
    pictures, miniature, teachers, tmp_path
):
    found = {}
    for name, task, *mirror in (("one", "parsing"), *((t, t, "--mirror") for t in ("parsing", "detection"))):
        recipe = RECIPES / f"{TAUGHT[task]}.toml"
        label(pictures, tmp_path / name, miniature, teachers, "--teacher", recipe, *mirror)
        found[name] = list(open_dataset("webdataset", tmp_path / name))
    for sample in found["detection"]:
        doubted = sample.attributes.get("invalid", (0,) * len(sample.boxes))
        assert len(doubted) == len(sample.boxes)
        assert (sample.attributes["agreement_detection"] < 1) == any(doubted)
    for alone, sample in zip(found["one"], found["parsing"], strict=True):
        denied = ((sample.mask == 255) & (alone.mask != 255)).mean()
        assert 0 < denied < 0.1
        assert "agreement_parsing" not in alone.attributes
        assert 0.7 < sample.attributes["agreement_parsing"] < 1
