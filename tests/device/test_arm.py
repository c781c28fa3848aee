"""The built wheel on Raspberry Pi's processors, emulated: the main job, XNNPACK, the bits of x86."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.backends.coral import find_tpus
from edgeface.backends.nvidia import read_board
from firmware.emulation import guest, roots
from firmware.emulation.errors import EmulationError
from tests.device import pages

pytestmark = pytest.mark.device

Board = Callable[[str], guest.Guest]

RELEASES = tuple(roots.PYTHONS)
ANALYZE = ["/usr/bin/python3", "-m", "edgeface", "analyze", "/opt/photo.jpg", "--json", "-"]


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-500:]}\n{done.stderr[-3000:]}"
    return done.stdout


def delegates(result: dict[str, Any]) -> dict[str, str | None]:
    return {task: ran["delegate"] for task, ran in result["ran"].items()}


def check_her_face(result: dict[str, Any], goldens: dict[str, Any]) -> None:
    (was,), (face,) = goldens["students"]["faces"], result["faces"]
    side = max(was["bbox"][2:])
    points = np.array(face["landmarks"]["points"], float)[:, :2]
    assert np.abs(points - was["points"]).max() < 0.02 * side
    found = [face["bbox"][name] for name in ("x", "y", "width", "height")]
    assert found == pytest.approx(was["bbox"], abs=0.02 * side)
    assert face["expression"]["label"] == max(was["expression"], key=was["expression"].get)
    assert face["parsing"]


@pytest.mark.parametrize("core", roots.CORES)
@pytest.mark.parametrize("release", RELEASES)
class TestTheBuiltWheel:
    def test_main_job_with_the_fast_kernels(
        self, board: Board, release: str, core: str, goldens: dict[str, Any]
    ) -> None:
        done = board(release).run([*ANALYZE, "--strict"], core)
        result = json.loads(succeeded(done).splitlines()[0])
        assert delegates(result) == dict.fromkeys(goldens["students"]["tensors"], "XNNPACK")
        check_her_face(result, goldens)

    def test_every_int8_tensor_is_that_of_x86(
        self, board: Board, release: str, core: str, goldens: dict[str, Any]
    ) -> None:
        command = ["/usr/bin/python3", "/opt/checkout/tests/device/replay.py", "/opt/tensors.npz"]
        heard = json.loads(succeeded(board(release).run(command, core)))
        for name, played in heard.items():
            before = goldens[name]["tensors"]
            assert played.keys() == before.keys()
            changed = [
                f"{name} {task}: {tensor}"
                for task, tensors in before.items()
                for tensor, digests in tensors.items()
                if played[task].get(tensor) != digests
            ]
            assert not changed, "of these, ARM computes other bits (an input: this machine feeds others)"


def test_without_sys_xnnpack_is_lost_and_said_so(board: Board) -> None:
    """What the tests above would miss if `delegate` were a constant; and what a chroot or a sandbox does."""
    blind = board("bookworm").run(ANALYZE, "cortex-a72", sys_visible=False)
    assert set(delegates(json.loads(succeeded(blind).splitlines()[0])).values()) == {None}
    refused = board("bookworm").run([*ANALYZE, "--strict"], "cortex-a72", sys_visible=False)
    assert refused.returncode != 0
    assert "is /sys mounted?" in refused.stderr


@pytest.mark.parametrize(
    ("release", "core", "page"),
    [
        ("bookworm", "cortex-a53", "raspberry-pi-3"),
        ("bookworm", "cortex-a72", "raspberry-pi-4"),
        ("trixie", "cortex-a76", "raspberry-pi-5"),
        ("trixie", "max", "arm64"),
    ],
)
def test_devices_says_what_the_boards_page_says(board: Board, release: str, core: str, page: str) -> None:
    if find_tpus() or read_board().driver:
        pytest.skip("the emulated board sees this machine's accelerator")
    command = ["/usr/bin/python3", "-m", "edgeface", "devices"]
    lines = succeeded(board(release).run(command, core)).splitlines()
    assert lines[0].startswith("aarch64")
    end = next(place for place, line in enumerate(lines) if line.startswith("chosen: "))
    printed = dict(line.split(maxsplit=1) for line in lines[2:end])
    promised = pages.plain(pages.PAGES[page])
    assert list(printed) == [row.backend for row in promised]
    for row in promised:
        assert row.matches(printed[row.backend]), (row, printed[row.backend])
    below = pages.PAGES[page].read_text()
    assert f"`{lines[end]}`" in below
    for line in lines[end + 1 :]:
        assert f"`{line.partition(': ')[2]}`" in below


def test_main_job_on_32_bits(
    cache: Path, wheel: Path, repository: Path, tmp_path: Path, goldens: dict[str, Any]
) -> None:
    """Best effort: TFLite 2.14, Debian's numpy and OpenCV. Its kernels are others, and so are the bits.

    The page's lines: what `apt-get` gets is in the root, `pip` runs here, the last one there as it stands.
    """
    _, pip, line = pages.commands(pages.PAGES["README"], "32-bit arm").splitlines()
    _, _, asked = pip.partition(" --target site ")
    try:
        root, emulator = roots.root32(cache), roots.emulator(cache, "armhf")
        wanted = [str(wheel) if word == "." else word for word in asked.split()]
        roots.install("bookworm", tmp_path / "site", ["--no-deps", *wanted], ["manylinux_2_34_armv7l"])
    except EmulationError as error:
        pytest.skip(str(error))
    libraries = (
        "/usr/lib/arm-linux-gnueabihf"  # Debian's scripts, which were not run, make links to these two
    )
    setting, python, *arguments = shlex.split(line)
    assert (setting, python) == ("PYTHONPATH=site", "python3")
    environment = {"PYTHONPATH": "site", "LD_LIBRARY_PATH": f"{libraries}/blas:{libraries}/lapack"}
    mounts = {"/site": tmp_path / "site", "/examples": repository / "examples"}
    pi = guest.Guest(root, emulator, mounts, environment)
    command = ["/usr/bin/python3", *arguments]
    assert "astronaut.jpg" in succeeded(pi.run(command, "cortex-a7"))
    result = json.loads(succeeded(pi.run([*command, "--json", "-"], "cortex-a7")).splitlines()[0])
    check_her_face(result, goldens)
    assert set(delegates(result).values()) == {None}, "that wheel is built without XNNPACK on 32 bits"


@pytest.mark.parametrize(("release", "core"), [("bookworm", "cortex-a72"), ("trixie", "cortex-a76")])
def test_the_readme_for_the_raspberry_pi(
    system: Board,
    wheelhouse: Callable[[str], Path],
    repository: Path,
    tmp_path: Path,
    release: str,
    core: str,
) -> None:
    """Its lines as they stand there, with the wheels in a folder in place of the index."""
    if not guest.starts_children():
        pytest.skip("this kernel has no binfmt_misc for a namespace of its own; Linux 6.7 has")
    checkout = tmp_path / "edgeface"
    checkout.mkdir()
    for name in ("edgeface", "examples"):
        shutil.copytree(repository / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "LICENSE", "pyproject.toml"):
        shutil.copy2(repository / name, checkout)
    bare = system(release)
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/opt/wheels"}
    mounts = {"/opt/checkout": checkout, "/opt/wheels": wheelhouse(release)}
    pi = guest.Guest(bare.root, bare.emulator, mounts, pip)
    # What is written is gone with the root, so the sizes of the pictures are told.
    before = "set -e; cp -r /opt/checkout /root/edgeface; cd /root/edgeface"
    after = "uname -m; stat -c '%n %s' out/*"
    lines = "\n".join([before, pages.commands(repository / "README.md", "raspberry pi"), after])
    told = succeeded(pi.run(["/bin/sh", "-c", lines], core, shell=True, timeout=1800)).splitlines()
    assert "aarch64" in told
    pictures = dict(re.findall(r"^(out/\S+\.(?:jpg|png)) (\d+)$", "\n".join(told), re.MULTILINE))
    assert int(pictures["out/astronaut.faces.jpg"]) > 10_000
