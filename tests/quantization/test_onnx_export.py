from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

from quantization.__main__ import main
from quantization.convert import ExportError, module_outputs
from quantization.foreign import Pixels, convert_teacher, image_frames, prepare
from quantization.onnx_export import S8S8, U8S8, export_onnx, onnx_input, to_float_onnx, to_qdq_onnx
from quantization.onnx_graph import check_tensorrt, float_islands, fused_convolutions, tensorrt_islands
from quantization.ort import OnnxModel, onnx

pytestmark = pytest.mark.workshop

NAMES = ("left", "right", "spatial")


@pytest.fixture(scope="module")
def files(net, frames):
    return export_onnx(net, NAMES, frames[:18])


def noise(net, model, frames):
    """Signal over noise per output, dB, on frames [1, 16, 16, 3]."""
    opened = OnnxModel(model)
    assert opened.outputs == NAMES
    signal, error = np.zeros(len(NAMES)), np.zeros(len(NAMES))
    for frame in frames:
        image = np.ascontiguousarray(frame.transpose(0, 3, 1, 2))
        expected = module_outputs(net, torch.from_numpy(image))
        for i, (got, want) in enumerate(zip(opened.run({"image": image}), expected, strict=True)):
            assert got.dtype == np.float32
            assert got.shape == tuple(want.shape)
            signal[i] += float(want.square().sum())
            error[i] += float(np.square(got - want.numpy()).sum())
    return 10 * np.log10(signal / error)


def nodes(model, kind):
    return [node for node in onnx.load_from_string(model).graph.node if node.op_type == kind]


@pytest.mark.parametrize(
    ("precision", "least", "most"),
    [("fp32", 100, np.inf), ("fp16", 45, 90), ("u8s8", 22, 60), ("s8s8", 22, 60)],
)
def test_every_precision_says_what_the_module_says(net, files, frames, precision, least, most):
    """On frames that did not calibrate; the upper bound tells that the file really has that precision."""
    ratios = noise(net, getattr(files, precision), frames[18:])
    assert least < ratios.min()
    assert ratios.max() < most


def test_half_weighs_half_and_int8_a_quarter(net):
    """On a network that is mostly weights, so that the graph's own bytes do not count."""
    wide = nn.Sequential(nn.Conv2d(3, 64, 3, bias=False), nn.ReLU(), nn.Conv2d(64, 128, 3)).eval()
    made = export_onnx(wide, ["map"], [np.zeros((8, 8, 3), np.float32), np.full((8, 8, 3), 0.5, np.float32)])
    whole = len(made.fp32)
    assert len(made.fp16) / whole == pytest.approx(0.5, abs=0.03)
    assert len(made.u8s8) / whole == pytest.approx(0.25, abs=0.05)


def test_float_graph_is_channel_first_without_a_layout_change(files):
    model = onnx.load_from_string(files.fp32)
    assert onnx_input(model) == ("image", (1, 3, 16, 16))
    kinds = {node.op_type for node in model.graph.node}
    assert kinds <= {"Conv", "Relu", "Clip", "Add", "Resize", "Concat", "Constant"}


@pytest.mark.parametrize(("precision", "zero"), [("u8s8", np.uint8(128)), ("s8s8", np.int8(0))])
def test_the_input_grid_is_one_step_per_grey_level(files, precision, zero):
    model = onnx.load_from_string(getattr(files, precision))
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    first = next(n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "image")
    assert constants[first.input[1]] == np.float32(1 / 128)
    assert constants[first.input[2]] == zero
    assert constants[first.input[2]].dtype == zero.dtype


@pytest.mark.parametrize("precision", ["u8s8", "s8s8"])
def test_heads_answer_in_full_resolution(files, frames, precision):
    model = getattr(files, precision)
    makers = {
        name: node.op_type
        for n in [onnx.load_from_string(model)]
        for node in n.graph.node
        for name in node.output
    }
    assert {makers[name] for name in NAMES} == {"Conv"}
    image = np.ascontiguousarray(frames[20].transpose(0, 3, 1, 2))
    left = OnnxModel(model).run({"image": image})[0]
    assert len(np.unique(left)) > 250  # of 256 values; an int8 grid over all frames would leave fewer


