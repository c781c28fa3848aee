"""MediaPipe's bundle labels shards: 478 points, 52 coefficients by name, and which of them it cannot tell."""

from __future__ import annotations

import json
import shutil
import tarfile

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from edgeface.labels import BLENDSHAPES52
from quantization.__main__ import main
from quantization.datasets import Sample, Terms, open_dataset, write_shard
from quantization.datasets.shards import read_notes
from quantization.members import Mesh
from quantization.panel import Panel
from quantization.shardlabels import Labelling, label_shard
from quantization.teachers.adapter import AdapterError
from quantization.teachers.blendshapes import DEAD, LIVE

pytestmark = pytest.mark.workshop

FREE = Terms("drawn", "free", True, "this test")
TASK = "mediapipe_face_landmarker.task"


def png(rgb):
    return cv2.imencode(".png", rgb[:, :, ::-1])[1].tobytes()


@pytest.fixture
def shards(tmp_path, repository):
    """A shard of the astronaut, and of a picture without anybody."""
    folder = tmp_path / "shards"
    folder.mkdir()
    people = [
        Sample("astronaut", repository / "examples/astronaut.jpg", "test", attributes={"yaw": 3}),
        Sample("nobody", png(np.full((200, 300, 3), 90, np.uint8))),
    ]
    write_shard(folder / "a.tar", people, FREE)
    return folder


def label(shards, out, teachers, name):
    words = ["label", "--shards", shards, "--teacher", name, "--model", teachers / TASK]
    words += ["--teachers", teachers, "--out", out]
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.mark.data
def test_points_and_coefficients_are_written_and_read(shards, tmp_path, teachers):
    told = label(shards, tmp_path / "out", teachers, "blendshapes")
    assert told.exit_code == 0, told.output
    assert "1 shards: 1 samples labelled, 1 without a face, 0 broken" in told.output
    (path,) = (tmp_path / "out").glob("*.tar")
    data = open_dataset("webdataset", path)
    (sample,) = data
    assert (sample.name, sample.part, sample.points_scheme) == ("astronaut", "test", "mediapipe478")
    assert dict(sample.attributes) == {"yaw": 3, "teacher": "blendshapes", "faces": "one"}
    assert sample.points.shape == (478, 2)
    x, y, width, height = sample.boxes[0]
    low, size = np.array([x, y]), np.array([width, height])
    assert (sample.points > low - size / 4).all()
    assert (sample.points < low + 1.25 * size).all()
    said = dict(zip(BLENDSHAPES52.names, sample.blendshapes.tolist(), strict=True))
    assert min(said["mouthSmileLeft"], said["mouthSmileRight"]) > 0.7
    assert max(said["jawOpen"], said["eyeBlinkLeft"], said["mouthFrownRight"]) < 0.2
    assert {
        n for n, knows in zip(BLENDSHAPES52.names, sample.blendshapes_known, strict=True) if not knows
    } == DEAD
    assert data.terms.title.split("; ") == [
        "drawn",
        "MediaPipe Face Mesh (Kartynnik et al., 2019)",
        "MediaPipe Blendshape V2",
        "YuNet-n (Wu et al., 2023)",
    ]
    assert data.terms.commercial
    with tarfile.open(path) as tar:
        record = json.loads(tar.extractfile("00000000.json").read())
    assert record["blendshapes"] == said
    assert set(record["blendshapes_dead"]) == DEAD


@pytest.mark.data
def test_the_mesh_alone_writes_points_alone_and_the_same(shards, tmp_path, teachers):
    found = {}
    for name in ("facemesh", "blendshapes"):
        assert label(shards, tmp_path / name, teachers, name).exit_code == 0
        (found[name],) = open_dataset("webdataset", next((tmp_path / name).glob("*.tar")))
    assert (found["facemesh"].points == found["blendshapes"].points).all()
    assert found["facemesh"].blendshapes is None
    # Another teacher's answers do not join the first one's, and what is done is not done again.
    told = label(shards, tmp_path / "facemesh", teachers, "blendshapes")
    assert told.exit_code == 1
    assert "not what this teacher says" in told.output
    (path,) = (tmp_path / "facemesh").glob("*.tar")
    before = path.stat().st_mtime_ns
    assert label(shards, tmp_path / "facemesh", teachers, "facemesh").exit_code == 0
    assert path.stat().st_mtime_ns == before


@pytest.mark.data
def test_a_file_that_is_no_bundle_says_what_to_bring(tmp_path, teachers):
    wrong = tmp_path / "wrong.task"
    shutil.copy(teachers / "yunet_n_640_640.onnx", wrong)
    with pytest.raises(AdapterError, match=r"wrong.task: holds no network of facemesh .*face_landmarker"):
        Mesh.of("facemesh", wrong)
    with pytest.raises(AdapterError, match=r"yunet_n_640_640.onnx: there is no such file"):
        Labelling.of(Panel.of([Mesh.of("blendshapes", teachers / TASK)]), tmp_path)


def test_a_face_that_the_teacher_doubts_is_none(shards, tmp_path):
    face = np.float32([10, 10, 50, 50]), 0.9, np.zeros((5, 2), np.float32)
    target = tmp_path / "done.tar"
    label_shard(lambda *_: None, "doubter", (FREE,), lambda *_: face, shards / "a.tar", target)
    assert read_notes(target) == {"samples": 0, "without_face": 2, "teacher": "doubter", "broken": []}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r["blendshapes"].pop("jawOpen"), "blendshapes: missing or unknown: jawOpen"),
        (lambda r: r["blendshapes"].update(tongueOut=0.5), "missing or unknown: tongueOut"),
        (lambda r: r["blendshapes_dead"].append("ear"), "missing or unknown: ear"),
        (lambda r: r["blendshapes"].update(jawOpen="wide"), "blendshapes: not numbers"),
    ],
)
def test_coefficients_that_are_not_arkit_s_are_a_fault(change, says, tmp_path):
    values = np.linspace(0, 1, 52, dtype=np.float32)
    picture = png(np.zeros((4, 5, 3), np.uint8))
    write_shard(
        tmp_path / "a.tar",
        [Sample(str(i), picture, blendshapes=values, blendshapes_known=LIVE) for i in range(9)],
        FREE,
    )
    with tarfile.open(tmp_path / "a.tar") as tar, tarfile.open(tmp_path / "b.tar", "w") as other:
        for member in tar.getmembers():
            if member.name != "00000003.json":
                other.addfile(member, tar.extractfile(member))
                continue
            record = json.loads(tar.extractfile(member).read())
            change(record)
            (tmp_path / "record.json").write_text(json.dumps(record))
            other.add(tmp_path / "record.json", member.name)
    data = open_dataset("webdataset", tmp_path / "b.tar")
    assert len(list(data)) == 8
    (fault,) = data.faults
    assert says in str(fault)
