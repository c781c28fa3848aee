"""A storm of clients that are slow, broken or simply many, and a good client beside them.

The service, the storm and the good client are three processes; the storm comes from other addresses than the
good client, as the limits count by address. Quiet stretches and stormy ones take turns, so that whatever else
the machine does disturbs both; what counts is their ratio. ``python -m benchmarks.live.storm`` sends a
hundred thousand messages and a thousand slow peers, for some three minutes, and prints what the good client
felt.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import psutil

from benchmarks.errors import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["storm", "weathered"]

_ROOT = Path(__file__).resolve().parents[2]
_PHOTO = _ROOT / "examples/astronaut.jpg"
MESSAGES = 100_000
SLOW = 1_000
_TURNS = 4
_MIB = 1 << 20
_ADDRESSES = [f"127.0.0.{last}" for last in range(10, 250)]
_WHOLE = b"POST /analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\nX-A: b\r\n\r\n" + b"y" * 20
_SHAKE = (
    b"GET /ws/analyze HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_ROW = 5  # messages on one connection, one after the other, as far as it is left open


def connected(port: int, order: random.Random) -> socket.socket:
    """A connection from one of the storm's addresses."""
    opened = socket.socket()
    opened.settimeout(0.05)
    opened.bind((order.choice(_ADDRESSES), 0))
    opened.connect(("127.0.0.1", port))
    return opened


def damaged(order: random.Random) -> bytes:
    """A message with bytes that are not its own; every third is noise alone."""
    if order.random() < 0.33:
        return order.randbytes(order.randint(1, 400))
    data = bytearray(_WHOLE)
    for _ in range(order.randint(1, 12)):
        data[order.randrange(len(data))] = order.randrange(256)
    return bytes(data)


def storm(port: int, messages: int, slow: int) -> None:
    """Send damaged messages, while many connections hold half a head each; runs in a process of its own.

    Says how many messages it has sent, line by line; a line on its standard input lets it go on to the next
    stretch, so that there is quiet in between.
    """
    order = random.Random(22)  # noqa: S311  # bad weather needs no cryptography
    sent = 0
    for part in range(_TURNS):
        sys.stdin.readline()
        held: list[socket.socket] = []
        while sent < messages * (part + 1) // _TURNS:
            with contextlib.suppress(OSError):
                if len(held) < slow // _TURNS:
                    held.append(connected(port, order))
                    held[-1].sendall(b"POST /analyze HTTP/1.1\r\nHost: localhost\r\nContent-Le")
            with contextlib.suppress(OSError), connected(port, order) as line:
                if order.random() < 0.5:
                    line.sendall(_SHAKE)
                for _ in range(_ROW):
                    line.sendall(damaged(order))
                    sent += 1
            # A network is no loop that never rests: about a thousand messages a second.
            time.sleep(0.005)
        for one in held:
            one.close()
        print(sent, flush=True)


def waited(client: httpx.Client, go_on: Callable[[], bool]) -> list[float]:
    """Seconds that each request of a good client took, one after the other with a rest between."""
    times = []
    while go_on():
        began = time.perf_counter()
        client.get("/healthz").raise_for_status()
        times.append(time.perf_counter() - began)
        time.sleep(0.025)  # below the limit of 50 a second
    return times


@contextlib.contextmanager
def service() -> Iterator[tuple[int, psutil.Process, list[str]]]:
    """`edgeface serve` as it ships, with its limits: its port, its process and, at the end, what it said."""
    words = [sys.executable, "-m", "edgeface", "serve", "--port", "0", "--camera", f"synthetic:{_PHOTO}"]
    child = subprocess.Popen(words, cwd=_ROOT, stderr=subprocess.PIPE, text=True)
    said: list[str] = []
    try:
        for line in child.stderr or ():
            said.append(line)
            if line.startswith("EdgeFace serves"):
                break
        yield int(said[-1].split(":")[-1]), psutil.Process(child.pid), said
        if child.poll() is not None:
            raise BenchmarkError("the service has ended in the storm")
    finally:
        child.terminate()
        said.append(child.communicate(timeout=30)[1])


def weathered(messages: int, slow: int, rest: float = 10.0) -> dict[str, float]:
    """The good client's p99 in quiet and in a storm, milliseconds, and what the service holds more, MiB.

    Args:
        messages: Damaged ones, in four parts.
        slow: Connections that hold half a head.
        rest: Seconds of quiet before each part.

    Raises:
        BenchmarkError: the service ended, or its output holds a traceback.
        httpx.HTTPError: the good client got no answer, or a bad one.
    """
    quiet: list[float] = []
    stormy: list[float] = []
    with service() as (port, process, said):
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)
        call = f"from benchmarks.live.storm import storm; storm({port}, {messages}, {slow})"
        words = [sys.executable, "-c", call]
        weather = subprocess.Popen(
            words, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        told: list[str] = []
        listener = threading.Thread(target=lambda: told.extend(iter(weather.stdout.readline, "")))
        listener.start()
        with client, weather:
            held = 0
            for turn in range(_TURNS):
                until = time.monotonic() + rest
                quiet += waited(client, lambda until=until: time.monotonic() < until)
                weather.stdin.write("go on\n")
                stormy += waited(client, lambda turn=turn: len(told) <= turn and weather.poll() is None)
                if turn == 0:
                    held = process.memory_info().rss
            grown = (process.memory_info().rss - held) / _MIB
            listener.join()
        if not told or int(told[-1]) < messages:
            raise BenchmarkError(f"the storm ended early: {told}")
    if "Traceback" in "".join(said):
        raise BenchmarkError(f"the service stumbled: {''.join(said)[-2000:]}")
    calm, rough = (1e3 * float(np.percentile(times, 99)) for times in (quiet, stormy))
    return {"quiet_ms": calm, "stormy_ms": rough, "grown_mib": grown, "asked": len(stormy)}


if __name__ == "__main__":
    print(json.dumps(weathered(MESSAGES, SLOW), indent=1))
