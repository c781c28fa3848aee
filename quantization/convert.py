"""PyTorch student -> float TFLite, channel-last.

The students are written in PyTorch's own layout (NCHW). LiteRT, XNNPACK and the Edge TPU all want NHWC, and
a layout change inside the graph would cost a TRANSPOSE at run time, so input and outputs are declared
channel-last before the conversion; the converter then moves the layout through the whole network and folds
batch normalisation into the convolutions.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import warnings
from collections.abc import Iterator

import torch
from torch import nn

__all__ = ["ExportError", "module_outputs", "quiet", "to_float_tflite"]


class ExportError(RuntimeError):
    """A student cannot leave the workshop as it is; the message says what to change."""


def to_float_tflite(model: nn.Module, height: int, width: int, *, channels: int = 3) -> bytes:
    """Convert ``model`` to a float TFLite file with static batch 1.

    Args:
        model: maps float [1, channels, height, width] to a 4-D tensor [1, C, h, w] or a tuple or list of
            them. It is copied, switched to eval mode on the CPU and left as it was.
        height: input rows in pixels.
        width: input columns in pixels.
        channels: input planes.

    Returns: The bytes of the .tflite. Its tensors are [1, height, width, channels] -> [1, h, w, C] each,
        and the i-th name of its signature's outputs (``output_0``, ``output_1``, ...) is the i-th tensor
        that ``forward`` returns.

    Raises:
        ExportError: an output is not a 4-D tensor of batch 1.
    """
    net = copy.deepcopy(model).cpu().float().eval()
    count = len(module_outputs(net, torch.zeros(1, channels, height, width)))
    with quiet():
        import litert_torch

        channel_last = litert_torch.to_channel_last_io(net, args=[0], outputs=list(range(count))).eval()
        edge = litert_torch.convert(channel_last, (torch.zeros(1, height, width, channels),))
        return bytes(edge.model_content())


def module_outputs(model: nn.Module, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Run ``model`` on ``image`` [1, C, H, W] without gradients; its outputs as a tuple of [1, c, h, w].

    Raises:
        ExportError: an output is not a 4-D tensor of batch 1.
    """
    with torch.no_grad():
        result = model(image)
    outputs = tuple(result) if isinstance(result, (tuple, list)) else (result,)
    for position, output in enumerate(outputs):
        if not isinstance(output, torch.Tensor) or output.ndim != 4 or output.shape[0] != 1:
            shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            raise ExportError(
                f"output {position} of {type(model).__name__} is {shape}, not [1, C, H, W]: "
                "end every head in a convolution and return its tensor unreshaped"
            )
    return outputs


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the tools' progress lines, size reports and deprecation notices out of our logs.

    What they write past Python, to the process's own standard error, stays: it tells why one of them died.
    """
    previous, disabled = os.environ.get("LITERT_TORCH_SHOW_PROGRESS"), logging.root.manager.disable
    os.environ["LITERT_TORCH_SHOW_PROGRESS"] = "n"
    logging.disable(logging.WARNING)
    sink = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        if previous is None:
            del os.environ["LITERT_TORCH_SHOW_PROGRESS"]
        else:
            os.environ["LITERT_TORCH_SHOW_PROGRESS"] = previous
