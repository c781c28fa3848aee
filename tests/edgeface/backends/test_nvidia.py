"""Why there is no CUDA or TensorRT, told from trees of files of boards that are not here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeface.backends.nvidia import explain_absence, read_board

# The first line of the file as Jetson Linux writes it.
RELEASE = (
    "# R{major} (release), REVISION: {rest}, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: {date}\n"
)


def board(root: Path, l4t: str | None = None, cuda: str | None = None, device: str | None = None) -> Path:
    if l4t:
        major, _, rest = l4t.partition(".")
        (root / "etc").mkdir()
        text = RELEASE.format(major=major, rest=rest, date="Wed Jan  8 01:49:37 UTC 2025")
        (root / "etc/nv_tegra_release").write_text(text)
    if cuda:
        (root / "usr/local/cuda").mkdir(parents=True)
        value = {"cuda": {"name": "CUDA SDK", "version": cuda}}
        (root / "usr/local/cuda/version.json").write_text(json.dumps(value))
    if device:
        (root / device).parent.mkdir(parents=True, exist_ok=True)
        (root / device).touch()
    return root


@pytest.mark.parametrize(
    ("l4t", "cuda", "python", "device", "wanted"),
    [
        ("35.4.1", "11.4.19", (3, 8), "cuda", "JetPack 5's own wheels end at Python 3.8"),
        ("36.4.3", "12.6.68", (3, 10), "tensorrt", "--index-url to jp6/cu126 of the Jetson"),
        ("36.5.0", "12.9.79", (3, 12), "cuda", "--index-url to jp6/cu129 of the Jetson"),
        ("36.4.3", None, (3, 10), "cuda", "jp6/cu126"),
        ("36.4.3", "12.6.68", (3, 13), "cuda", "make the environment with python3.10"),
        (
            "38.2.0",
            "13.0.48",
            (3, 12),
            "tensorrt",
            "no public wheel for JetPack 7 has TensorRT; use onnx:cuda",
        ),
        ("38.2.0", "13.0.48", (3, 12), "cuda", "pip install onnxruntime-gpu"),
        ("99.1.0", None, (3, 12), "cuda", "no index is known for this release"),
    ],
)
def test_a_jetson_is_told_the_index_that_fits(
    tmp_path: Path, l4t: str, cuda: str | None, python: tuple[int, int], device: str, wanted: str
) -> None:
    found = read_board(board(tmp_path, l4t, cuda))
    assert found.l4t == l4t
    assert found.cuda == (cuda and ".".join(cuda.split(".")[:2]))
    said = explain_absence(device, found, python)
    assert wanted in said
    assert f"(Jetson Linux {l4t}, Python {python[0]}.{python[1]})" in said


def test_a_pc_is_told_of_its_driver_or_of_the_package(tmp_path: Path) -> None:
    nothing = read_board(tmp_path)
    assert (nothing.l4t, nothing.cuda, nothing.driver, nothing.jetpack) == (None, None, False, None)
    assert "no NVIDIA driver is loaded" in explain_absence("cuda", nothing)
    assert read_board(board(tmp_path / "windows", device="dev/dxg")).driver
    found = read_board(board(tmp_path, device="dev/nvidia0"))
    assert found.driver
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in explain_absence("cuda", found)
    assert "pip install tensorrt" in explain_absence("tensorrt", found)
    assert "pip install tensorrt" not in explain_absence("cuda", found)


def test_files_of_another_form_count_as_absent(tmp_path: Path) -> None:
    root = board(tmp_path, "36.4.3", "12.6")
    (root / "etc/nv_tegra_release").write_bytes(b"\xff\xfe nothing known\n")
    (root / "usr/local/cuda/version.json").write_text('{"cuda": 12}')
    found = read_board(root)
    assert (found.l4t, found.cuda) == (None, None)
