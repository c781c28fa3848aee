"""EdgeFace's side: one analyzer per variant, one thread; started by `benchmarks.facemesh`, never by hand."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING, Any

from lines import serve

import edgeface

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

_TASKS = {"edgeface_landmarks": ("landmarks",), "edgeface_all": ("landmarks", "parsing", "expression")}
# Outer eye corners, nose tip and mouth corners of iBUG-68, in the order of the other side's witness.
_FIVE_POINTS = [36, 45, 30, 48, 54]


def _open(variant: str) -> Callable[[np.ndarray], Any]:
    bundle = sys.argv[1] if len(sys.argv) > 1 else None
    analyzer = edgeface.FaceAnalyzer(tasks=_TASKS[variant], max_faces=1, threads=1, bundle=bundle)
    return analyzer.analyze


def _witness(result: edgeface.FrameResult) -> dict[str, Any]:
    if not result.faces:
        return {"faces": 0}
    face = result.faces[0]
    seen: dict[str, Any] = {
        "faces": len(result.faces),
        "box": [face.bbox.x, face.bbox.y, face.bbox.width, face.bbox.height],
        "points": face.landmarks.points[_FIVE_POINTS].tolist(),
    }
    if face.parsing is not None and face.expression is not None:
        seen["parsing"] = {name: float(share) for name, share in face.parsing.fractions().items()}
        seen["expression"] = {name: float(score) for name, score in face.expression.scores.items()}
    return seen


def _about() -> dict[str, Any]:
    from importlib import metadata

    from edgeface.bundle import Bundle

    bundle = Bundle.load(sys.argv[1]) if len(sys.argv) > 1 else Bundle.builtin()
    libraries = ("numpy", "opencv-python-headless", "ai-edge-litert")
    return {
        "version": edgeface.__version__,
        "bundle": bundle.digest,
        "python": platform.python_version(),
        "libraries": {name: metadata.version(name) for name in libraries},
    }


if __name__ == "__main__":
    serve(_open, _witness, _about)
