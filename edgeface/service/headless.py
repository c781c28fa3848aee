"""A camera without a page: its results go to the outlets until somebody says stop."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from edgeface.errors import ServiceError
from edgeface.service.live import Live, bundle_of
from edgeface.service.metrics import Metrics
from edgeface.service.outlet import Outlet, writers_of
from edgeface.service.pipe import StandardOutput

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from edgeface.service.cameras import Offer
    from edgeface.service.settings import ServiceSettings

__all__ = ["watch"]

_LOOK = 0.2  # seconds between two looks whether it is over
_LAST = 1.0  # seconds that the last result is given to be written


def watch(
    settings: ServiceSettings,
    offer: Offer,
    *,
    output: int | None,
    stop: threading.Event,
    say: Callable[[str], None],
) -> None:
    """Watch a camera until `stop`, its end, or until nobody can read the results any more.

    Args:
        settings: what to find, what of it may leave and where to; those of the network are not used.
        offer: the camera.
        output: descriptor that the results are written to as well; None: to none.
        stop: set to end it, from any thread or a signal's handler.
        say: told where the results go, when the camera is lost, and when it is back.

    Raises:
        CameraError: the camera cannot be opened.
        ServiceError: it was lost and does not come back by itself; the extra `mqtt` is missing; the pipe
            cannot be made.
        BundleError: the models are damaged or missing.
        DeviceError: no backend opens the models.
        OSError: the only writer failed; BrokenPipeError: its reader has gone.
    """
    with contextlib.ExitStack() as stack:
        metrics = Metrics()
        live = Live([offer], bundle_of(settings), settings, metrics)
        writers = writers_of(settings, say)
        if output is not None:
            writers.append(StandardOutput(output))
        outlets = [Outlet(live, writer, metrics) for writer in writers]
        for outlet in outlets:
            stack.callback(outlet.close, _LAST)
        stack.callback(live.stop)
        live.start(offer.key)
        lost = ""
        while live.running and not stop.wait(_LOOK):
            if all(outlet.ended for outlet in outlets):
                break
            state = live.state()
            if state["lost"] != lost:
                lost = state["lost"]
                say(f"The camera is lost: {lost}" if lost else "The camera is back.")
        fault = live.state()["fault"]
        if fault:
            raise ServiceError(fault)
    errors = [outlet.error for outlet in outlets if outlet.error is not None]
    if errors and len(errors) == len(outlets):
        raise errors[0]
