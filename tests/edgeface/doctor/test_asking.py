"""Real children: they answer, say why they cannot, crash, hang, and print what they should not."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgeface.backends.base import installed
from edgeface.doctor.asking import Question, ask
from edgeface.doctor.convolution import INPUT, OUTPUT, SHAPE, convolution
from edgeface.doctor.system import System, this_system
from tests.edgeface.backends import delegates
from tests.edgeface.doctor.machines import write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and shared libraries of Linux")

ILLEGAL = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"


@pytest.fixture(scope="module")
def here() -> System:
    return this_system()


def with_module(system: System, folder: Path, name: str, text: str) -> System:
    """This machine, with a module before all others on Python's path."""
    write(folder, {name: text})
    return dataclasses.replace(system, search=(str(folder), *system.search))


def test_children_answer_two_at_a_time(here: System) -> None:
    questions = [Question(name) for name in ("numpy", "opencv", "litert")]
    found = ask(questions, here)
    assert [found[question].end for question in questions] == ["answered"] * 3
    assert found[questions[0]].answer["version"] == here.packages["numpy"]


@pytest.mark.parametrize(
    ("text", "end", "said"),
    [
        (ILLEGAL, "crashed", "SIGILL"),
        ("import ctypes; ctypes.string_at(0)", "crashed", "SIGSEGV"),
        ("raise ImportError('libfoo.so.1: cannot open')", "failed", "ImportError: libfoo.so.1: cannot open"),
        ("raise ValueError", "failed", "ValueError"),
        ("import os; os._exit(3)", "failed", "exit code 3"),
        ("import sys; sys.stderr.write('abort: no CPU\\n'); sys.exit(1)", "failed", "abort: no CPU"),
        ("import time; time.sleep(60)", "hung", "no answer within 1.5 s"),
    ],
)
def test_each_way_to_end(here: System, tmp_path: Path, text: str, end: str, said: str) -> None:
    system = with_module(here, tmp_path, "cv2.py", text)
    question = Question("opencv", seconds=1.5 if end == "hung" else 30.0)
    start = time.monotonic()
    outcome = ask([question], system)[question]
    assert (outcome.end, outcome.said) == (end, said)
    assert time.monotonic() - start < 15


def test_what_a_library_prints_is_no_answer(here: System, tmp_path: Path) -> None:
    text = (
        "import os\n__version__ = '9'\nprint('{}')\nos.write(1, b'[1, 2]')\ndef resize(*_): print('noise')\n"
    )
    question = Question("opencv")
    outcome = ask([question], with_module(here, tmp_path, "cv2.py", text))[question]
    assert (outcome.end, dict(outcome.answer)) == ("answered", {"version": "9"})


def test_what_hangs_is_ended_with_all_that_it_started(here: System, tmp_path: Path) -> None:
    text = (
        "import pathlib, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        f"pathlib.Path({str(tmp_path / 'pids')!r}).write_text(str(child.pid))\ntime.sleep(60)\n"
    )
    question = Question("opencv", seconds=8.0)  # a busy machine starts it in two
    assert ask([question], with_module(here, tmp_path, "cv2.py", text))[question].end == "hung"
    started = Path("/proc", (tmp_path / "pids").read_text(), "stat")
    deadline = time.monotonic() + 5
    while started.exists() and started.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_answer_that_is_none_is_a_failure(here: System, tmp_path: Path) -> None:
    """A library may write into whatever descriptor it finds open."""
    text = "import os\nfor n in range(3, 20):\n    try: os.write(n, b'[1]')\n    except OSError: pass\n"
    question = Question("opencv")
    outcome = ask([question], with_module(here, tmp_path, "cv2.py", f"{text}os._exit(0)"))[question]
    assert (outcome.end, outcome.said) == ("failed", "exit code 0")


