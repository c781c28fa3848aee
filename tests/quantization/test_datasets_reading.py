"""What is said of broken items, when there are too many, and on what terms a set is opened."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantization.datasets import (
    KINDS,
    UNSTATED,
    DataSet,
    DataSetError,
    ItemError,
    Sample,
    Terms,
    imagefiles,
    open_dataset,
    reading,
)
from quantization.datasets.reading import Line
from tests.quantization.layouts import MAKERS, add_exif, picture

pytestmark = pytest.mark.workshop

FREE = Terms("drawn", "free", True, "this test")


def _good(index):
    return Sample(str(index), np.zeros((2, 2, 3), np.uint8))


def _bad(root, index):
    raise ItemError(root / f"{index}.jpg", "it is broken", index)


def dataset(root, broken, total):
    """A set of which these items are broken."""
    return DataSet(
        "folder",
        root,
        FREE,
        lambda: iter([partial(_bad, root, i) if i in broken else partial(_good, i) for i in range(total)]),
    )


def test_the_limits_are_as_documented():
    assert (reading.FAULT_SHARE, reading.FAULTS_ALLOWED) == (0.05, 20)


@given(st.integers(1, 900), st.data())
def test_a_run_ends_exactly_when_both_limits_are_passed(tmp_path_factory, total, data):
    root = tmp_path_factory.getbasetemp()
    count = data.draw(st.integers(0, min(total - 1, 60)))
    broken = set(data.draw(st.permutations(range(total)))[:count])
    found = dataset(root, broken, total)
    if count > 20 and count > 0.05 * total:
        with pytest.raises(DataSetError, match=r"5% \(and 20\) are allowed"):
            list(found)
    else:
        assert [s.name for s in found] == [str(i) for i in range(total) if i not in broken]
        assert [f.line for f in found.faults] == sorted(broken)


def test_broken_items_at_the_head_of_a_long_list_do_not_end_it(tmp_path):
    assert len(list(dataset(tmp_path, set(range(40)), 800))) == 760
    with pytest.raises(DataSetError):
        list(dataset(tmp_path, set(range(41)), 800))


def test_the_error_names_the_first_few(tmp_path):
    found = dataset(tmp_path, set(range(30)), 60)
    with pytest.raises(DataSetError) as caught:
        list(found)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"{tmp_path}: 21 broken items so far")
    assert lines[1:] == [f"  {tmp_path / f'{i}.jpg'}: it is broken in line {i}" for i in range(5)]
    assert isinstance(caught.value.__cause__, ItemError)


def test_what_is_good_is_read_until_the_end_comes(tmp_path):
    walk = iter(dataset(tmp_path, set(range(10, 60)), 100))
    assert [next(walk).name for _ in range(10)] == [str(i) for i in range(10)]
    with pytest.raises(DataSetError):
        next(walk)


@pytest.mark.parametrize("total", [0, 1, 20])
def test_nothing_readable_is_an_error(tmp_path, total):
    with pytest.raises(DataSetError, match=f"none of the {total} items can be read"):
        list(dataset(tmp_path, set(range(total)), total))


def test_each_pass_counts_anew(tmp_path):
    found = dataset(tmp_path, {1, 3}, 5)
    for _ in range(2):
        assert len(list(found)) == 3
        assert len(found.faults) == 2
    assert found.count() == 5


def test_reading_is_lazy(tmp_path):
    calls = []

    def job(i):
        calls.append(i)
        return _good(i)

    walk = iter(DataSet("folder", tmp_path, FREE, lambda: (partial(job, i) for i in range(9))))
    next(walk)
    next(walk)
    assert calls == [0, 1]


def test_an_error_of_the_caller_is_not_taken_for_a_broken_item(tmp_path):
    found = dataset(tmp_path, set(), 3)
    walk = iter(found)
    next(walk)
    with pytest.raises(ItemError, match="mine"):
        walk.throw(ItemError(tmp_path, "mine"))
    assert found.faults == []


def test_a_picture_cut_off_is_found_when_it_is_decoded(tmp_path):
    MAKERS["folder"](tmp_path / "set")
    path = tmp_path / "set/0/photo 1.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    found = open_dataset("folder", tmp_path / "set")
    assert len(list(found)) == 6  # the header is whole
    assert len(list(found.decoded())) == 5
    assert re.search(r"photo 1\.jpg: the picture cannot be decoded", str(found.faults[0]))


def test_a_picture_on_its_side_is_measured_as_it_is_decoded(tmp_path):
    picture(tmp_path / "a.jpg", 1, (30, 20))
    assert imagefiles.picture_size(tmp_path / "a.jpg") == (30, 20)
    add_exif(tmp_path / "a.jpg", 6)
    assert imagefiles.picture_size(tmp_path / "a.jpg") == (20, 30)
    assert Sample("a", tmp_path / "a.jpg").pixels().shape == (30, 20, 3)


def test_bytes_that_are_no_picture_are_named():
    for content in (b"", b"<html>"):
        with pytest.raises(ValueError, match="shard/7: not a readable image"):
            Sample("shard/7", content).pixels()


def test_a_mask_grows_by_whole_pixels_alone(tmp_path):
    small = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert imagefiles.fit_mask(tmp_path, small, (3, 2)) is small
    grown = imagefiles.fit_mask(tmp_path, small, (9, 6))
    assert grown.shape == (6, 9)
    assert (grown[1::3, 1::3] == small).all()
    for size in ((6, 6), (9, 4), (4, 2), (2, 3), (1, 1)):
        with pytest.raises(ItemError, match="the mask is 3 x 2"):
            imagefiles.fit_mask(tmp_path, small, size)


def test_255_is_a_class_only_where_it_may_be(tmp_path):
    path = tmp_path / "m.png"
    cv2.imwrite(str(path), np.array([[0, 10], [255, 1]], np.uint8))
    assert imagefiles.read_mask(path, "lapa11", ignore=True).tolist() == [[0, 10], [255, 1]]
    with pytest.raises(ItemError, match=r"m\.png: the mask is not an index map of 0 to 10"):
        imagefiles.read_mask(path, "lapa11")
    cv2.imwrite(str(path), np.array([[0, 11], [255, 1]], np.uint8))
    with pytest.raises(ItemError, match=r"m\.png: the mask is not an index map of 0 to 10"):
        imagefiles.read_mask(path, "lapa11", ignore=True)


@given(
    st.text(min_size=1, max_size=80).filter(lambda text: text.strip() and not any(map(str.isdecimal, text)))
)
def test_a_line_that_is_not_numbers_is_named(text):
    line = Line(Path("list.txt"), 7, text)
    for read in (lambda: line.numbers([text]), lambda: line.cells(100)):
        with pytest.raises(ItemError, match=r"(?s)^list\.txt: .* in line 7") as caught:
            read()
        assert caught.value.line == 7


def test_unknown_kinds_roots_and_options_are_named(tmp_path):
    with pytest.raises(DataSetError, match=r"no layout '300-W': use one of 300w, wflw, .*webdataset"):
        open_dataset("300-W", tmp_path)
    with pytest.raises(DataSetError, match="nowhere: there is no such folder"):
        open_dataset("wflw", tmp_path / "nowhere")
    with pytest.raises(DataSetError, match=r"wflw: .*'parts'; its options: part"):
        open_dataset("wflw", tmp_path, parts="train")
    with pytest.raises(DataSetError, match="its options: none"):
        open_dataset("folder", tmp_path, part="train")


def test_every_kind_declares_terms_and_none_claims_commercial_use():
    own = {kind for kind, layout in KINDS.items() if layout.terms is None}
    assert own == {"folder", "webdataset"}
    for kind in set(KINDS) - own:
        terms = KINDS[kind].terms
        assert terms.title
        assert len(terms.licence) > 10
        assert "\n" not in terms.licence
        assert terms.source.startswith("http")
        assert not terms.commercial


def test_terms_are_stated_by_who_knows_them(tmp_path):
    assert open_dataset("folder", tmp_path).terms == UNSTATED
    assert not UNSTATED.commercial
    assert open_dataset("folder", tmp_path, FREE).terms == FREE
    assert open_dataset("lapa", tmp_path).terms == KINDS["lapa"].terms
    with pytest.raises(DataSetError, match=r"lapa is under its own terms \(non-commercial"):
        open_dataset("lapa", tmp_path, FREE)
