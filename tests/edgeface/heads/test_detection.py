"""Votes become boxes: checked against a slow decoder written from the manifest's definition."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from edgeface.bundle import Bundle, ModelSpec
from edgeface.errors import BundleError
from edgeface.heads.detection import DetectionHead, Fit
from tests.bundles import TINY, rescaled, stored

STRIDES = (8, 16, 32)


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    tiny = Bundle.load(TINY).model("detection")
    scales = {f"score_{s}": (0.1, 0) for s in STRIDES} | {f"box_{s}": (0.05, -100) for s in STRIDES}
    scales |= {f"kps_{s}": (0.02, 3) for s in STRIDES}
    head = {"strides": [8, 16, 32], "score_threshold": 0.5, "nms_iou": 0.4, "max_faces": 64}
    return dataclasses.replace(rescaled(tiny, **scales), head=head)


def silence(spec: ModelSpec) -> dict[str, np.ndarray]:
    return {output.name: np.full(output.shape, output.lowest, output.dtype) for output in spec.outputs}


def vote(
    spec: ModelSpec,
    outputs: dict[str, np.ndarray],
    stride: int,
    cell: tuple[int, int],
    logit: float,
    **real: Any,
) -> None:
    for name, value in (("score", [logit]), ("box", real["box"]), ("kps", real.get("kps", [0.0] * 10))):
        output = spec.output(f"{name}_{stride}")
        one = dataclasses.replace(output, shape=(len(value),))
        outputs[output.name][0, cell[0], cell[1]] = stored(one, value)


def test_one_vote_becomes_the_box_that_the_manifest_defines(spec: ModelSpec) -> None:
    outputs = silence(spec)
    vote(spec, outputs, 16, (1, 2), 2.0, box=[1.0, 0.5, 2.0, 1.5], kps=[0.1 * i for i in range(10)])
    (found,) = DetectionHead(spec).decode(outputs, Fit(0.5, 0.5))
    x, y = (2 + 0.5) * 16 - 0.5, (1 + 0.5) * 16 - 0.5
    assert found.bbox.x == pytest.approx((x - 16 + 0.5) / 0.5 - 0.5, abs=1e-3)
    assert found.bbox.y == pytest.approx((y - 8 + 0.5) / 0.5 - 0.5, abs=1e-3)
    assert (found.bbox.width, found.bbox.height) == pytest.approx((48 / 0.5, 32 / 0.5), abs=1e-3)
    assert found.bbox.score == pytest.approx(1 / (1 + math.exp(-2.0)), abs=1e-6)
    expected = [
        ((x + 0.1 * 2 * i * 32 + 0.5) / 0.5 - 0.5, (y + 0.1 * (2 * i + 1) * 32 + 0.5) / 0.5 - 0.5)
        for i in range(5)
    ]
    assert found.keypoints is not None
    np.testing.assert_allclose(found.keypoints, expected, atol=1e-3)


def test_units_and_box_scale_come_from_the_manifest(spec: ModelSpec) -> None:
    head = {**spec.head, "box_unit": 2.0, "kps_unit": 1.0, "box_scale": 1.5}
    outputs = silence(spec)
    vote(spec, outputs, 8, (3, 3), 2.0, box=[1.0, 1.0, 1.0, 1.0], kps=[1.0] * 10)
    (found,) = DetectionHead(dataclasses.replace(spec, head=head)).decode(outputs, Fit(1.0, 1.0))
    assert (found.bbox.width, found.bbox.height) == pytest.approx((48, 48), abs=1e-3)
    assert found.bbox.center == pytest.approx((27.5, 27.5), abs=1e-3)
    assert found.keypoints is not None
    np.testing.assert_allclose(found.keypoints, np.full((5, 2), 35.5), atol=1e-3)


def test_random_votes_agree_with_a_slow_decoder(spec: ModelSpec) -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        outputs = {o.name: rng.integers(-128, 128, o.shape, dtype=np.int8) for o in spec.outputs}
        for stride in STRIDES:
            scores = outputs[f"score_{stride}"]
            scores[rng.random(scores.shape) < 0.8] = -128
        # No box overlaps another above 0.99 here, so that suppression keeps them all.
        head = {**spec.head, "nms_iou": 0.95, "max_faces": 1000}
        found = DetectionHead(dataclasses.replace(spec, head=head)).decode(outputs, Fit(1.0, 1.0))
        slow = {row[:4] for row in slowly(spec, outputs)}
        fast = {tuple(round(v, 1) for v in (f.bbox.x, f.bbox.y, f.bbox.width, f.bbox.height)) for f in found}
        assert fast <= slow
        assert len(slow - fast) <= len(slow) // 10
        assert [f.bbox.score for f in found] == sorted((f.bbox.score for f in found), reverse=True)


def slowly(spec: ModelSpec, outputs: dict[str, np.ndarray]) -> list[tuple[float, ...]]:
    rows = []
    for stride in STRIDES:
        score, box = spec.output(f"score_{stride}"), spec.output(f"box_{stride}")
        for i in range(score.shape[1]):
            for j in range(score.shape[2]):
                logit = (int(outputs[score.name][0, i, j, 0]) - score.zero_point) * score.scale
                if 1 / (1 + math.exp(-logit)) < 0.5:
                    continue
                left, top, right, bottom = (
                    (int(v) - box.zero_point) * box.scale * stride for v in outputs[box.name][0, i, j]
                )
                x, y = (j + 0.5) * stride - 0.5, (i + 0.5) * stride - 0.5
                if left + right > 1e-3 and top + bottom > 1e-3:
                    rows.append(tuple(round(v, 1) for v in (x - left, y - top, left + right, top + bottom)))
    return rows


def test_the_threshold_is_exact_in_stored_values(spec: ModelSpec) -> None:
    for least in (0.3, 0.5, 0.731, 0.9):
        head = DetectionHead(spec, min_score=least)
        for value in range(-128, 128):
            outputs = silence(spec)
            vote(spec, outputs, 32, (0, 0), 0.0, box=[1.0, 1.0, 1.0, 1.0])
            outputs["score_32"][0, 0, 0, 0] = value
            found = head.decode(outputs, Fit(1.0, 1.0))
            assert bool(found) == (np.float32(1 / (1 + math.exp(-0.1 * value))) >= np.float32(least))


def test_a_threshold_beyond_every_stored_value_finds_nothing(spec: ModelSpec) -> None:
    low = rescaled(spec, **{f"score_{s}": (1e-4, 0) for s in STRIDES})
    outputs = {o.name: np.full(o.shape, 127, np.int8) for o in low.outputs}
    assert DetectionHead(low, min_score=0.9).decode(outputs, Fit(1.0, 1.0)) == []


def test_overlapping_votes_are_one_face_and_max_faces_keeps_the_best(spec: ModelSpec) -> None:
    outputs = silence(spec)
    vote(spec, outputs, 8, (3, 3), 1.0, box=[1.0, 1.0, 1.0, 1.0])
    vote(spec, outputs, 8, (3, 4), 2.0, box=[2.0, 1.0, 0.0, 1.0])
    vote(spec, outputs, 8, (6, 8), 3.0, box=[1.0, 1.0, 1.0, 1.0])
    found = DetectionHead(spec).decode(outputs, Fit(1.0, 1.0))
    assert [round(f.bbox.score, 3) for f in found] == [0.953, 0.881]
    head = {**spec.head, "max_faces": 1}
    found = DetectionHead(dataclasses.replace(spec, head=head)).decode(outputs, Fit(1.0, 1.0))
    assert [round(f.bbox.score, 3) for f in found] == [0.953]


def test_small_and_inside_out_boxes_are_no_faces(spec: ModelSpec) -> None:
    outputs = silence(spec)
    vote(spec, outputs, 8, (3, 3), 1.0, box=[0.5, 0.5, 0.4, 0.5])
    vote(spec, outputs, 8, (6, 3), 1.0, box=[-1.0, 1.0, 0.5, 1.0])
    assert len(DetectionHead(spec).decode(outputs, Fit(1.0, 1.0))) == 1
    head = {**spec.head, "min_side": 7.5}
    assert DetectionHead(dataclasses.replace(spec, head=head)).decode(outputs, Fit(1.0, 1.0)) == []


def test_what_lies_wholly_beyond_the_frame_is_no_face(spec: ModelSpec) -> None:
    outputs = silence(spec)
    vote(spec, outputs, 8, (3, 3), 1.0, box=[0.5, 0.5, 0.5, 0.5])  # 23.5 to 31.5, both ways
    head = DetectionHead(spec)
    assert len(head.decode(outputs, Fit(1.0, 1.0, 26, 26))) == 1
    assert head.decode(outputs, Fit(1.0, 1.0, 24, 40)) == []
    assert head.decode(outputs, Fit(1.0, 1.0, 40, 24)) == []


def test_a_model_without_points_gives_boxes(spec: ModelSpec) -> None:
    bare = dataclasses.replace(spec, outputs=tuple(o for o in spec.outputs if not o.name.startswith("kps")))
    outputs = silence(bare)
    outputs["score_8"][0, 3, 3, 0] = 100
    outputs["box_8"][0, 3, 3] = 0
    (found,) = DetectionHead(bare).decode(outputs, Fit(1.0, 1.0))
    assert found.keypoints is None


@pytest.mark.parametrize(
    "size", [(48, 64), (64, 80), (480, 640), (1080, 1920), (600, 200), (33, 777), (1, 1), (1, 4000)]
)
def test_a_frame_lies_in_the_top_left_and_the_way_back_is_exact(
    spec: ModelSpec, size: tuple[int, int]
) -> None:
    height, width = size
    rgb = np.full((height, width, 3), 200, np.uint8)
    tensors, fit = DetectionHead(spec).prepare(rgb)
    image = tensors[spec.input.name][0].astype(int) + 128
    rows, columns = round(height * fit.down), round(width * fit.across)
    assert (image[:rows, :columns] == 200).all()
    assert image[rows:].size == 0 or image[rows:].max() == 0
    assert image[:, columns:].size == 0 or image[:, columns:].max() == 0
    assert 1 <= rows <= spec.input.height
    assert 1 <= columns <= spec.input.width


def test_a_smaller_frame_after_a_larger_one_sees_no_remains(spec: ModelSpec) -> None:
    head = DetectionHead(spec)
    head.prepare(np.full((64, 80, 3), 255, np.uint8))
    tensors, _ = head.prepare(np.full((64, 20, 3), 9, np.uint8))
    assert set(np.unique(tensors[spec.input.name]).tolist()) == {-128, 9 - 128}


@pytest.mark.parametrize(
    "change",
    [
        {"strides": [8, 16]} | {"extra": 1},
        {"strides": []},
        {"strides": [4]},
        {"score_threshold": 2},
        {"nms_iou": "x"},
    ],
)
def test_a_wrong_head_is_a_bundle_error(spec: ModelSpec, change: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match=r"models\.detection"):
        DetectionHead(dataclasses.replace(spec, head={**spec.head, **change}))
