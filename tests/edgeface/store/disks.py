"""Disks that forget, fail and fill up: in memory, so that thousands of them are tried in seconds.

`crash_states` gives every content that a disk may have after its power was cut: what was made to last (a file
by `sync`, names by `sync_folder`) is there; of all else, anything may be. Of contents that were not synced:
none, each beginning, a torn last piece, zeros in their place, or only the last piece. Of names that were not:
every subset of the creations, renames and removals, in order. That is weaker than what ext4, F2FS or btrfs
promise, so a store that survives it needs none of their promises.
"""

from __future__ import annotations

import errno
import itertools
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeface.store.recording import Call

_ALL_SUBSETS_UP_TO = 6  # names pending; beyond that: every beginning, and all but one


class MemoryStorage:
    """A folder in memory."""

    where = "memory"

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self.files = dict(files or {})
        self._open: dict[int, str] = {}
        self._handles = itertools.count(1)
        self.held = False

    def prepare(self) -> None:
        pass

    def lock(self) -> int:
        if self.held:
            raise BlockingIOError
        self.held = True
        handle = next(self._handles)
        self._open[handle] = "lock"
        return handle

    def read(self, name: str, most: int) -> bytes:
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, "no such file")
        return self.files[name]

    def names(self) -> list[str]:
        return sorted(self.files)

    def create(self, name: str) -> int:
        if name in self.files:
            raise FileExistsError(errno.EEXIST, "exists")
        self.files[name] = b""
        handle = next(self._handles)
        self._open[handle] = name
        return handle

    def write(self, handle: int, data: bytes | memoryview) -> int:
        self.files[self._open[handle]] += bytes(data)
        return len(data)

    def sync(self, handle: int) -> None:
        assert self._open[handle]

    def close(self, handle: int) -> None:
        if self._open.pop(handle) == "lock":
            self.held = False

    def rename(self, old: str, new: str) -> None:
        if old not in self.files:
            raise FileNotFoundError(errno.ENOENT, "no such file")
        self.files[new] = self.files.pop(old)

    def remove(self, name: str) -> None:
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, "no such file")
        del self.files[name]

    def sync_folder(self) -> None:
        pass


class FailingStorage:
    """Fails at its n-th call, once or from then on; a failing write takes half of what it is given first.

    `only` names the calls that are counted. ``error`` is an error number, or a function that is called.
    """

    CALLS = (
        "prepare",
        "lock",
        "read",
        "names",
        "create",
        "write",
        "sync",
        "close",
        "rename",
        "remove",
        "sync_folder",
    )

    def __init__(self, inner, at: int, error, *, for_ever: bool = False, only: Sequence[str] = CALLS) -> None:
        self._inner, self._at, self._error = inner, at, error
        self._for_ever, self._only = for_ever, only
        self.where = inner.where
        self.count = 0

    def __getattr__(self, name: str):
        real = getattr(self._inner, name)

        def call(*arguments):
            if name in self._only:
                self.count += 1
                if self.count == self._at or (self._for_ever and self.count > self._at):
                    if name == "write":
                        handle, data = arguments
                        real(handle, data[: len(data) // 2])
                    if name == "close":
                        real(*arguments)  # the handle is gone in any case, see close(2)
                    if callable(self._error):
                        self._error()
                    else:
                        raise OSError(self._error, os.strerror(self._error))
            return real(*arguments)

        return call


class _File:
    """Contents that last, and writes that do not yet."""

    def __init__(self, lasting: bytes = b"") -> None:
        self.lasting = lasting
        self.pieces: list[bytes] = []

    def contents(self) -> bytes:
        return self.lasting + b"".join(self.pieces)

    def after_a_cut(self) -> list[bytes]:
        if not self.pieces:
            return [self.lasting]
        beginnings = [self.lasting + b"".join(self.pieces[:count]) for count in range(len(self.pieces) + 1)]
        *before, last = self.pieces
        torn = self.lasting + b"".join(before) + last[: len(last) // 2]
        zeros = self.lasting + bytes(len(self.contents()) - len(self.lasting))
        hole = self.lasting + bytes(sum(map(len, before))) + last
        return list(dict.fromkeys([*beginnings, torn, zeros, hole]))


def crash_states(before: Mapping[str, bytes], calls: Sequence[Call]) -> Iterator[dict[str, bytes]]:
    """Every folder that may be found when the power is cut after these calls on a lasting folder."""
    lasting = {name: _File(data) for name, data in before.items()}
    seen = dict(lasting)
    pending: list[tuple[str, str, _File]] = []  # name that goes, name that comes, and what it names
    for call in calls:
        if call.what == "create":
            seen[call.name] = _File()
            pending.append(("", call.name, seen[call.name]))
        elif call.what == "write":
            seen[call.name].pieces.append(call.data)
        elif call.what == "sync":
            file = seen[call.name]
            file.lasting, file.pieces = file.contents(), []
        elif call.what == "rename":
            seen[call.new] = seen.pop(call.name)
            pending.append((call.name, call.new, seen[call.new]))
        elif call.what == "remove":
            pending.append((call.name, "", seen.pop(call.name)))
        elif call.what == "sync_folder":
            lasting, pending = dict(seen), []
    for chosen in _subsets(len(pending)):
        names = dict(lasting)
        for index in chosen:
            gone, come, file = pending[index]
            names.pop(gone, None)
            if come:
                names[come] = file
        found = [(name, file.after_a_cut()) for name, file in names.items()]
        for contents in itertools.product(*(versions for _, versions in found)):
            yield dict(zip((name for name, _ in found), contents, strict=True))


def _subsets(count: int) -> Iterator[tuple[int, ...]]:
    if count <= _ALL_SUBSETS_UP_TO:
        for size in range(count + 1):
            yield from itertools.combinations(range(count), size)
        return
    for size in range(count + 1):
        yield tuple(range(size))
    for left in range(count):
        yield tuple(index for index in range(count) if index != left)


def all_crash_states(
    before: Mapping[str, bytes], calls: Sequence[Call]
) -> Iterator[tuple[int, dict[str, bytes]]]:
    """The crash states of every beginning of the calls, each once, with how many calls were made."""
    known: set[tuple[tuple[str, bytes], ...]] = set()
    for count in range(len(calls) + 1):
        for state in crash_states(before, calls[:count]):
            key = tuple(sorted(state.items()))
            if key not in known:
                known.add(key)
                yield count, state
