from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from edgeface import read_image
from edgeface.labels import FER8
from quantization.__main__ import main
from quantization.datasets import DataSetError, Sample, Terms, open_dataset, write_shard
from quantization.datasets.shards import read_notes, write_shards
from quantization.engines import EngineError
from quantization.label import SOURCES, Labels, label_all, label_faces, load_labels
from quantization.members import Foreign
from quantization.panel import Panel, PanelError
from quantization.shardlabels import Labelling, label_shards, summary
from quantization.splits import parts
from quantization.teachers.adapter import AdapterError
from quantization.teachers.adapterfile import load_adapter
from quantization.teachers.onnx import OnnxTeacher
from quantization.teachers.yunet import YuNet
from tests.quantization.layouts import MAKERS
from tests.quantization.small_teachers import write_teacher

pytestmark = pytest.mark.workshop


def test_labels_read_as_they_were_written(miniature):
    labels = load_labels(miniature.labels, "utkface")
    assert isinstance(labels, Labels)
    assert labels.boxes.shape == (4, 4)
    assert labels.points.shape == (4, 68, 2)
    assert labels.parts.tolist() == ["tuning", "train", "train", "train"]


def test_every_source_has_a_list():
    for source in SOURCES:
        assert parts(source.split, "train")


@pytest.fixture
def photo_set(tmp_path, repository, monkeypatch):
    """The astronaut, her mirror image and nobody, in the layouts of two data sets."""
    import cv2

    from quantization import splits

    root = tmp_path / "data"
    photo = cv2.imread(str(repository / "examples/astronaut.jpg"))
    tight = photo[0:300, 80:380]
    for folder, name, pixels in (
        ("landmarks/lfpw/trainset", "image_0001.jpg", photo),
        ("landmarks/lfpw/trainset", "image_0002.jpg", photo[:, ::-1]),
        ("parsing/celeba_hq_unlabelled", "a.jpg", tight),
        ("parsing/celeba_hq_unlabelled", "plain.jpg", np.full_like(tight, 90)),
    ):
        (root / folder).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / folder / name), np.ascontiguousarray(pixels))
    monkeypatch.setattr(splits, "SPLITS", tmp_path / "lists")
    item = splits.Item
    splits.write_split(
        "lfpw", [item("image_0001.jpg", "1", "validation"), item("image_0002.jpg", "2", "train")]
    )
    splits.write_split("celeba_hq", [item("a.jpg", "3", "train"), item("plain.jpg", "4", "tuning")])
    return root


@pytest.mark.data
def test_two_teachers_find_the_face_of_a_photo_and_of_its_mirror_image(photo_set, teachers, tmp_path):
    label_faces(photo_set, teachers, tmp_path / "faces.npz")
    with np.load(tmp_path / "faces.npz") as faces:
        sure = faces["scores"] > 0.6
        assert faces["names"][sure].tolist() == ["image_0001.jpg", "image_0002.jpg"]
        assert faces["agreed"][sure].all()
        (x, y, w, h), mirrored = faces["boxes"][sure]
        assert mirrored == pytest.approx([511 - x - w, y, w, h], abs=6)
        assert 150 < x + w / 2 < 280
        assert 60 < y + h / 2 < 180
        seen, other = faces["keypoints"][sure]
        assert np.abs(seen - (other * (-1, 1) + (511, 0))[[1, 0, 2, 4, 3]]).max() < 0.12 * h
    label_faces(photo_set, teachers, tmp_path / "some.npz", ["validation"])
    with np.load(tmp_path / "some.npz") as faces:
        assert set(faces["names"]) == {"image_0001.jpg"}


