"""Promises 3, 4, 9 and 10: damaged, cut, hostile and swapped bundles are refused before anything runs."""

from __future__ import annotations

import copy
import os
import random
import socket
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import edgeface.bundle
from edgeface.analyzer import FaceAnalyzer
from edgeface.backends.scripted import ScriptedBackend
from edgeface.bundle import Bundle, encode_bundle
from edgeface.errors import BundleError
from tests.bundles import MAGIC, START, TINY, canonical, opened, seal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgeface.bundle import ModelSpec

RANDOM_BITS = 20_000


@pytest.fixture(scope="module")
def tiny() -> bytes:
    return TINY.read_bytes()


@pytest.fixture(scope="module")
def smallest(tiny: bytes) -> bytes:
    """A bundle of the smallest model alone, so that all of its bits can be tried in seconds."""
    bundle, (header, _) = Bundle.from_bytes(tiny), opened(tiny)
    task = min(bundle.tasks, key=lambda name: len(bundle.artifact(bundle.model(name).artifact)))
    header = {**header, "models": {task: header["models"][task]}, "cards": {}}
    header.pop("artifacts")
    name = bundle.model(task).artifact
    return encode_bundle(header, {name: bundle.artifact(name)})


class Spy:
    """Counts the models whose description is parsed; a damaged bundle must not come so far."""

    def __init__(self, real: Callable[[object, str], ModelSpec]) -> None:
        self._real = real
        self.calls = 0

    def __call__(self, value: object, path: str) -> ModelSpec:
        self.calls += 1
        return self._real(value, path)


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> Spy:
    spy = Spy(edgeface.bundle.parse_model)
    monkeypatch.setattr(edgeface.bundle, "parse_model", spy)
    return spy


def flipped(data: bytes, bit: int) -> bytes:
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << (bit % 8)
    return bytes(damaged)


def accepted(data: bytes) -> bool:
    try:
        Bundle.from_bytes(data)
    except BundleError:
        return False
    return True


def test_the_spy_sees_a_good_bundle(smallest: bytes, parser: Spy) -> None:
    assert accepted(smallest)
    assert parser.calls == 1


def test_every_flipped_bit_of_the_smallest_model_is_refused(smallest: bytes, parser: Spy) -> None:
    survivors = [bit for bit in range(8 * len(smallest)) if accepted(flipped(smallest, bit))]
    assert survivors == []
    assert parser.calls == 0


def test_random_flipped_bits_of_the_whole_bundle_are_refused(tiny: bytes, parser: Spy) -> None:
    bits = random.Random(23).sample(range(8 * len(tiny)), RANDOM_BITS)
    assert [bit for bit in bits if accepted(flipped(tiny, bit))] == []
    assert parser.calls == 0


def test_no_backend_opens_a_damaged_bundle(tiny: bytes, tmp_path: Path) -> None:
    backend = ScriptedBackend({})
    path = tmp_path / "damaged.bundle"
    for bit in random.Random(7).sample(range(8 * len(tiny)), 100):
        path.write_bytes(flipped(tiny, bit))
        with pytest.raises(BundleError, match=r"damaged\.bundle"):
            FaceAnalyzer(bundle=path, backend=backend)
    assert backend.opened == []


def test_the_damaged_artifact_is_named(tiny: bytes) -> None:
    header, body = opened(tiny)
    position = len(tiny) - len(body)
    for artifact in header["artifacts"]:
        with pytest.raises(BundleError, match=f"artifact '{artifact['name']}': SHA-256 does not match"):
            Bundle.from_bytes(flipped(tiny, 8 * position))
        position += artifact["size"]


def test_every_shorter_length_is_refused(smallest: bytes, parser: Spy) -> None:
    assert [end for end in range(len(smallest)) if accepted(smallest[:end])] == []
    assert parser.calls == 0


def test_every_longer_length_is_refused(smallest: bytes, parser: Spy) -> None:
    for tail in (bytes(2000), b"\n" * 2000, smallest):
        assert [extra for extra in range(1, 2000) if accepted(smallest + tail[:extra])] == []
    assert parser.calls == 0