def test_calibration_is_the_true_minimum_and_maximum():
    """One frame in forty reaches far: a moving average or a percentile would clip it."""
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 1, 1)).eval()
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[0].bias.zero_()
    calm, far = np.full((1, 3, 4, 4), 0.01, np.float32), np.full((1, 3, 4, 4), 0.9, np.float32)
    model = to_float_onnx(net, ["map"], 4, 4)
    int8 = onnx.load_from_string(to_qdq_onnx(model, [calm] * 20 + [far] + [calm] * 19, U8S8))
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in int8.graph.initializer}
    pairs = [n for n in int8.graph.node if n.op_type == "QuantizeLinear" and n.input[0] != "image"]
    assert [float(constants[n.input[1]]) * 255 for n in pairs] == [pytest.approx(2.7, rel=1e-3)]


def test_a_percentile_leaves_out_what_is_rare():
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 1, 1)).eval()
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[0].bias.zero_()
    frame = np.full((1, 3, 16, 16), 0.01, np.float32)
    frame[:, :, 3, 3] = 0.9  # one of 256
    model = to_float_onnx(net, ["map"], 16, 16)
    scales = []
    for percentile in (100.0, 99.0):
        int8 = onnx.load_from_string(to_qdq_onnx(model, [frame] * 8, U8S8, percentile=percentile))
        constants = {t.name: onnx.numpy_helper.to_array(t) for t in int8.graph.initializer}
        (pair,) = [n for n in int8.graph.node if n.op_type == "QuantizeLinear" and n.input[0] != "image"]
        scales.append(float(constants[pair.input[1]]) * 255)
    assert scales[0] == pytest.approx(2.7, rel=1e-3)
    assert scales[1] < 0.3


def test_onnxruntime_fuses_all_but_the_heads(files):
    fusion = fused_convolutions(files.u8s8)
    assert (fusion.fused, fusion.total) == (4, 7)
    assert len(set(fusion.float_names)) == 3
    assert fused_convolutions(files.fp32).fused == 0


def test_a_file_for_tensorrt_obeys_its_rules_and_one_for_the_cpu_does_not(files):
    assert check_tensorrt(files.s8s8) == ()
    reasons = {rule.problem.reason for rule in check_tensorrt(files.u8s8)}
    assert {"is uint8, not int8", "its zero point is not 0", "dequantises int32"} <= reasons
    reasons = {rule.problem.reason for rule in check_tensorrt(files.fp32)}
    assert reasons == {"its image has no Q/DQ pair"}


def constant(model, name):
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def store(model, name, values):
    constant(model, name).CopyFrom(onnx.numpy_helper.from_array(values, name))


def activation_pair(model):
    return next(n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "image")


