"""What a repository offers, and which of it is for this device.

A repository has, beside its bundles, one signed list of them, ``releases.json``::

    {"schema": "edgeface.releases/1",
     "releases": [{"bundle": "students-1.4.0.bundle", "version": "1.4.0", "digest": SHA-256 of its header,
                   "boards": ["raspberrypi,4-model-b"], "rings": ["canary"], "share": 0.25}]}

No boards or rings: any. ``share`` is how much of these devices a staged rollout has reached: which ones, a
digest of the device and the bundle decides, so that every rollout begins with others, and a device that had
its turn keeps it when the share grows.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeface.errors import BundleError
from edgeface.manifest import Section
from edgeface.store import VersionError
from edgeface.store.admission import version_order
from edgeface.update.errors import UntrustedError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Device", "KeptBack", "Offer", "Plan", "parse_releases", "plan", "seat"]

_SCHEMA = "edgeface.releases/1"
_MOST_RELEASES = 1000
_MOST_NAMES = 256


@dataclass(frozen=True, slots=True)
class Offer:
    """A bundle of the repository; ``share`` is 0 to 1, no boards or rings mean any."""

    bundle: str
    version: str
    digest: str
    boards: tuple[str, ...]
    rings: tuple[str, ...]
    share: float


@dataclass(frozen=True, slots=True)
class KeptBack:
    """A newer bundle that is not for this device, or not yet, and why."""

    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is for this device.

    Attributes:
        runs: The version that runs.
        offer: What is to be installed; None: nothing newer is for this device.
        kept_back: What is newer than what runs and not offered, newest first.
    """

    runs: str
    offer: Offer | None
    kept_back: tuple[KeptBack, ...]


@dataclass(frozen=True, slots=True)
class Device:
    """What decides: its name among all, its boards and ring, the newest version that ran, what failed."""

    identity: str
    boards: frozenset[str]
    ring: str
    newest: str
    failed: frozenset[str] = frozenset()


def parse_releases(data: bytes) -> tuple[Offer, ...]:
    """Read the list.

    Raises:
        UntrustedError: it is no such list; the message names the place in it.
    """
    try:
        section = Section(json.loads(data.decode("utf-8")), "releases")
        if section.text("schema") != _SCHEMA:
            raise section.fail("schema", _SCHEMA)
        listed = section.take("releases")
        if not isinstance(listed, list) or len(listed) > _MOST_RELEASES:
            raise section.fail("releases", f"a list of at most {_MOST_RELEASES} releases")
        section.done()
        return tuple(_offer(item, index) for index, item in enumerate(listed))
    except (BundleError, ValueError, RecursionError) as error:
        raise UntrustedError(
            f"releases.json of the repository is not one that this edgeface reads: {error}; a newer edgeface "
            "may read it, or its publisher made a mistake"
        ) from error


def plan(offers: Sequence[Offer], device: Device, runs: str) -> Plan:
    """The newest bundle that is for the device, and why those above it are not.

    Raises:
        UntrustedError: a version is none.
    """
    try:
        newest = version_order(device.newest)
        above = [offer for offer in offers if version_order(offer.version) > newest]
        above.sort(key=lambda offer: version_order(offer.version), reverse=True)
    except VersionError as error:
        raise UntrustedError(f"releases.json of the repository: {error}") from error
    kept: list[KeptBack] = []
    for offer in above:
        reason = _kept_back(offer, device)
        if not reason:
            return Plan(runs, offer, tuple(kept))
        kept.append(KeptBack(offer.version, reason))
    return Plan(runs, None, tuple(kept))


def seat(identity: str, digest: str) -> float:
    """Where a device stands in the queue for a bundle: 0, which is first, to below 1; evenly spread."""
    drawn = hashlib.sha256(f"{identity}\n{digest}".encode()).digest()
    return int.from_bytes(drawn[:6], "big") / 2**48


def _kept_back(offer: Offer, device: Device) -> str:
    if offer.boards and not device.boards & set(offer.boards):
        return f"it is for {', '.join(offer.boards)}"
    if offer.rings and device.ring not in offer.rings:
        return f"it is for the ring {' or '.join(offer.rings)}, and this device is in {device.ring}"
    if offer.digest in device.failed:
        return "it failed on this device before"
    if seat(device.identity, offer.digest) >= offer.share:
        return f"its rollout has reached {offer.share:.0%} of the devices, and this one is not among them yet"
    return ""


def _offer(item: object, index: int) -> Offer:
    section = Section(item, f"releases[{index}]")
    offer = Offer(
        bundle=_file_name(section),
        version=section.text("version"),
        digest=section.digest("digest"),
        boards=_names(section, "boards"),
        rings=_names(section, "rings"),
        share=section.number("share", 0.0, 1.0),
    )
    section.done()
    return offer


def _file_name(section: Section) -> str:
    name = section.text("bundle")
    if not name.endswith(".bundle") or "/" in name or name.startswith("."):
        raise section.fail("bundle", "the name of a .bundle file")
    return name


def _names(section: Section, key: str) -> tuple[str, ...]:
    found = section.take(key)
    if not isinstance(found, list) or len(found) > _MOST_NAMES:
        raise section.fail(key, f"a list of at most {_MOST_NAMES} names")
    if not all(isinstance(name, str) and name.isprintable() and 0 < len(name) <= 100 for name in found):
        raise section.fail(key, "a list of short printable names")
    return tuple(found)
