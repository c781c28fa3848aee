from __future__ import annotations

import copy

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from quantization.canonical import operator_name, read_model
from quantization.edgetpu import check

pytestmark = pytest.mark.workshop

KIND = schema.BuiltinOperator


def pack(model):
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def find(model, name):
    """First operator called ``name`` and its place."""
    return next(
        (i, o) for i, o in enumerate(model.subgraphs[0].operators) if operator_name(model, o)[0] == name
    )


def recode(model, operator, kind, version=1):
    """Give one operator another kind, as if the converter had written it."""
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = kind, min(kind, 127), version
    model.operatorCodes.append(code)
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.builtinOptionsType, operator.builtinOptions = 0, None


def test_a_student_like_network_maps_whole(canonical_file):
    report = check(canonical_file)
    assert report.fully_mapped
    assert report.mapped == len(report.operators) == len(read_model(canonical_file).subgraphs[0].operators)
    assert report.summary() == f"Edge TPU: {report.mapped} of {report.mapped} operators mapped"


def test_a_float_network_maps_not_at_all(float_file):
    report = check(float_file)
    assert report.mapped == 0
    assert report.operators[0].problem is not None
    assert "FLOAT32" in report.operators[0].problem.reason


def test_an_unknown_operator_takes_its_followers_with_it(canonical_file):
    model = read_model(canonical_file)
    place, operator = find(model, "DEPTHWISE_CONV_2D")
    operator.inputs = operator.inputs[:1]
    recode(model, operator, KIND.HARD_SWISH)
    report = check(pack(model))
    culprit = report.operators[place]
    assert (culprit.name, culprit.mapped) == ("HARD_SWISH", False)
    assert "ReLU" in culprit.problem.mend
    followers = [finding for finding in report.operators[place + 1 :] if not finding.mapped]
    assert {finding.problem.reason for finding in followers} == {"follows an unmapped operator"}
    # After it: the resize, its concatenation (one side takes the other's scale) and all three heads.
    assert sorted(f.name for f in followers) == [
        "CONCATENATION", "CONV_2D", "CONV_2D", "CONV_2D", "QUANTIZE", "RESIZE_BILINEAR"
    ]  # fmt: skip
    assert all(finding.mapped for finding in report.operators[:place])
    assert not report.fully_mapped
    assert "HARD_SWISH" in report.summary()


@pytest.mark.parametrize(("name", "newest"), [("CONV_2D", 5), ("ADD", 3), ("RESIZE_BILINEAR", 4)])
def test_a_version_above_the_registry_refuses_the_whole_file(canonical_file, name, newest):
    model = read_model(canonical_file)
    model.operatorCodes[find(model, name)[1].opcodeIndex].version = 20
    report = check(pack(model))
    assert [problem.reason for problem in report.refusals] == [
        f"{name} v20 is newer than the compiler's v{newest}"
    ]
    assert report.mapped == 0
    assert "whole file refused" in report.summary()


def test_an_operator_younger_than_the_compiler_is_refused(canonical_file):
    model = read_model(canonical_file)
    recode(model, find(model, "ADD")[1], KIND.GELU)
    assert any("GELU is newer" in problem.reason for problem in check(pack(model)).refusals)


def test_two_graphs_are_refused(canonical_file):
    model = read_model(canonical_file)
    model.subgraphs.append(copy.deepcopy(model.subgraphs[0]))
    assert [problem.reason for problem in check(pack(model)).refusals] == ["2 subgraphs"]


def test_weights_outside_the_flatbuffer_are_refused(canonical_file):
    model = read_model(canonical_file)
    weights = model.subgraphs[0].tensors[find(model, "CONV_2D")[1].inputs[1]].buffer
    content = bytes(model.buffers[weights].data)
    model.buffers[weights].data = None
    model.buffers[weights].offset, model.buffers[weights].size = 1 << 16, len(content)
    data = pack(model)
    data += bytes((1 << 16) - len(data)) + content
    assert [problem.reason for problem in check(data).refusals] == ["weights outside the flatbuffer"]


