"""The workshop's command line: ``python -m quantization --help``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from .tasks import RECIPES, TASKS, load_recipe, load_task

_HERE = Path(__file__).parent
_BUNDLE = _HERE.parent / "edgeface" / "models" / "students.bundle"
_METRICS = _HERE / "results" / "metrics.json"

_folder = click.Path(exists=True, file_okay=False, path_type=Path)
_data = click.option(
    "--data", type=_folder, default=Path("../shared/data"), show_default=True, help="The data sets."
)
_labels = click.option(
    "--labels",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/labels"),
    show_default=True,
    help="What `label` writes.",
)


@click.group()
def main() -> None:
    """Train, quantise, pack and grade EdgeFace's students."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@main.command()
@_data
def split(data: Path) -> None:
    """Fix which image trains and which grades; rewrites quantization/splits."""
    from .splits import make_all

    for path, count in make_all(data):
        click.echo(f"{path.name}: {count} images")


@main.command()
@_data
@_labels
@click.option("--teachers", type=_folder, default=Path("../shared/teachers"), show_default=True)
@click.option("--only", multiple=True, help="Only these splits.")
def label(data: Path, labels: Path, teachers: Path, only: tuple[str, ...]) -> None:
    """Let the teachers label boxes and points."""
    from .label import label_all

    label_all(data, teachers, labels, only or None)


@main.command()
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_data
@_labels
@click.option(
    "--run", type=click.Path(file_okay=False, path_type=Path), default=None, help="Folder of the run."
)
@click.option("--threads", default=2, show_default=True)
def train(recipe: Path, data: Path, labels: Path, run: Path | None, threads: int) -> None:
    """Train the student of RECIPE; resumes a run that was cut off."""
    from .training import Schedule, fit

    settings = load_recipe(recipe)
    task = load_task(settings, data, labels)
    fit(task, Schedule(**settings["schedule"]), run or Path("runs") / recipe.stem, threads)


@main.command()
@_data
@_labels
@click.option("--weights", type=_folder, default=_HERE / "weights", help="Folder of TASK.npz.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=_BUNDLE, show_default=True)
@click.option(
    "--task", "tasks", multiple=True, type=click.Choice(TASKS), help="Only these tasks (default: all)."
)
def pack(data: Path, labels: Path, weights: Path, out: Path, tasks: tuple[str, ...]) -> None:
    """Quantise the trained weights and write the bundle."""
    from .build import build

    content = build([RECIPES / f"{t}.toml" for t in tasks or TASKS], data, labels, weights, _METRICS)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(out)
    click.echo(f"{out}: {len(content):,} bytes")


@main.command()
@_data
@_labels
@click.option("--bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=_BUNDLE)
@click.option("--weights", type=_folder, default=_HERE / "weights", help="Of the float networks.")
@click.option("--precision", type=click.Choice(["int8", "fp32"]), multiple=True, default=("int8", "fp32"))
@click.option(
    "--task", "tasks", multiple=True, type=click.Choice(TASKS), help="Only these tasks (default: all)."
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=_METRICS, show_default=True)
def evaluate(
    data: Path,
    labels: Path,
    bundle: Path,
    weights: Path,
    precision: tuple[str, ...],
    tasks: tuple[str, ...],
    out: Path,
) -> None:
    """Grade a bundle on the validation splits, int8 and the float networks it came from; merges into OUT."""
    from edgeface import Bundle, FaceAnalyzer

    from .build import load_networks
    from .evaluate import Grader
    from .reference import TorchBackend

    loaded = Bundle.load(bundle)
    figures = json.loads(out.read_text()) if out.exists() else {}
    float_backend = TorchBackend(load_networks(weights, loaded.tasks)) if "fp32" in precision else None
    for kind in precision:
        backend = float_backend if kind == "fp32" and float_backend else "auto"
        grader = Grader(data, labels, lambda t, b=backend: FaceAnalyzer(t, bundle=loaded, backend=b))  # type: ignore[misc]
        for task in tasks or TASKS:
            figures.setdefault(task, {})[kind] = grader.grade(task)
            click.echo(f"{task} {kind}: " + json.dumps(figures[task][kind]))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")


@main.command()
@click.option("--bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=_BUNDLE)
@click.option(
    "--benchmark",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=_HERE.parent / "benchmarks" / "results" / "facemesh-x86-64.json",
    show_default=True,
)
def tables(bundle: Path, benchmark: Path) -> None:
    """Rewrite the README's tables from the metrics, the bundle and the benchmark's result."""
    from .tables import rewrite

    readme = _HERE.parent / "README.md"
    readme.write_text(rewrite(readme.read_text(), _METRICS, bundle, benchmark))


if __name__ == "__main__":
    main()
