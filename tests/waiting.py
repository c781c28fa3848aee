"""How long the machine let its programs wait: a time limit binds on an idle one, a busy one may be late."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

_TOTAL = re.compile(r"^some .* total=(\d+)$", re.MULTILINE)
_STOLEN = 8  # field of /proc/stat's first line: what the host of a virtual machine gave to others


def waited() -> float:
    """Seconds in which some program waited for a processor, a disk or memory; only differences count.

    By the kernel's own account (Documentation/accounting/psi.rst). Where it keeps none, and nobody can tell a
    slow program from a busy machine, all time counts as waiting.
    """
    try:
        texts = [Path("/proc/pressure", name).read_text() for name in ("cpu", "io", "memory")]
        stolen = int(Path("/proc/stat").read_text().split()[_STOLEN])
    except (OSError, IndexError):
        return time.monotonic()
    stalled = sum(int(_TOTAL.findall(text)[0]) for text in texts) / 1e6
    return stalled + stolen / os.sysconf("SC_CLK_TCK")
