"""Keeps what the native runtime remarks about itself away from people."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["without_remarks"]

_REMARK = b"INFO: "


@contextlib.contextmanager
def without_remarks() -> Iterator[None]:
    """Hold back stderr, native code's too, and then let through all but informative lines.

    LiteRT announces its kernels once, on stderr, and has no setting for it; the line would stand in every
    script's error log and tear the progress bar. Held in memory, never in a file. Where that is not possible
    (not on Linux, stderr closed) nothing is held.
    """
    try:
        sys.stderr.flush()
        held = os.memfd_create("stderr")
    except (AttributeError, OSError):
        yield
        return
    kept = os.dup(2)
    os.dup2(held, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        with os.fdopen(held, "rb") as lines:
            lines.seek(0)
            for line in lines:
                if not line.startswith(_REMARK):
                    os.write(2, line)
