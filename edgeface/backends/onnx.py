"""onnxruntime: the CPU, and with ``onnx:cuda`` or ``onnx:tensorrt`` an NVIDIA GPU, Jetsons among them.

Opens ``onnx`` artifacts as `quantization/onnx_export.py` writes them: image and outputs are float and channel
first. Sessions keep the house's tensors (stored integers, channel last), so this file turns one into the
other: the image exactly (an int8 value times 1/128 is a float32), outputs by rounding to the nearest step of
the grid that the header gives them, half to even.

A backend is one provider and never another: where onnxruntime would go on with the CPU in silence, opening
fails and says why. A provider that is listed may still not work, so a session on a GPU runs once before it is
given out, and what each provider holds of the graph is counted: one that holds nothing is refused. TensorRT
builds its engine in that run, which takes minutes the first time and is kept in a folder (`edgeface models
warmup` does it ahead of time).

``onnx:tensorrt:fp16`` says how the engine is built: ``int8``, ``fp16``, both, or ``fp32``, and ``dla=0`` or
``dla=1`` for a deep learning accelerator, with a colon between two. Without a precision it is int8 and fp16.
"""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeface.backends.base import Ran, Tensors, check_inputs
from edgeface.backends.nvidia import explain_absence, read_board
from edgeface.backends.onnx_file import OnnxGraph, read_onnx
from edgeface.backends.onnx_placement import counting
from edgeface.backends.tensorrt import TensorRTOptions, make_private, options_named
from edgeface.errors import ArgumentError, BundleError, DeviceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeface.bundle import InputSpec, ModelSpec, OutputSpec

__all__ = ["OFFERS", "OPTIONS", "OnnxBackend", "OnnxSession", "create"]

OFFERS = {"onnx": ("onnx",), "onnx:cuda": ("onnx",), "onnx:tensorrt": ("onnx",)}

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
OPTIONS = tuple(_PROVIDERS)
"""What may stand after the colon of ``backend="onnx:..."``; alone, ``onnx`` is the CPU.

After ``tensorrt`` come its own options, see `edgeface.backends.tensorrt.options_named`."""

_ONLY_ERRORS = 3  # onnxruntime's log levels: 2 warns of every operator that a GPU leaves to the CPU


class OnnxBackend:
    """Opens ``onnx`` artifacts with one provider of onnxruntime.

    Args:
        device: ``"cpu"``, ``"cuda"`` or ``"tensorrt"``.
        tensorrt: how engines are built and kept, where ``device`` is ``"tensorrt"``.

    Raises:
        ArgumentError: the device is unknown.
    """

    formats = frozenset({"onnx"})

    def __init__(self, device: str = "cpu", tensorrt: TensorRTOptions | None = None) -> None:
        if device not in _PROVIDERS:
            raise ArgumentError(f"backend 'onnx:{device}': unknown device; choose from {', '.join(OPTIONS)}")
        self.device = device
        self.tensorrt = tensorrt or TensorRTOptions()
        words = self.tensorrt.words if device == "tensorrt" else ()
        self.name = "onnx" if device == "cpu" else ":".join(["onnx", device, *words])

    def open(self, spec: ModelSpec, artifact: bytes, threads: int) -> OnnxSession:
        """Open a model; see `edgeface.backends.base.Backend.open`."""
        return OnnxSession(spec, artifact, threads, self)

    def ready(self, artifact: bytes) -> bool:
        """False if opening a model begins with building its engine; see `edgeface.backends.base.Backend`."""
        return self.device != "tensorrt" or self.tensorrt.kept(artifact)

    def built(self, artifact: bytes) -> frozenset[str]:
        """The names that this backend has with other options, of which an engine for a model is kept."""
        others = self.tensorrt.others() if self.device == "tensorrt" else ()
        return frozenset(OnnxBackend("tensorrt", one).name for one in others if one.kept(artifact))

    def forget(self, artifact: bytes) -> None:
        """Delete the engines that were kept for a model, so that opening it builds them anew.

        Raises:
            DeviceError: onnxruntime is missing, or a file cannot be deleted.
        """
        engines, _ = self.tensorrt.folders(artifact, _runtime(self.device).__version__)
        try:
            if engines.exists():
                shutil.rmtree(engines)
        except OSError as error:
            raise DeviceError(f"engine cache {engines}: cannot be deleted ({error.strerror})") from error


