"""Runs inside an emulated board: the recorded tensors through the backend, and the digests of what comes out.

    python3 replay.py TENSORS

Prints JSON: bundle -> task -> tensor -> digests, as `goldens.json` has them. The tensors are given because
OpenCV resamples a picture a little differently on ARM; from the same tensors on, every bit must agree.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.golden.make import BUNDLES, Recorder, load


def main() -> None:
    recorded = np.load(sys.argv[1])
    heard = {}
    for name in BUNDLES:
        bundle, ear = load(name), Recorder()
        for task, spec in bundle.models.items():
            if f"{name} {task}" not in recorded:  # the detector for tall frames does not see this photo
                continue
            session = ear.open(spec, bundle.artifact(spec.artifact), 1)
            for tensor in recorded[f"{name} {task}"]:
                session.run({spec.input.name: tensor})
            session.close()
        heard[name] = ear.heard
    print(json.dumps(heard))


if __name__ == "__main__":
    main()
