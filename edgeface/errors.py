"""Everything that can go wrong, grouped by who is at fault.

::

    EdgeFaceError               the root: `except EdgeFaceError` catches all of it
    +-- ArgumentError           a public call got an argument that it cannot use (also a ValueError)
    +-- FrameError              the picture: unreadable, damaged, too large, of a wrong shape
    +-- ConversionError         a label conversion that would lose information and was not asked to
    +-- BundleError             the model bundle: damaged, foreign, incomplete; refused by `edgeface.store`
    +-- DeviceError             the accelerator or its runtime: missing, lost, refusing a model
    |   +-- DeviceHungError     it gave no answer within its deadline; its process was ended
    |   +-- DeviceCrashedError  native code ended the process that it was isolated in
    |   +-- NoBackendError      nothing here runs the models; in `edgeface.choice`, with what each lacks
    +-- CameraError             the camera: absent, unplugged, silent
    +-- ServiceError            the kiosk service: address in use, not allowed, shutting down
    +-- StoreError              the installed models: their folder is busy, damaged, full; in `edgeface.store`
    +-- UpdateError             newer models: unreachable, or not to be believed; in `edgeface.update`

Each message names the input and the mend. Errors of NumPy, OpenCV, LiteRT and the operating system are turned
into these once, at the place where they enter; the original stays reachable as ``__cause__``.
"""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "BundleError",
    "CameraError",
    "ConversionError",
    "DeviceCrashedError",
    "DeviceError",
    "DeviceHungError",
    "EdgeFaceError",
    "FrameError",
    "ServiceError",
]


class EdgeFaceError(Exception):
    """Root of every error that leaves this package."""


class ArgumentError(EdgeFaceError, ValueError):
    """An argument of a public call is out of range, of a wrong type or unknown."""


class FrameError(EdgeFaceError):
    """A picture cannot become a `Frame`: unreadable, damaged, too large or of a wrong shape."""


class ConversionError(EdgeFaceError):
    """A label conversion would lose information (or does not exist) and the caller did not ask for that."""


class BundleError(EdgeFaceError):
    """A model bundle is damaged, foreign or incomplete; the message names the artifact."""


class DeviceError(EdgeFaceError):
    """The accelerator or its runtime is missing, was lost, or refuses a model."""


class DeviceHungError(DeviceError):
    """An isolated runtime gave no answer within its deadline; its process was ended and will be replaced."""


class DeviceCrashedError(DeviceError):
    """The process of an isolated runtime ended by itself: a native crash, or somebody killed it."""


class CameraError(EdgeFaceError):
    """A camera is absent, was unplugged or stays silent."""


class ServiceError(EdgeFaceError):
    """The kiosk service cannot start or cannot answer."""
