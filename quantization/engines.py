"""Work over shards, in this process or on Ray Data: of every shard a file, written whole or not at all.

A result's name says what it was made from: ``STEM-QUESTION-CONTENT.SUFFIX``, the shard's stem, what was done
with it (`Work.question`) and the SHA-256 of the shard. So a run does only what is missing, whatever became of
the one before it, and both engines, which call the same function shard by shard, write the same bytes.

Ray's workers read and write the shards and the results by their paths: on several machines these are of a
shared file system, this package is installed on each, and RAY_ADDRESS names the cluster. Without it Ray runs
on this machine alone. Ray sends nobody any figures of its use from here (RAY_USAGE_STATS_ENABLED=0). A Ray
that is started here has no dashboard; its ports are open to the network, as Ray's always are, and ask whoever
comes for the token in ``~/.ray/auth_token`` (RAY_AUTH_MODE=token).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import click

import edgeface

from .provenance import digest, versions

__all__ = ["ENGINES", "EngineError", "Read", "Work", "finish", "question_of", "result_path"]

ENGINES = ("local", "ray")
_RESTARTS = 3  # of a worker, and tries of a shard beyond the first: one that kills its workers must end
_QUESTION, _CONTENT = 12, 16  # hexadecimal digits in a result's name

# Whose next version may answer otherwise.
_LIBRARIES = ("ai-edge-litert", "numpy", "onnxruntime", "opencv-python-headless")

Read = Callable[[Path, Path], None]
Row = dict[str, str]


class EngineError(ValueError):
    """An engine is not there, or shards failed; the results of the others are kept."""


class Work(Protocol):
    """What is done with every shard. It travels to the workers by pickle, before anything is opened.

    Attributes:
        question: Of all that a result depends on beside the shard; made by :func:`question_of`.
        suffix: Of the results' files, for example ``".tar"``.
    """

    @property
    def question(self) -> str: ...
    @property
    def suffix(self) -> str: ...

    def open(self) -> Read:
        """Loads what is needed, once per worker; the call reads a shard and writes its result to a path.

        ``OSError`` and ``ValueError`` of the call say that the shard cannot be done; any other ends the run.
        """


def question_of(*asked: Any) -> str:
    """Hexadecimal SHA-256 of JSON values, this package's version and those of the libraries that answer."""
    told = [edgeface.__version__, versions(_LIBRARIES), *asked]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def result_path(work: Work, shard: Path, folder: Path) -> Path:
    """Where a shard's result lies in ``folder``, or will.

    Raises:
        EngineError: There is no such shard.
    """
    content = digest(shard) if shard.is_file() else None
    if content is None:
        raise EngineError(f"{shard}: there is no such shard; was it moved?")
    return folder / f"{shard.stem}-{work.question[:_QUESTION]}-{content[:_CONTENT]}{work.suffix}"


def finish(
    work: Work, shards: Sequence[Path], folder: Path, engine: str = "local", workers: int = 2
) -> list[Path]:
    """Does the work on every shard whose result is missing; returns all results, in the shards' order.

    Two runs of the same work into the same folder at once are not provided for.

    Args:
        work: What is done with each.
        shards: Files, every one with a stem of its own.
        folder: Where the results lie; made if need be.
        engine: One of `ENGINES`.
        workers: Processes of ``ray``; on this machine each takes one core.

    Raises:
        EngineError: There is no such engine, Ray is not installed, or shards failed: the message names them.
            Their results are missing, all others are there.
    """
    if engine not in ENGINES:
        raise EngineError(f"there is no engine {engine!r}: use one of {', '.join(ENGINES)}")
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"shard": str(shard.resolve())} for shard in shards]
    done = _here(work, folder, rows) if engine == "local" else _on_ray(work, folder, rows, workers)
    with click.progressbar(done, length=len(rows), label="shards", file=sys.stderr) as bar:
        told = {row["shard"]: row for row in bar}
    ordered = [told[row["shard"]] for row in rows]
    if failed := [row["fault"] for row in ordered if row["fault"]]:
        raise EngineError(
            f"{len(failed)} of {len(rows)} shards failed; mend them and run again, the others are done\n  "
            + "\n  ".join(failed)
        )
    return [Path(row["result"]) for row in ordered]


@dataclass(slots=True)
class _Worker:
    """Does shards one after the other; what it needs is opened by the first whose result is missing."""

    work: Work
    folder: Path
    read: Read | None = None

    def __call__(self, row: Row) -> Row:
        shard, result, fault = Path(row["shard"]), "", ""
        try:
            result = str(self._done(shard))
        except (OSError, ValueError) as error:
            fault = f"{shard}: {error}" if str(shard) not in str(error) else str(error)
        return {"shard": str(shard), "result": result, "fault": fault}

    def _done(self, shard: Path) -> Path:
        path = result_path(self.work, shard, self.folder)
        if path.exists():
            return path
        if self.read is None:
            self.read = self.work.open()
        # Of this process alone: one that was killed may have left its own.
        partial = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.partial")
        self.read(shard, partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        for left in self.folder.iterdir():
            if left.name.startswith(f".{path.name}."):
                left.unlink(missing_ok=True)
        return path


def _here(work: Work, folder: Path, rows: list[Row]) -> Iterator[Row]:
    return map(_Worker(work, folder), rows)


def _on_ray(work: Work, folder: Path, rows: list[Row], workers: int) -> Iterator[Row]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray is imported, here and in its processes
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")  # `finish` draws one
    os.environ.setdefault("RAY_DATA_RAISE_ORIGINAL_MAP_EXCEPTION", "1")  # else it does not say which
    if "RAY_ADDRESS" not in os.environ:
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray makes one where there is none
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise EngineError(
            f'the engine ray is not installed ({error}): pip install "edgeface[workshop-ray]"'
        ) from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it tells every step
    with _running(ray, workers), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Ray warns of settings of its own
        data = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _Worker,
            fn_constructor_args=(work, folder),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(rows))),
            num_cpus=1,
            max_restarts=_RESTARTS,
            max_task_retries=_RESTARTS,
        )
        try:
            yield from data.iter_rows()
        except ray.exceptions.RayError as error:
            raise EngineError(
                f"Ray gave up ({_reason(error)}); run again: what is finished is kept"
            ) from error


def _reason(error: BaseException) -> str:
    """What Ray's wrappers are about: the innermost error, or the first line of one that Ray raised itself."""
    while isinstance(cause := getattr(error, "cause", None) or error.__cause__, BaseException):
        error = cause
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


@contextmanager
def _running(ray: Any, workers: int) -> Iterator[None]:
    """A Ray to work on: the one that runs, the cluster that RAY_ADDRESS names, or one for this call."""
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if "RAY_ADDRESS" in os.environ:
        ray.init(**quiet)
    else:
        ray.init(num_cpus=workers, include_dashboard=False, **quiet)
    try:
        yield
    finally:
        ray.shutdown()
