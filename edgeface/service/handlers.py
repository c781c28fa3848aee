"""The answers to plain requests; what goes on and on is in `streams`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from edgeface.analyzer import TASKS
from edgeface.errors import CameraError
from edgeface.labels import parsing_scheme
from edgeface.service import machine
from edgeface.service.access import COOKIE
from edgeface.service.bodies import RequestError, form_field, json_of
from edgeface.service.metrics import exposition
from edgeface.service.openapi import document, frame_schema
from edgeface.service.page import Page, policy
from edgeface.service.replies import json_reply, reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.responses import Response

    from edgeface.service.kiosk import Kiosk
    from edgeface.service.metrics import Sample

__all__ = ["Handlers", "wants_overlay"]

_MONTH = 30 * 24 * 3600
_FIELD = "image"
_SMALL = 4096  # bytes of a body that is JSON


class Handlers:
    """Answers for one service."""

    def __init__(self, kiosk: Kiosk) -> None:
        self._kiosk = kiosk
        self._page, self._unlock = Page.read("page.html"), Page.read("unlock.html")
        self._turn = asyncio.Lock()

    async def page(self, request: Request) -> Response:
        """Show the page."""
        return self._shown(self._page, request, 200)

    async def unlock(self, request: Request) -> Response:
        """Ask a browser for the token."""
        return self._shown(self._unlock, request, 401)

    async def login(self, request: Request) -> Response:
        """Give a cookie for the token."""
        kiosk = self._kiosk
        address = request.client.host if request.client else "local"
        if kiosk.access.guarded and not kiosk.access.patient(address):
            raise RequestError(429, "too many wrong tokens; wait a moment")
        token = (await self._json(request)).get("token")
        if not isinstance(token, str):
            raise RequestError(400, 'show the token: {"token": "..."}')
        if not kiosk.access.guarded:
            return reply(b"", "application/json", 204)
        if not kiosk.access.is_token(token, address):
            kiosk.metrics.count("refused", reason="token")
            raise RequestError(401, "this is not the token; the service said it when it started")
        answer = reply(b"", "application/json", 204)
        answer.set_cookie(
            COOKIE,
            kiosk.access.cookie,
            max_age=_MONTH,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    async def health(self, _request: Request) -> Response:
        """Tell that the service runs, and no more."""
        return json_reply({"schema": "edgeface.health/1", "status": "ok"})

    async def state(self, _request: Request) -> Response:
        """Tell what is on, what there is to choose, and how the machine fares."""
        return json_reply(self._state())

    async def camera(self, request: Request) -> Response:
        """Start a camera, or the one that is on anew with other tasks; DELETE stops it."""
        if request.method == "DELETE":
            async with self._turn:
                await asyncio.to_thread(self._kiosk.live.stop)
            return json_reply(self._state())
        values = await self._json(request)
        camera, tasks = values.get("camera"), values.get("tasks")
        if not isinstance(camera, str):
            raise RequestError(400, 'name the camera: {"camera": "..."}; GET /state lists them')
        if tasks is not None and not (isinstance(tasks, list) and all(task in TASKS for task in tasks)):
            raise RequestError(400, f"tasks must be a list of {', '.join(TASKS)}")
        if camera not in self._kiosk.live.offers:
            known = ", ".join(self._kiosk.live.offers) or "none"
            raise RequestError(404, f"camera {camera!r} is unknown; there is {known}")
        async with self._turn:
            await asyncio.to_thread(self._kiosk.live.start, camera, tasks)
        return json_reply(self._state())

    async def analyze(self, request: Request) -> Response:
        """Analyse the picture in the body: as it is, or as the field `image` of a form."""
        kiosk, kind = self._kiosk, request.headers.get("content-type", "")
        with kiosk.bodies.room() as used:
            data = await kiosk.bodies.read(request, used)
            if kind.partition(";")[0].strip().lower() == "multipart/form-data":
                data = form_field(data, kind, _FIELD)
            return json_reply(await kiosk.analyze(data))

    async def snapshot(self, request: Request) -> Response:
        """Give the newest picture of the camera."""
        self.see_pictures()
        overlay = wants_overlay(request)
        shot = self._kiosk.live.newest
        if shot is None:
            raise CameraError("no camera is on; start one with POST /camera")
        jpeg = await asyncio.to_thread(shot.jpeg, overlay)
        return reply(jpeg, "image/jpeg", headers={"x-edgeface-number": str(shot.number)})

    async def metrics(self, _request: Request) -> Response:
        """Write the numbers for Prometheus."""
        counted = self._kiosk.metrics
        histograms = {
            "edgeface_frame_age_seconds": ("From the camera's time of a frame to its result.", counted.age),
            "edgeface_analysis_seconds": ("Analysis of a frame of the camera.", counted.took),
        }
        text = exposition([*self._gauges(), *counted.samples()], histograms)
        return reply(text, "text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, _request: Request) -> Response:
        """Give the OpenAPI document."""
        return json_reply(document(self._kiosk.settings.version, guarded=self._kiosk.access.guarded))

    async def schema(self, _request: Request) -> Response:
        """Give the JSON schema of a result."""
        return json_reply(frame_schema())

    def see_pictures(self) -> None:
        """Refuse to show pictures where only counts may leave.

        Raises:
            RequestError: 403, pictures are not shown.
        """
        if self._kiosk.settings.privacy == "counts":
            raise RequestError(403, "no pictures are shown: this service gives counts and events alone")

    async def _json(self, request: Request) -> dict[str, Any]:
        with self._kiosk.bodies.room() as used:
            return json_of(await self._kiosk.bodies.read(request, used, _SMALL))

    def _shown(self, page: Page, request: Request, status: int) -> Response:
        headers = {"content-security-policy": policy(page, request.headers["host"])}
        return reply(page.html, "text/html; charset=utf-8", status, headers)

    def _state(self) -> dict[str, Any]:
        kiosk = self._kiosk
        return {
            "schema": "edgeface.state/1",
            "version": kiosk.settings.version,
            "privacy": kiosk.settings.privacy,
            "guarded": kiosk.access.guarded,
            "cameras": [{"key": offer.key, "title": offer.title} for offer in kiosk.live.offers.values()],
            "all_tasks": list(TASKS),
            "temperature_c": machine.temperature(),
            "viewers": kiosk.viewers,
            "outlets": {outlet.kind: outlet.open for outlet in kiosk.outlets},
            "max_body": kiosk.settings.limits.body,
            "max_pixels": kiosk.settings.limits.pixels,
            "palette": {"celebamask19": [list(colour) for colour in parsing_scheme("celebamask19").colours]},
            **kiosk.live.state(),
        }

    def _gauges(self) -> Iterator[Sample]:
        kiosk, state, shot = self._kiosk, self._kiosk.live.state(), self._kiosk.live.newest
        faces = () if shot is None else shot.moment.result.result.frame.faces
        info = {
            "version": kiosk.settings.version,
            "backend": state["backend"] or "",
            "privacy": kiosk.settings.privacy,
        }
        yield "edgeface_info", "gauge", "What runs.", info, 1
        yield (
            "edgeface_camera_up",
            "gauge",
            "A camera is on and gives frames.",
            {},
            shot is not None and not state["lost"],
        )
        yield (
            "edgeface_camera_losses_total",
            "counter",
            "How often the camera that is on was lost.",
            {},
            state["losses"],
        )
        yield "edgeface_fps", "gauge", "Frames per second, lately.", {}, state["fps"]
        yield "edgeface_faces", "gauge", "Faces in the newest frame.", {}, len(faces)
        yield "edgeface_viewers", "gauge", "Streams that are open.", {}, kiosk.viewers
        yield "edgeface_connections", "gauge", "Connections that are open.", {}, len(kiosk.connections)
        for outlet in kiosk.outlets:
            to = {"to": outlet.kind}
            yield "edgeface_outlet_open", "gauge", "Somebody takes the results that leave.", to, outlet.open
        degrees = machine.temperature()
        if degrees is not None:
            yield "edgeface_temperature_celsius", "gauge", "The hottest part of the machine.", {}, degrees
        yield "process_resident_memory_bytes", "gauge", "Memory held.", {}, machine.resident_bytes()
        yield "process_cpu_seconds_total", "counter", "Processor time used.", {}, machine.cpu_seconds()


def wants_overlay(request: Request) -> bool:
    """Whether a picture is asked for with its overlay.

    Raises:
        RequestError: 400, `overlay` is neither 0 nor 1.
    """
    asked = request.query_params.getlist("overlay") or ["1"]
    if asked not in (["0"], ["1"]):
        raise RequestError(400, "overlay is 0 or 1")
    return asked == ["1"]
