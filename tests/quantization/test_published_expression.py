"""The expression networks that users bring: the very parameters and answers of the public code.

The golden numbers are what the public code answers (timm 1.0.31 for EmotiEffNet and FMAE's encoder, the
authors' own modules for DDAMFN++ and POSTER++) with the weights and the picture that `weighted` and `picture`
make.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from edgeface.labels import FER8
from quantization.__main__ import main
from quantization.teachers.adapter import AdapterError
from quantization.teachers.catalogue import adapter_named
from quantization.teachers.checkpoint import export_checkpoint
from quantization.teachers.crops import look
from quantization.teachers.networks.ddamfn import Ddamfn
from quantization.teachers.networks.emotieffnet import EfficientNet
from quantization.teachers.networks.emotieffnet import network as emotieffnet
from quantization.teachers.networks.fmae import Fmae
from quantization.teachers.networks.fmae import network as fmae
from quantization.teachers.networks.poster import Poster
from quantization.teachers.onnx import OnnxTeacher

pytestmark = pytest.mark.workshop

# Of the astronaut, by YuNet: box and five points.
BOX = np.array([181.0, 53.6, 92.5, 124.0], np.float32)
POINTS = np.array([[204.6, 96.3], [246.9, 102.3], [221.7, 126.1], [200.4, 140.6], [238.5, 145.9]], np.float32)


def weighted(net):
    """The net, in eval mode, with weights that are the same everywhere and let something through."""
    for place, (name, tensor) in enumerate(sorted(net.state_dict().items())):
        if not tensor.dtype.is_floating_point:
            continue
        rng = np.random.default_rng(place)
        if name.endswith("running_var"):
            values = rng.random(tensor.shape) + 0.5
        elif tensor.ndim > 1:
            values = (rng.random(tensor.shape) * 2 - 1) * (3 / tensor[0].numel()) ** 0.5
        else:
            values = (rng.random(tensor.shape) * 2 - 1) * 0.2 + name.endswith("weight")
        tensor.copy_(torch.from_numpy(values))
    return net.eval()


def picture(side):
    return torch.from_numpy(np.random.default_rng(0).random((1, 3, side, side), np.float32) * 2 - 1)


def digest(net):
    """Of the names and shapes of all that a checkpoint holds."""
    lines = sorted(f"{name} {list(tensor.shape)}" for name, tensor in net.state_dict().items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Golden:
    """What the public code has and says."""

    adapter: str
    build: object
    side: int
    parameters: int
    digest: str
    answer: tuple


_B0 = (0.1186782, 0.1477621, 0.0817058, -0.0358468, 0.1309291, 0.0869614, 0.2165348, -0.1377743)
_B2 = (-0.2752985, -0.1671866, 0.0021625, 0.0617557, 0.1159965, 0.4206218, 0.1062887, 0.2774334)
_FMAE = (0.1823362, -1.7886057, 1.8926295, 1.2041311, 0.513216, -0.2635913, -0.1499324)
_DDAMFN = (0.1046649, -0.0696661, 0.3704901, 0.1984946, -0.31945, -0.0669564, -0.1555576, -0.4804833)
_POSTER = (0.2498578, 0.0124509, 0.1006713, -0.2462383, -0.075565, -0.0177305, -0.4813488, 0.1159998)
GOLDEN = (
    Golden("emotieffnet-b0", lambda: EfficientNet(8), 224, 4_017_796, "5398d195b08a3274", _B0),
    Golden(
        "emotieffnet-b0-mtl",
        lambda: EfficientNet(10),
        224,
        4_020_358,
        "2b794e63afc739a5",
        (*_B0, -0.0839356, -0.2910894),
    ),
    Golden("emotieffnet-b2", lambda: EfficientNet(8, 1.1, 1.2), 260, 7_712_266, "f347c4719f15315a", _B2),
    Golden("fmae-rafdb", lambda: Fmae(7, 384, 2), 224, 3_923_719, "8dec41613f7feb9c", _FMAE),
    Golden("ddamfn-affectnet8", lambda: Ddamfn(8), 112, 4_187_936, "f92c1cbca26e8fb7", _DDAMFN),
    Golden("ddamfn-rafdb", lambda: Ddamfn(7), 112, 4_187_421, "cd4a879e00d6135b", _DDAMFN[:7]),
    Golden("poster-affectnet8", lambda: Poster(8), 224, 58_317_363, "c3ea7bb987ffe009", _POSTER),
    Golden("poster-rafdb", lambda: Poster(7), 224, 58_316_594, "fa8d431d3eba1344", _POSTER[:7]),
)


@pytest.mark.parametrize("expected", GOLDEN, ids=lambda g: g.adapter)
def test_a_network_has_the_parameters_and_the_answer_of_the_public_code(expected):
    net = weighted(expected.build())
    assert sum(p.numel() for p in net.parameters()) == expected.parameters
    assert digest(net) == expected.digest
    with torch.no_grad():
        said = net(picture(expected.side))[0]
    assert said.numpy() == pytest.approx(np.array(expected.answer), abs=2e-5)


# Where the authors' trainings put the parameters, and what they lay around them.
def as_published(name, net):
    state = net.state_dict()
    if name.startswith("emotieffnet"):
        return net
    if name.startswith("fmae"):
        timms = {"head.weight": torch.zeros(1000, 384), "head.bias": torch.zeros(1000)}
        return {"model": {**state, **timms}, "optimizer": {}, "epoch": 59, "scaler": {"scale": 1.0}}
    if name.startswith("ddamfn"):
        return {"iter": 20, "model_state_dict": state, "optimizer_state_dict": {}}
    return {"epoch": 1, "state_dict": {f"module.{k}": v for k, v in state.items()}, "best_acc": torch.ones(1)}


# One of each family: writing them takes a while.
@pytest.mark.parametrize("name", ["emotieffnet-b0-mtl", "fmae-rafdb", "ddamfn-affectnet8", "poster-rafdb"])
def test_a_checkpoint_becomes_the_model_of_its_adapter(name, tmp_path, repository):
    from edgeface import read_image

    adapter = adapter_named(name)
    net = weighted(next(g for g in GOLDEN if g.adapter == name).build())
    torch.save(as_published(name, net), tmp_path / "random.pth")
    export_checkpoint(adapter, tmp_path / "random.pth", tmp_path / "m.onnx")
    rgb = read_image(repository / "examples/astronaut.jpg").rgb
    said = OnnxTeacher(adapter, tmp_path / "m.onnx", accept_licence=True)(rgb, BOX, POINTS).probabilities
    crop = look(adapter.crop, adapter.input.size, (512, 512), BOX, POINTS).image(rgb)
    image = (crop.astype(np.float32) / 255 - adapter.input.mean) / adapter.input.std
    with torch.no_grad():
        logits = net(torch.from_numpy(image.astype(np.float32).transpose(2, 0, 1)[None]))[0]
    kept = [place for place, name in enumerate(adapter.output.channels) if name != "-"]
    names = [FER8.names.index(adapter.output.channels[place]) for place in kept]
    assert said[names] == pytest.approx(torch.softmax(logits[kept], 0).numpy(), abs=1e-4)
    assert said.sum() == pytest.approx(1, abs=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "random.pth"]


# what the seam cannot know


def test_the_published_numbers_of_parameters_are_those_that_are_used():
    """POSTER++ states 43.7 million; FMAE's encoder is ViT-L, 303.3 million."""
    with torch.device("meta"):
        poster, large = Poster(7), Fmae(8)
    never = ("VIT.patch_embed", "VIT.CON1", "VIT.IRLinear", "VIT.eca_block", "VIT.blocks.0.conv.")
    never += ("VIT.blocks.1.conv.", "ir_back.output_layer", "face_landback.output_layer")
    used = sum(p.numel() for name, p in poster.named_parameters() if not name.startswith(never))
    assert used == pytest.approx(43.7e6, abs=0.06e6)
    assert sum(p.numel() for p in large.parameters()) == 303_309_832


