"""The input tensors of all heads are allocated once and overwritten, and no result lies in one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeface.analyzer import FaceAnalyzer
from edgeface.backends.scripted import ScriptedBackend
from edgeface.bundle import Bundle
from edgeface.heads.base import ImageInput
from edgeface.results import BBox
from tests.bundles import TINY

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEADS = ("detection", "landmarks", "parsing", "expression")
# Whole frames of several sizes; the second face hangs over the edge, so that its crop is warped, not resized.
FRAMES = [
    (np.full((480, 640, 3), 40, np.uint8), BBox(200, 100, 90, 120)),
    (np.full((120, 100, 3), 200, np.uint8), BBox(-20, -30, 60, 80)),
    (np.full((600, 300, 3), 90, np.uint8), BBox(100, 250, 33, 44)),
]


def test_every_frame_comes_in_the_same_memory() -> None:
    """The arrays are kept, so that an allocator could not give the place of a freed one again."""
    seen: dict[str, list[NDArray[np.generic]]] = {task: [] for task in HEADS}
    pixels: dict[str, list[int]] = {task: [] for task in HEADS}

    def note(task: str, tensors: Mapping[str, NDArray[np.generic]]) -> Mapping[str, object]:
        (tensor,) = tensors.values()
        seen[task].append(tensor)
        pixels[task].append(int(tensor[0, 0, 0, 0]) + 128)
        return {}

    played = {task: lambda tensors, task=task: note(task, tensors) for task in HEADS}
    with FaceAnalyzer(bundle=Bundle.load(TINY), backend=ScriptedBackend(played)) as analyzer:
        for rgb, box in FRAMES:
            analyzer.analyze(rgb)
            assert len(analyzer.analyze(rgb, boxes=[box, box]).faces) == 2
    for task in HEADS:
        count = len(FRAMES) * (1 if task == "detection" else 2)
        assert len(seen[task]) == count
        first = seen[task][0]
        assert all(tensor.ctypes.data == first.ctypes.data for tensor in seen[task])
        assert all(np.shares_memory(tensor, first) for tensor in seen[task])
    assert pixels["detection"] == [40, 200, 90]  # the same place, another picture each time
    assert pixels["landmarks"][:2] == [40, 40]
    assert pixels["landmarks"][4:] == [90, 90]


@pytest.mark.parametrize("task", HEADS)
def test_a_prepared_input_is_valid_until_the_next(task: str) -> None:
    spec = Bundle.load(TINY).model(task)
    image = ImageInput(spec.input)
    first = image.fill_corner(np.full((50, 50, 3), 10, np.uint8), 8, 8)[spec.input.name]
    before = first.copy()
    second = image.fill_corner(np.full((50, 50, 3), 250, np.uint8), 8, 8)[spec.input.name]
    assert second is first
    assert (first[0, :8, :8] == before[0, :8, :8] + np.array(240, np.uint8).view(np.int8)).all()
    assert (first[0, 8:] == before[0, 8:]).all()


def test_results_stay_as_they_were_when_the_next_frame_comes() -> None:
    rng = np.random.default_rng(4)
    frames = rng.integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    with FaceAnalyzer(bundle=Bundle.load(TINY), backend="litert") as analyzer:
        results = [analyzer.analyze(rgb, boxes=[BBox(20, 20, 50, 50)]) for rgb in frames[:1]]
        told = results[0].to_dict()
        points = results[0].faces[0].landmarks.points.copy()
        labels = results[0].faces[0].parsing.labels.copy()
        later = [analyzer.analyze(rgb, boxes=[BBox(20, 20, 50, 50)]) for rgb in frames[1:]]
    face = results[0].faces[0]
    assert (face.landmarks.points == points).all()
    assert (face.parsing.labels == labels).all()
    assert results[0].to_dict() == told
    assert any((other.faces[0].landmarks.points != points).any() for other in later)
