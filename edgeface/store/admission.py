"""Whether a bundle may be installed here at all: whose it is, how old, for which board, which version."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from edgeface.store.errors import BoardError, ExpiredError, SignatureError, VersionError
from edgeface.store.release import time_text

if TYPE_CHECKING:
    from datetime import datetime

    from edgeface.bundle import Bundle
    from edgeface.store.release import Release
    from edgeface.store.state import State

__all__ = ["check_board", "check_content", "check_time", "check_version", "version_order"]

_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,3}")


def version_order(version: str) -> tuple[int, ...]:
    """One to four numbers between dots, as something to compare: 1.10 is above 1.9, and 1.0 equals 1.

    Raises:
        VersionError: ``version`` is nothing of the kind.
    """
    if not _VERSION.fullmatch(version):
        raise VersionError(
            f"version {version[:40]!a}: only numbers between dots, such as 1.4.0, have an order; pack the "
            "bundle with such a version"
        )
    numbers = [int(number) for number in version.split(".")]
    return (*numbers, *[0] * (4 - len(numbers)))


def check_content(release: Release, data: bytes, bundle: Bundle) -> None:
    """The release speaks of this very file.

    Raises:
        SignatureError: it speaks of another one.
    """
    told = (release.name, release.version, release.digest, release.sha256, release.size)
    found = (bundle.name, bundle.version, bundle.digest, hashlib.sha256(data).hexdigest(), len(data))
    if told != found:
        raise SignatureError(
            f"bundle {bundle.source}: is {bundle.name} {bundle.version}, digest {bundle.digest[:12]}; its "
            f"release speaks of {release.name} {release.version}, digest {release.digest[:12]}; fetch both "
            "again, from the same place"
        )


def check_time(release: Release, now: datetime) -> None:
    """The release has not expired, as far as a clock can be believed that may have no battery.

    Raises:
        ExpiredError: it has, or the clock shows a time before the release was made.
    """
    if now < release.made:
        raise ExpiredError(
            f"release {release.name} {release.version}: was made on {time_text(release.made)} and this "
            f"device's clock shows {time_text(now)}; set the clock (timedatectl set-ntp true) and try again"
        )
    if now >= release.expires:
        raise ExpiredError(
            f"release {release.name} {release.version}: expired on {time_text(release.expires)}; fetch a "
            "newer one, or ask the publisher to sign it for longer"
        )


def check_board(release: Release, boards: frozenset[str]) -> None:
    """The release is for this board, or for any.

    Raises:
        BoardError: it is for others.
    """
    if release.boards and not boards & set(release.boards):
        raise BoardError(
            f"release {release.name} {release.version}: is for {', '.join(release.boards)}; this board is "
            f"{', '.join(sorted(boards))}; fetch the bundle that was made for it"
        )


def check_version(bundle: Bundle, state: State, floor: str | None) -> None:
    """The version is above ``floor``, and this bundle was not given up before.

    Raises:
        VersionError: it is not, or it was, or it cannot be compared.
    """
    for failed in state.failed:
        if failed.digest == bundle.digest:
            raise VersionError(
                f"bundle {bundle.source}: version {bundle.version} was given up on this device "
                f"({failed.reason}); install a newer one, or try this one again with --allow-older"
            )
    order = version_order(bundle.version)
    if floor is not None and order <= version_order(floor):
        raise VersionError(
            f"bundle {bundle.source}: version {bundle.version} is not above {floor}, the newest that ran "
            "here; install a newer one, or say --allow-older"
        )
