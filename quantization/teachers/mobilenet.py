"""A backbone that has seen a million photos: MobileNetV2 1.0 (Sandler et al., 2018), trained on ImageNet.

The weights come out of Google Coral's int8 classifier ``tf2_mobilenet_v2_1.0_224_ptq.tflite`` (Apache-2.0):
stored integers times their scales. What that rounding cost, fine-tuning wins back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..datasets import Terms

__all__ = ["TERMS", "MobileNetV2"]

TERMS = Terms(
    "MobileNetV2 (Sandler et al., 2018), Coral's weights trained on ImageNet",
    "Apache-2.0",
    commercial=True,
    source="https://github.com/google-coral/test_data",
)

# Expansion, channels, repetitions, stride of the first: table 2 of the paper.
_BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_TAPS = (0, 2, 5, 12, 16)  # the blocks after which strides 2, 4, 8, 16 and 32 are read


class _Conv(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME does: with stride two the odd pixel is right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        pad = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, pad, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.pad(x, (0, 1, 0, 1)) if self.stride == (2, 2) else x)


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_Conv(inputs, wide, 1), nn.ReLU6()]
        layers += [_Conv(wide, wide, 3, stride, groups=wide), nn.ReLU6(), _Conv(wide, outputs, 1)]
        self.layers = nn.Sequential(*layers)
        self._shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self._shortcut else self.layers(x)


class MobileNetV2(nn.Module):
    """RGB [N, 3, H, W] in [-1, 1] to five maps at strides 2, 4, 8, 16 and 32, of ``channels`` channels.

    Batch norm is folded into the stored weights, so there is none.
    """

    channels = (16, 24, 32, 96, 320)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_Conv(3, 32, 3, 2), nn.ReLU6())
        blocks, inputs = [], 32
        for expansion, outputs, count, stride in _BLOCKS:
            for k in range(count):
                blocks.append(_InvertedResidual(inputs, outputs, expansion, stride if k == 0 else 1))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)

    @classmethod
    def pretrained(cls, path: Path) -> MobileNetV2:
        """The weights of the int8 classifier at ``path``.

        Raises:
            ValueError: the file holds another network.
        """
        net = cls()
        convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
        stored = _stored_convolutions(path)
        with torch.no_grad():
            for own, (weight, bias) in zip(convolutions, stored, strict=False):
                if own.weight.shape != weight.shape:
                    raise ValueError(
                        f"{path}: a convolution is {weight.shape}, not {tuple(own.weight.shape)}"
                    )
                own.weight.copy_(torch.from_numpy(weight))
                own.bias.copy_(torch.from_numpy(bias))
        return net

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = []
        x = self.stem(x)
        for k, block in enumerate(self.blocks):
            x = block(x)
            if k in _TAPS:
                maps.append(x)
        return tuple(maps)


def _stored_convolutions(path: Path) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Weights [out, in / groups, h, w] and biases [out] of a .tflite's convolutions, in their order."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    details = {d["index"]: d for d in interpreter.get_tensor_details()}
    found = []
    for operator in interpreter._get_ops_details():
        if operator["op_name"] not in {"CONV_2D", "DEPTHWISE_CONV_2D"}:
            continue
        weight, bias = (_real(interpreter, details[i]) for i in operator["inputs"][1:3])
        order = (0, 3, 1, 2) if operator["op_name"] == "CONV_2D" else (3, 0, 1, 2)
        found.append((np.ascontiguousarray(weight.transpose(order)), bias))
    return found


def _real(interpreter: Any, detail: dict[str, Any]) -> NDArray[np.float32]:
    quantised = detail["quantization_parameters"]
    shape = [1] * len(detail["shape"])
    if len(quantised["scales"]) > 1:
        shape[quantised["quantized_dimension"]] = -1
    stored = interpreter.get_tensor(detail["index"]).astype(np.float32)
    zero, scale = quantised["zero_points"].reshape(shape), quantised["scales"].reshape(shape)
    return ((stored - zero) * scale).astype(np.float32)
