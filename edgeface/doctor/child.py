"""The process that answers one question: ``python -m edgeface.doctor.child SECONDS QUESTION ARGUMENTS``.

It prints one JSON object. What libraries print goes elsewhere, a crash leaves no memory image on disk, and
the kernel's alarm clock ends the process where its caller has died before.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["main"]

_GRACE = 5.0  # seconds after the deadline in which a living caller ends this process


def main(arguments: Sequence[str]) -> None:
    """Answer one question."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.setitimer(signal.ITIMER_REAL, float(arguments[0]) + _GRACE)
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        found = _QUESTIONS[arguments[1]](*arguments[2:])
    except Exception as error:  # noqa: BLE001  code of other people; the caller must hear of it
        found = {"error": f"{type(error).__name__}: {error}" if str(error) else type(error).__name__}
    answer.write(json.dumps(found))
    answer.flush()


def _numpy() -> dict[str, Any]:
    import numpy as np

    np.add(np.ones(64, np.float32), 1)
    return {"version": np.__version__}


def _opencv() -> dict[str, Any]:
    import cv2
    import numpy as np

    cv2.resize(np.zeros((8, 8, 3), np.uint8), (4, 4))
    return {"version": cv2.__version__}


def _litert() -> dict[str, Any]:
    from ai_edge_litert import interpreter

    return {"module": interpreter.__name__}


def _tflite_runtime() -> dict[str, Any]:
    from tflite_runtime import interpreter

    return {"module": interpreter.__name__}


def _onnxruntime() -> dict[str, Any]:
    import onnxruntime

    return {"version": onnxruntime.__version__, "providers": onnxruntime.get_available_providers()}


def _provider(name: str) -> dict[str, Any]:
    """What holds a small network that was given to a provider, after it has run once."""
    import numpy as np
    import onnxruntime

    from edgeface.doctor.convolution import INPUT, OUTPUT, SHAPE, convolution

    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    session = onnxruntime.InferenceSession(convolution(), providers=[name, "CPUExecutionProvider"])
    (result,) = session.run([OUTPUT], {INPUT: np.ones(SHAPE, np.float32)})
    return {"ran": session.get_providers()[0], "right": bool(np.allclose(result, 2.0))}


def _delegate(library: str, device: str) -> dict[str, Any]:
    """Load libedgetpu with the runtime that would use it, and ask it for a device."""
    import importlib.metadata
    import re

    from edgeface.backends.delegate import DelegateFaultError, PluginDelegate
    from edgeface.backends.tflite_graph import runtime

    distribution, _ = runtime()
    version = tuple(map(int, re.findall(r"\d+", importlib.metadata.version(distribution))[:3]))
    try:
        delegate = PluginDelegate(library, {"device": device} if device else {}, (distribution, version))
    except DelegateFaultError as error:
        fault = error.fault
        return {"cause": fault.cause, "seen": fault.seen, "mend": fault.mend}
    delegate.close()
    return {"runtime": f"{distribution} {'.'.join(map(str, version))}"}


def _pycoral() -> dict[str, Any]:
    from pycoral.utils import edgetpu

    return {"module": edgetpu.__name__}


def _models(bundle: str) -> dict[str, Any]:
    """What really runs each model of a bundle, and whether it answers rightly."""
    from pathlib import Path

    from edgeface.bundle import Bundle
    from edgeface.choice import choose
    from edgeface.golden import golden_digest, golden_input

    held = Bundle.load(Path(bundle)) if bundle else Bundle.builtin()
    specs = tuple(held.models.values())
    choice = choose(specs, held, 1)
    ran: dict[str, Any] = {}
    for task, spec in sorted(held.models.items()):
        session = choice.open(spec, held, 1)
        try:
            outputs = session.run(golden_input(spec))
            # An accelerator rounds otherwise; `choose` has compared it.
            exact = spec.golden is not None and session.ran.backend == "litert"
            right = golden_digest(spec, outputs) == spec.golden if exact else None
            ran[task] = {**session.ran.to_dict(), "right": right}
        finally:
            session.close()
    refused = {c.name: c.verdict for c in choice.candidates if c.refused}
    formats = sorted(frozenset[str]().union(*(spec.formats for spec in specs)))
    return {"ran": ran, "chosen": choice.backend.name, "refused": refused, "formats": formats}


def _engines(bundle: str) -> dict[str, Any]:
    """Which models of a bundle TensorRT has no engine for yet."""
    from pathlib import Path

    from edgeface.backends.tensorrt import TensorRTOptions
    from edgeface.bundle import Bundle

    held = Bundle.load(Path(bundle)) if bundle else Bundle.builtin()
    onnx = frozenset({"onnx"})
    options = TensorRTOptions()
    missing: list[str] = []
    kept: list[str] = []
    for task, spec in sorted(held.models.items()):
        if spec.formats & onnx:
            there = options.kept(held.artifact(spec.for_formats(onnx).artifact))
            (kept if there else missing).append(task)
    return {"missing": missing, "kept": kept}


_QUESTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "numpy": _numpy,
    "opencv": _opencv,
    "litert": _litert,
    "tflite-runtime": _tflite_runtime,
    "onnxruntime": _onnxruntime,
    "provider": _provider,
    "delegate": _delegate,
    "pycoral": _pycoral,
    "models": _models,
    "engines": _engines,
}


if __name__ == "__main__":
    main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(0)  # without the destructors of a runtime's globals, which are known to hang
