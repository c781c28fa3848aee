"""`EmulationError`: the one way the rigs fail; its message names what is missing and the mend."""

from __future__ import annotations

__all__ = ["EmulationError"]


class EmulationError(Exception):
    """A root could not be built, a wheel is missing, or a command cannot be run under emulation."""
