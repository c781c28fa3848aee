"""The Edge TPU's path without the hardware: real shared libraries, made here, through the real loader."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from edgeface.backends.base import Backend, Session
from edgeface.backends.edgetpu import EdgeTpuBackend, create
from edgeface.backends.isolated import Deadlines, IsolatedBackend
from edgeface.errors import ArgumentError, BundleError, DeviceCrashedError, DeviceError, DeviceHungError
from tests.edgeface.backends import delegates
from tests.edgeface.backends.coral_trees import pci, usb
from tests.edgeface.backends.delegates import SPEC, build, compiled_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="shared libraries of Linux")


def noise(seed: int = 0) -> dict[str, Any]:
    values = np.random.default_rng(seed).integers(-128, 128, SPEC.input.shape, dtype=np.int8)
    return {"image": values}


@pytest.fixture(scope="module")
def accepting(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build(tmp_path_factory.mktemp("accepting"), delegates.ACCEPTING)


def test_a_delegate_that_accepts_computes(accepting: str) -> None:
    session = EdgeTpuBackend("usb:0", accepting).open(SPEC, compiled_model(), 1)
    assert isinstance(session, Session)
    for seed in range(3):
        tensors = noise(seed)
        wanted = delegates.expected(tensors["image"])
        np.testing.assert_array_equal(session.run(tensors)["logits"], wanted)
    assert (session.ran.backend, session.ran.delegate) == ("edgetpu:usb:0", "libedgetpu")
    assert session.ran.cpu_operators == 0


def test_operators_left_on_the_cpu_are_counted(accepting: str) -> None:
    session = EdgeTpuBackend("", accepting).open(SPEC, compiled_model(with_relu=True), 1)
    tensors = noise()
    wanted = np.maximum(delegates.expected(tensors["image"]), SPEC.outputs[0].zero_point)
    np.testing.assert_array_equal(session.run(tensors)["logits"], wanted)
    assert session.ran.cpu_operators == 1


def test_the_delegate_outlives_its_interpreter_and_is_destroyed_once(accepting: str) -> None:
    destroyed = ctypes.CDLL(accepting).times_destroyed
    before = destroyed()
    session = EdgeTpuBackend("", accepting).open(SPEC, compiled_model(), 1)
    session.run(noise())
    assert destroyed() == before
    session.close()
    session.close()
    assert destroyed() == before + 1
    with pytest.raises(DeviceError, match="closed"):
        session.run(noise())
    EdgeTpuBackend("", accepting).open(SPEC, compiled_model(), 1)  # never closed
    gc.collect()
    assert destroyed() == before + 2


def test_a_device_lost_while_it_runs_is_typed(tmp_path: Path) -> None:
    library = build(tmp_path, delegates.ACCEPTING, lost_after=2)
    session = EdgeTpuBackend("", library).open(SPEC, compiled_model(), 1)
    session.run(noise())
    session.run(noise())
    with pytest.raises(DeviceError, match="failed or was unplugged"):
        session.run(noise())


def test_a_refusal_is_told_with_the_librarys_own_words_and_the_machines(tmp_path: Path) -> None:
    library = build(tmp_path, delegates.REFUSING)

    def message(root: Path) -> str:
        with pytest.raises(DeviceError) as caught:
            EdgeTpuBackend("usb:0", library, root).open(SPEC, compiled_model(), 1)
        return str(caught.value)

    present = tmp_path / "present"
    usb(present, "18d1:9302")
    assert "refused: " in message(present)
    assert "gives no delegate (no TPU answers, usb:0); another process may hold" in message(present)
    assert "no device: no USB Coral" in message(tmp_path / "absent")
    assert "(no TPU answers, usb:0)" in message(tmp_path / "absent")
    fresh = tmp_path / "fresh"
    usb(fresh, "1a6e:089a")
    assert "not re-enumerated: the USB device 2-1 is still 1a6e:089a" in message(fresh)


def test_a_refusal_without_a_reason_says_so(tmp_path: Path) -> None:
    root = tmp_path / "root"
    pci(root, driver=True)
    backend = EdgeTpuBackend("pci", build(tmp_path, delegates.SILENT), root)
    with pytest.raises(DeviceError, match=r"refused: .* gives no delegate \(without a reason\)"):
        backend.open(SPEC, compiled_model(), 1)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        (delegates.NO_ENTRY, "library missing: .* has no tflite_plugin_create_delegate"),
        (delegates.OLD_BUILD, "wrong ABI pairing: .*Google's build of 2021.*COMPILER=6.3.0.*ai-edge-litert"),
    ],
    ids=["another library", "old build"],
)
def test_a_library_that_does_not_fit_is_refused_before_it_can_crash(
    tmp_path: Path, source: str, wanted: str
) -> None:
    with pytest.raises(DeviceError, match=wanted):
        EdgeTpuBackend("", build(tmp_path, source)).open(SPEC, compiled_model(), 1)


def test_what_the_linker_says_becomes_a_cause_and_a_mend(tmp_path: Path) -> None:
    def message(library: str) -> str:
        with pytest.raises(DeviceError) as caught:
            EdgeTpuBackend("", library).open(SPEC, compiled_model(), 1)
        return str(caught.value)

    assert "library missing: libedgetpu-absent.so.1 cannot be loaded" in message("libedgetpu-absent.so.1")
    text = tmp_path / "text.so"
    text.write_text("not a library, but long enough to hold the header of one\n" * 4)
    assert "wrong ABI pairing: " in message(str(text))
    assert "is for another machine" in message(str(text))
    needed = Path(build(tmp_path / "needed", delegates.SILENT)).rename(tmp_path / "libusb-absent.so")
    linked = ("-Wl,--no-as-needed", f"-L{tmp_path}", "-lusb-absent")
    needy = build(tmp_path / "needy", delegates.SILENT, *linked)
    needed.unlink()
    assert "needs libusb-absent.so; run: sudo apt-get install libusb-1.0-0" in message(needy)


@pytest.mark.parametrize(
    ("source", "error"), [(delegates.CRASHING, DeviceCrashedError), (delegates.HANGING, DeviceHungError)]
)
def test_a_crash_or_a_hang_costs_a_child_and_not_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, error: type[DeviceError]
) -> None:
    monkeypatch.setenv("EDGEFACE_LIBEDGETPU", build(tmp_path, source))
    deadline = 3.0 if error is DeviceHungError else 60.0
    backend = IsolatedBackend("edgetpu", Deadlines(open=deadline))
    cause = r"wrong ABI pairing: .*edgetpu issue 812\); install libedgetpu1-std 16.0TF2.17.1-1 or later"
    with pytest.raises(error, match=cause):
        backend.open(SPEC, compiled_model(), 1)


def test_a_model_that_is_not_compiled_is_refused(accepting: str) -> None:
    with pytest.raises(BundleError, match="not compiled for the Edge TPU; run edgeface models compile"):
        EdgeTpuBackend("", accepting).open(SPEC, compiled_model(custom_op="another-op"), 1)
    with pytest.raises(DeviceError, match="cannot open it"):
        EdgeTpuBackend("", accepting).open(SPEC, b"edgetpu-custom-op", 1)


def test_a_graph_other_than_the_headers_is_refused(accepting: str) -> None:
    other = dataclasses.replace(SPEC.outputs[0], zero_point=4)
    with pytest.raises(BundleError, match=r"tensor 'logits' .* zero point 3; the header says .* and 4"):
        EdgeTpuBackend("", accepting).open(dataclasses.replace(SPEC, outputs=(other,)), compiled_model(), 1)


def test_without_a_device_no_backend_is_made(monkeypatch: pytest.MonkeyPatch, accepting: str) -> None:
    monkeypatch.delenv("EDGEFACE_LIBEDGETPU", raising=False)
    if not list(Path("/sys/bus/pci/devices").glob("*/apex")):
        with pytest.raises(DeviceError, match="'edgetpu:pci:1': no device"):
            create("pci:1")
    with pytest.raises(ArgumentError, match="write usb, usb:0, pci or pci:1"):
        create("gpu:0")
    monkeypatch.setenv("EDGEFACE_LIBEDGETPU", accepting)
    backend = create("pci:1")
    assert isinstance(backend, Backend)
    assert (backend.name, backend.library) == ("edgetpu:pci:1", accepting)


@pytest.fixture
def no_pycoral() -> Iterator[None]:
    """What a test installs under that name is forgotten after it."""
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "pycoral"]:
        del sys.modules[name]


def package(folder: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in files.items():
        path = folder / "pycoral" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(folder))


@pytest.mark.usefixtures("no_pycoral")
def test_the_namesake_of_pycoral_is_named_and_never_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accepting: str
) -> None:
    package(tmp_path, {"__init__.py": "raise SystemExit('imported')", "reef.py": ""}, monkeypatch)
    EdgeTpuBackend("", accepting).open(SPEC, compiled_model(), 1).run(noise())
    with pytest.raises(DeviceError, match="pycoral that is installed is not Google's: pip uninstall pycoral"):
        EdgeTpuBackend("", "libedgetpu-absent.so.1").open(SPEC, compiled_model(), 1)


@pytest.mark.usefixtures("no_pycoral")
def test_googles_pycoral_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accepting: str) -> None:
    """A stand-in with the real package's layout and its one function; ours needs no library then."""
    text = f"""
from ai_edge_litert.interpreter import Interpreter, load_delegate
asked = []
def make_interpreter(content, device=None, delegate=None):
    asked.append(device)
    return Interpreter(model_content=content, experimental_delegates=[load_delegate({accepting!r})])
"""
    files = {"__init__.py": "", "utils/__init__.py": "", "utils/edgetpu.py": text}
    package(tmp_path, files, monkeypatch)
    tensors = noise()
    session = EdgeTpuBackend("usb:1", "libedgetpu-absent.so.1").open(SPEC, compiled_model(), 4)
    wanted = delegates.expected(tensors["image"])
    np.testing.assert_array_equal(session.run(tensors)["logits"], wanted)
    assert sys.modules["pycoral.utils.edgetpu"].asked == ["usb:1"]
    assert (session.ran.delegate, session.ran.threads) == ("libedgetpu", 1)
    session.close()


