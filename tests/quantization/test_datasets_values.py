"""What the readers make of each layout's own conventions: bases, orders, ids, sides."""

from __future__ import annotations

import re
import shutil

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeface.labels import CELEBAMASK19, FER8
from quantization.datasets import ItemError, open_dataset, wflw, widerface
from quantization.datasets.celebamask import sided
from quantization.datasets.ibug import read_points
from tests.quantization.layouts import MAKERS, SIZE, affectnet_row, mask, picture, points_of, wflw_line, write
from tests.quantization.miniature import write_points

pytestmark = pytest.mark.workshop

coordinates = st.floats(-500, 5000, width=32)


def read(kind, root, **options):
    """The samples of a miniature by name."""
    if not root.exists():
        MAKERS[kind](root)
    found = open_dataset(kind, root, **options)
    samples = list(found)
    assert found.faults == []
    return samples


# -- points ----------------------------------------------------------------------------------------------


@given(points=arrays(np.float32, (68, 2), elements=coordinates), crlf=st.booleans(), bom=st.booleans())
def test_pts_files_round_trip(tmp_path_factory, points, crlf, bom):
    path = tmp_path_factory.getbasetemp() / "round.pts"
    write_points(path, points.astype(np.float64))
    text = path.read_bytes().replace(b"\n", b"\r\n" if crlf else b"\n")
    path.write_bytes(b"\xef\xbb\xbf" * bom + text)
    assert np.abs(read_points(path, 68) - points).max() < 1e-3


@given(st.binary(max_size=60), st.booleans())
def test_any_pts_file_is_read_or_named(tmp_path_factory, noise, within):
    path = tmp_path_factory.getbasetemp() / "noise.pts"
    path.write_bytes(b"version: 1\n{\n" * within + noise + b"1 2\n" * 66 + b"}")
    try:
        assert np.isfinite(read_points(path, 68)).all()
    except ItemError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017  either outcome is right


def test_300w_is_one_based_and_knows_its_parts(tmp_path):
    samples = read("300w", tmp_path / "x")
    assert [s.part for s in samples] == ["test"] * 2 + ["train"] * 4  # helen comes before lfpw
    assert samples[2].name == "lfpw/trainset/image_0000.png"
    assert np.abs(samples[2].points - points_of(0, 68)).max() < 1e-5
    assert {s.part for s in read("300w", tmp_path / "x/lfpw/trainset")} == {"train"}


@given(
    points=arrays(np.float32, (98, 2), elements=coordinates),
    box=st.tuples(*[st.integers(0, 2000)] * 4),
    flags=st.integers(0, 63),
)
def test_wflw_lines_round_trip(tmp_path_factory, points, box, flags):
    root = tmp_path_factory.getbasetemp() / "wflw_round"
    name = "1--Handshaking/a photo.jpg"
    if not (root / "WFLW_images" / name).exists():
        picture(root / "WFLW_images" / name, 1)
    left, top, width, height = box
    bits = [flags >> k & 1 for k in range(6)]
    words = [*points.ravel().tolist(), left, top, left + width, top + height, *bits, name]
    folder = root / "WFLW_annotations/list_98pt_rect_attr_train_test"
    write(folder / "list_98pt_rect_attr_train.txt", " ".join(map(str, words)) + "\r\n")
    (sample,) = read("wflw", root, part="train")
    assert sample.name == f"{name}#1"
    assert (sample.points == points).all()
    assert sample.boxes.tolist() == [list(box)]
    assert list(sample.attributes.values()) == [bool(b) for b in bits]
    assert tuple(sample.attributes) == wflw.ATTRIBUTES


def test_wflw_keeps_two_faces_of_one_picture_apart(tmp_path):
    MAKERS["wflw"](tmp_path / "x")
    where = tmp_path / "x/WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_train.txt"
    where.write_text(where.read_text() + wflw_line(17, "0--Parade/0_Parade_1.jpg"))
    samples = read("wflw", tmp_path / "x", part="train")
    assert [s.name[-2:] for s in samples] == ["#1", "#2", "#3", "#4", "#5"]
    assert samples[1].picture == samples[4].picture
    assert np.abs(samples[4].points - points_of(17, 98)).max() < 1e-5


def test_aflw2000_is_one_based_and_its_angles_are_degrees(tmp_path):
    sample = read("aflw2000", tmp_path / "x")[3]
    assert np.abs(sample.points - points_of(3, 68)).max() < 1e-5
    assert sample.attributes == pytest.approx(
        {"pitch": 17.18873, "yaw": -28.64789, "roll": 14.32394}, abs=1e-4
    )


