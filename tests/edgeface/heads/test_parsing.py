"""The fast argmax is np.argmax; the map lies where the crop lay, turned or not."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgeface.bundle import Bundle, ModelSpec, OutputSpec
from edgeface.errors import BundleError
from edgeface.heads.parsing import ParsingHead, _ChannelArgmax
from edgeface.labels import flip_labels
from edgeface.results import BBox
from tests.bundles import TINY

CLASSES = 19


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return Bundle.load(TINY).model("parsing")


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@given(data=st.data())
def test_the_fast_argmax_is_the_slow_one(dtype: str, data: st.DataObject) -> None:
    shape = data.draw(array_shapes(min_dims=3, max_dims=3, max_side=20))
    # Few distinct values, so that ties are the rule.
    values = st.sampled_from([-128, -1, 0, 1, 127] if dtype == "int8" else [0, 1, 127, 128, 255])
    logits = data.draw(arrays(dtype, (1, *shape), elements=values))
    argmax = _ChannelArgmax(OutputSpec("logits", 0, (1, *shape), dtype, 1.0, 0))
    np.testing.assert_array_equal(argmax(logits), logits[0].argmax(axis=-1))
    first = argmax(logits)
    argmax(np.zeros_like(logits))
    np.testing.assert_array_equal(first, logits[0].argmax(axis=-1))


def painted(spec: ModelSpec, labels: np.ndarray) -> dict[str, np.ndarray]:
    height, width = spec.output("logits").shape[1:3]
    small = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    logits = np.full((1, height, width, CLASSES), -50, np.int8)
    np.put_along_axis(logits[0], small[..., np.newaxis].astype(np.int64), 50, axis=-1)
    return {"logits": logits}


def test_an_upright_map_is_the_crop(spec: ModelSpec) -> None:
    labels = np.random.default_rng(1).integers(0, CLASSES, spec.output("logits").shape[1:3]).astype(np.uint8)
    head, box = ParsingHead(spec), BBox(100, 80, 60, 90)
    _, crop = head.prepare(np.zeros((300, 400, 3), np.uint8), box, 0.0)
    found = head.decode(painted(spec, labels), crop)
    np.testing.assert_array_equal(found.labels, labels)
    assert spec.crop is not None
    side = round(spec.crop.scale * 90)
    assert (found.bbox.width, found.bbox.height) == pytest.approx((side, side))
    assert found.logits is not None
    np.testing.assert_array_equal(found.logits.argmax(axis=2), labels)
    edges = crop.apply(np.array([[found.bbox.x, found.bbox.y], [found.bbox.x + side, found.bbox.y + side]]))
    np.testing.assert_allclose(
        edges, [[-0.5, -0.5], [spec.input.width - 0.5, spec.input.height - 0.5]], atol=1e-6
    )


@pytest.mark.parametrize("ahead", [0, 1])
def test_of_two_views_the_surer_names_a_pixel(spec: ModelSpec, ahead: int) -> None:
    """The second is of the mirror image: there left is right, and columns run the other way."""
    shape, rng = spec.output("logits").shape, np.random.default_rng(2)
    labels = rng.integers(0, CLASSES, (2, *shape[1:3])).astype(np.uint8)
    views = [np.full(shape, -128, np.int8) for _ in range(2)]
    for k, logits in enumerate(views):
        shown = labels[k] if k == 0 else flip_labels(labels[k], "celebamask19")
        np.put_along_axis(logits[0], shown[..., None].astype(np.int64), 100 if k == ahead else 60, axis=-1)
    head = ParsingHead(spec)
    _, crop = head.prepare(np.zeros((300, 400, 3), np.uint8), BBox(100, 80, 60, 90), 0.0)
    found = head.decode({"logits": views[0]}, crop, {"logits": views[1]})
    np.testing.assert_array_equal(found.labels, labels[ahead])
    assert found.logits is not None
    np.testing.assert_array_equal(found.logits.argmax(axis=2), found.labels)


def test_a_map_keeps_its_logits_when_the_next_face_overwrites_the_outputs(spec: ModelSpec) -> None:
    labels = np.random.default_rng(3).integers(0, CLASSES, spec.output("logits").shape[1:3]).astype(np.uint8)
    head, outputs = ParsingHead(spec), painted(spec, labels)
    _, crop = head.prepare(np.zeros((300, 400, 3), np.uint8), BBox(100, 80, 60, 90), 0.0)
    found = head.decode(outputs, crop)
    outputs["logits"][:] = 0
    assert found.logits is not None
    assert not found.logits.flags.writeable
    np.testing.assert_array_equal(found.logits.argmax(axis=2), labels)


@pytest.mark.parametrize("roll", [30.0, -45.0, 90.0, 135.0, 180.0])
def test_a_turned_map_lies_over_an_axis_aligned_box(spec: ModelSpec, roll: float) -> None:
    """Each cell holds the label that the crop has at the cell's own place in the frame."""
    height, width = spec.output("logits").shape[1:3]
    labels = np.kron(np.array([[1, 2], [10, 13]]), np.ones((height // 2, width // 2))).astype(np.uint8)
    head, box = ParsingHead(spec), BBox(150, 120, 80, 80)
    _, crop = head.prepare(np.zeros((400, 500, 3), np.uint8), box, roll)
    found = head.decode(painted(spec, labels), crop)
    assert found.logits is None
    rows, columns = found.labels.shape
    j, i = np.meshgrid(np.arange(columns), np.arange(rows))
    x = found.bbox.x + (j + 0.5) * found.bbox.width / columns
    y = found.bbox.y + (i + 0.5) * found.bbox.height / rows
    at = crop.apply(np.stack([x, y], axis=-1).reshape(-1, 2)) + 0.5
    u, v = (at / [spec.input.width, spec.input.height] * [width, height]).T
    # Cells within a twentieth of a pixel of a boundary may fall on either side.
    clear = (np.abs(u % 1 - 0.5) < 0.45) & (np.abs(v % 1 - 0.5) < 0.45)
    inside = (u >= 0) & (v >= 0) & (u < width) & (v < height)
    expected = np.zeros(rows * columns, np.uint8)
    expected[inside] = labels[v[inside].astype(int), u[inside].astype(int)]
    np.testing.assert_array_equal(found.labels.ravel()[clear], expected[clear])
    assert {1, 2, 10, 13} <= set(np.unique(found.labels).tolist())
    lean = abs(np.cos(np.radians(roll))) + abs(np.sin(np.radians(roll)))
    assert spec.crop is not None
    assert found.bbox.width == pytest.approx(spec.crop.scale * 80 * lean)


def test_other_labels_than_the_channels_are_refused(spec: ModelSpec) -> None:
    for labels in ("lapa11", "nonsense", None):
        with pytest.raises(BundleError, match=r"models\.parsing"):
            ParsingHead(dataclasses.replace(spec, labels=labels))
    with pytest.raises(BundleError, match=r"models\.parsing\.head: unknown key"):
        ParsingHead(dataclasses.replace(spec, head={"smooth": 1}))
