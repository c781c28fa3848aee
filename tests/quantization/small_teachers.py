"""Teachers of a few numbers: an adapter of every task and an ONNX model with random weights for it."""

from __future__ import annotations

from pathlib import Path

from edgeface.labels import FER8

__all__ = ["write_teacher"]

_HEAD = """
title = "a small teacher"
source = ["this test"]
verified = "nothing"
unverified = "all"

[licence]
code = "none"
weights = "random numbers"
commercial = true

[input]
name = "image"
size = [32, 32]
layout = "NCHW"
colour = "RGB"
scale = 255

[crop]
"""
_CROPS = {
    "whole": 'kind = "whole"\nfit = "stretch"\n',
    "box": 'kind = "box"\nscale = 1.2\nsquare = true\n',
}
_TASKS = {
    "expression": f"[expression]\noutput = '#0'\nchannels = {list(FER8.names)}\nsoftmax = true\n",
    "landmarks": "[landmarks]\noutput = '#0'\ndecode = 'unit'\nscheme = 'ibug68'\ncount = 68\n",
    "parsing": "[parsing]\noutput = '#0'\nscheme = 'lapa11'\nchannels = 'scheme'\nsoftmax = true\n",
}


def write_teacher(folder: Path, task: str, crop: str = "whole", seed: int = 0) -> tuple[str, ...]:
    """Writes ``TASK.toml`` and ``TASK.onnx``; returns the options of `label` that name them."""
    from quantization.teachers.adapterfile import load_adapter
    from tests.quantization.test_teacher_adapters import random_model

    adapter, model = folder / f"{task}.toml", folder / f"{task}.onnx"
    adapter.write_text(_HEAD + _CROPS[crop] + _TASKS[task])
    random_model(load_adapter(adapter), model, seed)
    return "--teacher", str(adapter), "--model", str(model)
