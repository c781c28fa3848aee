"""The OpenAPI document, put to the test by schemathesis: what fits it or breaks it gets an answer that fits.

Needs the program `schemathesis` (``pipx install schemathesis``). Run by hand and in the long suite.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edgeface.service import Limits, ServiceSettings
from tests.edgeface.service.running import hall, running

pytestmark = pytest.mark.soak

_LIMITS = Limits(rate=1000.0, burst=1000)
_ENDLESS = ("/events", "/stream.mjpg")
# A document can ask for bytes, not for a picture: most bytes that fit it are refused, and rightly.
_NOT_CHECKED = "positive_data_acceptance"


def test_made_up_requests_are_answered_as_the_document_says(tmp_path: Path) -> None:
    program = shutil.which("schemathesis")
    if program is None:
        pytest.skip("there is no schemathesis here: pipx install schemathesis")
    with running(ServiceSettings(limits=_LIMITS), [hall()], start="hall") as service:
        words = [program, "run", f"{service.address}/openapi.json", "--exclude-checks", _NOT_CHECKED]
        words += ["--max-examples", "25", "--seed", "1", "--request-timeout", "30", "--no-color"]
        for path in _ENDLESS:
            words += ["--exclude-path", path]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=900)
        with service.client() as client:
            assert client.get("/healthz").status_code == 200
    assert done.returncode == 0, done.stdout[-4000:]
    assert "Tested: 9" in done.stdout
