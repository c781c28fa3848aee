"""Every committed result follows its schema, and the page's tables are made of them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import published
from edgeface.benchmark.measure import measure
from edgeface.benchmark.run import Asked


@pytest.mark.parametrize("path", sorted(published.RESULTS.rglob("*.json")), ids=lambda path: path.name)
def test_a_committed_result_is_sound(path: Path) -> None:
    assert published.faults(path, json.loads(path.read_text())) == []


@pytest.mark.parametrize("page", published.PAGES, ids=lambda page: page.parent.name)
def test_a_page_is_made_of_them(page: Path) -> None:
    text = page.read_text()
    assert published.filled(text, list(published.records().values())) == text


def test_every_table_is_on_the_page_of_the_results() -> None:
    text = published.PAGES[0].read_text()
    assert all(f"<!-- table: {name} -->" in text for name in published.TABLES)


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(measure(Asked("mlperf", seconds=0.2, tasks=()), "0")))
    return found


def test_memory_is_that_of_the_largest_process_or_of_the_run(record: dict[str, Any]) -> None:
    run = copy.deepcopy(record)
    run["memory"]["peak_bytes"] = 96 * 2**20
    processes = copy.deepcopy(run)
    processes["cases"][0]["extra"] = {"peak_bytes": [50 * 2**20, None, 52 * 2**20]}
    rows = published.devices([run, processes]).splitlines()[2:]
    assert [row.split(" | ")[7] for row in rows] == ["96.0", "52.0"]
    assert all("1 thread |" in row for row in rows)


def test_what_a_board_sends_in_becomes_a_row(record: dict[str, Any]) -> None:
    assert published.faults(Path("board.json"), record) == []
    table = published.filled("<!-- table: devices -->\nbefore\n<!-- /table -->\n", [record])
    assert "before" not in table
    assert "| mlperf | single stream |" in table


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": "edgeface.bench/2"}, "its schema is 'edgeface.bench/2'"),
        ({"schema": None}, "its schema is None"),
        ({"interrupted": True}, "was interrupted"),
        ({"cases": []}, "cases"),
        ({"hostname": "kitchen-pi"}, "hostname"),
        ({"flags": ["fast"]}, "'fast' is not one of"),
        ({"answers": {"parsing": {"result": "wrong", "against": "x"}}}, "'wrong' is not one of"),
    ],
)
def test_what_is_unsound_is_named(record: dict[str, Any], change: dict[str, Any], told: str) -> None:
    (fault, *_) = published.faults(Path("board.json"), {**copy.deepcopy(record), **change})
    assert "board.json" in fault
    assert told in fault


@pytest.mark.parametrize("sample", [-1, 0.5, "1", True, None])
def test_one_unsound_sample_among_thousands_is_named(record: dict[str, Any], sample: object) -> None:
    record = copy.deepcopy(record)
    raw = record["cases"][0]["raw_ns"]
    raw["at"] = [*range(2000), sample, *range(2000)]
    (fault,) = published.faults(Path("board.json"), record)
    assert "cases/0/raw_ns/at" in fault


def test_a_file_that_is_no_record_is_named() -> None:
    assert "not one of" in published.faults(Path("list.json"), [1, 2])[0]


def test_check_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- table: x86-instructions -->\nold\n<!-- /table -->\n<!-- table: mine -->\nkept\n")
    assert published.main([str(page), "--check"]) == 1
    assert "its tables are old" in capsys.readouterr().err
    assert "\nold\n" in page.read_text()
    assert published.main([str(page)]) == 0
    assert "\nold\n" not in page.read_text()
    assert "\nkept\n" in page.read_text()
    assert published.main([str(page), "--check"]) == 0
