"""What a program gets, over real sockets: pictures analysed, the camera's results, numbers, a description."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import httpx
import jsonschema
import numpy as np
import pytest

from edgeface import FaceAnalyzer, read_image
from edgeface.errors import ServiceError
from edgeface.service import Limits, ServiceSettings, serve
from tests.edgeface.service.running import (
    ASTRONAUT,
    QUICK,
    Running,
    astronaut,
    hall,
    jpeg,
    running,
    synthetic,
)


def wait_for(done: Callable[[], Any], seconds: float = 20.0) -> Any:
    """What `done` answers as soon as it is something."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = done()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def newest(client: httpx.Client) -> httpx.Response:
    def shown() -> httpx.Response | None:
        answer = client.get("/snapshot.jpg")
        return answer if answer.status_code == 200 else None

    return wait_for(shown)


def schema(repository: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((repository / "edgeface" / "schema.json").read_text())
    return found


def test_a_picture_is_answered_as_the_analyzer_answers_it(client: httpx.Client, repository: Path) -> None:
    answer = client.post("/analyze", content=ASTRONAUT.read_bytes())
    assert answer.status_code == 200
    told = answer.json()
    jsonschema.validate(told, schema(repository))
    with FaceAnalyzer() as analyzer:
        expected = analyzer.analyze(read_image(ASTRONAUT)).to_dict()
    assert told["faces"] == expected["faces"]
    assert len(told["faces"]) == 1


def test_a_form_is_answered_like_a_body(client: httpx.Client) -> None:
    picture = jpeg()
    plain = client.post("/analyze", content=picture)
    form = client.post("/analyze", files={"image": ("me.jpg", picture, "image/jpeg")}, data={"note": "hello"})
    assert plain.status_code == form.status_code == 200
    assert plain.json()["faces"] == form.json()["faces"]
    assert len(form.json()["faces"]) == 1


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"", "image/jpeg", "upload"),
        (b"no picture", "image/jpeg", "upload"),
        (jpeg()[:2000], "image/jpeg", "cut off|ends|incomplete|upload"),
        (jpeg(), "multipart/form-data", "boundary"),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x", "last boundary"),
        (
            b'--x\r\nContent-Disposition: form-data; name="photo"\r\n\r\nabc\r\n--x--',
            "multipart/form-data; boundary=x",
            "'image'",
        ),
        (b"--x\r\n\r\n" * 99 + b"--x--", "multipart/form-data; boundary=x", "parts"),
    ],
    ids=["nothing", "text", "cut", "no boundary", "cut form", "other field", "many parts"],
)
def test_what_is_no_picture_is_refused_with_a_reason(
    client: httpx.Client, body: bytes, kind: str, said: str
) -> None:
    answer = client.post("/analyze", content=body, headers={"content-type": kind})
    assert answer.status_code == 400
    assert answer.json()["schema"] == "edgeface.error/1"
    assert re.search(said, answer.json()["error"])


def test_the_camera_is_started_stopped_and_chosen_by_name(repository: Path) -> None:
    with running(offers=[hall(), hall(key="door")]) as service, service.client() as client:
        assert client.get("/state").json()["running"] is False
        assert client.get("/snapshot.jpg").status_code == 503
        state = client.post("/camera", json={"camera": "door", "tasks": ["expression"]}).json()
        assert (state["running"], state["camera"], state["tasks"]) == (True, "door", ["expression"])
        picture = newest(client)
        assert picture.headers["content-type"] == "image/jpeg"
        assert picture.content.startswith(b"\xff\xd8")
        assert newest(client).headers["x-edgeface-number"] > "0"
        state = client.request("DELETE", "/camera").json()
        assert (state["running"], state["camera"]) == (False, None)
        assert client.get("/snapshot.jpg").status_code == 503
        for wrong in (
            {},
            {"camera": "hall", "tasks": ["age"]},
            {"camera": "hall", "tasks": "x"},
            {"camera": 3},
        ):
            assert client.post("/camera", json=wrong).status_code == 400
        assert client.post("/camera", json={"camera": "/etc/passwd"}).status_code == 404
        assert set(client.put("/camera").headers["allow"].split(", ")) == {"POST", "DELETE"}
        assert client.post("/camera", content=b"[1").status_code == 400


def test_a_camera_that_cannot_be_opened_is_said_and_another_can_be_chosen(tmp_path: Path) -> None:
    from edgeface.service import named_camera

    gone = named_camera(str(tmp_path / "gone.mp4"))
    with running(offers=[gone, hall()], start=gone.key) as service, service.client() as client:
        assert any("not on" in line and "gone.mp4" in line for line in service.said)
        answer = client.post("/camera", json={"camera": gone.key})
        assert answer.status_code == 503
        assert "no such file" in answer.json()["error"]
        assert client.post("/camera", json={"camera": "hall"}).json()["running"]


def test_a_camera_that_ends_leaves_no_picture_behind() -> None:
    with (
        running(offers=[hall(lambda: synthetic(count=4))], start="hall") as service,
        service.client() as client,
    ):
        wait_for(lambda: not client.get("/state").json()["running"])
        assert client.get("/snapshot.jpg").status_code == 503
        assert client.get("/state").json()["fault"] == ""


def test_events_carry_results_with_what_the_stream_knows(client: httpx.Client, repository: Path) -> None:
    with client.stream("GET", "/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        told = [
            json.loads(line[6:])
            for _, line in zip(range(22), lines, strict=False)
            if line.startswith("data: ")
        ]
    assert len(told) >= 4
    for result in told:
        jsonschema.validate(result, schema(repository))
    numbers = [result["stream"]["number"] for result in told]
    assert numbers == sorted(set(numbers))
    assert len(told[-1]["tracks"]) == len(told[-1]["faces"]) == 1
    assert told[-1]["stream"]["age_ns"] > 0