@pytest.mark.data
def test_a_photo_with_points_gives_the_face_that_holds_them_and_is_labelled_once(
    photo_set, teachers, tmp_path
):
    from tests.quantization.miniature import mean_face, write_points

    wide = YuNet(teachers / "yunet_n_640_640.onnx")
    from quantization.datasets import lfpw

    for name in ("image_0001.jpg", "image_0002.jpg"):
        rgb = lfpw.load_photo(photo_set / "landmarks/lfpw/trainset", name)
        box = wide.detect(rgb).boxes[0]
        points = (mean_face() * box[2:] + box[:2]).astype(np.float32)
        write_points((photo_set / "landmarks/lfpw/trainset" / name).with_suffix(".pts"), points)
    out = tmp_path / "labels"
    label_all(photo_set, teachers, out, ["lfpw", "celeba_hq"])
    human = load_labels(out, "lfpw")
    assert human.names.tolist() == ["image_0001.jpg", "image_0002.jpg"]
    assert human.trust.tolist() == [1.0, 1.0]
    guessed = load_labels(out, "celeba_hq")
    assert guessed.names.tolist() == ["a.jpg"]  # the plain picture has no face and no row
    assert guessed.trust[0] > 0.9
    x, y, w, h = guessed.boxes[0]
    apart = np.linalg.norm(guessed.points[0] - (mean_face() * (w, h) + (x, y)), axis=1)
    assert apart.mean() < 0.12 * h  # the map was fitted on this very face
    before = (out / "celeba_hq.npz").stat().st_mtime_ns
    label_all(photo_set, teachers, out, ["celeba_hq"])
    assert (out / "celeba_hq.npz").stat().st_mtime_ns == before


# Labels LFPW alone, in pieces of two images, slowly enough to be killed.
SLOW = """
import sys, time
from pathlib import Path
from quantization import label, splits
data, teachers, out, lists = map(Path, sys.argv[1:])
splits.SPLITS, label.PIECE = lists, 2
row = label._row
def slow(*arguments):
    time.sleep(0.2)
    return row(*arguments)
label._row = slow
label.label_all(data, teachers, out, ["lfpw"])
"""


