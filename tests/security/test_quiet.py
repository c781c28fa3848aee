"""Promises 19 and 20: no network and no file written while importing and inferring."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.bundles import TINY

if TYPE_CHECKING:
    from pathlib import Path

INFER = """
import sys
import edgeface
with edgeface.FaceAnalyzer(bundle=sys.argv[1]) as analyzer:
    frame = edgeface.read_image(sys.argv[2])
    faces = analyzer.analyze(frame).faces
    assert faces, "the fixture finds a face in this photo"
    faces[0].to_dict()
    faces[0].parsing.to_frame((frame.height, frame.width))
"""

# The interpreter reports every socket call and every open; a hook cannot be removed again, hence a process of
# its own.
AUDITED = """
import os, sys
seen = []
def hook(event, arguments):
    changes = {"os.remove", "os.rename", "os.mkdir", "os.truncate", "os.link", "os.symlink"}
    if event.startswith("socket.") or event in changes:
        seen.append((event, str(arguments)))
    elif event == "open":
        path, mode, flags = arguments
        writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        writable = isinstance(flags, int) and flags & writing
        if writable or (isinstance(mode, str) and set(mode) & set("wax+")):
            seen.append((event, str(path)))
    elif event in {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"}:
        seen.append((event, str(arguments)))
sys.addaudithook(hook)
BODY
print(seen)
"""


def environment() -> dict[str, str]:
    # Some runtimes keep quiet when they see a CI; users do not have one. Measuring coverage writes files of
    # its own. Bytecode files are Python's, not ours (-B).
    dropped = ("CI", "ORT_DISABLE_TELEMETRY", "COV_", "COVERAGE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}


def run(command: list[str], repository: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=repository, env=environment(), timeout=120
    )


def audited(body: str, repository: Path, photo: Path) -> list[tuple[str, str]]:
    done = run([sys.executable, "-B", "-c", AUDITED.replace("BODY", body), str(TINY), str(photo)], repository)
    assert done.returncode == 0, done.stderr
    events: list[tuple[str, str]] = eval(done.stdout)
    return events


def test_the_interpreter_sees_no_socket_no_child_and_no_file_written(
    repository: Path, astronaut_path: Path
) -> None:
    assert audited(INFER, repository, astronaut_path) == []


def test_the_audit_would_notice(repository: Path, astronaut_path: Path, tmp_path: Path) -> None:
    write = f"open({str(tmp_path / 'x')!r}, 'w').close(); os.mkdir({str(tmp_path / 'y')!r})"
    body = f"import socket; socket.socket().close(); {write}"
    events = [event for event, _ in audited(body, repository, astronaut_path)]
    assert {"socket.__new__", "open", "os.mkdir"} <= set(events)


def traced(code: str, repository: Path, photo: Path, log: Path) -> str:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed; the audit hook above has looked from inside")
    calls = "trace=%file,%network,ftruncate"  # classes, because each processor has its own list of calls
    python = [sys.executable, "-B", "-c", code, str(TINY), str(photo)]
    done = run(["strace", "-f", "-qq", "-e", calls, "-o", str(log), *python], repository)
    if not log.exists() or "ptrace" in done.stderr.lower():
        pytest.skip("this machine does not allow strace; the audit hook above has looked from inside")
    assert done.returncode == 0, done.stderr
    return log.read_text(errors="replace")


INTERNET = re.compile(r"socket\((?:AF|PF)_INET6?|sa_family=AF_INET")
WRITING = re.compile(
    r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|"
    r"\b(?:creat|mkdir|mkdirat|rename\w*|unlink|unlinkat|link|linkat|symlink|symlinkat|f?truncate)\("
)
# Devices and kernel settings hold no frame: the runtime may look at them in any mode.
HARMLESS = re.compile(r'"/dev/(?:null|tty|shm/?)"|"/proc/self/|"/sys/')


def written(log: str) -> list[str]:
    lines = [line for line in log.splitlines() if "execve(" not in line]
    return [line for line in lines if WRITING.search(line) and not HARMLESS.search(line)]


def test_the_kernel_sees_no_internet_socket_and_no_file_written(
    repository: Path, astronaut_path: Path, tmp_path: Path
) -> None:
    log = traced(INFER, repository, astronaut_path, tmp_path / "trace")
    assert [line for line in log.splitlines() if INTERNET.search(line)] == []
    assert written(log) == []
    assert log.count("execve(") <= 1, "no other program is started"
    assert str(TINY) in log, "the trace holds the process that ran the models"


def test_the_trace_would_notice(repository: Path, astronaut_path: Path, tmp_path: Path) -> None:
    code = f"import socket; socket.socket().close(); open({str(tmp_path / 'x')!r}, 'w').close()"
    log = traced(code, repository, astronaut_path, tmp_path / "trace")
    assert INTERNET.search(log)
    assert len(written(log)) == 1


def test_it_works_with_the_network_cut(repository: Path, astronaut_path: Path) -> None:
    cut = ["unshare", "-rn"]
    if shutil.which("unshare") is None or run([*cut, "true"], repository).returncode != 0:
        pytest.skip("this machine does not allow a network namespace")
    done = run([*cut, sys.executable, "-B", "-c", INFER, str(TINY), str(astronaut_path)], repository)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
