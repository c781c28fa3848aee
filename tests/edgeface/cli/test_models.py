"""`edgeface models` lists, and has commands that prepare the models for an accelerator."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from edgeface.backends.litert import LiteRTBackend
from edgeface.bundle import Bundle, encode_bundle
from edgeface.cli import main, warmup
from tests.bundles import TINY, opened

_ROOT = Path(__file__).parents[3]


def test_the_list_needs_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--bundle", str(TINY)]) == 0
    assert "expression.int8.tflite" in capsys.readouterr().out
    assert main(["models", "--help"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^  compile +\S.*both forms\.$", text, re.MULTILINE)
    assert re.search(r"^  warmup +\S.*build later\.$", text, re.MULTILINE)
    assert main(["models", "list"]) == 2


_LICENCE = "research only, by the terms of " + ", ".join(f"a data set ({n}) of long terms" for n in range(9))


@pytest.fixture
def paragraphs(tmp_path: Path) -> Path:
    """A bundle of five models whose licences and metrics are as long as real ones."""
    header, _ = opened(TINY.read_bytes())
    bundle = Bundle.load(TINY)
    artifacts = {known["name"]: bundle.artifact(known["name"]) for known in header.pop("artifacts")}
    header["models"]["detection_tall"] = {**header["models"]["detection"], "task": "detection_tall"}
    for model in header["models"].values():
        model["licence"] = _LICENCE
        model["metrics"] = {"false_positives_per_image": 0.0405, "recall_50_any_teacher": 0.8931}
    path = tmp_path / "paragraphs.bundle"
    path.write_bytes(encode_bundle(header, artifacts))
    return path


def _on_a_terminal(columns: int, *words: str) -> str:
    """What the command line shows on a terminal that is so wide, without its colours."""
    read, write = pty.openpty()
    fcntl.ioctl(write, termios.TIOCSWINSZ, struct.pack("4H", 40, columns, 0, 0))
    known = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment = {**known, "PYTHONPATH": str(_ROOT), "TERM": "xterm"}
    command = [sys.executable, "-m", "edgeface", *words]
    with subprocess.Popen(command, stdin=write, stdout=write, env=environment) as process:
        os.close(write)
        shown = b""
        while part := _read(read):
            shown += part
    os.close(read)
    assert process.returncode == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 100_000)
    except OSError:  # Linux says EIO when the other end was closed
        return b""


@pytest.mark.parametrize("columns", [80, 120, 220])
def test_the_table_tells_every_model_on_a_terminal(columns: int, paragraphs: Path) -> None:
    shown = _on_a_terminal(columns, "models", "--bundle", str(paragraphs))
    lines = [line.rstrip() for line in shown.splitlines()]
    assert max(map(len, lines)) <= columns
    words = shown.split()
    bundle = Bundle.load(paragraphs)
    assert len(bundle.tasks) == 5
    for artifact in bundle.artifacts:
        if artifact.name.endswith(".tflite"):
            assert artifact.sha256[:12] in words
    for task in bundle.tasks:
        assert sum(line.split()[:1] == [task] for line in lines) == 1
    assert lines.count("") >= 5
    assert shown.count(" kB ") == shown.count("research only") == words.count("0.0405") == 5
    assert words.count("false_positives_per_image") == words.count("recall_50_any_teacher") == 5
    assert "a data set (0)" not in shown


@pytest.mark.parametrize("card", [True, False])
def test_a_long_licence_says_where_the_rest_is(
    card: bool, paragraphs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not card:
        header, _ = opened(paragraphs.read_bytes())
        bundle = Bundle.load(paragraphs)
        names = [name for name in (known["name"] for known in header.pop("artifacts")) if name[-3:] != ".md"]
        header["cards"] = {}
        paragraphs.write_bytes(encode_bundle(header, {name: bundle.artifact(name) for name in names}))
    assert main(["models", "--bundle", str(paragraphs)]) == 0
    out = capsys.readouterr().out
    rows = [line for line in out.splitlines() if "int8 80 x 64" in line]
    assert len(rows) == 2
    told = ["research only, see card" in row for row in rows]
    assert told == [card, False]  # the detector for tall frames has none of its own
    assert "research only, see --json" in rows[1]
    assert main(["models", "--json", "--bundle", str(paragraphs)]) == 0
    assert json.loads(capsys.readouterr().out)["models"][0]["licence"] == _LICENCE


@pytest.mark.parametrize("option", [["--json"], ["--card", "parsing"], ["--bundle", str(TINY)]])
def test_an_option_of_the_list_before_a_command_is_refused_rather_than_ignored(
    option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", *option, "warmup", "--backend", "litert"]) == 2
    out, err = capsys.readouterr()
    assert "write --bundle behind warmup" in err
    assert out == ""


def test_warmup_takes_tensorrt_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = []
    monkeypatch.setattr(warmup, "create", lambda name: asked.append(name) or LiteRTBackend())
    assert main(["models", "warmup", "--bundle", str(TINY)]) == 0
    assert main(["models", "warmup", "--bundle", str(TINY), "--backend", "litert", "--rebuild"]) == 0
    assert asked == ["onnx:tensorrt", "litert"]
    said = capfd.readouterr()
    assert said.out.count("XNNPACK, int8; opened in ") == 8
    assert said.err.count("litert keeps nothing between runs") == 1


def test_warmup_gives_every_model_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    opened = LiteRTBackend.open

    def spy(self: LiteRTBackend, spec: object, artifact: bytes, threads: int) -> object:
        given.append(threads)
        return opened(self, spec, artifact, threads)

    monkeypatch.setattr(LiteRTBackend, "open", spy)
    words = ["models", "warmup", "--backend", "litert", "--bundle", str(TINY)]
    assert main([*words, "--threads", "3"]) == 0
    assert given == [3, 3, 3, 3]
    assert main([*words, "--threads", "0"]) == 2


def test_a_backend_that_nobody_knows_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "warmup", "--backend", "abacus", "--bundle", str(TINY)]) == 2
    assert "'abacus': unknown" in capsys.readouterr().err
