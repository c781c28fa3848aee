r"""A bundle: every model of EdgeFace in one file that is verified first and parsed after.

::

    magic "EDGEFACE-BUNDLE\n" (16) | format version, u32 LE | header length, u64 LE
    | SHA-256 of (version, header length, header) (32) | header: canonical JSON
    | artifacts, no gaps, nothing after

The header lists the artifacts with size and SHA-256, in file order, so one digest vouches for every byte. The
file is read into memory once, through one descriptor, and the bytes that were verified are the bytes that
run: changing the file afterwards changes nothing. The digests notice damage; who made a bundle they cannot
say, so everything in the header is treated as hostile.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from edgeface.errors import ArgumentError, BundleError
from edgeface.manifest import CropSpec, InputSpec, ModelSpec, OutputSpec, Section, parse_model

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "SIZES",
    "Artifact",
    "Bundle",
    "BundleLimits",
    "CropSpec",
    "InputSpec",
    "ModelSpec",
    "OutputSpec",
    "encode_bundle",
]

_MAGIC = b"EDGEFACE-BUNDLE\n"
_VERSION = 1
_PREFIX = struct.Struct("<IQ")
_START = len(_MAGIC) + _PREFIX.size + hashlib.sha256().digest_size
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_REINSTALL = "reinstall the package or fetch the bundle again"


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """What a bundle may cost before anything in it is believed."""

    max_bytes: int = 256 << 20
    """Size of the whole file, bytes."""
    max_header: int = 1 << 20
    """Size of the JSON header, bytes."""
    max_artifacts: int = 256
    """Number of artifacts."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file inside a bundle: its name, size in bytes and SHA-256 in hexadecimal."""

    name: str
    size: int
    sha256: str


_LIMITS = BundleLimits()

