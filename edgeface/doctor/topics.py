"""Everything that the doctor looks at, and where somebody suffered from it first."""

from __future__ import annotations

from edgeface.doctor.check import Topic

__all__ = [
    "CACHE",
    "CAMERA",
    "CLOCK",
    "CORAL_DEVICE",
    "CORAL_DRIVER",
    "CORAL_LIBRARY",
    "CORAL_LINK",
    "CORAL_PAGES",
    "CORAL_PERMISSION",
    "CORAL_RULES",
    "CPU_INFORMATION",
    "CUDA",
    "ENGINES",
    "HEAT",
    "JETSON_WHEEL",
    "LITERT",
    "MEMORY",
    "MODELS",
    "NUMPY",
    "ONNXRUNTIME",
    "OPENCV",
    "PYCORAL",
    "PYCORAL_NAMESAKE",
    "STORAGE",
    "SYSTEM",
    "TELEMETRY",
    "TENSORRT",
    "TFLITE_RUNTIME",
    "TOPICS",
    "UNDER_VOLTAGE",
]

_ISSUE = "https://github.com/{}/issues/{}"


def _told(repository: str, number: int) -> str:
    return _ISSUE.format(repository, number)


SYSTEM = Topic("system", "machine", "firmware/boards/arm64.md")
CPU_INFORMATION = Topic("cpu-information", "machine", _told("microsoft/onnxruntime", 10038))
MEMORY = Topic("memory", "machine", "firmware/boards/raspberry-pi-3.md")
STORAGE = Topic("storage", "machine", "firmware/boards/README.md")
CLOCK = Topic("clock", "machine", "firmware/boards/README.md")
CACHE = Topic("cache", "machine", "firmware/boards/README.md")
CAMERA = Topic("camera", "machine", "firmware/boards/README.md")

UNDER_VOLTAGE = Topic("under-voltage", "power", _told("raspberrypi/linux", 2367))
HEAT = Topic("heat", "power", _told("raspberrypi/linux", 2367))

NUMPY = Topic("numpy", "runtimes", _told("Nachtzuster/BirdNET-Pi", 314))
OPENCV = Topic("opencv", "runtimes", _told("microsoft/onnxruntime", 23957))
LITERT = Topic("litert", "runtimes", _told("microsoft/onnxruntime", 23957))
TFLITE_RUNTIME = Topic("tflite-runtime", "runtimes", _told("Nachtzuster/BirdNET-Pi", 314))
ONNXRUNTIME = Topic("onnxruntime", "runtimes", _told("microsoft/onnxruntime", 23957))
TELEMETRY = Topic("telemetry", "runtimes", _told("OHF-Voice/wyoming-piper", 64))

MODELS = Topic("models", "models", _told("microsoft/onnxruntime", 7484))

CORAL_DEVICE = Topic("coral-device", "coral", _told("google-coral/pycoral", 108))
CORAL_RULES = Topic("coral-rules", "coral", _told("blakeblackshear/frigate", 6126))
CORAL_PERMISSION = Topic("coral-permission", "coral", _told("google-coral/pycoral", 108))
CORAL_DRIVER = Topic("coral-driver", "coral", _told("google/gasket-driver", 43))
CORAL_PAGES = Topic("coral-pages", "coral", _told("geerlingguy/raspberry-pi-pcie-devices", 44))
CORAL_LIBRARY = Topic("coral-library", "coral", _told("google-coral/edgetpu", 812))
CORAL_LINK = Topic("coral-link", "coral", _told("google-coral/edgetpu", 754))
PYCORAL = Topic("pycoral", "coral", _told("google-coral/pycoral", 137))
PYCORAL_NAMESAKE = Topic("pycoral-namesake", "coral", "firmware/boards/coral-usb.md")

JETSON_WHEEL = Topic("jetson-wheel", "nvidia", _told("microsoft/onnxruntime", 20503))
CUDA = Topic("cuda", "nvidia", _told("microsoft/onnxruntime", 7484))
TENSORRT = Topic("tensorrt", "nvidia", _told("microsoft/onnxruntime", 7484))
ENGINES = Topic("tensorrt-engines", "nvidia", _told("roboflow/inference", 2703))

TOPICS = (
    *(SYSTEM, CPU_INFORMATION, MEMORY, STORAGE, CLOCK, CACHE, CAMERA),
    *(UNDER_VOLTAGE, HEAT),
    *(NUMPY, OPENCV, LITERT, TFLITE_RUNTIME, ONNXRUNTIME, TELEMETRY),
    MODELS,
    *(CORAL_DEVICE, CORAL_RULES, CORAL_PERMISSION, CORAL_DRIVER, CORAL_PAGES, CORAL_LIBRARY, CORAL_LINK),
    *(PYCORAL, PYCORAL_NAMESAKE),
    *(JETSON_WHEEL, CUDA, TENSORRT, ENGINES),
)
"""All of them, in the order in which they are shown."""
