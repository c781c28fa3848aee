"""The shortest loop from a camera to faces that keep their number.

python examples/loop.py [CAMERA]        0, /dev/video0, rtsp://..., a film
python examples/loop.py synthetic:examples/astronaut.jpg        without a camera
"""

import sys

import edgeface

source = sys.argv[1] if len(sys.argv) > 1 else 0

with edgeface.open_camera(source, live=True) as camera, edgeface.FaceAnalyzer() as analyzer:
    tracker = edgeface.FaceTracker(analyzer)
    with edgeface.Stream(camera, tracker.update) as stream:  # the newest frame wins; the others are dropped
        for moment in stream:
            for event in moment.result.events:
                print(f"face {event.id} {event.kind} after {event.dwell_ns / 1e9:.1f} s", flush=True)
            for track in moment.result.tracks:
                looks = "looks here" if track.facing else "looks away"
                print(
                    f"face {track.id}: {track.expression}, {looks}, {moment.age_ns / 1e6:.0f} ms old",
                    flush=True,
                )
