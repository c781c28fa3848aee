"""The public data sets in miniature: their layouts with a few drawn faces in them, no photo of anybody.

Every drawn face has a red eye on the left of the picture, a green one on the right and a blue mouth, so that
a test can follow a labelled point through any transformation by looking at the colour that is there.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgeface.labels import BLENDSHAPES52, IBUG68
from quantization import splits
from quantization.synthetic import EXPRESSIONS

__all__ = ["Drawn", "Miniature", "colours_at", "draw", "make_data", "make_head", "mean_face", "write_points"]

_SKIN = (200, 160, 130)
_COLOURS = {"left": (255, 0, 0), "right": (0, 255, 0), "mouth": (0, 0, 255)}


@dataclass(frozen=True)
class Drawn:
    """A picture with one face: RGB, its box (x, y, width, height), 68 points and five keypoints."""

    rgb: NDArray[np.uint8]
    box: NDArray[np.float32]
    points: NDArray[np.float32]
    keypoints: NDArray[np.float32]


def mean_face() -> NDArray[np.float64]:
    """68 points of a face that is its own mirror image; the box spans 0 to 1."""
    turn = np.linspace(np.pi, 0, 17)
    jaw = np.c_[0.5 + 0.45 * np.cos(turn), 0.4 + 0.55 * np.sin(turn)]
    brow = np.c_[np.linspace(0.15, 0.4, 5), 0.22 - 0.04 * np.sin(np.linspace(0, np.pi, 5))]
    bridge = np.c_[np.full(4, 0.5), np.linspace(0.36, 0.52, 4)]
    tip = np.c_[np.linspace(0.42, 0.58, 5), [0.57, 0.59, 0.6, 0.59, 0.57]]
    eye = np.array([[0.18, 0.36], [0.24, 0.33], [0.33, 0.33], [0.39, 0.36], [0.33, 0.39], [0.24, 0.39]])
    around = np.linspace(np.pi, 3 * np.pi, 13)[:12]
    outer = np.c_[0.5 + 0.17 * np.cos(around), 0.76 + 0.07 * np.sin(around)]
    around = np.linspace(np.pi, 3 * np.pi, 9)[:8]
    inner = np.c_[0.5 + 0.12 * np.cos(around), 0.76 + 0.02 * np.sin(around)]
    points = np.concatenate([jaw, brow, brow, bridge, tip, eye, eye, outer, inner])
    mirrored = (points * (-1, 1) + (1, 0))[list(IBUG68.flip)]
    for part in ("left_brow", "left_eye"):
        points[IBUG68.parts[part]] = mirrored[IBUG68.parts[part]]
    return points


def draw(seed: int, width: int = 120, height: int = 96, side: float = 44.0) -> Drawn:
    """A face about ``side`` pixels high, somewhere in a picture of coarse noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    rgb = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    size = np.array([0.85 * side, side])
    corner = rng.uniform((2, 2), np.maximum((width, height) - size - 2, 3))
    points = mean_face() * size + corner
    middle = tuple(float(v) for v in corner + size / 2)
    cv2.ellipse(rgb, (middle, (float(size[0]), float(size[1])), 0.0), _SKIN, -1)
    eyes = points[36:42].mean(0), points[42:48].mean(0)
    mouth = points[48], points[54]
    radius = max(1, round(0.09 * side))
    for point, name in zip((*eyes, *mouth), ("left", "right", "mouth", "mouth"), strict=True):
        cv2.circle(rgb, tuple(point.round().astype(int).tolist()), radius, _COLOURS[name], -1)
    keypoints = np.stack([*eyes, points[30], *mouth])
    return Drawn(
        rgb, np.array([*corner, *size], np.float32), points.astype(np.float32), keypoints.astype(np.float32)
    )


