"""Promises 5 and 6: whose bundle it is, how old, for which board; everything else is refused, and why."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.errors import BundleError
from edgeface.store import (
    BoardError,
    ExpiredError,
    SignatureError,
    State,
    StoreDamagedError,
    TrustedKeys,
    VersionError,
    encode_envelope,
    encode_statement,
    signed_bytes,
)
from edgeface.store.admission import version_order
from edgeface.store.board import board_names
from edgeface.store.release import parse_envelope
from edgeface.store.state import Slot
from tests.edgeface.store.disks import MemoryStorage
from tests.edgeface.store.rig import BOARD, NOW, bundle, digest, installed, release, signed, store

ed25519 = pytest.importorskip(
    "cryptography.hazmat.primitives.asymmetric.ed25519", reason="needs the extra `store`"
)

ALICE, BOB, CAROL, EVE = (ed25519.Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in range(1, 5))


def keys(threshold: int = 1, **owners: Any) -> TrustedKeys:
    raw = {name: key.public_key().public_bytes_raw() for name, key in owners.items()}
    return TrustedKeys(raw, threshold)


def place(trusted: TrustedKeys | None = None, storage: MemoryStorage | None = None, **options: Any):
    held = trusted or keys(2, alice=ALICE, bob=BOB, carol=CAROL)
    return store(storage or MemoryStorage(), keys=lambda: held, **options)


DATA = bundle("2")
SAID = release(DATA)


def test_a_release_that_enough_signed_is_installed_and_the_status_names_them() -> None:
    shop = place()
    shop.install(DATA, signed(SAID, carol=CAROL, alice=ALICE))
    assert installed(shop) == ("2", "")
    [slot] = shop.status().state.slots.values()
    assert slot.signers == ("alice", "carol")
    [verdict] = shop.verify()
    assert verdict.sound
    assert "signed by alice, carol" in verdict.text


@pytest.mark.parametrize(
    ("owners", "count"),
    [
        ({}, 0),
        ({"alice": ALICE}, 1),
        ({"eve": EVE, "mallory": EVE}, 0),
        ({"alice": ALICE, "eve": EVE}, 1),
        ({"alice": ALICE, "bob": EVE}, 1),
        ({"alice": ALICE, "bob": ALICE}, 1),
        ({"bob": ALICE, "alice": BOB}, 0),
    ],
    ids=[
        "nobody",
        "one of two",
        "strangers",
        "one and a stranger",
        "a forged one",
        "one key twice",
        "swapped",
    ],
)
def test_too_few_signatures_are_refused(owners: dict[str, Any], count: int) -> None:
    shop = place()
    with pytest.raises(SignatureError, match=rf"{count} good signatures of trusted keys, 2 needed"):
        shop.install(DATA, signed(SAID, **owners))
    assert shop.open().slot is None


def test_the_same_signature_twice_counts_once() -> None:
    document = json.loads(signed(SAID, alice=ALICE))
    document["signatures"] *= 2
    with pytest.raises(SignatureError, match="1 good signatures"):
        place().install(DATA, json.dumps(document).encode())


def test_a_bad_signature_beside_enough_good_ones_does_no_harm() -> None:
    shop = place()
    shop.install(DATA, signed(SAID, alice=ALICE, bob=EVE, carol=CAROL, eve=EVE))
    assert shop.status().state.slots["a"].signers == ("alice", "carol")


def test_a_key_that_is_no_point_of_the_curve_signs_nothing() -> None:
    trusted = TrustedKeys({"alice": b"\x02" * 32}, 1)
    with pytest.raises(SignatureError, match="0 good signatures"):
        place(trusted).install(DATA, signed(SAID, alice=ALICE))


def test_a_signature_of_the_payload_alone_or_of_another_type_is_none() -> None:
    payload = encode_statement(SAID)
    document = json.loads(encode_envelope(payload))
    assert signed_bytes(b"hello").endswith(b" 5 hello")
    for message in (payload, signed_bytes(payload).replace(b"release+json", b"another+json")):
        value = base64.b64encode(ALICE.sign(message)).decode()
        document["signatures"] = [{"keyid": "alice", "sig": value}]
        with pytest.raises(SignatureError, match="0 good"):
            place(keys(alice=ALICE)).install(DATA, json.dumps(document).encode())


def test_no_release_or_no_keys_is_refused_and_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SignatureError, match=r"no release beside it.*--unsigned"):
        place().install(DATA)
    monkeypatch.setenv("EDGEFACE_KEYS", str(tmp_path / "keys.json"))
    with pytest.raises(SignatureError, match=r"no public keys at .*keys\.json .*EDGEFACE_KEYS"):
        store(MemoryStorage()).install(DATA, signed(SAID, alice=ALICE))
    (tmp_path / "keys.json").write_text("{}")
    with pytest.raises(StoreDamagedError, match=r"keys\.json: keys: the key 'schema' is missing; write"):
        store(MemoryStorage()).install(DATA, signed(SAID, alice=ALICE))
    raw = ALICE.public_key().public_bytes_raw().hex()
    document = {"schema": "edgeface.keys/1", "threshold": 1, "keys": {"alice": raw}}
    (tmp_path / "keys.json").write_text(json.dumps(document))
    store(MemoryStorage()).install(DATA, signed(SAID, alice=ALICE))


def test_unsigned_is_taken_when_told_and_recorded() -> None:
    shop = place()
    shop.install(DATA, unsigned=True)
    [slot] = shop.status().state.slots.values()
    assert slot.signers == ()
    assert "without a signature" in shop.verify()[0].text


def test_unsigned_still_honours_what_the_release_says() -> None:
    with pytest.raises(ExpiredError):
        place().install(DATA, encode_envelope(encode_statement(release(DATA, expires=NOW))), unsigned=True)
    said = release(DATA, boards=["nvidia,p3768-0000+p3767-0005"])
    with pytest.raises(BoardError):
        place().install(DATA, encode_envelope(encode_statement(said)), unsigned=True)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"version": "3"},
        {"digest": "0" * 64},
        {"sha256": "0" * 64},
        {"size": len(DATA) + 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_mix_and_match_is_refused(change: dict[str, Any]) -> None:
    envelope = signed(replace(SAID, **change), alice=ALICE, bob=BOB)
    with pytest.raises(SignatureError, match="its release speaks of"):
        place().install(DATA, envelope)


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (SAID.expires, "expired on"),
        (SAID.expires + timedelta(days=400), "expired on"),
        (SAID.made - timedelta(seconds=1), "set the clock"),
        (NOW.replace(year=1970), "set the clock"),
    ],
    ids=["at the hour", "later", "before it was made", "no battery"],
)
def test_an_expired_release_or_a_wrong_clock_is_refused(now: Any, message: str) -> None:
    shop = place(now=lambda: now)
    with pytest.raises(ExpiredError, match=message):
        shop.install(DATA, signed(SAID, alice=ALICE, bob=BOB))


def test_the_last_second_counts_and_an_installed_bundle_does_not_expire() -> None:
    storage = MemoryStorage()
    place(storage=storage, now=lambda: SAID.expires - timedelta(seconds=1)).install(
        DATA, signed(SAID, alice=ALICE, bob=BOB)
    )
    later = place(storage=storage, now=lambda: SAID.expires + timedelta(days=9))
    assert installed(later) == ("2", "")
    assert later.verify()[0].sound


@pytest.mark.parametrize(
    ("boards", "taken"),
    [
        ((), True),
        (("brcm,bcm2711",), True),
        (("x86_64", "aarch64"), True),
        (("raspberrypi,5-model-b",), False),
    ],
)
def test_a_bundle_for_another_board_is_refused(boards: tuple[str, ...], taken: bool) -> None:
    envelope = signed(release(DATA, boards=boards), alice=ALICE, bob=BOB)
    shop = place()
    if taken:
        shop.install(DATA, envelope)
        assert installed(shop) == ("2", "")
        return
    with pytest.raises(BoardError, match="is for raspberrypi,5-model-b; this board is aarch64, brcm,bcm2711"):
        shop.install(DATA, envelope)


def test_a_board_is_named_by_its_device_tree(tmp_path: Path) -> None:
    machine = board_names(tmp_path)
    assert len(machine) == 1
    (tmp_path / "compatible").write_bytes(b"raspberrypi,4-model-b\0brcm,bcm2711\0")
    assert board_names(tmp_path) == machine | {"raspberrypi,4-model-b", "brcm,bcm2711"}
    assert machine <= board_names()
    assert "brcm,bcm2711" in BOARD


@pytest.mark.parametrize(
    ("lower", "higher"), [("1", "2"), ("1.9", "1.10"), ("1", "1.0.0.1"), ("0.2.0", "0.2.1"), ("9", "10")]
)
def test_versions_only_go_up_unless_told(lower: str, higher: str) -> None:
    shop = place()
    shop.install(bundle(higher), unsigned=True)
    with pytest.raises(VersionError, match=rf"version {lower} is not above {higher}.*--allow-older"):
        shop.install(bundle(lower), unsigned=True)
    assert installed(shop) == (higher, "")
    shop.install(bundle(lower), unsigned=True, allow_older=True)
    assert installed(shop) == (lower, "")
    shop.install(bundle(higher), unsigned=True)


def test_the_same_bundle_again_changes_nothing_and_the_same_version_of_another_is_refused() -> None:
    storage = MemoryStorage()
    shop = place(storage=storage)
    shop.install(DATA, signed(SAID, alice=ALICE, bob=BOB))
    before = dict(storage.files)
    shop.install(DATA, signed(SAID, alice=ALICE, bob=BOB))
    assert storage.files == before
    with pytest.raises(VersionError, match="not above 2"):
        shop.install(bundle("2", padding=1), unsigned=True)
    assert version_order("1.0") == version_order("1")


@pytest.mark.parametrize("version", ["", "1.2.3.4.5", "1.a", "v1", "1.0-rc1", "-1", "1..2", "٣", "1e3"])
def test_a_version_without_an_order_is_refused(version: str) -> None:
    with pytest.raises(VersionError, match="only numbers between dots"):
        version_order(version)


def test_the_models_that_are_built_in_are_a_floor_for_their_own_name() -> None:
    builtin = place().open().bundle
    with pytest.raises(VersionError, match=f"is not above {builtin.version}"):
        place().install(bundle("0.0.1", name=builtin.name), unsigned=True)
    place().install(bundle("0.0.1", name="others"), unsigned=True)


def test_a_damaged_bundle_is_refused_before_anything_is_written() -> None:
    storage = MemoryStorage()
    for bit in range(0, 8 * len(DATA), 8 * 97 + 1):
        damaged = bytearray(DATA)
        damaged[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(BundleError):
            place(storage=storage).install(bytes(damaged), signed(SAID, alice=ALICE, bob=BOB))
    assert storage.files == {}


def test_every_changed_byte_of_a_release_is_refused_or_changes_nothing() -> None:
    envelope = signed(SAID, alice=ALICE, bob=BOB)
    trusted = keys(2, alice=ALICE, bob=BOB)
    refused = 0
    for index in range(len(envelope)):
        changed = bytearray(envelope)
        changed[index] ^= 1
        try:
            read = parse_envelope(bytes(changed))
            trusted.signers(read)
        except SignatureError:
            refused += 1
        else:
            assert read.release == SAID
    assert refused > 0.9 * len(envelope)


def _edited(**changes: Any) -> bytes:
    statement = {**json.loads(encode_statement(SAID)), **changes}
    return encode_envelope(json.dumps({k: v for k, v in statement.items() if v is not ...}).encode())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"[]", "release: must be an object"),
        (b"[" * 100_000, "more than"),
        (b"[" * 20_000, "not JSON"),
        (b"\xff", "not JSON"),
        (b'{"payloadType": "text/plain"}', "payloadType"),
        (_edited(schema="edgeface.release/2"), "statement.schema"),
        (_edited(made="yesterday"), "statement.made: must be a time"),
        (_edited(expires=...), "'expires' is missing"),
        (_edited(boards="aarch64"), "statement.boards"),
        (_edited(boards=["\x1b[2J"]), "statement.boards"),
        (_edited(size=0), "statement.size"),
        (_edited(version="1\n2"), "statement.version"),
        (_edited(surprise=1), "unknown key 'surprise'"),
        (encode_envelope(b"no JSON"), "not JSON"),
        (signed(SAID).replace(b'"payload": "', b'"payload": "!'), "base64"),
        (signed(SAID).replace(b'"signatures": []', b'"signatures": [1]'), r"signatures\[0\]: must be"),
        (signed(SAID).replace(b'"signatures": []', b'"signatures": {}'), "signatures: must be a list"),
    ],
)
def test_a_file_that_is_no_release_is_refused_by_its_place(data: bytes, message: str) -> None:
    with pytest.raises(
        SignatureError, match=f"not one that this edgeface reads: .*{message}.*fetch the release"
    ):
        parse_envelope(data)


@given(st.binary(max_size=200))
def test_a_release_of_any_bytes_is_refused(data: bytes) -> None:
    with pytest.raises(SignatureError):
        parse_envelope(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": 0}, "threshold"),
        ({"threshold": 3}, "threshold: must be a whole number from 1 to 2"),
        ({"keys": {}}, "keys"),
        ({"keys": {"a": "11" * 32, "b": "11" * 32}}, "each of them once"),
        ({"keys": {"a": "zz"}}, "64 hexadecimal digits"),
        ({"keys": {"a" * 65: "11" * 32}}, "is no name"),
        ({"extra": 1}, "unknown key"),
        ({"schema": "edgeface.keys/2"}, "schema"),
    ],
)
def test_a_file_of_keys_is_read_strictly(change: dict[str, Any], message: str) -> None:
    good = {"schema": "edgeface.keys/1", "threshold": 2, "keys": {"a": "11" * 32, "b": "22" * 32}}
    assert TrustedKeys.from_bytes(json.dumps(good).encode()).threshold == 2
    with pytest.raises(BundleError, match=message):
        TrustedKeys.from_bytes(json.dumps({**good, **change}).encode())


def test_a_changed_byte_of_the_state_is_refused_or_changes_nothing() -> None:
    slot = Slot("students", "1", digest("1"), ("alice",), "{}", "2026-11-21T12:00:00Z")
    state = State().staged(slot, waits=True, failures=2).checked().confirmed_now()
    state = state.staged(replace(slot, version="2", digest=digest("2")), waits=False, failures=1)
    written = state.encode()
    assert State.decode(written).encode() == written
    for index in range(len(written)):
        changed = bytearray(written)
        changed[index] ^= 1
        try:
            assert State.decode(bytes(changed)).encode() == written
        except BundleError:
            continue


def test_verify_notices_keys_that_are_no_longer_trusted() -> None:
    storage = MemoryStorage()
    place(keys(alice=ALICE), storage).install(DATA, signed(SAID, alice=ALICE))
    [verdict] = place(keys(alice=BOB), storage).verify()
    assert not verdict.sound
    assert "0 good signatures" in verdict.text


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from edgeface.store import StoreError

    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(StoreError, match=r"pip install 'edgeface\[store\]'"):
        place().install(DATA, signed(SAID, alice=ALICE))
