"""The kiosk service: one camera, one page, results for whoever may ask. It needs the extra `serve`.

::

    pip install "edgeface[serve]"
    edgeface serve --camera 0

or from a program, with a camera of its own::

    from edgeface.service import Offer, ServiceSettings, serve

    serve(ServiceSettings(), [Offer("hall", "Camera in the hall", open_the_hall)], start="hall")

The way of a frame: `live` reads the camera and follows the faces in a thread of its own; each frame becomes
a `Shot`, which is written as JSON and JPEG once, however many look on, and only if somebody does; `streams`
hands the newest one to every viewer who is ready for it, and an `outlet` to the broker or pipe that the
operator named. Nothing is queued, and nothing else is written or sent by itself. `watch` is all that without
a page.

The way of a request: `connections` gives up on clients that take too long, `gate` refuses strangers, `bodies`
reads what is small enough, `handlers` answer. `limits` and `settings` say how much is too much.
"""

from __future__ import annotations

from edgeface.service.cameras import Offer, found_cameras, named_camera
from edgeface.service.headless import watch
from edgeface.service.mqtt import MqttTarget
from edgeface.service.run import serve
from edgeface.service.settings import PRIVACY, Limits, ServiceSettings

__all__ = [
    "PRIVACY",
    "Limits",
    "MqttTarget",
    "Offer",
    "ServiceSettings",
    "found_cameras",
    "named_camera",
    "serve",
    "watch",
]