def colours_at(image: NDArray[np.uint8], points: NDArray[np.float32]) -> str:
    """What colour is at each point of an RGB picture: a letter of ``rgb``, or ``-`` for neither."""
    letters = ""
    for x, y in np.asarray(points).round().astype(int):
        pixel = image[np.clip(y, 0, len(image) - 1), np.clip(x, 0, image.shape[1] - 1)].astype(int)
        best = int(pixel.argmax())
        letters += "rgb"[best] if pixel[best] > 1.3 * np.sort(pixel)[1] + 15 else "-"
    return letters


def write_points(path: Path, points: NDArray[np.float32]) -> None:
    """A ``.pts`` file: 1-based, as 300-W writes them."""
    rows = "\n".join(f"{x:.4f} {y:.4f}" for x, y in points + 1)
    path.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{rows}\n}}\n")


def _save(path: Path, rgb: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95]):
        raise OSError(path)


def _mask(face: Drawn) -> NDArray[np.uint8]:
    mask = np.zeros(face.rgb.shape[:2], np.uint8)
    x, y, w, h = (float(v) for v in face.box)
    cv2.ellipse(mask, ((x + w / 2, y + h / 2), (1.4 * w, 1.4 * h), 0.0), 13, -1)
    cv2.ellipse(mask, ((x + w / 2, y + h / 2), (w, h), 0.0), 1, -1)
    for point, label in zip(face.keypoints, (5, 4, 2, 11, 12), strict=True):
        cv2.circle(mask, tuple(point.round().astype(int).tolist()), 3, label, -1)
    return mask


# Folder, picture names, seed of the first: the drawn face of picture i has the seed first + i.
_SETS = {
    "lfpw": ("landmarks/lfpw/trainset", [f"image_{i:04d}.jpg" for i in range(8)], 100),
    "celebamask": ("parsing/celebamask_hq/images", [f"{i:032x}.jpg" for i in range(6)], 200),
    "celeba_hq": ("parsing/celeba_hq_unlabelled", [f"{i + 50:032x}.jpg" for i in range(3)], 300),
    "utkface": ("unlabelled/utkface", [f"{20 + i}_0_0.jpg.chip.jpg" for i in range(4)], 400),
    "youtube_faces": (
        "landmarks/youtube_faces_68/images",
        [f"{who}_{k:02d}.jpg" for who in ("Ada_Lovelace", "Bo_Li", "Cy_Oz") for k in range(2)],
        500,
    ),
}


def _face(split: str, index: int) -> Drawn:
    # The first picture of each set has the largest face; all have another noise behind them.
    return draw(_SETS[split][2] + index, side=60.0 if index == 0 else 46.0)


def make_data(root: Path) -> Path:
    """Writes every data set below ``root``; returns it."""
    for split, (folder, names, _) in _SETS.items():
        for i, name in enumerate(names):
            face = _face(split, i)
            _save(root / folder / name, face.rgb)
            if split == "lfpw":
                write_points((root / folder / name).with_suffix(".pts"), face.points)
            if split == "celebamask":
                mask = Image.fromarray(_mask(face))
                if i % 2:  # some of the published masks are palette images
                    mask.putpalette(
                        [v for k in range(256) for v in (k * 37 % 256, k * 91 % 256, k * 7 % 256)]
                    )
                (root / "parsing/celebamask_hq/masks").mkdir(exist_ok=True)
                mask.save(root / "parsing/celebamask_hq/masks" / (Path(name).stem + ".png"))
    _make_ferplus(root / "expression/ferplus")
    make_head(root / "face3d/ict_face_model_light.npz", 40, 48)  # fine enough for eyes
    return root