@pytest.mark.data
def test_labels_that_a_killed_process_had_written_are_not_asked_for_again(
    photo_set, teachers, tmp_path, repository, monkeypatch
):
    from quantization import label, splits
    from tests.quantization.miniature import mean_face, write_points

    folder = photo_set / "landmarks/lfpw/trainset"
    names = [f"image_{i:04d}.jpg" for i in range(1, 9)]
    for name in names:
        if not (folder / name).exists():
            shutil.copy(folder / "image_0001.jpg", folder / name)
        # Her face, or its place in the mirror image: any points in a box that YuNet finds.
        x = 512 - 280 if name == names[1] else 180
        write_points((folder / name).with_suffix(".pts"), (mean_face() * 90 + (x, 75)).astype(np.float32))
    splits.write_split("lfpw", [splits.Item(name, name, "train") for name in names])
    out = tmp_path / "labels"
    command = [sys.executable, "-c", SLOW, *map(str, (photo_set, teachers, out, splits.SPLITS))]
    environment = os.environ | {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        while not list(out.glob("lfpw-*.parts/000002.npz")):
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    kept = {path.stem for path in out.glob("lfpw-*.parts/0*.npz") if "partial" not in path.name}
    assert {"000000", "000002"} <= kept < {f"{i:06d}" for i in range(0, 8, 2)}
    assert not (out / "lfpw.npz").exists()
    asked = []
    row = label._row
    monkeypatch.setattr(label, "PIECE", 2)
    monkeypatch.setattr(label, "_row", lambda *given: asked.append(given[-1].name) or row(*given))
    label_all(photo_set, teachers, out, ["lfpw"])
    assert asked == [name for i, name in enumerate(names) if f"{i - i % 2:06d}" not in kept]
    assert not list(out.glob("*.parts"))
    whole = tmp_path / "whole"
    label_all(photo_set, teachers, whole, ["lfpw"])
    with np.load(out / "lfpw.npz") as one, np.load(whole / "lfpw.npz") as other:
        assert one.files == other.files
        for key in one.files:
            assert one[key].dtype == other[key].dtype
            np.testing.assert_array_equal(one[key], other[key])
        assert one["names"].tolist() == names


# shards


def work(folder, task, crop="whole", seed=0, teachers=None):
    write_teacher(folder, task, crop, seed)
    member = Foreign.of(load_adapter(folder / f"{task}.toml"), folder / f"{task}.onnx")
    return Labelling.of(Panel.of([member]), teachers or folder)


@pytest.fixture
def lapa(tmp_path):
    """Two shards of LaPa in miniature: six pictures, with points and masks of people."""
    MAKERS["lapa"](tmp_path / "set")
    data = open_dataset("lapa", tmp_path / "set")
    write_shards(tmp_path / "shards", data, data.terms, 4)
    return tmp_path / "shards"


def read(folder):
    return list(open_dataset("webdataset", folder))


@pytest.mark.parametrize("task", ["expression", "landmarks", "parsing"])
def test_a_labelled_shard_holds_what_the_teacher_says_and_what_was_there(task, lapa, tmp_path):
    done = label_shards(work(tmp_path, task), lapa, tmp_path / "out")
    assert [one.samples for one in done] == [4, 2]
    teacher = OnnxTeacher(load_adapter(tmp_path / f"{task}.toml"), tmp_path / f"{task}.onnx")
    for old, new in zip(read(lapa), read(tmp_path / "out"), strict=True):
        said = teacher(old.pixels())
        assert (new.name, new.part, new.picture) == (old.name, old.part, old.picture)
        assert new.attributes == {**old.attributes, "teacher": task}
        changed = task == "landmarks"
        assert new.points_scheme == ("ibug68" if changed else "lapa106")
        np.testing.assert_array_equal(new.points, said.points if changed else old.points)
        np.testing.assert_array_equal(new.mask, said.labels if task == "parsing" else old.mask)
        if task == "expression":
            assert new.votes.tolist() == [*said.probabilities.tolist(), 0, 0]
            assert FER8.names[new.expression] == said.label
    terms = open_dataset("webdataset", tmp_path / "out").terms
    assert terms.title == "LaPa (Liu et al., 2020); a small teacher"
    assert not terms.commercial


def test_shards_are_labelled_once_and_anew_when_they_change(lapa, tmp_path):
    own, out = work(tmp_path, "parsing"), tmp_path / "out"
    label_shards(own, lapa, out)
    first = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    label_shards(own, lapa, out)
    assert {p.name: p.stat().st_mtime_ns for p in out.iterdir()} == first
    write_shard(lapa / "shard-000001.tar", read(lapa)[:1], Terms("drawn", "free", True, "this test"))
    assert [one.samples for one in label_shards(own, lapa, out)] == [4, 1]
    second = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    assert len(second) == 2  # what was said of the old content is gone
    assert len(set(first.items()) & set(second.items())) == 1
    with pytest.raises(AdapterError, match=r"not what this teacher says: .* give another folder"):
        label_shards(work(tmp_path, "parsing", seed=1), lapa, out)
    assert {p.name: p.stat().st_mtime_ns for p in out.iterdir()} == second


def test_broken_samples_are_left_out_and_named_and_a_broken_shard_fails_alone(lapa, tmp_path):
    png = cv2.imencode(".png", np.full((8, 9, 3), 70, np.uint8))[1].tobytes()
    free = Terms("drawn", "free", True, "this test")
    write_shard(lapa / "odd.tar", [Sample("a", png), Sample("b", png[:40])], free)
    (lapa / "worse.tar").write_bytes(b"no tar")
    own, out = work(tmp_path, "expression"), tmp_path / "out"
    with pytest.raises(EngineError, match=r"1 of 4 shards failed(.|\n)*worse.tar: none of the 1 items"):
        label_shards(own, lapa, out)
    (lapa / "worse.tar").unlink()
    kept = {p.name: p.stat().st_mtime_ns for p in out.glob("*.tar")}
    done = label_shards(own, lapa, out)
    assert {p.name: p.stat().st_mtime_ns for p in out.glob("*.tar")} == kept
    assert [(one.samples, one.without_face, one.broken) for one in done] == [
        (1, 0, ("b: the picture cannot be decoded, fetch it again",)), (4, 0, ()), (2, 0, ()),
    ]  # fmt: skip
    assert summary(done).splitlines()[0] == "3 shards: 7 samples labelled, 0 without a face, 1 broken"
    assert read_notes(done[0].path)["teacher"] == "expression"
    assert read_notes(lapa / "odd.tar") == {}


def test_a_teacher_that_cannot_label_shards_says_why(lapa, tmp_path):
    with pytest.raises(
        AdapterError, match=r"yunet_n_640_640.onnx: there is no such file; a teacher of crops"
    ):
        work(tmp_path, "parsing", crop="box")
    write_teacher(tmp_path, "landmarks")
    toml = tmp_path / "landmarks.toml"
    toml.write_text(toml.read_text().replace("'ibug68'", "'other'"))
    nameless = Panel.of([Foreign.of(load_adapter(toml), tmp_path / "landmarks.onnx")])
    with pytest.raises(PanelError, match="landmarks: the order of its points has no name here"):
        Labelling.of(nameless, tmp_path)
    bound = toml.read_text().replace("commercial = true", "commercial = false").replace("'other'", "'ibug68'")
    toml.write_text(bound)
    words = ["label", "--shards", lapa, "--teacher", toml, "--model", tmp_path / "landmarks.onnx"]
    words += ["--out", tmp_path / "out"]
    refused = CliRunner().invoke(main, [str(w) for w in words])
    assert (refused.exit_code, "pass --accept-licence" in refused.output) == (1, True)
    taken = CliRunner().invoke(main, [str(w) for w in [*words, "--accept-licence"]])
    terms = load_adapter(toml).licence
    assert taken.output.startswith(
        f"{load_adapter(toml).name}: code: {terms.code}; weights: {terms.weights}. "
    )
    assert taken.output.endswith("2 shards: 6 samples labelled, 0 without a face, 0 broken\n")
    for some, says in (
        (words[:3], "--shards needs --teacher"),
        (words[:5], "--teacher was given 1 times and --model 0 times: give the files in the order"),
        (["label", "--engine", "ray"], ""),
    ):
        wrong = CliRunner().invoke(main, [str(w) for w in some])
        assert (wrong.exit_code, says in wrong.output) == (2, True)


def test_a_data_set_becomes_shards_of_a_size(tmp_path):
    MAKERS["ferplus"](tmp_path / "set")
    (tmp_path / "set/FER2013Train/fer0000001.png").unlink()
    words = ["shard", f"ferplus:{tmp_path / 'set'}", "--size", "2", "--out", str(tmp_path / "out")]
    told = CliRunner().invoke(main, words)
    assert told.output.startswith(f"{tmp_path / 'out'}: 3 shards, 1 broken items left out\n")
    assert "fer0000001.png: the picture is missing" in told.output
    names = ["shard-000000.tar", "shard-000001.tar", "shard-000002.tar"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names
    assert [s.name for s in read(tmp_path / "out")] == [
        s.name for s in open_dataset("ferplus", tmp_path / "set")
    ]
    again = CliRunner().invoke(main, words)
    assert (again.exit_code, "there are shards in it" in again.output) == (1, True)
    part = CliRunner().invoke(main, [*words[:-1], str(tmp_path / "test"), "--part", "test"])
    assert (part.exit_code, [s.part for s in read(tmp_path / "test")]) == (0, ["test", "test"])


def test_a_folder_without_shards_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataSetError, match=r"no \.tar in it"):
        label_shards(work(tmp_path, "parsing"), tmp_path / "empty", tmp_path / "out")


@pytest.mark.data
def test_a_teacher_of_crops_sees_yunet_s_face_and_nobody_is_left_out(repository, teachers, tmp_path):
    photo = repository / "examples/astronaut.jpg"
    empty = cv2.imencode(".png", np.full((200, 200, 3), 90, np.uint8))[1].tobytes()
    samples = [Sample("she", photo.read_bytes()), Sample("nobody", empty)]
    write_shard(tmp_path / "a.tar", samples, Terms("drawn", "free", True, "this test"))
    own = work(tmp_path, "landmarks", "box", teachers=teachers)
    (done,) = label_shards(own, tmp_path / "a.tar", tmp_path / "out")
    assert (done.samples, done.without_face) == (1, 1)
    (she,) = read(tmp_path / "out")
    rgb = read_image(photo).rgb
    box = YuNet(teachers / "yunet_n_640_640.onnx").detect(rgb).boxes[0]
    np.testing.assert_allclose(she.boxes, box[None], atol=1e-3)
    teacher = OnnxTeacher(load_adapter(tmp_path / "landmarks.toml"), tmp_path / "landmarks.onnx")
    np.testing.assert_array_equal(she.points, teacher(rgb, she.boxes[0]).points)
