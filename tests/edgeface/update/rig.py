"""What the tests of updates share: a publisher, a device, and a web server that can be made to misbehave."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from edgeface.store import FileStorage, Store, TrustedKeys
from edgeface.update import Settings, Updates
from edgeface.update.fetcher import Limits
from quantization.publish import Days, Repository, make_key, sign_release
from tests.edgeface.store import rig

QUICK = Limits(gap=0.5, total=20.0, tries=2, pause=0.01)
BOARD = frozenset({"aarch64", "raspberrypi,4-model-b"})


class Publisher:
    """Somebody with keys, who offers small bundles of the versions that a test wants."""

    def __init__(self, folder: Path, **roots: int) -> None:
        self.folder = folder / "repository"
        self.keys = folder / "keys"
        self.repository = Repository(self.folder, self.keys)
        self.root = self.repository.begin(**roots).read_bytes()
        self.owner = self.keys / "release-alice.pem"
        self.repository.trust({"alice": make_key(self.owner)}, 1)

    def offer(
        self,
        version: str,
        *,
        boards: tuple[str, ...] = (),
        padding: int = 0,
        share: float = 1.0,
        **rings: Any,
    ) -> None:
        path = self.folder.parent / f"{version}.bundle"
        path.write_bytes(rig.bundle(version, padding=padding))
        sign_release(path, [self.owner], 30, boards)
        self.repository.add(path, share=share, **rings)

    def speaks(self, **days: int) -> None:
        """Says again that this is the newest, for so many days."""
        Repository(self.folder, self.keys, Days(**days)).refresh()

    def target(self, ending: str) -> Path:
        """The newest file of a target."""
        found = (self.folder / "targets").glob(f"*{ending}")
        return max(found, key=lambda path: path.stat().st_mtime_ns)

    def copied(self, to: Path) -> Path:
        """The repository as it is now, to be served again later."""
        return Path(shutil.copytree(self.folder, to))


def device(
    folder: Path,
    publisher: Publisher,
    source: str | None = None,
    *,
    health: Any = None,
    ring: str = "stable",
    identity: str = "this device",
    limits: Limits = QUICK,
) -> Updates:
    """A device that believes the publisher's first root; one folder is one device."""
    folder.mkdir(exist_ok=True)
    machine = folder / "machine-id"
    machine.write_text(identity)
    return Updates(
        Settings(source or str(publisher.folder), publisher.root, ring),
        store(folder, health),
        folder / "update",
        boards=BOARD,
        machine=machine,
        limits=limits,
    )


def store(folder: Path, health: Any = None) -> Store:
    """The device's store; as `keys_path` does, it takes the keys that came with an update."""
    keys = folder / "keys.json"
    return Store(
        FileStorage(folder / "store"),
        keys=lambda: TrustedKeys.load(keys),
        health=health or rig.Health(),
        boards=BOARD,
    )


def runs(folder: Path) -> str:
    return store(folder).open().bundle.version


@dataclass
class Server:
    """A static server of a folder, and what it does wrong.

    Attributes:
        address: Where it is.
        folder: What it serves; may be changed.
        cut: Ends each connection after so many bytes of a target.
        stall: Stops sending after ``cut`` bytes instead of ending the connection.
        ranges: Knows the header Range.
        status: Answers this to all.
        asked: Path and first byte of every request, in order.
    """

    address: str
    folder: Path
    cut: int | None = None
    stall: bool = False
    ranges: bool = True
    status: int | None = None
    drip: float = 0.0
    asked: list[tuple[str, int]] = field(default_factory=list)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Server]:
    """A real server on this machine, for as long as the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, server)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        http.block_on_close = False
        server = Server(f"http://127.0.0.1:{http.server_address[1]}", folder)
        thread = Thread(target=http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def _answer(request: BaseHTTPRequestHandler, server: Server) -> None:
    wanted = request.headers.get("Range", "")
    begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
    server.asked.append((request.path, begin))
    path = server.folder / request.path.lstrip("/")
    status = server.status or (200 if path.is_file() else 404)
    if status != 200:
        request.send_error(status)
        return
    data = path.read_bytes()[begin:]
    request.send_response(206 if begin else 200)
    if begin:
        request.send_header("Content-Range", f"bytes {begin}-{begin + len(data) - 1}/{begin + len(data)}")
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    target = "/targets/" in request.path
    sent = data[: server.cut] if target and server.cut is not None else data
    with contextlib.suppress(OSError):  # the client gave up, which is its right
        for piece in range(0, len(sent), 1 << 14):
            request.wfile.write(sent[piece : piece + (1 << 14)])
            time.sleep(server.drip if target else 0.0)
        if server.stall and len(sent) < len(data):
            time.sleep(1.5)
    request.close_connection = True
