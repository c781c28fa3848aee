"""Promises 19 and 20: no network, no file, no pixel that leaves the process, importing and inferring.

Seen from inside by the interpreter's audit hook, from outside by strace. Where strace is missing or forbidden
the tests that need it are skipped and say so.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.bundles import TINY

# Every backend that computes without a device; the ONNX files of the students are not in the repository, so
# there a small graph goes through the session.
BACKENDS = ("litert", "isolated:litert", "onnx", "isolated:onnx")
INFER = """
import logging, sys
logging.basicConfig(level=logging.DEBUG)
import edgeface
bundle, photo, backend = sys.argv[1:4]
if "onnx" in backend:
    from edgeface.backends.base import create
    from tests.edgeface.backends import onnx_models
    session = create(backend).open(onnx_models.SPEC, onnx_models.student(), 1)
    session.run(onnx_models.noise())
    session.close()
else:
    with edgeface.FaceAnalyzer(bundle=bundle, backend=backend) as analyzer:
        frame = edgeface.read_image(photo)
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
    unnamed = event == "os.truncate" and isinstance(arguments[0], int)  # strace below tells what it is
    if event.startswith("socket.") or (event in changes and not unnamed):
        seen.append((event, str(arguments)))
    elif event == "open":
        path, mode, flags = arguments
        writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        writable = isinstance(flags, int) and flags & writing
        pipe = isinstance(path, int)
        if not pipe and (writable or (isinstance(mode, str) and set(mode) & set("wax+"))):
            seen.append((event, str(path)))
    elif event in {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"}:
        seen.append((event, str(arguments)))
sys.addaudithook(hook)
BODY
print(seen)
"""


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if "onnx" in name and importlib.util.find_spec("onnxruntime") is None:
        pytest.skip("onnxruntime is not installed: pip install 'edgeface[onnx]'")
    return name


def environment() -> dict[str, str]:
    # Some runtimes keep quiet when they see a CI; users do not have one. Measuring coverage writes files of
    # its own. Bytecode files are Python's, not ours.
    dropped = ("CI", "ORT_DISABLE_TELEMETRY", "COV_", "COVERAGE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1"}


def run(command: list[str], repository: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        cwd=repository,
        env=environment() | more,
        timeout=300,
    )


def audited(body: str, repository: Path, *arguments: str) -> list[tuple[str, str]]:
    command = [sys.executable, "-c", AUDITED.replace("BODY", body), str(TINY), *arguments]
    done = run(command, repository)
    assert done.returncode == 0, done.stderr
    events: list[tuple[str, str]] = eval(done.stdout)
    return events


def test_the_interpreter_sees_no_socket_no_stranger_and_no_file_written(
    repository: Path, astronaut_path: Path, backend: str
) -> None:
    events = audited(INFER, repository, str(astronaut_path), backend)
    if backend.startswith("isolated:"):  # its own child, which strace looks at below
        ((event, arguments),) = (one for one in events if one[1] != os.devnull)
        assert event == "subprocess.Popen"
        assert "'edgeface.backends.child'" in arguments
    else:
        assert events == []


def test_the_audit_would_notice(repository: Path, tmp_path: Path) -> None:
    write = f"open({str(tmp_path / 'x')!r}, 'w').close(); os.mkdir({str(tmp_path / 'y')!r})"
    body = f"import socket; socket.socket().close(); {write}"
    assert {"socket.__new__", "open", "os.mkdir"} <= {event for event, _ in audited(body, repository)}


@pytest.fixture
def strace(tmp_path: Path) -> list[str]:
    """The command up to what it traces: with children, and with the paths behind descriptors."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed, so nobody looks from outside; run: apt-get install strace")
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], check=False, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"this machine forbids strace ({tried.stderr.strip()}), so nobody looks from outside")
    return ["strace", "-f", "-qq", "-y", "-o", str(tmp_path / "trace")]


# Classes, because each processor has its own list of calls.
CALLS = ["-e", "trace=%file,%network,ftruncate"]


def traced(strace: list[str], command: list[str], repository: Path) -> str:
    done = run([*strace, *command], repository)
    assert done.returncode == 0, done.stderr
    return Path(strace[-1]).read_text(errors="replace")


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, str(TINY), *arguments]


