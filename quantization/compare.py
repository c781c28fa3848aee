"""Whether a loss, an augmentation or a share of data helps: paired trainings on a few seeds.

The base and the variants of a :mod:`.comparison` train with the same seeds, and so from the same weights on
the same draws where these do not depend on what differs. Of each variant stands the mean of its paired
differences to the base, with a 95 % interval by Student's t with one degree of freedom less than there are
seeds, and a verdict where the interval excludes 0. Each interval speaks for itself alone: of twenty, one
misses by chance.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .comparison import BASE, Comparison, ComparisonError, merged
from .courses import Course, Report
from .provenance import TRAINING, commit, digest, versions, write_json
from .recipe import flat

if TYPE_CHECKING:
    from .tasks import StudentTask

__all__ = ["Paired", "Place", "compare", "paired", "table"]

_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Place:
    """Where data, labels and teachers lie and the runs go, and on how many threads they train."""

    data: Path
    labels: Path
    teachers: Path
    runs: Path
    threads: int = 1
    say: Callable[[str], None] = lambda _: None
    watch: Callable[[str, int], AbstractContextManager[Report | None]] = lambda *_: nullcontext()
    """Gives what trainings of that name and that many steps in all report to."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Differences to the base, seed by seed, in the figure's unit: their mean and its 95 % interval."""

    differences: tuple[float, ...]
    mean: float
    low: float
    high: float
    verdict: str
    """``helps`` or ``hurts`` where the interval excludes 0, else ``not shown``."""


def paired(base: Sequence[float], variant: Sequence[float], better: str) -> Paired:
    """What the figures of two recipes, seed by seed, say of the second one.

    The interval is mean +- t sd / sqrt(n), with t of Student's distribution with n - 1 degrees of freedom
    (Student, "The Probable Error of a Mean", 1908).

    Raises:
        ComparisonError: there are not as many of each, or fewer than two, or one is not a number.
    """
    if not 2 <= len(base) == len(variant) or not all(map(math.isfinite, (*base, *variant))):
        raise ComparisonError(
            f"figures {list(base)} and {list(variant)}; pairs are needed, two at least, of finite numbers"
        )
    from scipy.stats import t

    differences = tuple(new - old for old, new in zip(base, variant, strict=True))
    mean, count = statistics.fmean(differences), len(differences)
    error = statistics.stdev(differences) / math.sqrt(count)
    reach = float(t.ppf((1 + _CONFIDENCE) / 2, count - 1)) * error
    low, high = mean - reach, mean + reach
    worse, best = (low, high) if better == "higher" else (-high, -low)
    verdict = "helps" if worse > 0 else "hurts" if best < 0 else "not shown"
    return Paired(differences, mean, low, high, verdict)


def compare(comparison: Comparison, place: Place) -> dict[str, Any]:
    """Trains what is not trained yet and says what came of it, as JSON values.

    Every run has its folder below ``place.runs``, named after what decides about it: it is gone on with where
    it was cut off, and not repeated for another comparison with the same base.

    Raises:
        RecipeError: what a training begins with, or a teacher's weights, are not there.
        ComparisonError: the trainings tell no such figure, or it is not a number.
    """
    courses = {
        (name, seed): _course(comparison, place, name, seed)
        for name in comparison.recipes
        for seed in comparison.seeds
    }
    judge = _Judge(comparison.judge, place)
    # By folder: a variant that changes nothing of the base is no second training.
    rows: dict[Path, dict[str, Any]] = {}
    todo: dict[Path, tuple[str, int]] = {}
    for key, course in courses.items():
        row = _known(course, judge)
        if row is not None:
            rows[course.run] = row
            place.say(f"{_called(*key)}: finished before, {course.run}")
        elif course.run not in todo:
            todo[course.run] = key
    for key in todo.values():
        courses[key].require_reads()  # of the last one, before the first one trains
    steps = [int(courses[key].recipe["schedule"]["steps"]) for key in todo.values()]
    if todo:
        with place.watch(comparison.path.stem, sum(steps)) as report:
            for number, (run, key) in enumerate(todo.items()):
                place.say(f"{_called(*key)}: run {number + 1} of {len(todo)}, {run}")
                rows[run] = _train(courses[key], place, judge, _after(sum(steps[:number]), report))
                _figure(comparison, key, rows[run])  # no figure: said after one run, not after all
    return _told(comparison, courses, {key: rows[course.run] for key, course in courses.items()}, place)


def table(result: Mapping[str, Any]) -> str:
    """What :func:`compare` returned, as Markdown."""
    figure, seeds = result["figure"], result["seeds"]
    lines = [
        f"{result['comparison']}: {figure} of the tuning part, {result['better']} is better; "
        f"{len(seeds)} paired seeds; {result['interval']}",
        "",
        f"| variant | {figure} | base | difference | 95 % interval | verdict |",
        "|---|---|---|---|---|---|",
    ]
    base = statistics.fmean(run["figures"][figure] for run in result["base"]["runs"])
    for name, variant in result["variants"].items():
        own = statistics.fmean(run["figures"][figure] for run in variant["runs"])
        lines.append(
            f"| {name} | {own:.4f} | {base:.4f} | {variant['mean']:+.4f} "
            f"| {variant['low']:+.4f} to {variant['high']:+.4f} | {variant['verdict']} |"
        )
    return "\n".join(lines)


