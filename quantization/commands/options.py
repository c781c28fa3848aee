"""The options and arguments that commands share: one name, one default, one meaning each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..engines import ENGINES
from ..recipe import TASKS

__all__ = [
    "BUNDLE",
    "FILE",
    "FOLDER",
    "HERE",
    "METRICS",
    "NEW_FILE",
    "NEW_FOLDER",
    "accept_licence",
    "bundle",
    "data",
    "data_set",
    "engine",
    "file_out",
    "folder_out",
    "labels",
    "model",
    "only_tasks",
    "recipe",
    "some_data",
    "some_teachers",
    "teachers",
    "threads",
    "weights",
    "workers",
]

HERE = Path(__file__).parent.parent
BUNDLE = HERE.parent / "edgeface" / "models" / "students.bundle"
METRICS = HERE / "results" / "metrics.json"

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
NEW_FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)


def _folder(name: str, default: str, what: str, kind: click.Path = FOLDER) -> Any:
    return click.option(name, type=kind, default=Path(default), show_default=True, help=what)


recipe = click.argument("recipe", type=FILE)
data = _folder("--data", "../shared/data", "The data sets.")
labels = _folder("--labels", "runs/labels", "What `label` writes.", NEW_FOLDER)
weights = click.option(
    "--weights", type=FOLDER, default=HERE / "weights", help="Folder of TASK.npz, the float networks."
)
only_tasks = click.option(
    "--task", "tasks", multiple=True, type=click.Choice(TASKS), help="Only these tasks (default: all)."
)
bundle = click.option("--bundle", type=FILE, default=BUNDLE, help="Default: the built-in one.")
# Two names: a bundle is what is graded today, and other model files may be.
model = click.option(
    "--model", "--bundle", "model", type=FILE, default=BUNDLE, help="The bundle (default: the built-in one)."
)
threads = click.option("--threads", default=2, show_default=True, help="With 1, the same weights every time.")
teachers = _folder("--teachers", "../shared/teachers", "The published networks.")
# Of commands that can do without.
some_data = _folder("--data", "../shared/data", "The data sets.", NEW_FOLDER)
some_teachers = _folder("--teachers", "../shared/teachers", "The published networks.", NEW_FOLDER)
accept_licence = click.option(
    "--accept-licence", is_flag=True, help="You have read the teacher's terms and may use it."
)
engine = click.option(
    "--engine", type=click.Choice(ENGINES), default="local", show_default=True, help="Ray: shards alone."
)
workers = click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Of Ray.")


class _DataSetName(click.ParamType):
    name = "KIND:PATH"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, Path]:
        if isinstance(value, tuple):
            return value
        kind, colon, path = value.partition(":")
        if not (kind and colon and path):
            self.fail(f"{value!r} is not KIND:PATH, for example 300w:data/lfpw", param, ctx)
        return kind, Path(path).expanduser()


data_set = _DataSetName()
"""Type of a data set's name: its layout, as `quantization.datasets.KINDS` has it, and where it lies."""


def file_out(default: Path | None, what: str) -> Any:
    """``--out``: the file to write."""
    return click.option("--out", type=NEW_FILE, default=default, show_default=bool(default), help=what)


def folder_out(default: Path, what: str) -> Any:
    """``--out``: the folder to write into."""
    return click.option("--out", type=NEW_FOLDER, default=default, show_default=True, help=what)
