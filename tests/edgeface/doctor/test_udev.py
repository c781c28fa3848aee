"""Which rules count: of every folder, by vendor alone or with the product, and only if they grant."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeface.doctor.udev import RULES, missing_ids, names_apex
from tests.edgeface.doctor.machines import pi, write

BOTH = ("1a6e:089a", "18d1:9302")


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ('SUBSYSTEM=="usb", ATTRS{idVendor}=="1A6E", ATTRS{idProduct}=="089A", MODE="0660"', BOTH[1:]),
        ('SUBSYSTEM=="usb", ATTR{idVendor}=="18d1", TAG+="uaccess"', BOTH[:1]),
        ('ATTRS{idVendor}=="1a6e", GROUP:="plugdev"', BOTH[1:]),
        ('ATTRS{idVendor}=="18d1", \\\n  MODE="0666"', BOTH[:1]),
        ('ATTRS{idVendor}=="18d1", ATTRS{idProduct}=="4ee7", MODE="0660"', BOTH),  # a telephone
        ('#ATTRS{idVendor}=="18d1", MODE="0666"', BOTH),
        ('ATTRS{idVendor}=="18d1", SYMLINK+="coral"', BOTH),
        ('ATTRS{idVendor}!="18d1", MODE="0660"', BOTH),
        (RULES, ()),
    ],
)
def test_a_rule_counts_if_it_names_the_id_and_grants_something(
    tmp_path: Path, line: str, missing: tuple[str, ...]
) -> None:
    write(tmp_path, {"usr/lib/udev/rules.d/60-x.rules": line})
    assert missing_ids(pi(tmp_path)) == missing


def test_a_file_of_the_administrator_hides_that_of_a_package(tmp_path: Path) -> None:
    system = pi(tmp_path)
    write(tmp_path, {"lib/udev/rules.d/60-x.rules": RULES})
    assert missing_ids(system) == ()
    assert names_apex(system)
    write(tmp_path, {"etc/udev/rules.d/60-x.rules": ""})
    assert missing_ids(system) == BOTH
    assert not names_apex(system)
