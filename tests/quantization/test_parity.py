from __future__ import annotations

import copy
import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from edgeface.bundle import Bundle
from quantization import build, lines
from quantization.__main__ import main
from quantization.convert import ExportError
from quantization.heldout import held_out_frames
from quantization.made import Made
from quantization.ort import OnnxModel
from quantization.pack import Student, build_bundle, export_student
from quantization.parity import METRIC_LIMITS, compare, measure, metric_gates
from quantization.provenance import write_json
from quantization.runtimes import by_interpreter, by_litert, by_torch
from quantization.splits import parts
from quantization.tasks import RECIPES, load_recipe
from quantization.training import save_weights

pytestmark = pytest.mark.workshop

NAMES = ("left", "right", "spatial")
RUNTIMES = {"litert int8", "onnx fp32", "onnx fp16", "onnx u8s8", "onnx s8s8"}


@pytest.fixture(scope="module")
def named(net):
    """The small network, saying what its outputs are called, as a student does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(net), "outputs", NAMES, raising=False)
        yield net


@pytest.fixture(scope="module")
def bundle(net, frames):
    student = Student(
        task="expression",
        exported=export_student(net, NAMES, frames[:16]),
        crop={"scale": 1.2, "shift": [0.0, 0.0], "align_above": 20.0},
        head={"temperature": 1.0},
        labels="fer8",
        licence="Apache-2.0",
        description="a test",
        card="# A card\n",
    )
    content = build_bundle([student], name="t", version="1", created_by="a test", licence="none")
    return Bundle.from_bytes(content)


@pytest.fixture(scope="module")
def stored(frames):
    """Held-out frames as the runtime stores them."""
    return [np.round(frame * 128).astype(np.int8) for frame in frames[16:]]


@pytest.fixture(scope="module")
def sound(named, bundle, frames, stored):
    return measure("expression", named, bundle, frames[:16], stored)


def test_a_sound_student_agrees_everywhere(sound):
    assert set(sound.runtimes) == RUNTIMES
    assert sound.frames == 8
    for found in sound.runtimes.values():
        assert [o.output for o in found] == list(NAMES)
    assert min(o.sqnr_db for o in sound.runtimes["onnx fp32"]) > 100
    assert min(o.sqnr_db for found in sound.runtimes.values() for o in found) > 20
    assert sound.failed == ()
    assert "FAILS" not in sound.table()
    assert "figures of int8 and fp32: not measured" in sound.table()
    assert json.loads(json.dumps(sound.to_dict()))["fused_convolutions"]["fused"] == 4


def test_a_spoiled_model_fails_where_it_is_spoiled(named, bundle, frames, stored):
    """One output's bias moved after the .tflite was made: that file is stale, the new ONNX files are not."""
    spoiled = copy.deepcopy(named)
    with torch.no_grad():
        spoiled.right.bias += 3
    parity = measure("expression", spoiled, bundle, frames[:16], stored)
    assert [gate.name for gate in parity.failed] == ["expression litert int8 right SQNR dB"]
    assert "FAILS" in parity.table()


def test_the_worst_frame_and_its_error_are_named():
    reference = [np.zeros((5, 2, 2, 3), np.float32) + 1, np.ones((5, 1, 1, 2), np.float32)]
    other = copy.deepcopy(reference)
    other[0][3, 1, 0, 2] += 0.25
    other[0][1, 0, 0, 0] -= 0.125
    first, second = compare(["a", "b"], reference, other)
    assert (first.worst_frame, first.largest_error) == (3, 0.25)
    assert first.sqnr_db == pytest.approx(10 * np.log10(60 / (0.25**2 + 0.125**2)), abs=0.01)
    assert second.largest_error == 0
    assert second.sqnr_db > 200


def test_nothing_that_is_not_a_number_passes():
    reference, other = [np.ones((2, 1, 1, 3), np.float32)], [np.ones((2, 1, 1, 3), np.float32)]
    other[0][1, 0, 0, 0] = np.nan
    (found,) = compare(["a"], reference, other)
    assert -1000 < found.sqnr_db < -500  # finite: JSON has no infinity
    assert found.largest_error > 1e38
    assert found.worst_frame == 1


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="output 'a'"):
        compare(["a"], [np.zeros((2, 1, 1, 3), np.float32)], [np.zeros((2, 1, 3, 1), np.float32)])


FP32 = {
    "landmarks": {"nme": 0.0400, "fr10": 0.01},
    "parsing": {"mean_f1": 0.7500, "f1_hair": 0.9000, "f1_necklace": 0.2000},
    "expression": {"accuracy": 0.8000, "ece": 0.02},
    "detection": {"recall_50": 0.97},
}


