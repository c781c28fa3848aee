"""EdgeFace: landmarks, a parsing map and an expression for every face of a camera frame, on small devices.

EdgeFace describes faces; it does not recognise people, and it sends nothing anywhere.

The way of one frame::

    import edgeface

    with edgeface.FaceAnalyzer() as analyzer:  # built-in students, best backend of this device
        for face in analyzer.analyze(edgeface.read_image("people.jpg")).faces:
            print(face.bbox, face.expression.label, face.expression.score)
            mouth = face.landmarks.points[48:68]  # float32 [20, 2], pixels of the photo
            hair = face.parsing.mask("hair")  # bool [h, w] over face.parsing.bbox

1. `read_image` looks at the header of a file, refuses what is too large before any pixel is allocated,
   decodes it and turns it upright: a `Frame`, RGB uint8 [H, W, 3]. A camera picture that is already an array
   becomes one with `Frame.from_array`. Whatever is wrong with it is a `FrameError`.
2. `FaceAnalyzer` holds a `Bundle`: the students and their manifest, one file, its digests checked before it
   is parsed (`BundleError`). The detector sees the whole frame, small, and gives boxes with five points
   each::

       analyzer = edgeface.FaceAnalyzer(tasks=())  # boxes only
       faces = analyzer.analyze(frame).faces  # largest first

   A face far away is too small in that one look; ``FaceAnalyzer(smallest_face=20)`` looks at overlapping
   tiles of the frame, too. Boxes of your own skip this step::

       analyzer.analyze(frame, boxes=[edgeface.BBox(120, 80, 96, 110)])

3. Each box becomes an upright crop, each crop goes through the students that were asked for, and each answer
   is laid back into the pixels of the frame: `Landmarks` (with `Blendshapes` where their model gives them),
   `ParsingMap`, `Expression`, gathered in a `Face`.
4. The faces of a frame are a `FrameResult`: frozen, comparable, and ``to_dict()`` gives JSON that follows
   ``edgeface/schema.json``::

       face.parsing.to_frame((frame.height, frame.width))  # uint8 [H, W], 0 outside the face's box
       face.parsing.as_scheme("lapa", lossy=True)  # other label schemes, see edgeface.labels

5. What really ran is in the result, too: ``result.ran["landmarks"]`` names the backend, its delegate and what
   was left on the CPU; ``result.degraded`` tells that the CPU stood in for a lost accelerator. The command
   `edgeface devices` says what this machine has, what is chosen and why; ``strict=True`` refuses to fall
   back.

A stream of frames is more than its frames: faces keep their number, are followed rather than found, and do
not tremble; of a camera that is faster than the analysis, the newest frame counts::

    with edgeface.open_camera(0) as camera, edgeface.FaceAnalyzer() as analyzer:
        tracker = edgeface.FaceTracker(analyzer)
        with edgeface.Stream(camera, tracker.update) as stream:
            for moment in stream:
                for track in moment.result.tracks:
                    print(track.id, track.face.bbox, track.expression, track.facing, moment.age_ns)

Every error that leaves this package is an `EdgeFaceError` that names the input and the mend (see
`edgeface.errors`). Code that uses EdgeFace can be tested without a model: `ScriptedBackend` answers what it
is told to.

Importing this package loads none of its parts; each name loads what it needs when it is first used, and so do
the modules `edgeface.labels`, `edgeface.geometry`, `edgeface.render` and `edgeface.camera`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeface import camera as camera
    from edgeface import geometry as geometry
    from edgeface import labels as labels
    from edgeface import render as render
    from edgeface.analyzer import FaceAnalyzer
    from edgeface.backends.scripted import ScriptedBackend
    from edgeface.bundle import Bundle
    from edgeface.camera import open_camera
    from edgeface.errors import (
        ArgumentError,
        BundleError,
        CameraError,
        ConversionError,
        DeviceCrashedError,
        DeviceError,
        DeviceHungError,
        EdgeFaceError,
        FrameError,
        ServiceError,
    )
    from edgeface.frame import Frame, ImageLimits, decode_image, read_image
    from edgeface.known import TrackSettings
    from edgeface.measures import Openness
    from edgeface.pose import HeadPose
    from edgeface.results import (
        BBox,
        Blendshapes,
        Expression,
        Face,
        FrameResult,
        Landmarks,
        ParsingMap,
        Ran,
    )
    from edgeface.smoothing import OneEuro
    from edgeface.stream import Moment, Stream
    from edgeface.tracking import FaceTracker
    from edgeface.tracks import Track, TrackEvent, TrackResult

__version__ = "0.3.0"

__all__ = [
    "ArgumentError",
    "BBox",
    "Blendshapes",
    "Bundle",
    "BundleError",
    "CameraError",
    "ConversionError",
    "DeviceCrashedError",
    "DeviceError",
    "DeviceHungError",
    "EdgeFaceError",
    "Expression",
    "Face",
    "FaceAnalyzer",
    "FaceTracker",
    "Frame",
    "FrameError",
    "FrameResult",
    "HeadPose",
    "ImageLimits",
    "Landmarks",
    "Moment",
    "OneEuro",
    "Openness",
    "ParsingMap",
    "Ran",
    "ScriptedBackend",
    "ServiceError",
    "Stream",
    "Track",
    "TrackEvent",
    "TrackResult",
    "TrackSettings",
    "__version__",
    "decode_image",
    "open_camera",
    "read_image",
]

_HOME = {
    "FaceAnalyzer": "edgeface.analyzer",
    "ScriptedBackend": "edgeface.backends.scripted",
    "Bundle": "edgeface.bundle",
    **dict.fromkeys(("Frame", "ImageLimits", "decode_image", "read_image"), "edgeface.frame"),
    **dict.fromkeys(
        ("BBox", "Blendshapes", "Expression", "Face", "FrameResult", "Landmarks", "ParsingMap", "Ran"),
        "edgeface.results",
    ),
    **dict.fromkeys((name for name in __all__ if name.endswith("Error")), "edgeface.errors"),
    "open_camera": "edgeface.camera",
    **dict.fromkeys(("Moment", "Stream"), "edgeface.stream"),
    "FaceTracker": "edgeface.tracking",
    "TrackSettings": "edgeface.known",
    **dict.fromkeys(("Track", "TrackEvent", "TrackResult"), "edgeface.tracks"),
    "OneEuro": "edgeface.smoothing",
    "HeadPose": "edgeface.pose",
    "Openness": "edgeface.measures",
}
_MODULES = ("camera", "geometry", "labels", "render")


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    # Kept, so that the next use is a plain attribute.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
