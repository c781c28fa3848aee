from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from edgeface import BBox, Bundle, FaceAnalyzer, read_image
from edgeface.edgetpu_compiler import ON_CPU
from edgeface.labels import lay_over
from quantization.build import _fitted, build, load_networks, network_of
from quantization.convert import ExportError
from quantization.courses import WEIGHTS
from quantization.pack import student_of
from quantization.reference import TorchBackend
from quantization.splits import read_split
from quantization.tasks import RECIPES, TASKS, load_recipe
from quantization.tasks.seen import seen, stages
from quantization.terms import TermsError
from quantization.training import save_weights

pytestmark = pytest.mark.workshop

SMALLER = {
    "expression": [(r"widths = \[.*\]", "widths = [4, 8, 8, 12]")],
    "landmarks": [
        (r"widths = \[.*\]", "widths = [4, 8, 8, 12, 12]"),
        ("code = 256", "code = 24"),
        # Random weights give presence hardly any range of its own; what is kept of it says nothing here.
        ("calibration = 400", "calibration = 400\nmin_sqnr_db = 3.0"),
    ],
}


def lively(network):
    """Random weights with statistics as after training: every output says something."""
    torch.manual_seed(7)
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.8, 1.2)
        nn.init.uniform_(norm.bias, -0.1, 0.3)
        norm.momentum = None
    first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    side = {1: 48, 3: 112}[first.in_channels]
    coarse = torch.rand(24, first.in_channels, 7, 7) * 2 - 1
    with torch.no_grad():
        network.train()(nn.functional.interpolate(coarse, size=(side, side), mode="bilinear"))
    if hasattr(network, "points"):
        nn.init.normal_(network.points.weight, std=0.02)
    return network.eval()


@pytest.fixture(scope="module")
def built(miniature, tmp_path_factory):
    """Two students in miniature, from recipe to bundle; the bundle and the folder of the float weights."""
    root = tmp_path_factory.mktemp("built")
    torch.manual_seed(11)
    recipes = []
    for task, changes in SMALLER.items():
        text = (RECIPES / f"{task}.toml").read_text()
        for a, b in changes:
            assert re.search(a, text)
            text = re.sub(a, b, text)
        (root / f"{task}.toml").write_text(text)
        recipes.append(root / f"{task}.toml")
        save_weights(lively(network_of(load_recipe(recipes[-1]))), root / f"{task}.npz")
    figures = {"expression": {"int8": {"accuracy": 0.81234, "ece": 0.02}, "fp32": {"accuracy": 0.82}}}
    (root / "metrics.json").write_text(json.dumps(figures))
    bright = {"subgroups": {"brightness": {"dark": {"count": 12, "accuracy": 0.75}}}}
    (root / "curves.json").write_text(json.dumps({"expression": {"int8": bright}}))
    with miniature.split():
        content = build(recipes, miniature.data, miniature.labels, root, root / "metrics.json")
    return Bundle.from_bytes(content), root


def test_the_bundle_says_what_the_recipes_and_the_training_say(built):
    bundle, _ = built
    assert set(bundle.tasks) == {"expression", "landmarks"}
    for task in bundle.tasks:
        recipe, spec = load_recipe(RECIPES / f"{task}.toml"), bundle.model(task)
        assert spec.crop.scale == recipe["deploy"]["crop"]["scale"]
        assert spec.crop.align_above == recipe["deploy"]["crop"]["align_above"]
        assert spec.licence == seen(RECIPES / f"{task}.toml").terms.licence
        assert spec.licence.startswith("research only")
        assert spec.labels == recipe["deploy"]["labels"]
        assert (spec.input.scale, spec.input.zero_point, spec.input.mean) == (1 / 128, 0, 128)
        assert "{" not in bundle.card(task)
    assert 0.3 <= bundle.model("expression").head["temperature"] <= 2.5
    assert np.array(bundle.model("landmarks").head["mean_shape"]).shape == (68, 2)
    assert dict(bundle.model("expression").metrics) == {"accuracy": 0.8123, "ece": 0.02, ON_CPU: 0}
    assert dict(bundle.model("landmarks").metrics) == {ON_CPU: 0}
    card = bundle.card("expression")
    assert re.search(r"\| accuracy +\| 81.23 % \| 82.00 % \|", card)
    assert re.search(r"\| calibration error, 15 bins +\| 2.00 % +\| - +\|", card)
    assert re.search(r"\| brightness dark +\| 12 +\| 75.00 % \| - +\|", card)
    assert "Not graded yet" in bundle.card("landmarks")
    assert bundle.licence == "weights: research only, see each model's card; code: Apache-2.0"


