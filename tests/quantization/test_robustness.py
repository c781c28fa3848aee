"""Where a student breaks: computed from what was measured, told in its card and in the README."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

import edgeface
from edgeface import BBox, Expression, Face, FrameResult
from quantization import robustness
from quantization.__main__ import main
from quantization.card import Facts, write_card
from quantization.damaged import KINDS
from quantization.datasets import ferplus
from quantization.lines import LINES, Line
from quantization.plots import draw
from quantization.printed import printed_robustness
from quantization.robustness import breaks_at, known, measure, plot_of, rows_of, samples
from quantization.splits import parts
from quantization.tasks import RECIPES
from quantization.tasks.seen import seen

pytestmark = pytest.mark.workshop


class Recogniser:
    """Says the class of the validation picture of FER+ that is most alike, as long as it sees anything."""

    def __init__(self, data):
        root = data / "expression/ferplus"
        votes = ferplus.load_votes(root)
        names = parts("ferplus", "validation")
        self.known = np.stack([self.contrast(edgeface.read_image(root / name).rgb) for name in names])
        self.classes = [int(votes[name][:8].argmax()) for name in names]

    @staticmethod
    def contrast(rgb):
        grey = rgb.mean(2).ravel()
        return (grey - grey.mean()) / (grey.std() + 1e-6)

    def analyze(self, frame, boxes=None):
        x, y = (round(v) for v in boxes[0].center)
        piece = frame[max(0, y - 24) : y + 24, max(0, x - 24) : x + 24]
        best = self.classes[int((self.known @ self.contrast(piece)).argmax())]
        said = best if piece.std() > 10 else 7
        scores = np.full(8, 0.3 / 7)
        scores[said] = 0.7
        told = Expression(dict(zip(ferplus.CLASSES, scores.tolist(), strict=True)))
        return FrameResult((Face(boxes[0], expression=told),), frame.shape[1], frame.shape[0])


@pytest.fixture
def found(miniature):
    with miniature.split():
        return measure("expression", Recogniser(miniature.data), miniature.data, miniature.labels)


def test_it_breaks_where_it_sees_nothing_any_more(found):
    assert found["pictures"] == 4
    assert found["clean"]["accuracy"] == 1
    assert "grey" not in found  # its pictures have no colour to lose
    # Noise of 74 grey levels, by 10 % and 5 % of the light: 7 and 4 are not seen.
    assert found["darkness"]["level"] == [0.25, 0.1, 0.05, 0.02]
    assert found["darkness"]["accuracy"][0] == 1
    assert breaks_at("expression", found, "darkness") == 0.1
    assert breaks_at("expression", found, "occlusion") is None
    assert breaks_at("expression", found, "noise") is None


def test_the_same_pictures_are_damaged_the_same_way_again(found, miniature):
    with miniature.split():
        again = measure("expression", Recogniser(miniature.data), miniature.data, miniature.labels)
    assert json.dumps(again) == json.dumps(found)


@pytest.mark.parametrize(
    ("values", "level"),
    [
        ([0.9, 0.81, 0.79, 0.1], 0.05),  # exactly a fifth less than 1.0 is 0.8
        ([0.8, 0.8, 0.8, 0.8], None),
        ([0.7, 0.9, 0.9, 0.9], 0.25),  # the mildest, even if harder ones were luckier
        ([0.9, None, 0.9, 0.9], 0.1),  # no figure: nothing was left to measure
    ],
)
def test_broken_is_more_than_a_fifth_less(values, level):
    levels = [0.25, 0.1, 0.05, 0.02]
    made = {"clean": {"mean_f1": 1.0}, "darkness": {"level": levels, "mean_f1": values}}
    assert breaks_at("parsing", made, "darkness") == level


def test_every_picture_has_a_face_and_what_it_is_graded_by(miniature):
    with miniature.split():
        told = {task: list(samples(task, miniature.data, miniature.labels)) for task in robustness.JUDGED}
    assert [len(told[task]) for task in ("detection", "landmarks", "parsing", "expression")] == [2, 2, 1, 4]
    for each in told.values():
        assert all(len(sample.boxes) == 1 and (sample.boxes[:, 2:] > 4).all() for sample in each)
    (landmarks, detection) = told["landmarks"][0], told["detection"][0]
    box, other = (BBox(*sample.boxes[0].tolist()) for sample in (landmarks, detection))
    assert box.iou(other) > 0.6
    assert detection.attributes["invalid"] == (0,)
    (parsing,) = told["parsing"]
    x, y, width, height = (parsing.boxes[0] + (0.5, 0.5, 0, 0)).astype(int)
    assert (parsing.mask[y : y + height, x : x + width] == 1).sum() == (parsing.mask == 1).sum()


def test_without_the_teachers_boxes_detection_says_what_to_do(miniature, tmp_path):
    with miniature.split():
        arguments = ["--data", miniature.data, "--labels", tmp_path, "--task", "detection"]
        told = CliRunner().invoke(
            main, ["robustness", *map(str, arguments), "--out", str(tmp_path / "out.json")]
        )
    assert told.exit_code == 1
    assert "lfpw_faces.npz: not there; `python -m quantization label` writes it" in told.output


def test_the_command_writes_prints_and_draws(miniature, tmp_path):
    out = tmp_path / "robustness.json"
    with miniature.split():
        arguments = ["--data", miniature.data, "--labels", miniature.labels, "--task", "expression"]
        arguments += ["--out", out, "--plots", tmp_path / "plots"]
        told = CliRunner().invoke(main, ["robustness", *map(str, arguments)])
    assert told.exit_code == 0, told.output
    assert "expression, accuracy, 4 pictures" in told.output
    assert (tmp_path / "plots/expression-robustness.png").read_bytes()[:4] == b"\x89PNG"
    bundle = edgeface.Bundle.builtin()
    shipped = {a.name: a.sha256 for a in bundle.artifacts}[bundle.model("expression").artifact]
    assert known("expression", shipped, out)["pictures"] == 4
    assert known("expression", "another", out) is None
    assert known("parsing", shipped, out) is None
    assert known("parsing", shipped, tmp_path / "nothing.json") is None


def test_what_was_measured_is_told_in_words_and_drawn(found):
    text = printed_robustness("expression", found)
    (row,) = (line for line in text.splitlines() if "light left" in line)
    assert "25 %: 1.0000" in row
    assert row.endswith("breaks at 10 %")
    assert next(r for r in rows_of("expression", found) if r[0].startswith("blur"))[2]
    plot = plot_of("expression", found)
    assert "darkness 10 %" in plot.alt
    assert ("darkness", "25 %", "100.0 %") in plot.table
    assert draw(plot)[:4] == draw(plot, dark=True)[:4] == b"\x89PNG"


def test_who_knows_nothing_has_nothing_to_lose(found):
    nothing = found | {"clean": {"accuracy": 0.0}}
    plot = plot_of("expression", nothing)
    assert ("darkness", "25 %", "-") in plot.table
    assert plot.alt.endswith("It breaks at: none of these.")
    assert draw(plot)[:4] == b"\x89PNG"


def test_the_card_tells_it_of_the_very_file_alone(found, tmp_path, monkeypatch):
    results = tmp_path / "robustness.json"
    results.write_text(json.dumps({"expression": {"int8": found | {"sha256": "ef" * 32}}}))
    monkeypatch.setattr(robustness, "LINES", {"base": Line("base", tmp_path, tmp_path / "none.bundle")})
    saw = seen(RECIPES / "expression.toml")

    def card(artifact):
        facts = Facts(saw, saw.terms, [], "cd" * 32, artifact, 1234, {"int8": {"accuracy": 1.0}})
        return write_card("expression", facts)

    told = card("ef" * 32)
    (row,) = (line for line in told.splitlines() if line.startswith("| light left"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == "25 %: 100.0"
    assert cells[-1] == "breaks at 10 %"
    assert "accuracy; 100.00 % on the clean ones" in told
    assert "was not graded: `python -m quantization robustness` does it" in card("ab" * 32)


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_clean_pictures_give_the_figures_that_evaluate_gives(line):
    """Two ways to one figure: of a file that both were shown."""
    figures = json.loads(line.metrics.read_text())
    curves = json.loads(line.metrics.with_name("curves.json").read_text())
    for task, kinds in json.loads(line.robustness.read_text()).items():
        if kinds["int8"]["sha256"] == curves[task]["int8"]["sha256"]:
            clean = kinds["int8"]["clean"]
            assert clean == pytest.approx({key: figures[task]["int8"][key] for key in clean}, abs=1e-9)
        assert {name for name in KINDS if name in kinds["int8"]} >= KINDS.keys() - {"grey"}
