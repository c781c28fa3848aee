"""An update of a native library or a driver shows, wherever it lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeface.backends.libraries import library_versions


@pytest.fixture(autouse=True)
def _named_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEFACE_LIBEDGETPU", raising=False)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


RELEASE = "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic\n"


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("usr/lib/x86_64-linux-gnu/libedgetpu.so.1.0", "16.0", "16.0 rebuilt"),
        ("usr/lib/aarch64-linux-gnu/nvidia/libcudnn.so.9.3.0", "9.3", "9.3.1"),
        ("usr/local/lib/libnvinfer.so.10", "10.3", "10.3.0"),
        ("etc/nv_tegra_release", RELEASE, RELEASE.replace("4.3", "4.4")),
        ("usr/local/cuda/version.json", '{"cuda": {"version": "12.6.1"}}', '{"cuda": {"version": "12.9.0"}}'),
        ("sys/module/nvidia/version", "550.54", "560.28"),
        ("proc/driver/nvidia/version", "NVRM version: 550.54", "NVRM version: 560.28"),
        ("proc/sys/kernel/osrelease", "6.1.0-28-arm64", "6.12.1-arm64"),
    ],
)
def test_each_update_shows(tmp_path: Path, name: str, before: str, after: str) -> None:
    absent = library_versions(tmp_path)
    write(tmp_path, name, before)
    old = library_versions(tmp_path)
    assert old == library_versions(tmp_path)
    write(tmp_path, name, after)
    assert len({str(found) for found in (absent, old, library_versions(tmp_path))}) == 3


def test_a_link_that_leads_to_another_version_shows(tmp_path: Path) -> None:
    for version in "1.0", "1.1":
        write(tmp_path, f"opt/libedgetpu-{version}", "the same size")
    link = write(tmp_path, "usr/lib/libedgetpu.so.1", "").absolute()
    seen = []
    for target in ("libedgetpu-1.0", "libedgetpu-1.1", "absent", link.name):
        link.unlink()
        link.symlink_to(link if target == link.name else tmp_path / "opt" / target)
        seen.append(str(library_versions(tmp_path)))
    assert len(set(seen[:3])) == 3
    assert "leads nowhere" in seen[2]
    assert "leads nowhere" in seen[3]


def test_a_library_that_the_environment_names_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = write(tmp_path, "own/libedgetpu.so.1", "own")
    monkeypatch.setenv("LD_LIBRARY_PATH", os.pathsep.join(["", str(own.parent), str(tmp_path / "absent")]))
    assert any(str(own) in found for found in library_versions(tmp_path / "root"))
    monkeypatch.delenv("LD_LIBRARY_PATH")
    monkeypatch.setenv("EDGEFACE_LIBEDGETPU", str(own))
    assert any(str(own) in found for found in library_versions(tmp_path / "root"))


def test_other_libraries_are_none_of_it(tmp_path: Path) -> None:
    before = library_versions(tmp_path)
    write(tmp_path, "usr/lib/libz.so.1", "zip")
    assert library_versions(tmp_path) == before
