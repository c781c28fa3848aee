"""A backend is found by its name or by the formats that it opens, and keeps to the protocol."""

from __future__ import annotations

import pytest

from edgeface.backends import Backend, Session, select
from edgeface.backends.litert import LiteRTBackend
from edgeface.backends.scripted import ScriptedBackend
from edgeface.bundle import Bundle
from edgeface.errors import ArgumentError, DeviceError
from tests.bundles import TINY


@pytest.mark.parametrize("name", ["auto", "litert"])
def test_tflite_is_opened_by_litert(name: str) -> None:
    assert select(name, frozenset({"tflite"})).name == "litert"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ArgumentError, match=r"'cuda': unknown.*litert"):
        select("cuda", frozenset({"tflite"}))


def test_formats_that_nobody_opens_are_named() -> None:
    with pytest.raises(DeviceError, match="engine"):
        select("auto", frozenset({"tflite", "engine"}))


@pytest.mark.parametrize(
    "backend", [LiteRTBackend(), ScriptedBackend({"expression": {}})], ids=lambda b: b.name
)
def test_shipped_backends_keep_to_the_protocol(backend: Backend) -> None:
    assert isinstance(backend, Backend)
    bundle = Bundle.load(TINY)
    spec = bundle.model("expression")
    session = backend.open(spec, bundle.artifact(spec.artifact), 1)
    assert isinstance(session, Session)
    session.close()
