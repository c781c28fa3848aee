"""Fake quantisation is the file's own, and a course of it mends what rounding broke."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from quantization.calibrate import INPUT_SCALE, to_int8_tflite
from quantization.canonical import read_model
from quantization.convert import ExportError, to_float_tflite
from quantization.qat import Quantised, Range
from quantization.recipe import RECIPES, RecipeError, load_recipe
from quantization.steps import Workplace, steps_of
from quantization.students.blocks import ConvBnRelu
from quantization.students.detection import DetectionNet
from quantization.students.expression import ExpressionNet
from quantization.students.landmarks import LandmarkNet
from quantization.students.parsing import ParsingNet
from quantization.training import Schedule, fit, load_weights, save_weights

pytestmark = pytest.mark.workshop

SIDE = 8


@pytest.fixture(autouse=True)
def few_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def nchw(frames):
    return torch.from_numpy(np.concatenate(frames).transpose(0, 3, 1, 2).copy())


def by_file(tflite, frames):
    """What the int8 file says, float [N, C, h, w] per output in the order of the signature, and its steps."""
    runner = Interpreter(model_content=tflite, num_threads=1).get_signature_runner()
    (name,), details = runner.get_input_details(), runner.get_output_details()
    rows = [runner(**{name: np.round(frame * 128).astype(np.int8)}) for frame in frames]
    grids = [details[output]["quantization"] for output in sorted(details)]
    maps = [
        np.concatenate([(row[output].astype(np.float32) - zero) * scale for row in rows]).transpose(
            0, 3, 1, 2
        )
        for output, (scale, zero) in zip(sorted(details), grids, strict=True)
    ]
    return maps, [scale for scale, _ in grids]


def test_the_forward_pass_is_that_of_the_int8_file(net, int8_file, frames):
    """Convolutions, depthwise ones, ReLU6, sums, resized and joined maps: within two steps everywhere."""
    fake = Quantised(net, forget=0.0)
    fake.calibrate(nchw(frames))
    with torch.no_grad():
        guesses = fake.eval()(nchw(frames))
    for guess, (said, step) in zip(guesses, zip(*by_file(int8_file, frames), strict=True), strict=True):
        apart = np.abs(guess.numpy() - said) / step
        assert apart.max() < 2.5
        assert apart.mean() < 0.3
        # Their steps are the same steps: nothing lies between them.
        assert np.abs(guess.numpy() / step - np.round(guess.numpy() / step)).max() < 1e-2


def test_every_grid_is_one_of_the_files_and_none_is_missing(net, int8_file, frames):
    fake = Quantised(net, forget=0.0)
    fake.calibrate(nchw(frames))
    own = [float((r.high - r.low) / 255) for r in fake.ranges.values()]
    model = read_model(int8_file)
    tensors = [model.subgraphs[0].tensors[i] for o in model.subgraphs[0].operators for i in o.outputs]
    stored = sorted({float(t.quantization.scale[0]) for t in tensors})
    stored.remove(INPUT_SCALE)  # a padded image
    # The parts of a joined map are on its grid in the file, and on their own here before they are joined.
    assert all(any(scale == pytest.approx(mine, rel=1e-4) for mine in own) for scale in stored)
    assert len(stored) >= 7


@pytest.mark.parametrize(
    ("network", "size"),
    [
        (LandmarkNet([4, 8, 8, 12, 16], 24), 112),
        (ParsingNet([4, 4, 8, 8, 8], [8, 8, 4, 4]), 64),
        (ExpressionNet([4, 8, 8, 12]).deployed(), 48),
        (DetectionNet([4, 4, 8, 8, 8], [1, 1, 1], 8), 64),
    ],
    ids=["landmarks", "parsing", "expression", "detection"],
)
def test_every_student_can_take_such_a_course(network, size):
    torch.manual_seed(2)
    fake = Quantised(network.train())
    outputs = fake(torch.rand(2, 3, size, size) * 1.9 - 0.95)
    sum(o.square().mean() for o in outputs).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    for before, after in zip(outputs, network(torch.zeros(2, 3, size, size)), strict=True):
        assert before.shape == after.shape
        assert len(torch.unique(before.detach())) <= 256


def test_a_range_widens_at_once_narrows_slowly_and_always_holds_zero():
    seen = Range(forget=0.1)
    seen.see(torch.tensor([1.0, 5.0]))
    assert (float(seen.low), float(seen.high)) == (0.0, 5.0)
    seen.see(torch.tensor([-2.0, 3.0]))
    assert (float(seen.low), float(seen.high)) == (-2.0, pytest.approx(4.8))


class Odd(nn.Module):
    def forward(self, x):
        return (torch.sigmoid(x),)


class Lonely(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return (self.norm(x),)


@pytest.mark.parametrize(
    ("network", "message"),
    [(Odd(), "'sigmoid' of Odd .*without schedule.quantised"), (Lonely(), "'norm': a batch norm folds only")],
)
def test_a_layer_without_known_arithmetic_is_named(network, message):
    with pytest.raises(ExportError, match=message):
        Quantised(network)


class Stripes(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = ConvBnRelu(3, 8), ConvBnRelu(8, 8, stride=2)
        self.head = nn.Conv2d(8, 3, 4)

    def forward(self, x):
        return (self.head(self.second(self.first(x))),)


class StripeTask:
    """How strong is a stripe, how strong a chequer, how bright is the rest?"""

    def network(self):
        return Stripes()

    def batch(self, rng, size):
        truth = rng.uniform(-1, 1, (size, 3)).astype(np.float32)
        column, row = np.indices((SIDE, SIDE))
        patterns = np.stack([column % 2, (column + row) % 2, np.full((SIDE, SIDE), 0.5)]) * 2 - [
            [[1]],
            [[1]],
            [[0]],
        ]
        image = np.einsum("nk,khw->nhw", truth * 0.3, patterns)[:, None] + rng.normal(
            0, 0.02, (size, 3, SIDE, SIDE)
        )
        pixels = np.clip(np.round(image * 128), -128, 127)
        return {"image": torch.from_numpy(pixels / 128).float(), "truth": torch.from_numpy(truth)}

    def loss(self, outputs, batch):
        loss = (outputs[0].flatten(1) - batch["truth"]).square().mean()
        return loss, {"loss": loss.item()}

    def validate(self, network):
        batch = self.batch(np.random.default_rng(77), 64)
        with torch.no_grad():
            return {"loss": self.loss(network.eval()(batch["image"]), batch)[1]["loss"]}


FLOAT = Schedule(steps=400, batch=32, rate=1e-2, warmup=20, ema=0.9, validate_every=400, seed=5)
SHORT = replace(FLOAT, steps=150, rate=2e-3, start="hard", quantised=True, validate_every=50)


def uneven(network):
    """The same function; two of eight channels thirty times smaller than those whose grid they share."""
    factors = torch.ones(8)
    factors[[1, 3]] = 1 / 30
    with torch.no_grad():
        network.first[1].weight.mul_(factors)
        network.first[1].bias.mul_(factors)
        network.second[0].weight.div_(factors[:, None, None])
    return network


@pytest.fixture(scope="module")
def courses(tmp_path_factory):
    """A float course, its weights made hard to quantise, and from there a quantised and another float one."""
    runs = tmp_path_factory.mktemp("runs")
    fit(StripeTask(), FLOAT, runs / "float", threads=1)
    (runs / "hard").mkdir()
    save_weights(uneven(load_weights(Stripes(), runs / "float/weights.npz")), runs / "hard/weights.npz")
    fit(StripeTask(), SHORT, runs / "mended", threads=1)
    fit(StripeTask(), replace(SHORT, quantised=False), runs / "longer", threads=1)
    return runs


def error(network, *, int8):
    """Mean square error on held-out images, of the network or of the file that is made of it."""
    batch = StripeTask().batch(np.random.default_rng(99), 200)
    image, truth = batch["image"], batch["truth"].numpy()
    if not int8:
        with torch.no_grad():
            return float(np.square(network(image)[0].flatten(1).numpy() - truth).mean())
    frames = [frame[None] for frame in image.permute(0, 2, 3, 1).numpy()]
    tflite = to_int8_tflite(to_float_tflite(network, SIDE, SIDE), frames[:64])
    (said,), _ = by_file(tflite, frames)
    return float(np.square(said.reshape(-1, 3) - truth).mean())


def test_what_rounding_broke_a_quantised_course_mends(courses):
    hard, mended, longer = (
        load_weights(Stripes(), courses / name / "weights.npz") for name in ("hard", "mended", "longer")
    )
    broken, whole, control = (error(found, int8=True) for found in (hard, mended, longer))
    assert broken > 1.8 * error(hard, int8=False)  # what a gate stops
    assert whole < 0.7 * broken
    assert whole < 0.7 * control  # it was not for want of training
    # What the course itself said of the int8 file was true.
    rows = [json.loads(line) for line in (courses / "mended/log.jsonl").read_text().splitlines()]
    assert rows[-1]["val_loss"] == pytest.approx(whole, rel=0.3)


def test_a_quantised_course_is_gone_on_with_as_any_other(courses, tmp_path):
    class Dies(StripeTask):
        def validate(self, network):
            if (tmp_path / "cut/checkpoint.pt").exists():
                raise KeyboardInterrupt
            return super().validate(network)

    (tmp_path / "hard").mkdir()
    (tmp_path / "hard/weights.npz").write_bytes((courses / "hard/weights.npz").read_bytes())
    with pytest.raises(KeyboardInterrupt):
        fit(Dies(), SHORT, tmp_path / "cut", threads=1)
    stopped = torch.load(tmp_path / "cut/checkpoint.pt", weights_only=True)
    assert stopped["step"] == 50
    assert len(stopped["ranges"]) == 2 * 3  # two ends of three maps
    fit(StripeTask(), SHORT, tmp_path / "cut", threads=1)
    assert (tmp_path / "cut/weights.npz").read_bytes() == (courses / "mended/weights.npz").read_bytes()


def test_running_statistics_are_frozen(courses):
    hard, mended = (load_weights(Stripes(), courses / name / "weights.npz") for name in ("hard", "mended"))
    moved = {
        name for name, value in mended.state_dict().items() if not torch.equal(value, hard.state_dict()[name])
    }
    assert {"first.0.weight", "first.1.weight", "head.bias"} <= moved
    assert not [name for name in moved if "running" in name]


@pytest.fixture
def course(miniature, tmp_path):
    """The expression student's course over the drawn data, as `build` makes it."""
    (tmp_path / "plain.toml").write_text((RECIPES / "expression-first.toml").read_text())
    return Workplace(miniature.data, miniature.labels, tmp_path, tmp_path / "runs", tmp_path / "none.bundle")


