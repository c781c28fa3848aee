"""Backends of other distributions: the packages of ``examples/`` that offer one, installed by pip.

Their names are read from the packages' own entry points, so a further package is tested without an edit here.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

_EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
_WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_GROUP = '[project.entry-points."edgeface.backends"]'


def projects() -> dict[str, Path]:
    """Name of a backend -> folder of the package that offers it."""
    return {
        name: page.parent
        for page in sorted(_EXAMPLES.glob("*/pyproject.toml"))
        for name in _entries(page.read_text())
    }


def _entries(text: str) -> dict[str, str]:
    # Python 3.10 has no reader of TOML.
    table = text.partition(_GROUP)[2].partition("\n[")[0]
    return dict(re.findall(r'^([\w-]+) = "([\w.]+)"$', table, re.MULTILINE))


def installed(target: Path, built: Path) -> None:
    """Install every package into the folder ``target``, from wheels written to ``built``; no network."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("this Python has no pip to install a package with")
    wheels = [str(_wheel(project, built)) for project in sorted(set(projects().values()))]
    options = ["--no-index", "--no-deps", "--quiet", "--disable-pip-version-check", "--no-compile"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), *wheels]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def _wheel(project: Path, folder: Path) -> Path:
    """The package's wheel, written here, because hatchling would have to be fetched.

    What is in it is the binary distribution format (packaging.python.org, "Binary distribution format").
    """
    text = (project / "pyproject.toml").read_text()
    name, version = (re.search(rf'^{key} = "(.+)"$', text, re.MULTILINE) for key in ("name", "version"))
    assert name, project
    assert version, project
    stem = f"{name[1].replace('-', '_')}-{version[1]}"
    files = {module.name: module.read_text() for module in project.glob("*.py")}
    entries = "".join(f"{key} = {value}\n" for key, value in _entries(text).items())
    files |= {
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name[1]}\nVersion: {version[1]}\n",
        f"{stem}.dist-info/WHEEL": _WHEEL,
        f"{stem}.dist-info/entry_points.txt": f"[edgeface.backends]\n{entries}",
    }
    record = f"{stem}.dist-info/RECORD"
    files[record] = "".join(f"{path},,\n" for path in (*files, record))
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return wheel
