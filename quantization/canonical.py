"""Rewrite an int8 TFLite file so that old consumers read it, without changing what it computes.

The Edge TPU compiler (16.0) and older TFLite runtimes carry the operator registry of TensorFlow 2.5 and
refuse a file whose operators declare a newer version, even when nothing newer is used. Today's writers
stamp generous versions and may keep weights outside the flatbuffer (``Buffer.offset``), a field the old
schema does not know. Four repairs:

1. buffers outside the flatbuffer come inside;
2. every operator gets the version that an int8 kernel of TF 2.5 declares for the features it really uses;
   one that uses a newer feature keeps a version that says so, and :mod:`quantization.edgetpu` refuses it by
   name;
3. the graph's outputs are put in the order of the signature, which is the order of the module's ``forward``;
4. tensors get short names. The writer's own ones spell out the Python classes of the machine that trained,
   which is up to a third of a small file and makes its bytes depend on how the script was started.

Source of the versions: TensorFlow v2.5.0, ``lite/tools/versioning/op_version.cc``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from quantization.convert import ExportError

__all__ = ["canonicalise", "operator_name", "read_model"]

_OPERATORS: dict[int, str] = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}

_INT8_VERSIONS: dict[str, int] = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "DEQUANTIZE": 2,
    "FULLY_CONNECTED": 4,
    "LOGISTIC": 2,
    "MAXIMUM": 2,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MINIMUM": 2,
    "MUL": 2,
    "PACK": 2,
    "PAD": 2,
    "QUANTIZE": 1,
    "REDUCE_MAX": 2,
    "RELU": 2,
    "RELU6": 2,
    "RESHAPE": 1,
    "RESIZE_BILINEAR": 2,
    "RESIZE_NEAREST_NEIGHBOR": 2,
    "SLICE": 2,
    "SOFTMAX": 2,
    "SPLIT": 2,
    "STRIDED_SLICE": 2,
    "SUB": 2,
    "SUM": 2,
    "TANH": 2,
    "TRANSPOSE": 2,
    "TRANSPOSE_CONV": 2,
}


def canonicalise(tflite: bytes, outputs: Sequence[str] | None = None) -> bytes:
    """Return ``tflite`` with the module docstring's repairs made; what it computes does not change.

    Args:
        tflite: a file with one signature, as the converter and the quantiser leave it.
        outputs: names for the output tensors, in the order of ``forward``; without them they keep those of
            the signature (``output_0``, ...).

    Raises:
        ExportError: the file has no graph, or a signature that does not name its outputs one to one.
    """
    model = read_model(tflite)
    for graph in model.subgraphs:
        _restamp(model, graph)
    model.operatorCodes = _drop_unused_codes(model)
    _order_outputs(model)
    _rename(model, outputs)
    _drop_metadata(model)
    builder = flatbuffers.Builder(len(tflite))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def read_model(tflite: bytes) -> Any:
    """Parse a .tflite into the schema's mutable object tree, with every buffer inside it.

    Raises:
        ExportError: ``tflite`` is not a TFLite file with a graph.
    """
    if tflite[4:8] != b"TFL3":
        raise ExportError("not a TFLite file: the identifier 'TFL3' is missing")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tflite, 0))
    if not model.subgraphs:
        raise ExportError("the TFLite file holds no graph")
    for buffer in model.buffers or []:
        if buffer.data is None and buffer.offset and buffer.offset > 1:
            buffer.data = np.frombuffer(tflite, np.uint8, count=buffer.size, offset=buffer.offset)
        buffer.offset = buffer.size = 0
    return model


def operator_name(model: Any, operator: Any) -> tuple[str, int]:
    """Name and version of an operator, e.g. ``("CONV_2D", 3)``; custom operators read ``CUSTOM:<code>``."""
    code = model.operatorCodes[operator.opcodeIndex]
    # The old one-byte field saturates at 127; whichever is larger is the true code.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    name = _OPERATORS.get(number, str(number))
    if name == "CUSTOM":
        name = f"CUSTOM:{(code.customCode or b'').decode('utf-8', 'replace')}"
    return name, int(code.version)


def _restamp(model: Any, graph: Any) -> None:
    """Give every operator of ``graph`` its own code entry with the version it needs."""
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        stamped = schema.OperatorCodeT()
        stamped.__dict__.update(code.__dict__)
        stamped.version = _needed_version(model, graph, operator)
        model.operatorCodes.append(stamped)
        operator.opcodeIndex = len(model.operatorCodes) - 1


def _drop_unused_codes(model: Any) -> list[Any]:
    """Merge equal code entries and renumber the operators."""
    kept: list[Any] = []
    index: dict[tuple[Any, ...], int] = {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            key = (code.builtinCode, code.deprecatedBuiltinCode, code.customCode, code.version)
            if key not in index:
                index[key] = len(kept)
                kept.append(code)
            operator.opcodeIndex = index[key]
    return kept


def _needed_version(model: Any, graph: Any, operator: Any) -> int:
    name, declared = operator_name(model, operator)
    version = _INT8_VERSIONS.get(name, declared)
    options = operator.builtinOptions
    inputs = [graph.tensors[i] if i >= 0 else None for i in operator.inputs]
    if name in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
        if options.halfPixelCenters or (name == "RESIZE_NEAREST_NEIGHBOR" and options.alignCorners):
            version = 3
    elif name == "TRANSPOSE_CONV":
        if len(inputs) == 4 and inputs[3] is not None:
            version = 3
        if getattr(options, "fusedActivationFunction", 0):
            version = 4  # the fused activation appeared in TF 2.13
    elif name == "FULLY_CONNECTED":
        if options.keepNumDims:
            version = 5
        if _scales(inputs[1]) > 1:
            version = 12  # per-channel weights appeared in TF 2.17
    elif name == "QUANTIZE":
        if inputs[0] is not None and inputs[0].type != schema.TensorType.FLOAT32:
            version = 2  # requantisation
    elif name == "CONV_2D" and _channels(inputs[0]) != _channels(inputs[1]):
        version = 6  # grouped
    return version


def _channels(tensor: Any) -> int:
    return int(tensor.shape[3])


def _scales(tensor: Any) -> int:
    quantization = tensor.quantization if tensor is not None else None
    return 0 if quantization is None or quantization.scale is None else len(quantization.scale)


def _order_outputs(model: Any) -> None:
    """Order the main graph's outputs by the number in their signature names."""
    if not model.signatureDefs:
        return
    signature = model.signatureDefs[0]
    graph = model.subgraphs[signature.subgraphIndex or 0]
    named = {}
    for entry in signature.outputs:
        number = re.fullmatch(rb"output_(\d+)", entry.name)
        if number is None:
            return  # a foreign file with names of its own: its order is its own too
        named[int(number.group(1))] = int(entry.tensorIndex)
    ordered = [named[number] for number in sorted(named)]
    if len(set(ordered)) != len(ordered) or sorted(ordered) != sorted(int(i) for i in graph.outputs):
        raise ExportError(
            "the signature does not name the graph's outputs one to one: "
            "does forward return the same tensor twice?"
        )
    graph.outputs = np.asarray(ordered, dtype=np.int32)


