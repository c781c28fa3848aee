"""Bundles over a real web server that truncates, delays, drips, forgets ranges, and swaps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from edgeface.store import store_path
from edgeface.update import UnreachableError, UntrustedError
from edgeface.update.fetcher import Limits
from tests.edgeface.update.rig import QUICK, Publisher, device, runs, served

_LARGE = 600_000


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    made = Publisher(tmp_path)
    made.offer("9.0.0", padding=_LARGE)
    return made


def test_a_bundle_comes_over_http(publisher: Publisher, tmp_path: Path) -> None:
    with served(publisher.folder) as server:
        applied = device(tmp_path / "d", publisher, server.address).apply()
    assert applied.slot is not None
    assert applied.slot.signers == ("alice",)
    assert runs(tmp_path / "d") == "9.0.0"
    assert not list((tmp_path / "d/update").glob("*/*.bundle")), "what is installed is not kept twice"


def test_a_connection_that_breaks_is_gone_on_with(publisher: Publisher, tmp_path: Path) -> None:
    with served(publisher.folder) as server:
        server.cut = 200_000
        device(tmp_path / "d", publisher, server.address).apply()
        begins = [begin for path, begin in server.asked if path.endswith(".bundle")]
    assert runs(tmp_path / "d") == "9.0.0"
    assert begins[0] == 0
    assert begins == sorted(set(begins)), "each connection goes on where the one before ended"
    assert len(begins) >= 3


def test_a_server_that_stops_sending_is_left_and_asked_again(publisher: Publisher, tmp_path: Path) -> None:
    with served(publisher.folder) as server:
        server.cut, server.stall = 400_000, True
        device(tmp_path / "d", publisher, server.address).apply()
        begins = [begin for path, begin in server.asked if path.endswith(".bundle")]
    assert runs(tmp_path / "d") == "9.0.0"
    assert begins[1] > 0


def test_a_server_without_ranges_sends_all_again(publisher: Publisher, tmp_path: Path) -> None:
    with served(publisher.folder) as server:
        server.cut = 200_000
        server.ranges = False
        with pytest.raises(UnreachableError, match="no more in 2 tries"):
            device(tmp_path / "d", publisher, server.address).apply()
        server.cut = None
        device(tmp_path / "d", publisher, server.address).apply()
    assert runs(tmp_path / "d") == "9.0.0"


def test_what_came_before_a_kill_is_not_fetched_again(publisher: Publisher, tmp_path: Path) -> None:
    with served(publisher.folder) as server:
        server.drip = 0.05
        program = f"""
            import sys
            from pathlib import Path
            from edgeface.store import FileStorage, Store
            from edgeface.update import Settings, Updates
            settings = Settings({server.address!r}, Path(sys.argv[1]).read_bytes(), "stable")
            folder = Path(sys.argv[2])
            store = Store(FileStorage(folder / "store"))
            Updates(settings, store, folder / "update", boards=frozenset()).apply()
        """
        folder = tmp_path / "d"
        root = tmp_path / "root.json"
        root.write_bytes(publisher.root)
        child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program), root, folder])
        partial = folder / "update" / "partial"
        deadline = time.monotonic() + 60
        while not (partial.exists() and any(path.stat().st_size > 100_000 for path in partial.iterdir())):
            assert child.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        server.drip = 0.0
        server.asked.clear()
        device(folder, publisher, server.address).apply()
        begins = [begin for path, begin in server.asked if path.endswith(".bundle")]
    assert len(begins) == 1
    assert begins[0] > 100_000
    assert runs(folder) == "9.0.0"


def test_what_was_kept_may_be_rubbish(publisher: Publisher, tmp_path: Path) -> None:
    name = publisher.target(".bundle").name
    partial = tmp_path / "d/update/partial"
    partial.mkdir(parents=True)
    (partial / name).write_bytes(b"rubbish" * 1000)
    updates = device(tmp_path / "d", publisher)
    with pytest.raises(UntrustedError):
        updates.apply()
    assert not (partial / name).exists()
    updates.apply()
    assert runs(tmp_path / "d") == "9.0.0"


def test_a_swapped_bundle_is_not_taken(publisher: Publisher, tmp_path: Path) -> None:
    path = publisher.target(".bundle")
    honest = path.read_bytes()
    path.write_bytes(honest[:-1] + b"!")
    before = runs(tmp_path)
    with served(publisher.folder) as server:
        updates = device(tmp_path / "d", publisher, server.address)
        with pytest.raises(UntrustedError, match="not vouched for"):
            updates.apply()
        assert runs(tmp_path / "d") == before
        path.write_bytes(honest)
        updates.apply()
    assert runs(tmp_path / "d") == "9.0.0"


def test_a_bundle_that_never_ends_is_cut_at_its_length(publisher: Publisher, tmp_path: Path) -> None:
    path = publisher.target(".bundle")
    path.write_bytes(path.read_bytes() + bytes(5_000_000))
    device(tmp_path / "d", publisher).apply()
    assert runs(tmp_path / "d") == "9.0.0", "what follows the bundle is none of our business"


def test_a_server_that_drips_holds_a_device_for_a_while_only(publisher: Publisher, tmp_path: Path) -> None:
    with served(publisher.folder) as server:
        server.drip = 0.2
        limits = Limits(gap=2.0, total=1.0, tries=1, pause=0.0)
        with pytest.raises(UnreachableError, match="longer than 1 s"):
            device(tmp_path / "d", publisher, server.address, limits=limits).apply()


@pytest.mark.parametrize("status", [403, 500, 503])
def test_a_server_in_trouble_is_for_another_day(publisher: Publisher, tmp_path: Path, status: int) -> None:
    with served(publisher.folder) as server:
        server.status = status
        with pytest.raises(UnreachableError, match="try again later"):
            device(tmp_path / "d", publisher, server.address).check()


def test_no_server_at_all(publisher: Publisher, tmp_path: Path) -> None:
    with served(publisher.folder) as server:
        address = server.address
    with pytest.raises(UnreachableError, match="try again later"):
        device(tmp_path / "d", publisher, address, limits=QUICK).check()


def test_the_kept_files_are_beside_the_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEFACE_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("EDGEFACE_KEYS", raising=False)
    from edgeface.store import keys_path

    assert store_path() == tmp_path / "store"
    assert keys_path() == Path("/etc/edgeface/keys.json")
    (tmp_path / "keys.json").write_text("{}")
    assert keys_path() == tmp_path / "keys.json"
