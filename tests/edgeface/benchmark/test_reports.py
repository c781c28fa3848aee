"""CSV, Markdown and the page: all that was measured, nothing from outside, well-formed."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from edgeface.benchmark import plots
from edgeface.benchmark.measure import measure
from edgeface.benchmark.page import html
from edgeface.benchmark.record import csv_text
from edgeface.benchmark.run import Asked
from edgeface.benchmark.tables import markdown, minutes, number, plain, stage_order


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


def test_what_happened_meanwhile_is_told(record: dict[str, Any]) -> None:
    record = json.loads(json.dumps(record))
    before, after = record["conditions"]["before"], record["conditions"]["after"]
    before |= {"temperature_c": None}
    after |= {"temperature_c": None, "power_source": None}
    assert "temperature: no sensor\n" in plain(record)
    assert "power: no sensor\n" in plain(record)
    before["temperature_c"], after["temperature_c"] = 48.5, 61.0
    record["conditions"] |= {"others_share": 0.25, "steal_share": None}
    after |= {"power_w": 2.5, "power_source": "a sensor", "throttled": {"hex": "0x4", "now": ["throttled"]}}
    for watts, entry in zip((None, 5.0, 7.0), [*record["timeline"], *record["timeline"]], strict=False):
        record["timeline"].append({**entry, "power_w": watts})
    record["memory"] |= {"growth_bytes": 8 * 2**20, "samples_bytes": 5 * 2**20}
    for text in (plain(record), markdown(record), html(record)):
        assert "growth 8.0 MiB with 5.0 MiB of samples" in text
        # Of the work, not of the rest after it.
        assert "6.00 W (a sensor)" in text
        assert "48.5 to 61.0 °C" in text
        assert "25.0 % by other processes, - by other machines of the host" in text
        assert re.search(r"throttled(: |</dt><dd>)throttled", text)


def test_minutes_are_told_where_there_was_more_than_one(record: dict[str, Any]) -> None:
    assert minutes(record) == []
    assert "By minute" not in html(record)
    record = json.loads(json.dumps(record))
    record["cases"][1]["minutes"] = [
        {"minute": 0, "count": 1800, "fps": 30.0, "p90_ms": 7.7536},
        {"minute": 1, "count": 4, "fps": 29.9, "p90_ms": None},
    ]
    assert minutes(record)[1:] == [["1 face", "0", "1800", "30.0", "7.75"], ["1 face", "1", "4", "29.9", "-"]]
    assert re.search(r"1 face +0 +1800 +30.0 +7.75\n1 face +1 +4 +29.9 +-\n", plain(record))
    assert "| 1 face | 0 | 1800 | 30.0 | 7.75 |" in markdown(record)
    assert "<td>1 face</td><td>0</td><td>1800</td><td>30.0</td><td>7.75</td>" in html(record)


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


def test_the_frontier_joins_those_that_none_beats_in_both() -> None:
    quick, small, both = (
        plots.Point("quick", 1, 9, marked=True),
        plots.Point("small", 9, 1),
        plots.Point("x", 2, 4),
    )
    drawn = plots.frontier([plots.Point("beaten", 3, 5), small, both, quick], "ms", "MiB")
    (path,) = paths(drawn)
    assert path.count("H") == path.count("V") == 2
    assert all(f">{name}</text>" in drawn for name in ("quick", "small", "x", "beaten"))
    # Its ends are the quickest and the smallest; what is ours has a colour of its own.
    circles = {
        circle.get("fill"): (circle.get("cx"), circle.get("cy"))
        for circle in ElementTree.fromstring(drawn[: drawn.index("</svg>") + 6]).iter("circle")
        if circle.get("fill") == "#0072b2"
    }
    assert path.startswith("M{} {}".format(*circles["#0072b2"]))
    assert plots.frontier([quick], "ms", "MiB") == ""


def test_names_at_one_place_do_not_cover_each_other() -> None:
    drawn = plots.frontier([plots.Point(name, 2, 4) for name in ("one", "two", "three")], "ms", "MiB")
    heights = [float(y) for y in re.findall(r'y="([\d.]+)" text-anchor="start">(?:one|two|three)', drawn)]
    assert min(late - early for early, late in pairwise(sorted(heights))) >= 12


def test_plots_of_nothing_are_nothing() -> None:
    assert plots.cdf([]) == plots.cdf([("a", [1.0])]) == ""
    assert plots.lines([], "x", "y") == plots.bars([], "x") == ""


@pytest.mark.parametrize("values", [[1.0, 1.0], [0.0, 0.0], [1e-4, 2e-4], [1e5, 1e9]])
def test_axes_of_all_sizes_can_be_drawn(values: list[float]) -> None:
    drawn = plots.cdf([("a", values)]) + plots.lines([plots.Line("a", list(enumerate(values)))], "x", "y")
    assert "nan" not in drawn
    assert drawn.count("<text") < 80
    assert plots.bars([("a", [("b", value) for value in values])], "x")