class OnnxSession:
    """One session of onnxruntime behind a lock."""

    def __init__(self, spec: ModelSpec, artifact: bytes, threads: int, backend: OnnxBackend) -> None:
        try:
            graph = read_onnx(artifact, spec.input.name)
        except ValueError as error:
            raise BundleError(f"artifact '{spec.artifact}': is no usable ONNX file: {error}") from error
        runtime = _runtime(backend.device)
        options = _session_options(runtime, threads)
        self._spec = spec
        self._lock = threading.Lock()
        self._ran = _truth(graph, threads, backend, {})
        if backend.device == "cpu":
            self._session: Any = _opened(runtime, spec, artifact, options, backend)
            _check_graph(spec, self._session, graph)
            return
        with counting(runtime, options) as count:
            self._session = _opened(runtime, spec, artifact, options, backend)
            _check_graph(spec, self._session, graph)
            # The only probe that counts. TensorRT's engine is built here.
            self.run({spec.input.name: np.zeros(spec.input.shape, spec.input.dtype)})
            placed = count(self._session)
        self._ran = _truth(graph, threads, backend, placed)
        if not placed.get(_PROVIDERS[backend.device]):
            raise DeviceError(
                f"artifact '{spec.artifact}': {_PROVIDERS[backend.device]} took no operator of it on "
                f"{backend.name!r}, onnxruntime gave them to {', '.join(sorted(placed)) or 'nobody'}; name "
                "the backend of that one"
            )

    @property
    def ran(self) -> Ran:
        """The provider that holds most of the graph, by onnxruntime's own account."""
        return self._ran

    def run(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        """Run once; see `edgeface.backends.base.Session.run`."""
        image = _to_onnx(self._spec.input, check_inputs(self._spec, tensors))
        names = [output.name for output in self._spec.outputs]
        with self._lock:
            if self._session is None:
                raise DeviceError(f"model {self._spec.task!r}: the session is closed")
            try:
                results = self._session.run(names, {self._spec.input.name: image})
            except Exception as error:  # its errors have no common base
                raise DeviceError(f"model {self._spec.task!r}: onnxruntime failed ({error})") from error
        return {
            output.name: self._stored(output, result)
            for output, result in zip(self._spec.outputs, results, strict=True)
        }

    def close(self) -> None:
        """Drop the session; waits for a run in progress."""
        with self._lock:
            self._session = None

    def _stored(self, output: OutputSpec, real: NDArray[np.float32]) -> NDArray[Any]:
        if not np.isfinite(real).all():
            raise DeviceError(
                f"model {self._spec.task!r}: {self._ran.delegate} answered what is no number in "
                f"{output.name!r}; turn float16 off or use another backend"
            )
        limits = np.iinfo(output.dtype)
        steps = np.rint(real.astype(np.float64) / output.scale) + output.zero_point
        stored: NDArray[Any] = np.clip(steps, limits.min, limits.max).astype(output.dtype)
        return np.ascontiguousarray(stored.transpose(0, 2, 3, 1))


def create(option: str = "cpu") -> OnnxBackend:
    """The backend, for `edgeface.backends.base.create`.

    Raises:
        ArgumentError: the option names no device, or none of the device's options.
        DeviceError: onnxruntime is not installed, or the machine has no such device.
    """
    device, _, more = option.partition(":")
    if more and device in _PROVIDERS and device != "tensorrt":
        raise ArgumentError(f"backend 'onnx:{option}': {device} takes no option; write 'onnx:{device}'")
    backend = OnnxBackend(device, options_named(more) if device == "tensorrt" else None)
    board = read_board()
    driverless = device != "cpu" and not board.driver and board.l4t is None
    if driverless or importlib.util.find_spec("onnxruntime") is None:
        raise DeviceError(_absent(device))
    return backend


def _absent(device: str) -> str:
    if device == "cpu":
        return "onnxruntime is not installed; run: pip install 'edgeface[onnx]'"
    return explain_absence(device, read_board())


def _runtime(device: str) -> Any:
    # From its import on it reports its use to its makers, and only this variable, set before, prevents it: an
    # application that imports it before us must set it itself.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise DeviceError(_absent(device)) from error
    return onnxruntime


def _opened(
    runtime: Any, spec: ModelSpec, artifact: bytes, session_options: Any, backend: OnnxBackend
) -> Any:
    wanted = _PROVIDERS[backend.device]
    if wanted not in runtime.get_available_providers():
        raise DeviceError(_absent(backend.device))
    chain: list[Any] = [wanted]
    if backend.device == "tensorrt":
        options = backend.tensorrt.provider_options(artifact, runtime.__version__)
        make_private(Path(options["trt_engine_cache_path"]))
        # What TensorRT refuses is better on the GPU than on the CPU.
        chain = [(wanted, options), _PROVIDERS["cuda"]]
    if backend.device != "cpu":
        if hasattr(runtime, "preload_dlls"):  # finds CUDA and cuDNN where pip has put them
            runtime.preload_dlls()
        chain.append(_PROVIDERS["cpu"])
    try:
        session = runtime.InferenceSession(artifact, session_options, providers=chain, enable_fallback=0)
    except Exception as error:  # its errors have no common base
        raise DeviceError(
            f"artifact '{spec.artifact}': onnxruntime cannot open it on {backend.name!r} ({error})"
            + ("; edgeface models warmup --rebuild builds its engine anew" if len(chain) > 2 else "")
        ) from error
    session.disable_fallback()
    if session.get_providers()[0] != wanted:
        raise DeviceError(
            f"backend {backend.name!r}: onnxruntime lists {wanted} but could not load it and would go on "
            f"with {session.get_providers()[0]}; its log above names the library that it misses"
        )
    return session


def _session_options(runtime: Any, threads: int) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ONLY_ERRORS
    for key, value in (
        # A pool that spins keeps cores at 100 % between two frames.
        ("session.intra_op.allow_spinning", "0"),
        ("session.inter_op.allow_spinning", "0"),
    ):
        options.add_session_config_entry(key, value)
    return options


def _truth(graph: OnnxGraph, threads: int, backend: OnnxBackend, placed: Mapping[str, int]) -> Ran:
    """What runs the graph; ``placed`` is how many operators each provider holds, empty where none can."""
    delegate = max(placed, key=lambda name: placed[name]) if placed else _PROVIDERS[backend.device]
    precision = graph.precision
    if delegate == _PROVIDERS["cuda"] and graph.quantised:
        precision = "float32"  # CUDA has no integer convolutions: the pairs only round
    elif delegate == _PROVIDERS["tensorrt"]:
        plain = "float16" if backend.tensorrt.fp16 else "float32"
        precision = "int8" if graph.quantised and backend.tensorrt.int8 else plain
    left = placed.get(_PROVIDERS["cpu"], 0) if placed else None
    return Ran(backend.name, delegate, left, precision, threads)


def _to_onnx(spec: InputSpec, image: NDArray[Any]) -> NDArray[np.float32]:
    real = (image.astype(np.float32) - np.float32(spec.zero_point)) * np.float32(spec.scale)
    return np.ascontiguousarray(real.transpose(0, 3, 1, 2))


def _check_graph(spec: ModelSpec, session: Any, graph: OnnxGraph) -> None:
    """Refuse a graph other than the header's: decoding with another scale would be quietly wrong."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise BundleError(f"artifact '{spec.artifact}': has {len(inputs)} inputs, edgeface feeds one")
    _check_tensor(spec, spec.input, inputs[0])
    outputs = {output.name: output for output in session.get_outputs()}
    for wanted in spec.outputs:
        if wanted.name not in outputs:
            raise BundleError(f"artifact '{spec.artifact}': has no output {wanted.name!r}; {_PACK}")
        _check_tensor(spec, wanted, outputs[wanted.name])
    grid = graph.grid
    if grid is None:
        return
    # uint8 around 128 and int8 around 0 are one grid: the distance from the type's lowest value counts.
    offset = grid.zero_point - np.iinfo(grid.dtype).min
    same = math.isclose(grid.scale, spec.input.scale, rel_tol=1e-5)
    if not same or offset != spec.input.zero_point - np.iinfo(spec.input.dtype).min:
        raise BundleError(
            f"artifact '{spec.artifact}': puts its image on {grid.dtype} with scale {grid.scale:.6g} and "
            f"zero point {grid.zero_point}; the header says {spec.input.dtype}, {spec.input.scale:.6g} and "
            f"{spec.input.zero_point}; {_PACK}"
        )


_PACK = "pack the bundle again"


def _check_tensor(spec: ModelSpec, wanted: InputSpec | OutputSpec, got: Any) -> None:
    if len(wanted.shape) != 4:
        raise BundleError(
            f"artifact '{spec.artifact}': the header gives {wanted.name!r} the shape {list(wanted.shape)}; "
            f"an ONNX artifact has 4 axes; {_PACK}"
        )
    batch, height, width, channels = wanted.shape
    shape = [batch, channels, height, width]
    if got.name != wanted.name or got.type != "tensor(float)" or list(got.shape) != shape:
        raise BundleError(
            f"artifact '{spec.artifact}': tensor {got.name!r} is {got.type} {list(got.shape)}; for the "
            f"header it must be {wanted.name!r}, tensor(float) {shape} (channel first); {_PACK}"
        )
