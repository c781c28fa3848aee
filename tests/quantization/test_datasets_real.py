"""The readers on the real folders: how many there are, and that none is broken."""

from __future__ import annotations

from itertools import islice

import pytest

from quantization.datasets import celebamask, lfpw, open_dataset
from quantization.splits import parts

pytestmark = [pytest.mark.workshop, pytest.mark.data]


@pytest.mark.parametrize(
    ("kind", "where", "options", "count"),
    [
        ("300w", "landmarks/lfpw/trainset", {}, 805),
        ("celebamask", "parsing/celebamask_hq", {}, 900),
        ("ferplus", "expression/ferplus", {"part": "train"}, 28558),
        ("ferplus", "expression/ferplus", {"part": "validation"}, 3579),
        ("folder", "landmarks/youtube_faces_68/images", {}, 3462),
        ("folder", "parsing/celeba_hq_unlabelled", {}, 400),
        ("folder", "unlabelled/utkface", {}, 3000),
    ],
)
def test_the_real_folders_are_listed_whole_and_read_without_a_fault(kind, where, options, count, shared_data):
    data = open_dataset(kind, shared_data / where, **options)
    assert data.count() == count
    for _ in islice(data.decoded(), 150):
        pass
    assert data.faults == []


def test_the_reader_and_the_split_see_the_same_photos(shared_data):
    root = shared_data / "landmarks/lfpw/trainset"
    for sample, pixels in islice(open_dataset("300w", root).decoded(), 20):
        assert sample.part == "train"
        assert (pixels == lfpw.load_photo(root, sample.name)).all()
        assert (sample.points == lfpw.load_points(root, sample.name)).all()


def test_how_many_photos_call_left_right(shared_data):
    root, swapped = shared_data / "parsing/celebamask_hq", {}
    for part in ("train", "tuning", "validation"):
        masks = [
            (celebamask.load_mask(root, name), celebamask.load_mask(root, name, as_annotated=True))
            for name in parts("celebamask", part)
        ]
        swapped[part] = sum(bool((right != told).any()) for right, told in masks)
    assert swapped == {"train": 47, "tuning": 3, "validation": 11}
