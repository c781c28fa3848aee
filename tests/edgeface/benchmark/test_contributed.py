"""Records of boards that people send in follow the schema, name nobody and are whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from edgeface.benchmark.measure import measure
from edgeface.benchmark.record import SCHEMA
from edgeface.benchmark.run import Asked


def faults(record: dict[str, Any], repository: Path) -> list[str]:
    schema = json.loads((repository / "edgeface" / "benchmark" / "schema.json").read_text())
    found = [error.message for error in Draft202012Validator(schema).iter_errors(record)]
    if not found and record["interrupted"]:
        found.append("it was interrupted")
    return found


def test_what_was_sent_in_is_sound(repository: Path) -> None:
    unsound = {}
    for path in sorted((repository / "benchmarks" / "results").rglob("*.json")):
        record = json.loads(path.read_text())
        if record.get("schema") == SCHEMA:
            unsound[path.name] = faults(record, repository)
    assert {name: found for name, found in unsound.items() if found} == {}


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(measure(Asked("mlperf", seconds=0.2, tasks=()), "0")))
    return found


def test_a_good_one_passes(record: dict[str, Any], repository: Path) -> None:
    assert faults(record, repository) == []


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "edgeface.bench/2"},
        {"interrupted": True},
        {"hostname": "kitchen-pi"},
        {"cases": []},
        {"flags": ["fast"]},
        {"answers": {"parsing": {"result": "wrong", "against": "x"}}},
    ],
)
def test_others_do_not(record: dict[str, Any], repository: Path, change: dict[str, Any]) -> None:
    assert faults({**record, **change}, repository) != []
