"""What candidates cost and reach: the arithmetic of the result, and real networks through all of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import published
from benchmarks.candidates.result import CORES, Judged, report, table

RESULT = published.RESULTS / "candidates-x86-64.json"


@dataclass
class Counted:
    """What of a candidate is reported."""

    task: str
    name: str
    tflite: bytes = b"1234"
    parameters: int = 4
    operators: int = 3
    mapped: int = 2

    @property
    def key(self) -> str:
        return f"{self.task}-{self.name}"


def judged(learned: dict[str, list[float]]) -> Judged:
    return Judged("landmarks", "landmarks-nano", "nme", "lower", 500, learned)


def made(learned: dict[str, list[float]]) -> dict:
    candidates = [Counted("landmarks", name) for name in ("landmarks-nano", "plain", "large")]
    took = {
        "landmarks-landmarks-nano": [10, 11, 12],
        "landmarks-plain": [20, 22, 24],
        "landmarks-large": [50] * 3,
    }
    counts = {core: {key: 100 * min(values) for key, values in took.items()} for core in CORES}
    return report([judged(learned)], candidates, took, counts, {"threads": 1, "rounds": 3})


def test_a_row_tells_cost_and_what_was_learned() -> None:
    told = table(made({"plain": [0.05, 0.06], "large": [0.04, 0.05]}))
    own, plain, large = told.splitlines()[2:]
    assert own.startswith("| landmarks | **landmarks-nano** | ")
    assert "| 20 % | 2 of 3 | - | - |" in own  # a fifth of the large one's; it was not trained
    assert "| 2.00 |" in plain  # times as long as the recipe's own
    assert "| 40 % | 2 of 3 | nme 0.0550 | 500 x 2 seeds |" in plain
    assert "| 100 % |" in large


def test_without_a_board_there_are_dashes() -> None:
    result = made({})
    for one in result["tasks"]["landmarks"]["candidates"].values():
        one["instructions"] = {}
    assert "| - | - | - | - | 2 of 3 |" in table(result)


def test_a_result_follows_its_schema() -> None:
    assert published.faults(Path("x.json"), made({"plain": [0.05]})) == []
    assert published.faults(Path("x.json"), made({}) | {"tasks": {}})


def test_the_committed_nano_students_are_the_ones_that_were_looked_at() -> None:
    """The recipes may have changed since: the first candidate of each task is what the recipe makes."""
    result = json.loads(RESULT.read_text())
    shares = {}
    for task, told in result["tasks"].items():
        assert told["recipe"].startswith(f"{task}-nano")
        own, large = (
            told["candidates"][name]["instructions"]["cortex-a72"] for name in (told["recipe"], "large")
        )
        shares[task] = own / large
    assert set(shares) == {"detection", "landmarks", "parsing", "expression"}
    assert max(shares.values()) <= 0.4


@pytest.mark.workshop
class TestNetworks:
    def test_of_a_comparison(self, tmp_path: Path) -> None:
        from benchmarks.candidates.networks import Candidate, timed
        from benchmarks.candidates.result import plot
        from quantization.comparison import load_comparison

        comparison = load_comparison(
            Path(published.__file__).parents[1] / "quantization/candidates/expression.toml"
        )
        own, *others = (
            Candidate("expression", name, comparison.recipes[name]) for name in ("base", "inverted", "large")
        )
        assert all(len(own.tflite) < len(other.tflite) for other in others)
        assert own.mapped == own.operators
        took = timed([own, *others], rounds=5)
        assert all(len(values) == 5 and min(values) > 0 for values in took.values())
        one = Judged("expression", "base", "accuracy", "higher", 800, {"base": [0.5], "large": [0.6]})
        counts = {core: {c.key: len(c.tflite) for c in (own, *others)} for core in CORES}
        drawn = plot(report([one], [own, *others], took, counts, {"threads": 1, "rounds": 5}))
        assert (
            "expression",
            "base",
            f"{len(own.tflite) / len(others[1].tflite):.3f}",
            "0.833",
        ) in drawn.table
