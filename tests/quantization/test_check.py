from __future__ import annotations

import json
import stat

import pytest
from click.testing import CliRunner

from quantization.__main__ import main
from quantization.canonical import read_model
from tests.edgeface.test_edgetpu_compiler import CPU, END, HEAD, MIXED, REFUSED, TABLE
from tests.quantization.test_edgetpu import KIND, find, pack, recode

pytestmark = pytest.mark.workshop


@pytest.fixture
def put_compiler(tmp_path, monkeypatch):
    """Puts a program that prints a log on PATH as the compiler; without one PATH has none."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def put(log):
        script = folder / "edgetpu_compiler"
        # It fails unless it is given a file, as the real one is, and leaves one in the folder of -o.
        script.write_text(
            '#!/bin/sh\nfor last; do :; done\n[ -f "$last" ] || exit 9\n'
            f": > \"$3/model_edgetpu.tflite\"\necho '{quoted(log)}'\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)

    return put


def quoted(log):
    return log.replace("'", "'\\''")


@pytest.fixture
def model_file(tmp_path, canonical_file):
    path = tmp_path / "net.tflite"
    path.write_bytes(canonical_file)
    return path


def run(*arguments):
    return CliRunner().invoke(main, ["check", *map(str, arguments)])


def test_a_file_that_maps_passes(model_file, put_compiler):
    result = run(model_file)
    assert result.exit_code == 0, result.output
    assert "operators mapped, in one subgraph" in result.output
    assert "6 CONV_2D v3" in result.output
    assert "edgetpu_compiler" not in result.output


def test_an_operator_on_the_cpu_fails_with_reason_and_mend(model_file, canonical_file, put_compiler):
    model = read_model(canonical_file)
    place, operator = find(model, "DEPTHWISE_CONV_2D")
    operator.inputs = operator.inputs[:1]
    recode(model, operator, KIND.HARD_SWISH)
    model_file.write_bytes(pack(model))
    result = run(model_file)
    assert result.exit_code == 1
    assert f"operator {place} HARD_SWISH v1" in result.output
    assert "use ReLU or ReLU6" in result.output
    (report,) = json.loads(run(model_file, "--json").output)
    assert not report["fully_mapped"]
    first = report["predicted"]["unmapped"][0]
    assert (first["index"], first["problem"]["mend"]) == (place, "use ReLU or ReLU6")
    assert report["compiled"] is None


def test_the_compiler_is_shown_beside_and_has_the_last_word(model_file, put_compiler):
    put_compiler(HEAD + TABLE + END)
    assert run(model_file).exit_code == 0
    put_compiler(HEAD + CPU + MIXED + END)
    result = run(model_file)
    assert result.exit_code == 1
    assert "9 operators mapped in 1 subgraph, 3 on the CPU" in result.output
    assert "disagree" in result.output
    put_compiler(REFUSED)
    (report,) = json.loads(run(model_file, "--json").output)
    assert report["predicted"]["mapped"] == report["predicted"]["operators"]
    assert "'EXP' version '2'" in report["compiled"]["refusal"]


def test_every_network_of_a_bundle_is_checked(repository, put_compiler):
    result = run(repository / "edgeface/models/students.bundle")
    assert result.exit_code == 0, result.output
    assert {line.partition(":")[0] for line in result.output.splitlines() if not line.startswith(" ")} == {
        f"{task}.int8.tflite"
        for task in ("detection", "detection_tall", "expression", "landmarks", "parsing")
    }


def test_what_is_neither_is_refused_by_name(tmp_path, put_compiler):
    for name in ("broken.tflite", "broken.bundle"):
        (tmp_path / name).write_bytes(b"neither one nor the other")
        result = run(tmp_path / name)
        assert result.exit_code == 1
        assert name in result.output
