"""What the tests of the store share: small bundles of any version, releases, keys, and a scripted store."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any

from edgeface.bundle import Bundle, encode_bundle
from edgeface.store import Release, Signature, Store, encode_envelope, encode_statement, signed_bytes
from tests.bundles import TINY, opened

NOW = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
BOARD = frozenset({"aarch64", "raspberrypi,4-model-b", "brcm,bcm2711"})


@cache
def bundle(version: str, name: str = "students", padding: int = 0) -> bytes:
    """The smallest model of the fixture in a bundle of a few kilobytes, or as much more as is asked for."""
    header, _ = opened(TINY.read_bytes())
    held = Bundle.load(TINY)
    task = min(held.tasks, key=lambda task: len(held.artifact(held.model(task).artifact)))
    artifact = held.model(task).artifact
    header = {
        **{key: header[key] for key in ("created_by", "licence")},
        "name": name,
        "version": version,
        "models": {task: header["models"][task]},
    }
    return encode_bundle(header, {artifact: held.artifact(artifact), "padding": bytes(padding)})


def digest(version: str, **options: Any) -> str:
    return Bundle.from_bytes(bundle(version, **options)).digest


def release(data: bytes, **changes: Any) -> Release:
    """What a publisher says of a bundle: valid today, for any board."""
    made = changes.pop("made", NOW - timedelta(days=1))
    expires = changes.pop("expires", NOW + timedelta(days=365))
    said = Release.of(data, Bundle.from_bytes(data), made, expires, changes.pop("boards", ()))
    assert not changes
    return said


def signed(said: Release, **owners: Any) -> bytes:
    """The envelope of a release, signed by private keys, each under the name of its argument."""
    payload = encode_statement(said)
    message = signed_bytes(payload)
    return encode_envelope(payload, [Signature(name, key.sign(message)) for name, key in owners.items()])


class Health:
    """A health check that does what it is told, one entry per call; then all is well."""

    def __init__(self, *script: Exception | None) -> None:
        self.script = list(script)
        self.calls = 0

    def __call__(self, data: bytes) -> None:
        self.calls += 1
        Bundle.from_bytes(data)
        if self.script:
            step = self.script.pop(0)
            if step is not None:
                raise step


def store(storage: Any, health: Any = None, **options: Any) -> Store:
    """A store whose clock and board are set, on any storage."""
    settings = {"health": health or Health(), "boards": BOARD, "now": lambda: NOW, **options}
    return Store(storage, **settings)


def installed(place: Store) -> tuple[str, str]:
    """The version that runs and the trouble with it."""
    found = place.open()
    return found.bundle.version, found.trouble


def photo() -> Path:
    return Path(__file__).parents[3] / "examples" / "astronaut.jpg"
