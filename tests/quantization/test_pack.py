from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from edgeface.backends.litert import LiteRTBackend, LiteRTSession
from edgeface.bundle import Bundle
from edgeface.edgetpu_compiler import ON_CPU
from edgeface.golden import golden_digest, golden_input
from edgeface.results import Ran
from quantization import pack
from quantization.canonical import canonicalise
from quantization.convert import ExportError, module_outputs
from quantization.edgetpu import Problem, check
from quantization.onnx_export import export_onnx
from quantization.pack import Student, build_bundle, export_student, student_of

pytestmark = pytest.mark.workshop

NAMES = ["left", "right", "spatial"]
TINY = Path(__file__).parents[1] / "fixtures" / "tiny.bundle"


@pytest.fixture(scope="module")
def exported(net, frames):
    return export_student(net, NAMES, iter(frames))


def student(exported, **changes):
    fields = {
        "task": "expression",
        "exported": exported,
        "crop": {"scale": 1.2, "shift": [0.0, 0.0], "align_above": 20.0},
        "head": {"temperature": 1.0},
        "labels": "fer8",
        "licence": "Apache-2.0",
        "description": "a test",
        "card": "# A card\n",
        "metrics": {"accuracy": 0.5},
    }
    return Student(**(fields | changes))


def test_the_specs_describe_the_file(exported):
    interpreter = Interpreter(model_content=exported.tflite)
    assert (exported.input.shape, exported.input.scale, exported.input.zero_point) == (
        (1, 16, 16, 3),
        1 / 128,
        0,
    )
    assert [spec.shape for spec in exported.outputs] == [(1, 8, 8, 4), (1, 8, 8, 4), (1, 1, 1, 5)]
    for spec, detail in zip(exported.outputs, interpreter.get_output_details(), strict=True):
        assert detail["name"] == spec.name == NAMES[spec.index]
        assert detail["quantization"] == (pytest.approx(spec.scale), spec.zero_point)
    assert exported.edgetpu.fully_mapped


def test_every_output_is_the_one_it_is_named_after(net, exported, frames):
    """A frame the calibration has not seen; outputs of equal shape; each within a few steps of the module."""
    interpreter = Interpreter(model_content=exported.tflite)
    interpreter.allocate_tensors()
    details = interpreter.get_output_details()
    image = np.roll(frames[3], 5, axis=1)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.round(image * 128).astype(np.int8))
    interpreter.invoke()
    expected = module_outputs(net, torch.from_numpy(image.transpose(0, 3, 1, 2).copy()))
    for spec, output in zip(exported.outputs, expected, strict=True):
        stored = interpreter.get_tensor(details[spec.index]["index"]).astype(np.float64)
        error = np.abs((stored - spec.zero_point) * spec.scale - output.permute(0, 2, 3, 1).numpy())
        assert error.mean() < 2.5 * spec.scale
    assert min(exported.sqnr_db.values()) > 20


def test_swapped_outputs_do_not_leave_the_workshop(net, exported, int8_file, frames):
    names = ["right", "left", "spatial"]
    swapped = [exported.outputs[1], exported.outputs[0], exported.outputs[2]]
    with pytest.raises(ExportError, match=r"output 'right' keeps only -?\d+\.\d dB"):
        pack._check_quantisation(net, canonicalise(int8_file, names), swapped, frames[:4], 10.0)


def test_an_output_ruined_by_quantisation_does_not_leave_the_workshop(net, frames):
    with pytest.raises(ExportError, match="dB after quantisation \\(at least 90 wanted\\)"):
        export_student(net, NAMES, frames, min_sqnr_db=90)


def test_an_output_that_is_no_number_does_not_leave_the_workshop(net, exported, frames):
    broken = copy.deepcopy(net)
    with torch.no_grad():
        broken.right.weight[0, 0] = float("nan")
    with pytest.raises(ExportError, match="output 'right' keeps only nan dB"):
        pack._check_quantisation(broken, exported.tflite, exported.outputs, frames[:2], 10.0)


def test_a_network_that_does_not_map_leaves_only_when_asked_for(frames):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Hardswish())
    with pytest.raises(ExportError, match="HARD_SWISH"):
        export_student(model, ["map"], frames)
    assert not export_student(model, ["map"], frames, require_edgetpu=False).edgetpu.fully_mapped


@pytest.mark.parametrize(
    ("names", "message"),
    [(["left", "right"], "returns 3 tensors, but 2 names"), (["left", "left", "spatial"], "names repeat")],
)
def test_wrong_names_are_refused(net, frames, names, message):
    with pytest.raises(ExportError, match=message):
        export_student(net, names, frames)


def test_no_frames_are_refused(net):
    with pytest.raises(ExportError, match="no calibration frames"):
        export_student(net, NAMES, [])


