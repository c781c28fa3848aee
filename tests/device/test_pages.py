"""The boards' pages say what `edgeface devices` prints, name for name, and link what they tell of others."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path

import pytest

from edgeface.backends.base import create, known
from edgeface.backends.coral import find_tpus, not_re_enumerated, preventing
from edgeface.backends.edgetpu import EdgeTpuBackend
from edgeface.backends.nvidia import Board, explain_absence, read_board
from edgeface.bundle import Bundle
from edgeface.cli.devices import show, survey
from edgeface.errors import DeviceError
from edgeface.golden import golden_digest, golden_input
from firmware.emulation import roots
from tests.device import pages
from tests.edgeface.backends import delegates
from tests.edgeface.backends.coral_trees import pci, usb

# Boards that run on the CPU as they come: their pages tell the whole table.
WHOLE = ("raspberry-pi-3", "raspberry-pi-4", "raspberry-pi-5", "arm64", "x86")
LINKED = re.compile(r"\[[\w./-]*#\d+\]\(https://github\.com/[\w.-]+/[\w.-]+/(?:issues|pull)/\d+\)")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine, as a board comes: no accelerator, no extra."""
    if read_board().driver or find_tpus():
        pytest.skip("this machine has an accelerator; the pages tell of boards without")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delenv("EDGEFACE_LIBEDGETPU", raising=False)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.usefixtures("bare")
def test_a_page_tells_what_is_printed(name: str) -> None:
    promised = pages.plain(pages.PAGES[name])
    printed = {one["name"]: one["verdict"] for one in survey(Bundle.builtin(), 1, again=False)["candidates"]}
    assert [row.backend for row in promised] == [each for each in printed if each in known()]
    for row in promised:
        assert row.matches(printed[row.backend]), (row, printed[row.backend])


@pytest.mark.usefixtures("bare")
def test_the_example_of_the_first_page_has_every_backend_and_model() -> None:
    text = (pages.FOLDER / "README.md").read_text()
    told = survey(Bundle.builtin(), 1, again=False)
    block = next(part for part in re.findall(r"```\n(.*?)```", text, re.DOTALL) if "chosen: " in part)
    head, _, tail = block.partition("chosen: ")
    assert [line.split()[0] for line in head.splitlines()[2:]] == [c["name"] for c in told["candidates"]]
    assert tail.splitlines()[0] == f"{told['chosen']}: {told['why']}"
    models = dict(line.split(": ", 1) for line in tail.splitlines()[1:])
    # A second detector, for frames higher than wide, is in some bundles and in the sentence below the block.
    assert list(models) == sorted({task.removesuffix("_tall") for task in told["ran"]})
    assert "`detection_tall`" in text
    assert set(models.values()) == {"litert, XNNPACK, int8, 1 thread"}


@pytest.mark.parametrize("name", [name for name, page in pages.PAGES.items() if pages.rows(page)])
def test_every_name_on_a_page_is_a_backend(name: str) -> None:
    for row in pages.rows(pages.PAGES[name]):
        with contextlib.suppress(DeviceError):  # which an unknown name or option is not
            create(row.backend)


def test_an_installed_onnxruntime_is_told_as_on_the_page() -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra: pip install 'edgeface[onnx]'")
    (row,) = (r for r in pages.rows(pages.PAGES["x86"]) if (r.backend, r.state) == ("onnx", "installed"))
    printed = {one["name"]: one["verdict"] for one in survey(Bundle.builtin(), 1, again=False)["candidates"]}
    assert row.matches(printed["onnx"])


@pytest.mark.parametrize("name", [name for name in pages.PAGES if name != "README"])
def test_a_page_is_whole_and_its_problems_are_linked(name: str) -> None:
    text = pages.PAGES[name].read_text()
    parts = dict(part.split("\n", 1) for part in text.split("\n## ")[1:])
    assert "## What `edgeface devices` should say" in text
    assert {"Known problems", "Verified"} <= set(parts)
    assert LINKED.search(parts["Known problems"]), "a problem that nobody can look up"