def _make_ferplus(root: Path) -> None:
    rng = np.random.default_rng(9)
    rows: list[list[object]] = []
    for part, count in (("FER2013Train", 16), ("FER2013Valid", 6)):
        (root / part).mkdir(parents=True)
        for i in range(count):
            name = f"fer{i:07d}.webp"
            grey = rng.integers(0, 256, (48, 48), dtype=np.uint8)
            if (part, i) == ("FER2013Valid", 1):  # repeats a picture that trains
                grey = np.array(Image.open(root / "FER2013Train/fer0000003.webp").convert("L"))
            Image.fromarray(grey).save(root / part / name, lossless=True)
            votes = np.zeros(10, int)
            votes[i % 8] = 7
            votes[(i + 3) % 8] = 3
            if i == 5:  # most taggers could not tell
                votes[:] = 0
                votes[[0, 8]] = 4, 6
            rows.append([part, name, *votes.tolist()])
    with (root / "votes.csv").open("w", newline="") as file:
        names = [
            "neutral",
            "happiness",
            "surprise",
            "sadness",
            "anger",
            "disgust",
            "fear",
            "contempt",
            "unknown",
            "NF",
        ]
        csv.writer(file).writerows([["split", "image", *names], *rows])


def make_head(path: Path, rows: int = 24, columns: int = 48) -> Path:
    """An egg with 68 points on its front, in the format of the 3D face; its jaw and lids move."""
    up, around = np.meshgrid(
        np.linspace(-1.5, 1.5, rows), np.linspace(0, 2 * np.pi, columns, False), indexing="ij"
    )
    vertices = np.stack(
        [7 * np.cos(up) * np.sin(around), 10 * np.sin(up), 8 * np.cos(up) * np.cos(around)], axis=-1
    ).reshape(-1, 3)
    cell = np.arange(rows * columns).reshape(rows, columns)
    right = np.roll(cell, -1, axis=1)
    quads = np.stack([cell[:-1], right[:-1], right[1:], cell[1:]], axis=-1).reshape(-1, 4)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    front = np.c_[(mean_face() - 0.5) * (12, -14), np.zeros(68)]
    apart = np.linalg.norm(vertices[:, None, :2] - front[None, :, :2], axis=2) + 100 * (
        vertices[:, None, 2] < 0
    )
    ids = apart.argmin(0)
    middle = vertices[triangles].mean(1)
    material = np.where(middle[:, 2] > 0, 0, 1)
    for number, eye in ((2, slice(42, 48)), (3, slice(36, 42))):
        offset = (middle[:, :2] - front[eye, :2].mean(0)) / (1.1, 0.4)
        material[(middle[:, 2] > 0) & ((offset**2).sum(1) < 1)] = number
    angle = np.arctan2(middle[:, 0], middle[:, 2])[:, None]
    at = np.arctan2(vertices[:, 0], vertices[:, 2])[triangles]
    at = angle + (at - angle + np.pi) % (2 * np.pi) - np.pi  # no triangle spans the seam
    u = np.where(np.abs(angle) < np.pi / 2, at / np.pi + 0.5, 1 + (at % (2 * np.pi) - np.pi / 2) / np.pi)
    v = np.arcsin(np.clip(vertices[:, 1] / 10, -1, 1))[triangles] / 3 + 0.5
    moves = {name: np.zeros_like(vertices) for name in EXPRESSIONS}
    for name, upper, lower in (("eyeBlinkLeft", (43, 44), (47, 46)), ("eyeBlinkRight", (37, 38), (41, 40))):
        for i, j in zip(ids[list(upper)], ids[list(lower)], strict=True):
            moves[name][i] = vertices[j] - vertices[i]
    moves["jawOpen"][ids[[*range(5, 12), *range(55, 60), 65, 66, 67]], 1] = -1.5
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        neutral=vertices.astype(np.float32),
        triangles=triangles,
        landmarks68=ids,
        identity=np.stack(
            [vertices * (0.04, 0, 0), vertices * (0, 0.04, 0), vertices[:, ::-1] * (0.03, 0, 0)]
        ),
        expression=np.stack(list(moves.values())),
        expression_names=np.array(
            [n.replace("eyeBlinkL", "eyeBlink_L").replace("_Left", "_L") for n in moves]
        ),
        uv=np.stack([u, v], axis=-1).reshape(-1, 2),
        uv_triangles=np.arange(3 * len(triangles)).reshape(-1, 3),
        material=material,
        material_names=np.array(["M_Face", "M_BackHead", "M_ScleraLeft", "M_ScleraRight"]),
    )
    return path


