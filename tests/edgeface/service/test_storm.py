"""Promise 22: a tenth of `benchmarks.live.storm`, which also says how long a good client waits meanwhile."""

from __future__ import annotations

import pytest

from benchmarks.live.storm import weathered

pytestmark = pytest.mark.soak


def test_a_storm_neither_ends_nor_fattens_the_service() -> None:
    """Every request of the good client is answered; a traceback or an end of the service raises."""
    found = weathered(10_000, 100, rest=2.0)
    assert found["asked"] > 20, found
    assert found["grown_mib"] < 20, found
