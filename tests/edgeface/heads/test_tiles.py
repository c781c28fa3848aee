"""Every small face lies whole in a tile that shows it clearly, and is told once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.heads.detection import Detection
from edgeface.heads.tiles import Tile, merged, tiles
from edgeface.results import BBox

SEEN = (320, 256)


def scale_of(width: int, height: int) -> float:
    return min(SEEN[0] / width, SEEN[1] / height)


def face(x: float, y: float, side: float, score: float = 0.9) -> Detection:
    return Detection(BBox(x, y, side, side, score), np.full((5, 2), x, np.float32))


@given(data=st.data())
def test_a_face_lies_whole_in_a_tile_that_shows_it_clearly(data: st.DataObject) -> None:
    width, height = (data.draw(st.integers(200, 4000), label=name) for name in ("width", "height"))
    smallest = data.draw(st.floats(8, 200), label="smallest")
    side = data.draw(st.floats(smallest, min(width, height) / 2) if smallest < min(width, height) / 2
                     else st.just(min(width, height) / 2), label="side")  # fmt: skip
    x = data.draw(st.floats(0, width - side), label="x") - 0.5
    y = data.draw(st.floats(0, height - side), label="y") - 0.5
    if side * scale_of(width, height) >= 20:
        return  # the whole frame shows it clearly
    shown = []
    for tile in tiles((width, height), SEEN, scale_of(width, height), smallest):
        assert tile.x >= 0 <= tile.y
        assert tile.x + tile.width <= width
        assert tile.y + tile.height <= height
        if (
            tile.x - 0.5 <= x
            and x + side <= tile.x + tile.width - 0.5
            and tile.y - 0.5 <= y
            and y + side <= tile.y + tile.height - 0.5
            and tile.holds(face(x, y, side), width, height)
        ):
            shown.append(side * scale_of(tile.width, tile.height))
    assert max(shown, default=0.0) >= min(20.0, side * 20 / smallest) * 0.97


@pytest.mark.parametrize(
    ("frame", "smallest", "count"),
    [((640, 480), 40, 0), ((640, 480), 20, 9), ((320, 256), 20, 0), ((100, 80), 8, 0), ((1280, 720), 20, 26)],
)
def test_as_few_tiles_as_that_takes(frame: tuple[int, int], smallest: float, count: int) -> None:
    assert len(tiles(frame, SEEN, min(4.0, scale_of(*frame)), smallest)) == count


def test_tiles_of_one_scale_cover_the_frame() -> None:
    covered = np.zeros((480, 640), int)
    for tile in tiles((640, 480), SEEN, scale_of(640, 480), 20):
        covered[tile.y : tile.y + tile.height, tile.x : tile.x + tile.width] += 1
    assert covered.min() == 1
    assert covered.max() == 6


@pytest.mark.parametrize(
    ("x", "y", "held"),
    [(150, 120, True), (99.5, 120, False), (150, 79.9, False), (391, 120, False), (150, 320, False)],
)
def test_a_face_that_the_tile_cuts_is_left_to_another(x: float, y: float, held: bool) -> None:
    tile = Tile(100, 80, 320, 256)
    assert tile.holds(face(x, y, 30), 640, 480) is held


def test_at_the_frames_own_edge_a_face_may_end() -> None:
    corner = Tile(0, 224, 320, 256)
    assert corner.holds(face(-5, 470, 30), 640, 480)
    assert not corner.holds(face(-5, 220, 30), 640, 480)
    assert not corner.holds(face(300, 470, 30), 640, 480)


def test_a_face_seen_twice_is_told_once_and_by_whom() -> None:
    whole = [face(100, 100, 80, 0.8)]
    tiled = [face(102, 101, 80, 0.95), face(400, 50, 20, 0.7), face(400.5, 50, 20, 0.6)]
    kept, far = merged(whole, tiled)
    assert kept == [tiled[0], tiled[1]]
    assert far == [False, True]


def test_a_part_of_a_surer_face_is_none() -> None:
    large, mouth, beside = face(100, 100, 200, 0.9), face(160, 220, 60, 0.8), face(290, 220, 60, 0.7)
    assert merged([large], [mouth, beside]) == ([large, beside], [False, True])


def test_a_loose_box_about_a_surer_one_is_none() -> None:
    loose, tight = face(309, 245, 26, 0.5), face(313, 249, 16, 0.8)
    assert merged([loose], [tight]) == ([tight], [True])


def test_a_surer_face_in_front_of_another_stays() -> None:
    behind, front = face(100, 100, 200, 0.6), face(160, 220, 60, 0.9)
    assert merged([behind], [front]) == ([front, behind], [True, False])


def test_nobody_is_nobody() -> None:
    assert merged([], []) == ([], [])
    assert merged([], [face(5, 5, 20)])[1] == [True]
