"""What a bundle gives back and how its header is read; damage and malice have a file in tests/security."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from edgeface.bundle import SIZES, Bundle, BundleLimits, encode_bundle
from edgeface.errors import ArgumentError, BundleError
from tests.bundles import START, TINY, opened, seal


@pytest.fixture(scope="module")
def tiny() -> bytes:
    return TINY.read_bytes()


def test_a_bundle_gives_its_models_artifacts_and_cards(tiny: bytes) -> None:
    bundle = Bundle.load(TINY)
    assert bundle.tasks == ("detection", "expression", "landmarks", "parsing")
    assert bundle.source == str(TINY)
    for task in bundle.tasks:
        spec = bundle.model(task)
        assert spec.task == task
        assert bundle.artifact(spec.artifact) in tiny
        assert bundle.card(task).strip()
    for artifact in bundle.artifacts:
        content = bundle.artifact(artifact.name)
        assert len(content) == artifact.size
        assert hashlib.sha256(content).hexdigest() == artifact.sha256


def test_two_sizes_are_built_in() -> None:
    base, nano = (Bundle.builtin(size) for size in SIZES)
    assert base.digest == Bundle.builtin().digest == Bundle.load("base").digest
    assert nano.digest == Bundle.load("nano").digest == Bundle.load(Path("nano")).digest
    assert set(nano.tasks) >= {"detection", "expression", "landmarks", "parsing"}
    sizes = [sum(artifact.size for artifact in bundle.artifacts) for bundle in (base, nano)]
    assert sizes[1] < sizes[0] / 6
    assert sum(sizes) < 6_000_000


def test_a_file_that_is_called_as_a_size_is_written_with_its_folder(
    tiny: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nano").write_bytes(tiny)
    monkeypatch.chdir(tmp_path)
    assert Bundle.load("./nano").digest == Bundle.load(TINY).digest != Bundle.load("nano").digest


def test_another_size_is_refused_with_those_there_are() -> None:
    with pytest.raises(ArgumentError, match="'huge'; choose from base, nano"):
        Bundle.builtin("huge")


def test_the_digest_is_that_of_the_header(tiny: bytes) -> None:
    assert Bundle.from_bytes(tiny).digest == tiny[START - 32 : START].hex()


def test_what_is_not_there_is_named_with_what_is() -> None:
    bundle = Bundle.load(TINY)
    with pytest.raises(BundleError, match=r"'gaze'.*detection, expression, landmarks, parsing"):
        bundle.model("gaze")
    with pytest.raises(BundleError, match=r"gaze\.tflite"):
        bundle.artifact("gaze.tflite")
    with pytest.raises(BundleError, match="gaze"):
        bundle.card("gaze")


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_what_was_verified_cannot_be_changed_afterwards(tiny: bytes, kind: type) -> None:
    memory = bytearray(tiny)
    bundle = Bundle.from_bytes(kind(memory))
    memory[START:] = bytes(len(memory) - START)
    for artifact in bundle.artifacts:
        assert type(bundle.artifact(artifact.name)) is bytes
        assert hashlib.sha256(bundle.artifact(artifact.name)).hexdigest() == artifact.sha256


def test_what_is_no_bundle_is_refused_with_its_mend() -> None:
    with pytest.raises(ArgumentError, match=r"not bytes; Bundle\.from_bytes reads one from memory"):
        Bundle.load(b"EDGEFACE-BUNDLE")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="not str; `load` takes a path"):
        Bundle.from_bytes(str(TINY))  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=r"No such file or directory\); check the path"):
        Bundle.load("nowhere.bundle")
    with pytest.raises(BundleError, match="bundle '': cannot be read"):
        Bundle.load("")


def test_a_bundle_can_be_printed(tiny: bytes) -> None:
    assert len(repr(Bundle.load(TINY))) < len(tiny) / 4


def test_a_spec_has_typed_values() -> None:
    spec = Bundle.load(TINY).model("landmarks")
    assert spec.input.shape == (1, spec.input.height, spec.input.width, 3)
    assert spec.output("points").shape == (1, 1, 1, 136)
    assert spec.crop is not None
    assert spec.crop.scale > 1
    with pytest.raises(BundleError, match=r"models\.landmarks\.outputs.*'heatmap'"):
        spec.output("heatmap")
    with pytest.raises(TypeError):
        spec.head["mean_shape"] = 1  # type: ignore[index]


def test_writing_and_reading_agree(tiny: bytes) -> None:
    header, _ = opened(tiny)
    bundle = Bundle.from_bytes(tiny)
    names = [item["name"] for item in header.pop("artifacts")]
    assert encode_bundle(header, {name: bundle.artifact(name) for name in names}) == tiny


@pytest.mark.parametrize("bad", [float("nan"), {1, 2}, b"bytes"])
def test_a_header_that_is_not_json_cannot_be_written(bad: object) -> None:
    with pytest.raises(BundleError):
        encode_bundle({"name": bad}, {"a": b"1"})


def test_what_cannot_be_read_cannot_be_written(tiny: bytes) -> None:
    header, _ = opened(tiny)
    contents = {
        item["name"]: Bundle.from_bytes(tiny).artifact(item["name"]) for item in header.pop("artifacts")
    }
    with pytest.raises(BundleError, match="unknown key 'surprise'"):
        encode_bundle({**header, "surprise": 1}, contents)


MODEL = ("models", "landmarks")
WRONG_VALUES: list[tuple[tuple[str | int, ...], Any, str]] = [
    (("name",), 7, r"header\.name"),
    (("name",), "two\nlines", r"header\.name"),
    (("version",), "\x1b[31mred", r"header\.version"),
    (("licence",), None, r"header\.licence"),
    (("models",), [], r"header\.models"),
    (("models",), {"landmarks": 3}, r"models\.landmarks: must be an object, not a number"),
    ((*MODEL, "task"), "parsing", r"models\.landmarks\.task"),
    ((*MODEL, "format"), "TFLite", r"models\.landmarks\.format"),
    ((*MODEL, "artifact"), "missing.tflite", r"no artifact 'missing\.tflite'"),
    ((*MODEL, "input", "shape"), [1, 112, 112], r"landmarks\.input\.shape"),
    ((*MODEL, "input", "shape"), [2, 112, 112, 3], r"landmarks\.input\.shape"),
    ((*MODEL, "input", "shape"), [1, 8192, 8192, 3], r"landmarks\.input\.shape"),
    ((*MODEL, "input", "shape"), [1, 112.0, 112, 3], r"landmarks\.input\.shape"),
    ((*MODEL, "input", "dtype"), "float32", r"landmarks\.input\.dtype"),
    ((*MODEL, "input", "dtype"), ["int8"], r"landmarks\.input\.dtype"),
    ((*MODEL, "input", "mean"), 127, r"landmarks\.input\.mean: must be .*128"),
    ((*MODEL, "outputs"), [], r"landmarks\.outputs"),
    ((*MODEL, "outputs", 0, "scale"), 0, r"outputs\[0\]\.scale"),
    ((*MODEL, "outputs", 0, "scale"), 1e400, r"canonical|JSON"),
    ((*MODEL, "outputs", 0, "zero_point"), 128, r"outputs\[0\]\.zero_point"),
    ((*MODEL, "outputs", 0, "zero_point"), True, r"outputs\[0\]\.zero_point"),
    ((*MODEL, "outputs", 1, "index"), 0, "two outputs have the same index"),
    ((*MODEL, "outputs", 1, "name"), "points", "two outputs have the same name"),
    ((*MODEL, "crop"), "big", r"landmarks\.crop"),
    ((*MODEL, "crop", "scale"), -1, r"crop\.scale"),
    ((*MODEL, "crop", "shift"), [0], r"crop\.shift"),
    ((*MODEL, "crop", "shift"), [0, 50], r"crop\.shift"),
    ((*MODEL, "crop", "align_above"), 10**400, r"crop\.align_above|JSON"),
    ((*MODEL, "crop", "spin"), 1, r"landmarks\.crop: unknown key 'spin'"),
    ((*MODEL, "head"), None, r"landmarks\.head: must be an object, not null"),
    ((*MODEL, "labels"), 68, r"landmarks\.labels"),
    ((*MODEL, "metrics"), {"nme": "good"}, r"metrics\.nme"),
    ((*MODEL, "metrics"), {"\x1b[2J": 1}, "is no name"),
    ((*MODEL, "colour"), "blue", r"landmarks: unknown key 'colour'"),
    (("cards",), {"landmarks": "nowhere.md"}, r"cards\.landmarks"),
    (("cards",), {"gaze": "landmarks.md"}, r"cards: unknown key 'gaze'"),
]


@pytest.mark.parametrize(("where", "value", "message"), WRONG_VALUES, ids=lambda v: str(v)[:40])
def test_a_wrong_value_is_refused_with_its_place(
    tiny: bytes, where: tuple[str | int, ...], value: object, message: str
) -> None:
    header, body = opened(tiny)
    place: Any = header
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    with pytest.raises(BundleError, match=message):
        Bundle.from_bytes(seal(header, body))


def test_every_required_key_is_missed(tiny: bytes) -> None:
    header, body = opened(tiny)
    for path in (
        ("name",),
        ("models",),
        ("artifacts",),
        (*MODEL, "input"),
        (*MODEL, "input", "mean"),
        (*MODEL, "crop"),
    ):
        poorer: Any = copy.deepcopy(header)
        place = poorer
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]
        with pytest.raises(BundleError, match=f"the key '{path[-1]}' is missing"):
            Bundle.from_bytes(seal(poorer, body))


def test_a_card_must_be_text(tiny: bytes) -> None:
    header, _ = opened(tiny)
    bundle = Bundle.from_bytes(tiny)
    contents = {item["name"]: bundle.artifact(item["name"]) for item in header.pop("artifacts")}
    contents[header["cards"]["parsing"]] = b"\xff\xfe\xfd"
    with pytest.raises(BundleError, match="UTF-8"):
        encode_bundle(header, contents)


def test_limits_are_kept(tiny: bytes, tmp_path: Any) -> None:
    path = tmp_path / "a.bundle"
    path.write_bytes(tiny)
    with pytest.raises(BundleError, match="more than the 1000 allowed"):
        Bundle.load(path, BundleLimits(max_bytes=1000))
    with pytest.raises(BundleError, match="header is cut short or too large"):
        Bundle.from_bytes(tiny, limits=BundleLimits(max_header=100))
    with pytest.raises(BundleError, match="1 to 2 artifacts"):
        Bundle.from_bytes(tiny, limits=BundleLimits(max_artifacts=2))


def test_the_header_has_one_spelling(tiny: bytes) -> None:
    header, body = opened(tiny)
    with pytest.raises(BundleError, match="not canonical"):
        Bundle.from_bytes(seal(json.dumps(header).encode(), body))


def test_another_format_version_asks_for_another_edgeface(tiny: bytes) -> None:
    header, body = opened(tiny)
    with pytest.raises(BundleError, match=r"format version 2.*install a matching edgeface"):
        Bundle.from_bytes(seal(header, body, version=2))
