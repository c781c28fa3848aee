"""The astronaut turned, mirrored, shrunk, grey, deep, sideways and badly compressed: what must hold for each.

Each variant is made on the fly together with the map from the original photo to it, so that what is found in
the variant can be brought back and compared. Errors of landmarks are shares of the distance between the outer
eye corners.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgeface import BBox, Face, FaceAnalyzer, Frame, FrameResult, read_image
from edgeface.labels import IBUG68, flip_labels

# Read off the photo by eye and confirmed by a published detector; not by the students under test.
FACE = BBox(181.0, 53.6, 92.5, 124.0)
RIGHT_EYE, LEFT_EYE = (204.6, 96.3), (246.9, 102.3)  # the person's own sides

Rgb = NDArray[np.uint8]


@dataclass(frozen=True)
class Variant:
    """A picture and the matrix [2, 3] from the photo's pixels to its pixels."""

    rgb: Rgb
    matrix: NDArray[np.float64]

    def box(self, box: BBox) -> BBox:
        """The box around the ellipse of a face: what a detector gives for a leaning head."""
        turn = np.linspace(0, 2 * math.pi, 361)
        around = np.array(box.center) + np.c_[np.cos(turn) * box.width / 2, np.sin(turn) * box.height / 2]
        low, high = (f(around @ self.matrix[:, :2].T + self.matrix[:, 2], axis=0) for f in (np.min, np.max))
        return BBox(low[0], low[1], high[0] - low[0], high[1] - low[1])

    def back(self, points: NDArray[np.float32]) -> NDArray[np.float64]:
        """Points of this picture in the pixels of the photo."""
        return np.linalg.solve(self.matrix[:, :2], (points - self.matrix[:, 2]).T).T


@pytest.fixture(scope="module")
def photo(astronaut_path: Path) -> Rgb:
    return read_image(astronaut_path).rgb


@pytest.fixture(scope="module")
def analyzer() -> Iterator[FaceAnalyzer]:
    with FaceAnalyzer() as made:
        yield made


@pytest.fixture(scope="module")
def seen(analyzer: FaceAnalyzer, photo: Rgb) -> Face:
    """Her face in the photo as it is."""
    (face,) = analyzer.analyze(photo).faces
    return face


def points(face: Face) -> NDArray[np.float32]:
    assert face.landmarks is not None
    return face.landmarks.points


def eyes_apart(face: Face) -> float:
    return float(np.linalg.norm(points(face)[36] - points(face)[45]))


def error(found: NDArray[np.float64] | NDArray[np.float32], face: Face) -> float:
    """Mean distance of the points, as a share of the distance between the outer eye corners."""
    return float(np.linalg.norm(found - points(face), axis=1).mean()) / eyes_apart(face)


def the_face(result: FrameResult, expected: BBox, least: float = 0.5) -> Face:
    """The face at the expected place; there is one, and it is the only one of some size."""
    best = max(result.faces, key=lambda face: face.bbox.iou(expected), default=None)
    assert best is not None, "no face found"
    assert best.bbox.iou(expected) >= least
    return best


def turned(rgb: Rgb, degrees: float) -> Variant:
    """Clockwise on the screen, on a canvas that holds all of it."""
    height, width = rgb.shape[:2]
    a = math.radians(degrees)
    cos, sin = math.cos(a), math.sin(a)
    wide = round(abs(cos) * width + abs(sin) * height)
    high = round(abs(sin) * width + abs(cos) * height)
    matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0]])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix[:, 2] = np.array([(wide - 1) / 2, (high - 1) / 2]) - matrix[:, :2] @ centre
    return Variant(np.asarray(cv2.warpAffine(rgb, matrix, (wide, high)), np.uint8), matrix)


def mirrored(rgb: Rgb) -> Variant:
    matrix = np.array([[-1.0, 0.0, rgb.shape[1] - 1], [0.0, 1.0, 0.0]])
    return Variant(np.ascontiguousarray(rgb[:, ::-1]), matrix)


def shrunk(rgb: Rgb, face_height: float, canvas: tuple[int, int] | None) -> Variant:
    """Her face made so high; with a canvas (width, height), in the middle of a grey frame."""
    scale = face_height / FACE.height
    side = round(512 * scale)
    small = np.asarray(cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    scale = side / 512
    shift = np.full(2, 0.5 * scale - 0.5)
    if canvas:
        frame = np.full((canvas[1], canvas[0], 3), 110, np.uint8)
        left, top = (canvas[0] - side) // 2, (canvas[1] - side) // 2
        frame[top : top + side, left : left + side] = small
        small, shift = frame, shift + np.array([left, top])
    return Variant(small, np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]]))


