"""Overlays: a result drawn over its picture, to look at and to show.

`draw_overlay` washes the parsing maps over the faces, draws landmarks as thin contours with points, boxes
with marked corners, one chip or a panel of bars per expression, and a legend. Everything written is sized
after the picture, stays inside it, and is put where it covers no face as long as such a place exists. The
same picture and result always give the same pixels.

`canvas` draws, `layout` finds places, `tint` colours, `panels` writes; nothing here knows a model.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edgeface.errors import ArgumentError
from edgeface.labels import IBUG68, parsing_scheme
from edgeface.render.canvas import Canvas
from edgeface.render.layout import Obstacle, Place, Rect, around, cheapest, corners, grid
from edgeface.render.panels import Bars, Chip, Legend, Lettering, Palette
from edgeface.render.tint import tint
from edgeface.results import BBox, FrameResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeface.frame import Frame
    from edgeface.render.canvas import Colour
    from edgeface.results import Expression, Face, Landmarks

__all__ = ["OverlayStyle", "draw_overlay"]

_CLOSED = ("right_eye", "left_eye", "outer_lip", "inner_lip")
_SHADOW: Colour = (8, 12, 18)
_FACE, _WRITING, _SURROUNDINGS = 10.0, 100.0, 0.6  # what covering them costs
_WORTH_A_LINE = 0.0008  # share of a map: about 13 cells of 128 x 128
_SPOKEN = {
    "u_lip": "upper lip",
    "l_lip": "lower lip",
    "l_eye": "left eye",
    "r_eye": "right eye",
    "l_brow": "left brow",
    "r_brow": "right brow",
    "l_ear": "left ear",
    "r_ear": "right ear",
}
_FREE = 0.5  # a place that costs more covers part of a face or of other writing
_TOLERABLE = 1.0  # a chip is small: it may touch what surrounds another face, or a tenth of itself a face


@dataclass(frozen=True, slots=True)
class OverlayStyle:
    """What an overlay shows and how strongly.

    Attributes:
        boxes: draw the face boxes.
        landmarks: draw the landmark contours and points.
        parsing: wash the parsing map over the face.
        expression: show the expression: of one face all bars where there is room, else one line with a bar.
        legend: explain the colours of the parsing map.
        opacity: of the parsing map, 0..1; skin gets half of it, so that the face stays a face.
        min_side: a picture whose shorter side is below this many pixels is enlarged (8 times at most),
            because text and points are not readable on a smaller one; 0 never enlarges.
        palette: colours of what is written.
    """

    boxes: bool = True
    landmarks: bool = True
    parsing: bool = True
    expression: bool = True
    legend: bool = True
    opacity: float = 0.46
    min_side: int = 480
    palette: Palette = field(default_factory=Palette)


def draw_overlay(
    frame: Frame | NDArray[np.uint8], result: FrameResult, style: OverlayStyle | None = None
) -> NDArray[np.uint8]:
    """Draw `result` over its picture.

    Args:
        frame: the analysed frame, or its RGB picture, uint8 [H, W, 3]; it is not changed.
        result: what `FaceAnalyzer.analyze` answered for it.
        style: what to show; everything by default.

    Returns:
        A new RGB picture, uint8, of the same size, or enlarged as `OverlayStyle.min_side` says.

    Raises:
        ArgumentError: the picture is not the one that the result was made from (its size differs), or one
            of the two is something else.
    """
    if not isinstance(result, FrameResult):
        raise ArgumentError(
            f"result must be what analyze answered, a FrameResult, not {type(result).__name__}"
        )
    style = style or OverlayStyle()
    rgb: Any = getattr(frame, "rgb", frame)
    if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8:
        got = f"{rgb.dtype} array" if isinstance(rgb, np.ndarray) else type(rgb).__name__
        raise ArgumentError(f"the picture must be a Frame or its rgb, a uint8 array, not {got}")
    if rgb.shape != (result.height, result.width, 3):
        raise ArgumentError(
            f"the picture has shape {rgb.shape}, the result is of {result.width} x {result.height} pixels; "
            "draw a result over the frame that it was made from"
        )
    canvas, scale = _enlarged(rgb, style.min_side)
    faces = [_scaled(face, scale) for face in result.faces]
    if style.parsing:
        for face in reversed(faces):  # the nearest face last, over its neighbours
            if face.parsing is not None:
                colours, opacities = _wash(face.parsing.scheme, style.opacity)
                tint(canvas, face.parsing, colours, opacities)
    for face in reversed(faces):
        if style.boxes:
            _draw_box(canvas, face.bbox, style.palette.accent)
        if style.landmarks:
            _draw_points(canvas, face)
    _write(canvas, faces, style)
    return canvas.rgb


def _enlarged(rgb: NDArray[np.uint8], min_side: int) -> tuple[Canvas, float]:
    height, width = rgb.shape[:2]
    scale = min(max(min_side / min(height, width), 1.0), 8.0, max(4096 / max(height, width), 1.0))
    if scale == 1.0:
        return Canvas(rgb.copy()), scale
    size = (round(width * scale), round(height * scale))
    return Canvas(np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC), np.uint8)), scale


def _scaled(face: Face, scale: float) -> Face:
    """The same face in an enlarged picture, whose pixel centres are at integers too."""
    if scale == 1.0:
        return face

    def points(array: NDArray[np.float32]) -> NDArray[np.float32]:
        return ((array + 0.5) * scale - 0.5).astype(np.float32)

    def box(old: BBox) -> BBox:
        x, y = (old.x + 0.5) * scale - 0.5, (old.y + 0.5) * scale - 0.5
        return BBox(x, y, old.width * scale, old.height * scale, old.score)

    return replace(
        face,
        bbox=box(face.bbox),
        keypoints=None if face.keypoints is None else points(face.keypoints),
        landmarks=face.landmarks and replace(face.landmarks, points=points(face.landmarks.points)),
        parsing=face.parsing and replace(face.parsing, bbox=box(face.parsing.bbox)),
    )


def _wash(scheme: str, opacity: float) -> tuple[Sequence[Colour], list[float]]:
    """Colours of a scheme and how strongly each covers the picture."""
    known = parsing_scheme(scheme)
    strength = {"background": 0.0, "skin": 0.5 * opacity}
    return known.colours, [strength.get(name, opacity) for name in known.names]


def _draw_box(canvas: Canvas, box: BBox, colour: Colour) -> None:
    """A hairline rectangle with strong corners."""
    x0, y0, x1, y1 = box.x, box.y, box.x + box.width, box.y + box.height
    outline = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)
    thin = float(np.clip(box.side / 220, 1.3, 3.5))
    arm = 0.16 * min(box.width, box.height)
    marks = []
    for (x, y), sign_x, sign_y in zip(outline, (1, -1, -1, 1), (1, 1, -1, -1), strict=True):
        corner = [[x + sign_x * arm, y], [x, y], [x, y + sign_y * arm]]
        marks.append((np.array(corner, np.float32), False))
    canvas.strokes([(outline, True)], thin, colour, 0.55)
    canvas.strokes(marks, thin * 2.8, _SHADOW, 0.35)
    canvas.strokes(marks, thin * 1.8, colour, 0.95)


def _draw_points(canvas: Canvas, face: Face) -> None:
    """Landmarks as contours and points; without landmarks the detector's five points."""
    side = face.bbox.side
    if face.landmarks is not None:
        _draw_landmarks(canvas, face.landmarks, side)
    elif face.keypoints is not None:
        radius = float(np.clip(side / 60, 1.2, 7.0))
        canvas.dots(face.keypoints, radius * 1.5, _SHADOW, 0.5)
        canvas.dots(face.keypoints, radius, (255, 255, 255))