def _rename(model: Any, outputs: Sequence[str] | None) -> None:
    """Name the image ``image``, the outputs as given, the rest after the operator that makes or reads it."""
    graph = model.subgraphs[0]
    for number, operator in enumerate(graph.operators):
        stem = f"{number:03d}_{operator_name(model, operator)[0].lower()}"
        for position, tensor in enumerate(operator.inputs):
            if tensor >= 0:
                graph.tensors[tensor].name = f"{stem}.{position}".encode()
    for number, operator in enumerate(graph.operators):
        stem = f"{number:03d}_{operator_name(model, operator)[0].lower()}"
        for position, tensor in enumerate(operator.outputs):
            graph.tensors[tensor].name = (f"{stem}:{position}" if position else stem).encode()
    names = list(outputs) if outputs is not None else [f"output_{i}" for i in range(len(graph.outputs))]
    if len(names) != len(graph.outputs):
        raise ExportError(f"{len(names)} names for {len(graph.outputs)} outputs")
    renamed = dict(zip((int(i) for i in graph.outputs), names, strict=True))
    if len(graph.inputs) == 1:
        renamed[int(graph.inputs[0])] = "image"
    for index, name in renamed.items():
        graph.tensors[index].name = name.encode()
    for signature in model.signatureDefs or []:
        for entry in [*signature.inputs, *signature.outputs]:
            entry.name = renamed.get(int(entry.tensorIndex), entry.name.decode()).encode()
        signature.outputs.sort(key=lambda entry: names.index(entry.name.decode()))


def _drop_metadata(model: Any) -> None:
    """The writer's notes, such as the oldest runtime for its own versions, no longer hold."""
    for entry in model.metadata or []:
        model.buffers[entry.buffer].data = None
    model.metadata = []
    model.description = None
