"""A publisher's repository as this device sees it: TUF's client, with what it knows kept in a folder."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from edgeface.update.errors import UnreachableError, UntrustedError, UpdateError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeface.update.fetcher import Limits

__all__ = ["Repository"]


class Repository:
    """What a repository holds, believed only as far as the root of trust vouches for it.

    Args:
        source: Address or path of the repository: ``metadata/`` and ``targets/`` are in it.
        root: The root of trust as the device's image brought it.
        folder: Keeps what was seen of the repository (so that nothing older is believed) and what was
            fetched; made if it is not there.
        limits: How long a server may take; None: `Limits`' own.

    Raises:
        UpdateError: the package tuf is not installed, or ``folder`` cannot be written.
        UntrustedError: ``root`` is no root of trust.
    """

    def __init__(self, source: str, root: bytes, folder: Path, limits: Limits | None = None) -> None:
        try:
            from tuf.ngclient.updater import Updater

            from edgeface.update.fetcher import Fetcher, Limits
        except ImportError as error:
            raise UpdateError("updates need the package tuf; pip install 'edgeface[update]'") from error
        targets = f"{source}/targets/"
        fetcher = Fetcher(targets, folder / "partial", limits or Limits())
        with _told(source, folder):
            (folder / "metadata").mkdir(parents=True, exist_ok=True)
            (folder / "targets").mkdir(exist_ok=True)
            self._client = Updater(
                str(folder / "metadata"),
                f"{source}/metadata/",
                str(folder / "targets"),
                targets,
                fetcher,
                bootstrap=root,
            )
        self._source, self._folder = source, folder

    def target(self, name: str) -> bytes | None:
        """The contents of a target; None where the repository has none of that name.

        Raises:
            UnreachableError: it could not be fetched, or not whole; what came of it is kept.
            UntrustedError: what the repository gives is not vouched for, or is too old.
        """
        with _told(self._source, self._folder):
            wanted = self._client.get_targetinfo(name)
            if wanted is None:
                return None
            path = self._client.find_cached_target(wanted) or self._client.download_target(wanted)
            return Path(path).read_bytes()

    def forget(self, name: str) -> None:
        """Remove what was fetched of a target, once it is where it belongs."""
        (self._folder / "targets" / name).unlink(missing_ok=True)


@contextlib.contextmanager
def _told(source: str, folder: Path) -> Iterator[None]:
    """Turn what TUF's client raises into whose fault it is."""
    from tuf.api.exceptions import DownloadError, ExpiredMetadataError, RepositoryError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ExpiredMetadataError as error:
        raise UntrustedError(
            f"repository {source}: what it says has expired ({error}), so it may be an old copy; its "
            "publisher must sign it anew (python -m quantization publish refresh); if the device's clock is "
            "wrong, set it (timedatectl set-ntp true)"
        ) from error
    except RepositoryError as error:
        raise UntrustedError(
            f"repository {source}: {error}: not vouched for by this device's root of trust, or older than "
            "what was seen before; nothing of it is used; ask its publisher"
        ) from error
    except (DownloadError, HTTPError) as error:
        raise UnreachableError(f"repository {source}: {error}; try again later") from error
    except OSError as error:
        raise UpdateError(
            f"the folder of updates {folder}: {error.strerror or error}; make room, or run as the user whom "
            "it belongs to"
        ) from error
