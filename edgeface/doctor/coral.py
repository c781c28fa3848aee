"""Checks of a Coral Edge TPU: what is plugged in, who may open it, and whether its library answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from edgeface.backends.coral import DRIVERLESS, REBUILD, Tpu, find_tpus, not_re_enumerated, preventing
from edgeface.doctor import topics
from edgeface.doctor.asking import Question
from edgeface.doctor.udev import missing_ids, names_apex

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeface.doctor.asking import Outcome
    from edgeface.doctor.board import Board
    from edgeface.doctor.check import Check
    from edgeface.doctor.system import System

__all__ = ["coral_checks", "coral_questions", "has_coral"]

DELEGATE_SECONDS = 20.0  # libedgetpu loads the firmware of a USB device first
PYCORAL = Question("pycoral")
_LIBRARY = "libedgetpu.so.1"
_PATCHED = "build the patched one: github.com/feranick/gasket-driver, see firmware/boards/coral-pcie.md"
_UNBUILT_FROM = (6, 12)  # the kernel that took no_llseek away, which Google's gasket-dkms 1.0-18 names
_LAST_PYCORAL = (3, 9)
_RESETS = re.compile(r"usb (\S+): (?:reset \S+(?: \S+)* USB device|USB disconnect|device descriptor read)")
_MANY_RESETS = 3  # the id flip is one disconnection, and plugging it in again by hand another
_SLOW_USB = 480  # Mbit/s of USB 2


def has_coral(system: System) -> bool:
    """Whether one is plugged in, or a library was named that is trusted to have one."""
    return bool(find_tpus(system.root)) or bool(system.environment.get("EDGEFACE_LIBEDGETPU"))


def coral_questions(system: System) -> tuple[Question, ...]:
    """What must be asked of a child."""
    asked = [_delegate(system)] if has_coral(system) and not _prevented(system) else []
    if _pycoral(system) == "Google's":
        asked.append(PYCORAL)
    return tuple(asked)


def coral_checks(system: System, board: Board, outcomes: Mapping[Question, Outcome]) -> Iterator[Check]:
    """All of them."""
    tpus = find_tpus(system.root)
    usb, cards = ([tpu for tpu in tpus if tpu.bus == bus] for bus in ("usb", "pci"))
    library = outcomes.get(_delegate(system))
    yield _device(system, tpus, library)
    yield _rules(system, usb, cards)
    yield _permission(system, tpus)
    yield _driver(system, cards)
    yield _pages(system, board, cards)
    yield _library(system, library)
    yield _link(system, usb)
    yield _googles_pycoral(system, bool(tpus), outcomes.get(PYCORAL))
    yield _namesake(system)


def _delegate(system: System) -> Question:
    library = system.environment.get("EDGEFACE_LIBEDGETPU") or _LIBRARY
    return Question("delegate", (library, ""), DELEGATE_SECONDS)


def _prevented(system: System) -> bool:
    """Whether something stands between a program and the device already before its library is loaded."""
    if system.environment.get("EDGEFACE_LIBEDGETPU"):
        return False
    found = preventing("", system.root, may_open=system.may_open, page_size=system.page_size)
    return found is not None


def _device(system: System, tpus: Sequence[Tpu], library: Outcome | None) -> Check:
    topic = topics.CORAL_DEVICE
    if not tpus:
        return topic.absent("no Coral is listed in /sys")
    shown = ", ".join(f"{tpu.bus} {tpu.place}" + (f" ({tpu.usb_id})" if tpu.usb_id else "") for tpu in tpus)
    refused = library is not None and library.answer.get("cause") == "refused"
    waiting = not_re_enumerated("", system.root) if refused else None
    if waiting is not None:
        return topic.fault(f"{waiting.cause}: {waiting.seen}", waiting.mend)
    return topic.ok(shown)


def _rules(system: System, usb: Sequence[Tpu], cards: Sequence[Tpu]) -> Check:
    topic = topics.CORAL_RULES
    if not usb and not cards:
        return topic.absent("no Coral is here to need them")
    missing = list(missing_ids(system)) if usb else []
    if cards and not names_apex(system):
        missing.append("apex")
    if not missing:
        return topic.ok(
            "rules name " + " and ".join((["both USB ids"] if usb else []) + (["apex"] if cards else []))
        )
    shown = f"no udev rule names {' and '.join(missing)}"
    if len(missing) == 1 and usb and missing != ["apex"]:
        shown += "; the device changes its id when it is first used, so a rule for the other one works once"
    mend = (
        'run: sudo "$(command -v edgeface)" doctor --fix, or write the rules of firmware/boards/coral-usb.md '
        "to /etc/udev/rules.d"
    )
    if system.uid == 0:
        return topic.warning(f"{shown}; root may open it without, others may not", mend, repair="udev-rules")
    return topic.fault(shown, mend, repair="udev-rules")


def _permission(system: System, tpus: Sequence[Tpu]) -> Check:
    topic = topics.CORAL_PERMISSION
    nodes = [tpu.node for tpu in tpus if tpu.node is not DRIVERLESS and tpu.node.exists()]
    if not nodes:
        return topic.absent("there is no device file of a Coral")
    closed = [system.shown(node) for node in nodes if not system.may_open(node)]
    if system.called_by_sudo and system.user not in system.members("plugdev"):
        return topic.warning(
            "root may open it, but the user who called sudo is not in the group plugdev",
            "run: sudo usermod -aG plugdev $USER, and log in again",
            repair="plugdev-group",
        )
    if not closed:
        return topic.ok(f"this user may open {', '.join(system.shown(node) for node in nodes)}")
    shown = f"this user may not open {closed[0]}"
    if "plugdev" in system.groups:
        return topic.fault(
            f"{shown}, though it is in the group plugdev",
            "give the group the device with the udev rules, then plug it in again",
            repair="udev-rules" if missing_ids(system) or not names_apex(system) else "",
        )
    if system.user and system.user in system.members("plugdev"):
        return topic.fault(f"{shown}; it was put into the group plugdev after it logged in", "log in again")
    return topic.fault(
        f"{shown} and is not in the group plugdev",
        "run: sudo usermod -aG plugdev $USER, and log in again",
        repair="plugdev-group" if system.user else "",
    )


def _driver(system: System, cards: Sequence[Tpu]) -> Check:
    topic = topics.CORAL_DRIVER
    if not cards:
        return topic.absent("no Coral on PCIe needs a driver of the kernel")
    lost = [tpu for tpu in cards if tpu.node is DRIVERLESS or not tpu.node.exists()]
    if not lost:
        return topic.ok("gasket and apex have made " + ", ".join(system.shown(tpu.node) for tpu in cards))
    numbers = tuple(map(int, re.findall(r"\d+", system.kernel)[:2]))
    seen = f"a Coral is at PCI {lost[0].place}, but there is no /dev/apex_*"
    if (system.root / "sys/module/apex").exists():
        interrupts = any("initialize interrupts" in line for line in system.kernel_log() or ())
        why = "the host gives it no MSI-X interrupts" if interrupts else "the kernel's log says why"
        return topic.fault(
            f"{seen}, although apex is loaded: {why}", "run: sudo dmesg | grep -e apex -e gasket"
        )
    if system.find(f"lib/modules/{system.kernel}/**/apex.ko*") or system.find(
        f"usr/lib/modules/{system.kernel}/**/apex.ko*"
    ):
        return topic.fault(f"{seen}; the driver is built and not loaded", "run: sudo modprobe apex")
    if system.find("usr/src/gasket-*") or system.find("var/lib/dkms/gasket"):
        late = " (Google's does not build from Linux 6.12 on)" if numbers >= _UNBUILT_FROM else ""
        return topic.fault(f"{seen}; gasket-dkms was not built for Linux {system.kernel}{late}", _PATCHED)
    return topic.fault(f"{seen}; gasket-dkms is not installed", _PATCHED)


def _pages(system: System, board: Board, cards: Sequence[Tpu]) -> Check:
    topic = topics.CORAL_PAGES
    if system.page_size == 4096:
        small = "the kernel has pages of 4 KiB, which gasket needs"
        return topic.ok(small) if cards else topic.absent("no Coral on PCIe needs pages of 4 KiB")
    shown = f"the kernel has pages of {system.page_size // 1024} KiB and gasket needs 4"
    if not cards:
        return topic.absent(f"{shown}, which matters to a Coral on PCIe alone")
    if board.kind == "raspberry-pi-5":
        return topic.fault(shown, "set kernel=kernel8.img in /boot/firmware/config.txt and reboot")
    return topic.fault(shown, "boot a kernel with pages of 4 KiB")


def _library(system: System, outcome: Outcome | None) -> Check:
    topic = topics.CORAL_LIBRARY
    if outcome is None:
        why = "not loaded, because of what is said above about the device"
        return topic.absent(why if has_coral(system) else "no Coral is here to load it for")
    name = system.environment.get("EDGEFACE_LIBEDGETPU") or _LIBRARY
    if outcome.end == "crashed":
        return topic.fault(f"{name} crashes the process that loads it ({outcome.said})", REBUILD)
    if outcome.end == "hung":
        mend = f"unplug the device and plug it in again, on another port; else {REBUILD}"
        return topic.fault(f"{name} hangs while it looks for a device ({outcome.said})", mend)
    if outcome.end == "failed":
        return topic.fault(f"{name} was not loaded ({outcome.said})", "pip install -U ai-edge-litert")
    answer = outcome.answer
    if "runtime" in answer:
        return topic.ok(f"{name} gives a delegate to {answer['runtime']}")
    return topic.fault(f"{answer['cause']}: {answer['seen']}", str(answer["mend"]))


def _link(system: System, usb: Sequence[Tpu]) -> Check:
    topic = topics.CORAL_LINK
    if not usb:
        return topic.absent("no Coral is on USB")
    mend = "use a USB 3 port (blue), the cable of the device, and a supply for the 900 mA that it draws"
    log = system.kernel_log()
    for tpu in usb:
        resets = sum(match[1] == tpu.place for match in map(_RESETS.search, log or ()) if match)
        if resets >= _MANY_RESETS:
            return topic.warning(
                f"the Coral at {tpu.place} was reset or lost {resets} times since the start", mend
            )
        speed = system.read(f"sys/bus/usb/devices/{tpu.place}/speed")
        if speed.isdigit() and int(speed) <= _SLOW_USB:
            return topic.warning(f"the Coral at {tpu.place} runs at {speed} Mbit/s, on USB 2", mend)
    unread = (
        "; its resets cannot be counted, because this user may not read the kernel's log"
        if log is None
        else ""
    )
    return topic.ok(f"{', '.join(tpu.place for tpu in usb)} runs at full speed{unread}")


def _googles_pycoral(system: System, present: bool, outcome: Outcome | None) -> Check:
    topic = topics.PYCORAL
    version = ".".join(map(str, system.python))
    if outcome is None:
        late = (
            f", and Google's ends at Python 3.9 (this is {version})" if system.python > _LAST_PYCORAL else ""
        )
        why = f"not installed{late}; EdgeFace loads libedgetpu itself and does not need it"
        return topic.ok(why) if present else topic.absent(why)
    if outcome.end == "answered":
        return topic.ok("it can be imported, and is used")
    verbs = {"failed": "cannot be imported", "crashed": "crashes", "hung": "hangs"}
    return topic.fault(
        f"pycoral {verbs[outcome.end]} on Python {version} ({outcome.said})",
        "run: pip uninstall pycoral; EdgeFace does not need it, and Google's ends at Python 3.9",
    )


def _namesake(system: System) -> Check:
    topic = topics.PYCORAL_NAMESAKE
    whose = _pycoral(system)
    if whose == "foreign":
        return topic.warning(
            "the package pycoral that is installed is not Google's but a tool for coral reefs",
            "run: pip uninstall pycoral; EdgeFace needs no pycoral",
        )
    return (
        topic.ok("the pycoral that is installed is Google's")
        if whose
        else topic.absent("no pycoral is installed")
    )


def _pycoral(system: System) -> str | None:
    """Whose the installed package is, without importing it: ``Google's``, ``foreign``, or None of them."""
    for folder in system.search:
        package = Path(folder, "pycoral")
        if package.is_dir() and any(package.glob("*")):
            return "Google's" if (package / "utils/edgetpu.py").is_file() else "foreign"
    return None
