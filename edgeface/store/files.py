"""The files of the store: the state, which is the pointer, and one per slot; each checked when it is read."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from edgeface.bundle import Bundle, BundleLimits
from edgeface.errors import BundleError
from edgeface.store.errors import StoreDamagedError
from edgeface.store.state import SLOTS, State
from edgeface.store.storage import explained, read, replace, temporary

if TYPE_CHECKING:
    from edgeface.store.storage import Storage

__all__ = ["StoreFiles", "slot_file"]

_STATE = "state.json"
_MOST_STATE = 1 << 20
_LIMITS = BundleLimits()


class StoreFiles:
    """What is in a folder, as values.

    Raises:
        StorageError: from every method, when the disk refuses.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def state(self, *, forget: bool = False) -> State:
        """What the store knows; nothing before the first install, or where it is damaged, with ``forget``.

        Raises:
            StoreDamagedError: it is not what was written.
        """
        data = read(self._storage, _STATE, _MOST_STATE)
        if data is None:
            return State()
        try:
            return State.decode(data)
        except BundleError as error:
            if forget:
                return State()
            raise StoreDamagedError(
                f"store {self._storage.where}: {_STATE} is damaged ({error}), so the built-in models run; "
                "edgeface models install BUNDLE --allow-older begins anew"
            ) from error

    def put(self, state: State) -> State:
        """Make this the state, whole or not at all, and give it back."""
        replace(self._storage, _STATE, state.encode())
        return state

    def fill(self, slot: str, data: bytes) -> None:
        """Put a bundle into a slot, whole or not at all."""
        replace(self._storage, slot_file(slot), data)

    def load(self, state: State, slot: str) -> tuple[bytes, Bundle]:
        """The bytes of a slot, and the bundle that they are: the one that was put there.

        Raises:
            StoreDamagedError: they are something else, or gone.
        """
        mend = "install it again, or go back (edgeface models rollback)"
        where = f"store {self._storage.where}: slot {slot}"
        data = read(self._storage, slot_file(slot), _LIMITS.max_bytes)
        if data is None:
            raise StoreDamagedError(f"{where} has lost its file; {mend}")
        try:
            found = Bundle.from_bytes(data, source=f"{self._storage.where}/{slot_file(slot)}")
        except BundleError as error:
            raise StoreDamagedError(f"{where}: {error}; {mend}") from error
        if found.digest != state.slots[slot].digest:
            raise StoreDamagedError(f"{where} holds another bundle than was put there; {mend}")
        return data, found

    def sound(self, state: State, slot: str | None) -> bool:
        """The slot holds what was put there; False as well for no slot.

        A disk that cannot be read just now is no answer, but a `StorageError`.
        """
        with contextlib.suppress(StoreDamagedError):
            return slot is not None and bool(self.load(state, slot))
        return False

    def tidy(self) -> None:
        """Remove the bundle that an install which was cut short may have left beside its place."""
        leftovers = {temporary(slot_file(slot)) for slot in SLOTS}
        with explained(self._storage, "remove what an interrupted install left"):
            for name in leftovers & set(self._storage.names()):
                self._storage.remove(name)


def slot_file(slot: str) -> str:
    """The name of a slot's file."""
    return f"{slot}.bundle"