@pytest.mark.parametrize("degrees", [20, -45, 90, 0])
def test_a_turned_picture_is_where_its_matrix_says(degrees: float) -> None:
    """Of the test's own geometry: a bright spot lands where the matrix sends it."""
    rgb = np.zeros((60, 80, 3), np.uint8)
    cv2.circle(rgb, (55, 20), 5, (255, 255, 255), -1)
    for variant in (turned(rgb, degrees), mirrored(rgb)):
        light = variant.rgb[..., 0].astype(float)
        rows, columns = np.indices(light.shape)
        middle = np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()
        assert middle == pytest.approx(variant.matrix[:, :2] @ (55, 20) + variant.matrix[:, 2], abs=0.1)
        assert variant.back(middle[None].astype(np.float32))[0] == pytest.approx([55, 20], abs=0.1)


def test_the_photo_as_it_is(seen: Face) -> None:
    assert seen.bbox.iou(FACE) >= 0.6
    found = points(seen)
    for eye, where in ((found[36:42], RIGHT_EYE), (found[42:48], LEFT_EYE)):
        assert np.linalg.norm(eye.mean(axis=0) - where) < 0.12 * eyes_apart(seen)
    assert seen.landmarks is not None
    assert seen.landmarks.presence > 0.9
    assert seen.expression is not None
    assert seen.expression.label == "happiness"
    assert seen.parsing is not None
    frame = seen.parsing.to_frame((512, 512))
    names = seen.parsing.names
    assert names[frame[160, 222]] in {"skin", "l_lip", "mouth", "u_lip"}
    assert names[frame[78, 225]] in {"skin", "hair"}
    for eye in (RIGHT_EYE, LEFT_EYE):
        x, y = (round(v) for v in eye)
        around = {names[i] for i in np.unique(frame[y - 3 : y + 4, x - 4 : x + 5])}
        assert around & {"l_eye", "r_eye"}


@pytest.mark.parametrize(("degrees", "allowed"), [(20, 0.06), (-20, 0.06), (30, 0.08), (-30, 0.08)])
def test_a_leaning_head(
    analyzer: FaceAnalyzer, photo: Rgb, seen: Face, degrees: float, allowed: float
) -> None:
    variant = turned(photo, degrees)
    face = the_face(analyzer.analyze(variant.rgb), variant.box(seen.bbox))
    assert error(variant.back(points(face)), seen) < allowed
    assert face.roll is not None
    assert seen.roll is not None
    assert face.roll - seen.roll == pytest.approx(degrees, abs=20)
    # The parsing map comes back to the same place, too.
    assert face.parsing is not None
    assert seen.parsing is not None
    there = face.parsing.to_frame(variant.rgb.shape[:2])
    inverse = cv2.invertAffineTransform(variant.matrix)
    back = cv2.warpAffine(there, inverse, (512, 512), flags=cv2.INTER_NEAREST)
    before = seen.parsing.to_frame((512, 512))
    skin = [(labels == seen.parsing.names.index("skin")) for labels in (back, before)]
    assert (skin[0] & skin[1]).sum() / (skin[0] | skin[1]).sum() > 0.7


@pytest.mark.parametrize("degrees", [45, -45, 90, -90, 180])
def test_a_head_that_leans_far_may_be_missed_but_the_surest_is_hers(
    analyzer: FaceAnalyzer, photo: Rgb, seen: Face, degrees: float
) -> None:
    """Heads that lean by over 40 degrees are rare in what the detector learnt.

    Lying on their side they may be seen more than once, and other things be taken for one, but with less
    certainty; up to 45 degrees, and upside down, nothing else is.
    """
    variant = turned(photo, degrees)
    faces = sorted(analyzer.analyze(variant.rgb).faces, key=lambda face: -face.bbox.score)
    for face in faces[:1] if abs(degrees) == 90 else faces:
        assert face.bbox.iou(variant.box(seen.bbox)) > 0.3


@pytest.mark.parametrize("box", [BBox(20, 20, 90, 90), BBox(300, 30, 120, 120), BBox(180, 330, 120, 120)])
def test_where_there_is_no_face_presence_says_so(analyzer: FaceAnalyzer, photo: Rgb, box: BBox) -> None:
    (face,) = analyzer.analyze(photo, [box]).faces
    assert face.landmarks is not None
    assert face.landmarks.presence < 0.5


def test_the_mirror_image(analyzer: FaceAnalyzer, photo: Rgb, seen: Face) -> None:
    variant = mirrored(photo)
    face = the_face(analyzer.analyze(variant.rgb), variant.box(seen.bbox), 0.7)
    back = variant.back(points(face))[list(IBUG68.flip)]
    assert error(back, seen) < 0.05
    assert face.parsing is not None
    assert seen.parsing is not None
    now = flip_labels(face.parsing.to_frame((512, 512)), "celebamask19")
    before = seen.parsing.to_frame((512, 512))
    either = (now > 0) | (before > 0)
    assert (now == before)[either].mean() > 0.85
    assert face.expression is not None
    assert seen.expression is not None
    assert face.expression.label == seen.expression.label
    assert face.roll is not None
    assert seen.roll is not None
    assert face.roll == pytest.approx(-seen.roll, abs=4)


