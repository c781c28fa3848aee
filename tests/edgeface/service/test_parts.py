"""The parts that need no socket: the page's file, cameras on offer, the machine's numbers, shots."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeface.camera import Mode
from edgeface.errors import ArgumentError, CameraError, FrameError
from edgeface.frame import Frame
from edgeface.results import BBox, Face, FrameResult
from edgeface.service import Offer, named_camera
from edgeface.service.machine import cpu_seconds, resident_bytes, temperature
from edgeface.service.metrics import Histogram, Metrics, exposition
from edgeface.service.page import Page, policy
from edgeface.service.shot import Seen, Shot
from edgeface.stream import Moment
from edgeface.tracks import Track, TrackEvent, TrackResult


class Attributes(HTMLParser):
    """Every attribute of a page, and the controls that have no name."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.extend((tag, name, value or "") for name, value in attrs)


@pytest.mark.parametrize("name", ["page.html", "unlock.html"])
def test_the_page_is_one_file_without_anything_from_outside(name: str) -> None:
    page = Page.read(name)
    for tag, attribute, value in Attributes(page.html).found:
        if attribute in ("src", "href", "action", "srcset", "poster"):
            assert re.match(r"data:|#|/(?!/)", value), (tag, value)
        # The policy forbids these, so a page that had them would be broken.
        assert attribute != "style"
        assert not attribute.startswith("on")
    assert len(page.scripts) == len(page.styles) == 1
    style = page.html.partition("<style>")[2].partition("</style>")[0]
    script = page.html.partition("<script>")[2].partition("</script>")[0]
    assert not re.search(r"@import|url\(|https?://", style)
    assert not re.search(r"innerHTML|[\"'`]https?://", script)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert page.scripts == (f"'sha256-{digest}'",)
    assert ("html", "lang", "en") in Attributes(page.html).found


def test_the_policy_names_this_page_and_this_host_alone() -> None:
    rules = policy(Page.read("page.html"), "kiosk.local:8080")
    assert "connect-src 'self' ws://kiosk.local:8080 wss://kiosk.local:8080;" in rules
    assert "unsafe" not in rules
    assert "*" not in rules


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ("0", "/dev/video0"),
        ("/dev/video7", "/dev/video7"),
        ("picamera:1", "picamera:1"),
        ("rtsp://user:secret@10.0.0.5:554/stream?key=1", "rtsp://10.0.0.5:554"),
        ("/home/somebody/holiday.mp4", "holiday.mp4"),
    ],
)
def test_the_name_of_a_camera_tells_no_secret(source: str, key: str) -> None:
    offer = named_camera(source)
    assert offer.key == key
    assert "secret" not in offer.title
    assert "somebody" not in offer.title


def test_a_film_plays_again_in_its_own_time(tmp_path: Path) -> None:
    path = tmp_path / "two.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 50, (64, 48))
    for level in (50, 150):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    with named_camera(str(path)).open() as camera:
        frames = [camera.read() for _ in range(5)]
        assert camera.live
    assert camera.ended
    assert [round(float(frame.rgb.mean()), -2) for frame in frames if frame] == [0.0, 100.0, 0.0, 100.0, 0.0]
    with pytest.raises(CameraError, match="no such file"), named_camera(str(tmp_path / "no.avi")).open():
        pass


def test_a_camera_needs_a_plain_name() -> None:
    for key in ("", "a" * 65, "a\nb"):
        with pytest.raises(ArgumentError, match="name"):
            Offer(key, "", lambda: named_camera("0").open())
    assert named_camera("0", Mode(640, 480)).key == "/dev/video0"


def test_the_hottest_part_counts_and_broken_zones_do_not(tmp_path: Path) -> None:
    assert temperature(tmp_path / "none") is None
    for number, text in enumerate(("41200\n", "63500", "x", "-300000", "")):
        (tmp_path / f"thermal_zone{number}").mkdir()
        (tmp_path / f"thermal_zone{number}" / "temp").write_text(text)
    assert temperature(tmp_path) == 63.5
    assert resident_bytes() > 10_000_000
    assert cpu_seconds() > 0.01


