"""EmotiEffLib with a network that the user has: reads a face whose box is told; never started by hand.

It finds no faces: its examples cut a detector's box out of the picture. What becomes of the cut-out is its
own code (its ONNX engine): resized to the network's size, scaled by ImageNet's mean and deviation, softmax.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import onnxruntime
from emotiefflib.facial_analysis import EmotiEffLibRecognizer
from lines import one_thread, serve, software

if TYPE_CHECKING:
    from collections.abc import Callable

_NETWORK = Path(json.loads(sys.argv[1])["emotiefflib"])


def _open(_variant: str) -> Callable[[Any], Any]:
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as home:
        # It looks below the home of its user, and fetches what is not there.
        (Path(home) / ".emotiefflib").mkdir()
        (Path(home) / ".emotiefflib" / _NETWORK.name).symlink_to(_NETWORK)
        os.environ["HOME"] = home
        recognizer = EmotiEffLibRecognizer(engine="onnx", model_name=_NETWORK.stem)
    names = [recognizer.idx_to_emotion_class[index] for index in sorted(recognizer.idx_to_emotion_class)]

    def run(seen: Any) -> Any:
        rgb, (left, top, width, height) = seen
        face = rgb[max(0, round(top)) : round(top + height), max(0, round(left)) : round(left + width)]
        _, scores = recognizer.predict_emotions(face, logits=False)
        # Networks with "mtl" in their names give valence and arousal behind the scores.
        return names, scores[0][: len(names)]

    return run


def _witness(found: Any) -> dict[str, Any]:
    names, scores = found
    return {"faces": 1, "expression": {name.lower(): float(s) for name, s in zip(names, scores, strict=True)}}


def _about() -> dict[str, Any]:
    told = software("emotiefflib", "numpy", "onnxruntime", "opencv-python-headless")
    return {**told, "network": _NETWORK.stem}


if __name__ == "__main__":
    one_thread(onnxruntime)
    serve(_open, _witness, _about)