def test_pictures_follow_each_other_in_one_answer(client: httpx.Client) -> None:
    data = b""
    with client.stream("GET", "/stream.mjpg?overlay=0") as answer:
        assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
        for part in answer.iter_raw():
            data += part
            if data.count(b"--frame") > 3:
                break
    first = data.split(b"--frame\r\n")[1]
    head, _, body = first.partition(b"\r\n\r\n")
    length = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]  # must be there
    assert body[:2] == b"\xff\xd8"
    assert body[length - 2 : length] == b"\xff\xd9"


def test_prometheus_can_read_the_numbers(client: httpx.Client) -> None:
    newest(client)
    client.post("/analyze", content=jpeg())
    client.get("/nowhere-in-particular")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    sample = re.compile(r'[a-z_]+(\{[a-z_]+="[^"\n]*"(,[a-z_]+="[^"\n]*")*\})? [0-9.e+-]+')
    numbers: dict[str, float] = {}
    for line in answer.text.splitlines():
        if not line.startswith("#"):
            assert sample.fullmatch(line), line
            name, _, value = line.rpartition(" ")
            assert name not in numbers
            numbers[name] = float(value)
    assert numbers["edgeface_camera_up"] == 1
    assert numbers["edgeface_frames_total"] >= 1
    assert numbers["edgeface_pictures_total"] >= 1
    assert numbers['edgeface_requests_total{path="other",status="404"}'] >= 1
    assert "nowhere" not in answer.text
    inside, total = (
        numbers['edgeface_frame_age_seconds_bucket{le="+Inf"}'],
        numbers["edgeface_frame_age_seconds_count"],
    )
    assert inside == total == numbers["edgeface_frames_total"]


def test_the_description_is_valid_and_names_every_route() -> None:
    from openapi_spec_validator import validate

    with running() as service, service.client() as client:
        document = client.get("/openapi.json").json()
        validate(document)
        assert document["openapi"].startswith("3.1")
        for path, operations in document["paths"].items():
            for method in operations:
                if path not in ("/events", "/stream.mjpg"):
                    status = client.request(method, path).status_code
                    assert status not in (404, 405), (method, path)


def test_an_answer_fits_its_description(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()

    def check(name: str, values: Any) -> None:
        described = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema.Draft202012Validator(described).validate(values)

    check("FrameResult", client.post("/analyze", content=jpeg()).json())
    check("State", client.get("/state").json())
    check("Error", client.post("/analyze", content=b"x").json())
    with pytest.raises(jsonschema.ValidationError, match="required"):
        check("State", {"schema": "edgeface.state/1"})


def test_the_schema_that_is_served_is_the_one_that_is_shipped(client: httpx.Client, repository: Path) -> None:
    assert client.get("/schema.json").json() == schema(repository)


def test_a_choice_that_is_none_is_refused(client: httpx.Client) -> None:
    for path in ("/snapshot.jpg", "/stream.mjpg"):
        for query in ("overlay=2", "overlay=", "overlay=1&overlay=0"):
            assert client.get(f"{path}?{query}").status_code == 400


def test_what_is_not_there_or_asked_for_wrongly_is_said(client: httpx.Client) -> None:
    assert client.get("/nothing").status_code == 404
    answer = client.get("/analyze")
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]
    assert client.get("/healthz").json()["status"] == "ok"


def test_an_address_that_is_taken_is_a_service_error(service: Running) -> None:
    with pytest.raises(ServiceError, match="cannot be had"):
        serve(ServiceSettings(port=service.port))
    with pytest.raises(ServiceError, match="no address of this machine"):
        serve(ServiceSettings(host="127.0.0.1.invalid.", token="a" * 16))


def test_it_stops_while_clients_look_on_and_frees_its_threads() -> None:
    import threading

    before = threading.active_count()
    with (
        running(ServiceSettings(limits=QUICK), start="hall") as service,
        service.client() as client,
        client.stream("GET", "/events") as answer,
    ):
        lines = answer.iter_lines()
        next(line for line in lines if line.startswith("data: "))
        began = time.monotonic()
        service.stop()
        assert time.monotonic() - began < 8
        assert not service.thread.is_alive()
        for _ in lines:  # it ends, and not with an error
            pass
    wait_for(lambda: threading.active_count() <= before + 1, 10)  # httpx keeps none; asyncio may end one late


def test_limits_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="body"):
        Limits(body=0)
    with pytest.raises(ValueError, match="privacy"):
        ServiceSettings(privacy="some")


def test_a_face_far_away_is_seen_where_the_settings_ask_for_it() -> None:
    """Fifteen pixels in 640 x 480, a few in one look at the whole."""
    frame = np.full((480, 640, 3), 110, np.uint8)
    small = np.asarray(cv2.resize(astronaut(), None, fx=0.13, fy=0.13, interpolation=cv2.INTER_AREA))
    frame[200 : 200 + small.shape[0], 400 : 400 + small.shape[1]] = small
    counts = []
    for smallest in (None, 12.0):
        with (
            running(ServiceSettings(smallest_face=smallest, limits=QUICK)) as service,
            service.client() as client,
        ):
            answer = client.post("/analyze", content=jpeg(frame))
            counts.append(len(answer.json()["faces"]))
    assert counts == [0, 1]
