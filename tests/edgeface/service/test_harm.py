"""Slow, oversized and malformed clients: each is let go, and a good one is served all the while."""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from edgeface.errors import EdgeFaceError
from edgeface.service import ServiceSettings
from edgeface.service.bodies import RequestError, form_field, json_of
from tests.edgeface.service.running import QUICK, Running, hall, jpeg, running, synthetic


@contextlib.contextmanager
def line(service: Running, *data: bytes) -> Iterator[socket.socket]:
    """A bare connection on which something was sent."""
    with socket.create_connection(("127.0.0.1", service.port), 10) as opened:
        for part in data:
            opened.sendall(part)
        yield opened


def seconds_until_closed(opened: socket.socket) -> float:
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while opened.recv(65536):
            pass
    return time.monotonic() - began


def alive(service: Running) -> bool:
    with service.client() as client:
        return client.get("/healthz").status_code == 200


def test_a_body_over_the_limit_is_refused_before_it_is_read(service: Running) -> None:
    head = b"POST /analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n"
    with line(service, head) as opened:
        assert b"413" in opened.makefile("rb").readline()
    assert alive(service)


def test_a_body_without_a_length_is_cut_off_at_the_limit() -> None:
    limits = replace(QUICK, body=50_000)

    def endless() -> Iterator[bytes]:
        for _ in range(1000):
            yield b"x" * 10_000

    with running(ServiceSettings(limits=limits)) as service, service.client() as client:
        # The answer may overtake the rest of the body, and then the connection is closed on it.
        with contextlib.suppress(httpx.WriteError, httpx.ReadError):
            assert client.post("/analyze", content=endless()).status_code == 413
        assert client.post("/analyze", content=b"x" * 50_001).status_code == 413
        assert client.post("/login", content=b" " * 5000).status_code == 413
        assert client.post("/analyze", content=b"x" * 49_000).status_code == 400
        assert alive(service)


def test_a_picture_of_too_many_pixels_is_refused_by_its_header(client: httpx.Client) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    answer = client.post("/analyze", content=b"\x89PNG\r\n\x1a\n" + header + chunk(b"IEND", b""))
    assert answer.status_code == 400
    assert "30000 x 30000" in answer.json()["error"]


@pytest.mark.parametrize(
    "sent",
    [b"", b"G", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "],
    ids=["silence", "one letter", "half a head"],
)
def test_who_does_not_finish_asking_is_let_go(service: Running, sent: bytes) -> None:
    with line(service, sent) as opened:
        assert seconds_until_closed(opened) < 5


def test_who_asks_letter_by_letter_is_let_go(service: Running) -> None:
    began = time.monotonic()
    with line(service, b"GET / HTTP/1.1\r\nX: ") as opened, contextlib.suppress(ConnectionError):
        while time.monotonic() - began < 6:
            opened.sendall(b"a")
            time.sleep(0.1)
    assert time.monotonic() - began < 5


def test_who_sends_a_body_too_slowly_is_told_so(service: Running) -> None:
    head = b"POST /analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc"
    with line(service, head) as opened:
        assert b"408" in opened.makefile("rb").readline()


def test_a_second_head_is_waited_for_no_longer_than_the_first(service: Running) -> None:
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with line(service, whole) as opened:
        assert b"200" in opened.recv(65536)
        opened.sendall(b"GET / HT")
        assert seconds_until_closed(opened) < 5


def test_who_does_not_read_is_let_go_and_frees_his_seat() -> None:
    settings = ServiceSettings(limits=replace(QUICK, viewers=1))
    with running(settings, [hall(lambda: synthetic(60))], start="hall") as service:
        ask = b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with socket.socket() as deaf, service.client() as client:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", service.port))
            deaf.sendall(ask)
            until = time.monotonic() + 30
            while client.get("/state").json()["viewers"] == 0:
                assert time.monotonic() < until
                time.sleep(0.02)
            assert client.get("/events").status_code == 503
            while client.get("/state").json()["viewers"] == 1:
                assert time.monotonic() < until, "the deaf client keeps its seat"
                time.sleep(0.1)


def test_full_connections_give_way_to_who_asks() -> None:
    limits = replace(QUICK, connections=10, head_seconds=30)
    with running(ServiceSettings(limits=limits)) as service, contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(line(service))
        for _ in range(5):
            assert alive(service)


def test_a_good_client_is_served_while_many_are_slow(service: Running) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(120):
            stack.enter_context(line(service, b"POST /analyze HTTP/1.1\r\nHost: localhost\r\nContent-Le"))
        # After them: a connection that rested for so long may be ended in the moment in which it is used.
        client = stack.enter_context(service.client())
        times = []
        for _ in range(20):
            began = time.monotonic()
            assert client.get("/healthz").status_code == 200
            times.append(time.monotonic() - began)
    assert sorted(times)[10] < 0.5


def test_viewers_are_counted_and_the_next_is_told(service: Running) -> None:
    with (
        running(ServiceSettings(limits=replace(QUICK, viewers=2)), start="hall") as own,
        own.client() as client,
    ):
        with connect(own.ws("/ws")) as one, connect(own.ws("/ws/analyze")):
            one.recv(10)
            assert client.get("/events").status_code == 503
            assert client.get("/stream.mjpg").status_code == 503
            with pytest.raises((ConnectionClosed, InvalidStatus)), connect(own.ws("/ws")) as third:
                third.recv(5)
        until = time.monotonic() + 10
        while client.get("/state").json()["viewers"]:
            assert time.monotonic() < until
            time.sleep(0.02)


def test_a_viewer_who_does_not_answer_gets_no_more_than_two_pictures(service: Running) -> None:
    with connect(service.ws("/ws?frames=1"), max_size=2**24) as viewer:
        first, second = viewer.recv(10), viewer.recv(10)
        with pytest.raises(TimeoutError):
            viewer.recv(1.0)
        viewer.send("seen")
        third = viewer.recv(10)
    for message in (first, second, third):
        assert isinstance(message, bytes)
        length = int.from_bytes(message[:4], "big")
        assert message[4 : 4 + length].startswith(b'{"schema":"edgeface.frame/1"')
        assert message[4 + length :].startswith(b"\xff\xd8")


def test_a_viewer_who_talks_too_much_is_let_go(service: Running) -> None:
    with connect(service.ws("/ws")) as viewer:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(2000):
                viewer.send("x")
            for _ in range(1000):
                viewer.recv(10)
        assert viewer.close_code == 1008


def test_a_webcam_is_answered_picture_by_picture(service: Running) -> None:
    with connect(service.ws("/ws/analyze")) as webcam:
        for sent, said in (
            (b"no picture", "edgeface.error/1"),
            ("text", "edgeface.error/1"),
            (jpeg(), '"faces":[{'),
            (jpeg()[:5000], "edgeface.error/1"),
            (jpeg(), '"tracks":[{"id":1'),
        ):
            webcam.send(sent)
            assert said in str(webcam.recv(10))


def test_a_webcam_that_leaves_before_its_answer_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    # Whoever leaves, his picture waits for its analysis all the same: room for them all.
    with running(ServiceSettings(limits=replace(QUICK, waiting=9))) as service:
        for _ in range(8):
            with connect(service.ws("/ws/analyze")) as webcam:
                webcam.send(jpeg())
                webcam.socket.shutdown(socket.SHUT_RDWR)  # without a word, as where a cable is pulled
        with connect(service.ws("/ws/analyze")) as webcam:
            webcam.send(jpeg())
            assert '"faces":[{' in str(webcam.recv(20))
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_message_over_the_limit_ends_the_webcam_alone(service: Running) -> None:
    with connect(service.ws("/ws/analyze")) as webcam:
        with contextlib.suppress(ConnectionClosed):
            webcam.send(b"x" * (QUICK.message + 1))
        with pytest.raises(ConnectionClosed):
            webcam.recv(10)
    # "Message too big", unless the end of the line overtakes the word for it.
    assert webcam.close_code in (1009, 1006)
    assert alive(service)


def test_noise_instead_of_http_hurts_nobody(service: Running) -> None:
    rng = random.Random(3)
    whole = b"POST /analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\nX-A: b\r\n\r\n" + b"y" * 20
    for round_ in range(60):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 12)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if round_ % 3 == 0:
            data = bytearray(rng.randbytes(rng.randint(1, 400)))
        with contextlib.suppress(ConnectionError), line(service, bytes(data)) as opened:
            opened.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                opened.recv(4096)
    assert alive(service)