def test_cofw_is_one_based_transposed_and_says_what_is_hidden(tmp_path):
    samples = read("cofw", tmp_path / "x")
    assert [s.name for s in samples][:5] == [
        "train/0001",
        "train/0002",
        "train/0003",
        "train/0004",
        "test/0001",
    ]
    for seed, sample in enumerate(samples):
        assert np.abs(sample.points - points_of(seed, 29)).max() < 1e-5
        assert (~sample.visible).nonzero()[0].tolist() == list(range(0, 29, seed + 2))
        assert sample.boxes.tolist() == [[seed, 2, 20, 21]]
        shape = (SIZE[1], SIZE[0], 3) if seed % 3 else (SIZE[1], SIZE[0])
        expected = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        assert (sample.picture == expected).all()


def test_cofw_takes_the_grey_files_where_the_others_are_not(tmp_path):
    MAKERS["cofw"](tmp_path / "x")
    for part in ("train", "test"):
        (tmp_path / f"x/COFW_{part}_color.mat").rename(tmp_path / f"x/COFW_{part}.mat")
    assert len(read("cofw", tmp_path / "x")) == 6


def test_a_reference_to_nothing_is_one_broken_face(tmp_path):
    MAKERS["cofw"](tmp_path / "x")
    with h5py.File(tmp_path / "x/COFW_train_color.mat", "r+") as file:
        file["IsTr"][0, 2] = h5py.Reference()
    found = open_dataset("cofw", tmp_path / "x")
    assert len(list(found)) == 5
    assert "face 3 is damaged" in str(found.faults[0])


# -- boxes -----------------------------------------------------------------------------------------------

faces = st.lists(
    st.tuples(*[st.integers(0, 900)] * 2, *[st.integers(1, 900)] * 2, *[st.integers(0, 2)] * 6), max_size=5
)


@given(st.lists(faces, min_size=1, max_size=4), st.booleans())
def test_wider_lists_round_trip(tmp_path_factory, pictures, crlf):
    root = tmp_path_factory.getbasetemp() / "wider_round"
    text = ""
    for i, rows in enumerate(pictures):
        name = f"9--Press/{i}.jpg"
        if not (root / "WIDER_train/images" / name).exists():
            picture(root / "WIDER_train/images" / name, i)
        lines = [" ".join(map(str, row)) for row in rows] or ["0 0 0 0 0 0 0 0 0 0"]
        text += "\n".join([name, str(len(rows)), *lines]) + " \n"
    text = text.replace("\n", "\r\n") if crlf else text
    write(root / "wider_face_split/wider_face_train_bbx_gt.txt", text)
    samples = read("widerface", root, part="train")
    assert [s.name for s in samples] == [f"9--Press/{i}.jpg" for i in range(len(pictures))]
    for sample, rows in zip(samples, pictures, strict=True):
        assert sample.boxes.shape == (len(rows), 4)
        assert sample.boxes.tolist() == [list(row[:4]) for row in rows]
        for k, name in enumerate(widerface.ATTRIBUTES):
            assert sample.attributes[name] == tuple(row[4 + k] for row in rows)


def test_a_wider_box_without_area_is_invalid_and_no_fault(tmp_path):
    MAKERS["widerface"](tmp_path / "x")
    path = tmp_path / "x/wider_face_split/wider_face_train_bbx_gt.txt"
    path.write_text(path.read_text().replace("2 3 5 8 1 0 1 0 2 1", "2 3 5 0 1 0 1 0 2 1"))
    sample = read("widerface", tmp_path / "x", part="train")[3]
    assert sample.attributes["invalid"] == (0, 1, 0)


# -- masks -----------------------------------------------------------------------------------------------