def test_numbers_are_written_as_prometheus_reads_them() -> None:
    metrics, histogram = Metrics(), Histogram((0.1, 1.0))
    metrics.count("requests", path='a"\\\n', status="200")
    metrics.count("frames", 3)
    for seconds in (0.1, 0.5, 7.0):
        histogram.add(seconds)
    text = exposition(metrics.samples(), {"t_seconds": ("Time.", histogram)})
    assert 'edgeface_requests_total{path="a\\"\\\\\\n",status="200"} 1\n' in text
    assert "edgeface_frames_total 3\n" in text
    assert "edgeface_frames_dropped_total 0\n" in text
    assert 't_seconds_bucket{le="0.1"} 1\nt_seconds_bucket{le="1"} 2\nt_seconds_bucket{le="+Inf"} 3\n' in text
    assert "t_seconds_sum 7.6\nt_seconds_count 3\n" in text
    assert text.count("# TYPE edgeface_frames_total counter") == 1
    assert metrics.total("frames") == 3


def shot(privacy: str = "off", size: tuple[int, int] = (90, 120)) -> Shot:
    rgb = np.full((*size, 3), 200, np.uint8)
    face = Face(BBox(30, 20, 40, 50))
    frame = FrameResult((face,), size[1], size[0], timestamp_ns=5, source="wall")
    result = TrackResult(
        frame, (Track(4, face, 10, True, facing=True),), (TrackEvent("appeared", 4, 5, 10),), True
    )
    return Shot(9, Moment(Frame(rgb, 5, "wall"), Seen(result, (face,)), 7, 3, 1, 2), privacy, 24.999)


def test_a_shot_tells_its_result_and_how_it_came() -> None:
    told = json.loads(shot().text())
    assert told["stream"] == {
        "number": 9, "age_ns": 7, "took_ns": 3, "dropped": 1, "dropped_total": 2, "fps": 25.0,
    }  # fmt: skip
    assert told["tracks"][0]["id"] == 4
    assert json.loads(shot("counts").text()) == {
        "schema": "edgeface.counts/1", "timestamp_ns": 5, "faces": 1, "facing": 1,
        "events": [{"kind": "appeared", "id": 4, "timestamp_ns": 5, "dwell_ns": 10}],
        "stream": told["stream"],
    }  # fmt: skip


def test_a_shot_is_encoded_once_and_never_larger_than_a_screen() -> None:
    one = shot(size=(1000, 2000))
    assert one.jpeg(overlay=False) is one.jpeg(overlay=False)
    assert one.jpeg(overlay=True) != one.jpeg(overlay=False)
    assert cv2.imdecode(np.frombuffer(one.jpeg(overlay=False), np.uint8), cv2.IMREAD_COLOR).shape == (
        640,
        1280,
        3,
    )
    masked = cv2.imdecode(np.frombuffer(shot("mask").jpeg(overlay=False), np.uint8), cv2.IMREAD_COLOR)
    assert masked[45, 50].tolist() != [200, 200, 200]
    assert masked[80, 110].tolist() == [200, 200, 200]
    with pytest.raises(FrameError, match="counts"):
        shot("counts").jpeg(overlay=False)


def test_whoever_missed_a_picture_is_told_what_happened_in_it() -> None:
    missed = [TrackEvent("disappeared", 3, 4, 99)]
    told = json.loads(shot().text(missed))
    assert [event["id"] for event in told["events"]] == [3, 4]
    assert [event["id"] for event in json.loads(shot().text())["events"]] == [4]


def test_over_a_hidden_face_no_shape_is_drawn() -> None:
    drawn, bare = (
        cv2.imdecode(np.frombuffer(shot("mask").jpeg(overlay), np.uint8), cv2.IMREAD_COLOR)
        for overlay in (True, False)
    )
    assert np.abs(cv2.resize(drawn, (120, 90)).astype(int) - bare)[40:50, 45:55].max() < 40
