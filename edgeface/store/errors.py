"""What can go wrong with a store of models, by who is at fault.

::

    EdgeFaceError
    +-- StoreError              the store on this device
    |   +-- StoreBusyError      another process is writing it
    |   +-- StoreDamagedError   what is in it is not what was written
    |   +-- StorageError        the disk: full, read-only, failing, not allowed
    +-- BundleError
        +-- RefusedError        a sound bundle that this store does not take
            +-- SignatureError  unsigned, signed by strangers or by too few, or a release of another bundle
            +-- ExpiredError    its release is too old, or this device's clock is wrong
            +-- VersionError    not newer than what runs or ran, or failed here before
            +-- BoardError      made for another board
            +-- HealthError     it crashed, hung or answered wrongly when it was tried
"""

from __future__ import annotations

from edgeface.errors import BundleError, EdgeFaceError

__all__ = [
    "BoardError",
    "ExpiredError",
    "HealthError",
    "RefusedError",
    "SignatureError",
    "StorageError",
    "StoreBusyError",
    "StoreDamagedError",
    "StoreError",
    "VersionError",
]


class StoreError(EdgeFaceError):
    """The store of models on this device cannot do what was asked; what ran before still runs."""


class StoreBusyError(StoreError):
    """Another process is writing the store."""


class StoreDamagedError(StoreError):
    """The store holds something else than what was written: a failing disk, or somebody changed it."""


class StorageError(StoreError):
    """The disk refused: full, read-only, failing, or not allowed. ``__cause__`` is the `OSError`."""


class RefusedError(BundleError):
    """A sound bundle that this store does not take."""


class SignatureError(RefusedError):
    """A release is unsigned, signed by strangers or by too few, or speaks of another bundle."""


class ExpiredError(RefusedError):
    """A release is past its date, or this device's clock is before the day it was made."""


class VersionError(RefusedError):
    """A version is not newer than what runs or ran here, or it failed here before."""


class BoardError(RefusedError):
    """A bundle was made for another board."""


class HealthError(RefusedError):
    """A bundle crashed, hung or answered wrongly when it was tried in a process of its own."""
