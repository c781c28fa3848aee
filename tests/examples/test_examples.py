"""Every example as a process, before the synthetic camera: what it prints, shows, sends and keeps."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import runpy
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image, ImageGrab

from tests.edgeface.service.brokers import broker, subscriber
from tests.edgeface.service.watching import wait_for

SECONDS = 90


@contextlib.contextmanager
def example(
    repository: Path, name: str, *arguments: str, **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """A running example; it is killed at the end of the block if it has not ended."""
    process = subprocess.Popen(
        [sys.executable, str(repository / "examples" / name), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": f"{repository}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
            **variables,
        },
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def demo(astronaut_path: Path) -> str:
    """A camera that is none."""
    return f"synthetic:{astronaut_path}"


@pytest.fixture
def display() -> Iterator[str]:
    """A screen that nobody sees."""
    if shutil.which("Xvfb") is None:
        pytest.skip("there is no Xvfb here: apt-get install xvfb")
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "800x480x24", "-nolisten", "tcp"],
        pass_fds=[writing],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        with os.fdopen(reading, encoding="ascii") as told:
            number = told.readline().strip()
        assert number, "Xvfb does not start"
        yield f":{number}"
    finally:
        server.terminate()
        server.wait(30)


def lines_until(process: subprocess.Popen[str], last: Callable[[str], object]) -> list[str]:
    """What it prints, up to a line; an example that ends before it fails the test with its own words."""
    assert process.stdout is not None
    assert process.stderr is not None
    told = []
    for line in process.stdout:
        told.append(line.strip())
        if last(told[-1]):
            return told
    raise AssertionError(f"it ended after {told}: {process.stderr.read()}")


def test_minimal(repository: Path) -> None:
    with example(repository, "minimal.py") as process:
        out, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    assert "happiness" in out
    assert "hair covers" in out


def test_loop(repository: Path, demo: str) -> None:
    with example(repository, "loop.py", demo) as process:
        told = lines_until(process, lambda line: "appeared" in line)
    assert re.fullmatch(r"face \d appeared after 0\.\d s", told[-1])
    assert any(re.fullmatch(r"face \d: \w+, looks (here|away), -?\d+ ms old", line) for line in told)


def shown(display: str, colour: tuple[int, int, int], least: float) -> np.ndarray:
    """What a screen shows, uint8 [H, W, 3], as soon as so much of it has a colour."""

    def grabbed() -> list[np.ndarray]:
        screen = np.asarray(ImageGrab.grab(xdisplay=display).convert("RGB"))
        return [screen] if share(screen, colour) > least else []

    (screen,) = wait_for(grabbed, SECONDS)
    return screen


def share(screen: np.ndarray, colour: tuple[int, int, int]) -> float:
    """How much of a screen has a colour."""
    return float((np.abs(screen.astype(int) - colour).max(axis=-1) < 8).mean())


@pytest.mark.skipif(importlib.util.find_spec("tkinter") is None, reason="apt-get install python3-tk")
def test_kiosk(repository: Path, demo: str, display: str) -> None:
    paper, accent = (0xF4, 0xF6, 0xFB), (0xF7, 0xB3, 0x2B)
    with example(repository, "kiosk.py", demo, DISPLAY=display) as process:
        alone = shown(display, paper, 0.02)
        assert lines_until(process, lambda line: line == "greeting") == ["curious", "greeting"]
        near = shown(display, accent, 0.001)
        assert share(near, paper) > 1.5 * share(alone, paper)  # the eyes are wide open
        assert share(alone, accent) == 0


@pytest.mark.skipif(importlib.util.find_spec("tkinter") is None, reason="apt-get install python3-tk")
def test_the_kiosks_mood_does_not_flicker(repository: Path) -> None:
    kiosk = runpy.run_path(str(repository / "examples" / "kiosk.py"))
    moods, before = [], "alone"
    for size in (None, 0.1, 0.24, 0.26, 0.24, 0.21, 0.19, 0.24, None):
        before = kiosk["mood"](before, None if size is None else kiosk["Visitor"](0.0, 0.0, size))
        moods.append(before)
    assert moods == ["alone", "curious", "curious", *["greeting"] * 3, "curious", "curious", "alone"]


def qt_picture(repository: Path, demo: str, path: Path, **variables: str) -> None:
    pytest.importorskip("PySide6", reason="pip install 'edgeface[examples]'")
    with example(repository, "qt_widget.py", demo, "--picture", str(path), **variables) as process:
        out, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    assert re.search(r"appeared \d", out)
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    height, width = picture.shape[:2]
    # The astronaut's orange suit, and the turquoise of the overlay.
    red, green, blue = np.moveaxis(picture, -1, 0)
    assert ((red > 190) & (green < 120) & (blue < 90)).sum() > 0.005 * height * width
    assert ((green > 190) & (blue > 160) & (red < 130)).sum() > 50


def test_qt_widget(repository: Path, demo: str, tmp_path: Path) -> None:
    qt_picture(repository, demo, tmp_path / "window.png", QT_QPA_PLATFORM="offscreen")


def test_qt_widget_on_a_screen(repository: Path, demo: str, tmp_path: Path, display: str) -> None:
    if (
        "xcb-cursor"
        not in subprocess.run(["/sbin/ldconfig", "-p"], check=True, capture_output=True, text=True).stdout
    ):
        pytest.skip(
            "Qt's X11 part is not whole here: apt-get install libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1"
        )
    qt_picture(repository, demo, tmp_path / "window.png", QT_QPA_PLATFORM="xcb", DISPLAY=display)


def test_dashboard(repository: Path, demo: str, tmp_path: Path) -> None:
    with broker(tmp_path) as to, subscriber(to, "kiosks/hall") as heard:
        arguments = ("127.0.0.1", "kiosks", "--port", str(to.port))
        with example(repository, "dashboard.py", *arguments, COLUMNS="90") as process:
            wait_for(psutil.Process(process.pid).net_connections, SECONDS)  # it hears from the first word on
            address = f"mqtt://127.0.0.1:{to.port}/kiosks/hall"
            kiosk = subprocess.Popen(
                [sys.executable, "-m", "edgeface", "watch", "--camera", demo, "--tasks", "landmarks",
                 "--privacy", "counts", "--mqtt", address],
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                wait_for(lambda: any(one["events"] for one in heard.results()), SECONDS)
                count = len(heard.results())
                wait_for(lambda: len(heard.results()) > count + 3)
                process.send_signal(signal.SIGINT)
                out, said = process.communicate(timeout=SECONDS)
            finally:
                kiosk.kill()
                kiosk.wait()
    assert process.returncode == 0, said
    (row,) = re.findall(r"│ hall.*", out)
    name, status, here, visits, *_ = [cell.strip() for cell in row.strip("│ ").split("│")]
    assert (name, status) == ("hall", "online")
    assert here in "01"  # a face that is still far may be lost for a moment
    assert int(visits) >= 1


def test_of_few_visits_only_their_number_is_kept(repository: Path) -> None:
    example = runpy.run_path(str(repository / "examples" / "count_visits.py"))
    for visits, kept in ((4, (None, None, None)), (5, (6.0, 0.5, "happiness"))):
        sums = example["Sums"](0.0, visits, visits, 6.0 * visits, 10.0, 5.0)
        sums.expressions.update({"neutral": 9.0, "happiness": 0.7, "anger": 0.3})
        assert sums.row(15.0, 5) == ("1970-01-01T00:00:00Z", 15.0, visits, *kept)


def test_count_visits(repository: Path, demo: str, tmp_path: Path) -> None:
    path = tmp_path / "visits.db"
    with example(repository, "count_visits.py", str(path), demo, "--minutes", "0.1", "--few", "3") as process:

        def counted() -> list[tuple[object, ...]]:
            if not path.exists():
                return []
            no_table_yet = contextlib.suppress(sqlite3.OperationalError)
            with contextlib.closing(sqlite3.connect(path)) as database, no_table_yet:
                return database.execute("select * from visits where visits > 0").fetchall()
            return []

        ((start, minutes, visits, stay, facing, expression),) = wait_for(counted, SECONDS)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", start)
        assert minutes == 0.1
        assert visits >= 1
        assert (stay, facing, expression) == (None, None, None)  # fewer than three
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    with contextlib.closing(sqlite3.connect(path)) as database:
        rows = database.execute("select * from visits").fetchall()
        (columns,) = database.execute("select sql from sqlite_master").fetchone()
    assert len(rows) == 2  # the interval that was not over is there too
    assert not re.search(r"\bid\b|track|box|points", columns)
