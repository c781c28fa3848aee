"""onnxruntime keeps to the seam: exact conversion, one provider or none, private engines, no telemetry."""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from edgeface.backends.base import Backend, Ran, Session
from edgeface.backends.base import create as create_backend
from edgeface.backends.nvidia import Board
from edgeface.backends.onnx import OnnxBackend, OnnxSession, create
from edgeface.backends.onnx_placement import counting
from edgeface.backends.tensorrt import TensorRTOptions
from edgeface.errors import ArgumentError, BundleError, DeviceError
from tests.edgeface.backends.onnx_models import SPEC, expected, noise, student, tensor

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # this process imports it before the backend does
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra: pip install 'edgeface[onnx]'")


def opened(artifact: bytes | None = None, threads: int = 1, **change: Any) -> OnnxSession:
    return OnnxBackend().open(dataclasses.replace(SPEC, **change), artifact or student(), threads)


@pytest.mark.parametrize("zero_point", [np.uint8(128), np.int8(0)], ids=["u8", "s8"])
def test_stored_tensors_go_in_and_out_exactly(zero_point: Any) -> None:
    """Not square, two number types, values that clip: a wrong layout or rounding shows."""
    session = opened(student(zero_point))
    for seed in range(8):
        tensors = noise(seed)
        outputs = session.run(tensors)
        for name, wanted in expected(tensors["image"]).items():
            np.testing.assert_array_equal(outputs[name], wanted)
            assert outputs[name].dtype == wanted.dtype
            assert outputs[name].flags.c_contiguous
    assert {-128, 127} <= set(outputs["map"].ravel().tolist())


def test_a_uint8_image_is_the_pixel_itself() -> None:
    spec = dataclasses.replace(SPEC.input, dtype="uint8", zero_point=128, mean=0)
    tensors = noise()
    pixels = {"image": (tensors["image"].astype(np.int16) + 128).astype(np.uint8)}
    np.testing.assert_array_equal(opened(input=spec).run(pixels)["map"], expected(tensors["image"])["map"])


def test_halves_are_rounded_to_even() -> None:
    """Steps of 1/64 from a grid of 1/128: every second value of the first channel is a half."""
    image = np.zeros(SPEC.input.shape, np.int8)
    image[0, ::2, ::2, 0] = np.arange(12).reshape(4, 3)
    got = opened().run({"image": image})["map"][0, :, :, 0].ravel() - 3
    assert got.tolist() == [0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5, 6]


def test_what_ran_is_told() -> None:
    session = opened(threads=2)
    assert isinstance(session, Session)
    ran = session.ran
    assert (ran.backend, ran.delegate, ran.cpu_operators) == ("onnx", "CPUExecutionProvider", None)
    assert (ran.precision, ran.threads) == ("int8", 2)
    assert opened(student(grid=False)).ran.precision == "float32"


def test_outputs_survive_the_next_run_and_a_closed_session_says_so() -> None:
    session = opened()
    first = session.run(noise())
    kept = {name: value.copy() for name, value in first.items()}
    session.run(noise(1))
    for name, value in kept.items():
        np.testing.assert_array_equal(first[name], value)
    session.close()
    session.close()
    with pytest.raises(DeviceError, match="closed"):
        session.run(noise())


def test_wrong_inputs_are_typed() -> None:
    session, good = opened(), noise()["image"]
    for tensors in ({}, {"picture": good}, {"image": good[0]}, {"image": good.astype(np.float32)}):
        with pytest.raises(DeviceError, match="model 'parsing'"):
            session.run(tensors)


