"""Results to a broker: addresses, and a real mosquitto that is slow, ends, refuses, or is not who it says."""

from __future__ import annotations

import datetime
import gc
import ipaddress
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgeface.cli import main
from edgeface.errors import ArgumentError, ServiceError
from edgeface.service import MqttTarget, ServiceSettings
from edgeface.service.mqtt import MqttWriter
from tests.edgeface.service.brokers import PASSWORD, USER, Broker, broker, free_port, program, subscriber
from tests.edgeface.service.running import ASTRONAUT, running
from tests.edgeface.service.watching import SECONDS, wait_for, watched

TOPIC = "kiosk/hall"


def target(to: Broker, **more: object) -> MqttTarget:
    return MqttTarget("localhost" if more.get("tls") else "127.0.0.1", TOPIC, to.port, **more)  # type: ignore[arg-type]


def silent(_text: str) -> None: ...


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("mqtt://broker/t", MqttTarget("broker", "t")),
        ("mqtts://broker/a/b c", MqttTarget("broker", "a/b c", 8883, tls=True)),
        ("mqtt://hall@[::1]:99/a", MqttTarget("::1", "a", 99, "hall")),
    ],
)
def test_addresses(address: str, expected: MqttTarget) -> None:
    found = MqttTarget.parse(address)
    assert found == expected
    assert MqttTarget.parse(str(found)) == found


@pytest.mark.parametrize(
    "address", ["mqtt://host", "mqtt://host/", "http://host/t", "host/t", "mqtt://u:secret@host", "mqtt:///t"]
)
def test_what_is_no_address_is_told_without_repeating_it(address: str) -> None:
    with pytest.raises(ArgumentError, match=r"mqtt://\[USER@\]HOST") as caught:
        MqttTarget.parse(address)
    assert "secret" not in str(caught.value)


def test_a_password_in_the_address_is_refused_and_none_is_ever_shown() -> None:
    with pytest.raises(ArgumentError, match="EDGEFACE_MQTT_PASSWORD") as caught:
        MqttTarget.parse("mqtt://hall:secret@host/t")
    assert "secret" not in str(caught.value)
    held = MqttTarget.parse("mqtt://hall@host/t", "secret")
    assert held.password == "secret"
    assert "secret" not in f"{held}{held!r}"


@pytest.mark.parametrize(
    "wrong",
    [
        {"topic": "a/#"}, {"topic": "+/a"}, {"topic": "a\x00"}, {"topic": "a" * 1025}, {"port": 0},
        {"port": 65536}, {"password": "p"}, {"authority": "ca.pem"},
    ],
)  # fmt: skip
def test_targets_that_no_broker_takes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ArgumentError):
        MqttTarget(**{"host": "h", "topic": "t", **wrong})  # type: ignore[arg-type]


def test_a_broker_elsewhere_without_tls_is_called_exposed() -> None:
    assert MqttTarget("broker.lan", "t").exposed
    assert not MqttTarget("broker.lan", "t", tls=True).exposed
    assert not MqttTarget("127.0.0.1", "t").exposed


def test_results_and_status_reach_a_subscriber(tmp_path: Path) -> None:
    with broker(tmp_path) as to, subscriber(to) as heard:
        with watched(MqttWriter(target(to), silent)) as seen:
            wait_for(lambda: len(heard.results()) >= 5)
            assert seen.outlet.open
        wait_for(lambda: len(heard.status()) == 2)
        assert heard.status() == [(b"online", False), (b"offline", False)]
        told = heard.results()
        assert {one["schema"] for one in told} == {"edgeface.frame/1"}
        numbers = [one["stream"]["number"] for one in told]
        assert numbers == sorted(set(numbers))
        assert any(event["kind"] == "appeared" for one in told for event in one["events"])
        # Of the results nothing is kept for those who come later; of the status the last.
        with subscriber(to) as later:
            wait_for(later.status)
            assert later.status() == [(b"offline", True)]
            assert later.results() == []


