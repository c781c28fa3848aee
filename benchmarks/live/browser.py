"""A Chromium without a screen on the page of the service, and its clock told in the host's.

Chromium's `performance.now()` counts milliseconds of the machine's monotonic clock from a moment that
`performance.timeOrigin` gives in the time of day. Neither is taken on trust: the page is asked for its clock
again and again, and the answer lies between two readings of the host's monotonic clock. All those bounds
together leave a fraction of a millisecond; where they leave nothing, the clocks do not run alike.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.errors import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Clock", "Painted", "Visitor", "clock_of", "visiting"]

_PROBE = Path(__file__).with_name("probe.js")
_VIEWPORT = {"width": 1280, "height": 800}
_ASKED = 200  # times for its clock
_COARSE = 0.1  # milliseconds, to which a page's clock is rounded
_PATIENCE = 60_000  # milliseconds; a busy machine needs seconds for a page


@dataclass(frozen=True)
class Clock:
    """How a page's clock lies to the host's.

    Attributes:
        offset_ms: What to add to `performance.now()` for the host's monotonic clock, milliseconds.
        within_ms: How far off that may be.
        time_origin_off_ms: How far from it `performance.timeOrigin` and the host's time of day put it.
    """

    offset_ms: float
    within_ms: float
    time_origin_off_ms: float

    def to_dict(self) -> dict[str, float]:
        """The three, to a microsecond."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Painted:
    """A picture that was seen. Times in milliseconds; `camera` is on the host's monotonic clock.

    Attributes:
        camera: When the camera took it.
        result: From then until the service had its result.
        arrived: From the camera until the page had read the result.
        painted: From the camera until the page had been painted with it.
        number: Of the result among all that the service had: what lies between two was not painted.
        faces: How many the result tells.
    """

    camera: float
    result: float
    arrived: float
    painted: float
    number: int
    faces: int


def clock_of(bounds: list[tuple[int, float, int]], time_origin_ms: float, day_ns: int) -> Clock:
    """The clock that all bounds allow.

    Args:
        bounds: host's monotonic clock before (ns), page's clock (ms), host's after (ns).
        time_origin_ms: the page's.
        day_ns: what to add to the host's monotonic clock for the time of day, nanoseconds.

    Raises:
        BenchmarkError: no offset lies within all of them.
    """
    low = max(before / 1e6 - page - _COARSE for before, page, _ in bounds)
    high = min(after / 1e6 - page for _, page, after in bounds)
    if low > high:
        raise BenchmarkError(
            f"the browser's clock does not run as the host's: they part by {low - high:.3f} ms; "
            "is the browser on this machine, and did nothing set its clock?"
        )
    offset = (low + high) / 2
    return Clock(offset, (high - low) / 2, time_origin_ms - day_ns / 1e6 - offset)


class Visitor:
    """A page that is open."""

    def __init__(self, page: Any) -> None:
        self._page = page

    def clock(self) -> Clock:
        """How the page's clock lies to the host's, see `clock_of`."""
        bounds = []
        for _ in range(_ASKED):
            before = time.monotonic_ns()
            told = float(self._page.evaluate("performance.now()"))
            bounds.append((before, told, time.monotonic_ns()))
        origin = float(self._page.evaluate("performance.timeOrigin"))
        return clock_of(bounds, origin, time.time_ns() - time.monotonic_ns())

    def rest(self, seconds: float) -> None:
        """Let the page live for so long."""
        self._page.wait_for_timeout(1000 * seconds)

    def take(self, clock: Clock) -> list[Painted]:
        """What was painted since the last call."""
        told = self._page.evaluate("takeSeen()")
        return [
            Painted(
                camera_ns / 1e6,
                age_ns / 1e6,
                arrived + clock.offset_ms - camera_ns / 1e6,
                painted + clock.offset_ms - camera_ns / 1e6,
                int(number),
                int(faces),
            )
            for camera_ns, age_ns, number, faces, arrived, painted in told
        ]


@contextlib.contextmanager
def visiting(address: str) -> Iterator[tuple[Visitor, str]]:
    """Open the page with the probe in it; gives the visitor and the browser's version.

    Raises:
        BenchmarkError: playwright or a Chromium is missing.
    """
    try:
        from playwright import sync_api  # of the `dev` extra
    except ImportError as error:
        raise BenchmarkError("the browser is driven by playwright: pip install playwright") from error
    own = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=own, args=["--no-sandbox"])
        except sync_api.Error as error:
            raise BenchmarkError(
                f"no Chromium can be started ({str(error).splitlines()[0]}): install one, or run "
                "`playwright install chromium`"
            ) from error
        try:
            page = browser.new_page(viewport=_VIEWPORT)
            page.set_default_timeout(_PATIENCE)
            page.add_init_script(path=_PROBE)
            page.goto(address)
            yield Visitor(page), browser.version
        except sync_api.Error as error:
            raise BenchmarkError(f"the browser failed: {str(error)[:300]}") from error
        finally:
            browser.close()
