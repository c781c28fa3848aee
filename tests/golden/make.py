"""What the students say about the astronaut photo, to the last bit.

    python tests/golden/make.py            # from the checkout; rewrites tests/golden/goldens.json

For each bundle (the two built-in ones and the tests' tiny one) it notes the SHA-256 of every model's raw int8
input and outputs, and the decoded faces. The digests hold on x86-64. Another version of OpenCV (decoding of
the JPEG, resampling of crops) or of LiteRT and its XNNPACK kernels (rounding of int8 sums) may change them
without being wrong, and so may another processor family; the decoded faces then stay within the tolerances of
the test. The file says which versions it was made with.

Make it anew when a bundle changed on purpose, or when a new version changed bits and the other tests, the
accuracy floors above all (`pytest -m data`), still pass. Say which in the commit.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_ROOT))  # run as a script, from wherever

from edgeface import Bundle, FaceAnalyzer, read_image  # noqa: E402
from edgeface.backends import litert  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeface import Face
    from edgeface.backends.base import Backend, Session, Tensors
    from edgeface.bundle import ModelSpec

__all__ = ["BUNDLES", "GOLDENS", "PHOTO", "describe", "golden", "load", "versions"]

GOLDENS = Path(__file__).with_name("goldens.json")
BUNDLES = ("students", "nano", "tiny")
PHOTO = _ROOT / "examples" / "astronaut.jpg"


class Recorder:
    """The real backend, with an ear at its seam: the digest of every tensor that passes, per task."""

    def __init__(self) -> None:
        self._inner: Backend = litert.create()
        self.name, self.formats = self._inner.name, self._inner.formats
        self.heard: dict[str, dict[str, list[str]]] = {}

    def open(self, spec: ModelSpec, artifact: bytes, threads: int) -> Session:
        """Open the model and listen."""
        return _Ear(self._inner.open(spec, artifact, threads), self.heard.setdefault(spec.task, {}))


class _Ear:
    def __init__(self, inner: Session, heard: dict[str, list[str]]) -> None:
        self._inner, self._heard = inner, heard

    def run(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        before = {f"input {name}": _digest(tensor) for name, tensor in tensors.items()}
        outputs = self._inner.run(tensors)
        for name, digest in (before | {name: _digest(tensor) for name, tensor in outputs.items()}).items():
            self._heard.setdefault(name, []).append(digest)
        return outputs

    def close(self) -> None:
        self._inner.close()


def _digest(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def load(name: str) -> Bundle:
    """One of the bundles that have goldens."""
    if name == "tiny":
        return Bundle.load(_ROOT / "tests/fixtures/tiny.bundle")
    return Bundle.builtin("base" if name == "students" else name)


def versions() -> dict[str, str]:
    """What decides about the bits, beside this repository."""
    names = ("numpy", "opencv-python-headless", "ai-edge-litert")
    return {"machine": platform.machine()} | {name: version(name) for name in names}


def describe(face: Face) -> dict[str, Any]:
    """A face in numbers that a reader can compare: pixels to a tenth, shares to a thousandth."""
    box = face.bbox
    plain: dict[str, Any] = {"bbox": [round(v, 1) for v in (box.x, box.y, box.width, box.height)]}
    plain["score"] = round(face.bbox.score, 3)
    plain["roll"] = None if face.roll is None else round(face.roll, 1)
    if face.landmarks is not None:
        plain["points"] = [[round(x, 1), round(y, 1)] for x, y in face.landmarks.points.tolist()]
        plain["visible"] = "".join("01"[v >= 0.5] for v in face.landmarks.visibility.tolist())
        plain["presence"] = round(face.landmarks.presence, 3)
    if face.parsing is not None:
        plain["parsing"] = {
            name: round(share, 3) for name, share in face.parsing.fractions().items() if share > 0
        }
        plain["labels"] = _digest(face.parsing.labels)
    if face.expression is not None:
        plain["expression"] = {name: round(score, 3) for name, score in face.expression.scores.items()}
    return plain


def golden(bundle: Bundle) -> dict[str, Any]:
    """All that is to be remembered of one bundle."""
    ear = Recorder()
    with FaceAnalyzer(bundle=bundle, backend=ear) as analyzer:
        result = analyzer.analyze(read_image(PHOTO))
    return {"digest": bundle.digest, "tensors": ear.heard, "faces": [describe(face) for face in result.faces]}


def main() -> None:
    """Write the file."""
    goldens = {name: golden(load(name)) for name in BUNDLES}
    photo = hashlib.sha256(PHOTO.read_bytes()).hexdigest()
    GOLDENS.write_text(json.dumps({"photo": photo, "made_with": versions(), **goldens}, indent=1) + "\n")
    for name, kept in goldens.items():
        print(f"{name}: {len(kept['faces'])} faces, {sum(map(len, kept['tensors'].values()))} tensors")


if __name__ == "__main__":
    main()
