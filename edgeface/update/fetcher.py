"""Getting a repository's files, from a web server or a folder; what broke off is gone on with.

TUF's client says what it wants and how long that is at most, and judges what comes; this module only brings
it. A target has a name that begins with the digest of its contents, so what there is of it already is worth
keeping across tries and reboots, whoever sent it.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.ngclient.fetcher import FetcherInterface

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Fetcher", "Limits"]

_CHUNK = 64 << 10
_WHOLE, _PART = 200, 206


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a server may take.

    Attributes:
        gap: Seconds without a byte, after which a connection is given up.
        total: Seconds for all files of one update; a server that drips must not hold a device for ever.
        tries: Connections in a row that bring no byte more, after which a target is left for another day.
        pause: Seconds between them.
    """

    gap: float = 30.0
    total: float = 1800.0
    tries: int = 3
    pause: float = 2.0


class Fetcher(FetcherInterface):
    """Brings files of ``http://`` and ``https://`` addresses, and of paths.

    Args:
        targets: What the addresses of targets begin with; these are gone on with where they broke off.
        partial: Folder of what is there of them.
        limits: How long a server may take.
    """

    def __init__(self, targets: str, partial: Path, limits: Limits) -> None:
        self._targets = targets
        self._partial = partial
        self._limits = limits
        self._ends = time.monotonic() + limits.total
        # Redirects are not followed: a repository is static, and what it moves it says in its metadata.
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(limits.gap), retries=False, headers={"User-Agent": "edgeface"}
        )

    @contextlib.contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """See `FetcherInterface.download_file`; of a target, ``max_length`` is the length."""
        if not url.startswith(self._targets):
            with super().download_file(url, max_length) as file:
                yield file
            return
        self._partial.mkdir(parents=True, exist_ok=True)
        path = self._partial / url.rpartition("/")[2]
        self._complete(url, path, max_length)
        try:
            with path.open("rb") as file:
                yield file
        except RepositoryError:
            path.unlink()  # not what was promised, so that going on with it would be for nothing
            raise
        path.unlink()

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self._bytes(url, 0)[1]

    def _complete(self, url: str, path: Path, length: int) -> None:
        """Bring what is missing of a target, over as many connections as it takes."""
        idle = 0
        while (have := path.stat().st_size if path.exists() else 0) < length:
            reason = ""
            try:
                begin, chunks = self._bytes(url, have)
                with path.open("r+b" if path.exists() else "wb") as file:
                    file.seek(begin)
                    file.truncate()
                    for chunk in chunks:
                        file.write(chunk[: length - file.tell()])
                        if file.tell() >= length:
                            break
            except DownloadHTTPError:
                raise
            except (DownloadError, urllib3.exceptions.HTTPError) as error:
                reason = str(error)
            if path.exists() and path.stat().st_size > have:
                idle = 0
                continue
            idle += 1
            if idle == self._limits.tries:
                raise DownloadError(
                    f"{url}: {have} of {length} bytes came, and no more in {idle} tries {reason}"
                )
            time.sleep(self._limits.pause)

    def _bytes(self, url: str, begin: int) -> tuple[int, Iterator[bytes]]:
        """The contents from byte ``begin`` on, or from 0 where a server sends only all; says which."""
        if url.startswith(("http://", "https://")):
            return self._answer(url, begin)
        try:
            file = Path(url).open("rb")  # noqa: SIM115  closed by the generator
        except FileNotFoundError as error:
            raise DownloadHTTPError(f"{url}: there is no such file", 404) from error
        file.seek(begin)
        return begin, self._timed(_read(file))

    def _answer(self, url: str, begin: int) -> tuple[int, Iterator[bytes]]:
        headers = {"Range": f"bytes={begin}-"} if begin else {}
        answer = self._pool.request("GET", url, headers=headers, preload_content=False, redirect=False)
        if answer.status not in (_WHOLE, _PART):
            answer.close()
            raise DownloadHTTPError(f"{url}: the server answers {answer.status}", answer.status)
        if answer.status == _PART and not answer.headers.get("Content-Range", "").startswith(
            f"bytes {begin}-"
        ):
            answer.close()
            raise DownloadError(f"{url}: asked for the bytes from {begin} on, the server sends others")
        return (begin if answer.status == _PART else 0), self._timed(_stream(answer))

    def _timed(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            if time.monotonic() > self._ends:
                raise DownloadError(
                    f"the update took longer than {self._limits.total:.0f} s; it goes on later"
                )
            yield chunk


def _read(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _stream(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    try:
        # Small pieces: what came before a connection breaks is kept.
        yield from answer.stream(_CHUNK)
    finally:
        answer.close()
