"""The health check: real models in a real child process, and every way to fail it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgeface.backends.litert import LiteRTBackend
from edgeface.bundle import Bundle, encode_bundle
from edgeface.errors import DeviceError, EdgeFaceError, FrameError
from edgeface.golden import golden_digest, golden_input
from edgeface.store import HealthError
from edgeface.store.health import check_health
from edgeface.store.probe import try_bundle
from tests.bundles import TINY, opened
from tests.edgeface.store.rig import photo


def changed(task: str, data: bytes | None = None, **fields: object) -> bytes:
    """The fixture with another artifact, or other words about it, for one task."""
    header, _ = opened(TINY.read_bytes())
    held = Bundle.load(TINY)
    header.pop("artifacts")
    header["models"][task] |= fields
    artifacts = {artifact.name: held.artifact(artifact.name) for artifact in held.artifacts}
    if data is not None:
        artifacts[held.model(task).artifact] = data
    return encode_bundle(header, artifacts)


def golden(task: str) -> str:
    """What LiteRT answers the known question of a model of the fixture."""
    spec = Bundle.load(TINY).model(task)
    session = LiteRTBackend().open(spec, Bundle.load(TINY).artifact(spec.artifact), 1)
    answer = golden_digest(spec, session.run(golden_input(spec)))
    session.close()
    return answer


def test_a_good_bundle_passes_in_a_child(capfd: pytest.CaptureFixture[str]) -> None:
    check_health(TINY.read_bytes(), photo())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("module", ["segv", "print"])
def test_a_runtime_that_crashes_costs_a_verdict(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "ai_edge_litert"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "import ctypes; ctypes.string_at(0)" if module == "segv" else "import os; print('well'); os._exit(0)"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    message = (
        r"ended the process that tried it \(SIGSEGV\)" if module == "segv" else "said nothing that can be"
    )
    with pytest.raises(HealthError, match=message):
        check_health(TINY.read_bytes())


def test_a_runtime_that_hangs_costs_its_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ai_edge_litert").mkdir()
    (tmp_path / "ai_edge_litert" / "__init__.py").write_text("import time; time.sleep(600)")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(HealthError, match=r"no answer within 0\.5 s"):
        check_health(TINY.read_bytes(), seconds=0.5)


def test_a_child_whose_caller_is_gone_ends_by_itself(tmp_path: Path) -> None:
    (tmp_path / "ai_edge_litert").mkdir()
    (tmp_path / "ai_edge_litert" / "__init__.py").write_text("import ctypes; ctypes.PyDLL(None).sleep(600)")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    command = [sys.executable, "-m", "edgeface.store.probe", "0.5"]
    done = subprocess.run(command, input=TINY.read_bytes(), check=False, env=environment, capture_output=True)
    assert done.returncode == -signal.SIGALRM


def test_python_that_cannot_start_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(HealthError, match="cannot start Python"):
        check_health(TINY.read_bytes())


def test_what_the_child_finds_is_told() -> None:
    with pytest.raises(HealthError, match=r"model 'parsing'.*install another bundle"):
        check_health(changed("parsing", golden="0" * 64))


def tried(data: bytes, picture: Path | None = None) -> None:
    try_bundle(Bundle.from_bytes(data), picture)


def test_the_known_question_is_asked_of_every_model() -> None:
    for task in Bundle.load(TINY).tasks:
        tried(changed(task, golden=golden(task)))
        with pytest.raises(DeviceError, match=f"model '{task}': answers a known question wrongly"):
            tried(changed(task, golden="0" * 64))


def test_a_file_that_is_no_model_is_refused() -> None:
    with pytest.raises(EdgeFaceError, match="landmarks"):
        tried(changed("landmarks", b"no model at all"))


def test_a_swapped_model_is_refused() -> None:
    held = Bundle.load(TINY)
    other = held.artifact(held.model("expression").artifact)
    with pytest.raises(EdgeFaceError, match="landmarks"):
        tried(changed("landmarks", other))


def test_a_format_that_nothing_here_opens_is_refused() -> None:
    with pytest.raises(DeviceError, match="no backend opens the models"):
        tried(changed("landmarks", format="abacus"))


def test_a_picture_must_show_a_face(tmp_path: Path) -> None:
    import cv2
    import numpy as np

    plain = tmp_path / "plain.png"
    cv2.imwrite(str(plain), np.full((120, 160, 3), 90, np.uint8))
    with pytest.raises(DeviceError, match=r"no face was found in .*plain\.png"):
        tried(TINY.read_bytes(), plain)
    with pytest.raises(FrameError):
        tried(TINY.read_bytes(), tmp_path / "absent.png")


def test_a_bundle_of_some_tasks_is_tried_with_those() -> None:
    header, _ = opened(TINY.read_bytes())
    held = Bundle.load(TINY)
    header.pop("artifacts")
    for tasks in (("expression",), ("detection",), ("detection", "parsing")):
        part = {
            **header,
            "models": {task: header["models"][task] for task in tasks},
            "cards": {},
        }
        names = [held.model(task).artifact for task in tasks]
        tried(encode_bundle(part, {name: held.artifact(name) for name in names}))


def test_the_models_that_are_built_in_pass() -> None:
    try_bundle(Bundle.builtin(), photo())
