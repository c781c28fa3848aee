"""The page in a real browser, against a running service: what people do with it, by mouse and by keyboard.

Needs the package `playwright` and a Chromium (one of the system, or playwright's own). With EDGEFACE_SHOTS
set to a folder, screenshots are left there to be looked at.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeface.service import ServiceSettings
from tests.edgeface.service.running import ASTRONAUT, QUICK, TOKEN, astronaut, hall, running, synthetic

pytestmark = [pytest.mark.device, pytest.mark.filterwarnings("default")]

_PATIENCE = 60_000  # milliseconds; a busy machine needs seconds for a page
PROBE = Path(__file__).resolve().parents[3] / "benchmarks" / "live" / "probe.js"
SETTINGS = ServiceSettings(version="0", limits=replace(QUICK, idle_seconds=20))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Chromium whose camera shows the photo."""
    sync = pytest.importorskip("playwright.sync_api", reason="the package playwright drives the browser")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    film = tmp_path_factory.mktemp("camera") / "me.mjpeg"
    picture = cv2.resize(cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR), (640, 640))[:480]
    film.write_bytes(cv2.imencode(".jpg", np.ascontiguousarray(picture))[1].tobytes() * 3)
    arguments = [
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    ]
    with sync.sync_playwright() as playwright:
        try:
            opened = playwright.chromium.launch(executable_path=found, args=arguments)
        except sync.Error as error:
            pytest.skip(f"no Chromium can be started: {str(error).splitlines()[0]}")
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that must not complain."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(_PATIENCE)
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda said: said.type == "error" and complaints.append(said.text))
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    yield opened
    context.close()
    assert [
        text for text in complaints if "Failed to load resource" not in text and "WebSocket" not in text
    ] == []
    assert all(url.startswith(("http://127.0.0.1", "data:", "blob:")) for url in asked)


def until(page: Any, condition: str) -> None:
    """Wait for an expression to be true; the page's policy forbids Playwright to do so by itself."""
    end = time.monotonic() + _PATIENCE / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)


def keep(page: Any, name: str, whole: bool = False) -> None:
    folder = os.environ.get("EDGEFACE_SHOTS")
    if folder:
        page.screenshot(path=str(Path(folder, f"{name}.png")), full_page=whole)


def picture_is_drawn(page: Any) -> bool:
    script = (
        "() => { const v = document.getElementById('view'), d = v.getContext('2d')"
        ".getImageData(0, 0, v.width, v.height).data; const s = new Set();"
        "for (let i = 0; i < d.length; i += 4004) s.add(d[i] + ',' + d[i + 1]); return s.size; }"
    )
    return int(page.evaluate(script)) > 40


def test_the_camera_is_shown_stopped_and_started(page: Any) -> None:
    with running(SETTINGS, [hall(lambda: synthetic(5))], start="hall") as service:
        page.goto(service.address)
        page.wait_for_selector(".face")
        assert picture_is_drawn(page)
        until(page, "document.getElementById('fps').textContent !== '–'")
        assert "1 face" in page.get_attribute("#view", "aria-label")
        keep(page, "desktop-light")
        page.click("#action")
        page.wait_for_selector("#empty:not([hidden])")
        assert not picture_is_drawn(page)
        page.uncheck("input[value=expression]", force=True)
        page.click("#start")
        page.wait_for_selector(".face")
        page.wait_for_selector(".face .bars", state="hidden")


def test_a_picture_that_was_slow_to_decode_is_not_shown_after_a_newer_one(page: Any) -> None:
    slow = (
        "{ const decode = window.createImageBitmap; let count = 0;"
        " window.createImageBitmap = async (...given) => {"
        " const late = count++ % 3 === 0, bitmap = await decode(...given);"
        " if (late) await new Promise((done) => setTimeout(done, 500)); return bitmap; }; }"
    )
    page.add_init_script(slow)
    page.add_init_script(path=PROBE)
    with running(SETTINGS, [hall(lambda: synthetic(15))], start="hall") as service:
        page.goto(service.address)
        page.wait_for_selector(".face")
        painted: list[Any] = []
        end = time.monotonic() + _PATIENCE / 1000
        while len(painted) < 20:
            assert time.monotonic() < end
            page.wait_for_timeout(500)
            painted += page.evaluate("takeSeen()")
    numbers = [row[2] for row in painted]
    assert numbers == sorted(numbers)


