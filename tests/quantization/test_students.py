from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from quantization.build import network_of
from quantization.lines import BASE, LINES
from quantization.students.blocks import Inverted, residual, stage, upsample2
from quantization.students.detection import STRIDES, DetectionNet
from quantization.students.expression import ExpressionNet
from quantization.students.landmarks import LandmarkNet
from quantization.students.parsing import ParsingNet
from quantization.tasks import RECIPES, TASKS, load_recipe

pytestmark = pytest.mark.workshop

SIDE = int(load_recipe(RECIPES / "parsing.toml")["student"]["size"])
INPUTS = {
    "detection": (3, 256, 320),
    "landmarks": (3, 112, 112),
    "parsing": (3, SIDE, SIDE),
    "expression": (1, 48, 48),
}
OUTPUTS = {
    "detection": [(c, 256 // s, 320 // s) for s in STRIDES for c in (1, 4, 10)],
    "landmarks": [(136, 1, 1), (68, 1, 1), (1, 1, 1)],
    "parsing": [(19, SIDE, SIDE)],
    "expression": [(8, 1, 1)],
}


def network(task, line=BASE):
    torch.manual_seed(1)
    return network_of(load_recipe(line.recipe(task)))


of_every_line = pytest.mark.parametrize("line", LINES.values(), ids=LINES)


@of_every_line
@pytest.mark.parametrize("task", TASKS)
def test_the_network_of_a_recipe_has_the_promised_form(task, line):
    net = network(task, line).eval()
    with torch.no_grad():
        outputs = net(torch.zeros(1, *INPUTS[task]))
    moves = [(43, 1, 1)] if task == "landmarks" and line.name != "nano" else []
    assert [tuple(o.shape[1:]) for o in outputs] == OUTPUTS[task] + moves
    assert len(type(net).outputs) == len(set(type(net).outputs)) == len(outputs)
    assert all(torch.isfinite(o).all() for o in outputs)


@of_every_line
@pytest.mark.parametrize("task", TASKS)
def test_only_what_an_edge_tpu_runs_is_in_a_network(task, line):
    leaves = [m for m in network(task, line).modules() if not list(m.children())]
    assert {type(m) for m in leaves} <= {
        *(nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.Dropout, nn.Dropout2d)
    }
    # Channel by channel or all with all: an Edge TPU knows no groups between.
    assert all(m.groups in (1, m.in_channels) for m in leaves if isinstance(m, nn.Conv2d))


def test_all_weights_fit_into_five_megabytes_of_int8():
    assert sum(p.numel() for t in TASKS for p in network(t).parameters()) < 4_500_000


def test_those_of_the_nano_line_are_less_than_a_sixth():
    base, nano = (
        sum(p.numel() for t in TASKS for p in network(t, LINES[size]).parameters())
        for size in ("base", "nano")
    )
    assert nano < base / 6


@pytest.mark.parametrize("expand", [0, 3])
def test_a_residual_block_starts_as_the_identity(expand):
    x = torch.rand(2, 5, 8, 8)
    assert torch.equal(residual(5, expand).eval()(x), x)


def test_an_inverted_stage_halves_the_resolution_and_filters_channel_by_channel():
    made = stage(4, 6, 2, expand=3).eval()
    assert made(torch.rand(1, 4, 8, 8)).shape == (1, 6, 4, 4)
    filters = [m for m in made.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert [(m.groups, m.stride) for m in filters] == [(12, (2, 2)), (18, (1, 1)), (18, (1, 1))]


def test_what_an_inverted_block_has_learned_is_added_where_the_shape_stays():
    torch.manual_seed(3)
    block = Inverted(4, 4, 3)
    nn.init.ones_(block.norm.weight)
    x = torch.rand(2, 4, 8, 8)
    added = block.norm(block.narrow(block.filter(block.widen(x))))
    assert torch.allclose(block(x), x + added)
    assert not Inverted(4, 4, 3, stride=2).short


@pytest.mark.parametrize("expand", [[0, 0, 0], [0, 0, 3]])
def test_a_bounded_network_stops_at_six_behind_its_last_stage_and_is_the_same_below(expand):
    student = {"widths": [4, 8, 8, 12, 12], "expand": expand, "code": 24, "grid": 7}
    torch.manual_seed(2)
    free = LandmarkNet.of(student).eval()
    bounded = LandmarkNet.of(student | {"bounded": True}).eval()
    bounded.load_state_dict(free.state_dict())
    image = torch.rand(2, 3, 112, 112) * 2 - 1
    with torch.no_grad():
        early = free.backbone[:4](image)
        assert torch.equal(bounded.backbone[:4](image), early)
        assert torch.equal(bounded(image)[0], free(image)[0])  # nothing of it exceeds 6
        far = 1e6 * early
        answers = [net.code(net.backbone[4:](far)) for net in (free, bounded)]
    assert answers[0].max() > 6
    assert answers[1].max() <= 6


def test_upsampling_is_bilinear_with_half_pixel_centres():
    ramp = torch.arange(4.0)[None, None, None].repeat(1, 1, 4, 1)
    assert upsample2(ramp)[0, 0, 3].tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]


def test_a_fresh_detector_says_no_face():
    with torch.no_grad():
        outputs = DetectionNet().eval()(torch.rand(1, 3, 256, 320) * 2 - 1)
    assert all((torch.sigmoid(s) < 0.1).all() for s in outputs[0::3])


def test_the_deployed_expression_net_sees_colours_as_their_grey():
    """ITU-R BT.601 inside the first convolution: grey input changes nothing, of colours the luma counts."""
    torch.manual_seed(4)
    net = ExpressionNet([4, 8, 12, 16])
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean, -0.3, 0.3)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    deployed = net.deployed()
    net.eval()
    grey = torch.rand(5, 1, 48, 48) * 2 - 1
    colours = torch.rand(5, 3, 48, 48) * 2 - 1
    luma = (colours * torch.tensor([0.299, 0.587, 0.114])[None, :, None, None]).sum(1, keepdim=True)
    with torch.no_grad():
        assert (deployed(grey.repeat(1, 3, 1, 1))[0] - net(grey)[0]).abs().max() < 1e-5
        assert (deployed(colours)[0] - net(luma)[0]).abs().max() < 1e-5
        assert net(grey)[0].std() > 1e-3
    assert not deployed.training
    assert type(deployed).outputs == ("logits",)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_a_parsing_map_lies_over_its_crop():
    """A change of the picture in one corner changes the logits there first."""
    torch.manual_seed(2)
    net = ParsingNet([4, 8, 8, 8, 8], [8, 8, 8, 8]).eval()
    plain = torch.zeros(1, 3, 64, 64)
    for rows, columns in (
        (slice(0, 16), slice(0, 16)),
        (slice(48, 64), slice(0, 16)),
        (slice(0, 16), slice(48, 64)),
    ):
        other = plain.clone()
        other[:, :, rows, columns] = 1.0
        with torch.no_grad():
            change = (net(other)[0] - net(plain)[0]).abs().sum((0, 1)).numpy()
        y, x = np.unravel_index(change.argmax(), change.shape)
        assert rows.start - 6 <= y < rows.stop + 6
        assert columns.start - 6 <= x < columns.stop + 6
