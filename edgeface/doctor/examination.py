"""The whole examination: which questions are asked, and in which order the checks stand."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edgeface.doctor.asking import ask
from edgeface.doctor.board import read_board
from edgeface.doctor.check import Report
from edgeface.doctor.machine import machine_checks
from edgeface.doctor.models import model_check, models_question
from edgeface.doctor.power import power_checks
from edgeface.doctor.runtimes import NUMPY, runtime_checks, runtime_questions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from edgeface.doctor.asking import Outcome, Question
    from edgeface.doctor.board import Board
    from edgeface.doctor.check import Check
    from edgeface.doctor.system import System

__all__ = ["examine"]


def examine(system: System, version: str, bundle: Path | None = None) -> Report:
    """Look at everything; takes a few seconds, and on a GPU or an SD card longer.

    Args:
        system: the machine to look at.
        version: of EdgeFace, for the report.
        bundle: whose models are run; None: the built-in one.

    Nothing is raised for what is found: it becomes a `Check`. Where a child cannot import NumPy, this process
    does not try, and what needs it is left out.
    """
    start = time.monotonic()
    board = read_board(system)
    path = "" if bundle is None else str(bundle)
    outcomes = ask((*runtime_questions(system), models_question(path)), system)
    sound = outcomes[NUMPY].end == "answered"
    if sound:
        outcomes |= ask(_accelerator_questions(system, path), system)
    checks = tuple(_checks(system, board, path, outcomes, sound))
    return Report(version, board, checks, time.monotonic() - start)


def _accelerator_questions(system: System, bundle: str) -> tuple[Question, ...]:
    from edgeface.doctor.coral import coral_questions
    from edgeface.doctor.nvidia import nvidia_questions

    return (*coral_questions(system), *nvidia_questions(system, bundle))


def _checks(
    system: System, board: Board, bundle: str, outcomes: Mapping[Question, Outcome], sound: bool
) -> Iterator[Check]:
    yield from machine_checks(system)
    yield from power_checks(system, board)
    yield from runtime_checks(system, outcomes)
    if not sound:  # these modules would import it into this process
        return
    from edgeface.doctor.coral import coral_checks, has_coral
    from edgeface.doctor.nvidia import has_gpu, nvidia_checks

    accelerators = {"Coral": "edgetpu"} if has_coral(system) else {}
    if has_gpu(system):
        accelerators["GPU"] = "onnx"
    yield model_check(outcomes[models_question(bundle)], accelerators)
    yield from coral_checks(system, board, outcomes)
    yield from nvidia_checks(system, bundle, outcomes)
