"""webdataset shards: plain ``.tar`` files in which the members of a sample share a name up to the first dot.

::

    __terms__.json                     ours: the terms of what is inside (webdataset skips such names)
    00000012.jpg | .png | .webp        the picture's file
    00000012.json                      ours: name, part, boxes, points, ...; others: becomes attributes
    00000012.mask.png                  ours: class ids of the scheme that the JSON names
    00000012.cls, .txt                 others: becomes the attributes cls and txt
    __notes__.json                     ours: what whoever wrote the shard says of it

Source of the convention: webdataset's ``tariterators`` (what a key is, which names are metadata).
Written and read with the standard library's tarfile: the format is tar, and the ``webdataset`` package would
add its pipeline, its shuffling and its handling of errors to this package's own.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface.labels import BLENDSHAPES52, PARSING_SCHEMES

from .imagefiles import SUFFIXES, read_mask
from .reading import BROKEN, DataSetError, ItemError, Job, Layout, check_finite
from .sample import POINT_SCHEMES, Attribute, Sample, Terms

__all__ = [
    "LAYOUT",
    "held_out",
    "join_terms",
    "read_notes",
    "shard_files",
    "stated_terms",
    "write_shard",
    "write_shards",
]

_TERMS = "__terms__.json"
_NOTES = "__notes__.json"
_MARK = "edgeface-sample"  # the key by which our JSON is told from others'
Span = tuple[int, int]  # where a member's bytes lie in the tar: offset, length


def write_shard(
    path: Path,
    samples: Iterable[Sample],
    terms: Terms,
    notes: Callable[[], Mapping[str, Any]] | None = None,
) -> int:
    """Writes the samples to a ``.tar``, whole or not at all; returns how many. Same samples, same bytes.

    Args:
        path: The file to write; what is there is replaced once the new one is complete.
        samples: Read one by one, never held together.
        terms: Terms of the data set they come from, kept in the shard.
        notes: Asked after the last sample: JSON values that `read_notes` gives back.
    """
    partial_path = path.with_name(path.name + ".partial")
    count = 0
    with tarfile.open(partial_path, "w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, _TERMS, json.dumps(asdict(terms), sort_keys=True).encode())
        for sample in samples:
            key = f"{count:08d}"
            suffix, data = _encoded(sample)
            _add(tar, key + suffix, data)
            _add(tar, f"{key}.json", json.dumps(_record(sample), sort_keys=True).encode())
            if sample.mask is not None:
                _add(tar, f"{key}.mask.png", cv2.imencode(".png", sample.mask)[1].tobytes())
            count += 1
        if notes is not None:
            _add(tar, _NOTES, json.dumps(notes(), sort_keys=True).encode())
    partial_path.replace(path)
    return count


def write_shards(folder: Path, samples: Iterable[Sample], terms: Terms, size: int = 1000) -> list[Path]:
    """Writes the samples to ``shard-000000.tar`` and so on, ``size`` in each; returns the files.

    Raises:
        DataSetError: There are shards in the folder: what is left of longer ones would join the new ones.
    """
    if any(folder.glob("*.tar")):
        raise DataSetError(f"{folder}: there are shards in it: remove them or give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    source, paths = iter(samples), list[Path]()
    for first in source:
        path = folder / f"shard-{len(paths):06d}.tar"
        write_shard(path, chain([first], islice(source, size - 1)), terms)
        paths.append(path)
    return paths


def held_out(sample: Sample, share: float) -> bool:
    """Whether a sample grades instead of training: by its part as published, else by the hash of its name.

    So a picture stays on its side, in whatever order, number or shard the samples come.
    """
    if sample.part in {"validation", "test"}:
        return True
    return int(hashlib.sha256(sample.name.encode()).hexdigest()[:8], 16) < share * 2**32


def read_notes(path: Path) -> dict[str, Any]:
    """The notes of a shard; empty where it has none.

    Raises:
        DataSetError: The file is no shard.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            file = tar.extractfile(_NOTES) if _NOTES in tar.getnames() else None
            return {} if file is None else dict(json.loads(file.read()))
    except (*BROKEN, tarfile.TarError) as error:
        raise DataSetError(f"{path}: the shard is damaged ({error}): write it again") from error


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _encoded(sample: Sample) -> tuple[str, bytes]:
    if isinstance(sample.picture, Path):
        return sample.picture.suffix.lower(), sample.picture.read_bytes()
    if isinstance(sample.picture, bytes):
        starts = ((b"\xff\xd8", ".jpg"), (b"RIFF", ".webp"), (b"BM", ".bmp"))
        return next((s for start, s in starts if sample.picture.startswith(start)), ".png"), sample.picture
    pixels = sample.picture
    return ".png", cv2.imencode(".png", pixels if pixels.ndim == 2 else pixels[:, :, ::-1])[1].tobytes()


