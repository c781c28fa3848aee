"""What Prometheus, Grafana and Ansible are told, against a running service's metrics and their own tools."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from edgeface.service import ServiceSettings, machine
from tests.edgeface.service.running import QUICK, TOKEN, running
from tests.edgeface.service.watching import Lines, wait_for

FLEET = Path(__file__).resolve().parents[2] / "firmware" / "fleet"
ALERT_TESTS = Path(__file__).with_name("alerts.test.yml")
PROMETHEUS = {"job", "instance", "site", "alertname", "alertstate"}
"""Labels that Prometheus adds by itself or by devices.yml."""


def rules() -> list[dict[str, Any]]:
    """The alerts."""
    [group] = yaml.safe_load((FLEET / "alerts.yml").read_text())["groups"]
    return list(group["rules"])


def dashboard() -> dict[str, Any]:
    """The dashboard, as Grafana imports it."""
    found = json.loads((FLEET / "grafana.json").read_text())
    assert isinstance(found, dict)
    return found


def expressions() -> dict[str, str]:
    """Where it stands -> what Prometheus is asked, of dashboard and alerts."""
    found = {rule["alert"]: rule["expr"] for rule in rules()}
    for panel in dashboard()["panels"]:
        found |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    for variable in dashboard()["templating"]["list"]:
        found[f"${variable['name']}"] = variable.get("definition", "")
    return found


def names_of(expression: str) -> set[str]:
    """The metrics in it."""
    return set(re.findall(r"\b(?:edgeface|process|node)_[a-z0-9_]+", re.sub(r'"[^"]*"', '""', expression)))


def labels_of(expression: str) -> set[str]:
    """The labels that it selects or groups by."""
    chosen = re.findall(r"\{([^}]*)\}", expression)
    grouped = re.findall(r"\b(?:by|without|on) \(([^)]*)\)", expression)
    labels = {name for part in chosen for name in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", part)}
    return labels | {name.strip() for part in grouped for name in part.split(",")}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """/metrics of a service with a token, an outlet, and somebody who was refused."""
    pipe = tmp_path_factory.mktemp("pipe") / "faces"
    settings = ServiceSettings(token=TOKEN, pipe=pipe, limits=QUICK, version="1.2.3")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(machine, "temperature", lambda: 48.5)  # many machines tell none
        with running(settings, start="hall") as service, service.client() as client:
            lines = Lines.of(pipe)
            lines.next()
            lines.leave()
            assert client.get("/metrics").status_code == 401
            prometheus = {"Authorization": f"Bearer {TOKEN}"}
            client.get("/state", headers=prometheus)
            return client.get("/metrics", headers=prometheus).text


def test_every_metric_that_is_asked_for_is_on_the_page(page: str) -> None:
    known = set(re.findall(r"^([a-z_]+)[{ ]", page, re.MULTILINE))
    missing = {where: names_of(asked) - known for where, asked in expressions().items()}
    assert not {where: names for where, names in missing.items() if names}
    asked = set().union(*map(names_of, expressions().values()))
    assert len(asked) > 15
    for common in ("edgeface_camera_up", "edgeface_frame_age_seconds_bucket", "edgeface_temperature_celsius"):
        assert common in asked


def test_every_label_that_is_asked_for_is_on_the_page(page: str) -> None:
    known = set(re.findall(r'[{,](\w+)="', page)) | PROMETHEUS
    for where, asked in expressions().items():
        assert labels_of(asked) <= known, where
    legends = [target["legendFormat"] for panel in dashboard()["panels"] for target in panel["targets"]]
    assert set(re.findall(r"\{\{(\w+)\}\}", " ".join(legends))) <= known
    told = " ".join(text for rule in rules() for text in rule["annotations"].values())
    assert set(re.findall(r"\$labels\.(\w+)", told)) <= known


def test_the_dashboard_can_be_laid_out() -> None:
    found = dashboard()
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24, panel["title"]  # Grafana's grid
        assert not cells & taken, panel["title"]
        taken |= cells
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert all('job="edgeface"' in target["expr"] for target in panel["targets"])
    variables = {variable["name"] for variable in found["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(found)))
    assert used - {"__rate_interval"} == variables


def test_every_alert_says_what_to_do_and_is_tried() -> None:
    tried = ALERT_TESTS.read_text()
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["mend"]
        assert f'alertname="{rule["alert"]}"' in tried


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    promtool = tool("promtool")
    for file in FLEET.glob("*.yml"):
        shutil.copy(file, tmp_path)
    (tmp_path / "token").write_text(TOKEN)
    done = run(promtool, "check", "config", str(tmp_path / "prometheus.yml"))
    assert f"{len(rules())} rules found" in done


def test_alerts_fire_when_they_should_and_not_otherwise() -> None:
    assert "SUCCESS" in run(tool("promtool"), "test", "rules", str(ALERT_TESTS))


def test_the_scrape_shows_a_token_that_is_no_part_of_the_file() -> None:
    [job] = yaml.safe_load((FLEET / "prometheus.yml").read_text())["scrape_configs"]
    assert job["authorization"] == {"type": "Bearer", "credentials_file": "token"}
    [devices] = job["file_sd_configs"][0]["files"]
    groups = yaml.safe_load((FLEET / devices).read_text())
    assert all(set(group["labels"]) <= PROMETHEUS for group in groups)
    inventory = yaml.safe_load((FLEET / "ansible" / "inventory.example.yml").read_text())
    # A device answers to the name that the playbook gave it.
    asked = {target for group in groups for target in group["targets"]}
    assert asked == {f"{name}:9999" for name in inventory["kiosks"]["hosts"]}


def test_prometheus_gets_the_numbers_and_nothing_else(tmp_path: Path) -> None:
    exporter = tool("prometheus-exporter-exporter")
    [job] = yaml.safe_load((FLEET / "prometheus.yml").read_text())["scrape_configs"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "token").write_text(TOKEN)
    settings = ServiceSettings(names=("kiosk-01.example.org",), limits=QUICK)
    with running(settings, start="hall") as service:
        config = (FLEET / "exporter-exporter.yml").read_text().replace("8080", str(service.port))
        (tmp_path / "config.yml").write_text(config)
        command = [exporter, "-config.file", str(tmp_path / "config.yml"), "-web.listen-address", address]
        command += ["-web.bearer.token-file", str(tmp_path / "token")]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                wait_for(lambda: listening(address))
                ask = partial(httpx.get, params=job["params"], timeout=20, trust_env=False)
                told = {"Authorization": f"Bearer {TOKEN}", "Host": "kiosk-01.example.org:9999"}
                numbers = ask(f"http://{address}{job['metrics_path']}", headers=told)
                assert numbers.status_code == 200
                assert "# TYPE edgeface_camera_up gauge" in numbers.text
                assert ask(f"http://{address}{job['metrics_path']}").status_code == 401
                stranger = told | {"Host": "elsewhere.example.org"}
                assert ask(f"http://{address}{job['metrics_path']}", headers=stranger).status_code == 421
                for path in ("/state", "/snapshot.jpg", "/proxy/state", "/proxy/snapshot.jpg"):
                    answer = ask(f"http://{address}{path}", headers=told)
                    assert "edgeface.state" not in answer.text
                    assert not answer.content.startswith(b"\xff\xd8")  # a JPEG
            finally:
                process.terminate()


def test_ansible_takes_the_playbook(program: Callable[[str], list[str]]) -> None:
    folder = FLEET / "ansible"
    run(
        *program("ansible-playbook"),
        "-i",
        str(folder / "inventory.example.yml"),
        "--syntax-check",
        str(folder / "kiosks.yml"),
    )


def test_the_playbook_can_be_run_again() -> None:
    [play] = yaml.safe_load((FLEET / "ansible" / "kiosks.yml").read_text())
    tasks = [*play["pre_tasks"], *play["tasks"]]
    modules = {key for task in tasks for key in task if key.startswith("ansible.builtin.")}
    assert not modules & {"ansible.builtin.shell", "ansible.builtin.raw", "ansible.builtin.script"}
    for task in tasks:
        if "ansible.builtin.command" in task:
            assert task["changed_when"] is False, task["name"]
        # A restart is a handler's, which runs only after a change.
        assert task.get("ansible.builtin.systemd", {}).get("state") != "restarted", task["name"]
        if "edgeface_token" in str(task):
            assert task["no_log"] is True
    told = {handler["name"] for handler in play["handlers"]}
    assert {task["notify"] for task in tasks if "notify" in task} == told


def test_the_playbook_knows_every_variable() -> None:
    text = (FLEET / "ansible" / "kiosks.yml").read_text()
    kiosks = yaml.safe_load((FLEET / "ansible" / "inventory.example.yml").read_text())["kiosks"]
    given = {name for name in kiosks["vars"] if name.startswith("edgeface_")}
    assert set(re.findall(r"\bedgeface_\w+", text)) == given


def listening(address: str) -> bool:
    """Whether somebody listens there."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((host, int(port))) == 0


def tool(name: str) -> str:
    """The path of a program; a skip where it is absent."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str) -> str:
    """What a program said; an assertion that it ended well."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
