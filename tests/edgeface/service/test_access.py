"""Strangers are refused: by name, by origin, without the token; the rules alone, and through a socket."""

from __future__ import annotations

import socket
from dataclasses import replace

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from edgeface.errors import ServiceError
from edgeface.service import Limits, ServiceSettings
from edgeface.service.access import Access, Bucket, Buckets
from edgeface.service.settings import is_loopback
from tests.edgeface.service.running import QUICK, TOKEN, Running, running

OPEN = ServiceSettings(host="0.0.0.0", token=TOKEN, limits=replace(QUICK, wrong_tokens=6))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "::1", "[::1]", "127.8.9.1"])
def test_loopback_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    assert ServiceSettings(host=host).token == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "kiosk.local", "", "127.0.0.1.example.org"])
def test_whatever_others_can_reach_needs_one(host: str) -> None:
    with pytest.raises(ServiceError, match="no token"):
        ServiceSettings(host=host)
    assert TOKEN not in repr(ServiceSettings(host=host, token=TOKEN))


def test_a_token_that_can_be_guessed_is_none() -> None:
    with pytest.raises(ServiceError, match="at least 16"):
        ServiceSettings(token="short")


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost", True),
        ("localhost:8080", True),
        ("LOCALHOST.:80", True),
        ("127.0.0.1:1", True),
        ("[::1]:8080", True),
        ("", False),
        ("evil.example", False),
        ("evil.example:8080", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("192.168.1.7", False),
        ("localhost@evil.example", False),
        ("localhost:8080:9", False),
        ("localhost/x", False),
    ],
)
def test_only_names_of_this_machine_are_known(host: str, known: bool) -> None:
    assert Access(ServiceSettings()).knows_host(host) is known


def test_addresses_are_known_where_others_may_come() -> None:
    access = Access(replace(OPEN, names=("kiosk.local",)))
    assert access.knows_host("192.168.1.7:8080")
    assert access.knows_host("[fe80::1]:8080")
    assert access.knows_host("Kiosk.local:8080")
    assert not access.knows_host("rebound.example:8080")


def test_origins_are_told_apart() -> None:
    access = Access(ServiceSettings())
    assert access.is_own("localhost:8080", "http://localhost:8080", None)
    assert access.is_own("localhost:8080", "https://LOCALHOST:8080", "same-origin")
    assert access.is_own("localhost:8080", None, None)
    assert access.is_own("localhost:8080", None, "none")
    for origin in (
        "null",
        "http://localhost:8081",
        "http://evil.example",
        "http://localhost:8080.evil.example",
        "",
    ):
        assert not access.is_own("localhost:8080", origin, None), origin
    assert not access.is_own("localhost:8080", None, "cross-site")
    assert not access.is_own("localhost:8080", None, "same-site")


def test_a_bucket_gives_what_it_holds_and_fills_up_again() -> None:
    now = [0.0]
    bucket = Bucket(2.0, 3.0, lambda: now[0])
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    now[0] = 0.5
    assert [bucket.take() for _ in range(2)] == [True, False]
    now[0] = 100.0
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]


def test_addresses_without_number_do_not_fill_the_memory() -> None:
    buckets = Buckets(1.0, 1.0, lambda: 0.0)
    assert buckets.of("good").take()
    for number in range(5000):
        buckets.of(f"{number}")
    assert len(buckets._of) == 4096


def test_a_foreign_name_is_refused_before_anything_else(client: httpx.Client) -> None:
    for path in ("/", "/state", "/healthz", "/nothing"):
        answer = client.get(path, headers={"host": "rebound.example"})
        assert answer.status_code == 421
    assert client.post("/analyze", content=b"x" * 10, headers={"host": "rebound.example"}).status_code == 421


def test_two_names_or_none_are_refused(service: Running) -> None:
    for head in (b"Host: localhost\r\nHost: localhost\r\n", b""):
        with socket.create_connection(("127.0.0.1", service.port), 5) as line:
            line.sendall(b"GET /healthz HTTP/1.1\r\n" + head + b"Connection: close\r\n\r\n")
            assert line.makefile("rb").readline().split()[1] in (b"400", b"421")


