"""A detector for tall frames has the same weights and gives what the module gives for such a frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter

from quantization.canonical import read_model
from quantization.convert import ExportError
from quantization.pack import export_student, export_tall
from quantization.students.detection import DetectionNet
from quantization.tall import exchanged

pytestmark = pytest.mark.workshop


@pytest.fixture(scope="module")
def detector():
    """A small detector for 96 x 64 pixels with other than its first norms, and its int8 export."""
    torch.manual_seed(5)
    net = DetectionNet([4, 8, 8, 12, 16], [1, 1, 1], 8)
    net.train()
    for _ in range(3):
        net(torch.rand(4, 3, 64, 96) * 2 - 1)
    net.eval()
    rng = np.random.default_rng(2)
    frames = [
        (np.round(rng.uniform(-128, 127, (64, 96, 3))) / 128).astype(np.float32) * level
        for level in np.linspace(0.3, 1.0, 12)
    ]
    return net, export_student(net, DetectionNet.outputs, iter(frames)), frames


def _weights(tflite):
    model = read_model(tflite)
    (graph,) = model.subgraphs
    return {
        tensor.name: (bytes(model.buffers[tensor.buffer].data), tensor.quantization.scale.tolist())
        for tensor in graph.tensors
        if model.buffers[tensor.buffer].data is not None and tensor.quantization.scale is not None
    }


def _run(tflite, image):
    interpreter = Interpreter(model_content=tflite, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def test_the_weights_and_the_scales_are_the_same(detector):
    net, wide, frames = detector
    tall = export_tall(net, wide, frames)
    assert _weights(tall.tflite) == _weights(wide.tflite)
    assert len(_weights(tall.tflite)) > 20
    assert wide.input.shape == (1, 64, 96, 3)
    assert tall.input.shape == (1, 96, 64, 3)
    for one, other in zip(wide.outputs, tall.outputs, strict=True):
        batch, rows, columns, channels = one.shape
        assert other.shape == (batch, columns, rows, channels)
        assert (one.name, one.scale, one.zero_point) == (other.name, other.scale, other.zero_point)
    assert tall.edgetpu.fully_mapped


def test_it_computes_what_the_module_computes_of_a_tall_frame(detector):
    """`export_tall` measures the noise itself; here a file for another module has to be refused."""
    net, wide, frames = detector
    assert min(export_tall(net, wide, frames).sqnr_db.values()) > 15
    torch.manual_seed(6)
    other = DetectionNet([4, 8, 8, 12, 16], [1, 1, 1], 8).eval()
    with pytest.raises(ExportError, match="keeps only"):
        export_tall(other, wide, frames)


def test_exchanged_twice_it_is_what_it_was(detector):
    _, wide, frames = detector
    again = exchanged(exchanged(wide.tflite))
    image = np.round(frames[0] * 128).clip(-128, 127).astype(np.int8)[None]
    for one, other in zip(_run(wide.tflite, image), _run(again, image), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_network_that_is_not_known_to_work_is_refused(net, frames):
    tflite = export_student(net, ["left", "right", "spatial"], iter(frames)).tflite
    with pytest.raises(ExportError, match="CONCATENATION cannot be had"):
        exchanged(tflite)