def test_a_head_that_is_a_sequence_of_one_layer_is_read_too():
    net = EfficientNet(8)
    state = {name.replace("classifier.", "classifier.0."): t for name, t in net.state_dict().items()}
    filled = emotieffnet(adapter_named("emotieffnet-b0"), state)
    assert torch.equal(filled.classifier.weight, net.classifier.weight)


def test_the_variant_of_another_size_or_head_is_refused():
    state = EfficientNet(8).state_dict()
    with pytest.raises(AdapterError, match=r"it lacks blocks.0.1.*; it has "):
        emotieffnet(adapter_named("emotieffnet-b2"), state)
    with pytest.raises(AdapterError, match=r"it has classifier.weight \[8, 1280\] instead of \[10, 1280\]"):
        emotieffnet(adapter_named("emotieffnet-b0-mtl"), state)
    adapter = adapter_named("emotieffnet-b0")
    with pytest.raises(AdapterError, match=r"input.size is 300, but EmotiEffNets see 224 or 260 pixels"):
        emotieffnet(replace(adapter, input=replace(adapter.input, size=(300, 300))), state)


def test_a_pretrained_encoder_without_a_head_is_no_expression_teacher():
    state = Fmae(7, 384, 1).state_dict()
    encoder = {name: tensor for name, tensor in state.items() if not name.startswith("AU_head")}
    with pytest.raises(AdapterError, match=r"^it lacks AU_head.weight, AU_head.bias$"):
        fmae(adapter_named("fmae-rafdb"), encoder)
    with pytest.raises(AdapterError, match=r"cls_token is 0 wide, and a ViT's is 384, 768, 1024"):
        fmae(adapter_named("fmae-rafdb"), {"fc.weight": torch.zeros(1)})


def test_the_command_shows_the_terms_and_then_writes_and_tries_the_model(tmp_path, teachers):
    torch.save({"model": weighted(Fmae(7, 384, 1)).state_dict()}, tmp_path / "c.pth")
    call = ["fmae-rafdb", "--checkpoint", tmp_path / "c.pth", "--model", tmp_path / "m.onnx"]
    call = ["teachers", *map(str, call), "--teachers", str(teachers)]
    refused = CliRunner().invoke(main, call)
    assert refused.exit_code == 1
    assert "RAF-DB: non-commercial research" in refused.output
    assert not (tmp_path / "m.onnx").exists()
    opened = CliRunner().invoke(main, [*call, "--accept-licence"])
    assert opened.exit_code == 0, opened.output
    assert opened.output.index("licence:") < opened.output.index("neutral     0.")
    call[1] = "poster-rafdb"
    refused = CliRunner().invoke(main, [*call, "--accept-licence"])
    assert f"{tmp_path / 'c.pth'}: is no checkpoint of POSTER++, RAF-DB: it lacks " in refused.output


def test_a_checkpoint_that_would_be_passed_over_is_refused(tmp_path):
    path = tmp_path / "c.pth"
    path.write_bytes(b"x")
    for call, message in (
        (["fmae-rafdb"], "--checkpoint needs NAME and --model"),
        (["yunet", "--model", tmp_path / "m.onnx"], "yunet: is published as yunet_n_640_640.onnx: give that"),
    ):
        said = CliRunner().invoke(main, ["teachers", *map(str, call), "--checkpoint", str(path)])
        assert said.exit_code != 0
        assert message in said.output