def test_other_sites_pages_may_not_ask(client: httpx.Client, service: Running) -> None:
    own = {"origin": f"http://127.0.0.1:{service.port}"}
    assert client.request("DELETE", "/camera", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.post("/analyze", content=b"x", headers={"origin": "null"}).status_code == 403
    assert client.get("/snapshot.jpg", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.get("/state", headers={"origin": "http://localhost.evil.example"}).status_code == 403
    assert client.get("/state", headers={**own, "sec-fetch-site": "same-origin"}).status_code == 200
    # A link on another site may lead here: the page itself shows nothing of the camera to that site.
    arriving = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=arriving).status_code == 200
    assert client.get("/state", headers=arriving).status_code == 403


@pytest.mark.parametrize("path", ["/ws", "/ws?frames=1", "/ws/analyze"])
def test_websockets_of_other_sites_are_refused(service: Running, path: str) -> None:
    for origin in ("http://evil.example", "null", f"http://localhost:{service.port}"):
        with pytest.raises(InvalidStatus) as refused, connect(service.ws(path), origin=origin):  # type: ignore[arg-type]  # a str
            pass
        assert refused.value.response.status_code == 403
    with connect(service.ws(path), origin=f"http://127.0.0.1:{service.port}"):  # type: ignore[arg-type]  # a str
        pass


def test_no_answer_lets_a_browser_do_more_than_it_must(client: httpx.Client) -> None:
    for path in ("/", "/state", "/nothing", "/snapshot.jpg"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_without_the_token_nothing_is_told() -> None:
    with running(OPEN, start="hall") as service, service.client() as client:
        assert any("token" in line and TOKEN in line for line in service.said)
        assert any("Everybody in this network" in line for line in service.said)
        for method, path in (
            ("GET", "/state"),
            ("GET", "/metrics"),
            ("GET", "/events"),
            ("GET", "/snapshot.jpg"),
            ("GET", "/stream.mjpg"),
            ("GET", "/openapi.json"),
            ("GET", "/nothing"),
            ("POST", "/analyze"),
            ("POST", "/camera"),
            ("DELETE", "/camera"),
        ):
            answer = client.request(method, path)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert TOKEN not in answer.text
        for path in ("/ws", "/ws/analyze"):
            with pytest.raises(InvalidStatus) as refused, connect(service.ws(path)):
                pass
            assert refused.value.response.status_code == 401
        assert client.get("/healthz").status_code == 200
        page = client.get("/")
        assert page.status_code == 401
        assert "token" in page.text
        assert "EventSource" not in page.text


def test_the_token_opens_as_bearer_and_as_cookie() -> None:
    with running(OPEN, start="hall") as service:
        bearer = {"authorization": f"Bearer {TOKEN}"}
        with service.client() as client:
            assert client.get("/state", headers=bearer).status_code == 200
            assert client.get("/state", headers={"authorization": f"Basic {TOKEN}"}).status_code == 401
        with service.client() as client:
            assert client.post("/login", json={"token": "wrong"}).status_code == 401
            assert client.post("/login", json={"token": 7}).status_code == 400
            assert client.post("/login", json={"token": "wröng" * 3}).status_code == 401
            answer = client.post("/login", json={"token": TOKEN})
            assert answer.status_code == 204
            cookie = answer.headers["set-cookie"]
            assert TOKEN not in cookie
            for part in ("HttpOnly", "SameSite=strict", "Path=/"):
                assert part in cookie
            assert client.get("/state").status_code == 200
            assert client.get("/").status_code == 200
            value = cookie.partition(";")[0]
            with connect(service.ws("/ws"), additional_headers={"cookie": value}) as line:
                assert "edgeface.frame/1" in str(line.recv(10))
        with service.client(headers={"cookie": f"other=}}{{,; {value}; x"}) as client:
            assert client.get("/state").status_code == 200
        with service.client(headers={"cookie": "edgeface=guess"}) as client:
            # As often as it likes: it is the cookie of an earlier start, and not a guess.
            assert [client.get("/state").status_code for _ in range(9)] == [401] * 9
            assert client.post("/login", json={"token": TOKEN}).status_code == 204


def test_guessing_ends_soon() -> None:
    with running(OPEN) as service, service.client() as client:
        wrong = {"authorization": "Bearer a-wrong-token-of-some-length"}
        answers = [client.get("/state", headers=wrong).status_code for _ in range(10)]
        assert answers[:6] == [401] * 6
        assert answers[6:] == [429] * 4
        # Not even the right one is compared now: whether it is right is what a guesser wants to know.
        assert client.get("/state", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 429
        assert client.post("/login", json={"token": TOKEN}).status_code == 429
        assert client.get("/healthz").status_code == 200


def test_asking_too_often_is_refused_for_a_while() -> None:
    with running(ServiceSettings(limits=Limits(rate=5, burst=8))) as service, service.client() as client:
        answers = [client.get("/healthz") for _ in range(12)]
        statuses = [answer.status_code for answer in answers]
        assert statuses[:8] == [200] * 8
        assert 429 in statuses
        assert answers[-1].headers.get("retry-after", "5") == "5"
