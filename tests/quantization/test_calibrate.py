from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from quantization.calibrate import tensor_ranges, to_int8_tflite
from quantization.canonical import operator_name, read_model
from quantization.convert import ExportError

pytestmark = pytest.mark.workshop


def quantisation(data, outputs=False):
    interpreter = Interpreter(model_content=data)
    details = interpreter.get_output_details() if outputs else interpreter.get_input_details()
    return [(np.dtype(d["dtype"]).name, *d["quantization"]) for d in details]


def test_the_input_grid_is_pixel_minus_128_whatever_the_frames_held(float_file):
    dull = [np.full((16, 16, 3), level, np.float32) for level in (0.0, 0.05, 0.1)]
    assert quantisation(to_int8_tflite(float_file, dull)) == [("int8", 1 / 128, 0)]


def test_everything_between_is_int8_with_one_scale_per_channel(int8_file):
    model = read_model(int8_file)
    graph = model.subgraphs[0]
    for operator in graph.operators:
        name, _ = operator_name(model, operator)
        assert all(graph.tensors[i].type == schema.TensorType.INT8 for i in operator.outputs), name
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            weights = graph.tensors[operator.inputs[1]]
            channels = weights.shape[0 if name == "CONV_2D" else 3]
            assert len(weights.quantization.scale) == channels


def test_ranges_are_minimum_and_maximum_not_an_average(float_file, frames):
    """One frame out of many decides the range; a moving average would clip it to a twentieth."""
    extreme = np.where(np.indices((16, 16)).sum(axis=0)[..., None] % 2, 127 / 128, -1.0).astype(np.float32)
    extreme = np.repeat(extreme, 3, axis=2)[None]
    dull = [frame * 0.05 for frame in frames]
    data = to_int8_tflite(float_file, [*dull[:12], extreme, *dull[12:]])
    runner = Interpreter(model_content=float_file).get_signature_runner()
    wanted = runner(args_0=extreme)["output_2"]
    details = Interpreter(model_content=data).get_signature_runner().get_output_details()
    scale, zero_point = details["output_2"]["quantization"]
    assert (127 - zero_point) * scale >= wanted.max() - scale
    assert (-128 - zero_point) * scale <= wanted.min() + scale


def test_a_percentile_clips_what_is_rare_within_a_frame_but_no_output(float_file, frames):
    whole, clipped = (tensor_ranges(float_file, frames, percentile=share) for share in (100.0, 95.0))
    assert whole.keys() == clipped.keys()
    ends = Interpreter(model_content=float_file)
    names = {d["name"] for d in (*ends.get_input_details(), *ends.get_output_details())}
    narrower = 0
    for name, (low, high) in whole.items():
        if name in names:
            assert clipped[name] == (low, high)
        else:
            assert low - 1e-6 <= clipped[name][0] <= clipped[name][1] <= high + 1e-6
            narrower += clipped[name] != (low, high)
    assert narrower >= 4
    file = to_int8_tflite(float_file, frames, percentile=95.0)
    assert file != to_int8_tflite(float_file, frames)
    assert quantisation(file) == [("int8", 1 / 128, 0)]
    with pytest.raises(ExportError, match="percentile is 20; write a number above 50"):
        to_int8_tflite(float_file, frames, percentile=20.0)


def test_a_two_sided_output_gets_room_for_the_answer_that_no_frame_gave(float_file, frames):
    """As presence, which is never "no" on the crops of faces that calibrate it."""

    def grids(**how):
        data = to_int8_tflite(float_file, frames[:4], **how)
        details = Interpreter(model_content=data).get_signature_runner().get_output_details()
        return [details[f"output_{i}"]["quantization"] for i in range(3)]

    plain, wider = grids(), grids(two_sided=[1])
    assert plain[1][1] != 0
    assert wider[1][1] == 0
    assert wider[1][0] >= plain[1][0]
    assert (wider[0], wider[2]) == (plain[0], plain[2])


def test_frames_may_come_from_a_generator(float_file, frames, int8_file):
    assert to_int8_tflite(float_file, (frame[0] for frame in frames)) == int8_file


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "no calibration frames"),
        ([np.zeros((8, 16, 3), np.float32)], r"frame 0 is \(8, 16, 3\); the network takes \[1, 16, 16, 3\]"),
        ([np.zeros((16, 16, 3), np.float32), np.ones((16, 16, 3), np.float32)], r"frame 1 spans \[1, 1\]"),
        ([np.full((16, 16, 3), np.nan, np.float32)], "frame 0 spans"),
        ([np.full((16, 16, 3), 200.0, np.float32)], r"\(pixel - 128\) / 128"),
    ],
)
def test_bad_frames_are_named(float_file, bad, message):
    with pytest.raises(ExportError, match=message):
        to_int8_tflite(float_file, bad)
