"""Every public layout in miniature, six drawn items each, and ways to spoil one of them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import numpy as np
from scipy.io import savemat

from edgeface.labels import CELEBAMASK19
from quantization.datasets import Sample, Terms, write_shard

__all__ = ["ITEMS", "MAKERS", "SPOILERS", "add_exif", "points_of"]

ITEMS = 6
SIZE = (40, 32)  # width, height of every picture
_TERMS = Terms("drawn", "free", True, "this test")


def points_of(seed: int, count: int) -> np.ndarray:
    """Points within the picture, two decimals."""
    rng = np.random.default_rng(seed)
    return (rng.uniform(1, 30, (count, 2)) * 100).round() / 100


def picture(path: Path, seed: int, size: tuple[int, int] = SIZE) -> None:
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def mask(path: Path, seed: int, classes: int, size: tuple[int, int] = SIZE) -> None:
    """An index map, every other one as a palette image."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, classes, (size[1], size[0]), dtype=np.uint8))
    if seed % 2:
        image.putpalette([v for k in range(256) for v in (k * 37 % 256, k * 91 % 256, k * 7 % 256)])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def add_exif(path: Path, orientation: int) -> None:
    """Say in a JPEG file that the picture lies on its side."""
    tiff = b"II*\0" + struct.pack("<IHHHIIH", 8, 1, 0x0112, 3, 1, orientation, 0) + b"\0\0"
    body = b"Exif\0\0" + tiff
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:])


def make_300w(root: Path) -> None:
    for i in range(ITEMS):
        stem = root / ("lfpw/trainset" if i < 4 else "helen/testset") / f"image_{i:04d}"
        picture(stem.with_suffix(".jpg" if i % 2 else ".png"), i)
        rows = "\n".join(f"{x:.2f} {y:.2f}" for x, y in points_of(i, 68) + 1)
        write(stem.with_suffix(".pts"), f"version: 1\nn_points: 68\n{{\n{rows}\n}}\n")


def wflw_line(seed: int, name: str) -> str:
    points = " ".join(f"{v:.2f}" for v in points_of(seed, 98).ravel())
    flags = " ".join(str(seed >> k & 1) for k in range(6))
    return f"{points} {seed} 2 {seed + 20} 22 {flags} {name}"


def make_wflw(root: Path) -> None:
    folder = root / "WFLW_annotations/list_98pt_rect_attr_train_test"
    for part, seeds in (("train", range(4)), ("test", range(4, ITEMS))):
        names = [f"0--Parade/0_Parade_{seed}.jpg" for seed in seeds]
        for seed, name in zip(seeds, names, strict=True):
            picture(root / "WFLW_images" / name, seed)
        lines = [wflw_line(seed, name) for seed, name in zip(seeds, names, strict=True)]
        write(folder / f"list_98pt_rect_attr_{part}.txt", "\n".join(lines) + "\n")


def make_aflw2000(root: Path) -> None:
    for i in range(ITEMS):
        stem = root / f"image{i:05d}"
        picture(stem.with_suffix(".jpg"), i)
        fields = {
            "pt3d_68": np.vstack([points_of(i, 68).T + 1, np.full((1, 68), 7.0)]),
            "Pose_Para": np.array([[0.1 * i, -0.5, 0.25, 3, 4, 5, 0.001]]),
            "roi": np.array([[1, 2, 3, 4]]),
        }
        savemat(stem.with_suffix(".mat"), fields)


def cofw_numbers(seed: int) -> np.ndarray:
    occluded = np.arange(29) % (seed + 2) == 0
    return np.concatenate([(points_of(seed, 29) + 1).T.ravel(), occluded])


def make_cofw(root: Path) -> None:
    root.mkdir(parents=True)
    for part, end, seeds in (("train", "Tr", range(4)), ("test", "T", range(4, ITEMS))):
        with h5py.File(root / f"COFW_{part}_color.mat", "w") as file:
            references = file.create_dataset("Is" + end, (1, len(seeds)), dtype=h5py.ref_dtype)
            for k, seed in enumerate(seeds):
                rng = np.random.default_rng(seed)
                shape = (SIZE[1], SIZE[0], 3) if seed % 3 else (SIZE[1], SIZE[0])
                pixels = rng.integers(0, 256, shape, dtype=np.uint8)
                references[0, k] = file.create_dataset(f"#refs#/{k}", data=pixels.T).ref
            file["phis" + end] = np.stack([cofw_numbers(seed) for seed in seeds], axis=1)
            file["bboxes" + end] = np.array([[seed + 1.0, 3.0, 20.0, 21.0] for seed in seeds]).T


