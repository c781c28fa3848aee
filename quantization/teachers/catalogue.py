"""Which teachers there are: those of this package and the published ones that a user brings."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeface import read_image
from edgeface.labels import BLENDSHAPES52, FER8, parsing_scheme

from ..datasets import Terms
from ..terms import TermsError
from .adapter import Adapter, AdapterError
from .adapterfile import load_adapter
from .answers import Answer, FacesAnswer, MapAnswer, PointsAnswer

__all__ = [
    "BUILT_IN",
    "BuiltIn",
    "adapter_named",
    "built_in",
    "description",
    "overview",
    "published",
    "terms_of",
    "try_model",
]

_FOLDER = Path(__file__).parent / "published"
_WIDTH = 110


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A teacher that has code of its own here."""

    name: str
    task: str
    input: str
    verified: str
    file: str
    """Name of the published file."""


_BUNDLE = "mediapipe_face_landmarker.task"
BUILT_IN = (
    BuiltIn("yunet", "detection", "640 x 640", "the astronaut at three scales", "yunet_n_640_640.onnx"),
    BuiltIn("facemesh", "landmarks", "256 x 256", "the astronaut, turned and not; 478 points", _BUNDLE),
    BuiltIn("blendshapes", "blendshapes", "146 points", "the astronaut's smile; names; sides", _BUNDLE),
)
# What a student may have learned from: the modules beside this one, each with the TERMS of its weights.
_DECLARED = (
    *("yunet", "ultraface", "facemesh", "blendshapes", "mobilenet"),
    *("detection", "landmarks", "parsing", "expression", "folds", "face3d"),
)


def built_in(name: str) -> BuiltIn | None:
    """The teacher of this package that is called so."""
    return next((own for own in BUILT_IN if own.name == name), None)


def published() -> Iterator[Adapter]:
    """The adapters of this package, by name."""
    for path in sorted(_FOLDER.glob("*.toml")):
        yield load_adapter(path)


def adapter_named(name: str) -> Adapter:
    """An adapter by its name here, or by the path of its TOML file.

    Raises:
        AdapterError: There is none of this name, or the file is malformed.
    """
    if name.endswith(".toml"):
        return load_adapter(Path(name))
    known = [path.stem for path in sorted(_FOLDER.glob("*.toml"))]
    if built_in(name):
        raise AdapterError(
            f"{name} has code of its own here and no adapter: `label` asks it, `evaluate "
            f"--published` grades it; of adapters use one of {', '.join(known)}, or a .toml file"
        )
    if name not in known:
        raise AdapterError(f"no adapter is called {name!r}: use one of {', '.join(known)}, or a .toml file")
    return load_adapter(_FOLDER / f"{name}.toml")


def terms_of(name: str) -> Terms:
    """The terms of a teacher of this package, or of an adapter by its name or its TOML file.

    Raises:
        TermsError: Nobody declared any for this name.
        AdapterError: The file is malformed.
    """
    if name in _DECLARED:
        terms: Terms = import_module(f".{name}", __package__).TERMS
        return terms
    known = [*_DECLARED, *(path.stem for path in sorted(_FOLDER.glob("*.toml")))]
    if name not in known and not name.endswith(".toml"):
        raise TermsError(
            f"nobody declared the terms of a teacher called {name!r}: use one of {', '.join(known)}, or give "
            "the path of its .toml file, which says them under [licence]"
        )
    return adapter_named(name).terms


def overview() -> str:
    """One line per teacher: name, task, input, terms; under it what was verified."""
    lines = []
    for own in BUILT_IN:
        lines += _entry(own.name, own.task, own.input, terms_of(own.name).licence, own.verified)
    for adapter in published():
        terms = adapter.licence.code + ("" if adapter.licence.commercial else "; restricted")
        lines += _entry(adapter.name, adapter.task, _sides(adapter), terms, adapter.verified)
    return "\n".join(lines)


def _entry(name: str, task: str, size: str, terms: str, verified: str) -> list[str]:
    return [f"{name:<24}{task:<13}{size:<12}{terms}", *_wrapped(f"verified: {verified}", "    ", 4)]


def _wrapped(text: str, first: str, indent: int) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=" " * indent, break_on_hyphens=False
    )


def _sides(adapter: Adapter) -> str:
    return "{} x {}".format(*adapter.input.size)


def description(adapter: Adapter | BuiltIn) -> str:
    """Terms first, then input, crop, answer, sources, what was verified and how to export, in words."""
    if isinstance(adapter, BuiltIn):
        return _own_description(adapter)
    source, terms = adapter.input, adapter.licence
    use = "no restriction is known" if terms.commercial else "restricted: needs --accept-licence"
    absent = getattr(adapter.output, "absent", ())
    parts = [
        ("licence", f"code: {terms.code}; weights: {terms.weights}; {use}"),
        ("task", adapter.task + (f"; never says {', '.join(absent)}" if absent else "")),
        (
            "input",
            f"{source.name!r}, {_sides(adapter)}, {source.layout}, {source.colour}, "
            f"(pixel / {source.scale:g} - {list(source.mean)}) / {list(source.std)}",
        ),
        ("crop", adapter.crop.kind + (f"; {adapter.crop.note}" if adapter.crop.note else "")),
        ("verified", adapter.verified),
        ("unverified", adapter.unverified),
        *(("source", line) for line in adapter.source),
    ]
    lines = [f"{adapter.name}: {adapter.title}"]
    for key, text in parts:
        lines += _wrapped(text, f"{key + ':':<12}", 12)
    if adapter.export:
        lines += ["export:", textwrap.indent(adapter.export.strip(), " " * 4)]
    return "\n".join(lines)


