"""Landmarks come back to the frame from wherever their crop was."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from edgeface.bundle import Bundle, ModelSpec
from edgeface.errors import BundleError
from edgeface.heads.landmarks import LandmarksHead
from edgeface.labels import IBUG68
from edgeface.results import BBox
from tests.bundles import MOVES, TINY, moving, rescaled, stored


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    tiny = Bundle.load(TINY).model("landmarks")
    scaled = rescaled(tiny, points=(0.002, 5), visibility=(0.05, -3), presence=(0.05, 7))
    mean = np.random.default_rng(1).uniform(0.2, 0.8, (68, 2)).round(4).tolist()
    return dataclasses.replace(scaled, head={"mean_shape": mean, "residual_scale": 0.5})


@pytest.mark.parametrize("roll", [0.0, 15.0, -15.0, 25.0, -90.0, 180.0])
def test_points_are_mean_plus_residual_in_the_frame(spec: ModelSpec, roll: float) -> None:
    rng = np.random.default_rng(2)
    residual = rng.uniform(-0.2, 0.2, (68, 2)).round(3)
    logits = rng.uniform(-4, 4, 68)
    outputs = {
        "points": stored(spec.output("points"), residual),
        "visibility": stored(spec.output("visibility"), logits),
        "presence": stored(spec.output("presence"), [3.0]),
    }
    head, rgb, box = LandmarksHead(spec), np.zeros((300, 400, 3), np.uint8), BBox(100, 80, 60, 90)
    _, crop = head.prepare(rgb, box, roll)
    found = head.decode(outputs, crop)
    assert spec.crop is not None
    assert crop.scale == pytest.approx(spec.input.width / (spec.crop.scale * 90), rel=0.01)
    turned = abs(roll) > spec.crop.align_above
    assert (abs(crop.matrix[0, 1]) > 1e-9 or roll == 180.0) == turned
    unit = np.array(spec.head["mean_shape"]) + 0.5 * residual
    expected = crop.inverse().apply(unit * [spec.input.width, spec.input.height] - 0.5)
    np.testing.assert_allclose(found.points, expected, atol=0.15)
    np.testing.assert_allclose(found.visibility, 1 / (1 + np.exp(-logits)), atol=0.01)
    assert found.presence == pytest.approx(1 / (1 + np.exp(-3.0)), abs=0.01)


@pytest.mark.parametrize("roll", [0.0, 40.0])
def test_two_views_that_agree_say_what_one_says(spec: ModelSpec, roll: float) -> None:
    """The annotation's offset is no part of the face: the mirror image has it on the same side."""
    rng, flip, size = np.random.default_rng(3), list(IBUG68.flip), np.array([spec.input.width] * 2)
    mean, offset = np.array(spec.head["mean_shape"]), rng.uniform(-0.01, 0.01, (68, 2)).round(4)
    residual, logits = rng.uniform(-0.03, 0.03, (68, 2)), rng.uniform(-4, 4, 68)
    there = (mean + 0.5 * residual - offset)[flip] * (-1, 1) + (
        1,
        0,
    )  # the mirrored face, as nobody marked it
    mirrored = 2 * (there + offset - mean)
    wide = rescaled(spec, points=(0.02, 5))
    views = [
        {
            "points": stored(wide.output("points"), points),
            "visibility": stored(spec.output("visibility"), seen),
            "presence": stored(spec.output("presence"), [sure]),
        }
        for points, seen, sure in ((residual, logits, 3.0), (mirrored, logits[flip], 1.0))
    ]
    head = LandmarksHead(dataclasses.replace(wide, head={**spec.head, "annotation_offset": offset.tolist()}))
    _, crop = head.prepare(np.zeros((300, 400, 3), np.uint8), BBox(100, 80, 60, 90), roll)
    one, both = head.decode(views[0], crop), head.decode(views[0], crop, views[1])
    apart = np.linalg.norm(both.points - one.points, axis=1) * crop.scale / size[0]
    assert apart.max() < 0.01  # half a step of either
    np.testing.assert_allclose(both.visibility, one.visibility, atol=1e-6)
    assert both.presence == pytest.approx(np.mean(1 / (1 + np.exp([-3.0, -1.0]))), abs=0.01)


def test_the_mirror_image_is_the_crops_with_its_columns_reversed(spec: ModelSpec) -> None:
    rgb = np.random.default_rng(4).integers(0, 256, (100, 100, 3), np.uint8)
    head = LandmarksHead(spec)
    crop = head.prepare(rgb, BBox(20, 20, 50, 50), 0.0)[0][spec.input.name].copy()
    np.testing.assert_array_equal(head.mirror()[spec.input.name], crop[:, :, ::-1])


