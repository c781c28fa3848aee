"""What can go wrong with an update before the store has its say, by who is at fault.

::

    EdgeFaceError
    +-- UpdateError
        +-- SettingsError       this device was not told where from, or whom to believe
        +-- UnreachableError    the server or the stick is not there, or the transfer broke: try again later
        +-- UntrustedError      it is there, and gives what the root of trust does not vouch for
"""

from __future__ import annotations

from edgeface.errors import EdgeFaceError

__all__ = ["SettingsError", "UnreachableError", "UntrustedError", "UpdateError"]


class UpdateError(EdgeFaceError):
    """An update could not be looked for or fetched; what ran before still runs."""


class SettingsError(UpdateError):
    """The device's own files about updates are missing or wrong."""


class UnreachableError(UpdateError):
    """The repository cannot be read, now; what was fetched of it is kept, and the next try goes on there."""


class UntrustedError(UpdateError):
    """The repository gives something that is forged, older than what was seen, expired, or not its own."""
