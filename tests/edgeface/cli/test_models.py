"""`edgeface models` lists, and has commands that prepare the models for an accelerator."""

from __future__ import annotations

import re

import pytest

from edgeface.backends.litert import LiteRTBackend
from edgeface.cli import main, warmup
from tests.bundles import TINY


def test_the_list_needs_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--bundle", str(TINY)]) == 0
    assert "expression.int8.tflite" in capsys.readouterr().out
    assert main(["models", "--help"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^  compile  \S.*both forms\.$", text, re.MULTILINE)
    assert re.search(r"^  warmup   \S.*build later\.$", text, re.MULTILINE)
    assert main(["models", "list"]) == 2


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