def test_with_onnx_each_student_is_there_in_the_form_that_tensorrt_takes(built, miniature, repository):
    from edgeface.backends.onnx import OnnxBackend
    from quantization.onnx_graph import check_tensorrt

    plain, root = built
    with miniature.split():
        content = build(
            [root / "expression.toml"],
            miniature.data,
            miniature.labels,
            root,
            root / "metrics.json",
            with_onnx=True,
        )
    bundle = Bundle.from_bytes(content)
    spec, before = bundle.model("expression"), plain.model("expression")
    assert spec.variants == {"onnx": "expression.int8.onnx"}
    assert before.variants == {}
    assert spec == replace(before, variants=spec.variants)
    assert bundle.artifact(spec.artifact) == plain.artifact(before.artifact)
    assert check_tensorrt(bundle.artifact("expression.int8.onnx")) == ()
    assert student_of(bundle, "expression").manifest()["variants"] == spec.variants
    photo = read_image(repository / "examples/astronaut.jpg")
    boxes = [BBox(170, 50, 100, 120), BBox(20, 200, 80, 80)]
    said = []
    for backend in ("litert", OnnxBackend()):
        with FaceAnalyzer(["expression"], bundle=bundle, backend=backend) as analyzer:
            result = analyzer.analyze(photo, boxes)
            assert result.ran["expression"].precision == "int8"
            said.append([face.expression.scores for face in result.faces])
    for one, other in zip(*said, strict=True):
        assert max(abs(one[name] - other[name]) for name in one) < 0.1


def test_the_card_names_the_files_it_is_about(built):
    bundle, root = built
    digests = {artifact.name: artifact.sha256 for artifact in bundle.artifacts}
    for task in bundle.tasks:
        card = bundle.card(task)
        assert digests[bundle.model(task).artifact] in card
        for path in (root / f"{task}.npz", root / f"{task}.toml"):
            assert hashlib.sha256(path.read_bytes()).hexdigest() in card
        assert len(card.encode()) < 6000
    before, _ = stages(RECIPES / "landmarks.toml")[-2:]
    assert hashlib.sha256(before.read_bytes()).hexdigest() in bundle.card("landmarks")  # it went on from it


def test_no_picture_of_a_data_set_is_named_in_a_card(built, miniature):
    bundle, _ = built
    with miniature.split():
        names = [item.name for path in miniature.lists.glob("*.csv") for item in read_split(path.stem)]
    assert len(names) > 20
    for task in bundle.tasks:
        assert [n for n in names if Path(n).name.partition(".")[0] in bundle.card(task)] == []


def test_a_recipe_that_claims_commercial_use_is_not_packed(miniature, tmp_path):
    text = (RECIPES / "expression.toml").read_text()
    claimed = re.sub(r"(?m)^licence = .*$", 'licence = "Apache-2.0, commercial use allowed"', text)
    assert claimed != text
    (tmp_path / "expression.toml").write_text(claimed)
    refused = r"expression\.toml: deploy\.licence: claims .*FER\+ .*research only.*leave the claim out"
    with miniature.split(), pytest.raises(TermsError, match=refused):
        build(
            [tmp_path / "expression.toml"], miniature.data, miniature.labels, tmp_path, tmp_path / "no.json"
        )


def test_the_float_network_and_its_int8_file_say_the_same(built, repository):
    """Through the public API: the same crops, the same decoding, only quantisation noise between."""
    bundle, root = built
    networks = {}
    for task in bundle.tasks:
        network = network_of(load_recipe(root / f"{task}.toml"))
        with np.load(root / f"{task}.npz") as arrays:
            network.load_state_dict(
                {k: torch.from_numpy(arrays[k].astype(np.float32)) for k in arrays.files}, strict=False
            )
        networks[task] = network.deployed() if task == "expression" else network
    photo = read_image(repository / "examples/astronaut.jpg")
    boxes = [BBox(170, 50, 100, 120), BBox(20, 200, 80, 80), BBox(300, 20, 60, 90), BBox(200, 300, 150, 150)]
    tasks = ("landmarks", "expression")
    with (
        FaceAnalyzer(tasks, bundle=bundle) as int8,
        FaceAnalyzer(tasks, bundle=bundle, backend=TorchBackend(networks)) as fp32,
    ):
        stored, exact = int8.analyze(photo, boxes), fp32.analyze(photo, boxes)
    assert (stored.backend, exact.backend) == ("litert", "torch")
    noise, signal = [], []
    mean = np.array(bundle.model("landmarks").head["mean_shape"])
    crop = bundle.model("landmarks").crop
    for a, b in zip(stored.faces, exact.faces, strict=True):
        assert a.bbox == b.bbox
        side = a.bbox.side
        middle = np.array(a.bbox.center) + np.array(crop.shift) * side
        noise.append((a.landmarks.points - b.landmarks.points) / side)
        signal.append((b.landmarks.points - middle) / side - (mean - 0.5) * crop.scale)
        assert np.abs(a.landmarks.visibility - b.landmarks.visibility).max() < 0.1
        assert abs(a.landmarks.presence - b.landmarks.presence) < 0.1
        assert max(abs(a.expression.scores[k] - v) for k, v in b.expression.scores.items()) < 0.1
    assert 0 < np.square(noise).mean() < 0.1 * np.square(signal).mean()  # 10 dB, as an export asks for


