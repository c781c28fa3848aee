from __future__ import annotations

import re

import pytest

from quantization.card import HEADLINES, Facts, write_card
from quantization.tasks import RECIPES
from quantization.tasks.seen import seen

pytestmark = pytest.mark.workshop


@pytest.fixture(scope="module")
def detection():
    """Writes the detector's card with some figures."""
    saw = seen(RECIPES / "detection.toml")

    def write(**kinds: dict[str, float]) -> str:
        facts = Facts(saw, saw.terms, [("detection", "ab" * 32)], "cd" * 32, "ef" * 32, 1234, kinds)
        return write_card("detection", facts)

    return write


def test_recall_by_face_size_is_told_from_small_to_large(detection):
    sizes = {f"recall_at_{side}px": share for side, share in ((60, 0.98), (40, 0.9), (32, 0.75), (24, 0.5))}
    card = detection(int8=sizes | {"faces_shrunk": 136.0}, fp32={"recall_at_24px": 0.51})
    told = re.findall(r"\| faces shrunk to (\d+) px found, IoU >= 0\.5 +\| +([\d.]+) % \| (\S+)", card)
    assert told == [
        ("24", "50.00", "51.00"),
        ("32", "75.00", "-"),
        ("40", "90.00", "-"),
        ("60", "98.00", "-"),
    ]
    assert re.search(r"\| of them shrunk into a frame of 640 x 480 +\| 136 +\| - ", card)


def test_a_card_of_an_older_grading_says_nothing_of_sizes(detection):
    card = detection(int8={"recall_50": 0.9653, "faces": 144.0})
    assert re.search(r"\| faces of two teachers found, IoU >= 0\.5 +\| 96\.53 %", card)
    assert "shrunk" not in card.partition("## Measured")[2]


def test_false_faces_without_a_picture_to_find_them_on_are_a_dash(detection):
    card = detection(int8={"recall_50": 0.9653, "face_free_images": 0.0})
    assert re.search(r"\| false faces per face-free picture +\| - +\|", card)
    assert re.search(r"\| face-free pictures +\| 0 +\|", card)


def test_sizes_reach_the_manifest_as_shares_do():
    """What `build` copies there is every headline that is no count."""
    units = {key: unit for key, _, unit in HEADLINES["detection"]}
    assert [units[f"recall_at_{side}px"] for side in (24, 32, 40, 60)] == ["%"] * 4
    assert units["faces_shrunk"] == "n"
