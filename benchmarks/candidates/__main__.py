r"""What a student could be made of: what each candidate costs, and what it learns in a short training.

A file of `quantization/candidates` names the candidates of a task: the recipe's own network, and changes of
it. Their costs do not depend on what they learned, so they are counted of networks that learned nothing,
made int8 as all students are. What they learn, `quantization compare` finds out, on the same seeds::

    for task in detection landmarks parsing expression; do
        python -m quantization compare quantization/candidates/$task.toml \
            --out quantization/results/candidates/$task.json
    done
    python -m benchmarks.candidates --out benchmarks/results/candidates-x86-64.json

Needs the workshop's packages; instructions on ARM also what `benchmarks.arm_instructions` needs, else those
columns are empty and the result says why.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.candidates.networks import Candidate, counted, timed
from benchmarks.candidates.result import CORES, Judged, plot, report, table
from firmware.emulation import machine, roots
from quantization.comparison import BASE, Comparison, load_comparison
from quantization.plots import draw
from quantization.provenance import digest

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["judged", "main"]

_FILES = Path(__file__).resolve().parents[2] / "quantization" / "candidates"
_LEARNED = _FILES.parent / "results" / "candidates"


def judged(comparison: Comparison) -> Judged:
    """How a comparison judges, and what these very candidates have learned, if they were trained."""
    own, learned = comparison.recipe.stem, {}
    path = _LEARNED / comparison.path.with_suffix(".json").name
    told = json.loads(path.read_text()) if path.exists() else None
    if told is not None and told["comparison_sha256"] == digest(comparison.path):
        runs = {own: told["base"]["runs"]} | {name: one["runs"] for name, one in told["variants"].items()}
        learned = {
            name: [run["figures"][comparison.figure] for run in of_seeds] for name, of_seeds in runs.items()
        }
    steps = int(comparison.recipes[BASE]["schedule"]["steps"])
    return Judged(comparison.path.stem, own, comparison.figure, comparison.better, steps, learned)


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, time, print the table, write result and plot."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.candidates", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("files", nargs="*", type=Path, help="(default: those of quantization/candidates)")
    parser.add_argument("--rounds", type=int, default=300, help="timed ones (default: 300)")
    parser.add_argument(
        "--out",
        type=Path,
        help="write the result here, as JSON, and beside it the plot, where any was trained",
    )
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    comparisons = [load_comparison(path) for path in asked.files or sorted(_FILES.glob("*.toml"))]
    candidates = [
        Candidate(comparison.path.stem, comparison.recipe.stem if name == BASE else name, recipe)
        for comparison in comparisons
        for name, recipe in comparison.recipes.items()
    ]
    took = timed(candidates, asked.rounds)
    reason = roots.why_not() or machine.why_no_machine()
    counts, conditions = ({}, {"without_arm": reason}) if reason else counted(candidates, CORES)
    conditions = {"threads": 1, "rounds": asked.rounds, **conditions}
    result = report([judged(one) for one in comparisons], candidates, took, counts, conditions)
    print(table(result))
    if asked.out:
        asked.out.write_text(json.dumps(result, indent=1) + "\n")
        if any(one["learned"] for told in result["tasks"].values() for one in told["candidates"].values()):
            asked.out.with_suffix(".png").write_bytes(draw(plot(result)))
        print(f"\nwritten to {asked.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
