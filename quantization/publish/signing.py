"""Private keys, and what their owners sign: a release, which says what a bundle is.

::

    PublishError(ValueError)    what publishing needs is not there or not right; names the mend
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from edgeface import Bundle
from edgeface.store import Release, Signature, encode_envelope, encode_statement
from edgeface.store.release import parse_envelope, signed_bytes

__all__ = ["PublishError", "make_key", "sign_release", "signer", "write_whole"]


class PublishError(ValueError):
    """A repository, a key or a bundle is not what publishing needs; the message names the mend."""


def make_key(path: Path) -> str:
    """A new Ed25519 key: PEM (PKCS 8), for its owner's eyes alone. Returns the public one in hexadecimal.

    It is encrypted where EDGEFACE_KEY_PASSWORD is set.

    Raises:
        PublishError: there is one already; it is never written over.
    """
    password = _password()
    data = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM,
        PrivateFormat.PKCS8,
        BestAvailableEncryption(password) if password else NoEncryption(),
    )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
    except FileExistsError as error:
        raise PublishError(f"{path}: is there already, and a key is never written over") from error
    return str(signer(path).public_key.keyval["public"])


def sign_release(path: Path, keys: Sequence[Path], days: int, boards: Sequence[str] = ()) -> Path:
    """Writes what the owners of ``keys`` say of a bundle beside it, ``BUNDLE.release``, and returns its path.

    Who signs the same bundle later with another key is added to those who did.

    Args:
        path: The bundle.
        keys: Private keys, ``release-NAME.pem``: NAME is what the devices' keys.json calls their owner.
        days: After which devices do not install it any more.
        boards: As `edgeface.store.Release` has them.

    Raises:
        PublishError: a key cannot be read.
        BundleError: the bundle is damaged, or its release is not one.
    """
    data = path.read_bytes()
    bundle = Bundle.from_bytes(data, source=str(path))
    out = path.with_name(f"{path.name}.release")
    made = datetime.now(timezone.utc)
    release = Release.of(data, bundle, made, made + timedelta(days=days), boards)
    payload, signatures = encode_statement(release), {}
    known = parse_envelope(out.read_bytes()) if out.exists() else None
    if known is not None and _same(known.release, release):
        payload = known.payload
        signatures = {item.key: item for item in known.signatures}
    for key in keys:
        name = key.stem.removeprefix("release-")
        signature = signer(key).sign(signed_bytes(payload)).signature
        signatures[name] = Signature(name, bytes.fromhex(signature))
    write_whole(out, encode_envelope(payload, tuple(signatures.values())))
    return out


def _same(old: Release, new: Release) -> bool:
    return (old.sha256, old.boards) == (new.sha256, new.boards)


def signer(path: Path) -> CryptoSigner:
    """Who signs with a private key, decrypted with EDGEFACE_KEY_PASSWORD where that is set.

    Raises:
        PublishError: there is no such key, or it cannot be read.
    """
    try:
        return CryptoSigner(load_pem_private_key(path.read_bytes(), _password()))
    except FileNotFoundError as error:
        raise PublishError(f"{path}: there is no such key; make it, or bring it here") from error
    except (ValueError, TypeError) as error:
        raise PublishError(
            f"{path}: is no private key that can be read ({error}); of one with a password, say it with "
            "EDGEFACE_KEY_PASSWORD"
        ) from error


def _password() -> bytes | None:
    return os.environ.get("EDGEFACE_KEY_PASSWORD", "").encode() or None


def write_whole(path: Path, data: bytes) -> None:
    """Whole or not at all: a web server may be reading the folder."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_bytes(data)
    aside.replace(path)
