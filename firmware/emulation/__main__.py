"""`python -m firmware.emulation`: build the roots into the cache, or say why not and exit with 1."""

from __future__ import annotations

import sys

from firmware.emulation import roots
from firmware.emulation.errors import EmulationError


def _fill() -> None:
    reason = roots.why_not()
    if reason:
        raise EmulationError(reason)
    cache = roots.cache_folder()
    for built in (roots.emulator(cache), *(roots.root(cache, release) for release in roots.PYTHONS)):
        sys.stdout.write(f"{built}\n")


if __name__ == "__main__":
    try:
        _fill()
    except EmulationError as error:
        sys.exit(str(error))
