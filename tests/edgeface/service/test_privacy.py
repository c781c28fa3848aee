"""What privacy hides: nothing of a face in any picture, or nothing but counts; and nothing on the disk."""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.sync.client import connect

from edgeface import BBox, Blendshapes, Face, FaceAnalyzer, FrameResult
from edgeface.service import ServiceSettings
from edgeface.service.privacy import CoverMemory, counts_of, hide_faces
from tests.edgeface.service.running import QUICK, astronaut, jpeg, running

SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def face() -> Face:
    """The face of the photo."""
    with FaceAnalyzer() as analyzer:
        return analyzer.analyze(astronaut()).faces[0]


def inner(face: Face) -> tuple[slice, slice]:
    """Brows to mouth: the part that tells people apart."""
    points = face.landmarks.points[17:]  # type: ignore[union-attr]  # it was asked for
    low, high = np.floor(points.min(0)).astype(int), np.ceil(points.max(0)).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def detail(rgb: NDArray[np.uint8]) -> float:
    """How much of fine structure there is, grey levels."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).std())


@pytest.mark.parametrize("blur", [True, False])
def test_nothing_of_a_face_is_left_and_the_rest_stays(face: Face, blur: bool) -> None:
    photo = astronaut()
    shown = hide_faces(photo, [face], blur=blur)
    where = inner(face)
    assert detail(shown[where]) < 0.12 * detail(photo[where])
    box = face.bbox
    far = np.ones(photo.shape[:2], bool)
    far[: int(box.y + 2 * box.side), int(box.x - box.side) : int(box.x + 2 * box.side)] = False
    assert np.array_equal(shown[far], photo[far])
    assert np.array_equal(photo, astronaut())


def test_a_blurred_face_holds_no_more_than_a_few_blocks(face: Face) -> None:
    """Two pictures whose faces have the same coarse blocks are blurred to nearly the same."""
    photo, where = astronaut(), inner(face)
    other = photo.copy()
    region = other[where]
    noise = np.random.default_rng(1).normal(0, 40, region.shape)
    noise -= cv2.GaussianBlur(noise, (0, 0), 4)  # fine structure alone
    other[where] = np.clip(region + noise, 0, 255).astype(np.uint8)
    one, two = (hide_faces(picture, [face], blur=True)[where].astype(int) for picture in (photo, other))
    assert np.abs(photo[where].astype(int) - other[where]).mean() > 15
    assert np.abs(one - two).mean() < 4


def test_the_parsing_map_decides_what_is_hidden(face: Face) -> None:
    shown = hide_faces(astronaut(), [face], blur=False)
    hair = face.parsing.to_frame(astronaut().shape[:2]) == face.parsing.names.index("hair")  # type: ignore[union-attr]  # asked for
    skin = face.parsing.to_frame(astronaut().shape[:2]) == face.parsing.names.index("skin")  # type: ignore[union-attr]  # asked for
    changed = (shown != astronaut()).any(-1)
    assert changed[skin].all()
    assert changed[hair].mean() < 0.5


def test_a_face_without_a_map_or_with_a_bad_one_is_hidden_all_the_same(face: Face) -> None:
    from dataclasses import replace

    nothing = replace(face.parsing, labels=np.zeros_like(face.parsing.labels))  # type: ignore[type-var]  # asked for
    lost = replace(face.landmarks, presence=0.1)  # type: ignore[type-var]  # asked for
    for bare in (Face(face.bbox), replace(face, parsing=nothing), replace(face, landmarks=lost)):
        shown = hide_faces(astronaut(), [bare], blur=False)
        assert detail(shown[inner(face)]) < 1.0


def test_faces_at_the_border_and_beyond_are_no_trouble() -> None:
    photo = astronaut()
    boxes = [BBox(-50, -60, 90, 100), BBox(490, 500, 90, 100), BBox(600, 600, 50, 50), BBox(10, 10, 0.5, 0.5)]
    shown = hide_faces(photo, [Face(box) for box in boxes], boxes, blur=True)
    assert shown.shape == photo.shape


def test_a_face_that_turns_away_stays_hidden_for_a_second() -> None:
    memory, box, other = CoverMemory(), BBox(10, 10, 40, 50), BBox(200, 200, 40, 50)
    assert memory.boxes([Face(box)], 0) == []
    assert memory.boxes([Face(other)], SECOND // 2) == [box]
    assert memory.boxes([Face(box)], SECOND * 9 // 10) == [other]
    assert memory.boxes([], SECOND * 19 // 10) == []


@pytest.mark.parametrize("privacy", ["blur", "mask"])
def test_every_picture_that_is_shown_hides_faces_and_their_results_stay(privacy: str) -> None:
    settings = ServiceSettings(privacy=privacy, tasks=("landmarks", "expression"), limits=QUICK)
    with running(settings, start="hall") as service:
        with connect(service.ws("/ws?frames=1"), max_size=2**24) as viewer:
            for _ in range(6):
                message = viewer.recv(20)
                viewer.send("")
                assert isinstance(message, bytes)
                length = int.from_bytes(message[:4], "big")
                result = json.loads(message[4 : 4 + length])
                assert len(result["faces"]) == 1
                assert result["detected"], "while faces are hidden, every frame is searched"
                assert coarse(message[4 + length :], result)
        with service.client() as client:
            answer = client.get("/snapshot.jpg?overlay=0")
            assert coarse(answer.content, result)


def coarse(data: bytes, result: dict[str, Any]) -> bool:
    """Whether the place of the face, as an unhidden picture shows it, holds no detail."""
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    points = np.array(result["faces"][0]["landmarks"]["points"][17:])
    low, high = points.min(0).astype(int), points.max(0).astype(int) + 1
    return detail(bgr[low[1] : high[1], low[0] : high[0]]) < 8


def test_without_privacy_the_same_measure_finds_a_face() -> None:
    with running(start="hall") as service, connect(service.ws("/ws?frames=1"), max_size=2**24) as viewer:
        message = viewer.recv(20)
        assert isinstance(message, bytes)
        length = int.from_bytes(message[:4], "big")
        assert not coarse(message[4 + length :], json.loads(message[4 : 4 + length]))


def test_counts_alone_leave_where_that_is_asked_for() -> None:
    with running(ServiceSettings(privacy="counts", limits=QUICK), start="hall") as service:
        with service.client() as client:
            assert client.get("/snapshot.jpg").status_code == 403
            assert client.get("/stream.mjpg").status_code == 403
            told = client.post("/analyze", content=jpeg()).json()
            assert set(told) == {"schema", "timestamp_ns", "faces"}
            assert told["faces"] == 1
            with client.stream("GET", "/events") as answer:
                line = next(line for line in answer.iter_lines() if line.startswith("data: "))
            assert_counts(json.loads(line[6:]))
        for path in ("/ws", "/ws?frames=1"):
            with connect(service.ws(path)) as viewer:
                for _ in range(4):
                    message = viewer.recv(20)
                    assert isinstance(message, str)
                    assert_counts(json.loads(message))
        with connect(service.ws("/ws/analyze")) as webcam:
            webcam.send(jpeg())
            told = json.loads(webcam.recv(20))
            assert set(told) == {"schema", "timestamp_ns", "faces", "facing", "events"}


def test_counts_tell_nothing_of_how_a_face_moves() -> None:
    face = Face(BBox(1, 2, 30, 40), blendshapes=Blendshapes(("jawOpen",), np.array([0.5], np.float32)))
    result = FrameResult((face,), 64, 48)
    assert "jawOpen" in json.dumps(result.to_dict())
    assert set(counts_of(result)) == {"schema", "timestamp_ns", "faces"}


def assert_counts(told: dict[str, Any]) -> None:
    assert set(told) == {"schema", "timestamp_ns", "faces", "facing", "events", "stream"}
    assert told["schema"] == "edgeface.counts/1"
    assert isinstance(told["faces"], int)
    assert isinstance(told["facing"], int)
    for event in told["events"]:
        assert set(event) == {"kind", "id", "timestamp_ns", "dwell_ns"}
