"""The result as it is written, its table and its plot."""

from __future__ import annotations

import datetime
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks import machine
from benchmarks.samples import ratio, summary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from benchmarks.candidates.networks import Candidate
    from quantization.plots import Plot

__all__ = ["CORES", "SCHEMA", "Judged", "plot", "report", "table"]

SCHEMA = "edgeface.benchmark.candidates/1"
CORES = ("cortex-a53", "cortex-a72", "cortex-a76")
_SHARE = 0.4  # of the base student's instructions on a Cortex-A72 that a nano one may take


@dataclass(frozen=True)
class Judged:
    """How the candidates of a task are judged.

    Attributes:
        task: The task.
        recipe: Name of the recipe whose own network is the first candidate.
        figure: What its training tells of the tuning part.
        better: ``higher`` or ``lower``.
        steps: Of the short training.
        learned: Candidate -> the figure of each seed; empty where they were not trained.
    """

    task: str
    recipe: str
    figure: str
    better: str
    steps: int
    learned: Mapping[str, Sequence[float]]


def report(
    judged: Sequence[Judged],
    candidates: Sequence[Candidate],
    took: Mapping[str, Sequence[int]],
    counts: Mapping[str, Mapping[str, int]],
    conditions: Mapping[str, Any],
) -> dict[str, Any]:
    """The result as it is written: for each task how its candidates are judged, and what each costs.

    The first candidate of a task is the recipe's own network. ``took``: nanoseconds by `Candidate.key`,
    ``counts``: instructions by core and key.
    """
    tasks = {}
    for one in judged:
        mine = [candidate for candidate in candidates if candidate.task == one.task]
        tasks[one.task] = {
            "recipe": one.recipe,
            "figure": one.figure,
            "better": one.better,
            "steps": one.steps,
            "candidates": {
                each.name: {
                    "parameters": each.parameters,
                    "bytes": len(each.tflite),
                    "operators": each.operators,
                    "mapped": each.mapped,
                    "ns": summary(took[each.key]),
                    "times_the_recipe": ratio(took[each.key], took[mine[0].key]).to_dict(),
                    "instructions": {core: told[each.key] for core, told in counts.items()},
                    "learned": list(one.learned.get(each.name, ())),
                }
                for each in mine
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
    cores = [core.removeprefix("cortex-").upper() for core in CORES]
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
            counts = [one["instructions"].get(core) for core in CORES]
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
    from quantization.plots import Plot  # the tables are made without the workshop's packages

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