def weight_pair(model):
    """Q and DQ of the first weight with several output channels."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    first = next(n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] in constants)
    second = next(
        n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] == first.output[0]
    )
    return first, second


def shift_zero(model):
    store(model, activation_pair(model).input[2], np.array(3, np.int8))


def unsigned(model):
    store(model, activation_pair(model).input[2], np.array(0, np.uint8))


def no_scale(model):
    store(model, activation_pair(model).input[1], np.array(0, np.float32))


def scales_of_an_image(model):
    store(model, activation_pair(model).input[1], np.full(3, 1 / 128, np.float32))


def one_scale(model):
    pair = weight_pair(model)
    store(model, pair[0].input[1], np.array(0.01, np.float32))
    store(model, pair[0].input[2], np.array(0, np.int8))


def other_axis(model):
    for node in weight_pair(model):
        for attribute in node.attribute:
            if attribute.name == "axis":
                attribute.i = 1


def bare_weight(model):
    pair = weight_pair(model)
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name == pair[1].output[0]:
                node.input[position] = pair[0].input[0]


def int32_bias(model):
    conv = next(n for n in model.graph.node if n.op_type == "Conv")
    model.graph.initializer.extend(
        [
            onnx.numpy_helper.from_array(np.zeros(8, np.int32), "bias_stored"),
            onnx.numpy_helper.from_array(np.array(1e-4, np.float32), "bias_scale"),
        ]
    )
    made = onnx.helper.make_node("DequantizeLinear", ["bias_stored", "bias_scale"], ["bias_real"], "bias")
    model.graph.node.insert(0, made)
    conv.input[2] = "bias_real"


@pytest.mark.parametrize(
    ("damage", "reasons"),
    [
        (shift_zero, {"its zero point is not 0"}),
        (unsigned, {"is uint8, not int8"}),
        (no_scale, {"its scale is not a positive constant"}),
        (scales_of_an_image, {"has several scales for an activation"}),
        (one_scale, {"its weight has one scale for all channels"}),
        (bare_weight, {"its weight has no Q/DQ pair"}),
        (int32_bias, {"dequantises int32", "its bias is quantised"}),
    ],
)
def test_each_broken_rule_of_tensorrt_is_found(files, damage, reasons):
    model = onnx.load_from_string(files.s8s8)
    damage(model)
    broken = check_tensorrt(model.SerializeToString())
    assert {rule.problem.reason for rule in broken} == reasons
    assert all(rule.problem.mend for rule in broken)


def test_scales_along_another_axis_are_found(files):
    model = onnx.load_from_string(files.s8s8)
    count = len(onnx.numpy_helper.to_array(constant(model, weight_pair(model)[0].input[1])))
    other_axis(model)
    (rule,) = check_tensorrt(model.SerializeToString())
    assert rule.problem.reason == f"its weight has {count} scales along axis 1"
    assert rule.problem.mend == "give it one per output channel, along axis 0"


def test_what_cannot_be_exported_is_refused(net, files, frames):
    with pytest.raises(ExportError, match="3 tensors, but 2 names"):
        to_float_onnx(net, ["left", "right"], 16, 16)
    with pytest.raises(ExportError, match="no calibration frames"):
        export_onnx(net, NAMES, [])
    with pytest.raises(ExportError, match="no calibration frames"):
        to_qdq_onnx(files.fp32, iter(()), U8S8)
    with pytest.raises(ExportError, match=r"calibration frame 1 is \(1, 16, 16, 3\)"):
        to_qdq_onnx(files.fp32, [frames[0].transpose(0, 3, 1, 2), frames[1]], S8S8)
    with pytest.raises(ExportError, match="onnxruntime cannot open"):
        OnnxModel(b"not a network")


class Foreign(nn.Module):
    """Activations that no student has; the middle one has no integer kernel, so it parts the network."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.second = nn.Conv2d(8, 8, 3, 1, 1)
        self.third = nn.Conv2d(8, 4, 1)
        self.slope = nn.PReLU(8)

    def forward(self, x):
        x = nn.functional.hardswish(self.first(x))
        return torch.sigmoid(self.third(self.slope(self.second(x))))


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(5)
    return to_float_onnx(Foreign().eval(), ["scores"], 16, 16)


@pytest.fixture(scope="module")
def teacher_frames():
    coarse = np.random.default_rng(4).uniform(0, 255, (20, 3, 4, 4)).astype(np.float32)
    return [np.repeat(np.repeat(f, 4, 1), 4, 2)[None] / 255 for f in coarse]


def test_a_foreign_network_keeps_its_odd_operators_in_named_float_islands(teacher, teacher_frames):
    made = convert_teacher(teacher, teacher_frames, U8S8)
    assert made.noisy == ()
    assert made.fusion.fused >= 2
    assert not any("Sigmoid" in str(i) and "Conv" in str(i) for i in made.islands)
    named = " ".join(str(island) for island in made.islands)
    assert "PRelu" in named
    assert "HardSigmoid" in named  # of HardSwish, which is taken apart
    assert "/first/Conv" not in named
    assert named in made.summary().replace("\n  float island: ", " ")


def test_for_tensorrt_islands_are_what_neither_reads_a_pair_nor_ends_a_convolution(
    teacher, teacher_frames, files
):
    made = convert_teacher(teacher, teacher_frames, S8S8)
    assert check_tensorrt(made.model) == ()
    assert [[name.split()[0] for name in island.operators] for island in made.islands] == [
        ["HardSigmoid", "Mul"],  # HardSwish, as the quantiser's own preparation takes it apart
        ["PRelu"],
        ["Sigmoid"],
    ]
    assert tensorrt_islands(files.s8s8) == ()
    assert {str(island).split()[0] for island in float_islands(files.u8s8)} == {"Conv", "Resize"}


def test_when_all_operators_cost_too_much_only_weights_are_quantised(teacher, teacher_frames):
    made = convert_teacher(teacher, teacher_frames, U8S8, min_sqnr_db=200)
    assert made.noisy == ("scores",)
    assert "NOISY" in made.summary()
    with pytest.raises(ExportError, match="at least two"):
        convert_teacher(teacher, teacher_frames[:1])


