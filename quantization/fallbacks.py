"""What of a quantised .tflite does not compute on fixed int8: which operators, made of which of ONNX, why."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from .canonical import operator_name, read_model
from .onnx_graph import Island, joined

__all__ = ["Fallback", "fallbacks"]

_MOVES = ("QUANTIZE", "DEQUANTIZE")
_TOLD_WHOLE = 8  # operators of an island; of a larger one the kinds are counted


@dataclass(frozen=True, slots=True)
class Fallback:
    """Operators that do not compute on fixed int8, joined where they touch, and why."""

    island: Island
    dynamic: bool
    """Their weights are int8, the range of what meets them is found at run time; otherwise all is float."""
    reason: str

    def __str__(self) -> str:
        names = self.island.operators
        told = str(self.island)
        if len(names) > _TOLD_WHOLE:
            kinds = Counter(name.split()[0] for name in names).most_common()
            counted = ", ".join(f"{count} {kind}" for kind, count in kinds)
            told = f"{names[0]} to {names[-1]}, {len(names)} operators: {counted}"
        return f"{'dynamic' if self.dynamic else 'float'} island: {told}: {self.reason}"


def fallbacks(
    tflite: bytes, outputs: Sequence[str], kinds: Mapping[str, str], why_float: str
) -> tuple[int, tuple[Fallback, ...]]:
    """How many operators a fresh file has, and those that do not compute on fixed int8.

    Args:
        tflite: as the quantiser leaves it: the names of its tensors still tell where they come from.
        outputs: names in the order of ``forward``.
        kinds: of :class:`.onnx_torch.OnnxNet`.
        why_float: the reason for what has an int8 form and is float all the same.
    """
    model = read_model(tflite)
    graph = model.subgraphs[0]
    found: dict[bool, list[Any]] = {False: [], True: []}
    reasons, count = {}, 0
    for operator in graph.operators:
        name = operator_name(model, operator)[0]
        tensors = [graph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
        computed = [t for t in tensors if not len(_data(model, t))]
        count += name not in _MOVES
        if name in _MOVES or not any(t.type == schema.TensorType.FLOAT32 for t in computed):
            continue
        dynamic = any(t.type == schema.TensorType.INT8 and len(_data(model, t)) for t in tensors)
        source = _source(graph.tensors[operator.outputs[0]].name.decode(), outputs, kinds)
        reads, makes = ([int(i) for i in ids] for ids in (operator.inputs, operator.outputs))
        node = SimpleNamespace(op_type=name, name=source, input=reads, output=makes)
        found[dynamic].append(node)
        known = name in _int8_names()
        reasons[f"{name} {source}".strip()] = why_float if known else f"the quantiser has no int8 {name}"
    return count, tuple(
        Fallback(island, dynamic, "; ".join(dict.fromkeys(reasons[name] for name in island.operators)))
        for dynamic, nodes in found.items()
        for island in joined(nodes)
    )


def _data(model: Any, tensor: Any) -> Any:
    data = model.buffers[tensor.buffer].data
    return () if data is None else data


def _source(tensor: str, outputs: Sequence[str], kinds: Mapping[str, str]) -> str:
    """The ONNX operator, or the output, that a tensor's name in a fresh .tflite tells of."""
    for name in re.findall(r"_Computed_(\w+)", tensor):
        if name in kinds:
            return f"({kinds[name]} {name})"
    number = re.search(r"output_(\d+)", tensor)
    return f"(of output '{outputs[int(number[1])]}')" if number else ""


@functools.cache
def _int8_names() -> frozenset[str]:
    """The operators that the quantiser has an int8 form of, by their names in a .tflite."""
    from ai_edge_quantizer import default_policy

    names = json.loads(default_policy.DEFAULT_JSON_POLICY)["ops_per_config"]["static_wi8_ai8"]
    return frozenset({"TRANSPOSE_CONV" if name == "CONV_2D_TRANSPOSE" else name for name in names})