@pytest.mark.parametrize(
    ("page", "state"),
    [
        ("coral-usb", "not plugged in"),
        ("coral-usb", "no rules"),
        ("coral-pcie", "no driver"),
        ("coral-pcie", "not seen on the bus"),
        ("coral-pcie", "no rule"),
    ],
)
def test_a_corals_page_tells_the_verdicts_on_trees_of_files(page: str, state: str, tmp_path: Path) -> None:
    if state == "no driver":
        pci(tmp_path, driver=False)
    elif state.startswith("no rule"):
        usb(tmp_path, "18d1:9302") if page == "coral-usb" else pci(tmp_path, driver=True)
    fault = preventing("", tmp_path, may_open=lambda _: False)
    assert pages.verdict(pages.PAGES[page], state).matches(str(fault)), str(fault)


@pytest.mark.parametrize(
    ("state", "source"),
    [
        ("no library", ""),
        ("Google's library of 2021", delegates.OLD_BUILD),
        ("in use elsewhere", delegates.REFUSING),
    ],
)
def test_the_corals_page_tells_the_verdicts_on_libraries(state: str, source: str, tmp_path: Path) -> None:
    library = delegates.build(tmp_path, source) if source else "libabsent.so.1"
    usb(tmp_path / "root", "18d1:9302")
    backend = EdgeTpuBackend("", library, tmp_path / "root")
    with pytest.raises(DeviceError) as caught:
        backend.open(delegates.SPEC, delegates.compiled_model(), 1)
    told = str(caught.value).replace(library, "libedgetpu.so.1")
    assert pages.verdict(pages.PAGES["coral-usb"], state).matches(told), told


def test_the_corals_page_tells_of_one_that_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEFACE_LIBEDGETPU", delegates.build(tmp_path, delegates.ACCEPTING))
    monkeypatch.setenv("EDGEFACE_CACHE", str(tmp_path / "cache"))
    right = {"logits": delegates.expected(golden_input(delegates.SPEC)["image"])}
    bundle = tmp_path / "coral.bundle"
    bundle.write_bytes(delegates.bundle_bytes(golden_digest(delegates.SPEC, right)))
    show(bundle, as_json=False, again=False, threads=1)
    printed = capsys.readouterr().out
    (row,) = (line for line in printed.splitlines() if line.startswith("edgetpu "))
    assert pages.verdict(pages.PAGES["coral-usb"], "ready").matches(row), row
    (ran,) = re.findall(r"^expression: (.*)$", printed, re.MULTILINE)
    assert f"`{ran}`" in pages.PAGES["coral-usb"].read_text()


def test_a_device_that_waits_for_its_firmware_is_told_as_on_the_page(tmp_path: Path) -> None:
    usb(tmp_path, "1a6e:089a")
    told = str(not_re_enumerated("", tmp_path))
    assert pages.verdict(pages.PAGES["coral-usb"], "firmware not loaded").matches(told), told


def test_the_pi_5s_page_tells_of_its_page_size(tmp_path: Path) -> None:
    pci(tmp_path, driver=False)
    (row,) = (row for row in pages.rows(pages.PAGES["raspberry-pi-5"]) if row.state)
    assert row.matches(str(preventing("", tmp_path, page_size=16384)))


@pytest.mark.parametrize(
    ("state", "device", "board", "python"),
    [
        ("none or the CPU's onnxruntime", "tensorrt", Board("36.4.3", "12.6", driver=True), (3, 10)),
        ("JetPack 7", "tensorrt", Board("38.2", "13.0", driver=True), (3, 12)),
    ],
)
def test_the_jetsons_page_tells_what_is_missing(
    state: str, device: str, board: Board, python: tuple[int, int]
) -> None:
    (row,) = (row for row in pages.rows(pages.PAGES["jetson-orin"]) if row.state == state)
    assert row.matches(explain_absence(device, board, python))


def test_what_the_rig_installs_on_32_bits_is_what_the_page_says() -> None:
    apt, pip, _ = pages.commands(pages.PAGES["README"], "32-bit arm").splitlines()
    named = {word for word in apt.split() if word.startswith("python3-")} - {"python3-pip"}
    assert named < set(roots._PACKAGES_32)
    assert roots._TFLITE_32 in pip.split()


def test_a_table_that_lies_is_noticed() -> None:
    row = pages.Row("edgetpu", "", "no device: no Coral (none is listed in /sys) ... cable")
    assert row.matches("backend 'edgetpu': no device: no Coral (none is listed in /sys); another cable")
    assert not row.matches("backend 'edgetpu': no permission: this user may not open /dev/apex_0; cable")
