"""A storage that notes every call that changes the disk, and the replay of such notes.

The notes are what the power cut tests are made of: they cut after each call, with whatever a file system may
do to what was not yet made to last. As JSON lines they can be carried elsewhere and replayed on a real disk,
for example on that of an emulated machine whose power is then cut::

    storage = RecordingStorage(FileStorage(folder))
    Store(storage).install(data, unsigned=True)
    Path("log.jsonl").write_text(as_lines(storage.calls))

    calls = from_lines(Path("log.jsonl").read_text())
    replay(calls[:17], FileStorage(other))  # the first 17 calls, on another disk
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeface.store.storage import Storage

__all__ = ["Call", "RecordingStorage", "as_lines", "from_lines", "replay"]


@dataclass(frozen=True, slots=True)
class Call:
    """One call that changed the disk, or made a change last.

    Attributes:
        what: ``create``, ``write``, ``sync``, ``close``, ``rename``, ``remove`` or ``sync_folder``.
        name: the file; of a rename, its old name.
        new: of a rename, the new name.
        data: of a write, the bytes that were taken.
    """

    what: str
    name: str = ""
    new: str = ""
    data: bytes = b""


class RecordingStorage:
    """Passes every call on to ``inner`` and notes those that succeeded and change the disk.

    Args:
        inner: what does the work.
        piece: bytes that one write takes at most, so that a file is written in several; None: all of them.
    """

    def __init__(self, inner: Storage, piece: int | None = None) -> None:
        self._inner, self._piece = inner, piece
        self._open: dict[int, str] = {}
        self.where = inner.where
        self.calls: list[Call] = []

    def prepare(self) -> None:
        """See `Storage.prepare`."""
        self._inner.prepare()

    def lock(self) -> int:
        """See `Storage.lock`; a lock changes nothing on the disk and is not noted."""
        return self._inner.lock()

    def read(self, name: str, most: int) -> bytes:
        """See `Storage.read`."""
        return self._inner.read(name, most)

    def names(self) -> list[str]:
        """See `Storage.names`."""
        return self._inner.names()

    def create(self, name: str) -> int:
        """See `Storage.create`."""
        handle = self._inner.create(name)
        self._open[handle] = name
        self.calls.append(Call("create", name))
        return handle

    def write(self, handle: int, data: bytes | memoryview) -> int:
        """See `Storage.write`."""
        taken = self._inner.write(handle, data[: self._piece])
        self.calls.append(Call("write", self._open[handle], data=bytes(data[:taken])))
        return taken

    def sync(self, handle: int) -> None:
        """See `Storage.sync`."""
        self._inner.sync(handle)
        self.calls.append(Call("sync", self._open[handle]))

    def close(self, handle: int) -> None:
        """See `Storage.close`."""
        self._inner.close(handle)
        if handle in self._open:
            self.calls.append(Call("close", self._open.pop(handle)))

    def rename(self, old: str, new: str) -> None:
        """See `Storage.rename`."""
        self._inner.rename(old, new)
        self.calls.append(Call("rename", old, new))

    def remove(self, name: str) -> None:
        """See `Storage.remove`."""
        self._inner.remove(name)
        self.calls.append(Call("remove", name))

    def sync_folder(self) -> None:
        """See `Storage.sync_folder`."""
        self._inner.sync_folder()
        self.calls.append(Call("sync_folder"))


def as_lines(calls: Sequence[Call]) -> str:
    """The notes as JSON lines: ``what``, ``name``, ``new`` and ``data`` in base64, without what is empty."""
    lines = []
    for call in calls:
        data = base64.b64encode(call.data).decode()
        fields = {"what": call.what, "name": call.name, "new": call.new, "data": data}
        lines.append(json.dumps({key: value for key, value in fields.items() if value}))
    return "".join(f"{line}\n" for line in lines)


def from_lines(text: str) -> list[Call]:
    """The notes that `as_lines` wrote."""
    fields = [json.loads(line) for line in text.splitlines()]
    return [Call(**{**field, "data": base64.b64decode(field.get("data", ""))}) for field in fields]


def replay(calls: Sequence[Call], storage: Storage) -> None:
    """Make the noted calls once more, in their order; files that are still open at the end are closed.

    Raises:
        OSError: the disk refused one of them.
    """
    storage.prepare()
    handles: dict[str, int] = {}
    for call in calls:
        if call.what == "create":
            handles[call.name] = storage.create(call.name)
        elif call.what == "write":
            left = memoryview(call.data)
            while left:
                left = left[storage.write(handles[call.name], left) :]
        elif call.what == "sync":
            storage.sync(handles[call.name])
        elif call.what == "close":
            storage.close(handles.pop(call.name))
        elif call.what == "rename":
            storage.rename(call.name, call.new)
        elif call.what == "remove":
            storage.remove(call.name)
        else:
            storage.sync_folder()
    for handle in handles.values():
        storage.close(handle)
