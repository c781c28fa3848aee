"""`python -m firmware.emulation [NAME...]`: build roots into the cache, or say why not and fail.

NAME is a release, whose root runs single commands, or `devices`: the kernel, and roots that boot or are
installed in.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from firmware.emulation import machine, roots, system
from firmware.emulation.errors import EmulationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_DEVICES = "devices"
_NAMES = (*roots.PYTHONS, _DEVICES)


def _fill(names: Sequence[str]) -> None:
    unknown = set(names) - set(_NAMES)
    if unknown:
        raise EmulationError(f"{', '.join(sorted(unknown))}: unknown; choose from {', '.join(_NAMES)}")
    reason = roots.why_not() or (machine.why_no_machine() if _DEVICES in names else "")
    if reason:
        raise EmulationError(reason)
    cache = roots.cache_folder()
    for name in names:
        for built in _built(cache, name):
            sys.stdout.write(f"{built}\n")


def _built(cache: Path, name: str) -> list[Path]:
    if name == _DEVICES:
        parts = (machine.kernel, system.bootable, system.installable, system.validators)
        return [part(cache) for part in parts]
    return [roots.emulator(cache), roots.root(cache, name)]


if __name__ == "__main__":
    try:
        _fill(sys.argv[1:] or _NAMES)
    except EmulationError as error:
        sys.exit(str(error))