@pytest.mark.parametrize(
    ("artifact", "message"),
    [
        (b"", "holds no graph"),
        (b"not an ONNX file at all", "ONNX file"),
        (student()[:-9], "cut short"),
        (student(scale=1 / 255), "puts its image on uint8 with scale 0.00392"),
        (student(np.uint8(0)), "zero point 0; the header says int8, 0.0078125 and 0"),
        (student(image=(1, 3, 6, 8)), r"tensor\(float\) \[1, 3, 8, 6\] \(channel first\)"),
        (student(names=("mask", "mean")), "has no output 'map'"),
        (student(weight=tensor("w", np.zeros((4, 3, 1, 1), np.float32), b"\x70\x01")), "outside the file"),
    ],
)
def test_a_file_other_than_the_headers_is_refused(artifact: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        OnnxBackend().open(SPEC, artifact, 1)
    assert "artifact 'parsing.onnx'" in str(caught.value)


def test_a_graph_that_the_runtime_refuses_is_typed() -> None:
    with pytest.raises(DeviceError, match=r"artifact 'parsing\.onnx': onnxruntime cannot open it on 'onnx'"):
        opened(student().replace(b"GlobalAveragePool", b"GlobalAveragePoof"))


def test_an_answer_that_is_no_number_is_an_error_and_not_a_result() -> None:
    session = opened(student(divide=True))
    with pytest.raises(DeviceError, match="no number in 'map'"):
        session.run(noise())


def test_devices_are_named_and_unknown_ones_refused() -> None:
    assert isinstance(create(), Backend)
    assert [OnnxBackend(device).name for device in ("cpu", "cuda", "tensorrt")] == [
        "onnx",
        "onnx:cuda",
        "onnx:tensorrt",
    ]
    with pytest.raises(ArgumentError, match=r"'onnx:npu'.*choose from cpu, cuda, tensorrt"):
        create("npu")


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_missing_provider_is_an_error_and_never_the_cpu(device: str, tmp_path: Path) -> None:
    if len(onnxruntime.get_available_providers()) > 2:
        pytest.skip("this onnxruntime has a GPU")
    backend = OnnxBackend(device, TensorRTOptions(cache=tmp_path / "engines"))
    with pytest.raises(DeviceError, match={"cuda": "CUDA", "tensorrt": "TensorRT"}[device]):
        backend.open(SPEC, student(), 1)
    assert not list(tmp_path.iterdir())


def test_a_missing_runtime_names_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DeviceError, match=r"pip install 'edgeface\[onnx\]'"):
        opened()


class Listed:
    """An onnxruntime that lists TensorRT and, as the real one does, goes on without what it cannot load."""

    __version__ = "9.9"

    def __init__(self, works: bool, counted: dict[str, int] | None = None, recent: bool = True) -> None:
        self.works, self.asked = works, []
        self.counted = {"TensorrtExecutionProvider": 4} if counted is None else counted
        self.InferenceSession = functools.partial(self._opened)
        if recent:  # what tells the operators from 1.24 on
            self.InferenceSession.get_provider_graph_assignment_info = self.counted

    def __getattr__(self, name: str) -> Any:
        return getattr(onnxruntime, name)

    def get_available_providers(self) -> list[str]:
        return ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]

    def preload_dlls(self) -> None:
        pass

    def _opened(self, artifact: bytes, options: Any, providers: Any, enable_fallback: int) -> Any:
        self.asked = providers
        assert enable_fallback == 0
        session = onnxruntime.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
        if self.works:
            session.get_providers = self.get_available_providers
        parts = [Part(name, count) for name, count in self.counted.items()]
        session.get_provider_graph_assignment_info = lambda: parts
        return session


class Part:
    """Operators that one provider holds, as onnxruntime tells of them."""

    def __init__(self, provider: str, count: int) -> None:
        self.ep_name, self._count = provider, count

    def get_nodes(self) -> list[object]:
        return [object()] * self._count


def with_listed(monkeypatch: pytest.MonkeyPatch, works: bool, **more: Any) -> Listed:
    listed = Listed(works, **more)
    monkeypatch.setattr("edgeface.backends.onnx._runtime", lambda device: listed)
    return listed


def test_a_provider_that_is_listed_and_does_not_load_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_listed(monkeypatch, works=False)
    backend = OnnxBackend("tensorrt", TensorRTOptions(cache=tmp_path))
    with pytest.raises(DeviceError, match="lists TensorrtExecutionProvider but could not load it"):
        backend.open(SPEC, student(), 1)


