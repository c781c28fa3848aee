"""Bundles for tests: the fixture, and ways to seal a header that `encode_bundle` would refuse."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeface.bundle import ModelSpec, OutputSpec

TINY = Path(__file__).parent / "fixtures" / "tiny.bundle"
MAGIC = b"EDGEFACE-BUNDLE\n"
START = len(MAGIC) + 12 + 32


def canonical(header: object) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def seal(header: bytes | Mapping[str, Any], body: bytes, version: int = 1) -> bytes:
    """A file whose digests are all right, whatever the header says: what an attacker would write."""
    text = header if isinstance(header, bytes) else canonical(header)
    prefix = struct.pack("<IQ", version, len(text))
    return MAGIC + prefix + hashlib.sha256(prefix + text).digest() + text + body


def opened(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the artifacts of a good bundle."""
    length = struct.unpack_from("<Q", data, len(MAGIC) + 4)[0]
    return json.loads(data[START : START + length]), data[START + length :]


def stored(spec: OutputSpec, real: Any) -> NDArray[Any]:
    """Real values [shape of the output] as the model would store them."""
    limits = np.iinfo(spec.dtype)
    values = np.rint(np.asarray(real, np.float64) / spec.scale) + spec.zero_point
    return np.clip(values, limits.min, limits.max).astype(spec.dtype).reshape(spec.shape)


MOVES = ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight")


def moving(data: bytes) -> bytes:
    """The same bundle, whose header says that its landmark model gives three blendshapes, too."""
    header, body = opened(data)
    model = header["models"]["landmarks"]
    output = {"name": "blendshapes", "index": 3, "shape": [1, 1, 1, 3], "dtype": "int8"}
    model["outputs"].append(output | {"scale": 0.05, "zero_point": 20})
    model["head"]["blendshapes"] = list(MOVES)
    return seal(header, body)


def rescaled(spec: ModelSpec, **scales: tuple[float, int]) -> ModelSpec:
    """The same model with other scales and zero points, so that its outputs can say any real value."""
    outputs = tuple(
        dataclasses.replace(output, scale=scales[output.name][0], zero_point=scales[output.name][1])
        if output.name in scales
        else output
        for output in spec.outputs
    )
    return dataclasses.replace(spec, outputs=outputs)