def test_an_old_file_is_brought_up_to_date(teacher, teacher_frames):
    """Opset 11, weights listed as inputs, no node names, a weight that nothing reads, a free batch."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    model = onnx.load_from_string(to_float_onnx(net, ["map"], 16, 16))
    model.opset_import[0].version, model.ir_version = 11, 6
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(3, np.float32), "unread"))
    for tensor in model.graph.initializer:
        model.graph.input.append(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    for node in model.graph.node:
        node.ClearField("name")
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    old = model.SerializeToString()
    ready = onnx.load_from_string(prepare(old))
    assert onnx_input(ready) == ("image", (1, 3, 16, 16))
    assert ready.opset_import[0].version >= 13
    assert all(node.name for node in ready.graph.node)
    assert "unread" not in {tensor.name for tensor in ready.graph.initializer}
    made = convert_teacher(old, teacher_frames)
    assert made.noisy == ()
    # The last one answers in float.
    assert made.fusion.fused + len(made.fusion.float_names) == 2
    with pytest.raises(ExportError, match="not an ONNX file"):
        prepare(b"TFL3")


@pytest.mark.parametrize(
    ("sides", "told", "wanted"),
    [
        ((1, 3, "height", "width"), "[1, 3, height, width]", "1,3,H,W"),
        (("batch", 3, None, 16), "[batch, 3, ?, 16]", "1,3,H,16"),
        ((1, "height", "width", 3), "[1, height, width, 3]", "1,H,W,3"),
    ],
)
def test_a_free_height_or_width_is_told_with_the_command_that_fixes_it(sides, told, wanted):
    make = onnx.helper.make_tensor_value_info
    image = make("image", onnx.TensorProto.FLOAT, sides)
    graph = onnx.helper.make_graph([], "free", [image], [])
    with pytest.raises(ExportError) as refused:
        onnx_input(onnx.helper.make_model(graph))
    assert told in str(refused.value)
    command = "python -m onnxruntime.tools.make_dynamic_shape_fixed --input_name image --input_shape"
    assert f"{command} {wanted} in.onnx out.onnx" in str(refused.value)


def test_images_become_what_the_network_takes(teacher, tmp_path):
    red = np.zeros((20, 30, 3), np.uint8)
    red[..., 0] = 200
    Image.fromarray(red).save(tmp_path / "red.png")
    (frame,) = image_frames(tmp_path, teacher, Pixels((100.0, 0.0, 0.0), (2.0,)), 5)
    assert frame.shape == (1, 3, 16, 16)
    assert frame.reshape(3, -1).mean(1).tolist() == [50, 0, 0]
    (frame,) = image_frames(tmp_path, teacher, Pixels(bgr=True), 5)
    assert frame.reshape(3, -1).mean(1).tolist() == [0, 0, 200]
    (tmp_path / "red.png").unlink()
    with pytest.raises(ExportError, match="no image in it"):
        next(image_frames(tmp_path, teacher, Pixels(), 5))


def test_convert_writes_every_file_of_an_onnx_file(teacher, tmp_path):
    rng = np.random.default_rng(2)
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    source = tmp_path / "odd.onnx"
    source.write_bytes(teacher)
    out = tmp_path / "out"
    arguments = ["convert", str(source), "--images", str(tmp_path), "--std", "255", "--out", str(out)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in out.iterdir()) == [
        "odd.int8-s8s8.onnx",
        "odd.int8-u8s8.onnx",
        "odd.int8.tflite",
    ]
    assert "float island: PRelu" in result.output
    assert check_tensorrt((out / "odd.int8-s8s8.onnx").read_bytes()) == ()
    assert CliRunner().invoke(main, arguments[:2]).exit_code == 2
    asked = ["--to", "onnx", "--min-sqnr-db", "90"]  # more than eight bits can keep
    noisy = CliRunner().invoke(main, [*arguments, *asked])
    assert noisy.exit_code == 1
    assert "u8s8: output 'scores' is NOISY" in noisy.output
    assert "more --frames" in noisy.output
    source.write_bytes(b"damaged")
    assert "not an ONNX file" in CliRunner().invoke(main, arguments).output


def test_telemetry_is_off_before_onnxruntime_is_imported():
    script = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print("seen", os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Watch())
import quantization.foreign
"""
    environment = {k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "CI")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["seen 1"]
