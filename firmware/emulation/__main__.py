"""`python -m firmware.emulation [RELEASE...]`: build the roots into the cache, or say why not and fail."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from firmware.emulation import roots
from firmware.emulation.errors import EmulationError

if TYPE_CHECKING:
    from collections.abc import Sequence


def _fill(releases: Sequence[str]) -> None:
    unknown = set(releases) - set(roots.PYTHONS)
    if unknown:
        raise EmulationError(f"{', '.join(sorted(unknown))}: unknown; choose from {', '.join(roots.PYTHONS)}")
    reason = roots.why_not()
    if reason:
        raise EmulationError(reason)
    cache = roots.cache_folder()
    for built in (roots.emulator(cache), *(roots.root(cache, release) for release in releases)):
        sys.stdout.write(f"{built}\n")


if __name__ == "__main__":
    try:
        _fill(sys.argv[1:] or tuple(roots.PYTHONS))
    except EmulationError as error:
        sys.exit(str(error))
