"""`edgeface bench`: files, exit codes, limits, comparison, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import validate

from edgeface.benchmark import ABOUT
from edgeface.benchmark.scenarios import SCENARIOS
from edgeface.cli import bench, main, report
from tests.edgeface.benchmark import troubled

SHORT = ["bench", "mlperf", "--seconds", "0.3", "--tasks", "none"]


def test_the_help_knows_every_scenario() -> None:
    # The list that `--help` shows is apart from the code, so that it loads nothing.
    assert list(ABOUT) == list(SCENARIOS)


def test_everything_is_written_and_follows_the_schema(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {ending: tmp_path / f"a.{ending}" for ending in ("json", "csv", "markdown", "html")}
    options = [word for ending, path in names.items() for word in (f"--{ending}", str(path))]
    assert main([*SHORT, *options, "--fail-if", "p50>1000s"]) == 0
    shown = capsys.readouterr()
    record = json.loads(names["json"].read_text())
    validate(record, json.loads((repository / "edgeface" / "benchmark" / "schema.json").read_text()))
    assert len(names["csv"].read_text().splitlines()) > record["cases"][0]["count"]
    assert names["markdown"].read_text().startswith("# EdgeFace, mlperf")
    assert names["html"].read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in names.values())
    for path in names.values():
        assert f"written: {path}" in shown.out
    assert "single stream  total" in shown.out
    assert "checking the answers ..." in shown.err
    assert "XNNPACK delegate" not in shown.err


def test_a_broken_limit_is_code_6_and_the_files_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.json"
    assert main([*SHORT, "--json", str(path), "--fail-if", "p50>0.001us", "--fail-if", "p50>1000s"]) == 6
    assert "--fail-if p50>0.001us: case 'single stream' has" in capsys.readouterr().err
    assert path.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bench"], "name a SCENARIO"),
        (["bench", "fast"], "'fast' is not one of"),
        (["bench", "frame", "--fail-if", "p95>33"], "p95>33ms"),
        (["bench", "frame", "--json", "nowhere/a.json"], "make the folder first"),
        (["bench", "frame", "--tasks", "gaze"], "'gaze' is unknown"),
        (["bench", "frame", "--seconds", "0"], "--seconds"),
        (["bench", "fruits", "--seconds", "3"], "has no length to choose"),
        (["bench", "frame", "--fps", "15"], "--fps is for stream and multi"),
        (["bench", "multi", "--fps", "15", "--fps", "30"], "one rate"),
        (["bench", "stream", "--streams", "2"], "--streams is for multi"),
        (["bench", "frame", "--compare", "a", "b"], "measures nothing"),
        (["bench", "--compare", "nowhere.json", "b"], "cannot be read"),
        (["bench", "frame", "--backend", "abacus"], "abacus"),
    ],
)
def test_a_wrong_command_line_is_code_2_before_anything_is_measured(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""


def test_a_picture_that_cannot_be_used_is_code_3(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"no picture")
    assert main([*SHORT, "--image", str(path)]) == 3


def test_a_backend_that_answers_wrongly_is_code_4_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    troubled.installed(tmp_path, monkeypatch)
    path = tmp_path / "a.json"
    assert main([*SHORT, "--backend", "troubled:wrong", "--json", str(path)]) == 4
    assert "so there is no result" in capsys.readouterr().err
    assert not path.exists()


def test_two_files_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.json"
    assert main([*SHORT, "--json", str(path)]) == 0
    record = json.loads(path.read_text())
    for case in record["cases"]:
        case["raw_ns"]["total"] *= 20  # on a busy machine there are few calls in a third of a second
    path.write_text(json.dumps(record))
    for case in record["cases"]:
        case["raw_ns"]["total"] = [3 * value for value in case["raw_ns"]["total"]]
    other = tmp_path / "b.json"
    other.write_text(json.dumps(record))
    capsys.readouterr()
    assert main(["bench", "--compare", str(path), str(other)]) == 0
    text = capsys.readouterr().out
    assert "3.000" in text
    assert "99 % interval" in text
    assert "differs" not in text


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    words = ["bench", "frame", "--seconds", "300", "--tasks", "none", "--json", str(path)]
    with subprocess.Popen(
        [sys.executable, "-m", "edgeface", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    ) as child:
        try:
            assert child.stderr is not None
            while "4 faces" not in (line := child.stderr.readline()):
                assert line, "it ended by itself"
            time.sleep(1)
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=60)
        finally:
            child.kill()
    assert child.returncode == 130, err
    record = json.loads(path.read_text())
    assert record["interrupted"] is True
    assert record["seconds"] < 300
    assert "interrupted: the numbers are of what was measured until then" in out
    assert "interrupted" in err


def test_the_bar_draws_in_no_thread_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes what pytest captures for a terminal then
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    def threads(tell: Callable[[str, int, int | None], None]) -> int:
        tell("4 faces", 3, 60)
        return threading.active_count()

    before = threading.active_count()
    with bench._progress() as tell:
        assert threads(tell) == before
    shown = capsys.readouterr().err
    assert "4 faces" in shown
    assert "3/60" in shown
    with report.progress(wanted=True) as tell:
        assert threads(tell) == before + 1


def test_help_loads_neither_numpy_nor_a_runtime() -> None:
    script = (
        "import sys\nfrom edgeface.cli import main\nmain(['bench', '--help'])\n"
        "print(sorted({'numpy', 'cv2', 'ai_edge_litert'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "early stopping" in done.stdout