def test_tensorrt_gets_its_folders_and_its_operators_are_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    listed = with_listed(monkeypatch, works=True)
    backend = OnnxBackend("tensorrt", TensorRTOptions(cache=tmp_path / "a" / "b", dla_core=1, fp16=False))
    session = backend.open(SPEC, student(), 1)
    (name, options), *others = listed.asked
    assert (name, others) == ("TensorrtExecutionProvider", ["CUDAExecutionProvider", "CPUExecutionProvider"])
    engines = Path(options.pop("trt_engine_cache_path"))
    timings = Path(options.pop("trt_timing_cache_path"))
    assert engines.is_dir()
    assert engines.stat().st_mode & 0o777 == 0o700
    assert (engines.parent, timings.name) == (timings, "onnxruntime-9.9")
    assert options == {
        "trt_engine_cache_enable": "True",
        "trt_timing_cache_enable": "True",
        "trt_fp16_enable": "False",
        "trt_int8_enable": "True",
        "trt_dla_enable": "True",
        "trt_dla_core": "1",
    }
    told = Ran("onnx:tensorrt:int8:dla=1", "TensorrtExecutionProvider", 0, "int8", 1)
    assert session.ran == told
    (engines / "one.engine").write_bytes(b"kept")
    backend.forget(student())
    assert not engines.exists()
    backend.forget(student())


@pytest.mark.parametrize(
    ("option", "counted", "delegate", "left", "precision"),
    [
        ("tensorrt", {"Tensorrt": 4}, "Tensorrt", 0, "int8"),
        ("tensorrt:fp16", {"Tensorrt": 3, "CUDA": 1}, "Tensorrt", 0, "float16"),
        ("tensorrt:fp32", {"Tensorrt": 3, "CPU": 1}, "Tensorrt", 1, "float32"),
        ("tensorrt", {"Tensorrt": 1, "CUDA": 3}, "CUDA", 0, "float32"),
        ("cuda", {"CUDA": 2, "CPU": 2}, "CUDA", 2, "float32"),
        ("cuda", {"CUDA": 1, "CPU": 3}, "CPU", 3, "int8"),
    ],
)
def test_the_delegate_is_who_holds_the_graph_and_not_who_was_registered(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    option: str,
    counted: dict[str, int],
    delegate: str,
    left: int,
    precision: str,
) -> None:
    monkeypatch.setenv("EDGEFACE_CACHE", str(tmp_path))
    told = {f"{name}ExecutionProvider": count for name, count in counted.items()}
    listed = with_listed(monkeypatch, works=True, counted=told)
    if option == "cuda":
        monkeypatch.setattr(listed, "get_available_providers", lambda: list(CUDA_FIRST))
    ran = on_a_gpu(monkeypatch, f"onnx:{option}").open(SPEC, student(), 1).ran
    assert ran == Ran(f"onnx:{option}", f"{delegate}ExecutionProvider", left, precision, 1)


@pytest.mark.parametrize("holder", ["CUDAExecutionProvider", "CPUExecutionProvider"])
def test_a_provider_that_takes_nothing_of_the_graph_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, holder: str
) -> None:
    with_listed(monkeypatch, works=True, counted={holder: 4})
    backend = OnnxBackend("tensorrt", TensorRTOptions(cache=tmp_path))
    with pytest.raises(
        DeviceError, match=f"TensorrtExecutionProvider took no operator .* gave them to {holder};"
    ):
        backend.open(SPEC, student(), 1)


CUDA_FIRST = ("CUDAExecutionProvider", "CPUExecutionProvider")


def on_a_gpu(monkeypatch: pytest.MonkeyPatch, name: str) -> Backend:
    """A backend by its name, on a machine that has a driver."""
    monkeypatch.setattr("edgeface.backends.onnx.read_board", lambda: Board(None, "12.6", driver=True))
    return create_backend(name)


class Older:
    """An onnxruntime before 1.24, where no call tells who holds what."""

    InferenceSession = None


def test_an_older_onnxruntime_is_counted_by_its_profile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A real profile of a real run, which leaves no file."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    options, name = onnxruntime.SessionOptions(), "CPUExecutionProvider"
    with counting(Older, options) as count:
        session = onnxruntime.InferenceSession(student(), options, providers=[name])
        image = {"image": np.zeros((1, 3, *SPEC.input.shape[1:3]), np.float32)}
        before = session.run(None, image)
        placed = count(session)
    assert set(placed) == {name}
    assert placed[name] >= 4  # the graph's own, and what onnxruntime puts between two of them
    np.testing.assert_array_equal(session.run(None, image)[0], before[0])
    assert not list(tmp_path.iterdir())