def test_in_private_only_counts_are_sent(tmp_path: Path) -> None:
    with broker(tmp_path) as to, subscriber(to) as heard:
        with watched(MqttWriter(target(to), silent), privacy="counts"):
            wait_for(lambda: len(heard.results()) >= 3)
        for one in heard.results():
            assert set(one) == {"schema", "timestamp_ns", "faces", "facing", "events", "stream"}


def test_a_broker_that_ends_and_comes_back_holds_nobody_up(tmp_path: Path) -> None:
    said: list[str] = []
    with broker(tmp_path) as to, watched(MqttWriter(target(to), said.append)) as seen:
        wait_for(lambda: seen.metrics.total("results_written", to="mqtt") >= 3)
        to.stop()
        wait_for(lambda: not seen.outlet.open)
        seen.go_on(10)
        wait_for(lambda: any("cannot be reached" in text for text in said))
        lost = seen.number
        to.start()
        with subscriber(to) as heard:
            wait_for(lambda: [one for one in heard.results() if one["stream"]["number"] > lost])
            assert heard.status()[-1][0] == b"online"
            # What could not be sent was dropped: at most the two that were under way come late.
            assert sum(one["stream"]["number"] < lost for one in heard.results()) <= 2
    kinds = [re.sub(r"\(.*\)", "(why)", text) for text in said]
    assert kinds == [
        "The MQTT broker is reached.",
        "The MQTT broker is lost; it is tried again.",
        "The MQTT broker cannot be reached (why); it is tried again.",
        "The MQTT broker is reached.",
    ]


def test_a_broker_that_sleeps_gets_the_newest_when_it_wakes(tmp_path: Path) -> None:
    with broker(tmp_path) as to, subscriber(to) as heard, watched(MqttWriter(target(to), silent)) as seen:
        wait_for(lambda: len(heard.results()) >= 2)
        with to.asleep():
            asleep = seen.number
            seen.go_on(15)
            awake = seen.number
        wait_for(lambda: [one for one in heard.results() if one["stream"]["number"] >= awake])
        between = [one for one in heard.results() if asleep < one["stream"]["number"] < awake]
        assert len(between) <= 3  # those under way, and one that was being written
        assert seen.outlet.open


def test_a_broker_that_comes_later_is_found(tmp_path: Path) -> None:
    to, said = Broker(tmp_path), list[str]()
    try:
        with watched(MqttWriter(target(to), said.append)) as seen:
            seen.go_on(3)
            wait_for(lambda: said)
            to.start()
            wait_for(lambda: seen.metrics.total("results_written", to="mqtt"))
    finally:
        to.stop()
    assert "cannot be reached (Connection refused)" in said[0]
    assert said[1:] == ["The MQTT broker is reached."]


def test_a_broker_that_says_nothing_holds_nobody_up() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        with watched(MqttWriter(MqttTarget("127.0.0.1", TOPIC, mute.getsockname()[1]), silent)) as seen:
            seen.go_on(5)
            assert not seen.outlet.open
            assert seen.metrics.total("results_written", to="mqtt") == 0


@pytest.fixture
def guarded(tmp_path: Path) -> str:
    """The lines of a configuration that knows one user."""
    passwords = tmp_path / "passwords"
    subprocess.run([program("mosquitto_passwd"), "-b", "-c", passwords, USER, PASSWORD], check=True)
    passwords.chmod(0o644)
    return f"allow_anonymous false\npassword_file {passwords}"


def test_a_password_lets_in_and_a_wrong_one_is_told_once(tmp_path: Path, guarded: str) -> None:
    with broker(tmp_path, guarded) as to:
        for password, answer in ((PASSWORD, "is reached"), ("wrong", r"refuses \(Not authorized\)")):
            said: list[str] = []
            writer = MqttWriter(target(to, user=USER, password=password), said.append)
            wait_for(lambda said=said: said)
            writer.ready(1.5)  # a second attempt says nothing new
            writer.close()
            assert len(said) == 1
            assert re.search(answer, said[0])
            assert password not in said[0]