def _course(comparison: Comparison, place: Place, name: str, seed: int) -> Course:
    path, recipe = comparison.recipe, merged(comparison.recipes[name], {"schedule": {"seed": seed}})
    # Beside the runs of the recipes, where a course looks for what it begins with and for its teachers.
    course = Course(path, recipe, place.data, place.labels, place.teachers, place.runs / path.stem)
    return replace(course, run=place.runs / f"compare-{path.stem}-{_settled(course)[:10]}-{seed}")


def _settled(course: Course) -> str:
    """Digest of what of the recipe decides about the weights, but for the seed."""
    settings = {key: value for key, value in course.settings().items() if key != "schedule.seed"}
    settings["teacher"] = list(course.asked())
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


class _Judge:
    """What a finished run is validated by; its data are read once, and only if there is a run to validate."""

    def __init__(self, recipe: Mapping[str, Any] | None, place: Place) -> None:
        self._recipe, self._place = recipe, place
        self._task: StudentTask | None = None
        told = json.dumps(flat(recipe, "student", "deploy.crop") if recipe else None, sort_keys=True)
        # One name for each judge, so that comparisons with the same base do not undo each other's figures.
        self.file = (
            f"compared-{hashlib.sha256(told.encode()).hexdigest()[:10]}.json" if recipe else "compared.json"
        )

    def figures(self, course: Course, logged: Mapping[str, Any]) -> dict[str, float]:
        """What `validate` says of the run's weights: by the log's last row, or by the judge's recipe."""
        if self._recipe is None:
            return {k.removeprefix("val_"): v for k, v in logged.items() if k.startswith("val_")}
        from .build import load_trained
        from .tasks import load_task

        if self._task is None:
            place = self._place
            self._task = load_task(dict(self._recipe), place.data, place.labels, place.teachers)
        network = load_trained(dict(course.recipe), course.weights)
        return {name: round(value, 5) for name, value in self._task.validate(network).items()}


def _known(course: Course, judge: _Judge) -> dict[str, Any] | None:
    """What is recorded of a finished run with the same inputs."""
    path = course.run / judge.file
    row: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return row if row.get("inputs") == json.loads(json.dumps(course.inputs())) else None


def _train(course: Course, place: Place, judge: _Judge, report: Report | None) -> dict[str, Any]:
    course.train(place.threads, report, place.say)
    last = json.loads((course.run / "log.jsonl").read_text().splitlines()[-1])
    row = {
        "inputs": course.inputs(),
        "figures": judge.figures(course, last),
        "seconds": last["seconds"],
        "machine": json.loads((course.run / "provenance.json").read_text())["machine"],
    }
    write_json(course.run / judge.file, row)
    return row


def _after(before: int, report: Report | None) -> Report | None:
    """Reports one run's steps as those of all."""
    if report is None:
        return None
    return lambda done, row: report(before + done, row)


def _figure(comparison: Comparison, key: tuple[str, int], row: Mapping[str, Any]) -> float:
    figures = row["figures"]
    if comparison.figure not in figures:
        known = ", ".join(figures)
        raise ComparisonError(f"{comparison.path}: figure is {comparison.figure!r}; write one of {known}")
    value = float(figures[comparison.figure])
    if not math.isfinite(value):
        raise ComparisonError(f"{comparison.path}: {_called(*key)}: {comparison.figure} is {value}")
    return value


def _called(name: str, seed: int) -> str:
    return f"{name}, seed {seed}"


def _told(
    comparison: Comparison,
    courses: Mapping[tuple[str, int], Course],
    rows: Mapping[tuple[str, int], Mapping[str, Any]],
    place: Place,
) -> dict[str, Any]:
    seeds = comparison.seeds

    def entry(name: str) -> dict[str, Any]:
        inputs = rows[name, seeds[0]]["inputs"]
        told = ({"seed": seed} | dict(rows[name, seed]) for seed in seeds)
        return {
            "changes": comparison.changes[name],
            "settings_sha256": _settled(courses[name, seeds[0]]),
            "inputs": {key: value for key, value in inputs.items() if key != "schedule.seed"},
            "runs": [{key: row[key] for key in ("seed", "figures", "seconds")} for row in told],
        }

    def figures(name: str) -> list[float]:
        return [_figure(comparison, (name, seed), rows[name, seed]) for seed in seeds]

    variants = {}
    for name in comparison.recipes:
        if name != BASE:
            found = paired(figures(BASE), figures(name), comparison.better)
            variants[name] = entry(name) | asdict(found) | {"differences": list(found.differences)}
    machines = [row["machine"] for row in rows.values()]
    return {
        "comparison": comparison.path.stem,
        "comparison_sha256": digest(comparison.path),
        "recipe": comparison.recipe.name,
        "recipe_sha256": digest(comparison.recipe),
        "figure": comparison.figure,
        "better": comparison.better,
        "seeds": list(seeds),
        "interval": f"95 %, Student's t with {len(seeds) - 1} degrees of freedom, of the paired differences",
        "validation": flat(comparison.judge, "student") if comparison.judge else None,
        "threads": place.threads,
        "base": entry(BASE),
        "variants": variants,
        "machines": [one for number, one in enumerate(machines) if one not in machines[:number]],
        "packages": versions(TRAINING),
        "commit": commit(),
    }
