"""Looking for an update and installing it: the repository says what there is, the store has the last word."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeface.errors import BundleError
from edgeface.store import FileStorage, Slot, Storage, Store, TrustedKeys, store_path
from edgeface.store.admission import version_order
from edgeface.store.board import board_names
from edgeface.store.storage import locked, read, replace
from edgeface.update.errors import UntrustedError
from edgeface.update.offers import Device, Plan, parse_releases, plan
from edgeface.update.repository import Repository

if TYPE_CHECKING:
    from edgeface.update.fetcher import Limits
    from edgeface.update.settings import Settings

__all__ = ["Applied", "Updates"]

_MACHINE = Path("/etc/machine-id")
_LIST, _KEYS = "releases.json", "keys.json"
_IDENTITY = "identity"
_MOST_IDENTITY = 200


@dataclass(frozen=True, slots=True)
class Applied:
    """What there was for this device, and the slot that it is in now; None: nothing was to be done."""

    plan: Plan
    slot: Slot | None


class Updates:
    """The updates of one device. Made by :meth:`of`; one process at a time looks or installs.

    Args:
        settings: where from, whom to believe, which ring.
        store: what installs.
        folder: keeps what was seen of the repository, and what was fetched and is not installed yet; the
            publisher's ``keys.json`` goes beside it, where the store looks for it.
        boards: the names of this board.
        machine: file with a text that no other device has; where it is not there, one is drawn and kept.
        limits: how long a server may take.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        folder: Path,
        *,
        boards: frozenset[str],
        machine: Path = _MACHINE,
        limits: Limits | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._folder = folder
        self._boards = boards
        self._machine = machine
        self._limits = limits

    @classmethod
    def of(cls, settings: Settings, *, picture: Path | None = None) -> Updates:
        """Those of this machine: its store and board, and a folder beside the store.

        Args:
            settings: where from, whom to believe, which ring.
            picture: as `edgeface.store.health.check_health` takes it.

        Raises:
            StoreError: there is no home folder.
        """
        place = store_path()
        return cls(
            settings, Store.at(place, picture=picture), place.with_name("update"), boards=board_names()
        )

    def check(self) -> Plan:
        """What there is for this device; nothing is installed, and no bundle fetched.

        Raises:
            UpdateError: the repository is not there, or not to be believed; see `edgeface.update.errors`.
            StoreError: another update is running, or what the store knows is damaged.
            BundleError: even the built-in models are damaged.
        """
        storage = FileStorage(self._folder)
        with locked(storage):
            return self._planned(self._repository(), storage)

    def apply(self, *, waits: bool = False) -> Applied:
        """Fetch what there is for this device and give it to the store.

        Args:
            waits: as `Store.install` takes it: the service that runs it must confirm it.

        Raises:
            UpdateError: it could not be fetched, or is not to be believed; what ran before runs.
            RefusedError: the store does not take it, see `edgeface.store.errors`; what ran before runs.
            StoreError: another update is running, or the store is damaged or its disk refuses.
        """
        storage = FileStorage(self._folder)
        with locked(storage):
            repository = self._repository()
            planned = self._planned(repository, storage)
            if planned.offer is None:
                return Applied(planned, None)
            name = planned.offer.bundle
            data, release = self._target(repository, name), self._target(repository, f"{name}.release")
            self._keep_keys(repository)
            slot = self._store.install(data, release, waits=waits)
            repository.forget(name)
            return Applied(planned, slot)

    def _repository(self) -> Repository:
        return Repository(self._settings.source, self._settings.root, self._folder, self._limits)

    def _planned(self, repository: Repository, storage: Storage) -> Plan:
        state, runs = self._store.status().state, self._store.open().bundle.version
        newest = max([runs, *([state.floor] if state.floor else [])], key=version_order)
        failed = frozenset(item.digest for item in state.failed)
        device = Device(self._identity(storage), self._boards, self._settings.ring, newest, failed)
        return plan(parse_releases(self._target(repository, _LIST)), device, runs)

    def _keep_keys(self, repository: Repository) -> None:
        """Whose releases are believed from now on: those for whom the root of trust vouches, if it does."""
        data = repository.target(_KEYS)
        if data is None:
            return
        try:
            TrustedKeys.from_bytes(data)
        except BundleError as error:
            raise UntrustedError(f"{_KEYS} of repository {self._settings.source}: {error}") from error
        replace(FileStorage(self._folder.parent), _KEYS, data)

    def _target(self, repository: Repository, name: str) -> bytes:
        data = repository.target(name)
        if data is None:
            raise UntrustedError(
                f"repository {self._settings.source}: has no {name}, which belongs to it; its publisher made "
                "a mistake (python -m quantization publish writes it)"
            )
        return data

    def _identity(self, storage: Storage) -> str:
        """What no other device has; it is never told to anybody."""
        try:
            return self._machine.read_text().strip()[:_MOST_IDENTITY]
        except OSError:
            pass  # no systemd here, such as in a container
        kept = read(storage, _IDENTITY, _MOST_IDENTITY)
        if kept is None:
            kept = secrets.token_hex(16).encode()
            replace(storage, _IDENTITY, kept)
        return kept.decode("ascii", "replace")
