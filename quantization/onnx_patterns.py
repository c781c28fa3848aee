"""GELU put together again: exporters for opsets before 20 write it as x / 2 * (1 + erf(x / sqrt 2)).

A .tflite has an int8 kernel for the whole and none for the error function, which would become thirty
operators.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from .ort import onnx

__all__ = ["join_gelu"]


def join_gelu(graph: onnx.GraphProto) -> None:
    """Replace each such group of operators by one Gelu, where nothing else reads what lies between."""
    view = _View(graph)
    for node in [node for node in graph.node if node.op_type == "Erf"]:
        for x, last in view.gelu(node):
            joined = onnx.helper.make_node("Gelu", [x], list(last.output), name=node.name)
            graph.node.insert(list(graph.node).index(last), joined)
            graph.node.remove(last)
            break
    while unread := [node for node in graph.node if not _View(graph).read(node)]:
        for node in unread:
            graph.node.remove(node)


class _View:
    """Who makes and who reads each tensor of a graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.fixed = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.outputs = {value.name for value in graph.output}
        self.makers = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def read(self, node: Any) -> bool:
        return any(name in self.outputs or name in self.readers for name in node.output)

    def gelu(self, erf: Any) -> Iterator[tuple[str, Any]]:
        """What goes in and the operator that ends it, for each way in which it may be written."""
        for x in self._scaled(erf.input[0], math.sqrt(0.5)):
            for sum_, one in self._followed(erf.output[0], "Add"):
                if not self._is(one, 1):
                    continue
                for product, other in self._followed(sum_, "Mul"):
                    if x in self._scaled(other, 0.5):
                        yield x, self.makers[product]
                    for whole, last in self._followed(product, "Mul"):
                        if (x in (other, last)) and (self._is(other, 0.5) or self._is(last, 0.5)):
                            yield x, self.makers[whole]

    def _is(self, name: str, value: float) -> bool:
        found = self.fixed.get(name)
        single = found is not None and found.size == 1
        return single and math.isclose(float(found.reshape(-1)[0]), value, rel_tol=1e-5)

    def _scaled(self, name: str, factor: float) -> list[str]:
        """What ``name`` is ``factor`` times of."""
        maker = self.makers.get(name)
        if maker is None or maker.op_type not in ("Div", "Mul"):
            return []
        left, right = maker.input
        if maker.op_type == "Div":
            return [left] if self._is(right, 1 / factor) else []
        return [a for a, b in ((left, right), (right, left)) if self._is(b, factor)]

    def _followed(self, name: str, kind: str) -> list[tuple[str, str]]:
        """What the one operator of a kind that reads ``name`` makes, and what else it reads."""
        readers = self.readers.get(name, [])
        if name in self.outputs or len(readers) != 1 or readers[0].op_type != kind:
            return []
        left, right = readers[0].input
        return [(readers[0].output[0], right if left == name else left)]
