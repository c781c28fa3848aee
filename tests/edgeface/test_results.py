"""Results: frozen, own their arrays, compare and pickle, and become JSON that follows the shipped schema."""

import copy
import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from numpy.typing import NDArray

import edgeface
from edgeface.errors import ArgumentError, ConversionError
from edgeface.labels import BLENDSHAPES52, CELEBAMASK19, FER8, IBUG68
from edgeface.results import BBox, Blendshapes, Expression, Face, FrameResult, Landmarks, ParsingMap, Ran

SCHEMA = json.loads((Path(edgeface.__file__).parent / "schema.json").read_text())
RANDOM = np.random.default_rng(11)


def scores(**given: float) -> dict[str, float]:
    return {name: given.get(name, 0.0) for name in FER8.names}


def whole_face(x: float = 10.0, side: float = 50.0) -> Face:
    labels = RANDOM.integers(0, 19, (16, 12)).astype(np.uint8)
    return Face(
        bbox=BBox(x, 20, side, side, 0.9),
        roll=-12.5,
        keypoints=RANDOM.uniform(0, 50, (5, 2)),
        landmarks=Landmarks(RANDOM.uniform(0, 50, (68, 2)), RANDOM.uniform(0, 1, 68), 0.99),
        parsing=ParsingMap(labels, BBox(x - 20, -5, side * 1.5, side * 2)),
        expression=Expression(scores(happiness=0.75, neutral=0.25)),
        blendshapes=Blendshapes(("jawOpen", "eyeBlinkLeft"), np.array([0.25, 1.0])),
    )


def whole_result() -> FrameResult:
    faces = (whole_face(side=40.0), Face(BBox(5, 5, 90, 90)), whole_face(side=60.0))
    timings = {"detection": 4_000_000, "landmarks": 2_000_000, "total": 7_000_000}
    ran = {"detection": Ran("npu", "imagination", 2), "landmarks": Ran("litert", "XNNPACK", degraded=True)}
    return FrameResult(faces, 640, 480, timings, "people.jpg", 123, "npu", ran)