def _draw_landmarks(canvas: Canvas, landmarks: Landmarks, side: float) -> None:
    points = landmarks.points
    line = float(np.clip(side / 190, 1.2, 4.5))
    radius = float(np.clip(side / 130, 1.1, 6.5))
    contours = [(points[part], name in _CLOSED) for name, part in IBUG68.parts.items()]
    canvas.strokes(contours, line + 1.2, _SHADOW, 0.28)
    canvas.strokes(contours, line, (150, 240, 255), 0.72)
    if side < 56:  # points closer than their own size would only hide the face
        return
    seen = landmarks.visibility >= 0.5
    canvas.dots(points[seen], radius + 0.7, _SHADOW, 0.45)
    canvas.dots(points[seen], radius, (255, 255, 255))
    canvas.dots(points[~seen], radius + 0.3, _SHADOW, 0.45, ring=max(1.6, radius * 0.9))
    canvas.dots(points[~seen], radius + 0.3, (255, 186, 92), ring=max(1.0, radius * 0.5))


def _write(canvas: Canvas, faces: Sequence[Face], style: OverlayStyle) -> None:
    """Expressions first, they belong beside their faces; then the legend, which may stand anywhere."""
    lettering = Lettering(int(np.clip(round(min(canvas.width, canvas.height) / 60), 8, 60)))
    margin = lettering.pad
    area = Rect(margin, margin, canvas.width - 2 * margin, canvas.height - 2 * margin)
    near = [Obstacle(Rect.of(face.bbox, 0.35), _SURROUNDINGS) for face in faces]
    obstacles = [Obstacle(Rect.of(face.bbox), _FACE) for face in faces] + near
    if style.expression or len(faces) > 1:
        for number, face in enumerate(faces, 1):
            title = f"#{number}" if len(faces) > 1 else ""
            forms = _forms(face.expression if style.expression else None, title, lettering)
            others = [item for item in obstacles if item is not near[number - 1]]
            chosen = _place(forms, face.bbox, area, obstacles, others)
            if chosen is not None:
                form, place = chosen
                form.draw(canvas, place.rect, style.palette)
                obstacles.append(Obstacle(place.rect, _WRITING))
    if style.parsing and style.legend:
        entries = _legend_entries(faces)
        if entries:
            _write_legend(canvas, entries, lettering, area, obstacles, palette=style.palette)


