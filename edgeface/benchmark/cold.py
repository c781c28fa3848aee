"""Cold starts: whole processes, from before one is started to its first result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from edgeface.benchmark.pictures import Scene
from edgeface.benchmark.samples import Series
from edgeface.errors import DeviceError
from edgeface.results import Ran

if TYPE_CHECKING:
    from edgeface.benchmark.run import Run

__all__ = ["cold"]

_PATIENCE = 120.0  # seconds for one process; a Pi Zero with a slow card takes ten
_MARKS = ("interpreter", "import", "load", "first", "second")

# What each process does. The clock is the same for all processes of a machine (CLOCK_MONOTONIC). The pixels
# come as they are through a pipe, so no image decoder is in it.
_CHILD = """\
import time
marks = [time.monotonic_ns()]
import json, sys
asked = json.loads(sys.argv[1])
import edgeface
edgeface.FaceAnalyzer, edgeface.Bundle
marks.append(time.monotonic_ns())
analyzer = edgeface.FaceAnalyzer(
    asked["tasks"], threads=asked["threads"], backend=asked["backend"], bundle=asked["bundle"]
)
marks.append(time.monotonic_ns())
import numpy
frame = numpy.frombuffer(sys.stdin.buffer.read(), numpy.uint8).reshape(480, 640, 3)
faces = []
for _ in range(2):
    result = analyzer.analyze(frame)
    faces.append(len(result.faces))
    marks.append(time.monotonic_ns())
with open("/proc/self/status") as status:
    peak = [int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM")]
analyzer.close()
ran = {task: told.to_dict() for task, told in result.ran.items()}
print(json.dumps({"marks": marks, "faces": faces, "ran": ran, "peak": peak[0] if peak else None}))
"""


def cold(run: Run, processes: int) -> None:
    """Start so many processes, and one before them that fills the disk cache and is not kept.

    Stages: "interpreter" until Python runs the first line, "import" of edgeface, "load" of the bundle and the
    choice of a backend, "first" result with the models opened, "total" of these four; "second" result beside
    them. With an empty disk cache, as after switching on, the first ones take longer; only root can empty it.
    """
    scene = Scene.with_faces(run.sitter, 1)
    series = run.begin(Series("cold start", "process"), scene)
    series.extra["peak_bytes"] = []
    # The backend that was chosen and checked, so that no process chooses anew.
    asked = {
        "tasks": list(run.subject.tasks),
        "threads": run.subject.threads,
        "backend": run.subject.backend.name,
        "bundle": None if run.asked.bundle is None else str(run.asked.bundle.absolute()),
    }
    for number in range(processes + 1):
        run.tell(series.name, number, processes + 1)
        stages, told = _started(json.dumps(asked), scene)
        run.ran.update({task: Ran(**ran) for task, ran in told["ran"].items()})
        if number == 0:
            series.warm_up += 1
        else:
            series.add(run.clock(), stages)
            series.extra["peak_bytes"].append(told["peak"])


def _started(asked: str, scene: Scene) -> tuple[dict[str, int], dict[str, Any]]:
    paths = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100  "" means the current folder
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
    start = time.monotonic_ns()
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, asked],
            input=scene.rgb.tobytes(),
            capture_output=True,
            env=environment,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"a cold start took longer than {_PATIENCE:.0f} s; look at `edgeface devices`"
        ) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise DeviceError(
            f"a cold start ended with code {done.returncode}: {said[-1] if said else 'it said nothing'}"
        )
    told = json.loads(done.stdout.splitlines()[-1])
    if told["faces"] != [1, 1]:
        raise DeviceError(f"a cold start found {told['faces'][0]} faces where 1 is, so there is no result")
    times = [start, *told["marks"]]
    stages = {name: late - early for name, early, late in zip(_MARKS, times[:-1], times[1:], strict=True)}
    stages["total"] = sum(stages[name] for name in _MARKS[:4])
    return stages, told
