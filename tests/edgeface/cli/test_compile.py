"""`models compile`: a compiler that is a script here, real bundles, and a delegate that runs the result."""

from __future__ import annotations

import dataclasses
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeface.backends.edgetpu import EdgeTpuBackend
from edgeface.bundle import Bundle, encode_bundle
from edgeface.cli import main
from edgeface.cli.compile import _header, compile_bundle
from edgeface.edgetpu_compiler import ON_CPU, find_compiler
from edgeface.errors import ArgumentError, BundleError, DeviceError
from tests.bundles import TINY
from tests.edgeface.backends import delegates

# The lines of a compiler 16.0 run with -s.
_HEAD = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 3133 ms.

Input model: model.tflite
Output model: model_edgetpu.tflite
On-chip memory used for caching model parameters: 5.90MiB
Number of Edge TPU subgraphs: 1
Total number of operations: 2

Operator                       Count      Status

"""
WHOLE = f"{_HEAD}CONV_2D                        2          Mapped to Edge TPU\n"
PARTLY = (
    f"{_HEAD}CONV_2D                        1          Mapped to Edge TPU\n"
    "RELU                           1          Operation not supported\n"
)
REFUSED = "Edge TPU Compiler version 16.0.384591198\nInvalid model: model.tflite\nModel could not be parsed\n"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of one student, whose plain file nobody runs here."""
    spec = dataclasses.replace(delegates.SPEC, artifact="expression.int8.tflite", format="tflite")
    plain = delegates.compiled_model(custom_op="plain")
    header = _header(Bundle.load(TINY), {"expression": spec}) | {"cards": {"expression": "expression.md"}}
    path = tmp_path / "plain.bundle"
    path.write_bytes(encode_bundle(header, {spec.artifact: plain, "expression.md": b"# A card\n"}))
    return path


def put_compiler(
    folder: Path, monkeypatch: pytest.MonkeyPatch, log: str, compiled: bytes | None = None
) -> None:
    """A program on PATH that prints a log and, as the compiler does, leaves its file in the folder of -o."""
    folder.mkdir()
    (folder / "log").write_text(log)
    if compiled is not None:
        (folder / "compiled").write_bytes(compiled)
    script = folder / "edgetpu_compiler"
    script.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, shutil, sys\n"
        "here = pathlib.Path(__file__).parent\n"
        "assert sys.argv[1:3] == ['-s', '-o'] and pathlib.Path(sys.argv[4]).read_bytes()[4:8] == b'TFL3'\n"
        "print((here / 'log').read_text())\n"
        "if (here / 'compiled').exists():\n"
        "    shutil.copy(here / 'compiled', pathlib.Path(sys.argv[3]) / 'model_edgetpu.tflite')\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))


def test_a_bundle_gets_the_compiled_form_beside_its_own_and_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library = delegates.build(tmp_path, delegates.ACCEPTING)
    put_compiler(tmp_path / "bin", monkeypatch, WHOLE, delegates.compiled_model())
    out = tmp_path / "both.bundle"
    assert compile_bundle(bundle, out) == 0
    said = capsys.readouterr().out
    assert (
        "expression: edgetpu_compiler 16.0.384591198: 2 operators mapped in 1 subgraph, 0 on the CPU" in said
    )
    before, after = Bundle.load(bundle), Bundle.load(out)
    spec = after.model("expression")
    assert spec.variants == {"edgetpu": "expression.int8_edgetpu.tflite"}
    assert spec.metrics == {ON_CPU: 0.0}
    assert dataclasses.replace(spec, variants={}, metrics={}) == before.model("expression")
    assert after.card("expression") == "# A card\n"
    assert after.artifact(spec.artifact) == before.artifact(spec.artifact)
    chosen = spec.for_formats(frozenset({"edgetpu"}))
    session = EdgeTpuBackend("", library).open(chosen, after.artifact(chosen.artifact), 1)
    image = np.random.default_rng(0).integers(-128, 128, spec.input.shape, dtype=np.int8)
    np.testing.assert_array_equal(session.run({"image": image})["logits"], delegates.expected(image))


def test_operators_on_the_cpu_are_told_and_counted_and_change_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_compiler(tmp_path / "bin", monkeypatch, PARTLY, delegates.compiled_model(with_relu=True))
    assert compile_bundle(bundle, tmp_path / "both.bundle") == 3
    assert "1 x RELU: Operation not supported" in capsys.readouterr().out
    assert Bundle.load(tmp_path / "both.bundle").model("expression").metrics[ON_CPU] == 1