def _record(sample: Sample) -> dict[str, Any]:
    arrays = {k: getattr(sample, k) for k in ("boxes", "points", "visible", "votes")}
    return {
        _MARK: 1,
        "name": sample.name,
        "part": sample.part,
        "points_scheme": sample.points_scheme,
        "mask_scheme": sample.mask_scheme,
        "expression": sample.expression,
        "attributes": dict(sample.attributes),
        **{k: v.tolist() for k, v in arrays.items() if v is not None},
        **_blendshapes_record(sample),
    }


def _blendshapes_record(sample: Sample) -> dict[str, Any]:
    """Every coefficient under its name, and the names of those that nobody knows."""
    if sample.blendshapes is None:
        return {}
    told = dict(zip(BLENDSHAPES52.names, sample.blendshapes.tolist(), strict=True))
    if sample.blendshapes_known is None:
        return {"blendshapes": told}
    known = zip(BLENDSHAPES52.names, sample.blendshapes_known, strict=True)
    return {"blendshapes": told, "blendshapes_dead": [name for name, knows in known if not knows]}


def stated_terms(root: Path) -> Terms | None:
    """The terms that the shards of this file or folder state, joined; None where one of them states none."""
    stated = [_stated(path) for path in shard_files(root)]
    found = [terms for terms in stated if terms is not None]
    return join_terms(*found) if len(found) == len(stated) else None


def join_terms(*terms: Terms) -> Terms:
    """The terms of what comes from several sources: all of them, each once."""
    found = list(dict.fromkeys(terms))
    if len(found) == 1:
        return found[0]
    return Terms(
        "; ".join(terms.title for terms in found),
        "; ".join(terms.licence for terms in found),
        all(terms.commercial for terms in found),
        "; ".join(terms.source for terms in found),
    )


def _stated(path: Path) -> Terms | None:
    try:
        with tarfile.open(path, "r:") as tar:
            first = tar.next()
            file = tar.extractfile(first) if first is not None and first.name == _TERMS else None
            return None if file is None else Terms(**json.loads(file.read()))
    except (*BROKEN, tarfile.TarError, TypeError):
        return None  # a damaged shard states nothing; going through it says what is wrong


def shard_files(root: Path) -> list[Path]:
    """The shards of a folder, or the one that the path names.

    Raises:
        DataSetError: There is none in the folder.
    """
    paths = sorted(root.glob("*.tar")) if root.is_dir() else [root]
    if not paths:
        raise DataSetError(f"{root}: no .tar in it; unpack compressed shards to plain ones")
    return paths


def _broken(path: Path) -> Sample:
    raise ItemError(path, "the shard is cut off, damaged or not a plain tar", mend="write it again")


def _jobs(root: Path) -> Iterator[Job]:
    for path in shard_files(root):
        key, members, end = None, {}, 0
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                    base, dot, extension = member.name.rpartition("/")[2].partition(".")
                    if not member.isfile() or not dot or (base.startswith("__") and base.endswith("__")):
                        continue
                    this = member.name[: len(member.name) - len(dot + extension)]
                    if this != key and key is not None:
                        yield partial(_read, path, key, members)
                        members = {}
                    key, members[extension.lower()] = this, (member.offset_data, member.size)
            whole = _bytes(path, (end, tarfile.BLOCKSIZE)) == bytes(tarfile.BLOCKSIZE)  # a tar ends in zeros
        except (OSError, tarfile.TarError):
            whole = False
        if not whole:  # the last sample may have lost some of its members
            yield partial(_broken, path)
        elif key is not None:
            yield partial(_read, path, key, members)


