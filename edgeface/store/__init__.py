"""Models that come after the package, over the air or from a stick, and never at the price of a device.

1. A publisher packs a bundle and says in a signed `Release` what it is, for which boards, and for how long.
2. The device holds public keys (`TrustedKeys`), and its `Store` takes what enough of them vouch for, is made
   for this board, has not expired and is newer than what ran::

       from edgeface.store import Store, store_path

       store = Store.at(store_path())
       store.install(Path("students.bundle").read_bytes(), Path("students.bundle.release").read_bytes())

3. The bundle goes into the slot that does not run, is made to last there, read back, and tried in a process
   of its own: a known question for every model, and a frame through the analyzer. Only then is the pointer
   replaced. Whenever the power goes, the old bundle or the new one is what runs afterwards.
4. Who runs models asks for them here, and a service confirms that it works with them; after three starts
   without that, the previous ones are back::

       with FaceAnalyzer(bundle=installed()) as analyzer:
           ...

Where nothing was installed, the models that are built into the package run. The command line has the same as
`edgeface models install | status | verify | rollback`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeface.store.errors import (
    BoardError,
    ExpiredError,
    HealthError,
    RefusedError,
    SignatureError,
    StorageError,
    StoreBusyError,
    StoreDamagedError,
    StoreError,
    VersionError,
)
from edgeface.store.places import keys_path, store_path
from edgeface.store.release import (
    Envelope,
    Release,
    Signature,
    encode_envelope,
    encode_statement,
    signed_bytes,
)
from edgeface.store.running import Running
from edgeface.store.state import Failed, Slot, State, Trial
from edgeface.store.storage import FileStorage, Storage
from edgeface.store.store import Opened, Status, Store, Verdict
from edgeface.store.trust import TrustedKeys

if TYPE_CHECKING:
    from pathlib import Path

    from edgeface.bundle import Bundle

__all__ = [
    "BoardError",
    "Envelope",
    "ExpiredError",
    "Failed",
    "FileStorage",
    "HealthError",
    "Opened",
    "RefusedError",
    "Release",
    "Running",
    "Signature",
    "SignatureError",
    "Slot",
    "State",
    "Status",
    "Storage",
    "StorageError",
    "Store",
    "StoreBusyError",
    "StoreDamagedError",
    "StoreError",
    "Trial",
    "TrustedKeys",
    "Verdict",
    "VersionError",
    "chosen_path",
    "encode_envelope",
    "encode_statement",
    "installed",
    "keys_path",
    "signed_bytes",
    "store_path",
]


def chosen_path(named: Path | None) -> Path | None:
    """What ``--bundle`` means: the word ``store`` is the slot that runs; all else is what it was.

    None, as for the built-in models, where nothing is installed. A file of that name is ``./store``.

    Raises:
        BundleError: even the built-in models are damaged.
        StoreError: there is no home folder to look for a store in.
    """
    return Store.at(store_path()).path() if str(named) == "store" else named


def installed() -> Bundle:
    """The bundle that this device's store says to run; the built-in one where there is none.

    Raises:
        BundleError: even the built-in models are damaged.
        StoreError: there is no home folder to look for a store in.
    """
    return Store.at(store_path()).open().bundle
