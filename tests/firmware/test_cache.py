"""The cache of roots and packages, asked by two at once, as the stage `firmware` of `.ci/run` does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.firmware.packages import CHECKOUT

ASK = """
import sys, time
from pathlib import Path
from firmware.emulation import roots

def make(folder):
    with open(sys.argv[2], "a") as made:
        made.write("made\\n")
    time.sleep(1)
    folder.mkdir()

print(roots.kept(Path(sys.argv[1]), "entry", ("recipe",), make))
"""


def test_of_two_who_want_an_entry_one_makes_it_and_the_other_waits(tmp_path: Path) -> None:
    cache, made = tmp_path / "cache", tmp_path / "made"
    cache.mkdir()
    command = [sys.executable, "-c", ASK, str(cache), str(made)]
    asking = [subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=120)[0] for process in asking]
    assert [process.returncode for process in asking] == [0, 0]
    [entry] = cache.iterdir()
    assert told == [f"{entry}\n"] * 2
    assert made.read_text() == "made\n"
