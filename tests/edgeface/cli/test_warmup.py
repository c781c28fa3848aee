"""`models warmup`: every model opened and run once, watched, on a terminal and into a log."""

from __future__ import annotations

import contextlib
import os
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgeface.backends.onnx import OnnxBackend
from edgeface.backends.tensorrt import TensorRTOptions
from edgeface.bundle import Bundle, encode_bundle
from edgeface.cli import warmup
from edgeface.cli.compile import _header
from edgeface.cli.warmup import warm_up
from edgeface.errors import ArgumentError, BundleError, DeviceError
from tests.bundles import TINY
from tests.edgeface.backends.onnx_models import SPEC, student


def test_every_model_is_opened_run_and_told(capfd: pytest.CaptureFixture[str]) -> None:
    warm_up(TINY, "litert", 1)
    out, err = capfd.readouterr()
    tasks = Bundle.load(TINY).tasks
    assert [line.partition(":")[0] for line in out.splitlines()] == list(tasks)
    for line in out.splitlines():
        assert re.search(r": XNNPACK, int8; opened in \d+\.\d s, first frame \d+ ms$", line)
    for number, task in enumerate(tasks, 1):
        assert f"{task} ({number} of {len(tasks)}): opening on litert ..." in err


def test_a_terminal_gets_a_clock_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.openpty()
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        with warmup._working("parsing (1 of 1): opening on litert"):
            pass
    parts = []
    with contextlib.suppress(OSError):  # the end of a terminal that is closed
        while part := os.read(reader, 65536):  # gives a part of what was written, on a loaded machine
            parts.append(part)
    shown = b"".join(parts).decode()
    os.close(reader)
    assert "parsing (1 of 1): opening on litert" in shown
    assert "0:00:00" in shown
    assert shown.rstrip().endswith("\x1b[2K") or "\x1b[?25h" in shown


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs the extra `onnx`")
def test_rebuild_deletes_the_engines_of_this_bundle_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = TensorRTOptions(cache=tmp_path / "engines")
    backend = OnnxBackend("cpu", options)
    monkeypatch.setattr(warmup, "create", lambda name: backend)
    path = tmp_path / "onnx.bundle"
    header = _header(Bundle.load(TINY), {"parsing": SPEC}) | {"cards": {}}
    path.write_bytes(encode_bundle(header, {SPEC.artifact: student()}))
    mine, shared = options.folders(student(), onnxruntime.__version__)
    others = shared / "0123456789abcdef"
    for folder in (mine, others):
        folder.mkdir(parents=True)
    warm_up(path, "onnx:tensorrt", 1)
    assert mine.exists()
    warm_up(path, "onnx:tensorrt", 1, rebuild=True)
    assert not mine.exists()
    assert others.exists()
    assert "parsing: CPUExecutionProvider, int8" in capfd.readouterr().out


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs the extra `onnx`")
def test_the_options_in_the_name_reach_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("EDGEFACE_CACHE", str(tmp_path))
    from tests.edgeface.backends.test_onnx import on_a_gpu, with_listed

    listed = with_listed(monkeypatch, works=True)
    on_a_gpu(monkeypatch, "onnx:tensorrt")
    path = tmp_path / "onnx.bundle"
    header = _header(Bundle.load(TINY), {"parsing": SPEC}) | {"cards": {}}
    path.write_bytes(encode_bundle(header, {SPEC.artifact: student()}))
    warm_up(path, "onnx:tensorrt:fp16:dla=1")
    options = listed.asked[0][1]
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == ("True", "False")
    assert options["trt_dla_core"] == "1"
    assert Path(options["trt_engine_cache_path"]).name.endswith("-fp16-dla1")
    assert "parsing (1 of 1): opening on onnx:tensorrt:fp16:dla=1 ..." in capfd.readouterr().err
    with pytest.raises(ArgumentError, match="unknown options"):
        warm_up(path, "onnx:tensorrt:half")


def test_what_a_bundle_or_a_machine_lacks_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warmup, "create", lambda name: OnnxBackend("cpu"))
    with pytest.raises(BundleError, match=r"none of .*onnx"):
        warm_up(TINY, "onnx:tensorrt")

    def nothing(name: str) -> OnnxBackend:
        raise DeviceError("no such device")

    monkeypatch.setattr(warmup, "create", nothing)
    with pytest.raises(DeviceError, match="no such device"):
        warm_up(TINY, "onnx:tensorrt")
