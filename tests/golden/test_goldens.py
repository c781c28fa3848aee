"""The astronaut photo end to end: bits on x86-64, values within tolerances everywhere; see ``make.py``."""

from __future__ import annotations

import hashlib
import json
import platform
from typing import Any

import numpy as np
import pytest

from tests.golden.make import BUNDLES, GOLDENS, PHOTO, golden, load, versions

REMAKE = "If that was meant, run `python tests/golden/make.py` and say why in the commit."


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(GOLDENS.read_text())
    return found


@pytest.fixture(scope="module", params=BUNDLES)
def case(request: pytest.FixtureRequest, kept: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is remembered of a bundle, and what it says now."""
    return kept[request.param], golden(load(request.param))


def test_the_goldens_are_of_this_photo(kept: dict[str, Any]) -> None:
    assert hashlib.sha256(PHOTO.read_bytes()).hexdigest() == kept["photo"]


@pytest.mark.parametrize("name", BUNDLES)
def test_the_goldens_are_of_this_bundle(name: str, kept: dict[str, Any]) -> None:
    assert load(name).digest == kept[name]["digest"], f"The bundle changed. {REMAKE}"


@pytest.mark.skipif(platform.machine() not in {"x86_64", "AMD64"}, reason="the digests are of x86-64 kernels")
def test_every_tensor_is_the_same_to_the_bit(
    case: tuple[dict[str, Any], dict[str, Any]], kept: dict[str, Any]
) -> None:
    before, now = case
    changed = [
        f"{task}: {name}"
        for task, tensors in before["tensors"].items()
        for name, digests in tensors.items()
        if now["tensors"].get(task, {}).get(name) != digests
    ]
    assert not changed, f"{changed} changed: made with {kept['made_with']}, now {versions()}. {REMAKE}"
    assert now["tensors"].keys() == before["tensors"].keys()
    assert [f.get("labels") for f in now["faces"]] == [f.get("labels") for f in before["faces"]]


def test_the_faces_are_where_they_were_and_look_as_they_did(
    case: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    before, now = case
    assert len(now["faces"]) == len(before["faces"]) > 0
    for was, is_ in zip(before["faces"], now["faces"], strict=True):
        side = max(was["bbox"][2:])
        assert is_["bbox"] == pytest.approx(was["bbox"], abs=0.02 * side)
        assert is_["score"] == pytest.approx(was["score"], abs=0.02)
        assert is_["roll"] == pytest.approx(was["roll"], abs=1.0)
        assert np.abs(np.subtract(is_["points"], was["points"])).max() < 0.02 * side
        assert is_["presence"] == pytest.approx(was["presence"], abs=0.05)
        assert is_["expression"] == pytest.approx(was["expression"], abs=0.05)
        for name in was["parsing"].keys() | is_["parsing"].keys():
            assert is_["parsing"].get(name, 0) == pytest.approx(was["parsing"].get(name, 0), abs=0.02)