@pytest.mark.parametrize(
    ("log", "compiled", "error", "message"),
    [
        (REFUSED, None, DeviceError, "refuses 'expression': Invalid model"),
        (WHOLE, None, DeviceError, "says that it compiled, but wrote no file"),
        ("Segmentation fault", None, DeviceError, "no report of edgetpu_compiler: 'Segmentation fault'"),
        (_HEAD, b"", DeviceError, "its table of operators is missing"),
        (WHOLE, delegates.compiled_model(custom_op="plain"), BundleError, "mapped nothing of it"),
        (WHOLE, b"edgetpu-custom-op", BundleError, "wrote no model"),
    ],
)
def test_a_compiler_that_does_not_do_its_work_writes_no_bundle(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bundle: Path,
    log: str,
    compiled: bytes | None,
    error: type[Exception],
    message: str,
) -> None:
    put_compiler(tmp_path / "bin", monkeypatch, log, compiled)
    with pytest.raises(error, match=message):
        compile_bundle(bundle, tmp_path / "both.bundle")
    assert not (tmp_path / "both.bundle").exists()


def test_a_compiled_graph_other_than_the_headers_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Path
) -> None:
    """Its scale is the header's neighbour: decoding it would be quietly wrong."""
    other = dataclasses.replace(delegates.SPEC.outputs[0], scale=0.25)
    monkeypatch.setattr(delegates, "SPEC", dataclasses.replace(delegates.SPEC, outputs=(other,)))
    put_compiler(tmp_path / "bin", monkeypatch, WHOLE, delegates.compiled_model())
    with pytest.raises(BundleError, match=r"expression\.int8_edgetpu\.tflite.*scale 0\.25"):
        compile_bundle(bundle, tmp_path / "both.bundle")


def test_without_a_compiler_what_is_known_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_compiler() is None
    with pytest.raises(DeviceError, match="not on PATH, so nothing was compiled"):
        compile_bundle(bundle, tmp_path / "both.bundle")
    assert capsys.readouterr().out == "expression: the bundle holds no verdict on the Edge TPU\n"
    given = Bundle.load(bundle)
    for left, verdict in ((0.0, "everything maps"), (2.0, "2 operators stay on the CPU")):
        spec = dataclasses.replace(given.model("expression"), metrics={ON_CPU: left})
        content = {artifact.name: given.artifact(artifact.name) for artifact in given.artifacts}
        path = tmp_path / f"{left}.bundle"
        path.write_bytes(encode_bundle(_header(given, {"expression": spec}), content))
        with pytest.raises(DeviceError):
            compile_bundle(path, tmp_path / "both.bundle")
        said = capsys.readouterr().out
        assert said.startswith(f"expression: {verdict}, by the check that the bundle was packed with")


def test_the_command_line_tells_the_two_ends_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, (log, with_relu, code) in enumerate(((WHOLE, False, 0), (PARTLY, True, 3))):
        compiled = delegates.compiled_model(with_relu=with_relu)
        put_compiler(tmp_path / f"bin{number}", monkeypatch, log, compiled)
        out = tmp_path / f"{number}.bundle"
        words = ["models", "compile", "--target", "edgetpu", "--bundle", str(bundle), "--out", str(out)]
        assert main(words) == code
        assert f"wrote {out}" in capsys.readouterr().out
        assert "edgetpu" in Bundle.load(out).model("expression").formats
        assert main(words) == 2
        assert "exists already; name a new file" in capsys.readouterr().err
    assert main([*words[:2], *words[4:]]) == 2
    assert "--target" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([*words[:-1], str(tmp_path / "none.bundle")]) == 4
    assert "edgetpu_compiler is not on PATH" in capsys.readouterr().err


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path, bundle: Path) -> None:
    with pytest.raises(ArgumentError, match="exists already"):
        compile_bundle(bundle, bundle)


@pytest.mark.parametrize("path", [TINY, None], ids=["tiny", "built in"])
def test_a_header_written_again_says_the_same(path: Path | None) -> None:
    bundle = Bundle.load(path) if path else Bundle.builtin()
    content = {artifact.name: bundle.artifact(artifact.name) for artifact in bundle.artifacts}
    again = Bundle.from_bytes(encode_bundle(_header(bundle, bundle.models), content))
    assert again.models == bundle.models
    assert again.cards == bundle.cards
    assert again.artifacts == bundle.artifacts