def test_ctrl_c_waits_for_no_deadline(here: System, tmp_path: Path) -> None:
    write(
        tmp_path, {"cv2.py": f"open({str(tmp_path / 'begun')!r}, 'w').close()\nimport time; time.sleep(60)"}
    )
    code = (
        "from edgeface.doctor import this_system; from edgeface.doctor.asking import Question, ask; "
        "ask([Question('opencv')], this_system())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *here.search])}
    caller = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, env=environment)
    deadline = time.monotonic() + 30
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    start = time.monotonic()
    caller.send_signal(signal.SIGINT)
    _, told = caller.communicate(timeout=30)
    assert b"KeyboardInterrupt" in told
    assert time.monotonic() - start < 15


def test_a_python_that_is_not_there_is_told(here: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    question = Question("numpy")
    assert ask([question], here)[question].said == "Python cannot be started (No such file or directory)"


def test_the_built_in_models_run_and_are_right(here: System) -> None:
    question = Question("models", ("",), 90.0)
    outcome = ask([question], here)[question]
    assert outcome.end == "answered", outcome.said
    ran = outcome.answer["ran"]
    assert set(ran) >= {"detection", "expression", "landmarks", "parsing"}
    for told in ran.values():
        assert (told["backend"], told["delegate"]) == ("litert", "XNNPACK")
        assert told["right"] is not False
    question = Question("models", ("/nowhere.bundle",), 90.0)
    outcome = ask([question], here)[question]
    assert (outcome.end, "BundleError" in outcome.said) == ("failed", True)


@pytest.mark.parametrize(
    ("source", "end", "told"),
    [
        (delegates.REFUSING, "answered", "refused"),
        (delegates.OLD_BUILD, "answered", "wrong ABI pairing"),
        (delegates.CRASHING, "crashed", "SIGSEGV"),
        (delegates.HANGING, "hung", "no answer"),
    ],
    ids=["refusing", "old", "crashing", "hanging"],
)
def test_a_library_that_is_no_good_costs_a_child(
    here: System, tmp_path: Path, source: str, end: str, told: str
) -> None:
    question = Question(
        "delegate", (delegates.build(tmp_path, source), "usb"), 3.0 if end == "hung" else 30.0
    )
    outcome = ask([question], here)[question]
    assert outcome.end == end
    assert told in (outcome.said or outcome.answer["cause"])


def test_a_library_that_gives_a_delegate_is_told_with_its_runtime(here: System, tmp_path: Path) -> None:
    question = Question("delegate", (delegates.build(tmp_path, delegates.ACCEPTING), ""))
    assert ask([question], here)[question].answer == {
        "runtime": f"ai-edge-litert {here.packages['ai-edge-litert']}"
    }


def test_the_convolution_is_computed() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    np = pytest.importorskip("numpy")
    session = onnxruntime.InferenceSession(convolution(), providers=["CPUExecutionProvider"])
    values = np.arange(16, dtype=np.float32).reshape(SHAPE)
    np.testing.assert_array_equal(session.run([OUTPUT], {INPUT: values})[0], 2 * values)


def test_a_provider_is_asked_to_compute(here: System) -> None:
    pytest.importorskip("onnxruntime")
    questions = [
        Question("provider", ("CPUExecutionProvider",)),
        Question("onnxruntime"),
        Question("engines", ("",)),
    ]
    found = [ask([question], here)[question].answer for question in questions]
    assert found[0] == {"ran": "CPUExecutionProvider", "right": True}
    assert "CPUExecutionProvider" in found[1]["providers"]
    assert found[2] == {"missing": [], "kept": []}


def test_the_child_ends_by_itself_when_nobody_waits(here: System) -> None:
    code = (
        "import signal; from edgeface.doctor import child; child._QUESTIONS['numpy'] = lambda: {'left': "
        "signal.getitimer(signal.ITIMER_REAL)[0]}; child.main(['7', 'numpy'])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(here.search)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True)
    assert 7 < json.loads(done.stdout)["left"] <= 12


def test_the_packages_of_this_machine_are_those_that_backends_see(here: System) -> None:
    names = {name.lower().replace("_", "-") for name, _ in installed()}
    assert f"numpy-{here.packages['numpy']}" in names
    assert here.version("numpy") == tuple(map(int, here.packages["numpy"].split(".")[:3]))
    assert here.version("no-such-package") is None