def test_an_older_runtime_takes_the_place_of_litert_and_none_is_told(
    monkeypatch: pytest.MonkeyPatch, accepting: str
) -> None:
    from ai_edge_litert import interpreter

    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(DeviceError, match="pip install ai-edge-litert"):
        EdgeTpuBackend("", accepting).open(SPEC, compiled_model(), 1)
    older = types.ModuleType("tflite_runtime")
    monkeypatch.setitem(sys.modules, "tflite_runtime", older)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", interpreter)
    asked = []
    monkeypatch.setattr("importlib.metadata.version", lambda name: asked.append(name) or "2.14.0")
    EdgeTpuBackend("", accepting).open(SPEC, compiled_model(), 1).run(noise())
    assert asked == ["tflite-runtime"]


@pytest.mark.soak
def test_opening_and_closing_leaks_nothing_also_when_it_fails(tmp_path: Path, accepting: str) -> None:
    refusing, model = build(tmp_path, delegates.REFUSING), compiled_model()

    def good() -> None:
        session = EdgeTpuBackend("", accepting).open(SPEC, model, 1)
        session.run(noise())
        session.close()

    def bad() -> None:
        with pytest.raises(DeviceError):
            EdgeTpuBackend("", refusing).open(SPEC, model, 1)

    process = psutil.Process()
    for cycle in (good, bad):
        for _ in range(1500):  # memory grows by less and less until then
            cycle()
        before = process.memory_info().rss, process.num_fds(), process.num_threads()
        for _ in range(3000):
            cycle()
        assert process.memory_info().rss - before[0] <= 1 << 20
        assert (process.num_fds(), process.num_threads()) == before[1:]