INTERNET = re.compile(r"socket\((?:AF|PF)_INET6?|sa_family=AF_INET")
WRITING = re.compile(
    r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|"
    r"\b(?:creat|mkdir|mkdirat|rename\w*|unlink|unlinkat|link|linkat|symlink|symlinkat|f?truncate)\("
)
# Devices and kernel settings hold no frame: the runtime may look at them in any mode. `memfd` is memory that
# has no name in any folder.
HARMLESS = re.compile(r'"/dev/(?:null|tty|shm/?)"|"/proc/self/|"/sys/|</memfd:')


def written(log: str) -> list[str]:
    lines = [line for line in log.splitlines() if "execve(" not in line]
    return [line for line in lines if WRITING.search(line) and not HARMLESS.search(line)]


def started(log: str) -> int:
    return sum("execve(" in line and line.endswith("= 0") for line in log.splitlines())


def test_the_kernel_sees_no_internet_socket_and_no_file_written(
    repository: Path, astronaut_path: Path, strace: list[str], backend: str
) -> None:
    log = traced(strace, [*CALLS, *python(INFER, str(astronaut_path), backend)], repository)
    assert [line for line in log.splitlines() if INTERNET.search(line)] == []
    assert written(log) == []
    assert started(log) <= (2 if backend.startswith("isolated:") else 1), "no other program is started"
    runtime = "onnxruntime" if "onnx" in backend else "ai_edge_litert"
    assert runtime in log, "the trace holds the process that ran the models"


@pytest.mark.parametrize("backend", ["auto", "isolated:litert"])
def test_the_kernel_sees_none_of_it_from_the_command_line(
    repository: Path, astronaut_path: Path, strace: list[str], backend: str
) -> None:
    command = [sys.executable, "-m", "edgeface", "analyze", str(astronaut_path), "--backend", backend]
    log = traced(strace, [*CALLS, *command, "--bundle", str(TINY)], repository)
    assert [line for line in log.splitlines() if INTERNET.search(line)] == []
    assert written(log) == []
    assert started(log) <= (2 if backend.startswith("isolated:") else 1)
    assert str(TINY) in log


def test_the_trace_would_notice(repository: Path, strace: list[str], tmp_path: Path) -> None:
    code = f"import socket; socket.socket().close(); open({str(tmp_path / 'x')!r}, 'w').close()"
    log = traced(strace, [*CALLS, *python(code)], repository)
    assert INTERNET.search(log)
    assert len(written(log)) == 1


# Promise 20: the pixels themselves.


@dataclass(frozen=True)
class Marked:
    """A photo with a patch of random pixels in a corner, and rows of that patch as they might leave."""

    path: Path
    rows: tuple[bytes, ...]

    def found(self, heard: bytes) -> int:
        return sum(row in heard for row in self.rows)


@pytest.fixture
def marked(astronaut_path: Path, tmp_path: Path) -> Marked:
    with Image.open(astronaut_path) as photo:
        pixels = np.array(photo.convert("RGB"))
    patch = np.random.default_rng(20).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pixels[:64, :64] = patch
    path = tmp_path / "marked.bmp"  # stored as it is
    Image.fromarray(pixels).save(path)
    orders = (patch, patch[..., ::-1])
    forms = [form for order in orders for form in (order, order ^ 0x80)]  # ^ 0x80: what an int8 tensor holds
    # A row in pieces, so that a part of the picture is noticed, too.
    rows = {row[start : start + 4].tobytes() for form in forms for row in form for start in range(0, 64, 4)}
    assert all(len(row) == 12 for row in rows)
    return Marked(path, tuple(rows))


OUTPUT = [
    "-e",
    "trace=write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,sendmmsg",
    "-xx",
    "-s",
    "1000000",
]


def sent(log: str) -> bytes:
    """All that the traced processes gave to any descriptor."""
    texts = re.findall(r'"((?:\\x[0-9a-f]{2})+)"', log)
    return b"\n".join(bytes.fromhex(text.replace("\\x", "")) for text in texts)


def command_line(marked: Marked) -> list[str]:
    return [sys.executable, "-m", "edgeface", "analyze", str(marked.path), "--bundle", str(TINY)]