def test_a_photo_is_looked_at(page: Any) -> None:
    with running(SETTINGS, []) as service:
        page.goto(service.address)
        until(page, "document.getElementById('status').textContent === 'Ready'")
        page.click("#tab-photo")
        keep(page, "photo-empty")
        page.set_input_files("#file", str(ASTRONAUT))
        page.wait_for_selector(".face")
        assert picture_is_drawn(page)
        assert page.text_content(".face .mood") == "happiness"
        keep(page, "photo")
        page.set_input_files("#file", {"name": "no.jpg", "mimeType": "image/jpeg", "buffer": b"no picture"})
        page.wait_for_selector("#note:not([hidden])")
        assert page.locator(".face").count() == 0


def test_the_visitors_own_camera_is_looked_at(page: Any) -> None:
    with running(SETTINGS, []) as service:
        page.goto(service.address)
        page.click("#tab-webcam")
        page.click("#action")
        page.wait_for_selector(".face")
        assert picture_is_drawn(page)
        assert page.is_checked("#mirror")
        keep(page, "webcam")
        page.click("#action")
        page.wait_for_selector("#empty:not([hidden])")
        until(page, "fetch('/state').then(a => a.json()).then(s => s.viewers === 1)")


def test_it_comes_back_after_the_service_did(page: Any) -> None:
    offers = [hall(lambda: synthetic(5))]
    with running(SETTINGS, offers, start="hall") as service:
        page.goto(service.address)
        page.wait_for_selector(".face")
        port = service.port
    until(page, "document.getElementById('status').textContent === 'Reconnecting'")
    with running(replace(SETTINGS, port=port), offers, start="hall", keep_port=True):
        until(page, "document.getElementById('status').textContent.startsWith('Live')")
        page.wait_for_selector(".face")


def test_a_wrong_token_is_refused_and_the_right_one_opens(page: Any) -> None:
    with running(replace(SETTINGS, token=TOKEN), [hall(lambda: synthetic(5))], start="hall") as service:
        page.goto(service.address)
        page.fill("#token", "not the token at all")
        page.click("button")
        page.wait_for_selector("#wrong:not([hidden])")
        keep(page, "token")
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector(".face")
        assert TOKEN not in page.url


def test_the_address_that_was_said_opens_at_once_and_hides_its_token(page: Any) -> None:
    with running(replace(SETTINGS, token=TOKEN), [hall(lambda: synthetic(5))], start="hall") as service:
        page.goto(f"{service.address}/#token={TOKEN}")
        page.wait_for_selector(".face")
        assert page.url.rstrip("/") == service.address


def test_the_keyboard_reaches_everything(page: Any) -> None:
    with running(SETTINGS) as service:
        page.goto(service.address)
        until(page, "document.getElementById('status').textContent === 'Ready'")
        seen = []
        for _ in range(30):
            page.keyboard.press("Tab")
            seen.append(page.evaluate("document.activeElement.id || document.activeElement.value || ''"))
        for control in ("theme", "full", "tab-live", "action", "show-boxes", "camera", "start"):
            assert control in seen, control
        page.focus("#tab-live")
        page.keyboard.press("ArrowRight")
        assert page.get_attribute("#tab-photo", "aria-selected") == "true"
        page.keyboard.press("End")
        assert page.get_attribute("#tab-webcam", "aria-selected") == "true"


@pytest.mark.parametrize("privacy", ["counts", "mask", "blur"])
def test_privacy_is_said_and_kept_on_the_page(page: Any, privacy: str) -> None:
    settings = replace(SETTINGS, privacy=privacy)
    with running(settings, [hall(lambda: synthetic(5))], start="hall") as service:
        page.goto(service.address)
        page.wait_for_selector("#count:not([hidden])" if privacy == "counts" else ".face")
        page.wait_for_selector("#privacy:not([hidden])")
        assert picture_is_drawn(page) is (privacy != "counts")
        keep(page, f"privacy-{privacy}")
        if privacy != "blur":
            page.click("#tab-photo")
            page.set_input_files("#file", str(ASTRONAUT))
            page.wait_for_selector("#count:not([hidden])" if privacy == "counts" else ".face")
            keep(page, f"privacy-{privacy}-photo")


@pytest.mark.parametrize(
    ("name", "scheme", "size"),
    [
        ("phone-light", "light", (390, 844)),
        ("phone-dark", "dark", (390, 844)),
        ("desktop-dark", "dark", (1440, 900)),
        ("kiosk", "dark", (1920, 1080)),
    ],
)
def test_nothing_sticks_out_on_any_screen(
    browser: Any, name: str, scheme: str, size: tuple[int, int]
) -> None:
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(_PATIENCE)
    with running(SETTINGS, [hall(lambda: synthetic(5))], start="hall") as service:
        page.goto(f"{service.address}/{'?kiosk' if name == 'kiosk' else ''}")
        page.wait_for_selector(".face")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        keep(page, name, whole=name.startswith("phone"))
    context.close()
