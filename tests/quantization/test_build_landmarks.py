"""A build of a landmarks student from labels to a page, on photos that are made of the one that ships."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from edgeface import Bundle, FaceAnalyzer, read_image
from edgeface.edgetpu_compiler import ON_CPU
from quantization import splits
from quantization.__main__ import main
from quantization.coefficients import LIVE_NAMES
from quantization.subjects import Subject
from tests.quantization import tiny
from tests.quantization.miniature import Miniature, write_points

pytestmark = pytest.mark.workshop

_WIDTH, _HEIGHT = 200, 160
STEPS = ("label lfpw", "distill points", "convert points", "check points", "parity points", "evaluate points",
         "bundle points", "report points")  # fmt: skip


@pytest.fixture(autouse=True)
def few_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def with_a_face(drawn: Miniature, photo: Path, root: Path) -> Miniature:
    """The miniature with eight pictures of one real face, each turned and shifted, in place of LFPW's.

    A detector finds it, and where its points are is what the shipped student says of the whole photo.
    """
    made = Miniature(root / "data", root / "labels", root / "splits")
    for old, new in ((drawn.data, made.data), (drawn.labels, made.labels), (drawn.lists, made.lists)):
        shutil.copytree(old, new)
    whole = read_image(photo)
    with FaceAnalyzer(("landmarks",)) as analyzer:
        (face,) = analyzer.analyze(whole).faces
    rng = np.random.default_rng(12)
    with np.load(made.labels / "lfpw.npz") as stored:
        columns = dict(stored)
    folder, items = made.data / "landmarks/lfpw/trainset", []
    for i, name in enumerate(columns["names"]):
        scale = rng.uniform(0.55, 0.75)
        matrix = cv2.getRotationMatrix2D(face.bbox.center, rng.uniform(-12, 12), scale)
        matrix[:, 2] += (_WIDTH / 2, _HEIGHT / 2) - np.array(face.bbox.center) + rng.uniform(-15, 15, 2)
        picture = cv2.warpAffine(whole.rgb, matrix, (_WIDTH, _HEIGHT), flags=cv2.INTER_AREA)
        picture = np.clip(picture * rng.uniform(0.7, 1.1), 0, 255).astype(np.uint8)
        points = (face.landmarks.points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
        cv2.imwrite(str(folder / name), picture[:, :, ::-1])
        write_points((folder / name).with_suffix(".pts"), points)
        middle = matrix[:, :2] @ face.bbox.center + matrix[:, 2]
        size = scale * np.array([face.bbox.width, face.bbox.height])
        columns["points"][i], columns["boxes"][i] = points, [*(middle - size / 2), *size]
        eyes, mouth = (points[36:42].mean(0), points[42:48].mean(0)), (points[48], points[54])
        columns["keypoints"][i] = [*eyes, points[30], *mouth]
        items.append(splits.Item(str(name), splits.digest(folder / name), str(columns["parts"][i])))
    np.savez(made.labels / "lfpw.npz", **columns)
    with np.load(made.labels / "lfpw_blendshapes.npz") as stored:
        said = dict(stored) | {"boxes": columns["boxes"]}
    np.savez(made.labels / "lfpw_blendshapes.npz", **said)
    seen = {key: columns[key] for key in ("names", "boxes", "scores", "keypoints")}
    np.savez(made.labels / "lfpw_faces.npz", **seen, agreed=np.ones(len(items), np.bool_))
    with made.split():
        splits.write_split("lfpw", items)
    return made


def test_landmarks_from_labels_to_a_page(miniature, repository, tmp_path):
    photo = repository / "examples/astronaut.jpg"
    place = with_a_face(miniature, photo, tmp_path)
    recipe = tiny.write(tmp_path / "recipes", points=tiny.LANDMARKS)
    words = ["build", recipe, "--data", place.data, "--labels", place.labels, "--teachers", tmp_path]
    words += ["--runs", tmp_path / "runs", "--threads", "1", "--frames", "2"]

    def build(*more):
        with place.split():
            return CliRunner().invoke(main, [str(word) for word in (*words, *more)])

    done = build()
    assert done.exit_code == 0, done.output
    order = [done.output.index(f"{name}: ") for name in STEPS]
    assert order == sorted(order)
    built = tmp_path / "runs/built/points"
    rows = [json.loads(row) for row in (tmp_path / "runs/points/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [15, 30]

    figures = json.loads((built / "results/metrics.json").read_text())["landmarks"]
    for kind in ("int8", "fp32"):
        assert (figures[kind]["photos"], figures[kind]["missed"]) == (2, 0)
        assert 0 < figures[kind]["nme"] < 0.2
    assert "target nme <= 0.2: " in done.output
    assert json.loads((built / "check.json").read_text())["fully_mapped"]
    parity = json.loads((built / "parity.json").read_text())
    assert {"litert int8", "onnx fp32", "onnx fp16", "onnx u8s8", "onnx s8s8"} <= parity["runtimes"].keys()
    assert all(gate["passed"] for gate in parity["gates"])

    bundle = Bundle.load(built / "student.bundle")
    spec = bundle.model("landmarks")
    assert bundle.artifact(spec.artifact) == (built / "landmarks.int8.tflite").read_bytes()
    assert spec.metrics["nme"] == pytest.approx(figures["int8"]["nme"], abs=1e-4)
    assert "NME by the outer eye corners" in bundle.card("landmarks")
    page = (built / "report/report.html").read_text()
    assert "landmarks" in page
    assert "image_0000" not in page  # no picture of a data set

    # What came out finds the points of the photo itself, as far as thirty steps can teach it.
    with FaceAnalyzer(("landmarks",)) as shipped, FaceAnalyzer(("landmarks",), bundle=bundle) as own:
        (known,) = shipped.analyze(read_image(photo)).faces
        (found,) = own.analyze(read_image(photo), [known.bbox]).faces
    apart = np.linalg.norm(found.landmarks.points - known.landmarks.points, axis=1).mean()
    assert apart / np.linalg.norm(known.landmarks.points[36] - known.landmarks.points[45]) < 0.2

    again = build("--dry-run")
    assert again.output.splitlines()[-1].startswith("0 of ")


def test_blendshapes_from_labels_to_a_card(miniature, repository, tmp_path):
    photo = repository / "examples/astronaut.jpg"
    place = with_a_face(miniature, photo, tmp_path)
    moving = tiny.LANDMARKS.replace("[student]", "[student]\nblendshapes = true")
    recipe = tiny.write(tmp_path / "recipes", moving=moving)
    words = ["build", recipe, "--data", place.data, "--labels", place.labels, "--teachers", tmp_path]
    words += ["--runs", tmp_path / "runs", "--threads", "1", "--frames", "2"]
    with place.split():
        done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert done.output.index("label blendshapes lfpw: ") < done.output.index("distill moving: ")
    rows = [json.loads(row) for row in (tmp_path / "runs/moving/log.jsonl").read_text().splitlines()]
    assert all({"blendshapes", "val_blendshapes"} <= set(row) for row in rows)
    built = tmp_path / "runs/built/moving"
    bundle = Bundle.load(built / "student.bundle")
    model = bundle.model("landmarks")
    assert [output.name for output in model.outputs] == ["points", "visibility", "presence", "blendshapes"]
    assert tuple(model.head["blendshapes"]) == LIVE_NAMES
    assert model.metrics[ON_CPU] == 0
    assert "Not given, because the teacher never moves them: _neutral" in bundle.card("landmarks")
    figures = json.loads((built / "results/metrics.json").read_text())["landmarks"]
    assert {"blendshapes_faces", "blendshapes_counted"} <= set(figures["int8"]) & set(figures["fp32"])
    whole = read_image(photo)
    with FaceAnalyzer(("landmarks",)) as shipped, FaceAnalyzer(("landmarks",), bundle=bundle) as analyzer:
        (face,) = shipped.analyze(whole).faces
        (moved,) = analyzer.analyze(whole, boxes=[face.bbox]).faces
    assert moved.blendshapes is not None
    assert moved.blendshapes.names == LIVE_NAMES
    # The network's file alone, too, whether or not the built-in student gives any.
    file = Subject.of(built / "landmarks.int8.tflite", tasks=["landmarks"])
    with file.open(("landmarks",)) as alone:
        assert alone.analyze(whole, boxes=[face.bbox]).faces[0].blendshapes == moved.blendshapes
    # After thirty steps it says of everybody what most faces of the miniature do, which is drawn by lot.
    assert 0.2 < float(np.median(moved.blendshapes.scores)) < 0.8
