"""`edgeface watch` as a process: its lines, how it ends, and what it says when it cannot begin."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeface.cli import main

SECONDS = 60


@pytest.fixture
def demo(astronaut_path: Path) -> list[str]:
    return ["--camera", f"synthetic:{astronaut_path}", "--tasks", "landmarks"]


def started(arguments: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "edgeface", "watch", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_it_writes_lines_until_it_is_stopped(demo: list[str], sent: signal.Signals) -> None:
    with started(demo) as process:
        assert process.stdout is not None
        told = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(sent)
        rest, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert "Traceback" not in said
    told += [json.loads(line) for line in rest.splitlines()]  # the last one too is whole
    assert {one["schema"] for one in told} == {"edgeface.frame/1"}
    numbers = [one["stream"]["number"] for one in told]
    assert numbers == sorted(set(numbers))


def test_it_ends_when_nobody_reads_any_more(demo: list[str]) -> None:
    with started(demo) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(SECONDS) == 0
    assert "Traceback" not in said
    assert "edgeface:" not in said


def test_to_a_pipe_and_the_output(demo: list[str], tmp_path: Path) -> None:
    path = tmp_path / "faces"
    with started([*demo, "--json", "--pipe", str(path)]) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with path.open(encoding="utf-8") as pipe:
            assert json.loads(pipe.readline())["schema"] == "edgeface.frame/1"
        # The pipe's reader has gone, which is nothing to the output.
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert not path.exists()


def test_a_film_ends_by_itself(tmp_path: Path, astronaut_path: Path) -> None:
    (tmp_path / "one.jpg").write_bytes(astronaut_path.read_bytes())
    with started(["--camera", str(tmp_path), "--privacy", "counts"]) as process:
        out, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert [json.loads(line)["faces"] for line in out.splitlines()] == [1]


def test_an_output_without_room_is_told(demo: list[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no device here that is always full")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edgeface", "watch", *demo],
            check=False, stdout=full, stderr=subprocess.PIPE, text=True, timeout=SECONDS,
        )  # fmt: skip
    assert done.returncode == 5
    assert "cannot write: No space left on device" in done.stderr


def test_what_cannot_begin_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["watch", "--camera", str(tmp_path / "none.mp4")]) == 3
    said = capsys.readouterr()
    assert "none.mp4: there is no such file" in said.err
    assert said.out == ""
    letters = tmp_path / "letters"
    letters.write_text("dear")
    assert main(["watch", "--camera", str(tmp_path), "--pipe", str(letters)]) == 3
    assert "is no named pipe" in capsys.readouterr().err
    assert main(["watch", "--privacy", "blur"]) == 2


def test_help_loads_neither_the_service_nor_opencv() -> None:
    script = (
        "import sys; from edgeface.cli import main; main(['watch', '--help']); "
        "print('LOADED', *{'cv2', 'paho', 'socket', 'edgeface.service'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "--pipe" in done.stdout
    assert done.stdout.strip().endswith("LOADED")
