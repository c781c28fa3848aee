"""Promise 23, second half: from process start to the first result, with the built-in students."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

_PROGRAM = """
import json, sys, time
import edgeface

with edgeface.FaceAnalyzer() as analyzer:
    result = analyzer.analyze(edgeface.read_image(sys.argv[1]))
print(json.dumps({"clock_ns": time.clock_gettime_ns(time.CLOCK_MONOTONIC), "faces": len(result.faces)}))
"""


def test_first_result_within_400_ms_of_process_start(astronaut_path: Path) -> None:
    took = []
    for _ in range(7):
        begin = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        command = [sys.executable, "-c", _PROGRAM, str(astronaut_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        told = json.loads(done.stdout)
        assert told["faces"] == 1
        took.append((told["clock_ns"] - begin) / 1e6)
    # The quickest of seven: the others measure what else the machine was doing.
    assert min(took) <= 400, f"ms from process start to the first result: {sorted(round(ms) for ms in took)}"
