"""A command in a root of another processor, under `qemu-aarch64`: the results of the board, not its speed."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from firmware.emulation.errors import EmulationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Guest", "starts_children"]

_ENTER = Path(__file__).with_name("enter.sh")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Guest:
    """A root, its emulator, and what it sees of this machine: the command's writes are gone afterwards."""

    root: Path
    emulator: Path
    mounts: Mapping[str, Path] = field(default_factory=dict)
    """Place in the root -> file or folder of this machine, read-only."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Beside PATH, HOME and a UTF-8 locale, all that a command sees."""

    def run(
        self,
        command: Sequence[str],
        core: str,
        *,
        shell: bool = False,
        sys_visible: bool = True,
        timeout: float = 900,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``command`` and wait for it; the caller looks at the return code.

        Args:
            command: an absolute path in the root, and arguments.
            core: processor, as QEMU calls it (`roots.CORES`).
            shell: the command starts other programs; see `starts_children`.
            sys_visible: whether /sys is there. Without it cpuinfo knows no processor.
            timeout: seconds.

        Raises:
            EmulationError: it took longer than ``timeout``.
        """
        # A user namespace, because only there the registration of the emulator is the namespace's own.
        namespace = ["unshare", "--mount", *(["--map-root-user"] if shell else [])]
        mounts = [f"{source.resolve()}={target}" for target, source in self.mounts.items()]
        switches = ["yes" if switch else "no" for switch in (sys_visible, shell)]
        environment = {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8", "QEMU_CPU": core}
        with tempfile.TemporaryDirectory(prefix="edgeface-guest-") as scratch:
            places = [str(place) for place in (_ENTER, scratch, self.root, self.emulator)]
            try:
                return subprocess.run(
                    [*namespace, *places, *switches, *mounts, "--", *command],
                    env={**environment, **self.environment},
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=timeout,
                )
            except subprocess.TimeoutExpired as error:
                raise EmulationError(f"{' '.join(command)} on {core}: no end after {timeout} s") from error


def starts_children() -> bool:
    """Whether this kernel lets a namespace register an emulator of its own: Linux 6.7, with binfmt_misc."""
    mount = ["mount", "-t", "binfmt_misc", "binfmt_misc", "/proc/sys/fs/binfmt_misc"]
    command = ["unshare", "--mount", "--map-root-user", *mount]
    return subprocess.run(command, capture_output=True, env=os.environ, check=False).returncode == 0