@pytest.mark.parametrize("way", ["litert", "isolated:litert", "command line"])
def test_no_pixel_leaves_the_process(repository: Path, strace: list[str], marked: Marked, way: str) -> None:
    """Not to a file, a pipe, a socket, a log or a terminal: all that is given to the kernel is read."""
    command = command_line(marked) if way == "command line" else python(INFER, str(marked.path), way)
    heard = sent(traced(strace, [*OUTPUT, *command], repository))
    assert b"XNNPACK" in heard, "what LiteRT remarks about itself is in the trace"
    assert marked.found(heard) == 0


def test_a_pixel_that_leaves_would_be_noticed(repository: Path, strace: list[str], marked: Marked) -> None:
    code = "import edgeface, os, sys; os.write(2, edgeface.read_image(sys.argv[2]).rgb[:1].tobytes())"
    heard = sent(traced(strace, [*OUTPUT, *python(code, str(marked.path))], repository))
    assert marked.found(heard) == 16


@pytest.mark.parametrize("way", ["litert", "isolated:litert", "command line"])
def test_nothing_is_left_on_disk_or_in_a_log(
    repository: Path, marked: Marked, tmp_path: Path, way: str
) -> None:
    """The same without strace: the folders that programs write to, and both outputs."""
    places = {name: tmp_path / name for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_STATE_HOME")}
    for place in places.values():
        place.mkdir()
    settings = {name: str(place) for name, place in places.items()}
    command = command_line(marked) if way == "command line" else python(INFER, str(marked.path), way)
    done = run(command, repository, **settings)
    assert done.returncode == 0, done.stderr
    assert [path for place in places.values() for path in place.rglob("*")] == []
    assert marked.found((done.stdout + done.stderr).encode("utf-8", "surrogateescape")) == 0
    if way != "command line":  # whose table was asked for
        assert done.stdout == ""
        assert [line for line in done.stderr.splitlines() if not line.startswith("INFO: ")] == []


LINGER = """
import sys
if sys.argv[1] == "bare":
    import onnxruntime
else:
    from edgeface.backends.base import create
    from edgeface.bundle import Bundle
    from edgeface.golden import golden_input
    from tests.edgeface.backends import onnx_models
    bundle = Bundle.load(sys.argv[2])
    plain = bundle.model("expression")
    sessions = []
    for name in sys.argv[3:]:
        onnx = "onnx" in name
        spec = onnx_models.SPEC if onnx else plain
        artifact = onnx_models.student() if onnx else bundle.artifact(plain.artifact)
        sessions.append(create(name).open(spec, artifact, 1))
        sessions[-1].run(golden_input(spec))
print("ready", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def lingering(repository: Path, trace: Path, *arguments: str) -> Iterator[None]:
    """A traced process that has done its work and lives on."""
    command = ["strace", "-f", "-qq", "-e", "trace=socket", "-o", str(trace)]
    with subprocess.Popen(
        [*command, sys.executable, "-c", LINGER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=repository,
        env=environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.stdin.close()
            process.wait(timeout=60)


@pytest.mark.usefixtures("strace")
def test_telemetry_is_silent_while_an_onnxruntime_without_us_speaks(repository: Path, tmp_path: Path) -> None:
    """Nine seconds after its import onnxruntime looks for its makers' host; the house's are opened before it.

    Ten seconds of waiting, and none of computing: the promise is one of every change.
    """
    onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'edgeface[onnx]'")
    house, bare = tmp_path / "house", tmp_path / "bare"
    with lingering(repository, house, "house", str(TINY), *BACKENDS), lingering(repository, bare, "bare"):
        until = time.monotonic() + 60
        while not INTERNET.search(bare.read_text()) and time.monotonic() < until:
            time.sleep(0.2)
        time.sleep(0.5)
    assert not INTERNET.search(house.read_text())
    if not INTERNET.search(bare.read_text()):
        pytest.skip(
            f"onnxruntime {onnxruntime.__version__} does not speak here, so its silence proves nothing"
        )


def test_it_works_with_the_network_cut(repository: Path, astronaut_path: Path, backend: str) -> None:
    cut = ["unshare", "-rn"]
    if shutil.which("unshare") is None or run([*cut, "true"], repository).returncode != 0:
        pytest.skip("this machine does not allow a network namespace")
    done = run([*cut, *python(INFER, str(astronaut_path), backend)], repository)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
