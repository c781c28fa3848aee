"""The students as the workshop exports them, through the backend: LiteRT's answers, TensorRT's rules."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeface
from edgeface.backends.litert import LiteRTBackend
from edgeface.backends.onnx import OnnxBackend
from edgeface.bundle import Bundle, encode_bundle
from edgeface.cli.compile import _header

pytestmark = [
    pytest.mark.workshop,
    pytest.mark.skipif(find_spec("torch") is None, reason="needs the extra `workshop`"),
]

TASKS = ("detection", "landmarks", "parsing", "expression")


class Seen:
    """A backend that keeps every image that a session was given."""

    name, formats = "seen", frozenset({"tflite"})

    def __init__(self) -> None:
        self.images: dict[str, list[np.ndarray]] = {task: [] for task in TASKS}

    def open(self, spec: Any, artifact: bytes, threads: int) -> Any:
        session = LiteRTBackend().open(spec, artifact, threads)
        kept, run = self.images[spec.task], session.run
        session.run = lambda tensors: kept.append(tensors["image"].copy()) or run(tensors)
        return session


@pytest.fixture(scope="module")
def photo(repository: Path) -> edgeface.Frame:
    return edgeface.read_image(repository / "examples" / "astronaut.jpg")


@pytest.fixture(scope="module")
def images(photo: edgeface.Frame) -> dict[str, list[np.ndarray]]:
    """Crops of the astronaut as the runtime makes them: the last is for the test, the others calibrate."""
    seen = Seen()
    with edgeface.FaceAnalyzer(backend=seen) as analyzer:
        for step in (0, 8, 16, 24):
            analyzer.analyze(np.ascontiguousarray(photo.rgb[step:, step:]))
        analyzer.analyze(photo)
    return seen.images


@pytest.fixture(scope="module")
def exported(repository: Path, images: dict[str, list[np.ndarray]]) -> dict[str, Any]:
    from quantization.build import load_networks
    from quantization.onnx_export import export_onnx

    networks = load_networks(repository / "quantization" / "weights", TASKS)
    return {
        task: export_onnx(
            network,
            [str(name) for name in type(network).outputs],
            [image.astype(np.float32) / 128 for image in images[task][:-1]],
        )
        for task, network in networks.items()
    }


@pytest.mark.parametrize("recipe", ["u8s8", "s8s8"])
@pytest.mark.parametrize("task", TASKS)
def test_a_students_file_opens_and_gives_what_its_outputs_are_on_the_headers_grid(
    exported: dict[str, Any], images: dict[str, list[np.ndarray]], task: str, recipe: str
) -> None:
    from quantization.ort import OnnxModel

    file = getattr(exported[task], recipe)
    spec = Bundle.builtin().model(task)
    image = images[task][-1]
    session = OnnxBackend().open(spec, file, 1)
    outputs = session.run({"image": image})
    assert session.ran.precision == "int8"
    opened = OnnxModel(file)
    real = opened.run({"image": np.ascontiguousarray(image.transpose(0, 3, 1, 2), np.float32) / 128})
    for name, value in zip(opened.outputs, real, strict=True):
        output = spec.output(name)
        steps = np.rint(value.astype(np.float64) / output.scale) + output.zero_point
        wanted = np.clip(steps, -128, 127).astype(np.int8).transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(outputs[name], wanted)


@pytest.mark.parametrize("task", TASKS)
def test_tensorrt_takes_every_student_whole(exported: dict[str, Any], task: str) -> None:
    from quantization.onnx_graph import check_tensorrt

    assert check_tensorrt(exported[task].s8s8) == ()
    assert check_tensorrt(exported[task].u8s8)  # the check sees a difference


def test_the_main_job_gives_the_same_face_from_onnx(exported: dict[str, Any], photo: edgeface.Frame) -> None:
    """One bundle with both formats; the caller changes one word."""
    bundle = Bundle.builtin()
    models = {
        task: dataclasses.replace(bundle.model(task), variants={"onnx": f"{task}.u8s8.onnx"})
        for task in TASKS
    }
    content = {artifact.name: bundle.artifact(artifact.name) for artifact in bundle.artifacts}
    content |= {f"{task}.u8s8.onnx": exported[task].u8s8 for task in TASKS}
    both = Bundle.from_bytes(encode_bundle(_header(bundle, models), content))
    faces = {}
    for backend in (LiteRTBackend(), OnnxBackend()):
        with edgeface.FaceAnalyzer(bundle=both, backend=backend) as analyzer:
            (faces[backend.name],) = analyzer.analyze(photo).faces
    one, other = faces["litert"], faces["onnx"]
    assert one.expression.label == other.expression.label
    size = max(one.bbox.width, one.bbox.height)
    apart = np.linalg.norm(one.landmarks.points - other.landmarks.points, axis=1)
    assert apart.mean() < 0.02 * size
