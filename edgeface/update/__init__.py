"""Newer models from a publisher's repository: a static web server, or a stick that holds a copy of it.

Who may publish what is the business of TUF (The Update Framework specification 1.0, read by python-tuf): the
device holds a root of trust, and a server that is stale, swapped, replayed or taken over can at worst keep an
update back. What is published is a bundle with its release, and the final word is the store's, as with
`edgeface models install`: signatures of the release, board, expiry, version, health.

1. The device's image brings two files, by default in ``/etc/edgeface``: ``root.json``, the root of
   trust, and ``update.json``, which `Settings` reads.
2. `Updates.check` says what there is for this device, and what is kept from it and why (its ring, its
   share of a staged rollout, its board, what failed before)::

       from edgeface.update import Settings, Updates, settings_path

       updates = Updates.of(Settings.load(settings_path()))
       print(updates.check().offer)

3. `Updates.apply` fetches it, going on where a broken transfer stopped, and gives it to the store.

``python -m quantization publish`` is the publisher's side; no private key is ever near a device. The command
line has the same as `edgeface update check | apply`.
"""

from __future__ import annotations

from edgeface.update.errors import SettingsError, UnreachableError, UntrustedError, UpdateError
from edgeface.update.offers import KeptBack, Offer, Plan
from edgeface.update.settings import Settings, settings_path
from edgeface.update.updates import Applied, Updates

__all__ = [
    "Applied",
    "KeptBack",
    "Offer",
    "Plan",
    "Settings",
    "SettingsError",
    "UnreachableError",
    "UntrustedError",
    "UpdateError",
    "Updates",
    "settings_path",
]