SIZES: Mapping[str, str] = {"base": "students.bundle", "nano": "nano.bundle"}
"""Sizes of the students that ship inside the package, and their files: for a Pi 4 or better, for less."""


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A verified bundle in memory. Made by `load`, `from_bytes` or `builtin`; immutable."""

    name: str
    version: str
    created_by: str
    licence: str
    source: str
    """Where it came from, for messages."""
    digest: str
    """SHA-256 of the header, which holds the digest of every artifact: it identifies the whole bundle."""
    models: Mapping[str, ModelSpec]
    artifacts: tuple[Artifact, ...]
    cards: Mapping[str, str]
    _contents: Mapping[str, bytes] = field(repr=False)  # megabytes that nobody wants in a message

    @classmethod
    def load(cls, path: str | os.PathLike[str], limits: BundleLimits = _LIMITS) -> Bundle:
        """Read, verify and parse the bundle at ``path``, which must be a regular file and not a link to one.

        The name of a size in `SIZES` is that of a built-in one; a file that is called so is ``./nano``.

        Raises:
            BundleError: the file cannot be read, is too large, was damaged, or is not a bundle; the message
                names the artifact when one is at fault.
            ArgumentError: ``path`` is no path.
        """
        if not isinstance(path, (str, os.PathLike)):
            raise ArgumentError(
                f"a bundle's path is text or a Path, not {type(path).__name__}; "
                "Bundle.from_bytes reads one from memory"
            )
        if os.fsdecode(path) in SIZES:
            return cls.builtin(os.fsdecode(path))
        return cls.from_bytes(_read(path, limits), source=os.fsdecode(path), limits=limits)

    @classmethod
    def builtin(cls, size: str = "base") -> Bundle:
        """A bundle that ships inside the package: ``base``, or ``nano``, which costs a fraction.

        Raises:
            ArgumentError: there is no such size.
            BundleError: the installed file is missing or damaged.
        """
        if size not in SIZES:
            raise ArgumentError(f"there is no built-in size {size!r}; choose from {', '.join(SIZES)}")
        # Some installers put links into site-packages; the package's own folder is trusted to say where they
        # lead.
        return cls.load((Path(__file__).parent / "models" / SIZES[size]).resolve())

    @classmethod
    def from_bytes(cls, data: bytes, source: str = "bytes", limits: BundleLimits = _LIMITS) -> Bundle:
        """Verify and parse a bundle that is already in memory.

        Raises:
            BundleError: as for `load`.
            ArgumentError: ``data`` are no bytes.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise ArgumentError(
                f"expected the bytes of a bundle, not {type(data).__name__}; `load` takes a path"
            )
        try:
            # Bytes of our own: nobody can change those of a bytearray after they were verified.
            return _parse(bytes(data), source, limits)
        except BundleError as error:
            raise BundleError(f"bundle {source}: {error}") from error.__cause__

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that this bundle has a model for, sorted."""
        return tuple(sorted(self.models))

    def model(self, task: str) -> ModelSpec:
        """What the header says about the model of ``task``.

        Raises:
            BundleError: the bundle has no model for it.
        """
        if task not in self.models:
            have = ", ".join(self.tasks) or "none"
            raise BundleError(f"bundle {self.source}: no model for the task {task!r} (it has: {have})")
        return self.models[task]

    def artifact(self, name: str) -> bytes:
        """The verified bytes of the artifact ``name``.

        Raises:
            BundleError: there is no such artifact.
        """
        if name not in self._contents:
            raise BundleError(f"bundle {self.source}: no artifact is called {name!r}")
        return self._contents[name]

    def card(self, task: str) -> str:
        """The model card of ``task`` (Markdown), or an empty text when it has none.

        Raises:
            BundleError: the bundle has no model for ``task``.
        """
        self.model(task)
        name = self.cards.get(task)
        return "" if name is None else self._contents[name].decode("utf-8")


def encode_bundle(header: Mapping[str, Any], artifacts: Mapping[str, bytes]) -> bytes:
    """Write a bundle: ``header`` without ``artifacts``, which is made from the given contents in their order.

    The result has been read back, so what this function returns is a bundle that `Bundle.from_bytes` accepts.

    Raises:
        BundleError: the header or an artifact's name is not acceptable.
    """
    listing = [
        {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in artifacts.items()
    ]
    try:
        text = _canonical({**header, "artifacts": listing})
    except (TypeError, ValueError, RecursionError) as error:
        raise BundleError(f"the header cannot be written as JSON: {error}") from error
    prefix = _PREFIX.pack(_VERSION, len(text))
    data = b"".join([_MAGIC, prefix, hashlib.sha256(prefix + text).digest(), text, *artifacts.values()])
    Bundle.from_bytes(data, source="being written")
    return data


def _read(path: str | os.PathLike[str], limits: BundleLimits) -> bytes:
    shown = ascii(os.fsdecode(path))[1:-1] or "''"
    # Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
    flags = (
        os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    try:
        if Path(os.fsdecode(path)).is_symlink():
            raise BundleError(f"bundle {shown}: is a link; give the path of the file itself")
        descriptor = os.open(path, flags)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise BundleError(f"bundle {shown}: is not a regular file; give the path of a bundle file")
            if status.st_size > limits.max_bytes:
                raise BundleError(
                    f"bundle {shown}: {status.st_size} bytes, more than the {limits.max_bytes} allowed"
                )
            with open(descriptor, "rb", closefd=False) as file:
                # One byte more than announced shows a file that grows while it is read.
                data = file.read(status.st_size + 1)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BundleError(
            f"bundle {shown}: cannot be read ({reason}); check the path, or reinstall the package if it is "
            "the built-in one"
        ) from error
    if len(data) != status.st_size:
        raise BundleError(f"bundle {shown}: its size changed while it was read; try again")
    return data


def _parse(data: bytes, source: str, limits: BundleLimits) -> Bundle:
    header, digest, position = _verified_header(data, limits)
    section = Section(header, "header")
    artifacts = _parse_artifacts(section.take("artifacts"), limits)
    total = position + sum(artifact.size for artifact in artifacts)
    if len(data) != total:
        raise BundleError(f"{len(data)} bytes long, its header says {total}; {_REINSTALL}")
    contents: dict[str, bytes] = {}
    for artifact in artifacts:
        content = data[position : position + artifact.size]
        if hashlib.sha256(content).hexdigest() != artifact.sha256:
            raise BundleError(f"artifact '{artifact.name}': SHA-256 does not match; {_REINSTALL}")
        contents[artifact.name] = content
        position += artifact.size
    models = _parse_models(section.take("models"), contents)
    cards = _parse_cards(section.take("cards", {}), models, contents)
    bundle = Bundle(
        name=section.text("name"),
        version=section.text("version"),
        created_by=section.text("created_by"),
        licence=section.text("licence"),
        source=source,
        digest=digest,
        models=MappingProxyType(models),
        artifacts=artifacts,
        cards=MappingProxyType(cards),
        _contents=MappingProxyType(contents),
    )
    section.done()
    return bundle


def _verified_header(data: bytes, limits: BundleLimits) -> tuple[Any, str, int]:
    if data[: len(_MAGIC)] != _MAGIC or len(data) < _START:
        raise BundleError(f"is not an EdgeFace bundle, or its beginning is damaged; {_REINSTALL}")
    prefix = data[len(_MAGIC) : len(_MAGIC) + _PREFIX.size]
    version, length = _PREFIX.unpack(prefix)
    if length > min(limits.max_header, len(data) - _START):
        raise BundleError(f"its header is cut short or too large ({length} bytes); {_REINSTALL}")
    text = data[_START : _START + length]
    digest = hashlib.sha256(prefix + text)
    if digest.digest() != data[_START - digest.digest_size : _START]:
        raise BundleError(f"the header's SHA-256 does not match; {_REINSTALL}")
    if version != _VERSION:
        raise BundleError(
            f"format version {version}, this edgeface reads {_VERSION}; install a matching edgeface"
        )
    try:
        header = json.loads(text.decode("utf-8"))
        # One header, one spelling: a duplicate key, a NaN or a second way to write the same thing is refused
        # here.
        canonical = _canonical(header) == text
    except (ValueError, RecursionError) as error:
        raise BundleError("the header is not JSON") from error
    if not canonical:
        raise BundleError("the header is not canonical JSON; write bundles with encode_bundle")
    return header, digest.hexdigest(), _START + length


def _canonical(header: object) -> bytes:
    return json.dumps(
        header, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def _parse_artifacts(value: object, limits: BundleLimits) -> tuple[Artifact, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= limits.max_artifacts:
        raise BundleError(f"header.artifacts: must be a list of 1 to {limits.max_artifacts} artifacts")
    artifacts = []
    for index, item in enumerate(value):
        section = Section(item, f"header.artifacts[{index}]")
        artifact = Artifact(
            section.text("name"), section.integer("size", 0, limits.max_bytes), section.digest("sha256")
        )
        section.done()
        if not _NAME.fullmatch(artifact.name) or ".." in artifact.name:
            raise section.fail(
                "name", "lower-case letters, digits, '.', '_' and '-', at most 64, without '..'"
            )
        artifacts.append(artifact)
    if len({artifact.name for artifact in artifacts}) != len(artifacts):
        raise BundleError("header.artifacts: two artifacts have the same name")
    return tuple(artifacts)


def _parse_models(value: object, contents: Mapping[str, bytes]) -> dict[str, ModelSpec]:
    section = Section(value, "header.models")
    models = {}
    for task in section.names():
        spec = parse_model(section.take(task), f"models.{task}")
        if spec.task != task:
            raise BundleError(f"models.{task}.task: says {spec.task!r}")
        if spec.artifact not in contents:
            raise BundleError(f"models.{task}.artifact: the bundle holds no artifact {spec.artifact!a}")
        for name, artifact in spec.variants.items():
            if artifact not in contents:
                raise BundleError(f"models.{task}.variants.{name}: the bundle holds no artifact {artifact!a}")
        models[spec.task] = spec
    return models


def _parse_cards(
    value: object, models: Mapping[str, ModelSpec], contents: Mapping[str, bytes]
) -> dict[str, str]:
    section = Section(value, "header.cards")
    cards = {task: section.text(task) for task in models if section.take(task, None) is not None}
    section.done()
    for task, name in cards.items():
        if name not in contents:
            raise BundleError(f"cards.{task}: the bundle holds no artifact {name!a}")
        try:
            contents[name].decode("utf-8")
        except UnicodeDecodeError as error:
            raise BundleError(f"artifact '{name}': a model card must be UTF-8 text") from error
    return cards
