from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from quantization import graded, metrics, plots, trade_plots
from quantization.__main__ import main
from quantization.datasets.ferplus import CLASSES
from quantization.evaluate import record
from quantization.report import Sources, write_report
from quantization.splits import read_split

pytestmark = pytest.mark.workshop

_VOID = {"img", "meta", "source", "br", "link", "hr"}


class Page(HTMLParser):
    """What of a page a test asks for; fails on tags that do not close as they opened."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def plain(text):
    """The page without the bytes of its plots."""
    return re.sub(r"base64,[A-Za-z0-9+/=]+", "base64,", text)


def face(rng, shift):
    truth = rng.uniform(0, 200, (68, 2))
    truth[[36, 45]] = (50, 50), (150, 50)
    return truth + np.array([shift, 0]), truth


def measured(rng):
    """Gradings of made-up answers, by task."""
    faces = [face(rng, shift) for shift in (2.0, 4.0, 30.0)]
    found = [faces[0][0], faces[1][0], None]
    matrix = rng.integers(1, 900, (4, 4)) + np.diag([9000, 5000, 100, 0])
    scores = rng.dirichlet(np.ones(8), 60)
    box = np.array([[10.0, 10, 40, 40]])
    precision = metrics.average_precision([box], [(box, np.ones(1))])
    return {
        "detection": graded.detection(
            np.array([0.9, 0.2]), np.array([True, True]), np.array([90.0, 20.0]), precision, 1, 8
        ),
        "landmarks": graded.landmarks(found, [t for _, t in faces], [100, 30, 200], [3, 40, 0]),
        "parsing": graded.parsing([matrix], ["background", "skin", "<hat>", "hair & co"], [120], 0),
        "expression": graded.expression(scores, rng.integers(0, 8, 60), CLASSES, rng.uniform(0, 255, 60)),
    }


# Comparison -> variant -> its figure, and the interval of the differences to the base's 0.5.
COMPARED = {
    "landmarks-kd": {"<kd>": (0.55, 0.04, 0.06, "hurts")},
    "parsing-dice": {"dice": (0.6, 0.05, 0.15, "helps"), "more": (0.5, -0.1, 0.1, "not shown")},
}


def comparison(name, variants):
    """What `compare` writes, as far as it is told."""
    figure, better = ("nme", "lower") if name.startswith("landmarks") else ("f1", "higher")

    def runs(value):
        return {"runs": [{"figures": {figure: value}}]}

    told = {
        variant: runs(own) | {"low": low, "mean": own - 0.5, "high": high, "verdict": verdict}
        for variant, (own, low, high, verdict) in variants.items()
    }
    inputs = {"task": name.partition("-")[0], "schedule.steps": 600}
    return {
        "comparison": name,
        "figure": figure,
        "better": better,
        "seeds": [0, 1, 2],
        "base": runs(0.5) | {"inputs": inputs},
        "variants": told,
    }


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A tiny workshop in which everything was measured once."""
    root = tmp_path_factory.mktemp("workshop")
    for name in ("results", "weights", "recipes", "logs", "benchmarks"):
        (root / name).mkdir()
    for seed, kind in enumerate(("int8", "fp32", "teacher")):
        for task, found in measured(np.random.default_rng(seed)).items():
            if kind != "teacher" or task in {"detection", "landmarks"}:
                record(root / "results/metrics.json", task, kind, found.metrics)
                record(root / "results/curves.json", task, kind, found.curves | {"sha256": f"{seed}f" * 32})
    learnt = measured(np.random.default_rng(3))["landmarks"]  # a teacher that was trained here
    record(root / "results/metrics.json", "landmarks", "landmarks-tough", learnt.metrics)
    record(root / "results/curves.json", "landmarks", "landmarks-tough", learnt.curves | {"bytes": 5 << 20})
    record(root / "results/metrics.json", "landmarks", "somebody's on 300w", learnt.metrics)
    record(root / "results/curves.json", "landmarks", "somebody's on 300w", learnt.curves)
    compared = root / "results/comparisons"
    compared.mkdir()
    for name, variants in COMPARED.items():
        (compared / f"{name}.json").write_text(json.dumps(comparison(name, variants)))
    (root / "recipes/landmarks.toml").write_text('[schedule]\nstart = "landmarks-first"  # <gentle> & slow\n')
    (root / "recipes/landmarks-first.toml").write_text("[schedule]\nsteps = 20\n")
    for name, steps, start in (("landmarks-first", (10, 20), 0.09), ("landmarks", (5, 15), 0.05)):
        rows = [{"step": s, "seconds": 1.0, "shape": start, "val_nme": start - s / 1000} for s in steps]
        (root / f"logs/{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "recipes/landmarks-tough.toml").write_text(
        'task = "landmarks"\n[student]\nencoder = "x"\n[schedule]\nsteps = 30\n'
    )
    rows = [{"step": s, "seconds": 1.0, "shape": 0.2, "val_nme": 0.04 - s / 2000} for s in (15, 30)]
    (root / "logs/landmarks-tough.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    np.savez(root / "weights/landmarks.npz", a=np.zeros((3, 4), np.float16))
    speed = {"edgeface_all": {"median": 4.0}, "peer": {"median": 3.0}, "untested": {"median": 1.0}}
    memory = {"edgeface_all": {"median": 80.0}, "peer": {"median": 140.0}}
    (root / "benchmarks/board.json").write_text(json.dumps({"latency_ms": speed, "peak_memory_mib": memory}))
    bundle = Path(__file__).parents[1] / "fixtures" / "tiny.bundle"
    return Sources(*(root / name for name in ("results", "weights")), bundle,
                   *(root / name for name in ("recipes", "logs", "benchmarks")))  # fmt: skip


@pytest.fixture(scope="module")
def out(sources, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "new"
    assert write_report(sources, folder) == folder / "report.html"
    return folder


@pytest.fixture(scope="module")
def page(out):
    return Page((out / "report.html").read_text(encoding="utf-8"))


def test_the_page_loads_nothing(out, page):
    text = plain((out / "report.html").read_text())
    assert not re.search(r"(?:https?:)?//\w", text)
    assert not re.search(r"@import|url\(", text)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for tag, attrs in page.tags:
        for name in ("src", "srcset", "href"):
            assert (
                tag == "a"
                or attrs.get(name, "data:").startswith("data:image/png;base64,")
                or name not in attrs
            )
    assert all(a["href"].startswith("#") for a in page.all("a"))
    assert {a["href"][1:] for a in page.all("a")} == {h["id"] for h in page.all("h2")}
    assert "default-src 'none'" in str(page.all("meta"))


def test_every_plot_has_an_alternative_text_and_its_numbers(out, page):
    images = page.all("img")
    assert len(images) == len(page.all("figure")) == len(list(out.glob("*.png"))) > 20
    assert all(len(image["alt"]) > 30 for image in images)
    assert len({image["alt"] for image in images}) == len(images)
    assert page.text.count("The numbers") == len(images)
    assert all(image.get("media") == "(prefers-color-scheme: dark)" for image in page.all("source"))


def test_a_page_says_its_language_and_title(page):
    assert page.all("html") == [{"lang": "en"}]
    assert page.all("title")
    assert page.all("h1")


def test_no_picture_of_a_data_set_is_named(out):
    text = plain((out / "report.html").read_text())
    names = {
        Path(item.name).stem for split in ("lfpw", "celebamask", "ferplus") for item in read_split(split)
    }
    assert len(names) > 1000
    assert not names & set(re.findall(r"\w+", text))
    assert str(out.parent) not in text


def test_the_plots_of_each_student(out):
    names = {path.stem for path in out.glob("*.png")}
    assert {"landmarks-ced", "landmarks-parts", "landmarks-learning", "landmarks-losses"} <= names
    assert {"parsing-f1", "parsing-iou", "parsing-confusion", "expression-reliability"} <= names
    assert {"expression-risk-coverage", "expression-confusion", "detection-precision-recall"} <= names
    assert {f"{task}-{what}" for task in ("detection", "landmarks", "parsing", "expression")
            for what in ("int8-fp32", "subgroups")} <= names  # fmt: skip
    assert "frontier-board" in names
    assert "parsing-learning" not in names  # there is no log of it


def test_a_teacher_that_was_trained_here_shows_how_it_learned_and_what_its_size_buys(out, page):
    names = {path.stem for path in out.glob("*.png")}
    assert {"landmarks-tough-learning", "landmarks-tough-losses", "landmarks-size"} <= names
    assert "landmarks, 30 steps in 1 stages: nme from 0.033 to 0.025." in {i["alt"] for i in page.all("img")}


def test_students_and_teachers_stand_by_size_and_figure(page):
    """By the file at hand, else by what was recorded when graded; figures of other data sets do not."""
    told = [i["alt"] for i in page.all("img") if "over the size" in i["alt"]]
    assert [alt.partition(":")[0] for alt in told] == ["landmarks"]
    assert "over the size of 3 networks" in told[0]
    rows = " ".join(page.text.split())
    assert "fp32 24 " in rows  # 12 values in the weights at hand
    assert "landmarks-tough 5,242,880 " in rows  # recorded
    assert "somebody's on 300w" not in page.text


def test_a_network_that_is_larger_and_worse_is_not_on_the_frontier():
    points = {"int8": ("int8", 100.0, 0.04), "big": ("Big", 400.0, 0.03), "worse": ("Worse", 500.0, 0.05)}
    plot = trade_plots.size("landmarks", "nme", points, up=False)
    assert {row[0]: row[-1] for row in plot.table[1:]} == {"int8": "yes", "Big": "yes", "Worse": "no"}
    best = trade_plots.size("landmarks", "f1", points, up=True)
    assert {row[0]: row[-1] for row in best.table[1:]} == {"int8": "yes", "Big": "no", "Worse": "yes"}


def test_what_was_compared_is_told_with_its_verdict(page, out):
    assert {h["id"] for h in page.all("h2")} >= {"comparisons"}
    assert (out / "comparisons.png").is_file()
    text = " ".join(page.text.split())
    assert "helps: parsing-dice: dice; hurts: landmarks-kd: <kd>; not shown: parsing-dice: more." in {
        i["alt"].partition("intervals. ")[2] for i in page.all("img")
    }
    assert "landmarks-kd: <kd> nme (lower is better) 0.5000 0.5500 +0.0500 +0.0400 to +0.0600 hurts" in text


def test_a_page_of_what_was_never_compared_says_nothing_of_it(sources, tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    for name in ("metrics.json", "curves.json"):
        (results / name).write_text((sources.results / name).read_text())
    path = write_report(replace(sources, results=results), tmp_path / "out")
    assert "comparisons" not in plain(path.read_text())


def test_figures_that_nothing_was_there_to_measure_on_are_left_out(sources, tmp_path):
    """No face-free picture; a class that neither the truth nor one of the two networks names."""
    results = tmp_path / "results"
    precision = metrics.average_precision([np.ones((1, 4))], [(np.ones((1, 4)), np.ones(1))])
    one = np.ones(1)
    for kind, unnamed in (("int8", 0), ("fp32", 5)):
        found = graded.detection(one, one > 0, 90 * one, precision, 0, 0)
        matrix = np.diag([90, 50, 0])
        matrix[0, 2] = unnamed
        seen = graded.parsing([matrix], ["background", "skin", "hat"], [120], 0)
        assert ("f1_hat" in seen.metrics) == (unnamed > 0)
        for task, measured in (("detection", found), ("parsing", seen)):
            record(results / "metrics.json", task, kind, measured.metrics)
            record(results / "curves.json", task, kind, measured.curves)
    page = Page(write_report(replace(sources, results=results), tmp_path / "out").read_text())
    assert "face free images" in page.text
    assert "false faces a picture" not in page.text
    assert re.search(r"hat\s+-\s+0\.0 %", page.text)


def test_provenance(page):
    assert "1f1f1f" in page.text
    assert "<gentle> & slow" in page.text  # the recipe as it is
    assert page.text.index("Recipe landmarks-first") < page.text.index("Recipe landmarks,")
    assert "another" in page.text  # the weights at hand are not those that were graded
    assert "hair & co" in page.text


def test_the_teachers_recall_is_not_passed_off_as_measured(page):
    assert "1 by definition" in page.text
    alts = [image["alt"] for image in page.all("img")]
    assert ["teacher" in alt for alt in alts if alt.startswith("Precision over recall")] == [False]
    assert ["teacher" in alt for alt in alts if alt.startswith("Cumulative error")] == [True]


def test_the_command_says_what_is_missing(tmp_path):
    told = CliRunner().invoke(main, ["report", "--results", str(tmp_path), "--out", str(tmp_path / "out")])
    assert told.exit_code == 1
    assert "python -m quantization evaluate" in told.output
    assert not (tmp_path / "out").exists()


def test_the_numbers_of_the_metrics_file_are_on_the_page(sources, page):
    figures = json.loads((sources.results / "metrics.json").read_text())
    for task, key in (
        ("landmarks", "nme_pupil"),
        ("parsing", "miou"),
        ("expression", "aurc"),
        ("detection", "ap"),
    ):
        for kind in ("int8", "fp32"):
            assert f"{figures[task][kind][key]:.4f}" in page.text


def test_nothing_graded_yet_is_said(sources, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"metrics\.json.*evaluate"):
        write_report(Sources(tmp_path, sources.weights, sources.bundle), tmp_path)


def pixels(plot, dark):
    with Image.open(io.BytesIO(plots.draw(plot, dark))) as image:
        return np.array(image.convert("RGBA"), float)


@pytest.mark.parametrize("dark", [False, True])
def test_a_plots_ink_stands_out_from_the_page(dark):
    """WCAG 2's contrast of the text colour with the card behind the plot, at least 4.5."""
    plot = trade_plots.frontier("frontier", "Time and memory", {"edgeface": (1.0, 2.0), "peer": (2.0, 1.0)})
    image = pixels(plot, dark)
    solid = image[image[..., 3] == 255][:, :3]
    colours, counts = np.unique(solid, axis=0, return_counts=True)
    ink = colours[counts.argmax()]
    style = (Path(plots.__file__).parent / "report.css").read_text()
    card = re.findall(r"--card: #(\w{6})", style)[dark]
    values = [ink / 255, np.array([int(card[i : i + 2], 16) for i in (0, 2, 4)]) / 255]
    linear = [np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) for v in values]
    low, high = sorted(float(v @ (0.2126, 0.7152, 0.0722)) for v in linear)
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_a_plot_is_the_same_bytes_each_time():
    plot = plots.bars("bars", "Bars", "F1", {"int8": {"skin": 0.9, "hat": None}})
    assert plots.draw(plot) == plots.draw(plot)
    assert plots.draw(plot) != plots.draw(plot, dark=True)


def test_what_int8_costs_is_told_apart_by_what_is_better():
    plot = plots.int8_cost("x", [("error", 0.5, 0.4, False), ("recall", 0.98, 0.97, True)])
    assert "error, +10.00 points" in plot.alt
    assert [row[-1] for row in plot.table[1:]] == ["+10.00 points", "+1.00 points"]


def test_a_system_beaten_in_both_is_not_on_the_frontier():
    plot = trade_plots.frontier("f", "F", {"good": (1, 5), "beaten": (2, 6), "small": (3, 1)})
    assert {row[0]: row[-1] for row in plot.table[1:]} == {"good": "yes", "beaten": "no", "small": "yes"}


def test_stages_are_put_end_to_end():
    plot = plots.learning(
        "t", "learning", [("a", [{"step": 10, "v": 1.0}]), ("b", [{"step": 5, "v": 0.5}])], ["v"]
    )
    assert [row[:2] for row in plot.table[1:]] == [("a", "10"), ("b", "15")]
    assert "v from 1.000 to 0.500" in plot.alt


def test_a_class_without_a_figure_has_a_dash_and_no_face_at_all_is_no_error():
    plot = plots.bars("b", "B", "NME", {"int8": {"jaw": None, "nose": None}})
    assert [row[1] for row in plot.table[1:]] == ["-", "-"]
    assert plots.draw(plot)
