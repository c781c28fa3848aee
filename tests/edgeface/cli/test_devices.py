"""`edgeface devices` tells what is here, what is chosen and why; `--json` tells the same."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeface import choice
from edgeface.cli import main
from tests import faulty
from tests.bundles import TINY

ARGUMENTS = ["devices", "--bundle", str(TINY)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFACE_CACHE", str(tmp_path / "cache"))


def told(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    assert main([*ARGUMENTS, "--json", *more]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_what_ran_is_shown_and_not_what_was_planned(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "--threads", "2")
    assert (found["schema"], found["chosen"], found["spare"]) == ("edgeface.devices/1", "litert", None)
    assert found["why"] == "no other backend here opens these models"
    assert set(found["ran"]) == {"detection", "expression", "landmarks", "parsing"}
    for ran in found["ran"].values():
        assert (ran["backend"], ran["delegate"], ran["threads"]) == ("litert", "XNNPACK", 2)
    candidates = {candidate["name"]: candidate for candidate in found["candidates"]}
    assert set(candidates) >= {"litert", "edgetpu", "onnx", "onnx:cuda", "onnx:tensorrt"}
    assert [name for name, candidate in candidates.items() if candidate["chosen"]] == ["litert"]
    assert all(candidate["verdict"] for candidate in candidates.values())
    assert main(ARGUMENTS) == 0
    text = capsys.readouterr().out
    assert found["device"] in text.splitlines()[0]
    assert "chosen: litert: no other backend here opens these models" in text
    assert "parsing: litert, XNNPACK, int8, 1 thread\n" in text
    for candidate in candidates.values():
        assert candidate["verdict"] in text


def test_who_answers_wrongly_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty.installed(tmp_path, monkeypatch)
    monkeypatch.setenv("EDGEFACE_FAULTY", "good")
    found = told(capsys)
    (refused,) = [candidate for candidate in found["candidates"] if candidate["refused"]]
    assert refused["name"] == "faulty"
    assert "answers wrongly" in refused["verdict"]
    assert not found["remembered"]
    assert main([*ARGUMENTS, "--again"]) == 0
    chosen = "chosen: litert: every other backend that is present was refused"
    assert f"{chosen}\n" in capsys.readouterr().out
    monkeypatch.setattr(choice, "measure", None)
    assert told(capsys)["remembered"]
    assert main(ARGUMENTS) == 0
    assert f"{chosen} (remembered; --again measures anew)\n" in capsys.readouterr().out


def test_an_isolated_choice_shows_its_spare(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty.installed(tmp_path, monkeypatch)
    monkeypatch.setenv("EDGEFACE_FAULTY", "honest")
    quick = {name: choice.Candidate(name, True, s, "fine") for name, s in (("litert", 1.0), ("faulty", 0.1))}
    monkeypatch.setattr(choice, "measure", lambda *_: quick)
    assert main(ARGUMENTS) == 0
    text = capsys.readouterr().out
    assert "chosen: isolated:faulty, with litert behind it: it is the fastest" in text
    assert "landmarks: isolated:faulty, no delegate, int8, 1 thread" in text
    assert "100.0  fine" in text


def test_where_nothing_runs_the_models_everything_is_told_all_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ai_edge_litert", "tflite_runtime"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(ARGUMENTS) == 4
    out, err = capsys.readouterr()
    assert "\nlitert                   LiteRT is not installed; run: pip install ai-edge-litert" in out
    assert "\nedgetpu " in out
    assert "chosen" not in out
    assert f"no backend here runs the models of bundle {TINY}" in err
    assert main([*ARGUMENTS, "--json"]) == 4
    found = json.loads(capsys.readouterr().out)
    assert (found["chosen"], found["spare"], found["ran"]) == (None, None, {})
    assert not any(candidate["usable"] for candidate in found["candidates"])
    assert "LiteRT is not installed" in found["why"]


def test_a_bundle_that_cannot_be_read_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "--bundle", "nowhere.bundle"]) == 4
    assert "nowhere.bundle" in capsys.readouterr().err
