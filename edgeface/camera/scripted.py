"""A camera that does what it is told, for tests of code that uses one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeface.camera.base import Mode
from edgeface.errors import EdgeFaceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeface.frame import Frame

__all__ = ["ScriptedCamera"]


class ScriptedCamera:
    """Gives what the script holds, one item per `read`, and ends with it.

    Args:
        script: frames; None for a moment without one; errors, which are raised. It is read as it goes, so a
            generator can sleep between frames.
        live: whether frames that are not read in time are gone.
    """

    def __init__(self, script: Iterable[Frame | EdgeFaceError | None], live: bool = True) -> None:
        self.name, self.live, self.ended, self.mode = "scripted", live, False, Mode()
        self._script = iter(script)

    def read(self) -> Frame | None:
        """Do what comes next; see `edgeface.camera.Camera`."""
        if self.ended:
            return None
        try:
            item = next(self._script)
        except StopIteration:
            self.ended = True
            return None
        if isinstance(item, EdgeFaceError):
            raise item
        return item

    def close(self) -> None:
        """End it."""
        self.ended = True
