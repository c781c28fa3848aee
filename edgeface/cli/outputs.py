"""What `analyze` writes: overlays, annotated videos and JSON lines, each complete or absent."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edgeface.cli.inputs import printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from edgeface.cli.inputs import Item
    from edgeface.results import FrameResult

__all__ = ["DestinationError", "JsonLines", "OutputError", "OutputFolder", "save_picture"]


class OutputError(Exception):
    """Something asked for cannot be written: no room, no permission."""


class DestinationError(OutputError):
    """What the results of every input go to cannot be written: the folder of --out, the file of --json."""


class OutputFolder:
    """Gives every overlay a name of its own below one folder, and never the name of an input.

    The same command run again finds the same names and replaces what it wrote before.
    """

    def __init__(self, root: Path, items: Iterable[Item]) -> None:
        self.root = root
        self._taken = {os.path.realpath(item.path).casefold() for item in items}
        try:
            root.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            shown = printable(str(root))
            raise DestinationError(f"{shown}: {_why(error)}; choose another folder for --out") from error

    def path(self, item: Item, suffix: str) -> Path:
        """Where the overlay of `item` goes: its name, `.faces`, a number if that is taken, and `suffix`.

        Raises:
            OutputError: its own folder below the root cannot be made; those of other items may.
        """
        folder = self.root / item.folder
        for number in range(1, len(self._taken) + 2):
            again = "" if number == 1 else f"-{number}"
            path = folder / f"{item.path.stem}{again}.faces{suffix}"
            key = os.path.realpath(path).casefold()  # some file systems do not tell X.jpg from x.jpg
            if key not in self._taken:
                break
        self._taken.add(key)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            shown = printable(str(folder))
            raise OutputError(f"{shown}: {_why(error)}; choose another folder for --out") from error
        return path


def save_picture(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write an RGB picture, uint8 [H, W, 3], in the format of the path's ending; it appears complete."""
    import cv2

    quality = [cv2.IMWRITE_JPEG_QUALITY, 93] if path.suffix == ".jpg" else []
    ok, data = cv2.imencode(path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), quality)
    if not ok:
        raise OutputError(f"{printable(str(path))}: the picture cannot be encoded")
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data.tobytes())
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{printable(str(path))}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


class JsonLines:
    """One result per line, flushed at once, so that an interrupted run leaves whole lines."""

    def __init__(self, target: str) -> None:
        self._shown = "the standard output" if target == "-" else printable(target)
        self._count = 0
        self._own: IO[str] | None = None
        if target != "-":
            try:
                self._own = Path(target).open("w", encoding="utf-8")  # noqa: SIM115  __exit__ closes it
            except (OSError, ValueError) as error:
                raise DestinationError(
                    f"{self._shown}: {_why(error)}; choose another file for --json"
                ) from error

    def write(self, result: FrameResult) -> None:
        """Append one result."""
        line = json.dumps(result.to_dict(), separators=(",", ":"), allow_nan=False)
        file = self._own or sys.stdout
        try:
            file.write(line + "\n")
            file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise DestinationError(f"{self._shown}: {_why(error)}") from error
        self._count += 1

    def summary(self) -> str:
        """How many results went where, in one line."""
        return f"wrote {self._count} result{'' if self._count == 1 else 's'} to {self._shown}"

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Every line was flushed; closing can only repeat a fault that was already told.
        with contextlib.suppress(OSError):
            if self._own is not None:
                self._own.close()


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
