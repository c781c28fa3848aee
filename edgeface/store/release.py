"""A release: what a publisher says about a bundle, and signs.

The statement lies beside the bundle, as a DSSE envelope (Dead Simple Signing Envelope 1.0.2 of
secure-systems-lab, the form of in-toto and Sigstore)::

    {
        "payloadType": "application/vnd.edgeface.release+json",
        "payload": BASE64,
        "signatures": [{"keyid": "...", "sig": BASE64}],
    }

and its payload is the statement, JSON of these keys and no other::

    {"schema": "edgeface.release/1", "name": "...", "version": "1.4.0",
     "digest": SHA-256 of the bundle's header, "sha256": SHA-256 of the file, "size": bytes,
     "made": "2026-11-21T12:00:00Z", "expires": "2027-11-21T12:00:00Z",
     "boards": ["raspberrypi,4-model-b"]}

No ``boards`` means any board. A publisher signs `signed_bytes` of `encode_statement` with Ed25519 and puts
the signatures into `encode_envelope`. Nothing here takes a private key: those never come near a device.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from edgeface.errors import BundleError
from edgeface.manifest import Section
from edgeface.store.errors import SignatureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeface.bundle import Bundle

__all__ = [
    "Envelope",
    "Release",
    "Signature",
    "encode_envelope",
    "encode_statement",
    "parse_envelope",
    "signed_bytes",
    "time_text",
]

_KIND = "application/vnd.edgeface.release+json"
_SCHEMA = "edgeface.release/1"
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_MOST_BYTES = 64 << 10
_MOST_SIGNATURES = 64
_MOST_BOARDS = 256
_MOST_SIZE = 1 << 40
_ANEW = "fetch the release again, or ask its publisher"


@dataclass(frozen=True, slots=True)
class Release:
    """A statement about one bundle; true only if its envelope is signed by those who are trusted.

    Attributes:
        name: The bundle's name.
        version: The bundle's version.
        digest: SHA-256 of the bundle's header, as `Bundle.digest`.
        sha256: SHA-256 of the whole file.
        size: Bytes of the whole file.
        made: When it was made, UTC; a clock that is before it is wrong.
        expires: From when on it is not to be installed any more, UTC.
        boards: Names as `edgeface.store.board.board_names` gives them; none: any board.
    """

    name: str
    version: str
    digest: str
    sha256: str
    size: int
    made: datetime
    expires: datetime
    boards: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, data: bytes, bundle: Bundle, made: datetime, expires: datetime, boards: Sequence[str] = ()
    ) -> Release:
        """The statement about a bundle and its bytes, for the publisher to sign."""
        return cls(
            name=bundle.name,
            version=bundle.version,
            digest=bundle.digest,
            sha256=hashlib.sha256(data).hexdigest(),
            size=len(data),
            made=made,
            expires=expires,
            boards=tuple(boards),
        )


@dataclass(frozen=True, slots=True)
class Signature:
    """The bytes of a signature, and the name of the key that its maker says it is from."""

    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A statement with its signatures. Nobody has verified them yet: see `edgeface.store.trust`."""

    payload: bytes
    signatures: tuple[Signature, ...]
    release: Release


def time_text(moment: datetime) -> str:
    """A time as statements write it: UTC, whole seconds."""
    return moment.astimezone(timezone.utc).strftime(_TIME)


def encode_statement(release: Release) -> bytes:
    """The payload: canonical JSON."""
    statement = {
        "schema": _SCHEMA,
        "name": release.name,
        "version": release.version,
        "digest": release.digest,
        "sha256": release.sha256,
        "size": release.size,
        "made": time_text(release.made),
        "expires": time_text(release.expires),
        "boards": list(release.boards),
    }
    return json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def signed_bytes(payload: bytes) -> bytes:
    """What a signature covers: DSSE's pre-authentication encoding of the payload and its type."""
    return b"DSSEv1 %d %s %d %s" % (len(_KIND), _KIND.encode(), len(payload), payload)


def encode_envelope(payload: bytes, signatures: Sequence[Signature] = ()) -> bytes:
    """The file beside the bundle; without signatures it only says what the bundle is for."""
    listed = [{"keyid": item.key, "sig": base64.b64encode(item.value).decode()} for item in signatures]
    text = base64.b64encode(payload).decode()
    return json.dumps({"payloadType": _KIND, "payload": text, "signatures": listed}, indent=1).encode()


def parse_envelope(data: bytes) -> Envelope:
    """Read the file beside the bundle. What it says is not believed by reading it.

    Raises:
        SignatureError: it is no such file; the message names the place in it.
    """
    try:
        if len(data) > _MOST_BYTES:
            raise BundleError(f"{len(data)} bytes, more than the {_MOST_BYTES} allowed")
        section = Section(_json(data), "release")
        if section.text("payloadType") != _KIND:
            raise section.fail("payloadType", _KIND)
        payload = _decoded(section, "payload")
        listed = section.take("signatures")
        if not isinstance(listed, list) or len(listed) > _MOST_SIGNATURES:
            raise section.fail("signatures", f"a list of at most {_MOST_SIGNATURES} signatures")
        section.done()
        signatures = tuple(_signature(item, index) for index, item in enumerate(listed))
        return Envelope(payload, signatures, _release(payload))
    except BundleError as error:
        raise SignatureError(f"the release is not one that this edgeface reads: {error}; {_ANEW}") from error


def _json(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError("it is not JSON") from error


def _decoded(section: Section, key: str) -> bytes:
    text = section.take(key)
    try:
        if not isinstance(text, str):
            raise section.fail(key, "base64 text")
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise section.fail(key, "base64 text") from error


def _signature(item: object, index: int) -> Signature:
    section = Section(item, f"release.signatures[{index}]")
    signature = Signature(section.text("keyid"), _decoded(section, "sig"))
    section.done()
    return signature


def _release(payload: bytes) -> Release:
    section = Section(_json(payload), "statement")
    if section.text("schema") != _SCHEMA:
        raise section.fail("schema", _SCHEMA)
    boards = section.take("boards")
    if not isinstance(boards, list) or len(boards) > _MOST_BOARDS:
        raise section.fail("boards", f"a list of at most {_MOST_BOARDS} names")
    if not all(isinstance(board, str) and board.isprintable() and 0 < len(board) <= 100 for board in boards):
        raise section.fail("boards", "a list of short printable names")
    release = Release(
        name=section.text("name"),
        version=section.text("version"),
        digest=section.digest("digest"),
        sha256=section.digest("sha256"),
        size=section.integer("size", 1, _MOST_SIZE),
        made=_time(section, "made"),
        expires=_time(section, "expires"),
        boards=tuple(boards),
    )
    section.done()
    return release


def _time(section: Section, key: str) -> datetime:
    text = section.text(key)
    try:
        return datetime.strptime(text, _TIME).replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise section.fail(key, "a time such as 2027-11-21T12:00:00Z") from error
