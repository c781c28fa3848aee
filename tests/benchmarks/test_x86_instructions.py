"""Instructions under callgrind: the counter, the gate, and a slowed stage that must be noticed."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.arm_instructions import counts
from benchmarks.x86_instructions import __main__ as command
from benchmarks.x86_instructions.__main__ import BASELINE, CORE, unlike

_WITH_VALGRIND = pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")

# Counts a loop of so many turns twice, and the decoding of one answer as it is and with a slower one.
_COUNTED = """\
import sys
from pathlib import Path
from benchmarks.x86_instructions.inside import Counter
from edgeface import Bundle
from edgeface.backends import litert
from edgeface.golden import golden_input
from edgeface.heads import ExpressionHead
bundle = Bundle.builtin()
spec = bundle.model("expression")
session = litert.create().open(spec, bundle.artifact(spec.artifact), 1)
head, tensors = ExpressionHead(spec), golden_input(spec)
count = Counter(Path(sys.argv[1]))
def of(call):
    found = []
    for _ in range(4):
        begin = count()
        call()
        found.append(count() - begin)
    return min(found)
def decode():
    return head.decode(session.run(tensors), None)
def slower():
    sum(range(20_000))
    return decode()
print(of(decode), of(decode), of(slower), of(lambda: None))
"""


@_WITH_VALGRIND
def test_the_same_twice_and_a_slower_stage_is_seen(tmp_path: Path, repository: Path) -> None:
    out = tmp_path / "callgrind.out"
    program = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
    done = subprocess.run(
        [*program, sys.executable, "-c", _COUNTED, str(out)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(repository), "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, again, slower, nothing = map(int, done.stdout.split()[-4:])
    assert nothing < first / 100
    assert again == pytest.approx(first, rel=counts.ALLOWED / 5)
    assert slower > first * (1 + counts.ALLOWED)
    assert list(tmp_path.glob("callgrind.out.*")) == []  # its dumps are read and gone


def test_without_valgrind_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert command.main([]) == 1
    assert "apt-get install valgrind" in capsys.readouterr().err


def test_the_counter_works_under_valgrind_alone(tmp_path: Path, repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(repository / "benchmarks/x86_instructions/inside.py"), "out", "frame", "7"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(repository)},
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 1
    assert "under valgrind" in done.stderr


class TestGate:
    before = json.loads(BASELINE.read_text())

    def test_the_committed_counts_pass(self) -> None:
        assert counts.compare(self.before, self.before) == []

    @pytest.mark.parametrize("task", ["detection", "landmarks", "parsing", "expression"])
    @pytest.mark.parametrize("stage", ["invoke", "decode"])
    def test_a_slowed_stage_is_noticed(self, task: str, stage: str) -> None:
        now = copy.deepcopy(self.before)
        stages = now["instructions"][CORE]["students"][task]
        stages[stage] += round(0.006 * (stages["invoke"] if stage == "invoke" else sum(stages.values())))
        (told,) = counts.compare(now, self.before)
        assert told.startswith(f"{CORE}, {task}, ")

    def test_a_quicker_one_passes(self) -> None:
        now = copy.deepcopy(self.before)
        now["instructions"][CORE]["students"]["parsing"]["invoke"] //= 2
        assert counts.compare(now, self.before) == []

    def test_what_else_changed_is_said(self) -> None:
        now = copy.deepcopy(self.before)
        assert unlike(now, self.before) == []
        now["software"]["libraries"]["numpy"] = "9.9"
        assert "9.9" in unlike(now, self.before)[0]