def test_what_strict_refuses_is_known_with_an_older_onnxruntime(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The stand-in lists TensorRT and runs everything on the CPU, as its profile shows."""
    with_listed(monkeypatch, works=True, recent=False)
    backend = OnnxBackend("tensorrt", TensorRTOptions(cache=tmp_path))
    with pytest.raises(DeviceError, match=r"took no operator .* gave them to CPUExecutionProvider;"):
        backend.open(SPEC, student(), 1)


def test_who_cannot_tell_what_is_left_on_the_cpu_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_listed(monkeypatch, works=True, recent=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    backend = OnnxBackend("tensorrt", TensorRTOptions(cache=tmp_path / "engines"))
    with pytest.raises(DeviceError, match=r"set TMPDIR to a folder .* or install onnxruntime 1\.24"):
        backend.open(SPEC, student(), 1)


@pytest.mark.parametrize(
    ("name", "fp16", "int8", "core"),
    [
        ("onnx:tensorrt", True, True, None),
        ("onnx:tensorrt:fp16", True, False, None),
        ("onnx:tensorrt:int8", False, True, None),
        ("onnx:tensorrt:fp32", False, False, None),
        ("onnx:tensorrt:dla=0", True, True, 0),
        ("onnx:tensorrt:fp16:dla=1", True, False, 1),
    ],
)
def test_the_options_of_an_engine_stand_in_the_name(
    monkeypatch: pytest.MonkeyPatch, name: str, fp16: bool, int8: bool, core: int | None
) -> None:
    backend = on_a_gpu(monkeypatch, name)
    options = backend.tensorrt
    assert (backend.name, options.fp16, options.int8, options.dla_core) == (name, fp16, int8, core)
    isolated = create_backend(f"isolated:{name}")
    assert (isolated.name, isolated.formats) == (f"isolated:{name}", backend.formats)


@pytest.mark.parametrize(
    "text",
    ["half", "fp16,int8", "fp16:", ":fp16", "fp16:fp16", "fp32:int8", "fp32:dla=0", "dla=2", "dla=0:dla=1"],
)
def test_an_unknown_option_of_an_engine_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"unknown options; write int8, fp16, int8:fp16 or fp32"):
        create_backend(f"onnx:tensorrt:{text}")
    for device in ("cpu", "cuda"):
        with pytest.raises(ArgumentError, match=f"{device} takes no option; write 'onnx:{device}'"):
            create_backend(f"onnx:{device}:{text}")


def test_other_weights_get_other_engines(tmp_path: Path) -> None:
    """onnxruntime itself tells engines apart by the graph's structure alone."""
    options = TensorRTOptions(cache=tmp_path)
    one, same = student(), student()
    other = student(weight=tensor("w", np.ones((4, 3, 1, 1), np.float32)))
    assert options.folders(one, "1")[0] == options.folders(same, "1")[0]
    assert options.folders(one, "1")[0] != options.folders(other, "1")[0]
    assert options.folders(one, "1")[0] != options.folders(one, "2")[0]
    assert "trt_dla_enable" not in options.provider_options(one, "1")


def test_a_model_is_ready_when_its_engine_is_kept(tmp_path: Path) -> None:
    options = TensorRTOptions(cache=tmp_path)
    backend = OnnxBackend("tensorrt", options)
    assert OnnxBackend("cpu", options).ready(student())
    engines = options.folders(student(), "1.22.0")[0]
    assert not backend.ready(student())
    engines.mkdir(parents=True)
    assert not backend.ready(student())  # a build that was cut off
    (engines / "kernel_sm87.engine").write_bytes(b"kept")
    assert backend.ready(student())
    assert not backend.ready(student(weight=tensor("w", np.ones((4, 3, 1, 1), np.float32))))
    for other in options.others():  # an engine of another precision is none for this one
        assert not OnnxBackend("tensorrt", other).ready(student())
    assert len(options.others()) == 11
    assert backend.built(student()) == frozenset()
    halves = TensorRTOptions(cache=tmp_path, int8=False, dla_core=1)
    engines = halves.folders(student(), "1.22.0")[0]
    engines.mkdir(parents=True)
    (engines / "kernel_sm87.engine").write_bytes(b"kept")
    assert backend.built(student()) == {"onnx:tensorrt:fp16:dla=1"}
    assert OnnxBackend("tensorrt", halves).built(student()) == {"onnx:tensorrt"}
    assert OnnxBackend("cpu", options).built(student()) == frozenset()
    assert not OnnxBackend("tensorrt", TensorRTOptions(cache=None)).ready(student())


def test_a_folder_that_others_may_write_to_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_listed(monkeypatch, works=True)
    options = TensorRTOptions(cache=tmp_path)
    engines = options.folders(student(), "9.9")[0]
    engines.mkdir(parents=True)
    for place in (engines, engines.parent):
        place.chmod(0o777)
        with pytest.raises(DeviceError, match=rf"{place}: others can write to it.*chmod go-w {place}$"):
            OnnxBackend("tensorrt", options).open(SPEC, student(), 1)
        place.chmod(0o700)
    OnnxBackend("tensorrt", options).open(SPEC, student(), 1).close()
    blocked = TensorRTOptions(cache=Path(os.devnull) / "engines")
    with pytest.raises(DeviceError, match=r"cannot be made.*EDGEFACE_CACHE"):
        OnnxBackend("tensorrt", blocked).open(SPEC, student(), 1)


def test_engines_lie_in_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEFACE_CACHE", str(tmp_path))
    assert TensorRTOptions().cache == tmp_path / "tensorrt"
    with pytest.raises(DeviceError, match=r"no home folder.*EDGEFACE_CACHE"):
        TensorRTOptions(cache=None).folders(b"", "1")


def test_many_threads_get_what_one_gets() -> None:
    session = opened()
    frames = [noise(seed) for seed in range(6)]
    wanted = [session.run(frame)["map"] for frame in frames]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(20):
            for index, frame in enumerate(frames):
                if (session.run(frame)["map"] != wanted[index]).any():
                    wrong.append(index)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


_COUNT = """
import os, sys, time
from edgeface.backends.onnx import OnnxBackend
from tests.edgeface.backends.onnx_models import SPEC, noise, student
backend = OnnxBackend()
def threads(): return len(os.listdir("/proc/self/task"))
backend.open(SPEC, student(), 1).run(noise())
alone = threads()
sessions = [backend.open(SPEC, student(), int(sys.argv[1])) for _ in range(3)]
for session in sessions: session.run(noise())
more = threads() - alone
cpu = time.process_time()
time.sleep(0.3)
print(more, time.process_time() - cpu)
"""


def in_a_fresh_process(code: str, *arguments: str, **more: str) -> str:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")
    }
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=environment | more,
        cwd=Path(__file__).parents[3],
    )
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
@pytest.mark.parametrize("threads", [1, 3])
def test_threads_are_obeyed_and_idle_ones_do_not_spin(threads: int) -> None:
    more, busy = in_a_fresh_process(_COUNT, str(threads)).split()
    assert int(more) == 3 * (threads - 1)
    assert float(busy) < 0.05


