"""Which of the causes stands between a program and a Coral, told from trees of machines that are not here."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeface.backends.coral import Fault, find_tpus, not_re_enumerated, parse_device, preventing
from edgeface.errors import ArgumentError
from tests.edgeface.backends.coral_trees import pci, usb


def asked(option: str, root: Path, *, open_to_us: bool = True, page_size: int = 4096) -> Fault | None:
    return preventing(option, root, may_open=lambda node: open_to_us, page_size=page_size)


def test_devices_are_listed_and_others_are_not(tmp_path: Path) -> None:
    card = pci(tmp_path, driver=True)
    late = usb(tmp_path, "1a6e:089a", "2-1", 7)
    early = usb(tmp_path, "18d1:9302", "1-2", 3)
    usb(tmp_path, "046d:0825", "1-1", 9)  # a camera
    found = find_tpus(tmp_path)
    assert [(tpu.bus, tpu.place, tpu.usb_id) for tpu in found] == [
        ("usb", "1-2", "18d1:9302"),
        ("usb", "2-1", "1a6e:089a"),
        ("pci", "0000:01:00.0", None),
    ]
    assert [tpu.node for tpu in found] == [early, late, card]
    assert early == tmp_path / "dev/bus/usb/001/003"
    for option in ("", "usb", "usb:0", "usb:1", "pci", "pci:0", ":2"):
        assert asked(option, tmp_path) is None


@pytest.mark.parametrize(
    ("option", "wanted"), [("", (None, 0)), (":1", (None, 1)), ("usb", ("usb", 0)), ("pci:12", ("pci", 12))]
)
def test_options_are_libedgetpus_own(option: str, wanted: tuple[str | None, int]) -> None:
    assert parse_device(option) == wanted


@pytest.mark.parametrize("option", ["usb0", "usb:", "pci:-1", "0", "USB:0", "usb:123", "usb:0\n"])
def test_other_options_are_refused(option: str) -> None:
    with pytest.raises(ArgumentError, match="write usb, usb:0, pci or pci:1"):
        parse_device(option)


def test_no_device_says_what_was_looked_for(tmp_path: Path) -> None:
    anything = asked("", tmp_path)
    assert anything is not None
    assert "USB 3 port" in anything.mend
    assert "lspci" in anything.mend
    fault = asked("usb", tmp_path)
    assert fault is not None
    assert fault.cause == "no device"
    assert "no USB Coral (none is listed in /sys)" in str(fault)
    usb(tmp_path, "18d1:9302")
    second, card = asked("usb:1", tmp_path), asked("pci", tmp_path)
    assert second is not None
    assert "1 found, usb:1 is wanted" in str(second)
    assert card is not None
    assert "no PCIe Coral" in str(card)
    assert "dtparam=pciex1" in str(card)


def test_where_any_device_will_do_one_that_works_is_enough(tmp_path: Path) -> None:
    stick, card = usb(tmp_path, "18d1:9302"), pci(tmp_path, driver=True)
    for mine, other in ((stick, "pci:0"), (card, "usb:0")):
        assert preventing("", tmp_path, may_open=lambda node, mine=mine: node == mine) is None
        refused = preventing(other, tmp_path, may_open=lambda node, mine=mine: node == mine)
        assert refused is not None
        assert refused.cause == "no permission"
    fault = preventing("", tmp_path, may_open=lambda _: False)
    assert fault is not None
    assert "/dev/bus/usb/002/004" in fault.seen  # the first one's


def test_no_permission_gives_the_rules_for_both_ids_and_the_card(tmp_path: Path) -> None:
    usb(tmp_path, "1a6e:089a")
    fault = asked("", tmp_path, open_to_us=False)
    assert fault is not None
    assert fault.cause == "no permission"
    assert "may not open /dev/bus/usb/002/004" in fault.seen
    for part in ('"1a6e"', '"089a"', '"18d1"', '"9302"', '"apex"', "udevadm control --reload", "plugdev"):
        assert part in fault.mend


def test_a_card_without_its_driver_is_told_from_no_card(tmp_path: Path) -> None:
    node = pci(tmp_path, driver=False)
    fault = asked("pci:0", tmp_path)
    assert fault is not None
    assert fault.cause == "kernel driver missing"
    assert "a Coral is at PCI 0000:01:00.0" in str(fault)
    assert "gasket-dkms" in fault.mend
    assert "kernel8.img" not in fault.mend
    large = asked("pci:0", tmp_path, page_size=16384)
    assert large is not None
    assert "pages of 16 KiB" in large.mend
    assert "kernel=kernel8.img" in large.mend
    assert not node.exists()


def test_a_device_that_waits_for_its_firmware_is_named_after_a_refusal(tmp_path: Path) -> None:
    usb(tmp_path, "18d1:9302", "1-1")
    usb(tmp_path, "1a6e:089a", "1-2", 5)
    assert not_re_enumerated("usb:0", tmp_path) is None
    fault = not_re_enumerated("usb:1", tmp_path)
    assert fault is not None
    assert fault.cause == "not re-enumerated"
    assert "1-2 is still 1a6e:089a and did not come back as 18d1:9302" in fault.seen
    assert not_re_enumerated("usb:2", tmp_path) is None