def _forms(expression: Expression | None, title: str, lettering: Lettering) -> list[Bars | Chip]:
    """The ways to write a face's number and expression, the fullest first."""
    forms: list[Bars | Chip] = []
    if expression is not None:
        if not title:  # beside several faces it would not be clear whose bars they are
            forms.append(Bars(expression.scores, lettering))
        said = f"{title} {expression.label} {100 * expression.score:.0f}%".strip()
        forms.append(Chip(said, expression.score, lettering))
        forms.append(Chip(f"{title} {expression.label}".strip(), None, lettering))
    if title:
        forms.append(Chip(title, None, lettering))
    return forms


def _place(
    forms: Sequence[Bars | Chip],
    box: BBox,
    area: Rect,
    obstacles: Sequence[Obstacle],
    others: Sequence[Obstacle],
) -> tuple[Bars | Chip, Place] | None:
    """The fullest form that finds a place off every face, else the one that covers least, if that is legible.

    `others` are the obstacles without this face's own surroundings: a chip may touch the hair that it belongs
    to.
    """
    anchor = Rect.of(box)
    best: tuple[Bars | Chip, Place] | None = None
    for form in forms:
        if isinstance(form, Bars):
            spots = around(form.size, Rect.of(box, 0.36), 0) + grid(form.size, area)
            place = cheapest(spots, area, obstacles, anchor, steep=2.0)
        else:
            spots = around(form.size, anchor, max(3, form.lettering.cap // 3)) + corners(form.size, anchor)
            place = cheapest(spots, area, others, anchor)
        if place is None:
            continue
        if place.cost < (_FREE if isinstance(form, Bars) else _TOLERABLE):
            return form, place
        if not isinstance(form, Bars) and (best is None or place.cost < best[1].cost):
            best = (form, place)
    # On other writing it would be unreadable, and would make that unreadable too.
    return best if best is not None and best[1].cost < _WRITING / 4 else None


def _legend_entries(faces: Sequence[Face]) -> list[tuple[str, tuple[Colour, ...]]]:
    """Names and colours of the classes that are there, in the scheme's order; a pair of sides is one."""
    entries: dict[str, tuple[Colour, ...]] = {}
    maps = [face.parsing for face in faces if face.parsing is not None]
    for key in dict.fromkeys(map_.scheme for map_ in maps):
        scheme = parsing_scheme(key)
        shares = [map_.fractions() for map_ in maps if map_.scheme == key]
        shown = {
            name: colour
            for name, colour in zip(scheme.names, scheme.colours, strict=True)
            if name != "background" and max(share[name] for share in shares) >= _WORTH_A_LINE
        }
        pairs = {name: pair for pair in scheme.flip_pairs if set(pair) <= set(shown) for name in pair}
        for name, colour in shown.items():
            if name in pairs:
                left, right = pairs[name]
                entries.setdefault(left[2:] + "s", (shown[right], shown[left]))  # as they stand in a picture
            else:
                entries.setdefault(_SPOKEN.get(name, name), (colour,))
    return list(entries.items())


def _write_legend(
    canvas: Canvas,
    entries: Sequence[tuple[str, tuple[Colour, ...]]],
    lettering: Lettering,
    area: Rect,
    obstacles: Sequence[Obstacle],
    *,
    palette: Palette,
) -> None:
    """Write the legend in the shape that covers least; smaller letters before covering a face."""
    best: tuple[Legend, Place] | None = None
    for cap in (lettering.cap, round(lettering.cap * 0.85)):
        for columns in dict.fromkeys((1, 2, 3, 4, 6, len(entries))):
            legend = Legend(entries, min(columns, len(entries)), Lettering(max(cap, 7)))
            place = cheapest(corners(legend.size, area), area, obstacles)
            if place is not None and (best is None or place.cost < best[1].cost - 1e-9):
                best = (legend, place)
        if best is not None and best[1].cost < _FREE:
            break
    if best is not None and best[1].cost < _WRITING / 4:
        best[0].draw(canvas, best[1].rect, palette)
