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
import datetime
import json
import statistics
import sys
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter

import edgeface
from benchmarks import frames, machine
from benchmarks.arm_instructions.board import Board, emulator_version, scratch
from benchmarks.samples import ratio, summary
from firmware.emulation import machine as emulated
from firmware.emulation import roots
from quantization.build import deployed, network_of
from quantization.comparison import BASE, Comparison, load_comparison
from quantization.pack import export_student
from quantization.plots import Plot, draw
from quantization.provenance import digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

__all__ = ["SCHEMA", "Candidate", "main", "plot", "report", "table", "timed"]

SCHEMA = "edgeface.benchmark.candidates/1"
_ROOT = Path(__file__).resolve().parents[1]
_FILES = _ROOT / "quantization" / "candidates"
_LEARNED = _ROOT / "quantization" / "results" / "candidates"
_GOLDENS = _ROOT / "tests" / "golden" / "goldens.json"
_CORES = ("cortex-a53", "cortex-a72", "cortex-a76")
_SHARE = 0.4  # of the base student's instructions on a Cortex-A72 that a nano one may take
_CALIBRATION = 8
_RUNS = 7  # of a network on the emulated board, of which the least counts


class Candidate:
    """A network of a recipe that learned nothing, as its int8 file."""

    def __init__(self, task: str, name: str, recipe: Mapping[str, Any]) -> None:
        torch.manual_seed(0)
        network = network_of(recipe).eval()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                # A block begins as the identity, and its kernels would be all but 0 after folding.
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
        student = recipe["student"]
        side = int(student.get("size", 48))
        height, width = int(student.get("height", side)), int(student.get("width", side))
        rng = np.random.default_rng(0)
        noise = [rng.uniform(-1, 0.99, (height, width, 3)).astype(np.float32) for _ in range(_CALIBRATION)]
        exported = export_student(
            deployed(network),
            type(network).outputs,
            noise,
            min_sqnr_db=-np.inf,  # noise through noise: nothing here is to be read off its answers
            require_edgetpu=False,
        )
        self.task, self.name, self.tflite = task, name, exported.tflite
        self.parameters = sum(parameter.numel() for parameter in network.parameters())
        self.operators = len(exported.edgetpu.operators)
        self.mapped = exported.edgetpu.mapped

    @property
    def key(self) -> str:
        """Its name among those of all tasks."""
        return f"{self.task}-{self.name}"


def timed(candidates: Sequence[Candidate], rounds: int) -> dict[str, list[int]]:
    """Nanoseconds of an invoke, a value per round: one thread, all candidates in turns."""
    ready = {}
    for candidate in candidates:
        interpreter = Interpreter(model_content=candidate.tflite, num_threads=1)
        interpreter.allocate_tensors()
        (image,) = interpreter.get_input_details()
        interpreter.set_tensor(image["index"], np.zeros(image["shape"], image["dtype"]))
        interpreter.invoke()
        ready[candidate.key] = interpreter
    took: dict[str, list[int]] = {key: [] for key in ready}
    for _ in range(rounds):
        for key, interpreter in ready.items():
            begin = perf_counter_ns()
            interpreter.invoke()
            took[key].append(perf_counter_ns() - begin)
    return took


def counted(
    candidates: Sequence[Candidate], cores: Sequence[str]
) -> tuple[dict[str, dict[str, int]], dict[str, str]]:
    """Core -> candidate -> executed instructions of an invoke, and on what they were counted."""
    made_with = json.loads(_GOLDENS.read_text())["made_with"]
    exactly = {name: version for name, version in made_with.items() if name != "machine"}
    frame = frames.webcam_frame(edgeface.read_image(_ROOT / "examples" / "astronaut.jpg").rgb)
    files = {candidate.key: candidate.tflite for candidate in candidates}
    found = {}
    with scratch() as folder:
        board = Board.made(_ROOT, Path(folder), frame=frame, runs=_RUNS, exactly=exactly, others=files)
        for core in cores:
            others = board.count(core)["others"]
            found[core] = {key: int(counts["invoke"]) for key, counts in others.items()}
            print(f"{core}: counted", file=sys.stderr, flush=True)
        return found, {"kernel": board.kernel_version, "emulator": emulator_version()}


def learned(comparison: Comparison) -> dict[str, list[float]]:
    """Candidate -> the figure of each seed, as far as these very candidates were compared."""
    path = _LEARNED / f"{comparison.path.stem}.json"
    if not path.exists():
        return {}
    told = json.loads(path.read_text())
    if told["comparison_sha256"] != digest(comparison.path):
        return {}  # of other candidates
    runs = {BASE: told["base"]["runs"]} | {name: one["runs"] for name, one in told["variants"].items()}
    return {name: [run["figures"][comparison.figure] for run in of_seeds] for name, of_seeds in runs.items()}