@pytest.mark.parametrize(
    ("task", "figure", "kept", "lost", "name"),
    [
        ("detection", "recall_50", 0.9601, 0.9599, "detection recall"),
        ("landmarks", "nme", 0.04049, 0.04051, "landmarks NME"),
        ("parsing", "mean_f1", 0.7451, 0.7449, "parsing mean F1"),
        ("parsing", "f1_necklace", 0.1801, 0.1799, "parsing class F1 necklace"),
        ("expression", "accuracy", 0.7951, 0.7949, "expression accuracy"),
    ],
)
def test_what_int8_may_cost(task, figure, kept, lost, name):
    def gates(value):
        return metric_gates(task, {"fp32": FP32[task], "int8": FP32[task] | {figure: value}})

    assert all(gate.passed for gate in gates(kept))
    (failed,) = [gate for gate in gates(lost) if not gate.passed]
    assert failed.name == f"{name}: lost to int8"
    assert "FAILS" in str(failed)


def test_a_gain_or_a_figure_without_a_limit_fails_nothing_and_a_missing_one_does():
    better = {"nme": 0.01, "fr10": 0.5}
    assert all(gate.passed for gate in metric_gates("landmarks", {"fp32": FP32["landmarks"], "int8": better}))
    assert not metric_gates("expression", {"fp32": FP32["expression"], "int8": {}})[0].passed
    assert metric_gates("landmarks", {"int8": FP32["landmarks"]}) == ()
    assert not metric_gates("detection", {"fp32": {}, "int8": {}})[0].passed
    assert {limit.task for limit in METRIC_LIMITS} == {"detection", "landmarks", "parsing", "expression"}


@pytest.mark.parametrize("unnamed", [{"f1_necklace": np.nan}, {"f1_necklace": None}, {}])
def test_a_class_that_neither_truth_nor_network_names_has_no_gate(unnamed):
    both = {"mean_f1": 0.75, "f1_hair": 0.9} | unnamed
    gates = metric_gates("parsing", {"fp32": both, "int8": both})
    assert [gate.name for gate in gates] == [
        "parsing mean F1: lost to int8",
        "parsing class F1 hair: lost to int8",
    ]
    assert all(gate.passed for gate in gates)
    lost = metric_gates("parsing", {"fp32": FP32["parsing"], "int8": both})
    assert [gate.name for gate in lost if not gate.passed] == ["parsing class F1 necklace: lost to int8"]


@pytest.mark.parametrize("value", [np.nan, None])
def test_a_figure_that_is_always_there_is_held_as_a_number(value):
    nothing = {"mean_f1": value}
    assert [gate.passed for gate in metric_gates("parsing", {"fp32": nothing, "int8": nothing})] == [False]


def test_a_gate_without_a_number_is_written_as_null_and_fails_where_it_is_read(sound, tmp_path):
    gates = metric_gates("expression", {"fp32": {"accuracy": np.nan}, "int8": {"accuracy": 0.5}})
    path = tmp_path / "parity.json"
    write_json(path, replace(sound, metrics=gates).to_dict())

    def refused(word):
        raise AssertionError(f"{word} is no JSON")

    found = json.loads(path.read_text(), parse_constant=refused)
    assert (found["gates"][-1]["value"], found["gates"][-1]["passed"]) == (None, False)
    made = Made(None, tmp_path, tmp_path)
    assert made.differing() == ["gates.parity: expression accuracy: lost to int8: nan, bound 0.005"]


def test_the_committed_figures_of_every_student_pass(repository):
    committed = json.loads((repository / "quantization/results/metrics.json").read_text())
    for task, figures in committed.items():
        gates = metric_gates(task, figures)
        assert gates, task
        assert [str(gate) for gate in gates if not gate.passed] == []


def test_a_runtime_of_another_python_is_spoken_to_through_files(elsewhere, bundle, stored):
    spec = bundle.model("expression")
    outputs, tflite = [spec.output(name) for name in NAMES], bundle.artifact(spec.artifact)
    version, maps = by_interpreter(elsewhere, "tflite-runtime", tflite, outputs, stored)
    assert version == "2.99"
    for here, there in zip(by_litert(tflite, outputs, stored), maps, strict=True):
        np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("kind", ["tflite-runtime", "tflite-micro"])
def test_the_real_runtime_agrees_with_the_network(named, bundle, stored, kind):
    """Run with the interpreters' paths in EDGEFACE_PYTHON_TFLITE_RUNTIME and ..._TFLITE_MICRO."""
    variable = "EDGEFACE_PYTHON_" + kind.upper().replace("-", "_")
    if variable not in os.environ:
        pytest.skip(f"set {variable} to a Python that has {kind}")
    spec = bundle.model("expression")
    outputs, tflite = [spec.output(name) for name in NAMES], bundle.artifact(spec.artifact)
    _, maps = by_interpreter(Path(os.environ[variable]), kind, tflite, outputs, stored)
    assert min(found.sqnr_db for found in compare(NAMES, by_torch(named, stored), maps)) > 20


def test_a_python_without_the_runtime_is_named(tmp_path, bundle, stored):
    spec = bundle.model("expression")
    outputs, tflite = [spec.output(name) for name in NAMES], bundle.artifact(spec.artifact)
    with pytest.raises(ExportError, match=r"tflite-micro: .*does not run"):
        by_interpreter(tmp_path / "no-python", "tflite-micro", tflite, outputs, stored)
    with pytest.raises(ExportError, match=r"tflite-runtime: .* failed: .*tflite_runtime"):
        by_interpreter(Path(sys.executable), "tflite-runtime", tflite, outputs, stored)


