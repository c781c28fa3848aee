"""An ONNX network of any origin as a torch module, so that what converts our students converts it, too.

Written here, because nothing that is kept up fits: onnx2torch and onnx2pytorch need torchvision, of which
there is no build beside the torch that is pinned, and the first had its last release in August 2024; onnx2tf
pins numpy, onnx and protobuf to other versions than our converter and wants Python 3.12. What is needed is
small, because onnxruntime has folded shapes and constants before anything is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .convert import ExportError
from .onnx_node import Node, Unreadable
from .onnx_operators import OPERATORS
from .onnx_patterns import join_gelu
from .ort import onnx, settled

__all__ = ["OnnxNet"]


class OnnxNet(nn.Module):
    """The graph, node by node, each a submodule that is named after it.

    Attributes:
        outputs: Names of what :meth:`forward` returns, in the file's order.
        kinds: Type of the ONNX operator by the name of its submodule.
    """

    def __init__(self, model: bytes) -> None:
        """Read a float ONNX file with a fixed size.

        Raises:
            ExportError: onnxruntime cannot open it, or operators of it are not known here; all are named.
        """
        super().__init__()
        graph = settled(model).graph
        join_gelu(graph)
        self._fixed = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        (self._image,) = (value.name for value in graph.input if value.name not in self._fixed)
        self.outputs = tuple(value.name for value in graph.output)
        unknown = [node for node in graph.node if node.op_type not in OPERATORS]
        if unknown:
            raise ExportError(_unknown(unknown, self.outputs))
        self.nodes = nn.ModuleDict()
        self._wires: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        for node in graph.node:
            name = re.sub(r"\W", "_", node.name).strip("_") or node.op_type
            while name in self._wires:
                name += "_"
            self.nodes[name] = _Computed(node, self._fixed)
            self._wires[name] = tuple(node.input), tuple(node.output)

    @property
    def kinds(self) -> Mapping[str, str]:
        return {name: node.node.kind for name, node in self.nodes.items()}

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        values: dict[str, Any] = {self._image: image}
        for name, (reads, makes) in self._wires.items():
            results = self.nodes[name](*(values.get(source) for source in reads))
            values |= zip(makes, results, strict=False)
        return tuple(values[name] if name in values else self._fixed[name] for name in self.outputs)


class _Computed(nn.Module):
    """One node with the constants that it reads."""

    def __init__(self, node: onnx.NodeProto, fixed: Mapping[str, Any]) -> None:
        super().__init__()
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        plain = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
        known = tuple(fixed.get(name) for name in node.input)
        self.node = Node(node.op_type, plain, known, len(node.output))
        self.label = f"{node.op_type} '{node.name}'"
        for position, value in enumerate(known):
            if value is not None:
                self.register_buffer(f"input_{position}", torch.from_numpy(np.array(value)))

    def forward(self, *computed: Tensor | None) -> tuple[Tensor, ...]:
        inputs = [getattr(self, f"input_{i}", tensor) for i, tensor in enumerate(computed)]
        while inputs and inputs[-1] is None:
            inputs.pop()
        try:
            result = OPERATORS[self.node.kind](self.node, inputs)
        except (Unreadable, RuntimeError, TypeError, IndexError) as error:  # the last three of torch
            raise ExportError(f"{self.label}: {error}; take the .onnx files (--to onnx)") from error
        return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def _unknown(nodes: list[Any], outputs: tuple[str, ...]) -> str:
    kinds = ", ".join(sorted({node.op_type for node in nodes}))
    first = nodes[0]
    return (
        f"{kinds}: {len(nodes)} operators that have no counterpart in a .tflite, the first '{first.name}', "
        f"which reads {', '.join(first.input)}: end the network before them (onnx.utils.extract_model with "
        f"these tensors in place of {', '.join(outputs)}) and compute the rest on the host, or take the "
        ".onnx files alone (--to onnx)"
    )
