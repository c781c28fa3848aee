from __future__ import annotations

import copy
import json

import pytest

from quantization.aims import AIMS, Aim, rewrite
from quantization.commands import options
from quantization.lines import LINES

pytestmark = pytest.mark.workshop

PAGE = "before\n<!-- table: aims -->\nold\n<!-- /table -->\nafter\n"
BASE, NANO = (json.loads(LINES[name].metrics.read_text()) for name in ("base", "nano"))


@pytest.fixture
def page(tmp_path):
    """The rows of the table, by what they are about, of changed figures."""

    def made(base=BASE, nano=NANO):
        for name, figures in (("base", base), ("nano", nano)):
            (tmp_path / name).write_text(json.dumps(figures))
        text = rewrite(PAGE, tmp_path / "base", tmp_path / "nano")
        assert text.startswith("before\n")
        assert text.endswith("<!-- /table -->\nafter\n")
        rows = [line[1:-1].split("|") for line in text.splitlines() if line.startswith("| ")]
        return {(row[0].strip(), row[1].strip()): [cell.strip() for cell in row[2:]] for row in rows}

    return made


def changed(figures, task, **values):
    other = copy.deepcopy(figures)
    other[task]["int8"] |= values
    return other


def test_a_bound_that_is_just_kept_is_met_and_one_that_is_not_is_missed(page):
    place = ("detection", "faces found, IoU >= 0.5")
    assert page(changed(BASE, "detection", recall_50=0.99))[place][:3] == [">= 99.00 %", "99.00 %", "met"]
    assert page(changed(BASE, "detection", recall_50=0.9899))[place][1:3] == ["98.99 %", "**missed**"]
    place = ("landmarks", "NME by the outer eye corners")
    assert page(changed(BASE, "landmarks", nme=0.036))[place][:3] == ["<= 3.60 %", "3.60 %", "met"]
    assert page(changed(BASE, "landmarks", nme=0.0361))[place][2] == "**missed**"


def test_the_mesh_on_the_same_photos_is_a_bound(page):
    eyes = BASE["landmarks"]["teacher"]["nme_eyes"]
    place = ("landmarks", "NME of the eyes")
    assert page(changed(BASE, "landmarks", nme_eyes=eyes))[place][0] == f"<= {100 * eyes:.2f} %"
    assert page(changed(BASE, "landmarks", nme_eyes=eyes))[place][2] == "met"
    assert page(changed(BASE, "landmarks", nme_eyes=eyes * 1.001))[place][2] == "**missed**"


def test_the_worst_part_is_found_and_the_background_is_none(page):
    parts = {key: 0.9 for key in BASE["parsing"]["int8"] if key.startswith("f1_")}
    figures = changed(BASE, "parsing", **parts | {"f1_necklace": 0.46, "f1_background": 0.1})
    assert page(figures)["parsing", "F1 of the worst part"][:3] == [">= 45.00 %", "46.00 %", "met"]


def test_nano_may_be_an_eighth_off_the_base_figure_whatever_the_aim(page):
    accuracy = Aim("expression", "accuracy", "", 0.84)
    error = Aim("expression", "ece", "", 0.05, most=True)
    assert accuracy.near(0.5) == pytest.approx(0.44)
    assert error.near(0.5) == pytest.approx(0.56)
    base = changed(BASE, "expression", accuracy=0.8)
    for value, said in ((0.7041, "met"), (0.7039, "**missed**")):
        row = page(base, changed(NANO, "expression", accuracy=value))["expression", "accuracy"]
        assert row[1:3] == ["80.00 %", "**missed**"]
        assert row[5:] == [f"{100 * value:.2f} %", said]


def test_what_is_asked_with_care_is_held_against_the_same_aim(page):
    careful = copy.deepcopy(BASE)
    careful["detection"]["careful"]["recall_at_20px"] = 0.991
    row = page(changed(careful, "detection", recall_at_20px=0.5))[
        "detection", "faces of 20 px found in 640 x 480"
    ]
    assert row[:5] == [">= 99.00 %", "50.00 %", "**missed**", "99.10 %", "met"]


def test_what_a_nano_student_does_not_say_is_a_dash_and_what_has_no_bound_is_reported(page):
    found = page()
    assert found["landmarks", "blendshapes, correlation with MediaPipe's"][5] == "-"
    assert found["expression", "accuracy, mean over classes"][0] == "reported"
    assert found["expression", "accuracy, mean over classes"][2] == ""
    assert len(found) == len(AIMS) + 1  # and the titles


def test_the_committed_page_is_what_the_command_makes():
    path = options.METRICS.with_name("README.md")
    assert rewrite(path.read_text(), options.METRICS, LINES["nano"].metrics) == path.read_text()


def test_a_page_without_a_place_is_an_error():
    with pytest.raises(ValueError, match="0 places for the table 'aims'"):
        rewrite("", options.METRICS, LINES["nano"].metrics)
