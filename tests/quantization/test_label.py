from __future__ import annotations

import numpy as np
import pytest

from quantization.label import SOURCES, Labels, label_all, label_faces, load_labels
from quantization.splits import parts
from quantization.teachers.yunet import YuNet

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