def certificates(folder: Path) -> tuple[Path, Path]:
    """A certificate of localhost that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "broker.pem", folder / "broker.key"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return public, private


# paho leaves it to the garbage collector to close a socket whose handshake failed.
@pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning")
def test_with_tls_only_a_broker_that_proves_who_it_is_gets_results(tmp_path: Path) -> None:
    public, private = certificates(tmp_path)
    with broker(tmp_path, f"allow_anonymous true\ncertfile {public}\nkeyfile {private}") as to:
        for authority, answer in ((public, "is reached"), (None, "certificate")):
            said: list[str] = []
            writer = MqttWriter(target(to, tls=True, authority=authority), said.append)
            wait_for(lambda said=said: said)
            assert writer.ready(0) == (authority is not None)
            writer.close()
            assert answer in said[0]
    gc.collect()
    for missing in (tmp_path / "none.pem", private):
        with pytest.raises(ServiceError, match="must be a PEM file"):
            MqttWriter(MqttTarget("h", "t", tls=True, authority=missing), silent)


def test_a_service_sends_says_so_and_counts(tmp_path: Path) -> None:
    with broker(tmp_path) as to, subscriber(to) as heard:
        with running(ServiceSettings(mqtt=target(to)), start="hall") as service, service.client() as client:
            assert f"Results go to mqtt://127.0.0.1:{to.port}/{TOPIC}." in service.said
            assert service.said[-1] == "Nothing is stored, and nothing but these results is sent anywhere."
            wait_for(heard.results)
            assert client.get("/state").json()["outlets"] == {"mqtt": True}
            page = client.get("/metrics").text
            assert re.search(r'edgeface_results_written_total\{to="mqtt"\} [1-9]', page)
            assert 'edgeface_outlet_open{to="mqtt"} 1' in page
        wait_for(lambda: heard.status()[-1][0] == b"offline")


@pytest.mark.parametrize("way", ["environment", "file"])
def test_a_process_that_is_killed_is_offline_by_its_last_will(tmp_path: Path, guarded: str, way: str) -> None:
    password = tmp_path / "password"
    password.write_text(f"{PASSWORD if way == 'file' else 'another'}\n")
    port = free_port()
    with broker(tmp_path, f"{guarded}\nlistener {port} 127.0.0.1\nallow_anonymous true") as to:
        to_user = f"mqtt://{USER}@127.0.0.1:{to.port}/{TOPIC}"
        given = ["--mqtt-password-file", str(password)] if way == "file" else []
        process = subprocess.Popen(
            [sys.executable, "-m", "edgeface", "watch", "--camera", f"synthetic:{ASTRONAUT}",
             "--tasks", "none", "--mqtt", to_user, *given],
            env={**os.environ, "EDGEFACE_MQTT_PASSWORD": PASSWORD if way == "environment" else "another"},
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        to.port = port
        try:
            with subscriber(to) as heard:
                wait_for(heard.results, 60)
                process.send_signal(signal.SIGKILL)
                wait_for(lambda: heard.status()[-1][0] == b"offline")
                assert heard.status()[0][0] == b"online"
        finally:
            process.kill()
            out, said = process.communicate(timeout=SECONDS)
    assert out == b""  # results go where it was said, and nowhere else
    assert PASSWORD.encode() not in said


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    assert main(["watch", "--camera", f"synthetic:{ASTRONAUT}", "--mqtt", "mqtt://127.0.0.1/t"]) == 3
    assert "pip install 'edgeface[mqtt]'" in capsys.readouterr().err


def test_a_wrong_command_line_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    check: Callable[..., int] = lambda *more: main(["serve", "--port", "0", *more])  # noqa: E731
    assert check("--mqtt-ca", "ca.pem") == 2
    assert check("--mqtt", "broker") == 2
    assert check("--mqtt", "mqtt://h/t", "--mqtt-ca", "ca.pem") == 2
    assert check("--mqtt", "mqtt://u@h/t", "--mqtt-password-file", str(tmp_path / "none")) == 3
    assert "no password can be read there" in capsys.readouterr().err