def _bytes(path: Path, span: Span) -> bytes:
    with path.open("rb") as file:
        file.seek(span[0])
        return file.read(span[1])


def _read(path: Path, key: str, members: dict[str, Span]) -> Sample:
    where = path / key  # for messages: the sample within the shard

    def data(extension: str) -> bytes:
        try:
            return _bytes(path, members[extension])
        except OSError as error:
            raise ItemError(where, "cannot be read", mend="write the shard again") from error

    picture = next((s[1:] for s in SUFFIXES if s[1:] in members), None)
    if picture is None:
        raise ItemError(where, "there is no picture")
    record: dict[str, Any] = {}
    if "json" in members:
        try:
            record = json.loads(data("json"))
        except ValueError as error:
            raise ItemError(where, "its JSON is malformed") from error
    if not isinstance(record, dict):
        raise ItemError(where, "its JSON is not an object")
    mask = data("mask.png") if "mask.png" in members else None
    if _MARK in record:
        try:
            return _ours(where, data(picture), record, mask)
        except (KeyError, TypeError, AttributeError) as error:
            raise ItemError(where, f"its JSON is not a sample's ({error!r})") from error
    plain = {k: v for k, v in record.items() if isinstance(v, str | int | float | bool)}
    texts = {k: data(k).decode("utf-8", "replace").strip() for k in ("cls", "txt") if k in members}
    return Sample(f"{path.stem}/{key}", data(picture), attributes={**plain, **texts})


def _ours(where: Path, picture: bytes, record: dict[str, Any], mask: bytes | None) -> Sample:
    def array(field: str, *shape: int) -> NDArray[np.float32] | None:
        return None if record.get(field) is None else check_finite(where, field, record[field], shape)

    points, scheme = str(record.get("points_scheme", "")), str(record.get("mask_scheme", ""))
    if (record.get("points") is not None and points not in POINT_SCHEMES) or (
        mask is not None and scheme not in PARSING_SCHEMES
    ):
        raise ItemError(where, f"unknown scheme {points!r} or {scheme!r}")
    count, boxes = POINT_SCHEMES.get(points, 0), record.get("boxes")
    visible = array("visible", count)
    shapes, known = _blendshapes(where, record)
    attributes: dict[str, Attribute] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in record.get("attributes", {}).items()
    }
    return Sample(
        str(record["name"]),
        picture,
        str(record.get("part", "")),
        boxes=np.zeros((0, 4), np.float32) if boxes == [] else array("boxes", len(boxes or []), 4),
        points=array("points", count, 2),
        points_scheme=points,
        visible=None if visible is None else visible.astype(np.bool_),
        mask=None if mask is None else read_mask(where, scheme, io.BytesIO(mask), ignore=True),
        mask_scheme=scheme,
        votes=array("votes", 10),
        blendshapes=shapes,
        blendshapes_known=known,
        expression=record.get("expression"),
        attributes=attributes,
    )


def _blendshapes(
    where: Path, record: dict[str, Any]
) -> tuple[NDArray[np.float32] | None, NDArray[np.bool_] | None]:
    """The coefficients in their order, and which of them are known, where the record says so."""
    told, dead = record.get("blendshapes"), record.get("blendshapes_dead")
    if told is None:
        return None, None
    strange = sorted((set(told) ^ set(BLENDSHAPES52.names)) | (set(dead or ()) - set(BLENDSHAPES52.names)))
    if strange:
        raise ItemError(where, f"blendshapes: missing or unknown: {', '.join(strange)}")
    names = BLENDSHAPES52.names
    values = check_finite(where, "blendshapes", [told[name] for name in names], (len(names),))
    return values, None if dead is None else np.array([name not in dead for name in names])


LAYOUT = Layout("webdataset", None, _jobs)
