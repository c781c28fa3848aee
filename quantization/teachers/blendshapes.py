"""MediaPipe's 52 blendshapes (Apache-2.0) as a teacher: coefficients of a face from its mesh.

The third network of ``face_landmarker.task`` reads 146 of the 478 mesh points, x and y in pixels of the
picture as they are: it centres and scales them itself. Which 146, in which order: MediaPipe,
``tasks/cc/vision/face_landmarker/face_blendshapes_graph.cc``; that they are pixels and not shares of the
picture's sides: ``calculators/tensor/landmarks_to_tensor_calculator.cc`` (both Apache-2.0).
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeface.labels import BLENDSHAPES52

from ..datasets import Terms
from .facemesh import FaceMesh

__all__ = ["DEAD", "LIVE", "MESH_SUBSET", "TERMS", "Blendshapes", "MediaPipeFace"]

TERMS = Terms(
    "MediaPipe Blendshape V2",
    "Apache-2.0",
    commercial=True,
    source="its model card, https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker",
)

Array = NDArray[np.float32]


DEAD = frozenset({
    "_neutral", "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight",
    "jawForward", "jawRight", "mouthClose",
})  # fmt: skip
"""Outputs that stay near zero whatever the face does: no student should learn them from here."""

LIVE = np.array([name not in DEAD for name in BLENDSHAPES52.names])
"""bool [52], the others: which coefficients this teacher knows."""

MESH_SUBSET = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67,
    70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146,
    148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181,
    185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293,
    295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361,
    362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398,
    400, 402, 405, 409, 415, 454, 466, *range(468, 478),
)  # fmt: skip


class Blendshapes:
    """The blendshape network of ``face_landmarker.task``.

    Raises:
        KeyError: The file holds no such network (an older face landmarker).
    """

    def __init__(self, task: Path, threads: int = 1) -> None:
        with zipfile.ZipFile(task) as archive:
            content = archive.read("face_blendshapes.tflite")
        self._net = Interpreter(model_content=content, num_threads=threads)
        self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        self._output = self._net.get_output_details()[0]["index"]

    def __call__(self, mesh: Array) -> Array:
        """Coefficients float32 [52], each in [0, 1], of a mesh [478, 2] in pixels."""
        self._net.set_tensor(self._input, mesh[None, MESH_SUBSET].astype(np.float32))
        self._net.invoke()
        return np.clip(self._net.get_tensor(self._output).reshape(-1), 0, 1)


class MediaPipeFace:
    """Mesh, presence and blendshapes of one face by ``face_landmarker.task``."""

    def __init__(self, task: Path, threads: int = 1) -> None:
        self._mesh, self._shapes = FaceMesh(task, threads), Blendshapes(task, threads)

    def __call__(self, rgb: NDArray[np.uint8], box: Array) -> tuple[Array, Array, float]:
        """Mesh float32 [478, 2] in pixels, blendshapes [52], presence score; ``box``: x, y, width, height."""
        mesh, presence = self._mesh.mesh(rgb, box)
        return mesh, self._shapes(mesh), presence