def test_a_float_parser_keeps_its_labels_and_its_borders(repository):
    """One byte a class says both: the labels exactly, where borders lie between pixels nearly."""
    spec, networks = Bundle.builtin().model("parsing"), load_networks(WEIGHTS, ["parsing"])
    portrait = read_image(repository / "examples/astronaut.jpg").rgb[:230, 110:340]
    photo = cv2.resize(portrait, spec.input.shape[2:0:-1])
    image = (photo.astype(np.int16) - 128).astype(np.int8)[np.newaxis]
    stored = TorchBackend(networks).open(spec, b"", 1).run({spec.input.name: image})["logits"][0]
    with torch.no_grad():
        logits = networks["parsing"](torch.from_numpy(image.astype(np.float32) / 128).permute(0, 3, 1, 2))[0]
    exact = logits[0].permute(1, 2, 0).numpy()
    labels = exact.argmax(axis=2).astype(np.uint8)
    assert len(np.unique(labels)) > 10
    np.testing.assert_array_equal(stored.argmax(axis=2), labels)
    drawn, wanted, voted = (
        lay_over(labels, (0, 0, 400, 400), (400, 400), weighed) for weighed in (stored, exact, None)
    )
    assert (drawn != wanted).mean() < 0.1 * (voted != wanted).mean()


def test_weights_become_networks_as_they_are_deployed(tmp_path):
    for task in TASKS:
        torch.manual_seed(1)
        save_weights(network_of(load_recipe(RECIPES / f"{task}.toml")), tmp_path / f"{task}.npz")
    networks = load_networks(tmp_path, TASKS)
    assert set(networks) == set(TASKS)
    for network in networks.values():
        assert not network.training
        first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
        assert first.weight.shape[1] == 3  # the expression net, too, takes colours now


def test_a_figure_that_nothing_could_be_measured_on_is_left_out(built, miniature):
    _, root = built
    figures = {"accuracy": 0.5, "balanced_accuracy": float("nan"), "ece": float("inf"), "images": 4}
    (root / "hollow.json").write_text(json.dumps({"expression": {"int8": figures}}))
    with miniature.split():
        content = build(
            [root / "expression.toml"], miniature.data, miniature.labels, root, root / "hollow.json"
        )
    bundle = Bundle.from_bytes(content)
    assert dict(bundle.model("expression").metrics) == {"accuracy": 0.5, ON_CPU: 0}
    assert re.search(r"\| accuracy, mean over classes +\| - +\|", bundle.card("expression"))


def test_what_training_could_not_find_for_a_head_is_named():
    class Diverged:
        mean_shape = np.full((68, 2), 0.5)

        def annotation_offset(self, network):
            return np.where(np.arange(68)[:, None] == 3, np.nan, 0.0)

        def validate(self, network):
            return {"temperature": float("nan")}

    for task, key in (("landmarks", "mean_shape"), ("expression", "temperature")):
        with pytest.raises(ExportError, match=rf"{task}: head\.{key} is no number: .*lower schedule\.rate"):
            _fitted(task, Diverged(), nn.Identity())
    assert _fitted("parsing", Diverged(), nn.Identity()) == {}


def test_whoever_packs_sees_how_long_it_will_take(built, miniature, capsys):
    _, root = built
    with miniature.split():
        build(
            [root / "expression.toml"],
            miniature.data,
            miniature.labels,
            root,
            root / "metrics.json",
            with_onnx=True,
        )
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "expression: calibration crops",
        "expression: ranges of the int8 file",
        "expression: ONNX file",
    ]
