"""Where a device keeps what it installs, and whom it believes about it."""

from __future__ import annotations

import os
from pathlib import Path

from edgeface.store.errors import StoreError

__all__ = ["keys_path", "store_path"]

_IMAGE_KEYS = Path("/etc/edgeface/keys.json")


def store_path() -> Path:
    """Where the store is: ``EDGEFACE_STORE``; else ``edgeface/store`` in ``XDG_DATA_HOME`` or ~/.local/share.

    Raises:
        StoreError: there is no home to hold one.
    """
    named = os.environ.get("EDGEFACE_STORE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_DATA_HOME")
    if base and Path(base).is_absolute():  # the XDG specification tells to ignore a relative one
        return Path(base, "edgeface", "store")
    try:
        return Path.home() / ".local" / "share" / "edgeface" / "store"
    except RuntimeError as error:
        raise StoreError(
            "there is no home folder for the store; name a folder with EDGEFACE_STORE"
        ) from error


def keys_path() -> Path:
    """Where the public keys are: ``EDGEFACE_KEYS``; ``keys.json`` beside the store; /etc/edgeface/keys.json.

    Those beside the store came with an update, vouched for by the publisher's root of trust. They replace the
    image's, so that a key that was lost stops counting.

    Raises:
        StoreError: there is no home to look in.
    """
    named = os.environ.get("EDGEFACE_KEYS")
    if named:
        return Path(named)
    brought = store_path().with_name("keys.json")
    return brought if brought.exists() else _IMAGE_KEYS
