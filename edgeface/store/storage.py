"""The disk as the store sees it: one folder, and the calls that decide what a power cut leaves.

Everything that the store reads or writes goes through a `Storage`, call by call, so that a test can record
the calls, fail the n-th, or cut the power between two of them. `replace` and `read` are the two ways to use
it: a file is written beside its place, made to last, put into its place in one step, and that step is made to
last, too (the order that Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014, find necessary).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING, Protocol

from edgeface.store.errors import StorageError, StoreBusyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["FileStorage", "Storage", "explained", "locked", "read", "replace", "temporary"]

_LOCK = "lock"
_MENDS = {
    errno.ENOSPC: "make room on the disk and try again",
    errno.EDQUOT: "raise the quota or make room, and try again",
    errno.EROFS: "mount the disk of the store writable, or name another folder with EDGEFACE_STORE",
    errno.EACCES: "run as the user whom the folder belongs to, or name another one with EDGEFACE_STORE",
    errno.EPERM: "run as the user whom the folder belongs to, or name another one with EDGEFACE_STORE",
    errno.EIO: "the disk is failing: replace the card; until then the models that are there go on running",
}


class Storage(Protocol):
    """One folder. Names are plain file names, handles are numbers; every call may raise `OSError`."""

    where: str
    """The folder, for messages."""

    def prepare(self) -> None:
        """Make the folder, if it is not there, so that it lasts."""

    def lock(self) -> int:
        """A handle that one process can hold, until `close`; `BlockingIOError` while another does."""

    def read(self, name: str, most: int) -> bytes:
        """The contents of a regular file; `OSError` if it has more than ``most`` bytes."""

    def names(self) -> list[str]:
        """The files of the folder."""

    def create(self, name: str) -> int:
        """Open a new file for writing; `FileExistsError` if there is one."""

    def write(self, handle: int, data: bytes | memoryview) -> int:
        """Append, and say how many bytes were taken: 1 to all of them."""

    def sync(self, handle: int) -> None:
        """Return when the contents would survive a power cut."""

    def close(self, handle: int) -> None:
        """Give a handle back."""

    def rename(self, old: str, new: str) -> None:
        """Put a file in the place of another, in one step."""

    def remove(self, name: str) -> None:
        """Remove a file."""

    def sync_folder(self) -> None:
        """Return when what was created, renamed and removed would survive a power cut."""


class FileStorage:
    """A folder of this machine's file system."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.where = str(folder)

    def prepare(self) -> None:
        """See `Storage.prepare`; others may read it, because a service often runs as another user."""
        missing = [folder for folder in (self._folder, *self._folder.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=0o755, exist_ok=True)
            _sync_path(folder.parent)

    def lock(self) -> int:
        """See `Storage.lock`; the kernel ends it with the process, however that ends."""
        handle = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def read(self, name: str, most: int) -> bytes:
        """See `Storage.read`."""
        # Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
        handle = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or status.st_size > most:
                raise OSError(errno.EFBIG, "not a regular file, or too large")
            return file.read(most)

    def names(self) -> list[str]:
        """See `Storage.names`."""
        return sorted(os.listdir(self._folder))  # noqa: PTH208  names, not paths

    def create(self, name: str) -> int:
        """See `Storage.create`."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self._folder / name, flags, 0o644)

    def write(self, handle: int, data: bytes | memoryview) -> int:
        """See `Storage.write`."""
        return os.write(handle, data)

    def sync(self, handle: int) -> None:
        """See `Storage.sync`."""
        os.fsync(handle)

    def close(self, handle: int) -> None:
        """See `Storage.close`."""
        os.close(handle)

    def rename(self, old: str, new: str) -> None:
        """See `Storage.rename`."""
        (self._folder / old).replace(self._folder / new)

    def remove(self, name: str) -> None:
        """See `Storage.remove`."""
        (self._folder / name).unlink()

    def sync_folder(self) -> None:
        """See `Storage.sync_folder`."""
        _sync_path(self._folder)


def temporary(name: str) -> str:
    """What a file is called while it is written; one is enough, because one writer at a time has the lock."""
    return f".{name}.new"


def replace(storage: Storage, name: str, data: bytes) -> None:
    """Write a file so that a power cut leaves the old contents or the new, and after the return the new.

    Raises:
        StorageError: the disk refused; the old contents are still there, except that the new may be when
            the very last step, making the new name last, was the one that failed.
    """
    aside = temporary(name)
    with explained(storage, f"write {name}"):
        if aside in storage.names():
            storage.remove(aside)
        try:
            _write_aside(storage, aside, data)
            storage.rename(aside, name)
        except BaseException:
            with contextlib.suppress(
                OSError
            ):  # a full disk is not left full; the first error is the one told
                storage.remove(aside)
            raise
        storage.sync_folder()


def read(storage: Storage, name: str, most: int) -> bytes | None:
    """The contents of a file; None if there is none.

    Raises:
        StorageError: it cannot be read, or is no regular file of at most ``most`` bytes.
    """
    with explained(storage, f"read {name}"):
        try:
            return storage.read(name, most)
        except (FileNotFoundError, NotADirectoryError):
            return None


@contextlib.contextmanager
def locked(storage: Storage) -> Iterator[None]:
    """Be the only one who writes the store; the folder is made when there is none.

    Raises:
        StoreBusyError: another process is writing it.
        StorageError: the folder cannot be made or written.
    """
    with explained(storage, "lock it for writing"):
        storage.prepare()
        try:
            handle = storage.lock()
        except BlockingIOError as error:
            raise StoreBusyError(
                f"store {storage.where}: another process is writing it; try again when that one has ended"
            ) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # nothing was written through it
            storage.close(handle)


@contextlib.contextmanager
def explained(storage: Storage, doing: str) -> Iterator[None]:
    """Turn an `OSError` into one that names the store, what was tried, and the mend.

    Raises:
        StorageError: in the place of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        mend = _MENDS.get(
            error.errno or 0, "check the folder and its disk, or name another with EDGEFACE_STORE"
        )
        reason = error.strerror or type(error).__name__
        raise StorageError(f"store {storage.where}: cannot {doing} ({reason}); {mend}") from error


def _write_aside(storage: Storage, aside: str, data: bytes) -> None:
    handle = storage.create(aside)
    try:
        left = memoryview(data)
        while left:
            left = left[storage.write(handle, left) :]
        storage.sync(handle)
    except BaseException:
        with contextlib.suppress(OSError):
            storage.close(handle)
        raise
    storage.close(handle)


def _sync_path(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
