"""Any ONNX model as a teacher, by what its adapter says."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .adapter import Adapter, AdapterError
from .answers import Answer, Shape, answer, check_shapes
from .crops import look

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime >= 1.29 phones home from import on
import onnxruntime

__all__ = ["LicenceError", "OnnxTeacher", "check_licence", "licence_told"]

T = TypeVar("T")


class LicenceError(AdapterError):
    """The teacher's terms forbid commercial use or grant none, and they were not accepted."""


class OnnxTeacher:
    """A model file that the user brings, with the adapter that describes it.

    Raises:
        LicenceError: The terms restrict its use and ``accept_licence`` is False.
        AdapterError: There is no such file, it is another one (``sha256``), no ONNX model, or its inputs and
            outputs are not those of the adapter.
    """

    def __init__(
        self, adapter: Adapter, model: Path, *, accept_licence: bool = False, threads: int = 1
    ) -> None:
        check_licence(adapter, accept_licence)
        self.adapter = adapter
        self._session = _session(adapter, model, threads)
        _check_inputs(adapter, model, self._session)
        outputs = self._session.get_outputs()
        try:
            check_shapes(adapter.output, _by_name_or_place(map(_shape, outputs), outputs))
        except AdapterError as error:
            raise AdapterError(f"{model}: {error}") from error

    def __call__(
        self,
        rgb: NDArray[np.uint8],
        box: NDArray[np.float32] | None = None,
        keypoints: NDArray[np.float32] | None = None,
    ) -> Answer:
        """The answer about one face (or, for a detector, about the picture).

        Args:
            rgb: uint8 [H, W, 3].
            box: (x, y, width, height) of the face in pixels, where the crop goes by it.
            keypoints: float32 [5, 2], where the crop goes by them.

        Raises:
            AdapterError: The crop needs a box or keypoints and there are none.
        """
        frame = (rgb.shape[1], rgb.shape[0])
        view = look(self.adapter.crop, self.adapter.input.size, frame, box, keypoints)
        feed = {self.adapter.input.name: self._tensor(view.image(rgb))}
        if self.adapter.input.box:
            if box is None:
                raise AdapterError(
                    f"{self.adapter.name}: the model takes the face's box: run a detector first"
                )
            feed[self.adapter.input.box] = np.array([[*box[:2], *(box[:2] + box[2:])]], np.float32)
        tensors = _by_name_or_place(self._session.run(None, feed), self._session.get_outputs())
        return answer(self.adapter.output, tensors, view, frame)

    def _tensor(self, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
        rule = self.adapter.input
        pixels = crop[..., ::-1] if rule.colour == "BGR" else crop
        values = (pixels.astype(np.float32) / np.float32(rule.scale) - np.float32(rule.mean)) / np.float32(
            rule.std
        )
        return np.ascontiguousarray(values.transpose(2, 0, 1) if rule.layout == "NCHW" else values)[None]


def check_licence(adapter: Adapter, accepted: bool) -> None:
    """Refuses a teacher whose terms restrict its use and were not accepted.

    Raises:
        LicenceError: It is so; the message tells the terms.
    """
    if not (adapter.licence.commercial or accepted):
        raise LicenceError(
            f"{licence_told(adapter)}: read the terms, and pass --accept-licence (accept_licence=True) "
            "if you may use it"
        )


def licence_told(adapter: Adapter) -> str:
    """The terms of a teacher in a line, which is shown before it is used."""
    terms = adapter.licence
    use = "No restriction is known" if terms.commercial else "Its use is restricted"
    return f"{adapter.name}: code: {terms.code}; weights: {terms.weights}. {use}"


def _by_name_or_place(values: Iterable[T], outputs: Sequence[Any]) -> dict[str, T]:
    """Each value under the name of its output and under its place, ``"#0"`` for the first."""
    named: dict[str, T] = {}
    for place, (value, output) in enumerate(zip(values, outputs, strict=True)):
        named[f"#{place}"] = named[output.name] = value
    return named


def _session(adapter: Adapter, model: Path, threads: int) -> Any:
    try:
        with model.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest() if adapter.sha256 else ""
    except OSError as error:
        raise AdapterError(
            f"{model}: cannot be read ({error.strerror}): give the path of the .onnx file"
        ) from error
    if digest != adapter.sha256:
        raise AdapterError(
            f"{model}: sha256 is {digest}, but the adapter {adapter.name} is for {adapter.sha256}: "
            "bring that file, or remove sha256 from a copy of the adapter"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # old files make it warn once per weight
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes have no common root
        raise AdapterError(f"{model}: onnxruntime cannot load it: {error}") from error


def _shape(tensor: Any) -> Shape:
    return tuple(n if isinstance(n, int) else None for n in tensor.shape)


def _check_inputs(adapter: Adapter, model: Path, session: Any) -> None:
    rule = adapter.input
    inputs = {i.name: i for i in session.get_inputs()}
    for key, name in (("name", rule.name), ("box", rule.box)):
        if name and name not in inputs:
            raise AdapterError(
                f"{model}: input.{key} is {name!r}, but the model's inputs are {', '.join(sorted(inputs))}: "
                "name one of them or export the model with this name"
            )
    if extra := sorted(set(inputs) - {rule.name, rule.box}):
        raise AdapterError(
            f"{model}: the model also takes {', '.join(extra)}, which the adapter does not give: export it "
            "without, or name the input of the face's box in input.box"
        )
    wide, high = rule.size
    want: Shape = (1, 3, high, wide) if rule.layout == "NCHW" else (1, high, wide, 3)
    have = _shape(inputs[rule.name])
    if len(have) != len(want) or any(None not in (h, w) and h != w for h, w in zip(have, want, strict=True)):
        raise AdapterError(
            f"{model}: the input {rule.name!r} is {list(have)}, but input.size and input.layout make "
            f"{list(want)}: mend the adapter or export the model at this size"
        )
    if inputs[rule.name].type != "tensor(float)":
        raise AdapterError(
            f"{model}: the input {rule.name!r} is {inputs[rule.name].type}: export it as float32"
        )
