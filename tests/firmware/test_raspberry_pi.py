"""`edgeface doctor` on an emulated Raspberry Pi 3 with its own device tree, started from its card."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from firmware.emulation import machine, raspberry_pi
from tests.firmware.packages import board_or_skip, device_tree

pytestmark = pytest.mark.device

# 1: it warns. A fault would end the job, and the test would show the doctor's last words.
JOB = """
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8
edgeface doctor --json 2>/tmp/errors || test $? = 1
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the doctor says there."""
    cache = board_or_skip()
    folder = tmp_path_factory.mktemp("pi")
    tree = device_tree(cache, folder / "tree")
    (tree / "job").write_text(machine.script(JOB))
    machine.disk(tree, folder / "card.ext4")
    shutil.rmtree(tree)
    answer = raspberry_pi.boot(machine.kernel(cache), folder / "card.ext4")
    (folder / "card.ext4").unlink()
    return json.loads(answer)


def test_the_doctor_names_the_board(told: dict[str, Any]) -> None:
    board = {name: told["board"][name] for name in ("name", "kind", "page", "machine", "python")}
    assert board == {
        "name": "Raspberry Pi 3 Model B",
        "kind": "raspberry-pi-3",
        "page": "firmware/boards/raspberry-pi-3.md",
        "machine": "aarch64",
        "python": "3.11",
    }


def test_it_finds_nothing_wrong_there_but_the_clock(told: dict[str, Any]) -> None:
    verdicts = {check["name"]: check["verdict"] for check in told["checks"]}
    troubles = {name: verdict for name, verdict in verdicts.items() if verdict in ("warning", "fault")}
    # No clock of a Pi runs without power, and nothing has told this one the time.
    assert troubles == {"clock": "warning"}
    assert {verdicts[name] for name in ("cpu-information", "memory", "opencv", "litert", "models")} == {"ok"}


def test_the_models_run_there_on_the_fast_kernels(told: dict[str, Any]) -> None:
    [models] = [check for check in told["checks"] if check["name"] == "models"]
    assert "XNNPACK" in models["evidence"]
