"""TensorRT's engines: how they are built, where they are kept, and who may write there."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgeface.cache import cache_folder
from edgeface.errors import ArgumentError, DeviceError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TensorRTOptions", "make_private", "options_named"]

_PRECISIONS = ("int8", "fp16")
_DLA = re.compile(r"dla=([01])")
_CORES = (None, 0, 1)  # an Orin or Xavier has two at most


def _engine_folder() -> Path | None:
    folder = cache_folder()
    return None if folder is None else folder / "tensorrt"


@dataclass(frozen=True, slots=True)
class TensorRTOptions:
    """How TensorRT builds engines, and where it keeps them."""

    fp16: bool = True
    """Let what is not quantised run in float16."""
    int8: bool = True
    """Run Q/DQ pairs as int8; without it they are computed in float."""
    dla_core: int | None = None
    """Which deep learning accelerator of a Jetson to use; None: the GPU alone."""
    cache: Path | None = field(default_factory=_engine_folder)
    """Folder of engines and timings: ``tensorrt`` in EdgeFace's cache folder. None where there is no home."""

    def provider_options(self, artifact: bytes, runtime: str) -> dict[str, str]:
        """Options of onnxruntime's TensorRT provider for one model, by the names of its documentation.

        Args:
            artifact: the ONNX file.
            runtime: version of onnxruntime.

        Raises:
            DeviceError: there is no folder to keep engines in.
        """
        engines, timings = self.folders(artifact, runtime)
        options = {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": str(engines),
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": str(timings),
            "trt_fp16_enable": str(self.fp16),
            "trt_int8_enable": str(self.int8),
        }
        if self.dla_core is not None:
            options |= {"trt_dla_enable": "True", "trt_dla_core": str(self.dla_core)}
        return options

    def folders(self, artifact: bytes, runtime: str) -> tuple[Path, Path]:
        """Folder of the engines of one model, and of the timings that all models share.

        onnxruntime names an engine by the graph's structure, not by its weights, so two versions of a student
        would share one: each file gets a folder of its own, by its digest.

        Raises:
            DeviceError: there is no folder to keep engines in.
        """
        if self.cache is None:
            raise DeviceError(
                "engine cache: there is no home folder to hold it; set EDGEFACE_CACHE to a folder"
            )
        shared = self.cache / f"onnxruntime-{runtime}"
        return shared / self._name(artifact), shared

    @property
    def words(self) -> tuple[str, ...]:
        """How these options differ from the usual ones, as `options_named` reads them."""
        precision = () if self.int8 and self.fp16 else self._precisions()
        return (*precision, *([] if self.dla_core is None else [f"dla={self.dla_core}"]))

    def others(self) -> tuple[TensorRTOptions, ...]:
        """Every other way of building engines that has a name, in the same folder."""
        ways = itertools.product((True, False), (True, False), _CORES)
        changed = (replace(self, int8=int8, fp16=fp16, dla_core=core) for int8, fp16, core in ways)
        return tuple(options for options in changed if options != self)

    def kept(self, artifact: bytes) -> bool:
        """True if an engine of a model in this precision is kept, by whatever version of onnxruntime."""
        return self.cache is not None and any(self.cache.glob(f"onnxruntime-*/{self._name(artifact)}/*"))

    def _name(self, artifact: bytes) -> str:
        core = "" if self.dla_core is None else f"-dla{self.dla_core}"
        return f"{hashlib.sha256(artifact).hexdigest()[:16]}-{'-'.join(self._precisions())}{core}"

    def _precisions(self) -> tuple[str, ...]:
        return tuple(name for name in _PRECISIONS if getattr(self, name)) or ("fp32",)


def options_named(text: str) -> TensorRTOptions:
    """The options that the end of a backend's name asks for: ``fp16``, ``int8:fp16``, ``fp32``, ``dla=0``.

    Whoever names a precision gets that one and no other; without one it is int8 and float16.

    Raises:
        ArgumentError: a word is unknown, stands twice, or contradicts another.
    """
    words = text.split(":") if text else []
    precisions = [word for word in words if word in (*_PRECISIONS, "fp32")]
    cores = [match[1] for match in map(_DLA.fullmatch, words) if match]
    sound = len(precisions) + len(cores) == len(words) == len(set(words)) and len(cores) < 2
    if not sound or ("fp32" in precisions and (len(precisions) > 1 or cores)):
        raise ArgumentError(
            f"backend 'onnx:tensorrt:{text}': unknown options; write int8, fp16, int8:fp16 or fp32, and "
            "dla=0 or dla=1 after a colon for an accelerator, which has no fp32"
        )
    return TensorRTOptions(
        fp16=not precisions or "fp16" in precisions,
        int8=not precisions or "int8" in precisions,
        dla_core=int(cores[0]) if cores else None,
    )


def make_private(folder: Path) -> None:
    """Make a folder that nobody else may write to, nor replace: an engine in it is code that the GPU runs.

    Raises:
        DeviceError: it cannot be made, or others can write to it or to the one that holds it.
    """
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = [(place, place.stat()) for place in (folder.parent, folder)]
    except OSError as error:
        raise DeviceError(
            f"engine cache {folder}: cannot be made ({error.strerror}); set EDGEFACE_CACHE to a folder "
            "of your own"
        ) from error
    for place, status in found:
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise DeviceError(
                f"engine cache {place}: others can write to it; delete it, or run: chmod go-w {place}"
            )
