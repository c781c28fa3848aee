from __future__ import annotations

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from quantization.canonical import canonicalise, operator_name, read_model
from quantization.convert import ExportError

pytestmark = pytest.mark.workshop


def pack(model):
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run(data, image):
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return {d["name"]: interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()}


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(5).integers(-128, 128, (1, 16, 16, 3)).astype(np.int8)


def test_results_stay_the_same_bit_for_bit(int8_file, canonical_file, image):
    runner = Interpreter(model_content=int8_file).get_signature_runner()
    before = runner(args_0=image)
    after = run(canonical_file, image)
    assert list(after) == ["left", "right", "spatial"]
    for position, result in enumerate(after.values()):
        np.testing.assert_array_equal(result, before[f"output_{position}"])


def test_operators_declare_what_kernels_of_tf_2_5_know(canonical_file):
    model = read_model(canonical_file)
    versions = dict(operator_name(model, operator) for operator in model.subgraphs[0].operators)
    assert versions == {
        "ADD": 2,
        "CONCATENATION": 2,
        "CONV_2D": 3,
        "DEPTHWISE_CONV_2D": 3,
        "PAD": 2,
        "QUANTIZE": 2,  # from int8 to int8: one input of the concatenation takes the other's scale
        "RESIZE_BILINEAR": 3,
    }


def test_all_weights_lie_inside_the_flatbuffer(int8_file, canonical_file):
    raw = schema.Model.GetRootAs(canonical_file, 0)
    assert all(raw.Buffers(i).Offset() <= 1 for i in range(raw.BuffersLength()))
    # An external buffer, made by hand, comes inside.
    model = read_model(int8_file)
    index = next(
        i for i, buffer in enumerate(model.buffers) if buffer.data is not None and len(buffer.data) > 64
    )
    content = bytes(model.buffers[index].data)
    model.buffers[index].data = None
    model.buffers[index].offset, model.buffers[index].size = 1 << 20, len(content)
    outside = bytearray(pack(model))
    outside += bytes((1 << 20) - len(outside)) + content
    assert any(
        bytes(buffer.data) == content
        for buffer in read_model(bytes(outside)).buffers
        if buffer.data is not None
    )
    assert len(canonicalise(bytes(outside))) < 1 << 20


def test_outputs_return_to_the_order_of_forward(int8_file, canonical_file, image):
    model = read_model(int8_file)
    model.subgraphs[0].outputs = model.subgraphs[0].outputs[::-1].copy()
    shuffled = run(canonicalise(pack(model), ["left", "right", "spatial"]), image)
    for name, result in run(canonical_file, image).items():
        np.testing.assert_array_equal(shuffled[name], result)


def test_doing_it_twice_changes_nothing(canonical_file):
    assert canonicalise(canonical_file, ["left", "right", "spatial"]) == canonical_file


def test_names_are_short_and_say_nothing_of_the_machine(canonical_file):
    names = [tensor.name.decode() for tensor in read_model(canonical_file).subgraphs[0].tensors]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 24
    assert {"image", "left", "right", "spatial"} <= set(names)
    assert b"torch" not in canonical_file


def test_a_newer_feature_keeps_a_newer_version(canonical_file):
    model = read_model(canonical_file)
    graph = model.subgraphs[0]
    convolution = next(o for o in graph.operators if operator_name(model, o)[0] == "CONV_2D")
    weights = graph.tensors[convolution.inputs[1]]
    weights.shape = np.array([*weights.shape[:3], 1], np.int32)  # grouped
    again = read_model(canonicalise(pack(model)))
    versions = {operator_name(again, o) for o in again.subgraphs[0].operators}
    assert ("CONV_2D", 6) in versions
    assert ("CONV_2D", 3) in versions


def test_what_is_no_network_is_refused(canonical_file):
    with pytest.raises(ExportError, match="not a TFLite file"):
        canonicalise(b"\x00" * 64)
    with pytest.raises(ExportError, match="2 names for 3 outputs"):
        canonicalise(canonical_file, ["left", "right"])
