"""The last line of a run."""

from __future__ import annotations

import pytest

from edgeface.cli.report import Tally
from edgeface.results import FrameResult, Ran


@pytest.mark.parametrize(
    ("lost", "said"),
    [([False, False], ""), ([False, True, True], ", in 2 of 3 the CPU stood in for the lost accelerator")],
)
def test_a_stand_in_is_told(lost: list[bool], said: str) -> None:
    tally = Tally()
    for degraded in lost:
        ran = {"detection": Ran("litert", "XNNPACK", None, "int8", 1, degraded)}
        tally.add(FrameResult(faces=(), width=1, height=1, timings={"total": 2_000_000}, ran=ran))
        tally.pictures += 1
    assert tally.line() == f"{len(lost)} pictures, no face found, median 2.0 ms each{said}"
