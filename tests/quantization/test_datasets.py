from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from edgeface.labels import CELEBAMASK19
from quantization import splits
from quantization.datasets import celebamask, ferplus, folder, lfpw
from tests.quantization.miniature import draw, write_points

pytestmark = pytest.mark.workshop


def test_lfpw_points_are_zero_based_and_lie_on_the_face(miniature):
    root = miniature.data / "landmarks/lfpw/trainset"
    face = draw(102, side=46.0)
    assert np.abs(lfpw.load_points(root, "image_0002.jpg") - face.points).max() < 1e-3
    photo = lfpw.load_photo(root, "image_0002.jpg")
    assert photo.shape == (96, 120, 3)
    x, y = face.keypoints[0].round().astype(int)
    assert photo[y, x, 0] > 180 > photo[y, x, 2]  # the red eye is red: RGB, not BGR


def test_the_published_layout_of_a_pts_file_is_read(tmp_path):
    rows = "\n".join(f"{i + 1}.5   {i + 100}" for i in range(68))
    (tmp_path / "a.pts").write_text(f"version: 1\nn_points:  68\n{{\n{rows}\n}}")
    points = lfpw.load_points(tmp_path, "a.jpg")
    assert points.dtype == np.float32
    assert points[0].tolist() == [0.5, 99.0]
    assert points[67].tolist() == [67.5, 166.0]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("version: 1\nn_points: 67\n{\n" + "1 2\n" * 67 + "}\n", "67 points where iBUG-68 has 68"),
        ("version: 1\n", "0 points where iBUG-68 has 68"),
        ("", "0 points where iBUG-68 has 68"),
        ("{\n" + "1 2\n" * 67 + "1 two\n}", "not all of its points are two numbers"),
        ("{\n" + "1 2\n" * 67 + "1 2 3\n}", "not all of its points are two numbers"),
        ("{\n" + "1 2 3\n" * 68 + "}", "not all of its points are two numbers"),
    ],
)
def test_a_malformed_pts_file_is_named(tmp_path, text, fault):
    (tmp_path / "image_0815.pts").write_text(text)
    with pytest.raises(ValueError, match=rf"image_0815\.pts: {fault}"):
        lfpw.load_points(tmp_path, "image_0815.jpg")


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x89PNG\r\n\x1a\n"])
def test_an_unreadable_photo_is_named(tmp_path, content):
    (tmp_path / "image_0816.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"image_0816\.jpg: not a readable image"):
        lfpw.load_photo(tmp_path, "image_0816.jpg")
    (tmp_path / "FER2013Train").mkdir()
    (tmp_path / "FER2013Train/fer9.webp").write_bytes(content)
    with pytest.raises(ValueError, match=r"fer9\.webp: not a readable image"):
        ferplus.load_images(tmp_path, ["FER2013Train/fer9.webp"])


def test_lfpw_keeps_both_copies_of_a_photo_on_one_side(tmp_path, monkeypatch):
    for i in range(12):
        rgb = draw(i if i != 7 else 2).rgb
        cv2.imwrite(
            str(tmp_path / f"image_{i:04d}.jpg"), rgb, [cv2.IMWRITE_JPEG_QUALITY, 95 if i != 7 else 40]
        )
    shutil.copy(tmp_path / "image_0004.jpg", tmp_path / "image_0099.jpg")
    for hold_out in range(1, 12):
        monkeypatch.setattr(lfpw, "_HOLD_OUT", hold_out)
        part = {i.name: i.part for i in lfpw.make_split(tmp_path)}
        assert part["image_0002.jpg"] == part["image_0007.jpg"]
        assert "image_0099.jpg" not in part
        assert len(part) == 12


@pytest.mark.parametrize("index", range(4))
def test_masks_are_read_as_indices_palette_or_not(miniature, index):
    root = miniature.data / "parsing/celebamask_hq"
    name = f"{index:032x}.jpg"
    with Image.open(root / "masks" / f"{index:032x}.png") as image:
        assert image.mode == ("P" if index % 2 else "L")
    mask = celebamask.load_mask(root, name)
    assert mask.dtype == np.uint8
    assert mask.shape == celebamask.load_photo(root / "images", name).shape[:2]
    face = draw(200 + index, side=60.0 if index == 0 else 46.0)
    eyes = face.keypoints[:2].round().astype(int)
    assert mask[eyes[:, 1], eyes[:, 0]].tolist() == [5, 4]
    assert set(np.unique(mask)) == {0, 1, 2, 4, 5, 11, 12, 13}


def test_a_mask_that_calls_left_right_is_put_right_and_can_be_had_as_it_is(miniature):
    root, name = miniature.data / "parsing/celebamask_hq", f"{0:032x}.jpg"
    path = root / "masks" / f"{0:032x}.png"
    right = celebamask.load_mask(root, name)
    np.testing.assert_array_equal(right, celebamask.load_mask(root, name, as_annotated=True))
    wrong = np.array(CELEBAMASK19.flip, np.uint8)[right]
    assert (wrong != right).any()
    before = path.read_bytes()
    try:
        Image.fromarray(wrong).save(path)
        np.testing.assert_array_equal(celebamask.load_mask(root, name), right)
        np.testing.assert_array_equal(celebamask.load_mask(root, name, as_annotated=True), wrong)
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("mirrored", [False, True])
def test_sides_are_told_by_pairs_that_are_both_there(mirrored):
    """An ear alone, or a dot of an eye, says nothing; brows do, and the wider pair has more of a say."""
    mask = np.ones((40, 60), np.uint8)
    left, right = (40, 12) if not mirrored else (12, 40)
    mask[20, right : right + 6], mask[20, left : left + 6] = 5, 4
    mask[10, right - 3 : right + 9], mask[10, left - 3 : left + 9] = 7, 6
    mask[15:25, 0:4] = 8  # the person's left ear, on the picture's left: alone
    found = celebamask.sided(mask)
    expected = np.array(CELEBAMASK19.flip, np.uint8)[mask] if mirrored else mask
    np.testing.assert_array_equal(found, expected)
    mask[20] = mask[10] = 1
    mask[20, 30] = 4
    mask[20, 50:56] = 5
    np.testing.assert_array_equal(celebamask.sided(mask), mask)


@pytest.mark.parametrize("wrong", ["class 40", "colours", "text"])
def test_a_malformed_mask_is_named(tmp_path, wrong):
    (tmp_path / "masks").mkdir()
    path = tmp_path / "masks" / "face_12.png"
    mask = np.zeros((8, 8), np.uint8)
    if wrong == "class 40":
        mask[3, 3] = 40
        Image.fromarray(mask).save(path)
    elif wrong == "colours":
        Image.fromarray(np.stack([mask] * 3, axis=-1)).save(path)
    else:
        path.write_text("no mask")
    with pytest.raises((ValueError, OSError), match=r"face_12\.png"):
        celebamask.load_mask(tmp_path, "face_12.jpg")


def test_votes_and_images_of_ferplus(miniature):
    root = miniature.data / "expression/ferplus"
    votes = ferplus.load_votes(root)
    assert len(votes) == 22
    assert votes["FER2013Train/fer0000002.webp"].tolist() == [0, 0, 7, 0, 0, 3, 0, 0, 0, 0]
    images = ferplus.load_images(root, ["FER2013Train/fer0000003.webp", "FER2013Valid/fer0000001.webp"])
    assert images.shape == (2, 48, 48)
    assert (images[0] == images[1]).all()


def test_ferplus_drops_what_has_no_majority_and_what_repeats_training(miniature, monkeypatch):
    monkeypatch.setattr(ferplus, "_TUNING", 4)
    items = ferplus.make_split(miniature.data / "expression/ferplus")
    parts = [i.part for i in items]
    assert (parts.count("tuning"), parts.count("train"), parts.count("validation")) == (4, 11, 4)
    names = {i.name for i in items}
    assert not names & {
        "FER2013Train/fer0000005.webp",
        "FER2013Valid/fer0000005.webp",
        "FER2013Valid/fer0000001.webp",
    }


def test_a_malformed_row_of_votes_is_named(tmp_path):
    (tmp_path / "votes.csv").write_text("a,b,c,d,e,f,g,h,i,j,k,l\nFER2013Train,fer1.webp,1,2,3\n")
    with pytest.raises(ValueError, match=r"votes\.csv: 5 columns in line 2, there must be 12"):
        ferplus.load_votes(tmp_path)


def test_a_folder_takes_pictures_alone_and_keeps_persons_together(miniature, tmp_path):
    root = tmp_path / "photos"
    shutil.copytree(miniature.data / "landmarks/youtube_faces_68/images", root)
    (root / "landmarks.json").write_text("{}")
    items = folder.make_split(root, "youtube_faces", 3, folder.youtube_person)
    assert len(items) == 6
    people = {}
    for item in items:
        people.setdefault(folder.youtube_person(item.name), set()).add(item.part)
    assert all(len(p) == 1 for p in people.values())
    assert sum(i.part == "tuning" for i in items) == 2  # one person; a second would make four
    assert {i.part for i in folder.make_split(root, "seed")} == {"train"}


def test_celebamask_lists_pairs_in_the_order_of_their_digests(miniature, monkeypatch):
    monkeypatch.setattr(celebamask, "_HOLD_OUT", 2)
    monkeypatch.setattr(celebamask, "_TUNING", 1)
    items = celebamask.make_split(miniature.data / "parsing/celebamask_hq")
    assert sorted(i.part for i in items) == ["train"] * 3 + ["tuning"] + ["validation"] * 2
    monkeypatch.setattr(celebamask, "_HOLD_OUT", 1)
    fewer = celebamask.make_split(miniature.data / "parsing/celebamask_hq")
    held = {i.name for i in items if i.part == "validation"}
    assert {i.name for i in fewer if i.part == "validation"} < held


def test_points_survive_being_written(tmp_path):
    face = draw(5)
    write_points(tmp_path / "x.pts", face.points)
    assert np.abs(lfpw.load_points(tmp_path, "x.jpg") - face.points).max() < 1e-3


def test_every_reader_agrees_with_the_list_it_is_split_by(miniature):
    with miniature.split():
        for name, where in (
            ("lfpw", "landmarks/lfpw/trainset"),
            ("celebamask", "parsing/celebamask_hq/images"),
        ):
            for item in splits.read_split(name):
                assert splits.digest(miniature.data / where / item.name) == item.digest