@pytest.mark.parametrize(("height", "canvas", "allowed"), [
    (24, None, 0.08), (48, None, 0.05), (24, (640, 480), 0.1), (40, (640, 480), 0.08),
])  # fmt: skip
def test_a_small_face(
    analyzer: FaceAnalyzer,
    photo: Rgb,
    seen: Face,
    height: float,
    canvas: tuple[int, int] | None,
    allowed: float,
) -> None:
    variant = shrunk(photo, height, canvas)
    face = the_face(analyzer.analyze(variant.rgb), variant.box(seen.bbox))
    assert error(variant.back(points(face)), seen) < allowed


def same(one: Face, two: Face) -> bool:
    return one == two


def png(image: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    bgr = image[..., [2, 1, 0, 3][: image.shape[2]]] if image.ndim == 3 else image
    ok, data = cv2.imencode(".png", np.ascontiguousarray(bgr))
    assert ok
    return data.tobytes()


def test_more_bits_or_an_alpha_channel_change_nothing(analyzer: FaceAnalyzer, photo: Rgb, seen: Face) -> None:
    alpha = np.full((*photo.shape[:2], 1), 77, np.uint8)
    rgba = np.concatenate([photo, alpha], axis=2)
    deep = photo.astype(np.uint16) * 257
    for frame in (
        Frame.from_array(rgba),
        Frame.from_array(deep),
        read_image(png(photo)),
        read_image(png(rgba)),
        read_image(png(deep)),
    ):
        (face,) = analyzer.analyze(frame).faces
        assert same(face, seen), frame.source


def test_a_grey_picture(analyzer: FaceAnalyzer, photo: Rgb, seen: Face) -> None:
    grey = np.asarray(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), np.uint8)
    results = [
        analyzer.analyze(frame)
        for frame in (
            Frame.from_array(grey),
            Frame.from_array(grey[:, :, None]),
            Frame.from_array(grey.astype(np.uint16) * 257),
            read_image(png(grey)),
        )
    ]
    faces = [the_face(result, seen.bbox, 0.7) for result in results]
    assert all(same(face, faces[0]) for face in faces)
    assert error(points(faces[0]), seen) < 0.06
    assert faces[0].expression is not None
    assert faces[0].expression.label == "happiness"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_portrait_stored_on_its_side(
    analyzer: FaceAnalyzer, photo: Rgb, kind: str, orientation: int
) -> None:
    """However the camera was held, EXIF says how to turn the picture; a lossless one gives the same face."""
    portrait = np.ascontiguousarray(photo[:, 64:448])
    (upright,) = analyzer.analyze(portrait).faces
    image = Image.fromarray(portrait)
    undo = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM], 5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE], 8: [Image.Transpose.ROTATE_270],
    }  # fmt: skip
    for step in undo.get(orientation, []):
        image = image.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = io.BytesIO()
    image.save(stored, kind, exif=exif, **({"quality": 95, "subsampling": 0} if kind == "jpeg" else {}))
    frame = read_image(stored.getvalue())
    assert (frame.width, frame.height) == (384, 512)
    face = the_face(analyzer.analyze(frame), upright.bbox, 0.9)
    if kind == "png":
        assert same(face, upright)
    else:
        assert error(points(face), upright) < 0.03


@pytest.mark.parametrize(("quality", "allowed"), [(30, 0.04), (8, 0.1)])
def test_a_badly_compressed_photo(
    analyzer: FaceAnalyzer, photo: Rgb, seen: Face, quality: int, allowed: float
) -> None:
    stored = io.BytesIO()
    Image.fromarray(photo).save(stored, "jpeg", quality=quality)
    face = the_face(analyzer.analyze(read_image(stored.getvalue())), seen.bbox, 0.6)
    assert error(points(face), seen) < allowed


def face_free(photo: Rgb) -> dict[str, Rgb]:
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 255, 640).astype(np.uint8)
    board = (np.indices((480, 640)).sum(axis=0) // 24 % 2 * 255).astype(np.uint8)
    return {
        "black": np.zeros((480, 640, 3), np.uint8),
        "white": np.full((480, 640, 3), 255, np.uint8),
        "noise": rng.integers(0, 256, (480, 640, 3), dtype=np.uint8),
        "ramp": np.repeat(np.tile(ramp, (480, 1))[:, :, None], 3, axis=2),
        "board": np.repeat(board[:, :, None], 3, axis=2),
        "suit": np.ascontiguousarray(photo[200:, 100:400]),
        "flag": np.ascontiguousarray(photo[100:512, 0:110]),
        "shuttle": np.ascontiguousarray(photo[0:240, 310:512]),
        "speck": np.full((1, 1, 3), 90, np.uint8),
        "thread": rng.integers(0, 256, (2, 900, 3), dtype=np.uint8),
    }


@pytest.mark.parametrize("name", list(face_free(np.zeros((512, 512, 3), np.uint8))))
def test_a_picture_without_a_face(analyzer: FaceAnalyzer, photo: Rgb, name: str) -> None:
    assert analyzer.analyze(face_free(photo)[name]).faces == ()
