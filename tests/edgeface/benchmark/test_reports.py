"""CSV, Markdown and the page: all that was measured, nothing from outside, well-formed."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from edgeface.benchmark import plots
from edgeface.benchmark.measure import measure
from edgeface.benchmark.page import html
from edgeface.benchmark.record import csv_text
from edgeface.benchmark.run import Asked
from edgeface.benchmark.tables import markdown, number, plain, stage_order


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    found = measure(Asked("frame", seconds=0.3, tasks=("landmarks",)), "1.2.3")
    found["timeline"] = [
        {**entry, "temperature_c": 50.0 + number}
        for number, entry in enumerate([*found["timeline"], *found["timeline"]])
    ]
    return json.loads(json.dumps(found))


def test_the_csv_holds_every_sample(record: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(record))))
    for case in record["cases"]:
        for stage, values in case["raw_ns"].items():
            found = [int(row["ns"]) for row in rows if (row["case"], row["stage"]) == (case["name"], stage)]
            assert found == ([] if stage == "at" else [value for value in values if value is not None])


def test_the_tables_say_what_counts(record: dict[str, Any]) -> None:
    record = {**record, "interrupted": True, "flags": ["throttled"]}
    for text in (plain(record), markdown(record)):
        assert "slowed down by heat" in text
        assert "interrupted: the numbers are of what was measured until then" in text
        assert "XNNPACK" in text
        assert "calls of warm-up left out" in text
    rows = [line for line in markdown(record).splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert len(rows) == 2 + sum(len(case["stages_ms"]) for case in record["cases"])


def test_a_name_cannot_break_out_of_its_table_or_page(record: dict[str, Any]) -> None:
    record = json.loads(json.dumps(record))
    record["device"]["board"] = "<script>alert(1)</script>|x"
    record["cases"][0]["name"] = "<b>|"
    assert "<script" not in html(record)
    assert "<b>" not in html(record)
    assert "<script" not in markdown(record)
    rows = [re.sub(r"\\\|", "", line) for line in markdown(record).splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1


class _Outside(HTMLParser):
    """Collects whatever a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe", "object"):
            self.found.append(tag)
        self.found += [
            f"{name}={value}" for name, value in attrs if name in ("src", "href") or name[:2] == "on"
        ]


def test_the_page_needs_nothing_from_outside(record: dict[str, Any]) -> None:
    text = html(record)
    outside = _Outside()
    outside.feed(text)
    assert outside.found == []
    assert "url(" not in text
    assert "http" not in text


def test_the_page_shows_spread_stages_and_course(record: dict[str, Any]) -> None:
    text = html(record)
    drawings = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text)]
    assert len([svg for svg in drawings if svg.get("role") == "img"]) == 3
    for title in ("How the times are spread", "Where the time goes", "In the course of time", "Conditions"):
        assert title in text
    assert "°C" in text
    assert "nan" not in text


def test_the_page_of_cold_starts_alone(record: dict[str, Any]) -> None:
    stages = {"interpreter": 1, "import": 2, "load": 3, "first": 4, "second": 5, "total": 10}
    raw = {"at": [1, 2], **{stage: [value * 10**6] * 2 for stage, value in stages.items()}}
    told = {
        stage: {"count": 2, "p50": value, "p90": None, "p95": None, "p99": None, "min": value, "max": value}
        | {"mean": value}
        for stage, value in stages.items()
    }
    case = {**record["cases"][0], "name": "cold start", "kind": "process", "count": 2}
    text = html({**record, "cases": [{**case, "stages_ms": told, "raw_ns": raw}]})
    assert "interpreter" in text
    assert "nan" not in text


def test_numbers_have_three_digits() -> None:
    shown = [number(value) for value in (None, 0.0, 0.1234, 1.234, 12.34, 123.4, 12345.6, -0.04)]
    assert shown == ["-", "0.00", "0.12", "1.23", "12.3", "123", "12346", "-0.04"]


def test_stages_follow_each_other_as_the_frame_goes() -> None:
    order = stage_order(["total", "parsing.run", "expression", "detection", "parsing", "gaze", "age"])
    assert order == ["age", "total", "detection", "parsing", "parsing.run", "expression", "gaze"]


def paths(svg: str) -> list[str]:
    drawing = ElementTree.fromstring(svg[: svg.index("</svg>") + 6])
    return [path.get("d", "") for path in drawing.iter("path")]


def test_the_slowest_call_is_on_the_curve_however_many_there_are() -> None:
    points = [(float(x), 1.0) for x in range(50_000)]
    points[31_337] = (31_337.0, 99.0)
    (path,) = paths(plots.lines([plots.Line("a", points)], "s", "ms"))
    heights = [float(y) for y in re.findall(r"[ML]\S+ ([\d.]+)", path)]
    assert len(heights) < 1000
    assert min(heights) < 40 < 200 < max(heights)  # SVG counts downwards


def test_a_distribution_rises_from_left_to_right() -> None:
    (path,) = paths(plots.cdf([("a", [5.0, 1.0, 2.0, 80.0, 3.0])]))
    ends = [(float(x), float(y)) for x, y in re.findall(r"L(\S+?) ([\d.]+)", path)]
    assert ends == sorted(ends, key=lambda end: (end[0], -end[1]))


def test_plots_of_nothing_are_nothing() -> None:
    assert plots.cdf([]) == plots.cdf([("a", [1.0])]) == ""
    assert plots.lines([], "x", "y") == plots.bars([], "x") == ""


@pytest.mark.parametrize("values", [[1.0, 1.0], [0.0, 0.0], [1e-4, 2e-4], [1e5, 1e9]])
def test_axes_of_all_sizes_can_be_drawn(values: list[float]) -> None:
    drawn = plots.cdf([("a", values)]) + plots.lines([plots.Line("a", list(enumerate(values)))], "x", "y")
    assert "nan" not in drawn
    assert drawn.count("<text") < 80
    assert plots.bars([("a", [("b", value) for value in values])], "x")
