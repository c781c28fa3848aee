"""SegFace and FaceXFormer: their backbones against torchvision's, names, numbers, and torch against the file.

The golden numbers are what torchvision 0.28's models, and segment-anything 1.0's transformer in SegFace's
decoder, answer with the weights and the picture that `published_nets` makes.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from edgeface import read_image
from quantization.teachers.adapter import AdapterError
from quantization.teachers.catalogue import adapter_named
from quantization.teachers.networks import facexformer, segface
from quantization.teachers.networks.convnets import ConvNextB, EfficientNetV2M, MobileNetV3
from quantization.teachers.networks.swin import SwinB, SwinV2B
from quantization.teachers.onnx import OnnxTeacher
from tests.quantization.published_nets import BOX, POINTS, agree, count, lively, meta, noise, sized, small

pytestmark = pytest.mark.workshop


@pytest.fixture(scope="module")
def astronaut(repository):
    return read_image(repository / "examples/astronaut.jpg").rgb


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


# the backbones, as torchvision documents them; a thousand classes of ImageNet are left away

LINEAR = 1000 * 1024 + 1000
BACKBONES = {
    SwinB: 87_768_224 - LINEAR,
    SwinV2B: 87_930_848 - LINEAR,
    ConvNextB: 88_591_464 - LINEAR - 2 * 1024,
    MobileNetV3: 5_483_032 - (960 * 1280 + 1280) - (1280 * 1000 + 1000),
    EfficientNetV2M: 54_139_356 - (1280 * 1000 + 1000),
}
# Shapes that torchvision's models have under these names, one or more of every kind of layer.
SHAPES = {
    SwinB: {
        "0.0.0.weight": (128, 3, 4, 4),
        "0.0.2.bias": (128,),
        "0.1.0.attn.relative_position_bias_table": (169, 4),
        "0.1.1.attn.relative_position_index": (2401,),
        "0.2.reduction.weight": (256, 512),
        "0.2.norm.weight": (512,),
        "0.5.17.attn.qkv.bias": (1536,),
        "0.7.1.mlp.3.weight": (1024, 4096),
        "1.weight": (1024,),
    },
    SwinV2B: {
        "0.1.0.attn.logit_scale": (4, 1, 1),
        "0.1.0.attn.cpb_mlp.0.bias": (512,),
        "0.7.1.attn.cpb_mlp.2.weight": (32, 512),
        "0.3.0.attn.relative_coords_table": (1, 15, 15, 2),
        "0.3.0.attn.relative_position_index": (4096,),
        "0.2.norm.weight": (256,),
    },
    ConvNextB: {
        "0.0.0.bias": (128,),
        "0.0.1.weight": (128,),
        "0.1.2.layer_scale": (128, 1, 1),
        "0.2.0.weight": (128,),
        "0.2.1.weight": (256, 128, 2, 2),
        "0.5.26.block.0.weight": (512, 1, 7, 7),
        "0.7.2.block.2.bias": (1024,),
        "0.7.2.block.3.weight": (4096, 1024),
        "0.7.2.block.5.weight": (1024, 4096),
    },
    MobileNetV3: {
        "0.0.weight": (16, 3, 3, 3),
        "1.block.1.0.weight": (16, 16, 1, 1),
        "4.block.2.fc1.weight": (24, 72, 1, 1),
        "13.block.1.0.weight": (672, 1, 5, 5),
        "15.block.3.1.running_var": (160,),
        "16.1.num_batches_tracked": (),
    },
    EfficientNetV2M: {
        "1.0.block.0.0.weight": (24, 24, 3, 3),
        "2.4.block.1.0.weight": (48, 192, 1, 1),
        "4.0.block.2.fc1.weight": (20, 320, 1, 1),
        "7.4.block.1.0.weight": (3072, 1, 3, 3),
        "8.0.weight": (1280, 512, 1, 1),
    },
}


@pytest.mark.parametrize("make", BACKBONES)
def test_a_backbone_has_torchvisions_names_and_numbers(make):
    net = meta(make)
    assert count(net) == BACKBONES[make]
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    assert SHAPES[make].items() <= shapes.items()


@pytest.mark.parametrize("make", BACKBONES)
def test_a_backbone_gives_four_maps_of_its_widths_at_four_strides(make):
    maps = meta(make)(torch.zeros(1, 3, 128, 96, device="meta"))
    assert [tuple(m.shape) for m in maps] == [
        (1, width, 128 // stride, 96 // stride)
        for width, stride in zip(make.widths, (4, 8, 16, 32), strict=True)
    ]


# Standard deviation and second channel at (1, 1) of the four maps; Swin and ConvNeXt as `small` makes them.
GOLDEN = {
    SwinB: [(1.51958, 0.430327), (1.33967, -1.49624), (1.26224, 2.10252), (1.22026, -0.345724)],
    SwinV2B: [(2.39435, -3.71174), (1.69108, 1.29733), (1.65441, 0.508322), (1.79644, -0.695534)],
    ConvNextB: [(1.42984, -0.272256), (1.2077, 1.73553), (1.24455, 0.688626), (1.25774, 2.04986)],
    MobileNetV3: [(0.547263, 0.618379), (0.327819, -0.488631), (0.259511, -0.394621), (0.174311, -0.0859273)],
    EfficientNetV2M: [(0.996872, -0.0735822), (1.47854, 1.2571), (0.764204, 1.3738), (0.232303, -0.00603684)],
}


@pytest.mark.parametrize("make", GOLDEN)
def test_a_backbone_answers_as_torchvisions(monkeypatch, make):
    if hasattr(make, "depths"):
        small(monkeypatch, make, (2, 1, 1, 1))
    with torch.no_grad():
        maps = lively(make())(noise(1, 3, 96, 64))
    for x, (spread, value) in zip(maps, GOLDEN[make], strict=True):
        assert x.std().item() == pytest.approx(spread, rel=1e-4)
        assert x[0, 1, 1, 1].item() == pytest.approx(value, abs=1e-4)


def test_the_decoder_answers_as_segment_anythings():
    net = meta(lambda: segface.SegFace(MobileNetV3()))
    decoder, positions = (lively(part.to_empty(device="cpu")) for part in (net.face_decoder, net.pe_layer))
    with torch.no_grad():
        maps = decoder(noise(1, 256, 6, 5), positions(6, 5))
    assert maps.shape == (1, 19, 24, 20)
    assert maps.std().item() == pytest.approx(0.751386, rel=1e-4)
    assert maps[0, [0, 9, 18], 5, 7].tolist() == pytest.approx([-2.00882, -2.01040, -2.00642], abs=1e-4)


def test_rolled_windows_do_not_look_across_the_edge():
    """A pixel of the last row must not reach the first one, which the roll lays beside it."""
    from quantization.teachers.networks.swin import _WindowAttention

    layer = lively(_WindowAttention(32, 1, 7, shifted=True))
    x = noise(1, 14, 14, 32)
    moved = x.clone()
    moved[0, 13, 13] += 1
    with torch.no_grad():
        changed = (layer(moved) - layer(x)).abs().amax(-1)[0] > 1e-6
    assert changed[10:, 10:].all()
    assert not changed[:10].any()
    assert not changed[:, :10].any()


# SegFace

DECODER = [
    "pe_layer.positional_encoding_gaussian_matrix",
    "linear_c.0.proj.weight",
    "linear_fuse.weight",
    "face_decoder.transformer.layers.0.self_attn.q_proj.weight",
    "face_decoder.transformer.layers.1.cross_attn_image_to_token.out_proj.bias",
    "face_decoder.transformer.layers.1.mlp.lin2.weight",
    "face_decoder.transformer.layers.0.norm4.bias",
    "face_decoder.transformer.final_attn_token_to_image.v_proj.weight",
    "face_decoder.transformer.norm_final_attn.weight",
    "face_decoder.output_upscaling.0.weight",
    "face_decoder.output_upscaling.1.bias",
    "face_decoder.output_upscaling.3.bias",
    "face_decoder.output_hypernetwork_mlps.layers.2.weight",
]


def decoder_count(widths):
    """Of fusion and decoder, from their formulas: tokens and heads come on top."""
    attention = 4 * 256 * 256 + 4 * 256
    narrow = 4 * 256 * 128 + 3 * 128 + 256
    block = attention + 2 * narrow + 4 * 2 * 256 + 2 * 256 * 2048 + 2048 + 256
    upscaling = 256 * 64 * 4 + 64 + 2 * 64 + 64 * 32 * 4 + 32
    hyper = 2 * (256 * 256 + 256) + 256 * 32 + 32
    fusion = sum(256 * width + 256 for width in widths) + 1024 * 256
    return fusion + 2 * block + narrow + 2 * 256 + upscaling + hyper


@pytest.mark.parametrize(("name", "classes"), [("segface-celebamask", 19), ("segface-lapa", 11)])
@pytest.mark.parametrize("make", BACKBONES)
def test_segface_has_the_published_names_with_every_backbone(make, name, classes):
    adapter = adapter_named(name)
    net = meta(lambda: segface.SegFace(make(), adapter.output.scheme))
    names = set(net.state_dict())
    assert names > {f"backbone.{name}" for name in SHAPES[make]} | set(DECODER)
    tokens = [name for name in names if name.endswith("_token.weight")]
    assert len(tokens) == classes
    assert {"face_decoder.rightbro_token.weight", "face_decoder.innermouth_token.weight"} < set(tokens)
    assert count(net) == BACKBONES[make] + decoder_count(make.widths) + classes * 256
    with torch.device("meta"):
        again = segface.network(adapter, net.state_dict())
    assert type(again.backbone) is make


def test_a_segface_of_the_other_data_set_is_refused_by_what_it_has_and_lacks():
    state = meta(lambda: segface.SegFace(MobileNetV3(), "lapa11")).state_dict()
    lacks = r"it lacks face_decoder\.neck_token\.weight, face_decoder\.cloth_token\.weight"
    with torch.device("meta"), pytest.raises(AdapterError, match=lacks):
        segface.network(adapter_named("segface-celebamask"), state)


def test_a_segface_of_a_scheme_that_it_never_learned_is_refused():
    adapter = adapter_named("segface-lapa")
    other = replace(adapter, output=replace(adapter.output, scheme="ibug14"))
    with pytest.raises(
        AdapterError, match=r"its classes are those of celebamask19 or lapa11, .* says ibug14"
    ):
        segface.network(other, {})


def test_segface_of_lapa_reads_its_tokens_in_the_order_of_its_channels():
    """A token that changes, where none looks at another, changes the map of its own channel alone."""
    order = (
        *("background", "face", "leftbro", "rightbro", "lefteye", "righteye", "nose", "upperlip"),
        *("innermouth", "lowerlip", "hair"),
    )
    net = lively(segface.SegFace(MobileNetV3(), "lapa11")).face_decoder
    picture, positions = noise(1, 256, 4, 4), noise(1, 256, 4, 4)
    with torch.no_grad():
        for block in net.transformer.layers:  # tokens without a word from their neighbours
            block.self_attn.out_proj.weight.zero_()
            block.cross_attn_image_to_token.out_proj.weight.zero_()
        before = net(picture, positions)
        for channel, name in enumerate(order):
            token = getattr(net, f"{name}_token").weight
            token += 1
            changed = (net(picture, positions) - before).abs().amax((0, 2, 3)) > 1e-5
            token -= 1
            assert changed.nonzero().flatten().tolist() == [channel], name


@pytest.mark.parametrize(
    ("name", "scheme"), [("segface-celebamask", "celebamask19"), ("segface-lapa", "lapa11")]
)
def test_segfaces_checkpoint_becomes_the_model_of_its_adapter(tmp_path, astronaut, name, scheme):
    adapter = sized(name, 96, 96)
    net = lively(segface.SegFace(MobileNetV3(), scheme))
    agree(tmp_path, adapter, net, noise(1, 3, 96, 96))
    said = OnnxTeacher(adapter, tmp_path / "m.onnx", accept_licence=True)(astronaut, BOX, POINTS)
    assert said.labels.shape == (512, 512)
    assert said.probabilities.sum(0) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("make", "depths"), [(ConvNextB, (1, 1, 1, 1)), (SwinB, (2, 2, 1, 1)), (SwinV2B, (2, 1, 1, 1))]
)
def test_segface_says_the_same_from_its_file_with_every_kind_of_backbone(tmp_path, monkeypatch, make, depths):
    small(monkeypatch, make, depths)
    net = lively(segface.SegFace(make()))
    agree(tmp_path, sized("segface-celebamask", 96, 96), net, noise(1, 3, 96, 96))


def test_a_segface_of_an_unknown_backbone_is_told_which_are_known():
    state = {"backbone.4.0.conv1.weight": torch.zeros(64, 64, 1, 1)}
    with pytest.raises(
        AdapterError, match="its backbone is no ConvNeXt-B, EfficientNetV2-M, MobileNetV3, Swin-B"
    ):
        segface.network(adapter_named("segface-celebamask"), state)


# FaceXFormer

HEADS = {"pose": 3, "attribute": 40, "visibility": 29, "age": 8, "gender": 2, "race": 5}


def test_facexformer_has_the_published_names_and_spares_the_other_tasks():
    net = meta(facexformer.FaceXFormerLandmarks)
    state = net.state_dict()
    assert set(DECODER) < set(state)
    assert state["face_decoder.mask_tokens.weight"].shape == (11, 256)
    assert state["face_decoder.landmarks_prediction_head.layers.2.weight"].shape == (136, 256)
    head = 2 * (256 * 256 + 256) + 256 * 136 + 136
    assert count(net) == BACKBONES[SwinB] + decoder_count(SwinB.widths) + 18 * 256 + head
    with torch.device("meta"):
        for task, outputs in HEADS.items():
            state[f"face_decoder.{task}_prediction_head.layers.2.weight"] = torch.zeros(outputs, 256)
        facexformer.network(adapter_named("facexformer-landmarks"), state)
        state["face_decoder.expression_token.weight"] = torch.zeros(1, 256)
        with pytest.raises(AdapterError, match=r"nobody knows its face_decoder.expression_token.weight"):
            facexformer.network(adapter_named("facexformer-landmarks"), state)


def test_facexformers_checkpoint_becomes_the_model_of_its_adapter(tmp_path, monkeypatch, astronaut):
    small(monkeypatch, SwinB, (1, 2, 1, 1))
    adapter = sized("facexformer-landmarks", 64, 64)
    net = lively(facexformer.FaceXFormerLandmarks())
    agree(tmp_path, adapter, net, noise(1, 3, 64, 64))
    said = OnnxTeacher(adapter, tmp_path / "m.onnx", accept_licence=True)(astronaut, BOX, POINTS)
    assert said.points.shape == (68, 2)
