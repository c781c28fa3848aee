"""The programs that judge what is in `firmware/`: this machine's, and those of a Debian that has them all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from firmware.emulation import system
from tests.firmware.packages import CHECKOUT, cache_or_skip

if TYPE_CHECKING:
    from collections.abc import Callable

# Root, folders that are seen at their own places in it, `--`, command. What it writes is gone afterwards.
_ENTER = """set -e
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root; shift
mount -t proc proc /mnt/root/proc
mount --rbind /dev /mnt/root/dev
while [ "$1" != -- ]; do mkdir -p /mnt/root$1; mount --bind $1 /mnt/root$1; shift; done; shift
exec chroot /mnt/root /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8 "$@"
"""


@pytest.fixture(params=["here", pytest.param("trixie", marks=pytest.mark.device)])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], list[str]]:
    """Name -> the command that starts the program; a skip where it is absent.

    It sees `firmware/` and the test's own folder at their places.
    """

    def here(name: str) -> list[str]:
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"{name} is not installed")
        return [found]

    def there(name: str) -> list[str]:
        root = system.validators(cache_or_skip())
        folders = [str(CHECKOUT / "firmware"), str(tmp_path)]
        return ["unshare", "--mount", "--net", "sh", "-c", _ENTER, "sh", str(root), *folders, "--", name]

    return here if request.param == "here" else there