def reshape(model, tensor, axis, side):
    shape = model.subgraphs[0].tensors[tensor].shape.copy()
    shape[axis] = side
    model.subgraphs[0].tensors[tensor].shape = shape


def grouped(model, operator):
    reshape(model, operator.inputs[1], 3, 1)


def uneven_dilation(model, operator):
    operator.builtinOptions.dilationHFactor = 2


def fused_relu(model, operator):
    operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU


def four_times(model, operator):
    model.subgraphs[0].tensors[operator.outputs[0]].shape = np.array([1, 16, 16, 12], np.int32)


def huge(model, operator):
    tensors = model.subgraphs[0].tensors
    tensors[operator.inputs[0]].shape = np.array([1, 512, 512, 12], np.int32)
    tensors[operator.outputs[0]].shape = np.array([1, 1024, 1024, 12], np.int32)


def batch_of_two(model, operator):
    reshape(model, operator.outputs[0], 0, 2)


def dynamic(model, operator):
    model.subgraphs[0].tensors[operator.outputs[0]].shapeSignature = np.array([-1, 8, 8, 8], np.int32)


def batch_padding(model, operator):
    buffer = model.buffers[model.subgraphs[0].tensors[operator.inputs[1]].buffer]
    padding = np.frombuffer(bytes(buffer.data), np.int32).copy()
    padding[0] = 1
    buffer.data = np.frombuffer(padding.tobytes(), np.uint8)


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("CONV_2D", grouped, "grouped convolution"),
        ("CONV_2D", uneven_dilation, "dilation differs between x and y"),
        ("DEPTHWISE_CONV_2D", uneven_dilation, "dilation differs between x and y"),
        ("CONCATENATION", fused_relu, "fused activation"),
        ("RESIZE_BILINEAR", four_times, "resize by 4"),
        ("RESIZE_BILINEAR", huge, "resize output too large"),
        ("ADD", batch_of_two, "batch above 1, or more than three dimensions"),
        ("ADD", dynamic, "dynamic shape"),
        ("PAD", batch_padding, "padding of the batch, or not constant"),
    ],
)
def test_each_limit_is_named(canonical_file, name, damage, reason):
    model = read_model(canonical_file)
    place, operator = find(model, name)
    damage(model, operator)
    finding = check(pack(model)).operators[place]
    assert finding.problem is not None
    assert finding.problem.reason == reason
    assert finding.problem.mend


def constant(model, values):
    """Append a constant int32 tensor; returns its index."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.asarray(values, np.int32).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor = schema.TensorT()
    tensor.shape, tensor.type = np.array([len(values)], np.int32), schema.TensorType.INT32
    tensor.buffer, tensor.name = len(model.buffers) - 1, b"constant"
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1


@pytest.mark.parametrize(
    ("axes", "channels", "reason"),
    [
        ([1, 2], 8, None),
        ([3], 8, None),
        ([3], 6, "mean over channels not divisible by 4"),
        ([-1], 6, "mean over channels not divisible by 4"),
        ([0, 1], 8, "mean over the batch, or over axes that are not constant"),
    ],
)
def test_means(canonical_file, axes, channels, reason):
    model = read_model(canonical_file)
    place, operator = find(model, "ADD")
    recode(model, operator, KIND.MEAN, 2)
    operator.inputs = np.array([operator.inputs[0], constant(model, axes)], np.int32)
    reshape(model, operator.inputs[0], 3, channels)
    problem = check(pack(model)).operators[place].problem
    assert (problem.reason if problem else None) == reason


def test_softmax_over_a_map_and_per_channel_fully_connected(canonical_file):
    model = read_model(canonical_file)
    place, operator = find(model, "ADD")
    recode(model, operator, KIND.SOFTMAX, 2)
    assert check(pack(model)).operators[place].problem.reason == "softmax over a map"
    convolution = find(model, "CONV_2D")
    recode(model, convolution[1], KIND.FULLY_CONNECTED, 4)
    assert check(pack(model)).operators[convolution[0]].problem.reason == "per-channel fully connected layer"