def _own_description(own: BuiltIn) -> str:
    terms = terms_of(own.name)
    use = "no restriction is known" if terms.commercial else "research only"
    parts = [
        ("licence", f"{terms.licence}; {use}"),
        ("task", own.task),
        ("input", own.input),
        ("verified", own.verified),
        ("source", terms.source),
        ("file", f"{own.file}, in --teachers or by --model"),
    ]
    lines = [f"{own.name}: {terms.title}"]
    for key, text in parts:
        lines += _wrapped(text, f"{key + ':':<12}", 12)
    return "\n".join(lines)


def try_model(
    adapter: Adapter | BuiltIn,
    model: Path,
    checkpoint: Path | None,
    image: Path,
    teachers: Path,
    accept_licence: bool = False,
) -> str:
    """What a teacher says of the largest face of a photo, in words.

    Args:
        adapter: Its adapter, or what is known of one of this package.
        model: Its ONNX file; written from ``checkpoint`` first, where that is given.
        checkpoint: The authors' file, of an adapter that names a ``network``.
        image: The photo.
        teachers: Folder of YuNet's file, which finds the face.
        accept_licence: The terms were read and allow the use.

    Raises:
        LicenceError: The teacher's terms were not accepted.
        AdapterError: The model is not the adapter's, there is no face in the photo, or no YuNet.
    """
    if isinstance(adapter, BuiltIn):
        if checkpoint:
            raise AdapterError(f"{adapter.name}: is published as {adapter.file}: give that as --model alone")
        return _try_own(adapter, model, image, teachers)
    from .onnx import OnnxTeacher, check_licence

    check_licence(adapter, accept_licence)
    if checkpoint:
        from .checkpoint import export_checkpoint

        export_checkpoint(adapter, checkpoint, model)
    teacher = OnnxTeacher(adapter, model, accept_licence=accept_licence)
    rgb = read_image(image).rgb
    box, keypoints = (None, None) if adapter.crop.kind == "whole" else _largest_face(rgb, image, teachers)
    return _in_words(teacher(rgb, box, keypoints))


def _try_own(own: BuiltIn, model: Path, image: Path, teachers: Path) -> str:
    if not model.is_file():
        raise AdapterError(f"{model}: there is no such file; {own.name} is {own.file}")
    rgb = read_image(image).rgb
    if own.name == "yunet":
        from .yunet import YuNet

        found = YuNet(model).detect(rgb)
        return _in_words(FacesAnswer(found.boxes, found.scores))
    box, _ = _largest_face(rgb, image, teachers)
    if own.name == "facemesh":
        from .facemesh import FaceMesh

        points, presence = FaceMesh(model).mesh(rgb, box)
        return f"{_within(points)}, presence {presence:.2f}"
    from .blendshapes import MediaPipeFace

    shapes = MediaPipeFace(model)(rgb, box)[1]
    said = zip(BLENDSHAPES52.names, shapes.tolist(), strict=True)
    return "\n".join(f"{name:<20}{value:.3f}" for name, value in said)


def _largest_face(
    rgb: NDArray[np.uint8], image: Path, teachers: Path
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    from .yunet import YuNet

    path = teachers / "yunet_n_640_640.onnx"
    if not path.exists():
        raise AdapterError(f"{path}: is not there: YuNet finds the face; say where it lies with --teachers")
    found = YuNet(path).detect(rgb)
    if not len(found):
        raise AdapterError(f"{image}: there is no face in it: give another photo")
    best = int(np.argmax(found.boxes[:, 2] * found.boxes[:, 3]))
    return found.boxes[best], found.keypoints[best]


def _within(points: NDArray[np.float32]) -> str:
    low, high = points.min(0).round().tolist(), points.max(0).round().tolist()
    return f"{len(points)} points within {low} and {high}"


def _in_words(said: Answer) -> str:
    if isinstance(said, FacesAnswer):
        rows = zip(said.boxes.round().tolist(), said.scores.tolist(), strict=True)
        return "\n".join(f"face at {b}, score {s:.2f}" for b, s in rows) or "no face"
    if isinstance(said, PointsAnswer):
        return _within(said.points)
    if isinstance(said, MapAnswer):
        names = parsing_scheme(said.scheme).names
        shares = np.bincount(said.labels.ravel(), minlength=len(names)) / said.labels.size
    else:
        names, shares = FER8.names, said.probabilities
    return "\n".join(f"{name:<12}{share:.3f}" for name, share in zip(names, shares.tolist(), strict=True))
