from __future__ import annotations

import json
import stat

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from quantization.__main__ import main
from quantization.canonical import read_model
from quantization.convert import ExportError
from quantization.edgetpu_compiler import parse_report
from tests.quantization.test_edgetpu import KIND, find, pack, recode

pytestmark = pytest.mark.workshop

# The lines of a compiler 16.0 run with -s, sizes and all.
HEAD = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 3133 ms.

Input model: model.tflite
Input size: 6.00MiB
Output model: model_edgetpu.tflite
Output size: 6.47MiB
On-chip memory used for caching model parameters: 5.90MiB
On-chip memory remaining for caching model parameters: 1.16MiB
Off-chip memory used for streaming uncached model parameters: 41.75KiB
Number of Edge TPU subgraphs: 1
Total number of operations: 12
Operation log: model_edgetpu.log
"""
CPU = """
Model successfully compiled but not all operations are supported by the Edge TPU.
Number of operations that will run on Edge TPU: 9
Number of operations that will run on CPU: 3
"""
TABLE = """
Operator                       Count      Status

CONV_2D                        6          Mapped to Edge TPU
ADD                            1          Mapped to Edge TPU
RESIZE_BILINEAR                1          Mapped to Edge TPU
PAD                            4          Mapped to Edge TPU
"""
MIXED = """
Operator                       Count      Status

LOGISTIC                       1          More than one subgraph is not supported
CONV_2D                        9          Mapped to Edge TPU
DEQUANTIZE                     2          Operation is working on an unsupported data type
"""
END = """Compilation child process completed within timeout period.
Compilation succeeded!
"""
REFUSED = """Edge TPU Compiler version 16.0.384591198
ERROR: Didn't find op for builtin opcode 'EXP' version '2'. An older version of this builtin might be

ERROR: Registration failed.

Invalid model: model.tflite
Model could not be parsed
"""
ABORTED = "Edge TPU Compiler version 15.0.340273435\n\nInternal compiler error. Aborting! \n"


def test_a_report_where_all_maps_is_read():
    report = parse_report(HEAD + TABLE + END)
    assert report.fully_mapped
    assert (report.version, report.subgraphs, report.on_edgetpu, report.on_cpu) == (
        "16.0.384591198",
        1,
        12,
        0,
    )
    assert report.memory["On-chip memory used for caching model parameters"] == "5.90MiB"
    assert len(report.memory) == 3
    assert report.summary() == (
        "edgetpu_compiler 16.0.384591198: 12 operators mapped in 1 subgraph, 0 on the CPU"
    )


def test_a_report_with_operators_on_the_cpu_names_them():
    report = parse_report(HEAD + CPU + MIXED + END)
    assert not report.fully_mapped
    assert (report.on_edgetpu, report.on_cpu) == (9, 3)
    assert [(o.count, o.name) for o in report.operators if not o.mapped] == [
        (1, "LOGISTIC"),
        (2, "DEQUANTIZE"),
    ]
    assert "  2 x DEQUANTIZE: Operation is working on an unsupported data type" in report.summary()


def test_several_subgraphs_are_not_one():
    assert not parse_report(HEAD.replace("subgraphs: 1", "subgraphs: 2") + TABLE).fully_mapped


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[A-Z][A-Z0-9_]{0,29}", fullmatch=True),
            st.integers(1, 9999),
            st.sampled_from(
                ["Mapped to Edge TPU", "Operation not supported", "Operation version not supported"]
            ),
        ),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from(["\n", "\r\n"]),
)
def test_any_table_is_read_back(rows, newline):
    lines = [f"{name:<30} {count:<10} {status}" for name, count, status in rows]
    text = "\n".join([HEAD, "Operator                       Count      Status", "", *lines, END])
    report = parse_report(text.replace("\n", newline))
    assert [(o.name, o.count, o.status) for o in report.operators] == rows
    assert report.on_edgetpu + report.on_cpu == sum(count for _, count, _ in rows)
    assert report.fully_mapped == all(status.startswith("Mapped") for _, _, status in rows)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (REFUSED, "'EXP' version '2'"),
        (ABORTED, "Internal compiler error"),
        (HEAD.partition("\n")[0] + "\nCompilation failed: too large\nCompilation failed! \n", "too large"),
        (HEAD.partition("\n")[0] + "\nModel not quantized\n", "Model not quantized"),
    ],
)
def test_a_refusal_gives_its_reason(text, reason):
    report = parse_report(text)
    assert report.refusal is not None
    assert reason in report.refusal
    assert not report.fully_mapped
    assert "refused" in report.summary()


@pytest.mark.parametrize(
    "text", ["", "command not found", HEAD, HEAD.replace("Number of Edge", "No") + TABLE]
)
def test_what_is_no_whole_report_is_refused(text):
    with pytest.raises(ExportError, match="edgetpu_compiler"):
        parse_report(text)


@pytest.fixture
def put_compiler(tmp_path, monkeypatch):
    """Puts a program that prints a log on PATH as the compiler; without one PATH has none."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def put(log):
        script = folder / "edgetpu_compiler"
        # It fails unless it is given a file, as the real one is.
        script.write_text(
            f"#!/bin/sh\nfor last; do :; done\n[ -f \"$last\" ] || exit 9\necho '{quoted(log)}'\n"
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
        f"{task}.int8.tflite" for task in ("detection", "expression", "landmarks", "parsing")
    }


def test_what_is_neither_is_refused_by_name(tmp_path, put_compiler):
    for name in ("broken.tflite", "broken.bundle"):
        (tmp_path / name).write_bytes(b"neither one nor the other")
        result = run(tmp_path / name)
        assert result.exit_code == 1
        assert name in result.output