HOSTILE_NAMES = [
    "", ".", "..", "../x", "x/../y", "/etc/passwd", "a/b", "a\\b", "..\\x", "C:x", "C:\\x", "~root",
    "-rf", "_x", ".hidden", "x..y", "a\0b", "a\nb", "a b", " a", "a ", "A.tflite", "é", "\u202ex",
    "\ud83d\ude00", "％2e", "%2e%2e%2f", "a;b", "$(id)", "`id`", "a|b", "*", "?", "x" * 65, "x" * 5000,
    "\x1b[2J", "con:", "file://x", "\uff0e\uff0e/x",
]  # fmt: skip
HOSTILE_ARTIFACTS: dict[str, Callable[[list[Any]], Any]] = {
    "not a list": lambda _: {"name": "x"},
    "null": lambda _: None,
    "empty": lambda _: [],
    "numbers": lambda _: [1, 2],
    "duplicate names": lambda good: [*good, good[0]],
    "too many": lambda good: good * 200,
    "negative size": lambda good: [{**good[0], "size": -1}],
    "huge size": lambda good: [{**good[0], "size": 2**63}],
    "size beyond float": lambda good: [{**good[0], "size": 10**300}],
    "size past the end": lambda good: [{**good[0], "size": 2**28 - 1}],
    "float size": lambda good: [{**good[0], "size": float(good[0]["size"])}],
    "boolean size": lambda good: [{**good[0], "size": True}],
    "text size": lambda good: [{**good[0], "size": "100"}],
    "sizes that overlap": lambda good: [{**item, "size": item["size"] + 1} for item in good],
    "no digest": lambda good: [{key: good[0][key] for key in ("name", "size")}],
    "short digest": lambda good: [{**good[0], "sha256": "00"}],
    "upper-case digest": lambda good: [{**good[0], "sha256": good[0]["sha256"].upper()}],
    "digest of something else": lambda good: [{**good[0], "sha256": "0" * 64}, *good[1:]],
    "a link target": lambda good: [{**good[0], "link": "/etc/passwd"}],
    "a mode": lambda good: [{**good[0], "mode": 0o4755}],
    "another order": lambda good: good[::-1],
    "one left out": lambda good: good[:-1],
}


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=lambda name: ascii(name)[:30])
def test_hostile_artifact_names_are_refused(smallest: bytes, name: str) -> None:
    header, body = opened(smallest)
    header["artifacts"][0]["name"] = name
    for model in header["models"].values():
        model["artifact"] = name
    text = canonical_bytes(header)
    with pytest.raises(BundleError) as caught:
        Bundle.from_bytes(seal(text, body))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def canonical_bytes(header: object) -> bytes:
    try:
        return canonical(header)
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8; an attacker writes its bytes anyway
        return canonical(str(header)).replace(b"\\ud83d", b"\xed\xa0\xbd")


@pytest.mark.parametrize("case", HOSTILE_ARTIFACTS)
def test_hostile_artifact_lists_are_refused(tiny: bytes, case: str) -> None:
    header, body = opened(tiny)
    header["artifacts"] = HOSTILE_ARTIFACTS[case](copy.deepcopy(header["artifacts"]))
    with pytest.raises(BundleError):
        Bundle.from_bytes(seal(header, body))


def hostile_headers(good: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    text = canonical(good)
    yield "empty", b""
    yield "null", b"null"
    yield "a list", b"[]"
    yield "a number", b"1"
    yield "not JSON", b"{"
    yield "not UTF-8", b'{"name":"\xff"}'
    yield "UTF-16", text.decode().encode("utf-16")
    yield "byte order mark", b"\xef\xbb\xbf" + text
    yield "trailing space", text + b" "
    yield "two headers", text + text
    yield "duplicate key", b'{"artifacts":[],' + text[1:]
    yield "NaN", text.replace(b'"version":', b'"version":NaN,"x":', 1)
    yield "deep nesting", b"[" * 200_000 + b"]" * 200_000
    yield "deep objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    yield "a number of 100,000 digits", b'{"name":' + b"9" * 100_000 + b"}"
    yield "escaped spelling", text.replace(b'"name"', b'"n\\u0061me"', 1)


def test_hostile_headers_are_refused(smallest: bytes) -> None:
    good, body = opened(smallest)
    cases = list(hostile_headers(good))
    for label, text in cases:
        with pytest.raises(BundleError) as caught:
            Bundle.from_bytes(seal(text, body))
        assert str(caught.value).isprintable(), label
    assert len(cases) + len(HOSTILE_NAMES) + len(HOSTILE_ARTIFACTS) >= 60


@pytest.mark.parametrize("length", [0, 1, 2**20 + 1, 2**31, 2**32, 2**63, 2**64 - 1])
def test_absurd_header_lengths_are_refused(smallest: bytes, length: int) -> None:
    with pytest.raises(BundleError):
        Bundle.from_bytes(MAGIC + struct.pack("<IQ", 1, length) + smallest[len(MAGIC) + 12 :])


