"""Checkpoints of foreign trainings: read without their code, laid in a net, refused with the reason."""

from __future__ import annotations

import argparse
import io
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from quantization.teachers.adapter import AdapterError
from quantization.teachers.adapterfile import NETWORKS
from quantization.teachers.catalogue import adapter_named, published
from quantization.teachers.checkpoint import export_checkpoint, fill, tensors

pytestmark = pytest.mark.workshop


class Small(nn.Module):
    """With what a state_dict leaves out: a passing buffer, an attribute, an absent bias."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.SiLU())
        self.scale = nn.Parameter(torch.ones(2))
        self.register_buffer("grid", torch.zeros(3), persistent=False)
        self.words = {"act": nn.functional.silu}


class Meter:
    """As trainings define them beside their loop."""

    def __init__(self):
        self.losses = np.zeros((3, 2), np.float32)


@pytest.fixture
def small():
    torch.manual_seed(0)
    return Small()


def same(state, expected):
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(
    "nest", [None, "state_dict", "model_state_dict", "state_dict_backbone", "model", "net"]
)
@pytest.mark.parametrize("parallel", [False, True])
def test_parameters_are_found_within_what_a_training_lays_around_them(tmp_path, small, nest, parallel):
    state = {f"module.{name}" if parallel else name: t for name, t in small.state_dict().items()}
    around = {
        "epoch": 3,
        "args": argparse.Namespace(lr=1e-3, folder=Path("x")),
        "best": [0.5, None, np.float64(0.25)],
        "best_acc": torch.tensor(92.2),
        "recorder": Meter(),
    }
    torch.save({**around, nest: state} if nest else state, tmp_path / "c.pth")
    same(tensors(tmp_path / "c.pth"), small.state_dict())


@pytest.mark.parametrize("wrap", [nn.Identity, nn.DataParallel, lambda net: {"epoch": 1, "model": net}])
def test_a_whole_pickled_network_is_read_as_if_it_were_its_state_dict(tmp_path, small, wrap):
    torch.save(wrap(small) if wrap is not nn.Identity else small, tmp_path / "c.pt")
    same(tensors(tmp_path / "c.pt"), small.state_dict())


def test_a_file_of_the_time_before_zip_is_read_too(tmp_path, small):
    torch.save(small.state_dict(), tmp_path / "c.pth", _use_new_zipfile_serialization=False)
    same(tensors(tmp_path / "c.pth"), small.state_dict())


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path, by):
        self.path, self.by = path, by

    def __reduce__(self):
        return self.by, (self.path, "w")


def test_no_code_of_a_checkpoint_runs(tmp_path, small):
    mark = tmp_path / "mark"
    torch.save({"recorder": Evil(str(mark), open), "state_dict": small.state_dict()}, tmp_path / "c.pth")
    pickle.loads(pickle.dumps(Evil(str(mark), open))).close()
    assert mark.exists()  # it would have
    mark.unlink()
    same(tensors(tmp_path / "c.pth"), small.state_dict())
    assert not mark.exists()


def test_what_the_system_does_is_refused_at_once(tmp_path):
    import os

    torch.save({"w": Evil("true", os.system)}, tmp_path / "c.pth")
    with pytest.raises(AdapterError, match=r"c.pth: is no checkpoint .*posix.*torch.save\(net.state_dict"):
        tensors(tmp_path / "c.pth")


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (b"no pickle", r"can be read without running its code .*bring that file"),
        (b"", r"can be read without running its code"),
        ([1, 2], r"holds no parameters by name: bring a state_dict"),
        ({"epoch": 1}, r"holds no parameters"),
        ({"state_dict": {}}, r"holds no parameters"),
        (None, r"cannot be read \(No such file"),
    ],
)
def test_a_file_without_parameters_is_named_with_the_mend(tmp_path, stored, message):
    path = tmp_path / "c.pth"
    if isinstance(stored, bytes):
        path.write_bytes(stored)
    elif stored is not None:
        torch.save(stored, path)
    with pytest.raises(AdapterError, match=message) as caught:
        tensors(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_torchscript_archive_is_refused(tmp_path, small):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("net/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("net/constants.pkl", b"\x80\x02).")
        archive.writestr("net/version", "3\n")
    (tmp_path / "c.pt").write_bytes(buffer.getvalue())
    with pytest.raises(AdapterError, match="can be read without running its code"):
        tensors(tmp_path / "c.pt")


def test_parameters_that_do_not_fit_are_named(small):
    state = small.state_dict()
    state["fc.weight"] = state.pop("scale")
    state["body.0.weight"] = torch.zeros(5, 3, 1, 1)
    with pytest.raises(AdapterError) as caught:
        fill(Small(), state)
    assert str(caught.value) == (
        "it lacks scale; it has body.0.weight [5, 3, 1, 1] instead of [4, 3, 1, 1]; "
        "nobody knows its fc.weight"
    )
    with pytest.raises(AdapterError, match=r"it lacks body.0.weight, body.1.weight, body.1.bias and 2 more"):
        fill(Small(), {"scale": torch.ones(2)})


def test_parameters_to_spare_are_left_out_and_no_others(small):
    state = {**small.state_dict(), "fc.weight": torch.ones(1), "fd.weight": torch.ones(1)}
    other = Small()
    assert fill(other, state, spare=("fc.", "fd.")) is other
    same(other.state_dict(), small.state_dict())
    with pytest.raises(AdapterError, match=r"^nobody knows its fd.weight$"):
        fill(Small(), state, spare=("fc.",))


def test_a_norm_without_a_counter_of_batches_is_as_good(small):
    state = small.state_dict()
    del state["body.1.num_batches_tracked"]
    small.body[1].running_mean += 1
    assert torch.equal(fill(Small(), state).body[1].running_mean, small.body[1].running_mean)


def test_a_checkpoint_of_half_precision_fills_a_net_of_single(small):
    net = fill(Small(), {name: t.half() for name, t in small.state_dict().items()})
    assert net.scale.dtype is torch.float32


def test_every_network_is_a_module_with_the_seam_and_serves_an_adapter():
    from importlib import import_module

    named = {adapter.network for adapter in published()} - {""}
    assert named == set(NETWORKS)
    for name in named:
        assert callable(import_module(f"quantization.teachers.networks.{name}").network)


def test_a_foreign_checkpoint_names_file_teacher_and_mend(tmp_path):
    torch.save({"w": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(
        AdapterError, match=r"w.pth: is no checkpoint of BiSeNet-19, .*: it lacks cp.*: bring"
    ):
        export_checkpoint(adapter_named("bisenet19"), tmp_path / "w.pth", tmp_path / "b.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


def test_an_input_of_a_size_that_the_network_cannot_take_is_named(tmp_path):
    from quantization.teachers.networks.bisenet import BiSeNet

    torch.save(BiSeNet(19).state_dict(), tmp_path / "b.pth")
    adapter = adapter_named("bisenet19")
    adapter = replace(adapter, input=replace(adapter.input, size=(50, 50)))
    with pytest.raises(
        AdapterError, match=r"bisenet19: its network cannot take 50 x 50 \(.*: mend input.size"
    ):
        export_checkpoint(adapter, tmp_path / "b.pth", tmp_path / "b.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["b.pth"]


def test_the_file_has_the_inputs_and_the_output_of_its_adapter(tmp_path):
    from quantization.teachers.networks.bisenet import BiSeNet

    torch.save(BiSeNet(19).state_dict(), tmp_path / "b.pth")
    adapter = adapter_named("bisenet19")
    adapter = replace(
        adapter,
        input=replace(adapter.input, name="picture", size=(64, 32)),
        output=replace(adapter.output, output="maps"),
    )
    export_checkpoint(adapter, tmp_path / "b.pth", tmp_path / "b.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "b.onnx"), providers=["CPUExecutionProvider"])
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("picture", [1, 3, 32, 64])]
    assert [o.name for o in session.get_outputs()] == ["maps"]