def test_celebamask_parts_lie_over_each_other_in_the_scheme_s_order(tmp_path):
    for i, sample in enumerate(read("celebamask", tmp_path / "x")):
        expected = np.zeros((SIZE[1] // 2, SIZE[0] // 2), np.uint8)
        for label in range(1, len(CELEBAMASK19)):
            if (label + i) % 5:
                expected[label // 2 : label // 2 + 4, i : i + 8] = label
        assert (sample.mask[::2, ::2] == expected).all()
        assert (sample.mask[1::2, 1::2] == expected).all()
        assert sample.mask_scheme == "celebamask19"
    names = [s.name for s in read("celebamask", tmp_path / "x")]
    assert names[3:] == ["CelebA-HQ-img/10.jpg", "CelebA-HQ-img/1999.jpg", "CelebA-HQ-img/2000.jpg"]


def test_celebamask_merged_is_read_palette_or_not(tmp_path):
    for i in range(4):
        picture(tmp_path / f"x/images/{i:032x}.jpg", i)
        mask(tmp_path / f"x/masks/{i:032x}.png", i, 19)
    for i, sample in enumerate(read("celebamask", tmp_path / "x")):
        drawn = np.random.default_rng(i).integers(0, 19, (SIZE[1], SIZE[0]), dtype=np.uint8)
        assert (sample.mask == sided(drawn)).all()


@pytest.mark.parametrize(
    ("kind", "scheme", "classes"),
    [
        ("lapa", "lapa11", 11),
        ("easyportrait", "easyportrait9", 9),
        ("ibugmask", "ibug11", 11),
        ("helen", "ibug11", 11),
    ],
)
def test_index_masks_keep_their_ids(kind, scheme, classes, tmp_path):
    samples = read(kind, tmp_path / "x")
    assert {s.mask_scheme for s in samples} == {scheme}
    expected = [
        np.random.default_rng(i).integers(0, classes, (SIZE[1], SIZE[0]), dtype=np.uint8) for i in range(6)
    ]
    found = {s.mask.tobytes() for s in samples}
    assert found == {e.tobytes() for e in expected}
    if kind == "lapa":
        assert np.abs(samples[0].points - points_of(0, 106)).max() < 1e-5


def test_helen_of_smith_takes_the_strongest_class(tmp_path):
    root = tmp_path / "x"
    stems = {"exemplars": "100_1", "tuning": "200_1", "testing": "300_1"}
    for i, (name, stem) in enumerate(stems.items()):
        picture(root / f"images/{stem}.jpg", i)
        strength = np.random.default_rng(i).permuted(
            np.broadcast_to(np.arange(11, dtype=np.uint8) * 20, (SIZE[1], SIZE[0], 11)), axis=2
        )
        (root / f"labels/{stem}").mkdir(parents=True)
        for label in range(11):
            cv2.imwrite(str(root / f"labels/{stem}/{stem}_lbl{label:02d}.png"), strength[:, :, label])
        write(root / f"{name}.txt", f"{i + 1} , {stem}\r\n\r\n")
    samples = read("helen", root)
    assert [(s.part, s.name) for s in samples] == [
        ("train", "images/100_1.jpg"), ("validation", "images/200_1.jpg"), ("test", "images/300_1.jpg"),
    ]  # fmt: skip
    assert (samples[2].mask == strength.argmax(2)).all()
    (root / "labels/200_1/200_1_lbl07.png").unlink()
    write(root / "exemplars.txt", "1 , 100_1\nno comma\n")
    found = open_dataset("helen", root)
    assert [s.name for s in found] == ["images/100_1.jpg", "images/300_1.jpg"]
    assert "exemplars.txt: not a number, a comma and a name in line 2" in str(found.faults[0])
    assert "200_1_lbl07.png: missing" in str(found.faults[1])


# -- expressions -----------------------------------------------------------------------------------------


def test_ferplus_gives_votes_and_the_majority(tmp_path):
    samples = read("ferplus", tmp_path / "x")
    for i, sample in enumerate(samples):
        assert sample.votes.dtype == np.float32
        assert sample.votes[i] == 6
        assert sample.expression == (i if i % 2 else None)  # the even ones tie with "unknown"
    assert [s.part for s in samples] == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2
    assert samples[0].name == "FER2013Train/fer0000000.png"


def test_ferplus_reads_the_repository_s_folder_and_our_own_table(tmp_path):
    MAKERS["ferplus"](tmp_path / "x")
    official = read("ferplus", tmp_path / "x")
    (tmp_path / "x/data").mkdir()
    for folder in ("FER2013Train", "FER2013Valid", "FER2013Test"):
        shutil.move(tmp_path / "x" / folder, tmp_path / "x/data" / folder)
    assert [s.name for s in read("ferplus", tmp_path / "x")] == [s.name for s in official]
    lines = (tmp_path / "x/fer2013new.csv").read_text().splitlines()
    for usage, folder in (
        ("Training", "FER2013Train"),
        ("PublicTest", "FER2013Valid"),
        ("PrivateTest", "FER2013Test"),
    ):
        lines = [line.replace(usage, folder) for line in lines if not line.startswith("Training,,")]
    (tmp_path / "x/fer2013new.csv").unlink()
    write(tmp_path / "x/votes.csv", "\n".join(lines))
    again = read("ferplus", tmp_path / "x")
    assert [(s.name, s.part, s.votes.tolist()) for s in again] == [
        (s.name, s.part, s.votes.tolist()) for s in official
    ]


def test_fer2013_emotions_become_fer8_and_rows_keep_their_numbers(tmp_path):
    samples = read("fer2013", tmp_path / "x")
    names = [FER8.names[s.expression] for s in samples]
    assert names == ["anger", "disgust", "fear", "happiness", "sadness", "surprise"]
    assert [s.name for s in read("fer2013", tmp_path / "x", part="test")] == ["fer0000004", "fer0000005"]
    expected = np.random.default_rng(2).integers(0, 256, 2304).astype(np.uint8).reshape(48, 48)
    assert (samples[2].picture == expected).all()


def test_rafdb_emotions_become_fer8(tmp_path):
    samples = read("rafdb", tmp_path / "x")
    names = [FER8.names[s.expression] for s in samples]
    assert names == ["surprise", "fear", "disgust", "happiness", "sadness", "anger"]
    assert samples[0].name == "Image/aligned/train_00000_aligned.jpg"
    original = read("rafdb", tmp_path / "x/basic", aligned=False)
    assert original[0].name == "Image/original/train_00000.jpg"
    assert original[0].pixels().shape == (80, 64, 3)


def test_affectnet_emotions_become_fer8_with_points_and_box(tmp_path):
    MAKERS["affectnet"](tmp_path / "x")
    lists = tmp_path / "x/Manually_Annotated_file_lists"
    rows = [affectnet_row(6, "0/0abc.jpg"), affectnet_row(7, "1/1abc.jpg"), affectnet_row(8, "2/2abc.jpg")]
    rows.append("3/3abc.jpg,NULL,NULL,NULL,NULL,NULL,10,-2,-2")
    write(lists / "validation.csv", "\n".join(rows))
    train, rest = (
        read("affectnet", tmp_path / "x", part="train"),
        read("affectnet", tmp_path / "x", part="validation"),
    )
    names = [s.expression if s.expression is None else FER8.names[s.expression] for s in (*train, *rest)]
    assert names == ["neutral", "happiness", "sadness", "surprise", "anger", "contempt", None, None]
    assert [s.attributes.get("affectnet") for s in rest] == [None, None, "none", "no-face"]
    assert train[2].attributes == {"valence": 0.2}  # an arousal of -2 is none
    assert train[2].boxes.tolist() == [[2, 2, 20, 21]]
    assert np.abs(train[2].points - points_of(2, 68)).max() < 1e-5
    assert rest[3].points is None


def test_affectnet_of_2021_is_read_from_its_arrays(tmp_path):
    root = tmp_path / "x"
    for i in range(4):
        folder = root / ("train_set" if i < 3 else "val_set")
        picture(folder / f"images/{i}.jpg", i, (224, 224))
        (folder / "annotations").mkdir(exist_ok=True)
        said = {"exp": np.array(str(i + 4)), "val": np.array("-0.5"), "aro": np.array(0.25)}
        said["lnd"] = points_of(i, 68).ravel()
        for key, value in said.items():
            np.save(folder / f"annotations/{i}_{key}.npy", value)
    samples = read("affectnet", root)
    assert [FER8.names[s.expression] for s in samples] == ["fear", "disgust", "anger", "contempt"]
    assert samples[1].attributes == {"valence": -0.5, "arousal": 0.25}
    assert np.abs(samples[1].points - points_of(1, 68)).max() < 1e-5
    assert [s.part for s in samples] == ["train"] * 3 + ["validation"]
    np.save(root / "train_set/annotations/0_lnd.npy", np.full(136, np.nan))
    np.save(root / "train_set/annotations/1_exp.npy", np.array({"a": 1}, dtype=object), allow_pickle=True)
    np.save(root / "train_set/annotations/2_exp.npy", np.array("11"))
    (root / "val_set/annotations/3_val.npy").write_bytes(b"")
    picture(root / "val_set/images/9.jpg", 1)
    for key in ("exp", "val", "aro", "lnd"):
        value = np.array(0) if key != "lnd" else np.ones((68, 2))
        np.save(root / f"val_set/annotations/9_{key}.npy", value)
    found = open_dataset("affectnet", root)
    assert [s.name for s in found] == ["val_set/images/9.jpg"]
    said = [str(f) for f in found.faults]
    for words, fault in zip(
        (
            "0_lnd.npy: .*finite",
            "1_exp.npy: missing or not",
            "2_exp.npy: no expression",
            "3_val.npy: missing",
        ),
        said,
        strict=True,
    ):
        assert re.search(words, fault), fault
