"""Peers that read expressions of faces whose box is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.peers import __main__ as command
from benchmarks.peers.catalogue import OURS
from benchmarks.process import Program, Side
from edgeface import read_image

_SESSIONS = """\
import sys
sys.path.insert(0, sys.argv[1])
import onnxruntime
from lines import one_thread
one_thread(onnxruntime)
class Theirs(onnxruntime.InferenceSession):
    def __init__(self, path, **named):
        super().__init__(path, **named)
cpu = ["CPUExecutionProvider"]
for session in (
    onnxruntime.InferenceSession(sys.argv[2], providers=cpu),
    onnxruntime.InferenceSession(sys.argv[2], sess_options=onnxruntime.SessionOptions(), providers=cpu),
    Theirs(sys.argv[2], providers=cpu),
):
    options = session.get_session_options()
    print(options.intra_op_num_threads, options.inter_op_num_threads)
"""


def test_sessions_that_a_library_makes_have_one_thread(tmp_path: Path, repository: Path) -> None:
    """As EmotiEffLib, uniface and InsightFace make them."""
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    image, same = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("image", "same")
    )
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["image"], ["same"])], "g", [image], [same])
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "same.onnx")
    words = [str(repository / "benchmarks" / "sides"), str(tmp_path / "same.onnx")]
    done = subprocess.run(
        [sys.executable, "-c", _SESSIONS, *words], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["1 1"] * 3


def test_what_reads_expressions_is_not_measured_without_labels_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (network := tmp_path / "enet_b0_8_best_vgaf.onnx").touch()
    asked = command._arguments(["--data", "x", "--files", str(network.parent), "--only", "emotiefflib"])
    programs, not_here = command._programs(asked, {})
    assert "--expressions" in not_here["emotiefflib"]
    assert [peer.key for peer in programs] == [OURS, "litert"]
    assert all(variant.gives != "expression" for peer in programs for variant in peer.variants)
    assert "environment of emotiefflib" not in capsys.readouterr().err


def test_emotiefflib_is_shown_the_box_that_is_told(tmp_path: Path, astronaut_path: Path) -> None:
    """Its own code on a network that says what it sees: the mean of each channel."""
    pytest.importorskip("emotiefflib", reason="a peer's package; `python -m benchmarks.peers` installs it")
    onnx = pytest.importorskip("onnx")
    weights = np.random.default_rng(0).normal(0, 1, (8, 3)).astype(np.float32)
    told = np.zeros(8, np.float32)
    nodes = [
        onnx.helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        onnx.helper.make_node("Flatten", ["mean"], ["flat"]),
        onnx.helper.make_node("Gemm", ["flat", "weights", "bias"], ["scores"], transB=1),
    ]
    image = onnx.helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, ["N", 3, 224, 224])
    scores = onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["N", 8])
    constants = [onnx.numpy_helper.from_array(weights, "weights"), onnx.numpy_helper.from_array(told, "bias")]
    graph = onnx.helper.make_graph(nodes, "graph", [image], [scores], constants)
    path = tmp_path / "enet_b0_8_best_afew.onnx"
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    rgb = read_image(astronaut_path).rgb
    program = Program(
        "EmotiEffLib", Path(sys.executable), "emotiefflib_side.py", [json.dumps({"emotiefflib": str(path)})]
    )
    with Side(program, rgb, max(os.sched_getaffinity(0)), 120, (-9.0, 20.0, 109.0, 80.0)) as side:
        seen = side.calls("emotiefflib", warm_up=0, calls=1)["seen"]["expression"]
        assert side.ask({"do": "about"})["network"] == "enet_b0_8_best_afew"
    pixels = cv2.resize(rgb[20:100, 0:100], (224, 224)).mean((0, 1)) / 255
    logits = weights @ ((pixels - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225))
    wanted = np.exp(logits) / np.exp(logits).sum()
    names = ["anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"]
    assert list(seen) == names
    assert list(seen.values()) == pytest.approx(wanted, abs=1e-4)
