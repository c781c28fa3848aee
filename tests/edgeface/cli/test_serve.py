"""`edgeface serve` as a process: what it says, what it writes (nothing), and how it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from edgeface.cli import main

SECONDS = 60

# A process that cannot write a single byte into a file.
POOR = (
    "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); "
    "from edgeface.cli import main; sys.exit(main(sys.argv[1:]))"
)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A film of a grey wall."""
    path = tmp_path / "wall.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120))
    for level in range(10):
        writer.write(np.full((120, 160, 3), 20 * level, np.uint8))
    writer.release()
    return path


@contextlib.contextmanager
def started(
    *arguments: str, environment: dict[str, str] | None = None, poor: bool = False
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A running process and the lines that it said."""
    program = ["-c", POOR] if poor else ["-m", "edgeface"]
    process = subprocess.Popen(
        [sys.executable, "-B", *program, "serve", "--port", "0", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    lines: list[str] = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line.strip())
            if re.search("stored|counts|blurred|painted", line):
                break
        yield process, lines
    finally:
        process.kill()
        process.communicate()


def address(lines: list[str]) -> str:
    return re.findall(r"https?://[^\s/#]+", "\n".join(lines))[0]


def test_it_serves_without_writing_a_byte_and_ends_at_sigterm(film: Path, astronaut_path: Path) -> None:
    with started("--camera", str(film), poor=True) as (process, lines):
        assert "Only this machine can reach it." in lines
        with httpx.Client(base_url=address(lines), timeout=30, trust_env=False) as client:
            big = np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8)
            picture = cv2.imencode(".bmp", big)[1].tobytes()
            assert client.post("/analyze", files={"image": ("big.bmp", picture)}).status_code == 200
            answer = client.post("/analyze", content=astronaut_path.read_bytes())
            assert len(answer.json()["faces"]) == 1
            state = client.get("/state").json()
            assert state["cameras"] == [{"key": "wall.avi", "title": "wall.avi"}]
            assert state["running"]
            assert str(film.parent) not in client.get("/state").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_ctrl_c_ends_it_like_a_wish(film: Path) -> None:
    with started("--camera", str(film), "--privacy", "counts") as (process, lines):
        assert any("counts" in line for line in lines)
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0


def test_where_others_reach_it_a_token_is_made_and_said() -> None:
    # 127.0.0.1 is asked, whatever the machine is called.
    with started("--host", "0.0.0.0", environment={"EDGEFACE_TOKEN": ""}) as (_, lines):
        token = next(line.split()[-1] for line in lines if line.startswith("The token is"))
        assert len(token) >= 32
        assert any("Everybody in this network" in line and "not encrypted" in line for line in lines)
        assert any(line.endswith(f"/#token={token}") for line in lines)
        port = address(lines).rpartition(":")[2]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            assert client.get("/state").status_code == 401
            assert client.get("/state", headers={"authorization": f"Bearer {token}"}).status_code == 200


def test_a_token_may_come_from_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("the-token-of-the-file\n")
    other = {"EDGEFACE_TOKEN": "the-token-of-the-environment"}
    for arguments, token in (
        (["--token-file", str(file)], "the-token-of-the-file"),
        ([], "the-token-of-the-environment"),
    ):
        with started(*arguments, environment=other) as (_, lines):
            assert f"The token is {token}" in lines


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no token can be read"), (b"", "is empty"), (b"short", "at least 16"), (b"\xff" * 20, "ASCII")],
)
def test_a_token_that_is_none_stops_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, said: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    assert main(["serve", "--token-file", str(file)]) == 3
    assert said in capsys.readouterr().err


def test_a_wrong_command_line_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--tasks", "age"]) == 2
    assert main(["serve", "--certificate", "cert.pem"]) == 2
    assert main(["serve", "--privacy", "some"]) == 2
    assert "go together" in capsys.readouterr().err


def test_a_certificate_that_is_none_stops_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cert.pem"
    file.write_text("no certificate")
    assert main(["serve", "--port", "0", "--certificate", str(file), "--key", str(file)]) == 3
    assert "PEM" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", "--port", "0"]) == 3
    assert "pip install 'edgeface[serve]'" in capsys.readouterr().err


def test_help_loads_neither_the_service_nor_opencv() -> None:
    script = (
        "import sys; from edgeface.cli import main; main(['serve', '--help']); "
        "print('LOADED', *{'cv2', 'starlette', 'uvicorn', 'socket', 'edgeface.service'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "--privacy" in done.stdout
    assert done.stdout.strip().endswith("LOADED")