def test_what_is_not_a_bundle_is_refused() -> None:
    for data in (
        b"",
        b"\0",
        MAGIC,
        MAGIC[:-1],
        b"TFL3" * 50,
        b"PK\x03\x04" * 50,
        bytes(START),
        os.urandom(4096),
    ):
        with pytest.raises(BundleError, match="is not an EdgeFace bundle"):
            Bundle.from_bytes(data)


def refuse(path: str | Path, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Bundle.load(path)


def test_hostile_paths_are_refused_at_once(tiny: bytes, tmp_path: Path) -> None:
    good = tmp_path / "good.bundle"
    good.write_bytes(tiny)
    (tmp_path / "to-file").symlink_to(good)
    (tmp_path / "to-nothing").symlink_to(tmp_path / "nothing")
    (tmp_path / "to-itself").symlink_to(tmp_path / "to-itself")
    (tmp_path / "to-device").symlink_to("/dev/zero")
    for name in ("to-file", "to-nothing", "to-itself", "to-device"):
        refuse(tmp_path / name, "is a link; give the path of the file itself")
    os.mkfifo(tmp_path / "fifo")
    refuse(tmp_path / "fifo", "not a regular file")
    refuse(tmp_path, "cannot be read|not a regular file")
    refuse("/dev/zero", "not a regular file")
    refuse("/dev/null", "not a regular file")
    with socket.socket(socket.AF_UNIX) as listener:
        # Bound by a short relative name: socket paths are limited to about 100 bytes.
        home = Path.cwd()
        os.chdir(tmp_path)
        try:
            listener.bind("sock")
        finally:
            os.chdir(home)
        refuse(tmp_path / "sock", "cannot be read|not a regular file")
    refuse(tmp_path / "nothing", "cannot be read.*No such file")
    refuse(good / "inside", "cannot be read")
    refuse("a\0b", "cannot be read")
    refuse("x" * 5000, "cannot be read")
    refuse("", "cannot be read")
    empty = tmp_path / "empty"
    empty.touch()
    refuse(empty, "is not an EdgeFace bundle")


def test_a_sparse_giant_is_refused_by_its_size(tmp_path: Path) -> None:
    giant = tmp_path / "giant.bundle"
    with giant.open("wb") as file:
        file.truncate(1 << 40)
    refuse(giant, "more than the 268435456 allowed")


def test_a_file_that_changes_its_size_while_read_is_refused(
    tiny: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "growing.bundle"
    path.write_bytes(tiny)
    real = os.fstat

    def grows(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        if status.st_size == len(tiny):
            with path.open("ab") as file:
                file.write(b"more")
        return status

    monkeypatch.setattr(os, "fstat", grows)
    refuse(path, "its size changed while it was read")


def test_the_bytes_run_are_the_bytes_verified(smallest: bytes, tmp_path: Path) -> None:
    """The file is replaced and overwritten all the time; a load sees one good bundle, whole, or refuses."""
    header, body = opened(smallest)
    other = seal({**header, "name": "other"}, body)
    evil = flipped(smallest, 8 * (len(smallest) - 100))
    path, spare = tmp_path / "live.bundle", tmp_path / "spare"
    path.write_bytes(smallest)

    def swap() -> None:
        for turn in range(10_000):
            data = (smallest, other, evil)[turn % 3]
            if turn % 2:
                path.write_bytes(data)
            else:
                spare.write_bytes(data)
                spare.replace(path)

    swapper = threading.Thread(target=swap)
    swapper.start()
    good, refused = 0, 0
    try:
        while swapper.is_alive():
            try:
                bundle = Bundle.load(path)
            except BundleError:
                refused += 1
                continue
            good += 1
            assert bundle.name in {header["name"], "other"}
            assert b"".join(bundle.artifact(item.name) for item in bundle.artifacts) == body
    finally:
        swapper.join()
    assert good > 0
    assert refused > 0


def test_a_loaded_bundle_does_not_follow_its_file(smallest: bytes, tmp_path: Path) -> None:
    path = tmp_path / "live.bundle"
    path.write_bytes(smallest)
    bundle = Bundle.load(path)
    before = {item.name: bundle.artifact(item.name) for item in bundle.artifacts}
    path.write_bytes(bytes(len(smallest)))
    path.unlink()
    assert {item.name: bundle.artifact(item.name) for item in bundle.artifacts} == before
