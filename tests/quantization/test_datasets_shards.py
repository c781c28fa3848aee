"""Shards: what is written is read, by others' rules too, and their terms travel with them."""

from __future__ import annotations

import io
import json
import tarfile

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantization.datasets import KINDS, UNSTATED, DataSetError, Sample, Terms, open_dataset, write_shard
from tests.quantization.layouts import MAKERS
from tests.quantization.test_datasets_layouts import same

pytestmark = pytest.mark.workshop

FREE = Terms("drawn", "free", True, "this test")
BOUND = Terms("found", "research", False, "that test")


def tar(path, members):
    """A tar of other people's making."""
    with tarfile.open(path, "w") as file:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))


def png(value=7):
    return cv2.imencode(".png", np.full((4, 5, 3), value, np.uint8))[1].tobytes()


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "webdataset"])
def test_every_layout_survives_a_shard(kind, tmp_path):
    MAKERS[kind](tmp_path / "set")
    data = open_dataset(kind, tmp_path / "set")
    assert write_shard(tmp_path / "a.tar", data, data.terms) == 6
    shard = open_dataset("webdataset", tmp_path / "a.tar")
    assert shard.terms == data.terms
    for sample, again in zip(data, shard, strict=True):
        assert same(sample, again)
    first = (tmp_path / "a.tar").read_bytes()
    write_shard(tmp_path / "a.tar", data, data.terms)
    assert (tmp_path / "a.tar").read_bytes() == first
    assert not (tmp_path / "a.tar.partial").exists()


@given(
    boxes=st.integers(0, 3),
    visible=st.lists(st.booleans(), min_size=29, max_size=29),
    votes=st.lists(st.integers(0, 10), min_size=10, max_size=10),
    shapes=st.lists(st.floats(0, 1, width=32), min_size=52, max_size=52),
    known=st.none() | st.lists(st.booleans(), min_size=52, max_size=52),
    name=st.text(min_size=1, max_size=20),
    attributes=st.dictionaries(
        st.text(max_size=5),
        st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.tuples(st.integers())),
    ),
)
def test_any_record_survives_a_shard(
    tmp_path_factory, boxes, visible, votes, shapes, known, name, attributes
):
    path = tmp_path_factory.getbasetemp() / "any.tar"
    sample = Sample(
        name,
        png(),
        "test",
        boxes=np.arange(4 * boxes, dtype=np.float32).reshape(boxes, 4),
        points=np.full((29, 2), 1 / 3, np.float32),
        points_scheme="cofw29",
        visible=np.array(visible),
        mask=np.array([[0, 255, 10, 3, 3]] * 4, np.uint8),
        mask_scheme="lapa11",
        votes=np.array(votes, np.float32),
        blendshapes=np.array(shapes, np.float32),
        blendshapes_known=None if known is None else np.array(known),
        expression=3,
        attributes=attributes,
    )
    write_shard(path, [sample], FREE)
    (again,) = open_dataset("webdataset", path)
    assert same(sample, again)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    write_shard(tmp_path / "a.tar", [Sample("old", png())], FREE)
    before = (tmp_path / "a.tar").read_bytes()
    with pytest.raises(FileNotFoundError):
        write_shard(tmp_path / "a.tar", [Sample("new", png()), Sample("gone", tmp_path / "gone.jpg")], FREE)
    assert (tmp_path / "a.tar").read_bytes() == before


def test_shards_of_others_are_read_by_their_rules(tmp_path):
    members = {
        "__meta__.json": b"{}",
        "deep/0001.png": png(1),
        "deep/0001.cls": b"4\n",
        "deep/0001.json": json.dumps({"age": 31, "tags": ["a"], "who": "x"}).encode(),
        "deep/0001.left.jpg": b"a second file of the key",
        "0002.PNG": png(2),
        "0003.txt": b"no picture",
        "0004.png": png(4),
        "0004.json": b"{broken",
        "0005.png": png(5),
        "0005.json": b"[1]",
    }
    tar(tmp_path / "b-00.tar", members)
    shard = open_dataset("webdataset", tmp_path)
    samples = list(shard)
    assert [s.name for s in samples] == ["b-00/deep/0001", "b-00/0002"]
    assert samples[0].attributes == {"age": 31, "who": "x", "cls": "4"}
    assert samples[1].pixels().tolist() == np.full((4, 5, 3), 2).tolist()
    said = " ".join(map(str, shard.faults))
    assert [
        w in said for w in ("0003: there is no picture", "0004: its JSON is malf", "0005: its JSON is not an")
    ]
    assert len(shard.faults) == 3
    assert shard.terms == UNSTATED
    assert open_dataset("webdataset", tmp_path, FREE).terms == FREE


@pytest.mark.parametrize(
    "change",
    [
        {"name": None},
        {"points": [[1, 2]], "points_scheme": "ibug68"},
        {"points": [[1, 2]], "points_scheme": "ibug69"},
        {"boxes": [[1, 2, 3]]},
        {"boxes": [[1, 2, 3, None]]},
        {"boxes": 3},
        {"votes": [1, 2]},
        {"visible": [True]},
        {"attributes": [1]},
    ],
)
def test_a_record_that_is_not_a_sample_s_is_named(change, tmp_path):
    record = {"edgeface-sample": 1, "name": "n", **change}
    if record["name"] is None:
        del record["name"]
    tar(tmp_path / "c.tar", {"0.png": png(), "0.json": json.dumps(record).encode(), "1.png": png()})
    shard = open_dataset("webdataset", tmp_path)
    assert [s.name for s in shard] == ["c/1"]
    assert str(shard.faults[0]).startswith(str(tmp_path / "c.tar/0: "))


def test_a_damaged_shard_is_one_fault_and_the_next_is_read(tmp_path):
    write_shard(tmp_path / "a.tar", [Sample("a", png())], FREE)
    (tmp_path / "b.tar").write_bytes(b"\x1f\x8b compressed, for example")
    write_shard(tmp_path / "c.tar", [Sample("c", png())], FREE)
    shard = open_dataset("webdataset", tmp_path)
    assert [s.name for s in shard] == ["a", "c"]
    assert "b.tar: the shard is cut off, damaged or not a plain tar" in str(shard.faults[0])
    assert shard.terms == UNSTATED


def test_the_terms_of_several_shards_are_all_kept(tmp_path):
    write_shard(tmp_path / "a.tar", [Sample("a", png())], FREE)
    write_shard(tmp_path / "b.tar", [Sample("b", png())], FREE)
    assert open_dataset("webdataset", tmp_path).terms == FREE
    write_shard(tmp_path / "b.tar", [Sample("b", png())], BOUND)
    terms = open_dataset("webdataset", tmp_path).terms
    assert terms == Terms("drawn; found", "free; research", False, "this test; that test")
    with pytest.raises(DataSetError, match="webdataset is under its own terms"):
        open_dataset("webdataset", tmp_path, FREE)


def test_a_folder_without_shards_is_named(tmp_path):
    with pytest.raises(DataSetError, match=r"no \.tar in it"):
        open_dataset("webdataset", tmp_path)
