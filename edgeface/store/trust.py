"""Whom this device believes: public keys, and how many of their owners must have signed a release.

The keys are a file that the device's image brings along, outside the store::

    {"schema": "edgeface.keys/1", "threshold": 2, "keys": {"alice": HEX, "bob": HEX, "carol": HEX}}

each a raw Ed25519 public key (RFC 8032), 32 bytes in hexadecimal.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgeface.errors import BundleError
from edgeface.manifest import Section
from edgeface.store.errors import SignatureError, StoreDamagedError, StoreError
from edgeface.store.release import signed_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeface.store.release import Envelope

__all__ = ["TrustedKeys"]

_SCHEMA = "edgeface.keys/1"
_MOST_BYTES = 64 << 10
_MOST_KEYS = 64


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """Public keys by name, 32 bytes each, and how many of them must have signed."""

    keys: Mapping[str, bytes]
    threshold: int = 1

    @classmethod
    def load(cls, path: Path) -> TrustedKeys:
        """Read the file of keys.

        Raises:
            SignatureError: there is none, so nobody is trusted.
            StoreDamagedError: it is no such file.
        """
        try:
            with path.open("rb") as file:
                data = file.read(_MOST_BYTES)
        except OSError as error:
            raise SignatureError(
                f"no public keys at {path} ({error.strerror}), so nobody is trusted; put the publisher's "
                "there, name another file with EDGEFACE_KEYS, or take the bundle without a signature "
                "(--unsigned)"
            ) from error
        try:
            return cls.from_bytes(data)
        except BundleError as error:
            raise StoreDamagedError(f"keys {path}: {error}; write the file anew") from error

    @classmethod
    def from_bytes(cls, data: bytes) -> TrustedKeys:
        """Read the contents of such a file.

        Raises:
            BundleError: names the place in it and what it must hold.
        """
        try:
            section = Section(json.loads(data.decode("utf-8")), "keys")
        except (ValueError, RecursionError) as error:
            raise BundleError("it is not JSON") from error
        if section.text("schema") != _SCHEMA:
            raise section.fail("schema", _SCHEMA)
        listed = Section(section.take("keys"), "keys.keys")
        keys = {name: bytes.fromhex(listed.digest(name)) for name in listed.names()}
        # The same key under two names would count as two owners.
        if not 1 <= len(keys) <= _MOST_KEYS or len(set(keys.values())) != len(keys):
            raise section.fail("keys", f"1 to {_MOST_KEYS} keys, each of them once")
        threshold = section.integer("threshold", 1, len(keys))
        section.done()
        return cls(MappingProxyType(keys), threshold)

    def signers(self, envelope: Envelope) -> tuple[str, ...]:
        """The names of those who signed, sorted; what strangers signed counts for nothing.

        Raises:
            SignatureError: they are fewer than the threshold.
            StoreError: the library that checks signatures is not installed.
        """
        try:
            from cryptography.exceptions import InvalidSignature
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        except ImportError as error:
            raise StoreError(
                "checking signatures needs the package cryptography; pip install 'edgeface[store]'"
            ) from error
        message = signed_bytes(envelope.payload)
        found: set[str] = set()
        for signature in envelope.signatures:
            key = self.keys.get(signature.key)
            if key is None:
                continue
            try:
                Ed25519PublicKey.from_public_bytes(key).verify(signature.value, message)
            except (InvalidSignature, ValueError):  # ValueError: 32 bytes that are no point of the curve
                continue
            found.add(signature.key)
        if len(found) < self.threshold:
            told = ", ".join(sorted({signature.key for signature in envelope.signatures})) or "nobody"
            raise SignatureError(
                f"release {envelope.release.name} {envelope.release.version}: {len(found)} good signatures "
                f"of trusted keys, {self.threshold} needed (it names: {told}); fetch the bundle and its "
                "release again, or put the publisher's public keys onto this device"
            )
        return tuple(sorted(found))
