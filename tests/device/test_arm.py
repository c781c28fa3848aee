"""The built wheel on Raspberry Pi's processors, emulated: the main job, XNNPACK, the bits of x86."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware.emulation import guest, roots
from firmware.emulation.errors import EmulationError
from tests.golden.make import PHOTO

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


def test_main_job_on_32_bits(cache: Path, wheel: Path, tmp_path: Path, goldens: dict[str, Any]) -> None:
    """Best effort: TFLite 2.14, Debian's numpy and OpenCV. Its kernels are others, and so are the bits."""
    try:
        root, emulator = roots.root32(cache), roots.emulator(cache, "armhf")
    except EmulationError as error:
        pytest.skip(str(error))
    roots.install("bookworm", tmp_path / "installed", ["--no-deps", str(wheel)])
    libraries = (
        "/usr/lib/arm-linux-gnueabihf"  # Debian's scripts, which were not run, make links to these two
    )
    environment = {
        "PYTHONPATH": "/opt/edgeface:/opt/site",
        "LD_LIBRARY_PATH": f"{libraries}/blas:{libraries}/lapack",
    }
    mounts = {"/opt/edgeface": tmp_path / "installed", "/opt/photo.jpg": PHOTO}
    done = guest.Guest(root, emulator, mounts, environment).run(ANALYZE, "cortex-a7")
    result = json.loads(succeeded(done).splitlines()[0])
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
    lines = "\n".join([before, commands(repository / "README.md", "raspberry pi"), after])
    told = succeeded(pi.run(["/bin/sh", "-c", lines], core, shell=True, timeout=1800)).splitlines()
    assert "aarch64" in told
    pictures = dict(re.findall(r"^(out/\S+\.(?:jpg|png)) (\d+)$", "\n".join(told), re.MULTILINE))
    assert int(pictures["out/astronaut.faces.jpg"]) > 10_000


def commands(page: Path, name: str) -> str:
    """The code block after ``<!-- ci: NAME -->``."""
    found = re.search(rf"<!-- ci: {re.escape(name)} -->\s*```sh\n(.*?)```", page.read_text(), re.DOTALL)
    assert found, f"{page.name} has no code block after <!-- ci: {name} -->"
    return found[1]
