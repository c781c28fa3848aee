"""The package as a whole: its public names, and promise 23, the thin start."""

import json
import statistics
import subprocess
import sys

import pytest

import edgeface

HEAVY = (
    "torch", "tensorflow", "onnx", "onnxruntime", "matplotlib", "rich", "starlette", "requests",
    "urllib.request", "cv2", "ai_edge_litert", "numpy",
)  # fmt: skip

PROBE = """
import json, os, sys, time
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before = set(sys.modules)
memory, start = resident(), time.perf_counter()
import edgeface
took, memory = time.perf_counter() - start, resident() - memory
loaded = sorted(set(sys.modules) - before)
print(json.dumps({"seconds": took, "bytes": memory, "loaded": loaded}))
"""


def fresh_import() -> dict[str, object]:
    run = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_import_is_thin() -> None:
    runs = [fresh_import() for _ in range(5)]
    assert [name for name in runs[0]["loaded"] if name in HEAVY] == []
    assert statistics.median(run["seconds"] for run in runs) <= 0.150
    assert statistics.median(run["bytes"] for run in runs) <= 60 * 2**20


@pytest.mark.parametrize("part", ["errors", "labels", "results", "frame", "imagefile"])
def test_a_part_loads_neither_opencv_nor_a_runtime(part: str) -> None:
    code = f"import sys, edgeface.{part}; print([m for m in {HEAVY[:-1]!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("name", edgeface.__all__)
def test_every_public_name_loads(name: str) -> None:
    assert getattr(edgeface, name) is getattr(edgeface, name)
    assert name in dir(edgeface)


@pytest.mark.parametrize(
    "wanted", ["labels.IBUG68.parts", "geometry.letterbox", "render.draw_overlay"], ids=lambda name: name[:6]
)
def test_a_module_that_the_docstrings_name_needs_no_import_of_its_own(wanted: str) -> None:
    code = f"import edgeface; assert {wanted!r}.split('.')[0] in dir(edgeface); edgeface.{wanted}"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_public_names_are_complete() -> None:
    assert set(edgeface.__all__) >= {
        "FaceAnalyzer", "Frame", "ImageLimits", "BBox", "read_image", "decode_image", "Landmarks",
        "ParsingMap", "Expression", "Face", "FrameResult", "Bundle", "ScriptedBackend", "EdgeFaceError",
        "FrameError",
        "BundleError", "DeviceError", "CameraError", "ServiceError", "ConversionError", "ArgumentError",
    }  # fmt: skip
    assert edgeface.__version__ == "0.3.0"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'FaceAnalyser'"):
        _ = edgeface.FaceAnalyser
    assert not hasattr(edgeface, "__wrapped__")