def test_the_crop_is_centred_on_the_box_and_shifted(spec: ModelSpec) -> None:
    assert spec.crop is not None
    rgb, box = np.zeros((300, 400, 3), np.uint8), BBox(100, 80, 60, 90)
    _, crop = LandmarksHead(spec).prepare(rgb, box, 0.0)
    middle = np.array([[(spec.input.width - 1) / 2, (spec.input.height - 1) / 2]])
    x, y = crop.inverse().apply(middle)[0]
    # Snapped to whole pixels: within half a pixel.
    assert x == pytest.approx(130 + 90 * spec.crop.shift[0], abs=0.51)
    assert y == pytest.approx(125 + 90 * spec.crop.shift[1], abs=0.51)


def test_a_crop_over_the_edge_is_black_there(spec: ModelSpec) -> None:
    rgb = np.full((100, 100, 3), 255, np.uint8)
    tensors, _ = LandmarksHead(spec).prepare(rgb, BBox(-30, 20, 60, 60), 0.0)
    image = tensors[spec.input.name][0].astype(int) + 128
    assert image[:, : image.shape[1] // 3].max() == 0
    assert image[:, -4:].min() == 255


def test_a_result_does_not_change_with_the_next_frame(spec: ModelSpec) -> None:
    head, rgb = LandmarksHead(spec), np.zeros((100, 100, 3), np.uint8)
    outputs = {o.name: np.zeros(o.shape, np.int8) for o in spec.outputs}
    _, crop = head.prepare(rgb, BBox(20, 20, 50, 50), 0.0)
    first = head.decode(outputs, crop)
    before = first.points.copy()
    for value in outputs.values():
        value[:] = 50
    head.decode(outputs, crop)
    np.testing.assert_array_equal(first.points, before)
    assert not first.points.flags.writeable


@pytest.mark.parametrize(
    "change",
    [
        {"mean_shape": [[0.5, 0.5]] * 67},
        {"mean_shape": [[0.5]] * 68},
        {"mean_shape": [[0.5, "x"]] * 68},
        {"mean_shape": [[0.5, 99.0]] * 68},
        {"mean_shape": 3},
        {"annotation_offset": [[0.0, 0.0]] * 67},
        {"annotation_offset": None},
        {"residual_scale": 0},
        {"residual": 1},
    ],
    ids=str,
)
def test_a_wrong_head_is_a_bundle_error(spec: ModelSpec, change: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match=r"models\.landmarks\.head"):
        LandmarksHead(dataclasses.replace(spec, head={**spec.head, **change}))


def test_a_model_needs_its_crop(spec: ModelSpec) -> None:
    head = LandmarksHead(dataclasses.replace(spec, crop=None))
    with pytest.raises(BundleError, match=r"models\.landmarks\.crop"):
        head.prepare(np.zeros((9, 9, 3), np.uint8), BBox(1, 1, 5, 5), 0.0)


@pytest.fixture(scope="module")
def moves() -> ModelSpec:
    return Bundle.from_bytes(moving(TINY.read_bytes())).model("landmarks")


def test_a_model_that_tells_how_a_face_moves_is_read_by_its_own_names(moves: ModelSpec) -> None:
    head, logits = LandmarksHead(moves), np.array([-4.0, 0.0, 5.0])
    said = head.movement({"blendshapes": stored(moves.output("blendshapes"), logits)})
    assert said is not None
    assert said.names == MOVES
    np.testing.assert_allclose(said.scores, 1 / (1 + np.exp(-logits)), atol=0.01)
    assert said["eyeBlinkRight"] == pytest.approx(0.993, abs=0.002)


def test_a_model_that_does_not_tell_says_nothing(spec: ModelSpec) -> None:
    assert LandmarksHead(spec).movement({}) is None


@pytest.mark.parametrize(
    "named",
    [
        None,
        [],
        ["jawOpen", "tongueOut", "eyeBlinkLeft"],
        ["jawOpen"] * 3,
        list(MOVES[:2]),
        "jawOpen",
        [3, 4, 5],
    ],
    ids=str,
)
def test_coefficients_without_their_names_are_a_bundle_error(moves: ModelSpec, named: Any) -> None:
    with pytest.raises(BundleError, match=r"models\.landmarks\.(head|outputs).*blendshapes"):
        LandmarksHead(dataclasses.replace(moves, head={**moves.head, "blendshapes": named}))


def test_names_without_their_output_are_a_bundle_error(spec: ModelSpec) -> None:
    with pytest.raises(BundleError, match=r"head\.blendshapes: names what no output of the model is called"):
        LandmarksHead(dataclasses.replace(spec, head={**spec.head, "blendshapes": list(MOVES)}))