def test_a_box_knows_its_measures() -> None:
    box = BBox(10, 20, 30, 60, 0.5)
    assert (box.area, box.center, box.side) == (1800, (25, 50), 60)
    assert BBox(0, 0, 2, 2).iou(BBox(1, 0, 2, 2)) == pytest.approx(1 / 3)
    assert BBox(0, 0, 2, 2).iou(BBox(2, 0, 2, 2)) == 0
    assert box.iou(box) == 1
    assert BBox(np.float32(1), 2, 3, 4) == BBox(1, 2, 3, 4)
    assert len({box, BBox(10, 20, 30, 60, 0.5)}) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 0, 0, 5), "above 0"),
        ((0, 0, 5, -1), "above 0"),
        ((float("nan"), 0, 5, 5), "BBox.x must be finite"),
        ((0, float("inf"), 5, 5), "BBox.y must be finite"),
        ((0, 0, 5, 5, 1.5), "BBox.score must be between 0 and 1"),
        (("left", 0, 5, 5), "BBox.x must be a number"),
    ],
)
def test_a_box_that_cannot_be_is_refused(values: tuple[object, ...], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        BBox(*values)  # type: ignore[arg-type]


def test_results_do_not_share_a_buffer_and_cannot_be_written() -> None:
    points, visibility = np.zeros((68, 2), np.float32), np.zeros(68, np.float32)
    labels, keypoints = np.zeros((4, 4), np.uint8), np.zeros((5, 2), np.float32)
    landmarks, parsing = Landmarks(points, visibility, 1.0), ParsingMap(labels, BBox(0, 0, 4, 4))
    face = Face(BBox(0, 0, 4, 4), keypoints=keypoints)
    for buffer in (points, visibility, labels, keypoints):
        buffer[...] = 7
    assert face.keypoints is not None
    for array in (landmarks.points, landmarks.visibility, parsing.labels, face.keypoints):
        assert (array == 0).all()
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1
    with pytest.raises(ValueError, match="read-only"):
        landmarks.points[48:68] += 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        face.roll = 3.0  # type: ignore[misc]
    # A read-only view of memory that somebody else can still write is copied as well.
    base = np.zeros((4, 4), np.uint8)
    view = base.view()
    view.setflags(write=False)
    held = ParsingMap(view, BBox(0, 0, 4, 4))
    base[...] = 1
    assert (held.labels == 0).all()


def test_dtypes_are_those_promised() -> None:
    face = whole_face()
    assert face.landmarks is not None
    assert face.keypoints is not None
    assert (
        face.landmarks.points.dtype == face.landmarks.visibility.dtype == face.keypoints.dtype == np.float32
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Landmarks(np.zeros((67, 2)), np.zeros(68), 1.0),
            r"Landmarks.points must have the shape \[68, 2\]",
        ),
        (lambda: Landmarks(np.zeros((68, 2)), np.zeros(5), 1.0), "Landmarks.visibility"),
        (lambda: Landmarks(np.zeros((68, 2)), np.zeros(68), 1.2), "Landmarks.presence"),
        (lambda: Landmarks(np.zeros((68, 2)), np.zeros(68), float("nan")), "Landmarks.presence"),
        (lambda: Landmarks(np.zeros((68, 2)), np.zeros(68), "sure"), "Landmarks.presence must be a number"),
        (lambda: Face(BBox(0, 0, 1, 1), keypoints=np.zeros((4, 2))), "Face.keypoints"),
        (lambda: ParsingMap(np.zeros(4, np.uint8), BBox(0, 0, 1, 1)), r"shape \[any, any\], not \[4\]"),
        (lambda: ParsingMap(np.full((2, 2), 256), BBox(0, 0, 1, 1)), "whole numbers from 0 to 255"),
        (lambda: ParsingMap(np.full((2, 2), -250), BBox(0, 0, 1, 1)), "whole numbers from 0 to 255"),
        (lambda: ParsingMap(np.full((2, 2), 1.5), BBox(0, 0, 1, 1)), "whole numbers from 0 to 255"),
        (lambda: ParsingMap(np.zeros((0, 4), np.uint8), BBox(0, 0, 1, 1)), "holds nothing"),
        (
            lambda: ParsingMap(np.full((2, 2), 19, np.uint8), BBox(0, 0, 1, 1)),
            "class id 19; celebamask19 has",
        ),
        (lambda: ParsingMap(np.zeros((2, 2), np.uint8), BBox(0, 0, 1, 1), "nine"), "no parsing scheme"),
        (
            lambda: ParsingMap(np.zeros((2, 2), np.uint8), BBox(0, 0, 1, 1), logits=np.zeros((2, 2, 19))),
            "must be int8 or uint8, not float64",
        ),
        (
            lambda: ParsingMap(
                np.zeros((2, 2), np.uint8), BBox(0, 0, 1, 1), "lapa", logits=np.zeros((2, 2, 19), np.int8)
            ),
            r"ParsingMap.logits must have the shape \[2, 2, 11\], not \[2, 2, 19\]",
        ),
        (lambda: Expression({"neutral": 1.0}), "exactly the classes"),
        (lambda: Expression(scores(fear=1.5)), "score of fear"),
    ],
)
def test_a_result_that_cannot_be_is_refused(make: object, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()  # type: ignore[operator]


def test_landmark_parts() -> None:
    landmarks = Landmarks(np.arange(136).reshape(68, 2), np.ones(68), 1.0)
    assert landmarks.part("jaw").shape == (17, 2)
    assert landmarks.part("right_eye")[0].tolist() == [72, 73]
    with pytest.raises(ArgumentError, match="no part 'chin'"):
        landmarks.part("chin")


def test_a_map_is_laid_over_its_box() -> None:
    labels = np.array([[1, 2], [3, 4]], dtype=np.uint8)
    # The box covers the pixels 2..5 by 1..4: two pixels per cell.
    frame = ParsingMap(labels, BBox(1.5, 0.5, 4, 4)).to_frame((6, 8))
    assert frame.tolist() == [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 2, 2, 0, 0],
        [0, 0, 1, 1, 2, 2, 0, 0],
        [0, 0, 3, 3, 4, 4, 0, 0],
        [0, 0, 3, 3, 4, 4, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ]
    sticking_out = ParsingMap(labels, BBox(-2.5, -2.5, 4, 4)).to_frame((3, 3))
    assert sticking_out.tolist() == [[4, 4, 0], [4, 4, 0], [0, 0, 0]]
    assert (ParsingMap(labels, BBox(100, 100, 4, 4)).to_frame((6, 8)) == 0).all()
    with pytest.raises(ArgumentError, match="does not exist"):
        ParsingMap(labels, BBox(0, 0, 4, 4)).to_frame((0, 8))
    for size in ((6, 8, 3), (6,), 6, None, (6.5, 8), "68"):
        with pytest.raises(ArgumentError, match=r"pass rgb.shape\[:2\]"):
            ParsingMap(labels, BBox(0, 0, 4, 4)).to_frame(size)  # type: ignore[arg-type]


@given(
    st.floats(-30, 50), st.floats(-30, 50), st.floats(0.5, 90), st.floats(0.5, 90),
    st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_each_pixel_shows_the_label_with_the_greatest_share_around_it(
    x: float, y: float, width: float, height: float, columns: int, rows: int, seed: int
) -> None:
    labels = np.random.default_rng(seed).integers(0, 19, (rows, columns)).astype(np.uint8)
    frame = ParsingMap(labels, BBox(x, y, width, height)).to_frame((31, 43))
    for py, px in np.random.default_rng(seed).integers(0, (31, 43), (40, 2)):
        column, row = (px - x) * (columns / width), (py - y) * (rows / height)
        if not (0 <= column < columns and 0 <= row < rows):
            assert frame[py, px] == 0
            continue
        shares = np.zeros(19)
        for j in range(rows):
            for i in range(columns):
                # A cell at the rim reaches outwards for ever, every other to its neighbours' centres.
                beyond_x = (i == 0 and column < 0.5) or (i == columns - 1 and column > columns - 0.5)
                beyond_y = (j == 0 and row < 0.5) or (j == rows - 1 and row > rows - 0.5)
                near_x = 1.0 if beyond_x else max(0.0, 1 - abs(column - i - 0.5))
                near_y = 1.0 if beyond_y else max(0.0, 1 - abs(row - j - 0.5))
                shares[labels[j, i]] += near_x * near_y
        assert shares[frame[py, px]] == pytest.approx(shares.max(), abs=1e-9)
        assert shares.sum() == pytest.approx(1)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@given(
    st.floats(-30, 50), st.floats(-30, 50), st.floats(0.5, 90), st.floats(0.5, 90),
    st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_each_pixel_shows_the_class_with_the_greatest_logit_between_cells(
    dtype: type, x: float, y: float, width: float, height: float, columns: int, rows: int, seed: int
) -> None:
    limits, rng = np.iinfo(dtype), np.random.default_rng(seed)
    logits = rng.integers(limits.min, limits.max + 1, (rows, columns, 19)).astype(dtype)
    labels = logits.argmax(axis=2).astype(np.uint8)
    frame = ParsingMap(labels, BBox(x, y, width, height), logits=logits).to_frame((31, 43))
    for py, px in rng.integers(0, (31, 43), (40, 2)):
        column, row = (px - x) * (columns / width), (py - y) * (rows / height)
        if not (0 <= column < columns and 0 <= row < rows):
            assert frame[py, px] == 0
            continue
        u, v = np.clip(column - 0.5, 0, columns - 1), np.clip(row - 0.5, 0, rows - 1)
        i, j = int(v), int(u)
        below, beside = min(i + 1, rows - 1), min(j + 1, columns - 1)
        upper = logits[i, j] * (1 - (u - j)) + logits[i, beside] * (u - j)
        lower = logits[below, j] * (1 - (u - j)) + logits[below, beside] * (u - j)
        between = upper * (1 - (v - i)) + lower * (v - i)
        assert between[frame[py, px]] == pytest.approx(between.max(), abs=1e-9)


def test_logits_put_a_border_where_labels_alone_cannot() -> None:
    """Nine to one in the left cell, six to four in the right one: the border lies near the right one."""
    logits = np.zeros((1, 2, 19), np.uint8)
    logits[0, :, 1], logits[0, :, 2] = (90, 40), (10, 60)
    labels, box = np.array([[1, 2]], np.uint8), BBox(-0.5, -0.5, 20, 1)
    assert (ParsingMap(labels, box).to_frame((1, 20)) == 1).sum() == 10
    assert (ParsingMap(labels, box, logits=logits).to_frame((1, 20)) == 1).sum() == 13


def test_a_slanted_border_is_a_line() -> None:
    cells = np.add.outer(np.arange(8), np.arange(8)) < 8
    frame = ParsingMap(cells.astype(np.uint8), BBox(-0.5, -0.5, 64, 64)).to_frame((64, 64))
    line = (
        np.add.outer(np.arange(64), np.arange(64)) < 67
    )  # half way between the last cell in and the first out
    # 67 is half way between the last cell inside and the first outside.
    stairs = np.kron(cells, np.ones((8, 8), bool))
    assert (frame != line).sum() < 0.4 * (stairs != line).sum()


def test_a_frame_in_place_of_its_size_is_named_not_printed() -> None:
    parsing = ParsingMap(np.zeros((2, 2), dtype=np.uint8), BBox(0, 0, 4, 4))
    frame = edgeface.Frame.from_array(np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(ArgumentError, match=r"not Frame: pass rgb.shape\[:2\]$"):
        parsing.to_frame(frame)  # type: ignore[arg-type]


def test_masks_fractions_and_schemes_of_a_map() -> None:
    labels = np.array([[0, 1, 1, 13], [8, 13, 13, 13]], dtype=np.uint8)
    parsing = ParsingMap(labels, BBox(0, 0, 8, 4))
    assert parsing.names == CELEBAMASK19.names
    assert parsing.mask("hair").tolist() == [[False, False, False, True], [False, True, True, True]]
    assert parsing.fractions()["hair"] == 0.5
    assert sum(parsing.fractions().values()) == pytest.approx(1)
    with pytest.raises(ArgumentError, match="no class 'beard'"):
        parsing.mask("beard")
    with pytest.raises(ConversionError, match="lossy=True"):
        parsing.as_scheme("lapa")
    lapa = parsing.as_scheme("lapa", lossy=True)
    assert (lapa.scheme, lapa.bbox) == ("lapa11", parsing.bbox)
    assert lapa.labels.tolist() == [[0, 1, 1, 10], [1, 10, 10, 10]]
    with pytest.raises(ConversionError, match="ears"):
        lapa.as_scheme("ibug11")
    assert lapa.as_scheme("ibug11", lossy=True).scheme == "ibug11"
    assert lapa.as_scheme("ibug11", lossy=True).mask("hair").sum() == 4


def test_an_expression_names_its_best_class() -> None:
    expression = Expression({**scores(happiness=0.6, neutral=0.4)})
    assert (expression.label, expression.score) == ("happiness", 0.6)
    assert tuple(expression.scores) == FER8.names
    assert Expression(scores(surprise=0.5, sadness=0.5)).label == "surprise"
    with pytest.raises(TypeError):
        expression.scores["fear"] = 1.0  # type: ignore[index]


def test_blendshapes_are_looked_up_by_name_and_know_no_others() -> None:
    moves = Blendshapes(BLENDSHAPES52.names[1:3], [0.5, 0.125])
    assert (moves["browDownLeft"], moves["browDownRight"]) == (0.5, 0.125)
    assert moves.scores.dtype == np.float32
    assert not moves.scores.flags.writeable
    with pytest.raises(ArgumentError, match="no blendshape 'jawOpen': this model gives browDownLeft, brow"):
        moves["jawOpen"]


@pytest.mark.parametrize(
    ("names", "values", "message"),
    [
        (("jawOpen", "tongueOut"), [0, 0], "unknown are tongueOut"),
        (("jawOpen", "jawOpen"), [0, 0], "a name is given twice"),
        (("jawOpen",), [0, 0], r"must have the shape \[1\], not \[2\]"),
        (("jawOpen",), [1.5], "between 0 and 1"),
        (("jawOpen",), [float("nan")], "between 0 and 1"),
    ],
)
def test_blendshapes_that_cannot_be_are_refused(
    names: tuple[str, ...], values: list[float], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        Blendshapes(names, values)  # type: ignore[arg-type]  # lists, as callers without types pass


def test_faces_come_largest_first() -> None:
    assert [face.bbox.width for face in whole_result().faces] == [90, 60, 40]
    same = [Face(BBox(x, 0, 5, 5)) for x in (3, 1, 2)]
    assert [face.bbox.x for face in FrameResult(same, 9, 9).faces] == [3, 1, 2]  # type: ignore[arg-type]


def test_results_compare_pickle_and_copy() -> None:
    result = whole_result()
    for same in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert same == result
        assert not same.faces[1].landmarks.points.flags.writeable
    face = result.faces[1]
    assert face.landmarks is not None
    moved = dataclasses.replace(face.landmarks, points=face.landmarks.points + 1)
    assert moved != face.landmarks
    assert dataclasses.replace(face, landmarks=moved) != face
    assert face.landmarks != face.expression
    assert dataclasses.replace(result, backend="onnx") != result
    with pytest.raises(TypeError, match="unhashable"):
        hash(face)


def decoded(parsing: dict[str, object]) -> NDArray[np.uint8]:
    runs = np.array(parsing["runs"]).reshape(-1, 2)
    return np.repeat(runs[:, 0], runs[:, 1]).astype(np.uint8).reshape(parsing["size"])  # type: ignore[arg-type]


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 19), st.integers(0, 2**32 - 1))
def test_runs_give_the_map_back(rows: int, columns: int, classes: int, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, classes, (rows, columns)).astype(np.uint8)
    assert (decoded(ParsingMap(labels, BBox(0, 0, 1, 1)).to_dict()) == labels).all()


def test_json_follows_the_schema_and_keeps_the_values() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    result = whole_result()
    said = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    Draft202012Validator(SCHEMA).validate(said)
    assert said["schema"] == SCHEMA["properties"]["schema"]["const"] == "edgeface.frame/1"
    assert (said["source"], said["timestamp_ns"], said["backend"]) == ("people.jpg", 123, "npu")
    assert said["timings_ns"] == dict(result.timings)
    face, truth = said["faces"][1], result.faces[1]
    assert truth.landmarks is not None
    assert truth.parsing is not None
    assert np.abs(np.array(face["landmarks"]["points"]) - truth.landmarks.points).max() <= 0.006
    assert (decoded(face["parsing"]) == truth.parsing.labels).all()
    assert face["expression"] == {
        "label": "happiness",
        "score": 0.75,
        "scores": scores(happiness=0.75, neutral=0.25),
    }
    assert face["landmarks"]["scheme"] == IBUG68.key
    assert said["faces"][0]["landmarks"] is None
    assert face["blendshapes"] == {"jawOpen": 0.25, "eyeBlinkLeft": 1.0}
    assert said["faces"][0]["blendshapes"] is None
    Draft202012Validator(SCHEMA).validate(FrameResult((), 640, 480).to_dict())


def test_a_result_says_what_ran_and_whether_it_was_degraded() -> None:
    result = whole_result()
    assert result.degraded
    assert result.to_dict()["degraded"] is True
    assert result.to_dict()["ran"]["detection"]["cpu_operators"] == 2
    assert not FrameResult((), 640, 480, ran={"detection": Ran("litert")}).degraded
    assert not FrameResult((), 640, 480).degraded
    assert pickle.loads(pickle.dumps(result)).ran == result.ran
    with pytest.raises(TypeError):
        result.ran["parsing"] = Ran("litert")  # type: ignore[index]


def test_the_schema_describes_every_key_that_is_written() -> None:
    said = whole_result().to_dict()
    parts = {
        "face": said["faces"][1],
        "ran": said["ran"]["landmarks"],
        "landmarks": said["faces"][1]["landmarks"],
        "parsing": said["faces"][1]["parsing"],
        "expression": said["faces"][1]["expression"],
    }
    # What a tracker and a stream add is checked with theirs.
    assert set(said) == set(SCHEMA["properties"]) - {"tracks", "events", "detected", "stream"}
    # These came later; a file of an earlier version still follows the schema.
    assert set(SCHEMA["required"]) == set(said) - {"degraded", "ran"}
    earlier = {key: value for key, value in said.items() if key in SCHEMA["required"]}
    Draft202012Validator(SCHEMA).validate(earlier)
    later = {"face": {"blendshapes"}}
    for name, written in parts.items():
        described = SCHEMA["$defs"][name]
        assert set(written) == set(described["properties"])
        assert set(written) - later.get(name, set()) == set(described["required"])


@pytest.mark.parametrize("key", ["schema", "width", "faces"])
def test_the_schema_refuses_what_is_not_a_result(key: str) -> None:
    said = whole_result().to_dict()
    assert not Draft202012Validator(SCHEMA).is_valid({k: v for k, v in said.items() if k != key})
    assert not Draft202012Validator(SCHEMA).is_valid({**said, key: "edgeface.frame/2"})
