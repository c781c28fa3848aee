"""The process that tries a bundle: ``python -m edgeface.store.probe SECONDS [PICTURE]``, given its bytes.

First every model answers a known question: exactly as the bundle says where it holds the answer, else twice
the same. Then a frame goes the whole way through `FaceAnalyzer`, as it will with the bundle installed.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeface.analyzer import TASKS, FaceAnalyzer
from edgeface.backends.base import create
from edgeface.bundle import Bundle
from edgeface.errors import DeviceError, EdgeFaceError
from edgeface.frame import Frame, read_image
from edgeface.golden import golden_digest, golden_input
from edgeface.results import BBox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeface.results import FrameResult

__all__ = ["main", "try_bundle"]

_BACKEND = "litert"  # runs everywhere; the answers in a bundle are its own
_HEIGHT, _WIDTH = 240, 320


def try_bundle(bundle: Bundle, picture: Path | None = None) -> None:
    """Run all of a bundle once.

    Raises:
        EdgeFaceError: it does not work here; the message says what and why.
    """
    _answer_known_questions(bundle)
    tasks = [task for task in TASKS if task in bundle.models]
    frame = _drawn() if picture is None else read_image(picture)
    with FaceAnalyzer(tasks, bundle=bundle) as analyzer:
        if "detection" in bundle.models:
            found = analyzer.analyze(frame)
            if picture is not None and not found.faces:
                raise DeviceError(f"no face was found in {picture}, where one was to be found")
            _check(found, tasks)
        # Also without a face in the frame every model runs, on a box in its middle.
        box = BBox(frame.width / 4, frame.height / 4, frame.width / 2, frame.height / 2)
        if tasks:
            described = analyzer.analyze(frame, boxes=[box])
            _check(described, tasks)


def main(arguments: Sequence[str]) -> None:
    """Try what is on standard input and print ``{"reason": ...}``, with an empty reason when all is well."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is expected here; nobody wants it on the disk
    signal.setitimer(
        signal.ITIMER_REAL, float(arguments[0])
    )  # native code that hangs outlives no dead caller
    reason = ""
    try:
        picture = Path(arguments[1]) if arguments[1:] else None
        try_bundle(Bundle.from_bytes(sys.stdin.buffer.read(), source="on trial"), picture)
    except EdgeFaceError as error:
        reason = str(error) or type(error).__name__
    except Exception as error:  # noqa: BLE001  code of other people; the caller must hear of it
        reason = f"a defect: {error!r}"
    print("\n" + json.dumps({"reason": reason}), flush=True)  # noqa: T201  this is what the process is for


def _answer_known_questions(bundle: Bundle) -> None:
    backend = create(_BACKEND)
    for task in bundle.tasks:
        spec = bundle.model(task)
        if not spec.formats & backend.formats:
            continue  # the frame alone shows whether the accelerator that it is for runs it
        spec = spec.for_formats(backend.formats)
        session = backend.open(spec, bundle.artifact(spec.artifact), 1)
        try:
            answers = [golden_digest(spec, session.run(golden_input(spec))) for _ in range(2)]
        finally:
            session.close()
        if len(set(answers)) != 1:
            raise DeviceError(f"model {task!r}: answers the same question in two ways; check the memory")
        if spec.golden is not None and answers[0] != spec.golden:
            raise DeviceError(
                f"model {task!r}: answers a known question wrongly; LiteRT must run with XNNPACK "
                "(is /sys mounted?)"
            )


def _drawn() -> Frame:
    """Coloured blocks with a bright oval in the middle, uint8 [240, 320, 3]: a frame, if not a face."""
    rows, columns = np.mgrid[0:_HEIGHT, 0:_WIDTH]
    picture = np.stack([rows // 16 * 16, columns // 16 * 12, (rows + columns) // 24 * 10], axis=-1) % 256
    inside = ((rows - _HEIGHT / 2) / 70) ** 2 + ((columns - _WIDTH / 2) / 52) ** 2 < 1
    picture[inside] = (214, 172, 148)
    return Frame.from_array(picture.astype(np.uint8))


def _check(result: FrameResult, tasks: Sequence[str]) -> None:
    for face in result.faces:
        for task in tasks:
            if getattr(face, task) is None:
                raise DeviceError(f"model {task!r}: gave no answer for a face")
        if face.landmarks is not None and not np.isfinite(face.landmarks.points).all():
            raise DeviceError("model 'landmarks': gave points that are no numbers")


if __name__ == "__main__":
    main(sys.argv[1:])
    os._exit(0)  # without the destructors of a runtime's globals: known to hang, and the verdict is told