def test_noise_instead_of_a_websocket_hurts_nobody(service: Running) -> None:
    rng = random.Random(4)
    shake = (
        f"GET /ws/analyze HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n"
    ).encode()
    for _ in range(30):
        with contextlib.suppress(ConnectionError), line(service, shake) as opened:
            assert b"101" in opened.recv(4096)
            opened.sendall(rng.randbytes(rng.randint(2, 300)))
            opened.settimeout(0.1)
            with contextlib.suppress(TimeoutError):
                opened.recv(4096)
    assert alive(service)


def test_too_many_pictures_at_once_are_refused_and_the_others_answered() -> None:
    limits = replace(QUICK, waiting=1)
    with running(ServiceSettings(limits=limits)) as service:
        statuses: list[int] = []

        def send() -> None:
            with service.client() as client:
                statuses.extend(client.post("/analyze", content=jpeg()).status_code for _ in range(4))

        threads = [threading.Thread(target=send) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200, 503}
        with service.client() as client:
            assert client.post("/analyze", content=jpeg()).status_code == 200


def test_damaged_forms_raise_nothing_else() -> None:
    rng = random.Random(5)
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\nX: y\r\n\r\n'
    whole = head + b"DATA\r\n--b--\r\n"
    assert form_field(whole, 'multipart/form-data; boundary="b"', "image") == b"DATA"
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with contextlib.suppress(RequestError):
            assert isinstance(form_field(bytes(data), "multipart/form-data; boundary=b", "image"), bytes)
    for kind in (
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "b" * 71,
    ):
        with pytest.raises(RequestError, match="boundary"):
            form_field(whole, kind, "image")


def test_a_picture_that_holds_line_ends_and_dashes_comes_whole() -> None:
    picture = bytes(range(256)) * 3 + b"\r\n--\r\n\r\n--bb\r\n"
    form = b"--bBb\r\ncontent-disposition: form-data; name=image\r\n\r\n" + picture + b"\r\n--bBb--"
    assert form_field(form, "multipart/form-data; boundary=bBb", "image") == picture


def test_json_that_is_none_is_refused() -> None:
    for body in (b"", b"[]", b"{", b"\xff", b"[" * 9000, b'{"a":1}' + b" " * 20_000):
        with pytest.raises(EdgeFaceError):
            json_of(body)
    assert json_of(b'{"a": 1}') == {"a": 1}