def gates(course, path, step, **files):
    steps = {found.name: found for found in steps_of(path, course)}
    for name, content in files.items():
        target = steps[step].writes[name]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(content))
    return "; ".join(steps[step].gates())


def figures(accuracy):
    return {"expression": {"fp32": {"accuracy": 0.8}, "int8": {"accuracy": accuracy}}}


def test_a_gate_that_fails_names_the_course_that_mends_it_by_the_line(course, miniature, tmp_path):
    path = tmp_path / "plain.toml"
    with miniature.split():
        assert gates(course, path, "evaluate plain", metrics=figures(0.799)) == ""
        told = gates(course, path, "evaluate plain", metrics=figures(0.7))
    assert "gates.lost: expression accuracy: lost to int8: 0.1" in told
    assert "copy plain.toml to plain-int8.toml" in told
    lines = dict(line.split(" = ") for line in told.splitlines() if " = " in line)
    text, done = path.read_text(), []
    for line in text.splitlines():
        key = line.split(" =")[0]
        if f"    {key}" not in lines:
            done.append(line)
        if line == "[schedule]":
            done += [f"{name.strip()} = {value}" for name, value in lines.items()]
    (tmp_path / "plain-int8.toml").write_text("\n".join(done))
    with miniature.split():
        mended = load_recipe(tmp_path / "plain-int8.toml")
        assert mended["schedule"]["quantised"] is True
        assert mended["schedule"]["steps"] == load_recipe(path)["schedule"]["steps"] // 8
        names = [step.name for step in steps_of(tmp_path / "plain-int8.toml", course)]
        assert names[:2] == ["distill plain", "distill plain-int8"]
        # Who has taken the course is not sent there again.
        told = gates(course, tmp_path / "plain-int8.toml", "evaluate plain-int8", metrics=figures(0.7))
    assert "learned under int8 rounding already" in told


def test_a_float_file_that_differs_is_not_mended_by_a_course(course, miniature, tmp_path):
    gate = {"value": 3.0, "bound": 80.0, "passed": False}
    with miniature.split():
        for name, mended in (("onnx fp32", False), ("litert int8", True)):
            found = {"gates": [gate | {"name": f"expression {name} logits SQNR dB"}]}
            told = gates(course, tmp_path / "plain.toml", "parity plain", parity=found)
            assert "SQNR" in told
            assert ("quantised = true" in told) is mended


def test_a_quantised_course_needs_a_float_one_before_it(tmp_path):
    text = (RECIPES / "expression-first.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace("[schedule]", "[schedule]\nquantised = true"))
    with pytest.raises(RecipeError, match=r"schedule\.start is missing beside schedule\.quantised"):
        load_recipe(tmp_path / "mine.toml")
