"""Boards are named by the texts of their device trees; everything else by its processor."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgeface.doctor.board import read_board
from tests.edgeface.doctor.machines import pi, write

ORIN = "nvidia,p3768-0000+p3767-0003\0nvidia,p3767-0003\0nvidia,tegra234\0nvidia,tegra23x\0"


@pytest.mark.parametrize(
    ("model", "compatible", "kind"),
    [
        ("Raspberry Pi 3 Model B", "raspberrypi,3-model-b\0brcm,bcm2837\0", "raspberry-pi-3"),
        (
            "Raspberry Pi 3 Model B Plus Rev 1.3",
            "raspberrypi,3-model-b-plus\0brcm,bcm2837\0",
            "raspberry-pi-3",
        ),
        ("Raspberry Pi Zero 2 W Rev 1.0", "raspberrypi,model-zero-2-w\0brcm,bcm2837\0", "raspberry-pi-3"),
        ("Raspberry Pi 4 Model B Rev 1.4", "raspberrypi,4-model-b\0brcm,bcm2711\0", "raspberry-pi-4"),
        ("Raspberry Pi 400 Rev 1.0", "raspberrypi,400\0brcm,bcm2711\0", "raspberry-pi-4"),
        (
            "Raspberry Pi Compute Module 4 Rev 1.1",
            "raspberrypi,4-compute-module\0brcm,bcm2711\0",
            "raspberry-pi-4",
        ),
        ("Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b\0brcm,bcm2712\0", "raspberry-pi-5"),
        ("Raspberry Pi Zero W Rev 1.1", "raspberrypi,model-zero-w\0brcm,bcm2835\0", "raspberry-pi"),
        ("Raspberry Pi 2 Model B Rev 1.1", "raspberrypi,2-model-b\0brcm,bcm2836\0", "raspberry-pi"),
        ("NVIDIA Orin Nano Developer Kit", ORIN, "jetson-orin"),
        (
            "Jetson AGX Orin",
            "nvidia,p3737-0000+p3701-0005\0nvidia,p3701-0005\0nvidia,tegra234\0nvidia,tegra23x\0",
            "jetson-orin",
        ),
        ("NVIDIA Jetson Nano Developer Kit", "nvidia,p3450-0000\0nvidia,tegra210\0", "jetson"),
        ("Freescale i.MX8MQ Phanbell", "fsl,imx8mq-phanbell\0fsl,imx8mq\0", "coral-dev-board"),
        ("Google i.MX8MQ Phanbell", "google,imx8mq-phanbell\0fsl,imx8mq\0", "coral-dev-board"),
        ("Google Coral MT8167", "mediatek,mt8167\0", "coral-dev-board"),
        ("Radxa ROCK 5B", "radxa,rock-5b\0rockchip,rk3588\0", "arm64"),
    ],
)
def test_a_board_is_named_by_its_device_tree(
    tmp_path: Path, repository: Path, model: str, compatible: str, kind: str
) -> None:
    system = pi(tmp_path)
    write(tmp_path, {"proc/device-tree/model": f"{model}\0", "proc/device-tree/compatible": compatible})
    board = read_board(system)
    assert (board.name, board.kind) == (model, kind)
    assert board.system == "Debian GNU/Linux 12 (bookworm)"
    assert board.is_raspberry_pi == kind.startswith("raspberry-pi")
    assert not board.page or (repository / board.page).is_file()
    assert bool(board.page) == (kind not in {"raspberry-pi", "jetson"})


def test_a_pc_is_named_by_its_processor(tmp_path: Path) -> None:
    system = pi(tmp_path, machine="x86_64")
    for name in ("model", "compatible"):
        (tmp_path / "proc/device-tree" / name).unlink()
    write(tmp_path, {"proc/cpuinfo": "processor\t: 0\nmodel name\t: Intel(R) N100\n"})
    board = read_board(system)
    assert (board.name, board.kind, board.page) == ("Intel(R) N100", "x86", "firmware/boards/x86.md")


def test_a_machine_that_tells_nothing_is_told_so(tmp_path: Path) -> None:
    system = pi(tmp_path, machine="riscv64")
    board = read_board(dataclasses.replace(system, root=tmp_path / "empty"))
    assert (board.name, board.kind, board.system) == ("unknown board", "other", "unknown system")
