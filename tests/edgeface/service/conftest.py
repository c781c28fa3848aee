"""One service for the tests that only ask; those that change it start their own."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.edgeface.service.running import Running, running


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    """A service on loopback, its camera on."""
    with running(start="hall") as found:
        yield found


@pytest.fixture
def client(service: Running) -> Iterator[httpx.Client]:
    """A client of it."""
    with service.client() as found:
        yield found