def test_a_bundle_reads_back_as_it_was_packed(exported):
    data = build_bundle(
        [student(exported)], name="test", version="1.0", created_by="a test", licence="Apache-2.0"
    )
    bundle = Bundle.from_bytes(data)
    spec = bundle.model("expression")
    assert bundle.tasks == ("expression",)
    assert bundle.artifact(spec.artifact) == exported.tflite
    assert bundle.card("expression") == "# A card\n"
    assert (spec.input.height, spec.input.width, spec.input.mean) == (16, 16, 128)
    # The workshop and the runtime speak of tensors with the same records.
    assert (spec.input, spec.outputs) == (exported.input, exported.outputs)
    assert spec.head["temperature"] == 1.0
    assert spec.metrics["accuracy"] == 0.5


def test_a_bundle_holds_the_answer_to_the_known_question(exported):
    """Twice the same one, and another for another network."""
    data = build_bundle(
        [student(exported)], name="test", version="1.0", created_by="a test", licence="Apache-2.0"
    )
    bundle = Bundle.from_bytes(data)
    spec = bundle.model("expression")
    session = LiteRTBackend().open(spec, bundle.artifact(spec.artifact), 1)
    answer = session.run(golden_input(spec))
    assert spec.golden == golden_digest(spec, answer)
    answer["right"].flat[0] ^= 1
    assert spec.golden != golden_digest(spec, answer)
    again = student_of(bundle, "expression").manifest()
    assert json.loads(json.dumps(again)) == student(exported).manifest()


def test_without_fast_kernels_there_is_no_golden_answer(exported, monkeypatch):
    monkeypatch.setattr(LiteRTSession, "ran", Ran("litert", None))
    with pytest.raises(ExportError, match="without XNNPACK"):
        student(exported).manifest()


def test_an_onnx_file_that_answers_otherwise_is_not_packed(net, exported, frames):
    def packed(files):
        return student(dataclasses.replace(exported, variants={"onnx": files.u8s8})).manifest()

    assert packed(export_onnx(net, NAMES, frames))["variants"] == {"onnx": "expression.int8.onnx"}
    torch.manual_seed(1)
    other = copy.deepcopy(net)
    for weights in other.parameters():
        nn.init.normal_(weights, std=0.2)
    with pytest.raises(ExportError, match="ONNX file of 'expression' answers the known question otherwise"):
        packed(export_onnx(other, NAMES, frames))


def test_a_bundle_says_how_much_an_edge_tpu_leaves_to_the_cpu(exported, frames):
    assert student(exported).manifest()["metrics"] == {"accuracy": 0.5, ON_CPU: 0}
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Hardswish(), nn.Conv2d(4, 4, 1))
    partly = export_student(model, ["map"], frames, require_edgetpu=False)
    assert student(partly).manifest()["metrics"][ON_CPU] == 2
    refused = dataclasses.replace(partly.edgetpu, refusals=(Problem("of a newer version", "convert again"),))
    whole = student(dataclasses.replace(partly, edgetpu=refused)).manifest()["metrics"][ON_CPU]
    assert whole == len(partly.edgetpu.operators) == 3


def test_two_students_for_one_task_are_refused(exported):
    with pytest.raises(ExportError, match="two students for the task 'expression'"):
        build_bundle(
            [student(exported)] * 2, name="test", version="1", created_by="a test", licence="Apache-2.0"
        )


def test_the_tiny_bundle_keeps_the_contract_of_the_students():
    bundle = Bundle.load(TINY)
    assert TINY.stat().st_size < 120_000
    assert bundle.tasks == ("detection", "expression", "landmarks", "parsing")
    shapes = {
        task: [bundle.model(task).input.shape, *(output.shape for output in bundle.model(task).outputs)]
        for task in bundle.tasks
    }
    assert shapes == {
        "detection": [
            (1, 64, 80, 3),
            *((1, h, w, c) for h, w in ((8, 10), (4, 5), (2, 3)) for c in (1, 4, 10)),
        ],
        "landmarks": [(1, 32, 32, 3), (1, 1, 1, 136), (1, 1, 1, 68), (1, 1, 1, 1)],
        "parsing": [(1, 32, 32, 3), (1, 32, 32, 19)],
        "expression": [(1, 32, 32, 3), (1, 1, 1, 8)],
    }
    for task in bundle.tasks:
        spec = bundle.model(task)
        details = Interpreter(model_content=bundle.artifact(spec.artifact)).get_output_details()
        assert check(bundle.artifact(spec.artifact)).fully_mapped
        for output in spec.outputs:
            assert details[output.index]["name"] == output.name
            assert details[output.index]["quantization"] == (pytest.approx(output.scale), output.zero_point)
