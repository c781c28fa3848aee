"""The store's models while a service runs them: confirmed when they work, given up for newer ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeface.store.errors import StoreError

if TYPE_CHECKING:
    from edgeface.store.store import Opened, Store

__all__ = ["Running"]


class Running:
    """What a service holds from its start to its end; its start is counted here.

    Attributes:
        opened: The models to run.

    Args:
        store: where they are.

    Raises:
        BundleError: even the built-in models are damaged.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.opened: Opened = store.start()
        self._at_start = self._pointer()

    def works(self) -> None:
        """Frames come: what was on trial stays.

        Raises:
            StoreError: the store is busy, damaged, or its disk refuses; try again.
        """
        self._store.confirm(self.opened.bundle.digest)

    def renewed(self) -> bool:
        """The store points at other models than at the start: installed, updated, or rolled back.

        What matters is that the pointer moved, not what runs: where a damaged slot made another one stand in,
        a restart would change nothing, again and again.
        """
        return self._pointer() != self._at_start

    def _pointer(self) -> str | None:
        try:
            state = self._store.status().state
        except StoreError:
            return None
        return state.slots[state.current].digest if state.current is not None else None