@pytest.fixture(scope="module")
def packed(miniature, tmp_path_factory):
    """The expression student in miniature, with random weights, from recipe to bundle."""
    root = tmp_path_factory.mktemp("packed")
    text = (RECIPES / "expression.toml").read_text()
    text = re.sub(r"widths = \[.*?\]", "widths = [4, 8, 8, 12]", text)
    recipe = root / "expression.toml"
    recipe.write_text(re.sub(r"(\[deploy\]\n)", r"\1min_sqnr_db = 3.0\n", text))
    torch.manual_seed(7)
    network = build.network_of(load_recipe(recipe))
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.8, 1.2)
        nn.init.uniform_(norm.bias, -0.1, 0.3)
    with torch.no_grad():
        network.train()(torch.rand(24, 1, 48, 48) * 2 - 1)
    save_weights(network.eval(), root / "expression.npz")
    with miniature.split():
        content = build.build([recipe], miniature.data, miniature.labels, root, root / "none.json")
    (root / "students.bundle").write_bytes(content)
    return root


def test_held_out_frames_are_the_runtimes_crops_of_validation_photos(packed, miniature):
    with miniature.split():
        names = parts("ferplus", "validation")
        held_out = held_out_frames(
            "expression",
            Bundle.load(packed / "students.bundle"),
            miniature.data,
            miniature.labels,
            count=len(names),
        )
        fewer = held_out_frames(
            "expression", Bundle.load(packed / "students.bundle"), miniature.data, miniature.labels, count=2
        )
    frames = held_out.frames
    assert held_out.photos == [Path(name).name for name in names]
    assert len(frames) == len(names)
    assert fewer.photos == [held_out.photos[0], held_out.photos[-1]]
    assert {(f.shape, f.dtype.name) for f in frames} == {((1, 48, 48, 3), "int8")}
    assert not any(np.array_equal(a, b) for i, a in enumerate(frames) for b in frames[:i])


@pytest.fixture
def ask(packed, miniature, monkeypatch):
    """Runs ``parity expression`` on the miniature with the given metrics and weights."""
    monkeypatch.setattr(lines, "RECIPES", packed)

    def run(figures, weights=packed):
        (packed / "metrics.json").write_text(json.dumps({"expression": figures}))
        with miniature.split():
            return CliRunner().invoke(
                main,
                [
                    "parity", "expression", "--frames", "4",
                    "--data", str(miniature.data), "--labels", str(miniature.labels),
                    "--weights", str(weights), "--bundle", str(packed / "students.bundle"),
                    "--metrics", str(packed / "metrics.json"), "--out", str(packed / "parity.json"),
                ],
            )  # fmt: skip

    return run


def test_parity_passes_a_sound_student(ask, packed, miniature):
    result = ask({"int8": FP32["expression"], "fp32": FP32["expression"]})
    assert result.exit_code == 0, result.output
    (found,) = json.loads((packed / "parity.json").read_text())
    assert set(found["runtimes"]) == RUNTIMES
    assert all(gate["passed"] for gate in found["gates"])
    assert "expression accuracy: lost to int8" in {gate["name"] for gate in found["gates"]}
    assert found["tensorrt"] == []
    with miniature.split():
        photos = {Path(name).name for name in parts("ferplus", "validation")}
    outputs = [one for outputs in found["runtimes"].values() for one in outputs]
    assert {one["photo"] for one in outputs} <= photos
    assert f"in frame {outputs[0]['worst_frame']}, {outputs[0]['photo']}\n" in result.output


def test_parity_names_the_gate_that_fails(ask, packed, tmp_path):
    result = ask({"int8": {"accuracy": 0.70}, "fp32": {"accuracy": 0.80}})
    assert result.exit_code == 1
    assert "FAILED: expression accuracy: lost to int8: 0.1, bound 0.005" in result.output
    with np.load(packed / "expression.npz") as arrays:
        spoiled = {k: -arrays[k] if k == "head.weight" else arrays[k] for k in arrays.files}
        assert "head.weight" in arrays.files
    np.savez(tmp_path / "expression.npz", **spoiled)
    result = ask({}, tmp_path)
    assert result.exit_code == 1
    assert "FAILED: expression litert int8" in result.output


def test_convert_writes_every_file_of_a_student(packed, miniature, monkeypatch, tmp_path):
    monkeypatch.setattr(lines, "RECIPES", packed)
    arguments = [
        "--data",
        miniature.data,
        "--labels",
        miniature.labels,
        "--weights",
        packed,
        "--out",
        tmp_path,
    ]
    with miniature.split():
        result = CliRunner().invoke(main, ["convert", "expression", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(files) == {
        "expression.int8.tflite",
        "expression.fp32.onnx",
        "expression.fp16.onnx",
        "expression.int8-u8s8.onnx",
        "expression.int8-s8s8.onnx",
    }
    bundle = Bundle.load(packed / "students.bundle")
    assert files["expression.int8.tflite"] == bundle.artifact(bundle.model("expression").artifact)
    assert OnnxModel(files["expression.fp16.onnx"]).outputs == ("logits",)
