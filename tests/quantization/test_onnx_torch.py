"""Each operator that an .onnx of other origin may have, in torch as in onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quantization.convert import ExportError
from quantization.onnx_operators import OPERATORS
from quantization.onnx_torch import OnnxNet
from quantization.ort import OnnxModel, onnx

pytestmark = pytest.mark.workshop

RNG = np.random.default_rng(6)
MAP = (1, 4, 6, 8)


def weights(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def whole(*values):
    return np.array(values, np.int64)


def graph(kind, *constants, shape=MAP, count=1, opset=17, first=True, **attributes):
    """An .onnx of one operator over a float image, with further inputs of constant value."""
    names = ["image"] * first + [f"c{i}" if c is not None else "" for i, c in enumerate(constants)]
    outputs = [f"y{i}" for i in range(count)]
    node = onnx.helper.make_node(kind, names, outputs, name=f"the/{kind}", **attributes)
    made = onnx.helper.make_graph(
        [node],
        "one",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(c, f"c{i}") for i, c in enumerate(constants) if c is not None],
    )
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    return model.SerializeToString()


def size(model):
    return [d.dim_value for d in onnx.load_from_string(model).graph.input[0].type.tensor_type.shape.dim]


def both(model, low=-2.0):
    image = np.random.default_rng(1).uniform(low, 2, size(model)).astype(np.float32)
    with torch.no_grad():
        found = OnnxNet(model)(torch.from_numpy(image))
    return [tensor.numpy() for tensor in found], OnnxModel(model).run({"image": image})


PLAIN = [
    *("Abs", "Ceil", "Cos", "Elu", "Erf", "Exp", "Floor", "GlobalAveragePool", "GlobalMaxPool"),
    *("HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Mish", "Neg", "Reciprocal", "Relu", "Selu"),
    *("Sigmoid", "Sin", "Softplus", "Tanh"),
]
ROOTS = ("Log", "Sqrt")
CASES = {
    "add": graph("Add", weights(4, 1, 1)),
    "average": graph("AveragePool", kernel_shape=[2, 3], strides=[2, 2], pads=[0, 1, 0, 1]),
    "average with border": graph(
        "AveragePool", kernel_shape=[3, 3], pads=[0, 1, 1, 1], count_include_pad=1
    ),
    "norm": graph("BatchNormalization", *weights(3, 4), np.full(4, 0.7, np.float32), epsilon=1e-3),
    "clip": graph("Clip", np.float32(-0.5), np.float32(1)),
    "relu 6": graph("Clip", np.float32(0), np.float32(6)),
    "half a clip": graph("Clip", None, np.float32(0.3)),
    "concat": graph("Concat", weights(1, 2, 6, 8), axis=1),
    "conv": graph("Conv", weights(5, 4, 3, 3), weights(5), pads=[1, 1, 1, 1], strides=[2, 2]),
    "conv with an uneven border": graph("Conv", weights(5, 4, 3, 2), pads=[0, 1, 2, 0]),
    "conv as tensorflow pads": graph("Conv", weights(5, 4, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
    "conv padded above": graph("Conv", weights(5, 4, 2, 4), auto_pad="SAME_LOWER"),
    "conv in groups, apart": graph("Conv", weights(8, 2, 3, 3), group=2, dilations=[2, 2]),
    "conv up": graph("ConvTranspose", weights(4, 3, 3, 3), weights(3), strides=[2, 2], pads=[1, 1, 1, 1]),
    "conv up, one more": graph(
        "ConvTranspose", weights(4, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]
    ),
    "conv up, cut at the begin": graph(
        "ConvTranspose", weights(4, 3, 4, 4), strides=[2, 2], pads=[1, 1, 0, 0]
    ),
    "blocks to a map": graph("DepthToSpace", blocksize=2),
    "channels to a map": graph("DepthToSpace", blocksize=2, mode="CRD"),
    "div": graph("Div", np.float32(3)),
    "elu of its own": graph("Elu", alpha=0.4),
    "expand": graph("Expand", whole(3, 4, 6, 8)),
    "flatten": graph("Flatten", axis=2),
    "gather": graph("Gather", np.array([[0, 2], [3, 0]]), axis=3),
    "gather one": graph("Gather", np.array(-1), axis=1),
    "gelu": graph("Gelu", opset=20),
    "gelu by tanh": graph("Gelu", opset=20, approximate="tanh"),
    "hard sigmoid": graph("HardSigmoid", alpha=1 / 6, beta=0.5),
    "gemm": graph("Gemm", weights(8, 5), weights(5), shape=(6, 8)),
    "gemm of all": graph("Gemm", weights(5, 6), weights(8, 5), transA=1, transB=1, alpha=0.5, beta=2.0,
                         shape=(6, 8)),
    "instance norm": graph("InstanceNormalization", weights(4), weights(4)),
    "layer norm": graph("LayerNormalization", weights(8), weights(8), epsilon=1e-4),
    "layer norm of a map": graph("LayerNormalization", weights(6, 8), axis=2),
    "leaky": graph("LeakyRelu", alpha=0.3),
    "log softmax": graph("LogSoftmax", axis=1),
    "unit length": graph("LpNormalization", axis=1),
    "matmul": graph("MatMul", weights(8, 3)),
    "max": graph("Max", weights(8), weights(6, 8)),
    "max pool": graph("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "max pool, rounded up": graph("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "max pool, uneven": graph("MaxPool", kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
    "mean of maps": graph("ReduceMean", axes=[2, 3]),
    "mean by input": graph("ReduceMean", whole(1), keepdims=0, opset=18),
    "mean of all": graph("ReduceMean", keepdims=0),
    "min": graph("Min", np.float32(0.5)),
    "mul": graph("Mul", weights(1, 4, 1, 1)),
    "length": graph("ReduceL2", axes=[1]),
    "most": graph("ReduceMax", axes=[1], keepdims=0),
    "least": graph("ReduceMin", axes=[-1]),
    "sum": graph("ReduceSum", whole(1, 2)),
    "sum of nothing": graph("ReduceSum", whole(), noop_with_empty_axes=1),
    "pad": graph("Pad", whole(0, 0, 1, 2, 0, 0, 0, 3), np.float32(0.5)),
    "pad mirrored": graph("Pad", whole(0, 0, 1, 2, 0, 0, 2, 1), mode="reflect"),
    "pad by the edge": graph("Pad", whole(0, 0, 1, 0, 0, 0, 0, 1), mode="edge"),
    "prelu": graph("PRelu", weights(4, 1, 1)),
    "prelu of one": graph("PRelu", weights(1)),
    "prelu of every pixel": graph("PRelu", weights(4, 6, 8)),
    "power": graph("Pow", np.float32(2)),
    "reshape": graph("Reshape", whole(0, -1, 16)),
    "resize": graph("Resize", None, np.array([1, 1, 2, 2], np.float32), mode="linear"),
    "resize to corners": graph(
        "Resize", None, None, whole(1, 4, 11, 9), mode="linear",
        coordinate_transformation_mode="align_corners",
    ),
    "resize down": graph("Resize", None, None, whole(1, 4, 3, 4), mode="linear"),
    "resize to blocks": graph(
        "Resize", None, np.array([1, 1, 2, 2], np.float32), mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    ),
    "slice": graph("Slice", whole(1, -3), whole(2**62, -1), whole(2, 3), whole(2, 1)),
    "softmax": graph("Softmax", axis=1),
    "map to blocks": graph("SpaceToDepth", blocksize=2),
    "split": graph("Split", whole(1, 3), axis=1, count=2),
    "split evenly": graph("Split", axis=3, count=2),
    "squeeze": graph("Squeeze", whole(0)),
    "sub": graph("Sub", weights(8)),
    "sum of several": graph("Sum", weights(8), weights(6, 8)),
    "tile": graph("Tile", whole(1, 2, 1, 3)),
    "transpose": graph("Transpose", perm=[0, 2, 3, 1]),
    "transpose all": graph("Transpose"),
    "unsqueeze": graph("Unsqueeze", whole(0, -1)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_operator_computes_what_onnxruntime_does(name):
    for found, wanted in zip(*both(CASES[name]), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [*PLAIN, *ROOTS])
def test_a_plain_function_computes_what_onnxruntime_does(kind):
    for found, wanted in zip(*both(graph(kind, opset=18), low=0.1 if kind in ROOTS else -2.0), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def chain(*nodes, opset=17):
    """An .onnx of several operators; the last makes ``y``."""
    made = onnx.helper.make_graph(
        [onnx.helper.make_node(kind, list(i), list(o), name=f"n{k}", **a)
         for k, (kind, i, o, a) in enumerate(nodes)],
        "several",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, MAP)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.float32([0.25]), "quarter")],
    )  # fmt: skip
    return onnx.helper.make_model(
        made, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8
    ).SerializeToString()


def test_comparisons_choose_and_casts_count():
    model = chain(
        ("Greater", ("image", "quarter"), ("more",), {}),
        ("Less", ("image", "quarter"), ("less",), {}),
        ("Equal", ("image", "quarter"), ("same",), {}),
        ("Cast", ("more",), ("one",), {"to": 1}),
        ("Cast", ("same",), ("none",), {"to": 1}),
        ("Where", ("less", "image", "one"), ("z",), {}),
        ("Add", ("z", "none"), ("y",), {}),
    )
    ((found,), (wanted,)) = both(model)
    np.testing.assert_array_equal(found, wanted)
    assert len(np.unique(found)) > 2


def test_what_hangs_on_the_size_alone_is_folded():
    """As an exporter of an old opset writes ``view(n, -1)``."""
    model = chain(
        ("Shape", ("image",), ("shape",), {}),
        ("Constant", (), ("first",), {"value": onnx.numpy_helper.from_array(whole(0))}),
        ("Gather", ("shape", "first"), ("n",), {"axis": 0}),
        ("Constant", (), ("rest",), {"value": onnx.numpy_helper.from_array(whole(-1))}),
        ("Concat", ("n", "rest"), ("wanted",), {"axis": 0}),
        ("Dropout", ("image",), ("kept",), {}),
        ("Reshape", ("kept", "wanted"), ("y",), {}),
    )
    ((found,), (wanted,)) = both(model)
    assert found.shape == wanted.shape == (1, 4 * 6 * 8)
    assert set(OnnxNet(model).kinds.values()) == {"Reshape"}


def constant(name, value):
    return ("Constant", (), (name,), {"value": onnx.numpy_helper.from_array(np.float32(value))})


GELUS = {
    "x (1 + erf) / 2": [
        ("Div", ("image", "root"), ("t",), {}), ("Erf", ("t",), ("e",), {}),
        ("Add", ("e", "one"), ("s",), {}),
        ("Mul", ("image", "s"), ("p",), {}), ("Mul", ("p", "half"), ("y",), {}),
    ],
    "x / 2 (1 + erf)": [
        ("Mul", ("image", "inverse"), ("t",), {}), ("Erf", ("t",), ("e",), {}),
        ("Add", ("one", "e"), ("s",), {}),
        ("Mul", ("image", "half"), ("h",), {}), ("Mul", ("h", "s"), ("y",), {}),
    ],
    "(1 + erf) / 2 x": [
        ("Div", ("image", "root"), ("t",), {}), ("Erf", ("t",), ("e",), {}),
        ("Add", ("e", "one"), ("s",), {}),
        ("Mul", ("half", "s"), ("p",), {}), ("Mul", ("p", "image"), ("y",), {}),
    ],
}  # fmt: skip
NUMBERS = (("root", 2**0.5), ("inverse", 0.5**0.5), ("one", 1), ("half", 0.5))


@pytest.mark.parametrize("written", GELUS)
def test_gelu_is_put_together_however_it_was_written(written):
    model = chain(*(constant(name, value) for name, value in NUMBERS), *GELUS[written])
    ((found,), (wanted,)) = both(model)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert list(OnnxNet(model).kinds.values()) == ["Gelu"]


@pytest.mark.parametrize("changed", [("root", 1.5), ("one", 2), ("half", 0.4)])
def test_what_only_looks_like_gelu_stays_what_it_is(changed):
    numbers = dict(NUMBERS) | dict([changed])
    model = chain(*(constant(*number) for number in numbers.items()), *GELUS["x (1 + erf) / 2"])
    ((found,), (wanted,)) = both(model)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert "Gelu" not in OnnxNet(model).kinds.values()


def test_every_operator_of_the_table_is_tested():
    tested = {*PLAIN, *ROOTS, "Greater", "Less", "Equal", "Cast", "Where", "Add", "Dropout", "Upsample"}
    tested |= {node.op_type for model in CASES.values() for node in onnx.load_from_string(model).graph.node}
    assert set(OPERATORS) - tested == set()


def test_operators_that_are_not_known_are_all_named_with_what_mends_it():
    model = chain(
        ("NonZero", ("image",), ("z",), {}),
        ("Cast", ("z",), ("f",), {"to": 1}),
        ("CumSum", ("f", "axis"), ("y",), {}),
    )
    proto = onnx.load_from_string(model)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1), "axis"))
    told = r"CumSum, NonZero: 2 operators .* first 'n0', which reads image: end the network .*extract_model"
    with pytest.raises(ExportError, match=told):
        OnnxNet(proto.SerializeToString())


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (graph("Resize", None, np.array([1, 1, 2, 2], np.float32), mode="cubic"),
         r"Resize 'the/Resize': cubic resize is not computed here"),
        (graph("Resize", None, None, whole(1, 4, 9, 9), mode="nearest"), "nearest resize by half_pixel"),
        (graph("Slice", whole(5), whole(0), whole(2), whole(-1)), "a slice that runs backwards"),
        (graph("MaxPool", kernel_shape=[2], shape=(1, 4, 8)), "a pool with indices or over other axes"),
        (graph("AveragePool", kernel_shape=[3, 3], pads=[0, 1, 1, 1]), "an average over an uneven border"),
        (chain(("Cast", ("image",), ("d",), {"to": 11}), ("Exp", ("d",), ("e",), {}),
               ("Cast", ("e",), ("y",), {"to": 1})),
         "Cast 'n0': a cast to type 11"),
        (chain(("Cast", ("image",), ("where",), {"to": 7}), ("Gather", ("image", "where"), ("y",), {})),
         "its indices are computed from the image"),
    ],
    ids=["cubic", "nearest", "backwards", "pool", "border", "double", "gather"],
)  # fmt: skip
def test_what_is_not_computed_is_refused_and_not_computed_wrongly(model, told):
    with pytest.raises(ExportError, match=told):
        OnnxNet(model)(torch.zeros(size(model)))
