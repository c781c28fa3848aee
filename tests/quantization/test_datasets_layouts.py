"""Every layout alike: all items of a miniature are read, one that is spoiled is named and left out."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from edgeface.labels import FER8, PARSING_SCHEMES
from quantization.datasets import KINDS, POINT_SCHEMES, DataSetError, open_dataset
from tests.quantization.layouts import ITEMS, MAKERS, SPOILERS

pytestmark = pytest.mark.workshop

spoiled = [
    pytest.param(kind, k, id=f"{kind}-{k}")
    for kind, spoilers in SPOILERS.items()
    for k in range(len(spoilers))
]
lists = [
    ("300w", "lfpw/trainset/image_0001.pts"),
    ("wflw", "WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_train.txt"),
    ("lapa", "train/landmarks/1_0.txt"),
    ("ferplus", "fer2013new.csv"),
    ("fer2013", "fer2013.csv"),
    ("rafdb", "basic/EmoLabel/list_patition_label.txt"),
    ("affectnet", "Manually_Annotated_file_lists/training.csv"),
    ("affectnet", "Manually_Annotated_file_lists/validation.csv"),
    ("widerface", "wider_face_split/wider_face_train_bbx_gt.txt"),
]


def same(one, other):
    """Whether two samples say the same."""
    assert one.pixels().tobytes() == other.pixels().tobytes()
    for name in ("name", "part", "points_scheme", "mask_scheme", "expression"):
        assert getattr(one, name) == getattr(other, name), name
    assert dict(one.attributes) == dict(other.attributes)
    for name in ("boxes", "points", "visible", "mask", "votes", "blendshapes", "blendshapes_known"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None), name
        assert a is None or (a.dtype == b.dtype and a.shape == b.shape and (a == b).all()), name
    return True


def made(kind: str, root: Path) -> Path:
    MAKERS[kind](root / kind)
    return root / kind


def test_every_layout_has_a_miniature_and_ways_to_spoil_it():
    assert set(MAKERS) == set(SPOILERS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_item_is_read_as_the_record_promises(kind, tmp_path):
    data = open_dataset(kind, made(kind, tmp_path))
    samples = list(data)
    assert data.faults == []
    assert len(samples) == data.count() == ITEMS
    assert len({s.name for s in samples}) == ITEMS
    for sample, (again, pixels) in zip(samples, data.decoded(), strict=True):
        assert same(sample, again)
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
        assert sample.part in {"", "train", "validation", "test"}
        assert "\\" not in sample.name
        assert not sample.name.startswith("/")
        if sample.points is not None:
            assert sample.points.dtype == np.float32
            assert sample.points.shape == (POINT_SCHEMES[sample.points_scheme], 2)
        if sample.mask is not None:
            assert sample.mask.shape == pixels.shape[:2]
            assert sample.mask.max() < len(PARSING_SCHEMES[sample.mask_scheme])
        if sample.boxes is not None:
            assert sample.boxes.dtype == np.float32
            assert sample.boxes.shape[1] == 4
        assert sample.expression is None or 0 <= sample.expression < len(FER8)


@pytest.mark.parametrize("kind", KINDS)
def test_items_and_samples_can_be_sent_to_another_process(kind, tmp_path):
    data = open_dataset(kind, made(kind, tmp_path))
    for job, sample in zip(pickle.loads(pickle.dumps(list(data.jobs()))), data, strict=True):
        assert same(job(), sample)
        assert same(pickle.loads(pickle.dumps(sample)), sample)


@pytest.mark.parametrize(("kind", "number"), spoiled)
def test_a_spoiled_item_is_named_and_left_out(kind, number, tmp_path):
    root = made(kind, tmp_path)
    whole = {s.name for s in open_dataset(kind, root)}
    spoil, says = SPOILERS[kind][number]
    spoil(root)
    data = open_dataset(kind, root)
    names = {s.name for s in data}
    assert len(data.faults) == 1, data.faults
    assert re.search(says, str(data.faults[0]), re.DOTALL), str(data.faults[0])
    assert str(data.faults[0]).startswith(str(root))
    in_line = re.search(r" in line (\d+)", str(data.faults[0]))
    assert data.faults[0].line == (int(in_line[1]) if in_line else None)
    # All others are read; a line too many takes none away.
    assert {n.partition("#")[0] for n in names} <= {n.partition("#")[0] for n in whole}
    assert len(names) == ITEMS - (0 if "2 words" in says else 1)


@pytest.mark.parametrize(("kind", "where"), lists)
def test_bom_crlf_and_blank_lines_change_nothing(kind, where, tmp_path):
    root = made(kind, tmp_path)
    before = list(open_dataset(kind, root))
    path = root / where
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n  \r\n")
    data = open_dataset(kind, root)
    for sample, again in zip(before, data, strict=True):
        assert same(sample, again)
    assert data.faults == []


@pytest.mark.parametrize("kind", ["wflw", "ferplus", "fer2013", "rafdb", "widerface", "affectnet"])
def test_blank_lines_within_a_list_do_not_shift_what_is_read(kind, tmp_path):
    root = made(kind, tmp_path)
    before = [s.pixels().tobytes() for s in open_dataset(kind, root)]
    for where in (w for k, w in lists if k == kind):
        (root / where).write_text((root / where).read_text().replace("\n", "\n\n"))
    assert [s.pixels().tobytes() for s in open_dataset(kind, root)] == before


@pytest.mark.parametrize(
    "kind", [k for k in KINDS if k not in {"folder", "webdataset", "celebamask", "300w", "aflw2000"}]
)
def test_parts_are_read_alone_and_make_up_the_whole(kind, tmp_path):
    root = made(kind, tmp_path)
    by_part = {}
    for sample in open_dataset(kind, root):
        by_part.setdefault(sample.part, []).append(sample.name)
    assert len(by_part) > 1
    for part, names in by_part.items():
        assert [s.name for s in open_dataset(kind, root, part=part)] == names
    with pytest.raises(DataSetError, match="there is no part 'exam': use one of"):
        list(open_dataset(kind, root, part="exam"))


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "webdataset"])
def test_a_wrong_folder_is_an_error_not_an_empty_set(kind, tmp_path):
    with pytest.raises(DataSetError, match=re.escape(str(tmp_path))):
        list(open_dataset(kind, tmp_path))
