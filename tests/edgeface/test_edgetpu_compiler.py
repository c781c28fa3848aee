"""The report of Google's compiler, read as users quote it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.edgetpu_compiler import parse_report
from edgeface.errors import DeviceError

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
    with pytest.raises(DeviceError, match="edgetpu_compiler"):
        parse_report(text)