_SPY = """
import builtins, os, sys
real = builtins.__import__
def spy(name, *rest, **more):
    if name.partition(".")[0] == "onnxruntime" and "onnxruntime" not in sys.modules:
        print(os.environ.get("ORT_DISABLE_TELEMETRY"))
    return real(name, *rest, **more)
builtins.__import__ = spy
import edgeface
from edgeface.backends.onnx import OnnxBackend
assert "onnxruntime" not in sys.modules
from tests.edgeface.backends.onnx_models import SPEC, student
OnnxBackend().open(SPEC, student(), 1)
"""


def test_telemetry_is_off_before_the_import_and_not_imported_with_edgeface() -> None:
    assert in_a_fresh_process(_SPY) == "1\n"


@pytest.mark.soak
def test_opening_and_closing_leaks_nothing_also_when_it_fails() -> None:
    good, bad = student(), student().replace(b"GlobalAveragePool", b"GlobalAveragePoof")

    def works() -> None:
        session = opened(good)
        session.run(noise())
        session.close()

    def fails() -> None:
        with pytest.raises(DeviceError):
            opened(bad)

    process = psutil.Process()
    for cycle in (works, fails):
        for _ in range(1500):  # memory grows by less and less until then
            cycle()
        before = process.memory_info().rss, process.num_fds(), process.num_threads()
        for _ in range(3000):
            cycle()
        assert process.memory_info().rss - before[0] <= 1 << 20
        assert (process.num_fds(), process.num_threads()) == before[1:]
