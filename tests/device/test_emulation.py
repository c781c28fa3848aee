"""The rig's own parts, without an emulated board: the cache and what is told when it cannot be filled."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from firmware.emulation import roots
from firmware.emulation.errors import EmulationError


class TestCache:
    def test_an_entry_is_made_once(self, tmp_path: Path) -> None:
        made = []

        def make(folder: Path) -> None:
            made.append(folder)
            folder.mkdir()
            (folder / "file").write_text("content")

        first = roots.kept(tmp_path, "entry", ("a", "b"), make)
        assert roots.kept(tmp_path, "entry", ("a", "b"), make) == first
        assert len(made) == 1
        assert (first / "file").read_text() == "content"
        assert roots.kept(tmp_path, "entry", ("a", "c"), make) != first

    def test_an_interrupted_entry_is_none(self, tmp_path: Path) -> None:
        def interrupted(folder: Path) -> None:
            folder.mkdir()
            raise EmulationError("the network went away")

        with pytest.raises(EmulationError):
            roots.kept(tmp_path, "entry", ("a",), interrupted)
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_others_may_write_to_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EDGEFACE_ARM_CACHE", str(tmp_path / "cache"))
        assert stat.S_IMODE(roots.cache_folder().stat().st_mode) == 0o700
        (tmp_path / "cache").chmod(0o777)
        with pytest.raises(EmulationError, match="others can write"):
            roots.cache_folder()


def test_what_is_downloaded_says_why_it_failed(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    missing.mkdir()
    with pytest.raises(EmulationError, match=r"(?s)pip wheel.*failed; is there a network\?.*missing"):
        roots.build_wheel(missing, tmp_path)
