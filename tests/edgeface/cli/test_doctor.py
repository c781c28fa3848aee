"""`edgeface doctor`: the table, the lines, JSON, the exit code, what it mends, the support bundle."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import jsonschema
import pytest

from edgeface.cli import doctor, main
from edgeface.doctor import Report, System, this_system
from edgeface.doctor.check import Check, Verdict
from edgeface.doctor.repairs import RULES_FILE
from tests.bundles import TINY
from tests.edgeface.backends.coral_trees import usb
from tests.edgeface.doctor.machines import called, pi, program
from tests.edgeface.doctor.test_check import SCHEMA, report

REQUEST = doctor.Request(bundle=TINY)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFACE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def needy(tmp_path: Path) -> System:
    """A Pi with a Coral that its rules do not name, as root sees it, with this machine's Python."""
    here = this_system()
    root = tmp_path / "root"
    environment = {**os.environ, "PATH": f"{root / 'bin'}:{os.environ['PATH']}"}
    system = pi(root, environment=environment, search=here.search, packages=here.packages, uid=0, user="root")
    usb(root, "1a6e:089a")
    (root / "etc/udev/rules.d").mkdir(parents=True)
    program(root, "udevadm", "")
    return system


def test_json_follows_its_schema_and_the_exit_code_the_verdict(capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json", "--bundle", str(TINY)])
    out, err = capfd.readouterr()
    told = json.loads(out)
    jsonschema.validate(told, SCHEMA)
    assert code == doctor.EXIT_CODES[told["verdict"]]
    assert "repairs" not in told
    assert err == ""


def test_a_bundle_that_is_not_there_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--bundle", "nowhere.bundle"]) == 4
    text = capsys.readouterr().out
    assert "fault     models" in text
    assert "nowhere.bundle" in text
    assert "more, about what is not here" in text
    assert "not here  " not in text


@pytest.mark.parametrize("arguments", [["--yes"], ["--fix", "--json"], ["extra"]])
def test_what_cannot_be_meant_is_refused(arguments: list[str]) -> None:
    assert main(["doctor", *arguments]) == 2


@pytest.mark.parametrize(("verdict", "code"), [("ok", 0), ("warning", 1), ("fault", 4)])
def test_exit_codes_stand_in_the_help(
    verdict: Verdict, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.EXIT_CODES[verdict] == code
    assert main(["doctor", "--help"]) == 0
    assert re.search(rf"^ +{code} {{4}}\w", capsys.readouterr().out, re.MULTILINE)


def example(tmp_path: Path) -> Report:
    checks = (
        Check("system", "machine", "ok", "all is well", source="page"),
        Check("coral-rules", "coral", "fault", "no [red]rule\x1b[2J", "write it", "page", "udev-rules"),
        Check("cuda", "nvidia", "not here", "no GPU", source="page"),
    )
    return dataclasses.replace(report(tmp_path), checks=checks)


def test_the_table_of_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    reader, writer = os.openpty()
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr("sys.stdout", terminal)
        doctor._show(example(tmp_path), everything=True)
        terminal.flush()
        os.set_blocking(reader, False)
        pieces = []
        with contextlib.suppress(BlockingIOError):
            while True:
                pieces.append(os.read(reader, 65536))
        monkeypatch.undo()
    os.close(reader)
    shown = b"".join(pieces).decode()
    assert "Raspberry Pi 4 Model B Rev 1.4 (raspberry-pi-4)" in shown
    for part in ("✓", "✗", "·", "no [red]rule", "→ write it", "no GPU"):
        assert part in shown
    assert "\x1b[2J" not in shown
    assert "1 fault, 0 warnings; edgeface doctor --fix can mend: udev-rules" in shown


def test_lines_for_everything_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doctor._show(example(tmp_path), everything=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "ok        system       all is well"
    assert lines[3].strip() == "mend: write it [page]"
    assert lines[4] == "--all shows 1 more, about what is not here"
    assert "no GPU" not in "".join(lines)


def test_fix_with_yes_mends_and_looks_again(needy: System, capsys: pytest.CaptureFixture[str]) -> None:
    request = dataclasses.replace(REQUEST, fix=True, yes=True, as_json=True)
    doctor.run(request, needy)
    out, err = capsys.readouterr()
    told = json.loads(out)
    jsonschema.validate(told, SCHEMA)
    assert told["repairs"] == [{"name": "udev-rules", "done": True, "told": "plug the Coral in again"}]
    (rules,) = [check for check in told["checks"] if check["name"] == "coral-rules"]
    assert rules["verdict"] == "ok"
    assert "writes /etc/udev/rules.d/60-edgeface-coral.rules:" in err
    assert called(needy.root)[0] == "udevadm control --reload-rules"


def test_fix_changes_nothing_where_nobody_agrees(
    needy: System, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "support.zip"
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        code = doctor.run(dataclasses.replace(REQUEST, fix=True, support=file), needy)
    out, err = capsys.readouterr()
    assert code in (1, 4)
    assert "udev-rules (needs root):" in out
    assert "nobody can be asked here; --yes agrees beforehand" in out
    assert "left as it is" in out
    assert "after that:" not in out
    assert not (needy.root / RULES_FILE).exists()
    assert called(needy.root) == []
    assert f"wrote {file}: look through it" in err
    with zipfile.ZipFile(file) as bundle:
        assert "edgeface-support/report.json" in bundle.namelist()


def test_who_is_not_root_is_not_asked_but_told(needy: System, capsys: pytest.CaptureFixture[str]) -> None:
    doctor.run(dataclasses.replace(REQUEST, fix=True), dataclasses.replace(needy, uid=1000, user="jane"))
    out = capsys.readouterr().out
    assert 'not done: needs root; run: sudo "$(command -v edgeface)" doctor --fix' in out
    assert "nobody can be asked" not in out
    assert called(needy.root) == []


def test_a_support_file_that_exists_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "support.zip"
    file.touch()
    assert main(["doctor", "--bundle", str(TINY), "--support", str(file)]) == 2
    assert "exists; name a new file" in capsys.readouterr().err
    assert file.read_bytes() == b""


def test_the_command_costs_the_others_nothing() -> None:
    script = "import sys, edgeface.cli.doctor; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name.startswith("edgeface.doctor")}
    assert loaded == set()