def make_labels(folder: Path, parts: dict[str, list[str]]) -> Path:
    """The teachers' label files for :func:`make_data`, with the truth in them."""
    folder.mkdir(parents=True)
    for split, (_, names, _) in _SETS.items():
        faces = [_face(split, i) for i in range(len(names))]
        columns = {
            "names": np.array(names),
            "boxes": np.stack([f.box for f in faces]),
            "scores": np.full(len(names), 0.9, np.float32),
            "keypoints": np.stack([f.keypoints for f in faces]),
        }
        np.savez(
            folder / f"{split}.npz",
            **columns,
            parts=np.array(parts[split]),
            points=np.stack([f.points for f in faces]),
            trust=np.ones(len(names), np.float32),
        )
        # Movements that a mirror exchanges, drawn by lot: nothing of them is to be seen in the pictures.
        seen = np.random.default_rng(_SETS[split][2]).random((len(names), len(BLENDSHAPES52)), np.float32)
        np.savez(
            folder / f"{split}_blendshapes.npz",
            names=columns["names"],
            boxes=columns["boxes"],
            seen=seen,
            mirror=seen[:, list(BLENDSHAPES52.flip)],
            presence=np.ones(len(names), np.float32),
        )
        if split in {"celeba_hq", "lfpw"}:  # what the parsing teacher drew
            (folder / "parsing" / split).mkdir(parents=True)
            for name, face in zip(names, faces, strict=True):
                Image.fromarray(_mask(face)).save(folder / "parsing" / split / f"{Path(name).stem}.png")
        if split == "lfpw":
            np.savez(folder / "lfpw_faces.npz", **columns, agreed=np.ones(len(names), np.bool_))
    return folder


@dataclass(frozen=True)
class Miniature:
    """Where the data, the teachers' labels and the split lists of a miniature lie."""

    data: Path
    labels: Path
    lists: Path

    @classmethod
    def make(cls, root: Path) -> Miniature:
        """All of it below ``root``."""
        made = cls(make_data(root / "data"), root / "labels", root / "splits")
        with made.split():
            make_labels(made.labels, make_splits(made.data))
        return made

    @contextmanager
    def split(self) -> Iterator[None]:
        """The workshop reads these split lists instead of the committed ones."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(splits, "SPLITS", self.lists)
            yield


def make_splits(data: Path) -> dict[str, list[str]]:
    """Writes split lists for :func:`make_data` to ``splits.SPLITS``; returns each image's part."""
    chosen = {
        "lfpw": ["validation"] * 2 + ["train"] * 6,
        "celebamask": ["validation", "tuning"] + ["train"] * 4,
        "celeba_hq": ["train"] * 3,
        "utkface": ["tuning"] + ["train"] * 3,
        "youtube_faces": ["tuning"] * 2 + ["train"] * 4,
    }
    for split, (folder, names, _) in _SETS.items():
        items = [
            splits.Item(name, splits.digest(data / folder / name), part)
            for name, part in zip(names, chosen[split], strict=True)
        ]
        splits.write_split(split, items)
    train = [f"FER2013Train/fer{i:07d}.webp" for i in range(16) if i != 5]
    valid = [f"FER2013Valid/fer{i:07d}.webp" for i in range(6) if i not in {1, 5}]
    rows = [(n, "tuning" if i < 4 else "train") for i, n in enumerate(train)] + [
        (n, "validation") for n in valid
    ]
    splits.write_split(
        "ferplus", [splits.Item(n, splits.digest(data / "expression/ferplus" / n), p) for n, p in rows]
    )
    return chosen