def report(
    comparisons: Sequence[Comparison],
    candidates: Sequence[Candidate],
    took: Mapping[str, Sequence[int]],
    counts: Mapping[str, Mapping[str, int]],
    conditions: Mapping[str, Any],
) -> dict[str, Any]:
    """The result as it is written: for each task how its candidates are judged, and what each costs."""
    tasks = {}
    for comparison in comparisons:
        mine = [one for one in candidates if one.task == comparison.path.stem]
        figures, first = learned(comparison), next(one for one in mine if one.name == BASE)
        tasks[comparison.path.stem] = {
            "recipe": comparison.recipe.stem,
            "figure": comparison.figure,
            "better": comparison.better,
            "steps": int(comparison.recipes[BASE]["schedule"]["steps"]),
            "candidates": {
                comparison.recipe.stem if one.name == BASE else one.name: {
                    "parameters": one.parameters,
                    "bytes": len(one.tflite),
                    "operators": one.operators,
                    "mapped": one.mapped,
                    "ns": summary(took[one.key]),
                    "times_the_recipe": ratio(took[one.key], took[first.key]).to_dict(),
                    "instructions": {core: told[one.key] for core, told in counts.items()},
                    "learned": figures.get(one.name, []),
                }
                for one in mine
            },
        }
    return {
        "schema": SCHEMA,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "conditions": dict(conditions),
        "tasks": tasks,
    }


def table(result: dict[str, Any]) -> str:
    """The result as a Markdown table; a dash: not counted, or not trained."""
    cores = [core.removeprefix("cortex-").upper() for core in _CORES]
    head = [
        "task",
        "candidate",
        "parameters",
        "kB",
        "time",
        *(f"{core}, M" for core in cores),
        "of large, A72",
    ]
    head += ["Edge TPU", "learned", "in steps"]
    rows = []
    for task, told in result["tasks"].items():
        large = told["candidates"].get("large", {}).get("instructions", {}).get("cortex-a72")
        for name, one in told["candidates"].items():
            counts = [one["instructions"].get(core) for core in _CORES]
            share = counts[1] / large if counts[1] and large else None
            figure = statistics.fmean(one["learned"]) if one["learned"] else None
            rows.append([
                task,
                f"**{name}**" if name == told["recipe"] else name,
                f"{one['parameters'] / 1e3:.0f} k",
                f"{one['bytes'] / 1e3:.0f}",
                f"{one['times_the_recipe']['value']:.2f}",
                *("-" if count is None else f"{count / 1e6:.1f}" for count in counts),
                "-" if share is None else f"{100 * share:.0f} %",
                f"{one['mapped']} of {one['operators']}",
                "-" if figure is None else f"{told['figure']} {figure:.4f}",
                "-" if figure is None else f"{told['steps']} x {len(one['learned'])} seeds",
            ])  # fmt: skip
    lines = [head, ["---", "---", *["---:"] * (len(head) - 2)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plot(result: dict[str, Any]) -> Plot:
    """What was learned over instructions on a Cortex-A72, a share of the large one's each."""
    colours = {"detection": "#0072b2", "landmarks": "#d55e00", "parsing": "#009e73", "expression": "#cc79a7"}
    points = []
    for task, told in result["tasks"].items():
        large = told["candidates"]["large"]
        for name, one in told["candidates"].items():
            cost, whole = (each["instructions"].get("cortex-a72") for each in (one, large))
            if not (cost and whole and one["learned"] and large["learned"]):
                continue
            reached = statistics.fmean(one["learned"]) / statistics.fmean(large["learned"])
            points.append((task, name, cost / whole, reached if told["better"] == "higher" else 1 / reached))

    def paint(axes: Axes, theme: Mapping[str, str]) -> None:
        axes.axvline(_SHARE, color=theme["soft"], linestyle="--")
        for task, colour in colours.items():
            mine = [(x, y, name) for of, name, x, y in points if of == task]
            axes.plot([x for x, *_ in mine], [y for _, y, _ in mine], "o", color=colour, label=task)
            for x, y, name in mine:
                axes.annotate(name, (x, y), textcoords="offset points", xytext=(5, 4), fontsize=7)
        axes.set_xlabel("instructions on a Cortex-A72, share of the base student's")
        axes.set_ylabel("figure reached, share of the base student's")
        axes.grid(visible=True)
        axes.legend(loc="lower right")

    best = "; ".join(f"{task} {name} {y:.2f} at {x:.2f}" for task, name, x, y in points)
    rows = [
        ("task", "candidate", "cost", "reached"),
        *((t, n, f"{x:.3f}", f"{y:.3f}") for t, n, x, y in points),
    ]
    return Plot(
        "candidates", "Candidates", f"Figure over cost, large is 1 and 1: {best}", rows, paint, (7.5, 4.5)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, time, print the table, write result and plot."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.candidates", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("files", nargs="*", type=Path, help="(default: those of quantization/candidates)")
    parser.add_argument("--rounds", type=int, default=300, help="timed ones (default: 300)")
    parser.add_argument("--out", type=Path, help="write the result here, as JSON, and the plot beside it")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    comparisons = [load_comparison(path) for path in asked.files or sorted(_FILES.glob("*.toml"))]
    candidates = [
        Candidate(comparison.path.stem, name, recipe)
        for comparison in comparisons
        for name, recipe in comparison.recipes.items()
    ]
    took = timed(candidates, asked.rounds)
    reason = roots.why_not() or emulated.why_no_machine()
    counts, conditions = ({}, {"without_arm": reason}) if reason else counted(candidates, _CORES)
    result = report(
        comparisons, candidates, took, counts, {"threads": 1, "rounds": asked.rounds, **conditions}
    )
    print(table(result))
    if asked.out:
        asked.out.write_text(json.dumps(result, indent=1) + "\n")
        asked.out.with_suffix(".png").write_bytes(draw(plot(result)))
        print(f"\nwritten to {asked.out} and {asked.out.with_suffix('.png')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
