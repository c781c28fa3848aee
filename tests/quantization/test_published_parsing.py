"""RTNet, FaRL and Faceptor: names, numbers, warps, and torch against the exported file."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from edgeface import read_image
from quantization.teachers.adapter import AdapterError
from quantization.teachers.catalogue import adapter_named
from quantization.teachers.checkpoint import tensors
from quantization.teachers.crops import look
from quantization.teachers.networks import faceptor, farl, rtnet
from quantization.teachers.networks.clipvit import ClipVit
from quantization.teachers.networks.upernet import UPerHead
from quantization.teachers.onnx import OnnxTeacher
from tests.quantization.published_nets import BOX, POINTS, agree, count, lively, meta, noise, sized

pytestmark = pytest.mark.workshop


@pytest.fixture(scope="module")
def astronaut(repository):
    return read_image(repository / "examples/astronaut.jpg").rgb


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


# RTNet

STORED = {(14, 6): 109_707_003, (11, 6): 109_700_795, (14, 23): 166_000_231}  # bytes of the published files


@pytest.mark.parametrize(("classes", "third"), STORED)
def test_rtnet_has_the_published_names_and_fills_the_published_file(classes, third):
    net = meta(lambda: rtnet.RTNet(classes, third))
    state = net.state_dict()
    assert {
        "encoder.conv1.weight": (64, 3, 7, 7),
        "encoder.layer1.0.conv_polar.0.1.weight": (32, 32, 3, 3),
        "encoder.layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "encoder.layer2.3.conv_cart.0.weight": (64, 64, 3, 3),
        "encoder.layer2.3.conv_cart.1.running_mean": (64,),
        f"encoder.layer3.{third - 1}.bn1_b.bias": (128,),
        "encoder.layer4.2.conv3.weight": (2048, 512, 1, 1),
        "decoder.0.weight": (512, 2048, 3, 3),
        "decoder.1.num_batches_tracked": (),
        "decoder.4.bias": (classes,),
    }.items() <= {name: tuple(tensor.shape) for name, tensor in state.items()}.items()
    numbers = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    # An archive lays some hundred bytes around every tensor.
    assert 150 * len(state) < STORED[classes, third] - numbers < 600 * len(state)
    name = "rtnet11" if classes == 11 else "rtnet14"
    with torch.device("meta"):
        assert len(rtnet.network(adapter_named(name), state).encoder.layer3) == third


def test_rtnets_checkpoint_becomes_the_model_of_its_adapter(tmp_path, astronaut):
    adapter = sized("rtnet14", 65, 65)
    net = lively(rtnet.RTNet(14, 2))
    agree(tmp_path, adapter, net, noise(1, 3, 65, 65), torch.tensor([[10.0, 20.0, 110.0, 180.0]]))
    said = OnnxTeacher(adapter, tmp_path / "m.onnx", accept_licence=True)(astronaut, BOX, POINTS)
    assert said.labels.shape == (512, 512)


def waves(points):
    """A picture as a formula: float32 [..., 2] in pixels to one number each."""
    return np.sin(points[..., 0] / 40) * np.cos(points[..., 1] / 30) + points[..., 0] / 500


@pytest.mark.parametrize("size", [64, 65])
def test_rtnets_warps_show_the_picture_that_the_crop_shows(size):
    box = np.array([250.0, 200.0, 100.0, 160.0])
    view = look(adapter_named("rtnet11").crop, (size, size), (600, 600), box)
    cells = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).astype(np.float64)
    axis = np.arctanh((np.arange(size) + 0.5) * 2 / size - 1)
    around = np.stack(np.meshgrid(axis * box[2] / 2, axis * box[3] / 2), -1) + box[:2] + box[2:] / 2
    polar, square = (
        torch.from_numpy(waves(points).astype(np.float32))[None, None]
        for points in (view.to_frame(cells), around)
    )
    sides = torch.from_numpy(box[None, 2:].astype(np.float32))
    low, high = size // 8, size - size // 8  # further out a cell holds much of the picture
    unrolled = rtnet.polar_to_square(polar, sides)
    assert (unrolled - square)[..., low:high, low:high].abs().max() < 0.05
    rolled = rtnet.square_to_polar(square, sides)
    assert (rolled - polar)[..., : size * 3 // 4].abs().max() < 0.05
    assert rtnet.polar_to_square(polar, 7 * sides) == pytest.approx(unrolled, abs=1e-3)


# FaRL

CLIP = 86_192_640  # of CLIP's ViT-B/16 at 224 x 224, with its way to words: a norm and 768 x 512


def test_clips_encoder_has_its_published_number_of_parameters():
    assert count(meta(lambda: ClipVit(224, 224))) == CLIP - 2 * 768 - 768 * 512


def test_clips_attention_is_torchs():
    from quantization.teachers.networks.clipvit import Attention

    own = lively(Attention(96, 12))
    torchs = torch.nn.MultiheadAttention(96, 12, batch_first=True).eval()
    torchs.load_state_dict(own.state_dict())
    q, kv = noise(2, 9, 96), noise(2, 5, 96)
    for keys in (q, kv):
        expected = torchs(q, keys, keys + 1)[0].detach().numpy()
        assert own(q, keys, keys + 1).detach().numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("cells", [1, 2, 3, 6])
def test_upernets_pooling_is_torchs(cells):
    from quantization.teachers.networks.upernet import _Pool

    x = noise(1, 2, 14, 14)
    torchs = torch.nn.functional.adaptive_avg_pool2d(x, cells)
    assert _Pool(14, cells)(x).numpy() == pytest.approx(torchs.numpy(), abs=1e-6)


def head_count(width, classes):
    """Of UPerNet, from its formula; every convolution but the last has a norm."""
    ones = 4 + 3
    threes = 5 + 3 + 4
    return ones * width**2 + 9 * threes * width**2 + (4 + 1 + 3 + 3 + 1) * 2 * width + (width + 1) * classes


@pytest.mark.parametrize(
    ("name", "head", "maps"),
    [
        ("farl-landmarks", "heatmap_head", 68),
        ("farl-parsing-lapa", "head", 11),
        ("farl-parsing-celebamask", "head", 19),
    ],
)
def test_farl_has_the_published_names(name, head, maps):
    make = farl.FarlHeatmaps if head == "heatmap_head" else farl.FarlParsing
    net = meta(lambda: make(maps, 448))
    state = net.state_dict()
    assert {
        "backbone.image_mean": (1, 3, 1, 1),
        "backbone.visual.class_embedding": (768,),
        "backbone.visual.positional_embedding": (785, 768),
        "backbone.visual.conv1.weight": (768, 3, 16, 16),
        "backbone.visual.ln_pre.bias": (768,),
        "backbone.visual.transformer.resblocks.11.attn.in_proj_weight": (2304, 768),
        "backbone.visual.transformer.resblocks.0.mlp.c_fc.bias": (3072,),
        "backbone.fpns.0.1.running_var": (768,),
        "backbone.fpns.0.3.weight": (768, 768, 2, 2),
        "backbone.fpns.1.bias": (768,),
        f"{head}.head.psp_modules.3.1.conv.weight": (768, 768, 1, 1),
        f"{head}.head.bottleneck.conv.weight": (768, 3840, 3, 3),
        f"{head}.head.lateral_convs.2.bn.weight": (768,),
        f"{head}.head.fpn_bottleneck.conv.weight": (768, 3072, 3, 3),
        f"{head}.head.conv_seg.weight": (maps, 768, 1, 1),
    }.items() <= {name: tuple(tensor.shape) for name, tensor in state.items()}.items()
    pyramid = 3 * (4 * 768**2 + 768) + 2 * 768
    grid = (28**2 - 14**2) * 768
    encoder = CLIP - 2 * 768 - 768 * 512 + grid
    assert count(net) == encoder + pyramid + head_count(768, maps)
    with torch.device("meta"):
        state["backbone.visual.proj"] = torch.zeros(768, 512)
        assert type(farl.network(adapter_named(name), state)) is make


@pytest.mark.parametrize(("name", "make", "maps"), [
    ("farl-landmarks", farl.FarlHeatmaps, 68), ("farl-parsing-lapa", farl.FarlParsing, 11),
])  # fmt: skip
def test_farls_checkpoint_becomes_the_model_of_its_adapter(
    tmp_path, monkeypatch, astronaut, name, make, maps
):
    monkeypatch.setattr(ClipVit, "width", 48)
    adapter = sized(name, 96, 96)
    net = lively(make(maps, 96))
    agree(tmp_path, adapter, net, noise(1, 3, 96, 96).abs())
    said = OnnxTeacher(adapter, tmp_path / "m.onnx", accept_licence=True)(astronaut, BOX, POINTS)
    if adapter.task == "landmarks":
        assert said.points.shape == (68, 2)
    else:
        assert said.labels.shape == (512, 512)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", ["farl-landmarks", "farl-parsing-lapa"])
def test_the_lines_that_farls_adapter_tells_take_the_parameters_out_of_facers_file(
    tmp_path, monkeypatch, name
):
    """facer offers a traced network; of the landmarks a traced head, with the encoder in a file beside it."""
    monkeypatch.setattr(ClipVit, "width", 24)
    monkeypatch.chdir(tmp_path)
    adapter = sized(name, 64, 64)
    told = adapter.export.splitlines()
    lines = told[1 : told.index("Then:")]
    (file,) = (line.split('"')[1] for line in lines if "torch.jit.load" in line)
    landmarks = adapter.task == "landmarks"
    net = lively(farl.FarlHeatmaps(68, 64) if landmarks else farl.FarlParsing(11, 64))
    head = net.heatmap_head if landmarks else net.head
    for cells, pool in zip((1, 2, 3, 6), head.head.psp_modules, strict=True):
        pool[0] = torch.nn.AdaptiveAvgPool2d(cells)  # as there
    picture, buffer = noise(1, 3, 64, 64), io.BytesIO()
    torch.save(net.backbone.state_dict(), buffer)
    with torch.no_grad():
        expected = net(picture)
        traced = (
            torch.jit.trace(head, (net.backbone(picture),)) if landmarks else torch.jit.trace(net, picture)
        )
    torch.jit.save(traced, file, _extra_files={"backbone": buffer.getvalue()} if landmarks else {})
    exec("\n".join(lines))
    again = farl.network(adapter, tensors(tmp_path / f"{name}.pth")).eval()
    with torch.no_grad():
        assert (again(picture) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_upernet_adds_from_coarse_to_fine():
    """A change of the coarsest map reaches nearly all of the answer, one of the finest only nearby."""
    head = lively(UPerHead(4, 2, 4))
    maps = [noise(1, 4, side, side) for side in (32, 16, 8, 4)]
    with torch.no_grad():
        before = head(maps)
        assert before.shape == (1, 2, 32, 32)
        fine, coarse = ([m.clone() for m in maps] for _ in range(2))
        fine[0][0, :, 0, 0] += 3
        coarse[3][0, :, 0, 0] += 3
        assert ((head(fine) - before).abs().amax((0, 1)) > 1e-6).sum() <= 9 * 4
        assert ((head(coarse) - before).abs().amax((0, 1)) > 1e-6).float().mean() > 0.9


# Faceptor

TASKS = {
    "faceptor-landmarks": (faceptor.FaceptorPoints, "align_300w", 68),
    "faceptor-parsing": (faceptor.FaceptorMaps, "parsing_celebam", 19),
    "faceptor-expression": (faceptor.FaceptorScores, "affect_affectnet", 7),
}


@pytest.mark.parametrize("name", TASKS)
def test_faceptor_has_the_published_names_and_spares_the_other_tasks(name):
    make, task, queries = TASKS[name]
    net = meta(lambda: make(queries, 512))
    state = net.state_dict()
    decoder = "heads_module.decoder"
    assert {
        "backbone_module.visual.positional_embedding": (1025, 768),
        f"{decoder}.query_feat.{task}.weight": (queries, 256),
        f"{decoder}.query_embed.{task}.weight": (queries, 256),
        f"{decoder}.level_embed.weight": (1, 256),
        f"{decoder}.input_proj.0.weight": (256, 768, 1, 1),
        f"{decoder}.transformer_self_attention_layers.8.self_attn.in_proj_bias": (768,),
        f"{decoder}.transformer_cross_attention_layers.0.multihead_attn.out_proj.weight": (256, 256),
        f"{decoder}.transformer_ffn_layers.4.linear1.weight": (2048, 256),
        f"{decoder}.adapt_pos2d.2.bias": (256,),
    }.items() <= {name: tuple(tensor.shape) for name, tensor in state.items()}.items()
    attention = 4 * 256**2 + 4 * 256
    layer = 2 * attention + 2 * 256 * 2048 + 2048 + 256 + 3 * 2 * 256
    shared = 9 * layer + 768 * 256 + 256 + 256 + 2 * (256**2 + 256)
    maps = 2 * (4 * 256**2 + 256) + 2 * 256 + 3 * (256**2 + 256)
    encoder = CLIP - 2 * 768 - 768 * 512 + (32**2 - 14**2) * 768
    last = 257 if make is faceptor.FaceptorScores else maps
    assert count(net) == encoder + shared + 2 * queries * 256 + last
    with torch.device("meta"):
        for spare in (
            f"{decoder}.query_feat.age_morph2.weight",
            "heads_module.interpreters.feature_v2.head.0.weight",
            "heads_module.interpreters.map_v2.mask_map.1.ln.weight",
            "losses_module.losses.recog_ms1mv3.weight",
        ):
            state[spare] = torch.zeros(1)
        assert type(faceptor.network(adapter_named(name), state)) is make
        state[f"{decoder}.new_level_embed.weight"] = torch.zeros(5, 256)  # of the second stage
        with pytest.raises(
            AdapterError, match=r"nobody knows its heads_module.decoder.new_level_embed.weight$"
        ):
            faceptor.network(adapter_named(name), state)


@pytest.mark.parametrize("name", TASKS)
def test_faceptors_checkpoint_becomes_the_model_of_its_adapter(tmp_path, monkeypatch, astronaut, name):
    monkeypatch.setattr(ClipVit, "width", 48)
    make, _, queries = TASKS[name]
    adapter = sized(name, 80, 80)
    net = lively(make(queries, 80))
    if adapter.task == "landmarks":  # heatmaps with peaks
        net.heads_module.interpreters["map_v2"].mask_map[3].weight.data *= 1000
    agree(tmp_path, adapter, net, noise(1, 3, 80, 80))
    said = OnnxTeacher(adapter, tmp_path / "m.onnx", accept_licence=True)(astronaut, BOX, POINTS)
    if adapter.task == "landmarks":
        assert said.points.shape == (68, 2)
    elif adapter.task == "parsing":
        assert said.labels.shape == (512, 512)
    else:
        assert said.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_faceptors_points_are_where_its_heatmaps_weigh(monkeypatch):
    monkeypatch.setattr(ClipVit, "width", 48)
    net = faceptor.FaceptorPoints(1, 64)
    heat = torch.full((1, 1, 16, 16), -30.0)
    heat[0, 0, 3, 9] = 30
    monkeypatch.setattr(net, "read", lambda _: heat)
    assert net(torch.zeros(1, 3, 64, 64))[0, 0].tolist() == pytest.approx([9.5 / 16, 3.5 / 16], abs=1e-5)