def make_celebamask(root: Path) -> None:
    """The official layout: masks of half the picture's size, overlapping."""
    words = {"eyeglasses": "eye_g", "earring": "ear_r", "necklace": "neck_l"}
    for i, number in enumerate((0, 1, 2, 10, 1999, 2000)):
        picture(root / f"CelebA-HQ-img/{number}.jpg", i)
        for label, name in enumerate(CELEBAMASK19.names[1:], 1):
            if (label + i) % 5 == 0:
                continue  # not in this picture
            part = np.zeros((SIZE[1] // 2, SIZE[0] // 2, 3), np.uint8)
            part[label // 2 : label // 2 + 4, i : i + 8] = 255
            path = root / f"CelebAMask-HQ-mask-anno/{number // 2000}/{number:05d}_{words.get(name, name)}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), part if label % 2 else part[:, :, 0])


def make_lapa(root: Path) -> None:
    for i in range(ITEMS):
        folder = root / ("train", "train", "train", "val", "val", "test")[i]
        picture(folder / f"images/{i}_0.jpg", i)
        mask(folder / f"labels/{i}_0.png", i, 11)
        rows = "\n".join(f"{x:.2f} {y:.2f}" for x, y in points_of(i, 106))
        write(folder / f"landmarks/{i}_0.txt", f"106\n{rows}\n")


def make_easyportrait(root: Path) -> None:
    for i in range(ITEMS):
        part = ("train", "train", "train", "val", "val", "test")[i]
        picture(root / f"images/{part}/{i:08x}-a.jpg", i)
        mask(root / f"annotations/{part}/{i:08x}-a.png", i, 9)


def make_ibugmask(root: Path) -> None:
    for i in range(ITEMS):
        part = "train" if i < 4 else "test"
        picture(root / f"{part}/{i}_00.jpg", i)
        mask(root / f"{part}/{i}_00.png", i, 11)


def make_helen(root: Path) -> None:
    """HELEN*: index masks."""
    for i in range(ITEMS):
        part = "train" if i < 4 else "test"
        picture(root / f"{part}/{i}_1_image.jpg", i)
        mask(root / f"{part}/{i}_1_label.png", i, 11)
        picture(root / f"{part}/{i}_1_viz.jpg", i)


def make_ferplus(root: Path) -> None:
    """The official table, with a row whose image was taken out."""
    names = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    rows = [f"Usage,Image name,{names}", "Training,,0,0,0,0,0,0,0,0,0,10"]
    for i in range(ITEMS):
        usage, folder = [
            ("Training", "FER2013Train"), ("PublicTest", "FER2013Valid"), ("PrivateTest", "FER2013Test"),
        ][i // 2]  # fmt: skip
        picture(root / folder / f"fer{i:07d}.png", i, (48, 48))
        votes = [0] * 10
        votes[i] = 6
        votes[8] = 4 if i % 2 else 6
        rows.append(f"{usage},fer{i:07d}.png,{','.join(map(str, votes))}")
    write(root / "fer2013new.csv", "\n".join(rows) + "\n")


def make_fer2013(root: Path) -> None:
    rows = ["emotion,pixels,Usage"]
    for i in range(ITEMS):
        pixels = " ".join(map(str, np.random.default_rng(i).integers(0, 256, 2304)))
        rows.append(f'{i},"{pixels}",{("Training", "PublicTest", "PrivateTest")[i // 2]}')
    write(root / "fer2013.csv", "\n".join(rows) + "\n")


def make_rafdb(root: Path) -> None:
    rows = []
    for i in range(ITEMS):
        stem = f"train_{i:05d}" if i < 4 else f"test_{i:04d}"
        picture(root / f"basic/Image/aligned/{stem}_aligned.jpg", i)
        picture(root / f"basic/Image/original/{stem}.jpg", i, (64, 80))
        rows.append(f"{stem}.jpg {i + 1}")
    write(root / "basic/EmoLabel/list_patition_label.txt", "\n".join(rows))


def affectnet_row(seed: int, name: str) -> str:
    points = ";".join(f"{v:.2f}" for v in points_of(seed, 68).ravel())
    return f"{name},{seed},2,20,21,{points},{seed},{0.1 * seed:.1f},-2"


def make_affectnet(root: Path) -> None:
    """The full release; its validation list without a header."""
    head = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,"
    head += "expression,valence,arousal"
    names = [f"{i}/{i}abc.jpg" for i in range(ITEMS)]
    for i, name in enumerate(names):
        picture(root / "Manually_Annotated_Images" / name, i)
    lists = root / "Manually_Annotated_file_lists"
    rows = [affectnet_row(i, name) for i, name in enumerate(names)]
    write(lists / "training.csv", "\n".join([head, *rows[:4]]))
    write(lists / "validation.csv", "\n".join(rows[4:]))


def make_widerface(root: Path) -> None:
    for part, seeds in (("train", range(4)), ("val", range(4, ITEMS))):
        text = ""
        for seed in seeds:
            name = f"0--Parade/0_Parade_marchingband_1_{seed}.jpg"
            picture(root / f"WIDER_{part}/images/{name}", seed)
            rows = [f"{k + 1} {seed} {k + 4} {seed + 5} {k % 3} 0 1 0 2 1 " for k in range(seed)]
            text += "\n".join([name, str(seed), *(rows or ["0 0 0 0 0 0 0 0 0 0 "])]) + "\n"
        write(root / f"wider_face_split/wider_face_{part}_bbx_gt.txt", text)


def make_folder(root: Path) -> None:
    for i in range(ITEMS):
        picture(root / f"{i // 3}/photo {i}.{'jpg' if i % 2 else 'webp'}", i)
    write(root / "notes.txt", "not a picture")


def make_webdataset(root: Path) -> None:
    root.mkdir(parents=True)
    for shard in range(2):
        samples = [
            Sample(f"s{i}", cv2.imencode(".png", np.full((8, 9, 3), 40 * i, np.uint8))[1].tobytes())
            for i in range(3 * shard, 3 * shard + 3)
        ]
        write_shard(root / f"part-{shard}.tar", samples, _TERMS)


MAKERS: dict[str, Callable[[Path], None]] = {
    name.removeprefix("make_"): function
    for name, function in list(globals().items())
    if name.startswith("make_")
}

Spoiler = tuple[Callable[[Path], object], str]  # spoils one item; a pattern of what is said of it


def _remove(where: str, says: str = "") -> Spoiler:
    return (lambda root: (root / where).unlink(), says or f"{Path(where).name}: .*missing")


def _garble(where: str) -> Spoiler:
    return (lambda root: (root / where).write_bytes(b"<html>gone</html>"), Path(where).name)


def _edit(where: str, old: str, new: str, says: str) -> Spoiler:
    def change(root: Path) -> None:
        data = (root / where).read_bytes()
        assert data.count(old.encode()) >= 1, (where, old)
        (root / where).write_bytes(data.replace(old.encode(), new.encode(), 1))

    return change, f"{Path(where).name}: .*{says}"


def _small_mask(where: str) -> Spoiler:
    return (
        lambda root: mask(root / where, 1, 2, (17, 9)),
        f"{Path(where).name}: the mask is 17 x 9, .*40 x 32",
    )


def _high_mask(where: str, classes: int) -> Spoiler:
    def change(root: Path) -> None:
        cv2.imwrite(str(root / where), np.full((SIZE[1], SIZE[0]), classes, np.uint8))

    return change, f"{Path(where).name}: the mask is not an index map of 0 to {classes - 1}"


def _colour_mask(where: str) -> Spoiler:
    return (lambda root: picture(root / where, 3), f"{Path(where).name}: the mask is not an index map")


def _mat(where: str, **fields: np.ndarray) -> Spoiler:
    kept = {"pt3d_68": np.ones((3, 68)), "Pose_Para": np.ones((1, 7)), **fields}
    present = {k: v for k, v in kept.items() if v.size}
    return (lambda root: savemat(root / where, present), f"{Path(where).name}: ")


def _h5(where: str, field: str, index: tuple[int, int], value: float, says: str) -> Spoiler:
    def change(root: Path) -> None:
        with h5py.File(root / where, "r+") as file:
            file[field][index] = value

    return change, f"{Path(where).name}: {says}"


def _cut(where: str, keep: int) -> Spoiler:
    def change(root: Path) -> None:
        (root / where).write_bytes((root / where).read_bytes()[:keep])

    return change, Path(where).name


_PTS = "lfpw/trainset/image_0001.pts"
_PTS_LINE = "{:.2f} {:.2f}\n".format(*(points_of(1, 68)[2] + 1))
_LIST = "WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_train.txt"
_LAPA_LINE = "{:.2f} {:.2f}\n".format(*points_of(1, 106)[2])
_PART = "CelebAMask-HQ-mask-anno/0/00002_nose.png"
_WIDER = "wider_face_split/wider_face_train_bbx_gt.txt"
_RAF = "basic/EmoLabel/list_patition_label.txt"
_AFFECT = "Manually_Annotated_file_lists/training.csv"

SPOILERS: dict[str, list[Spoiler]] = {
    "300w": [
        _remove("lfpw/trainset/image_0002.png", "image_0002.jpg: the picture is missing"),
        _remove(_PTS),
        _garble("lfpw/trainset/image_0003.jpg"),
        _garble(_PTS),
        _edit(_PTS, _PTS_LINE, "", "67 points where iBUG-68 has 68"),
        _edit(_PTS, _PTS_LINE, "nan 3\n", "not all of its points are two numbers in line 6"),
        _edit(_PTS, _PTS_LINE, "3\n", "not all of its points are two numbers in line 6"),
        _edit(_PTS, _PTS_LINE, "3 inf\n", "not all of its points are two numbers in line 6"),
    ],
    "wflw": [
        _remove("WFLW_images/0--Parade/0_Parade_2.jpg"),
        _garble("WFLW_images/0--Parade/0_Parade_3.jpg"),
        _edit(_LIST, " 2 22 22 ", " 22 ", "205 words in line 3, there must be 207"),
        _edit(_LIST, f"{points_of(1, 98)[0, 0]:.2f} ", "nan ", "nan is not a position .* in line 2"),
        _edit(_LIST, " 2 22 22 0 1 ", " 2 22 22 0 7 ", "an attribute is neither 0 nor 1 in line 3"),
        _edit(_LIST, " 2 22 22 0 1 ", " 2 -9 22 0 1 ", "inside out in line 3"),
        _edit(_LIST, "0_Parade_1.jpg\n", "0_Parade_1.jpg\ntorn off\n", "2 words in line 3"),
    ],
    "aflw2000": [
        _remove("image00002.jpg"),
        _garble("image00001.jpg"),
        _garble("image00003.mat"),
        _cut("image00003.mat", 300),
        _mat("image00003.mat", pt3d_68=np.full((3, 68), np.nan)),
        _mat("image00003.mat", pt3d_68=np.ones((2, 68))),
        _mat("image00003.mat", Pose_Para=np.empty(0)),
    ],
    "cofw": [
        _h5("COFW_train_color.mat", "phisTr", (3, 1), np.nan, "face 2: not all are finite"),
        _h5("COFW_train_color.mat", "phisTr", (60, 2), 5.0, "face 3: an occlusion is neither"),
        _h5("COFW_test_color.mat", "bboxesT", (0, 0), np.inf, "face 1, box: not all are finite"),
    ],
    "celebamask": [
        _garble("CelebA-HQ-img/2.jpg"),
        _garble(_PART),
        (lambda root: mask(root / _PART, 0, 2, (5, 6)), "00002_nose.png: of another size"),
        (lambda root: [p.unlink() for p in root.glob("*/0/00010_*")], "00010_skin.png: there is no part"),
        (lambda root: picture(root / "CelebA-HQ-img/1.jpg", 1, (37, 31)), "20 x 16, the picture 37 x 31"),
    ],
    "lapa": [
        _remove("train/labels/1_0.png"),
        _remove("train/landmarks/1_0.txt"),
        _garble("train/images/1_0.jpg"),
        _garble("train/labels/1_0.png"),
        _garble("train/landmarks/1_0.txt"),
        _small_mask("train/labels/2_0.png"),
        _high_mask("train/labels/2_0.png", 11),
        _colour_mask("train/labels/2_0.png"),
        _edit("train/landmarks/1_0.txt", _LAPA_LINE, "", "105 points, '106' announced, LaPa has 106"),
        _edit("train/landmarks/1_0.txt", _LAPA_LINE, "4 nan\n", "nan is not a position .* in line 4"),
        _edit("train/landmarks/1_0.txt", _LAPA_LINE, "4\n", "not two numbers in line 4"),
    ],
    "easyportrait": [
        _remove("annotations/val/00000003-a.png"),
        _garble("images/val/00000003-a.jpg"),
        _small_mask("annotations/val/00000003-a.png"),
        _high_mask("annotations/val/00000003-a.png", 9),
    ],
    "ibugmask": [
        _remove("test/5_00.png"),
        _garble("test/5_00.jpg"),
        _small_mask("test/5_00.png"),
        _colour_mask("test/5_00.png"),
    ],
    "helen": [
        _remove("train/1_1_label.png"),
        _garble("train/1_1_image.jpg"),
        _small_mask("train/1_1_label.png"),
    ],
    "ferplus": [
        _remove("FER2013Valid/fer0000002.png"),
        _garble("FER2013Valid/fer0000002.png"),
        _edit("fer2013new.csv", "3.png,0", "3.png", "11 columns in line 6, there must be 12"),
        _edit("fer2013new.csv", "fer0000003.png,0", "fer0000003.png,nan", "nan is not a .* in line 6"),
        _edit("fer2013new.csv", "fer0000003.png,0", "fer0000003.png,-1", "a vote is no count in line 6"),
        _edit("fer2013new.csv", "PublicTest,fer0000003", "Public,3", "'Public' is no usage in line 6"),
    ],
    "fer2013": [
        _edit("fer2013.csv", "\n3,", "\n7,", "'7' is no emotion in line 5"),
        _edit("fer2013.csv", "\n3,", "\nx,", "'x' is no emotion in line 5"),
        _edit("fer2013.csv", '\n3,"', '\n3,"7 ', "not 2304 pixels of 0 to 255 in line 5"),
        _edit("fer2013.csv", '\n3,"', '\n3,"999', "not 2304 pixels of 0 to 255 in line 5"),
        _edit("fer2013.csv", '\n3,"', '\n3,"nan', "in line 5"),
        _edit("fer2013.csv", "Training", "Practice", "'Practice' is no usage in line 2"),
        _edit("fer2013.csv", '"', "", "in line 2"),
    ],
    "rafdb": [
        _remove("basic/Image/aligned/train_00002_aligned.jpg"),
        _garble("basic/Image/aligned/train_00002_aligned.jpg"),
        _edit(_RAF, "train_00002.jpg 3", "train_00002.jpg 8", "'8' is no emotion in line 3"),
        _edit(_RAF, "train_00002.jpg 3", "train_00002.jpg", "in line 3"),
        _edit(_RAF, "train_00002.jpg 3", "photo.jpg 3", "neither train_ nor test_ in line 3"),
    ],
    "affectnet": [
        _remove("Manually_Annotated_Images/2/2abc.jpg"),
        _garble("Manually_Annotated_Images/2/2abc.jpg"),
        _edit(_AFFECT, "2abc.jpg,2,2,20,21,", "2abc.jpg,2,2,20,", "8 columns in line 4, there must be 9"),
        _edit(_AFFECT, ",2,0.2,-2", ",11,0.2,-2", "'11' is no expression in line 4"),
        _edit(_AFFECT, ",2,0.2,-2", ",2,nan,-2", "nan is not a .* in line 4"),
        _edit(_AFFECT, "2abc.jpg,2,2,20,21,", "2abc.jpg,2,2,0,21,", "the face has no area in line 4"),
        _edit(_AFFECT, "2abc.jpg,2,2,20,21,", "2abc.jpg,2,2,20,21,3;4;", "138 numbers of points in line 4"),
    ],
    "widerface": [
        _remove("WIDER_train/images/0--Parade/0_Parade_marchingband_1_2.jpg"),
        _garble("WIDER_train/images/0--Parade/0_Parade_marchingband_1_2.jpg"),
        _edit(_WIDER, "_1_2.jpg\n2\n", "_1_2.jpg\n3\n", "2 faces after the picture in line 7, 3 are"),
        _edit(_WIDER, "_1_2.jpg\n2\n", "_1_2.jpg\n", "not a number of faces in line 8"),
        _edit(_WIDER, "1 2 4 7 0 0 1 0 2 1", "1 2 4 7 0 0 1 0 2", "9 numbers in line 9, there must be 10"),
        _edit(_WIDER, "1 2 4 7 0 0 1 0 2 1", "1 nan 4 7 0 0 1 0 2 1", "nan is not a position .* in line 9"),
    ],
    "folder": [_garble("0/photo 1.jpg"), _garble("1/photo 4.webp")],
    "webdataset": [_cut("part-1.tar", 512 * k + 40) for k in (11, 12, 13)]
    + [_cut("part-1.tar", 512 * k) for k in (11, 12, 13, 14)],
}  # fmt: skip
