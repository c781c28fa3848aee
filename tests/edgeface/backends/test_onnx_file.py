"""What is read of an ONNX file without the `onnx` package, and that no damage gets past as another error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.backends.onnx_file import Grid, OnnxGraph, read_onnx
from tests.edgeface.backends.onnx_models import field, model, node, student, tensor, value_info

GOOD = student()
QUANTISE = node("QuantizeLinear", ["image", "scale", "zero"], ["out"])
SCALE = tensor("scale", np.array(0.5, np.float32))


def graph(constants: list[bytes], nodes: list[bytes] | None = None) -> OnnxGraph:
    ends = [value_info("image", (1, 3, 4, 4))], [value_info("out", (1, 3, 4, 4))]
    return read_onnx(model(nodes or [QUANTISE], constants, *ends), "image")


def test_operators_grid_and_precision_are_read() -> None:
    read = read_onnx(GOOD, "image")
    assert read.operators == ("QuantizeLinear", "DequantizeLinear", "Conv", "GlobalAveragePool")
    assert read.grid == Grid(1 / 128, 128, "uint8")
    assert read.precision == "int8"
    plain = read_onnx(student(grid=False), "image")
    assert (plain.grid, plain.precision) == (None, "float32")
    half = field(1, 2) + field(2, 10) + field(8, "w") + field(9, b"\0" * 4)
    assert graph([half], [node("Relu", ["image"], ["out"])]).precision == "float16"
    # A pair elsewhere is no grid of the image.
    assert read_onnx(GOOD, "another").grid is None


@pytest.mark.parametrize(
    ("zero", "wanted"),
    [
        (field(2, 2) + field(8, "zero") + field(9, b"\xff"), Grid(0.5, 255, "uint8")),
        (field(2, 3) + field(8, "zero") + field(9, b"\xff"), Grid(0.5, -1, "int8")),
        (field(2, 3) + field(8, "zero") + field(5, -5), Grid(0.5, -5, "int8")),
        (field(2, 2) + field(8, "zero") + field(5, b"\x80\x01"), Grid(0.5, 128, "uint8")),  # packed
        (field(2, 3) + field(8, "zero"), Grid(0.5, 0, "int8")),  # zeros need not be written
    ],
)
def test_a_zero_point_is_read_in_each_of_the_ways_to_store_it(zero: bytes, wanted: Grid) -> None:
    assert graph([SCALE, zero]).grid == wanted


def test_a_scale_is_read_in_both_ways_and_an_absent_zero_point_is_onnxs_default() -> None:
    packed = field(2, 1) + field(8, "scale") + field(4, np.float32(0.25).tobytes())
    alone = node("QuantizeLinear", ["image", "scale"], ["out"])
    assert graph([packed], [alone]).grid == Grid(0.25, 0, "uint8")


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ([], "the scale of its image is no constant"),
        ([SCALE], "the zero point of its image is no constant"),
        ([tensor("scale", np.array(1, np.int8))], "no float"),
        ([SCALE, tensor("zero", np.array(0, np.float32))], "neither uint8 nor int8"),
        ([field(2, 7) + field(8, "scale")], "unknown type"),
    ],
)
def test_a_grid_that_cannot_be_read_is_refused(constants: list[bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        graph(constants)


OUTSIDE = field(2, 1) + field(8, "w") + field(13, field(1, "location") + field(2, "/etc/passwd"))
MARKED = field(2, 1) + field(8, "w") + field(14, 1)


@pytest.mark.parametrize("weight", [OUTSIDE, MARKED])
@pytest.mark.parametrize("place", ["initializer", "attribute", "subgraph", "function", "sparse", "training"])
def test_a_weight_outside_the_file_is_found_wherever_it_is_named(weight: bytes, place: str) -> None:
    relu, constants, more = node("Relu", ["image"], ["out"]), [], b""
    if place == "initializer":
        constants = [weight]
    elif place == "attribute":
        relu += field(5, field(1, "value") + field(5, weight))
    elif place == "subgraph":
        relu += field(5, field(6, field(1, field(5, field(5, weight)))))
    elif place == "function":
        more = field(25, field(7, field(5, field(5, weight))))
    elif place == "sparse":
        more = field(7, field(15, field(1, weight)))
    else:
        more = field(20, field(1, field(5, weight)))
    ends = [value_info("image", (1, 3, 4, 4))], [value_info("out", (1, 3, 4, 4))]
    with pytest.raises(ValueError, match="outside the file"):
        read_onnx(model([relu], constants, *ends) + more, "image")


def test_graphs_are_nested_only_so_deep() -> None:
    inner = b""
    for _ in range(40):
        inner = field(1, field(5, field(6, inner)))
    with pytest.raises(ValueError, match="nested too deeply"):
        read_onnx(field(7, inner), "image")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        read_onnx(data, "image")
    except ValueError:
        return


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.just(len(GOOD)) | st.integers(0, len(GOOD)))
def test_any_damage_is_read_or_refused(position: int, value: int, end: int) -> None:
    damaged = bytearray(GOOD)
    damaged[position] = value
    try:
        assert isinstance(read_onnx(bytes(damaged[:end]), "image"), OnnxGraph)
    except ValueError:
        return
