from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from quantization.progress import progress

pytestmark = pytest.mark.workshop

COUNTING = """
import time
from quantization.progress import progress
for i in progress("crops", iter(range(4)), 4):
    time.sleep(0.6)
"""


def test_the_items_pass_through_and_a_log_gets_the_label_once(capsys):
    assert list(progress("crops", range(3))) == [0, 1, 2]
    assert list(progress("more", iter("ab"), 1)) == ["a", "b"]  # the bound was too low
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.split() == ["crops", "more"]


def test_whoever_looks_sees_how_far_it_is_and_how_long_it_will_take(repository):
    reader, writer = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(repository), "TERM": "xterm", "COLUMNS": "80"}
    subprocess.run([sys.executable, "-c", COUNTING], stderr=writer, env=environment, check=True)
    os.close(writer)
    told = os.read(reader, 65536).decode()
    os.close(reader)
    assert "crops  [" in told
    assert "50%" in told
    assert "00:00:01" in told  # left, after half of it
