from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from edgeface import read_image
from quantization.courses import COPIED, Course
from quantization.recipe import RECIPES, load_recipe
from quantization.students.detection import STRIDES, DetectionNet
from quantization.tasks import load_task
from quantization.tasks.seen import seen_in
from quantization.teachers.yunet import YuNet, YuNetFeatures
from quantization.training import load_weights

pytestmark = [pytest.mark.workshop, pytest.mark.data]


@pytest.fixture(scope="module")
def astronaut(repository):
    rgb = read_image(repository / "examples/astronaut.jpg").rgb
    return cv2.resize(rgb, (320, 320), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def yunet(teachers):
    return YuNetFeatures(teachers / COPIED)


@pytest.fixture
def recipe(tmp_path):
    """A small student that copies YuNet's features."""
    text = (RECIPES / "detection-first.toml").read_text()
    head, rest = text.split("[schedule]")
    small = {
        "widths": "widths = [4, 8, 12, 16, 16]",
        "neck": "neck = 16",
        "scenes": "scenes = { photo = 0.4, mosaic = 0.1, pasted = 0.4 }\nlosses = { yunet = 2.0 }",
    }
    found = [small.get(line.partition(" =")[0], line) for line in head.splitlines()]
    schedule = "[schedule]\nsteps = 30\nbatch = 4\nrate = 4.0e-3\nwarmup = 1\nvalidate_every = 15\n\n"
    path = tmp_path / "student.toml"
    path.write_text("\n".join(found) + schedule + rest[rest.index("[deploy]") :])
    return path


def test_the_score_beside_the_features_is_the_detectors_own(astronaut, yunet, teachers):
    found = yunet.look(astronaut)
    for stride, (features, score) in zip(STRIDES, found, strict=True):
        assert features.shape == (64, 320 // stride, 320 // stride)
        assert score.shape == (320 // stride, 320 // stride)
    best = YuNet(teachers / COPIED).detect(astronaut).scores.max()
    assert max(float(score.max()) for _, score in found) == pytest.approx(best, abs=1e-5)


def test_a_lower_picture_has_fewer_rows_and_the_same_face(astronaut, yunet):
    whole, cut = yunet.look(astronaut), yunet.look(astronaut[:256])
    for stride, (one, _), (two, score) in zip(STRIDES, whole, cut, strict=True):
        assert two.shape == (64, 256 // stride, 320 // stride)
        assert score.shape == two.shape[1:]
        far = 96 // stride  # from the cut, which a cell that far hardly sees
        assert two[:, :far] == pytest.approx(one[:, :far], abs=0.05)


def test_another_network_is_no_yunet(teachers):
    with pytest.raises(ValueError, match="no head of YuNet ends in cls_8"):
        YuNetFeatures(teachers / "ultralight_version-RFB-320.onnx")


def test_a_student_comes_nearer_to_the_features_and_keeps_none_of_the_projections(
    recipe, miniature, teachers, tmp_path
):
    with miniature.split():
        course = Course.of(recipe, miniature.data, miniature.labels, teachers, tmp_path / "runs/student")
        assert course.reads()["YuNet's features"] == teachers / COPIED
        course.train(1)
        said = seen_in([load_recipe(recipe)])
    assert "what its heads read" in said.teachers["yunet"]
    rows = [line.split('"yunet": ')[1] for line in (course.run / "log.jsonl").read_text().splitlines()]
    first, last = (float(row.partition(",")[0]) for row in rows)
    assert last < 0.9 * first
    student = load_recipe(recipe)["student"]
    network = DetectionNet(student["widths"], student["blocks"], student["neck"])
    load_weights(network, course.weights)


def test_the_loss_weighs_what_yunet_takes_for_a_face(recipe, miniature, teachers):
    with miniature.split():
        task = load_task(load_recipe(recipe), miniature.data, miniature.labels, teachers)
        plain = load_task(load_recipe(recipe), miniature.data, miniature.labels)
    batch = task.batch(np.random.default_rng(0), 2)
    torch.manual_seed(1)
    network = task.network()
    with torch.no_grad():
        outputs = network.train()(batch["image"])
        assert len(network.eval()(batch["image"])) == 9
    assert len(outputs) == 12
    total, terms = task.loss(outputs, batch)
    without, _ = plain.loss(outputs[:9], batch)
    wanted = 0.0
    for k, stride in enumerate(STRIDES):
        squared = (outputs[9 + k] - batch[f"yunet_{stride}"]).square().mean(1)
        counts = batch[f"counts_{stride}"]
        wanted += float((squared * counts).sum() / counts.sum())
    assert terms["yunet"] == pytest.approx(wanted, rel=1e-4)
    assert float(total) == pytest.approx(float(without) + 2 * wanted, rel=1e-4)
    exact = [batch[f"yunet_{stride}"] for stride in STRIDES]
    assert task.loss((*outputs[:9], *exact), batch)[1]["yunet"] == 0
