"""Checks of an NVIDIA GPU: the package that fits this board, what really computes, and the engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeface.backends.nvidia import explain_absence, read_board
from edgeface.doctor import topics
from edgeface.doctor.asking import Question

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgeface.backends.nvidia import Board
    from edgeface.doctor.asking import Outcome
    from edgeface.doctor.check import Check, Topic
    from edgeface.doctor.system import System

__all__ = ["engines_question", "has_gpu", "nvidia_checks", "nvidia_questions"]

CUDA = Question("provider", ("CUDAExecutionProvider",), 60.0)
TENSORRT = Question("provider", ("TensorrtExecutionProvider",), 180.0)  # it builds an engine, if a small one
_ORT_PACKAGES = ("onnxruntime", "onnxruntime-gpu")


def has_gpu(system: System) -> bool:
    """Whether this is a Jetson, or a GPU's driver is loaded."""
    board = read_board(system.root)
    return board.driver or board.l4t is not None


def engines_question(bundle: str) -> Question:
    """What a child is asked about the engines of a bundle; an empty path is the built-in one."""
    return Question("engines", (bundle,))


def nvidia_questions(system: System, bundle: str) -> tuple[Question, ...]:
    """What must be asked of a child."""
    if not has_gpu(system) or not any(name in system.packages for name in _ORT_PACKAGES):
        return ()
    return (CUDA, TENSORRT, engines_question(bundle))


def nvidia_checks(system: System, bundle: str, outcomes: Mapping[Question, Outcome]) -> Iterator[Check]:
    """All of them."""
    board = read_board(system.root)
    if not has_gpu(system):
        for topic in (topics.JETSON_WHEEL, topics.CUDA, topics.TENSORRT, topics.ENGINES):
            yield topic.absent("this is no Jetson, and no NVIDIA driver is loaded")
        return
    cuda, tensorrt = outcomes.get(CUDA), outcomes.get(TENSORRT)
    yield _wheel(system, board, cuda)
    yield _provider(topics.CUDA, system, board, CUDA, cuda)
    yield _provider(topics.TENSORRT, system, board, TENSORRT, tensorrt)
    yield _engines(tensorrt, outcomes.get(engines_question(bundle)))


def _wheel(system: System, board: Board, cuda: Outcome | None) -> Check:
    topic = topics.JETSON_WHEEL
    if board.l4t is None:
        return topic.absent("this is no Jetson")
    if cuda is not None and cuda.end == "answered" and cuda.answer["ran"] == CUDA.arguments[0]:
        return topic.ok(f"the onnxruntime that is installed fits Jetson Linux {board.l4t}")
    seen, _, mend = explain_absence("cuda", board, system.python).partition(": ")
    return topic.warning(seen, mend)


def _provider(topic: Topic, system: System, board: Board, asked: Question, outcome: Outcome | None) -> Check:
    wanted = asked.arguments[0]
    absence = explain_absence(topic.name, board, system.python).partition(": ")[2]
    if outcome is None:
        return topic.absent(
            "no onnxruntime is installed; bundles of ONNX models need it, the built-in one does not"
        )
    if outcome.end != "answered":
        verbs = {"failed": "cannot compute", "crashed": "crashes", "hung": "hangs"}
        return topic.fault(f"{wanted} {verbs[outcome.end]} ({outcome.said})", absence)
    if outcome.answer["ran"] != wanted:
        return topic.warning(
            f"onnxruntime was asked for {wanted} and went on with {outcome.answer['ran']} in silence", absence
        )
    if not outcome.answer["right"]:
        return topic.fault(f"{wanted} computes wrongly", "update the driver, or use another backend")
    return topic.ok(f"{wanted} computes, and rightly")


def _engines(tensorrt: Outcome | None, outcome: Outcome | None) -> Check:
    topic = topics.ENGINES
    if tensorrt is None or tensorrt.answer.get("ran") != TENSORRT.arguments[0] or outcome is None:
        return topic.absent("TensorRT does not run here")
    if outcome.end != "answered":
        return topic.warning(f"the bundle cannot be looked at ({outcome.said})", "run: edgeface models")
    missing, kept = outcome.answer["missing"], outcome.answer["kept"]
    if missing:
        return topic.warning(
            f"no engine is kept for {', '.join(missing)}: the first start takes minutes, without a word",
            "run: edgeface models warmup --backend onnx:tensorrt --bundle FILE",
        )
    if not kept:
        return topic.absent("this bundle has no ONNX models")
    return topic.ok(f"engines are kept for {', '.join(kept)}")
