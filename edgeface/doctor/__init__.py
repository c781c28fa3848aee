"""What ails a device, and how to mend it: `edgeface doctor`.

A pain that people had with such devices is a `Topic`; looking for it gives a `Check` with a verdict, the
evidence and the mend, and all checks of a machine are a `Report`. `System` is the machine: every file is read
below its root, so that a tree of files stands for a board that is not here. What may crash or hang (importing
a runtime, loading libedgetpu, running a model) is asked of a child process with a deadline. `repairs` mends
what is safe to mend, `support` writes what somebody else needs to help, without anything that names people.

::

    from edgeface.doctor import examine, this_system

    report = examine(this_system(), "0.1")
    for check in report.checks:
        print(check.verdict, check.name, check.evidence, check.mend)
"""

from __future__ import annotations

from edgeface.doctor.board import Board, read_board
from edgeface.doctor.check import SCHEMA, Check, Report, Topic, Verdict
from edgeface.doctor.examination import examine
from edgeface.doctor.system import System, this_system

__all__ = [
    "SCHEMA",
    "Board",
    "Check",
    "Report",
    "System",
    "Topic",
    "Verdict",
    "examine",
    "read_board",
    "this_system",
]
