"""What is offered to which device: versions, boards, rings, shares."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.update import Offer, UntrustedError
from edgeface.update.offers import Device, parse_releases, plan, seat

DEVICE = Device("this", frozenset({"aarch64"}), "stable", "1.0")
OFFER = Offer("students-2.0.bundle", "2.0", "0" * 64, (), (), 1.0)


def _listed(*changes: dict[str, Any]) -> bytes:
    row = {"bundle": "a.bundle", "version": "1.0", "digest": "0" * 64, "boards": [], "rings": [], "share": 1}
    return json.dumps(
        {"schema": "edgeface.releases/1", "releases": [{**row, **change} for change in changes]}
    ).encode()


def test_the_newest_is_offered() -> None:
    offers = [replace(OFFER, version=version) for version in ("1.9", "1.10", "1.2")]
    found = plan(offers, DEVICE, "1.0")
    assert found.offer is not None
    assert found.offer.version == "1.10"
    assert found.runs == "1.0"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"boards": ("raspberrypi,5",)}, "it is for raspberrypi,5"),
        ({"rings": ("canary", "early")}, "ring canary or early, and this device is in stable"),
        ({"share": 0.0}, "0% of the devices"),
    ],
)
def test_what_is_not_for_this_device_is_said(change: dict[str, Any], reason: str) -> None:
    found = plan([replace(OFFER, **change), replace(OFFER, version="1.5")], DEVICE, "1.0")
    assert found.offer is not None
    assert found.offer.version == "1.5"
    (kept,) = found.kept_back
    assert kept.version == "2.0"
    assert reason in kept.reason


def test_what_failed_here_is_not_offered_again() -> None:
    found = plan([OFFER], replace(DEVICE, failed=frozenset({OFFER.digest})), "1.0")
    assert found.offer is None
    assert "failed" in found.kept_back[0].reason


@pytest.mark.parametrize("version", ["1.0", "0.9"])
def test_nothing_older_is_offered(version: str) -> None:
    found = plan([replace(OFFER, version=version)], DEVICE, "1.0")
    assert (found.offer, found.kept_back) == (None, ())


@given(st.text(max_size=40), st.floats(0, 1), st.floats(0, 1))
def test_a_device_keeps_its_turn_when_the_share_grows(identity: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    device = replace(DEVICE, identity=identity)
    if plan([replace(OFFER, share=low)], device, "1.0").offer is not None:
        assert plan([replace(OFFER, share=high)], device, "1.0").offer is not None
    assert plan([OFFER], device, "1.0").offer is not None, "all means all"


def test_seats_are_even_and_every_rollout_begins_with_others() -> None:
    first = [seat(f"device {number}", "a" * 64) for number in range(4000)]
    second = [seat(f"device {number}", "b" * 64) for number in range(4000)]
    for share in (0.1, 0.25, 0.5):
        # 4,000 draws: three standard deviations are below 0.024
        assert abs(sum(place < share for place in first) / 4000 - share) < 0.03
    both = sum(one < 0.25 and two < 0.25 for one, two in zip(first, second, strict=True)) / 4000
    assert abs(both - 0.0625) < 0.02, "who is early for one bundle is not for all"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"schema": "edgeface.releases/2", "releases": []}',
        b'{"schema": "edgeface.releases/1", "releases": {}}',
        _listed({"bundle": "../a.bundle"}),
        _listed({"bundle": "keys.json"}),
        _listed({"digest": "x"}),
        _listed({"share": 1.1}),
        _listed({"share": float("nan")}),
        _listed({"boards": "aarch64"}),
        _listed({"rings": [""]}),
        _listed({"more": 1}),
    ],
)
def test_a_list_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(UntrustedError, match=r"releases\.json"):
        parse_releases(data)


def test_a_version_that_is_none_is_refused() -> None:
    with pytest.raises(UntrustedError, match="version"):
        plan(parse_releases(_listed({"version": "newest"})), DEVICE, "1.0")


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    with pytest.raises(UntrustedError):
        parse_releases(data)
