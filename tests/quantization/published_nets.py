"""What the tests of published networks share: nets at hand, and torch held against the exported file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import torch

from quantization.teachers.catalogue import adapter_named
from quantization.teachers.checkpoint import export_checkpoint

# Of the astronaut, by YuNet: box and five points.
BOX = np.array([181.0, 53.6, 92.5, 124.0], np.float32)
POINTS = np.array([[204.6, 96.3], [246.9, 102.3], [221.7, 126.1], [200.4, 140.6], [238.5, 145.9]], np.float32)


def meta(make):
    """The net without its numbers: names and shapes, at once."""
    with torch.device("meta"):
        return make()


def count(net):
    """Of its parameters."""
    return sum(parameter.numel() for parameter in net.parameters())


def lively(net):
    """The net, in eval mode, with weights that are the same everywhere and let something through."""
    for place, (name, tensor) in enumerate(sorted(net.state_dict().items())):
        if not tensor.is_floating_point() or name.endswith(("coords_table", "image_mean", "image_std")):
            continue
        rng = np.random.default_rng(place)
        if name.endswith("running_var"):
            values = rng.random(tensor.shape) + 0.5
        elif tensor.dim() > 1:
            values = (rng.random(tensor.shape) * 2 - 1) * (3 / tensor[0].numel()) ** 0.5
        else:
            values = (rng.random(tensor.shape) * 2 - 1) * 0.2 + name.endswith("weight")
        tensor.copy_(torch.from_numpy(values))
    return net.eval()


def noise(*shape):
    """-1 to 1, the same everywhere."""
    return torch.from_numpy(np.random.default_rng(0).random(shape, np.float32) * 2 - 1)


def small(monkeypatch, backbone, depths):
    """The same network with fewer and narrower blocks."""
    monkeypatch.setattr(backbone, "depths", depths)
    monkeypatch.setattr(backbone, "widths", (32, 64, 128, 256))


def exported(tmp_path, adapter, net, inputs):
    """What the file says that is written from the net's checkpoint, nested as its authors do."""
    torch.save({"epoch": 1, "state_dict_backbone": net.state_dict()}, tmp_path / "c.pt")
    export_checkpoint(adapter, tmp_path / "c.pt", tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    feed = {i.name: value.numpy() for i, value in zip(session.get_inputs(), inputs, strict=True)}
    return session.run([adapter.output.output], feed)[0]


def sized(name, *size):
    """The adapter for another size of input."""
    adapter = adapter_named(name)
    return replace(adapter, input=replace(adapter.input, size=size))


def agree(tmp_path, adapter, net, *inputs):
    """The file that is written from the net's checkpoint says what the net says."""
    with torch.no_grad():
        expected = net(*inputs).numpy()
    tolerance = 1e-4 * np.abs(expected).max()
    assert expected.std() > 20 * tolerance  # or a constant would agree too
    said = exported(tmp_path, adapter, net, inputs)
    assert said.shape == expected.shape
    assert np.abs(said - expected).max() < tolerance
