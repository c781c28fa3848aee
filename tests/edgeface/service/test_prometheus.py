"""The page of numbers as Prometheus reads it: its own linter, its official parser, and a real scrape."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeface.service import ServiceSettings
from tests.edgeface.service.brokers import free_port
from tests.edgeface.service.running import QUICK, TOKEN, Running, running
from tests.edgeface.service.watching import wait_for


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} here: apt-get install prometheus")
    return found


def page(client: httpx.Client) -> str:
    """The numbers, when there are some of every kind."""
    wait_for(lambda: client.get("/state").json()["fps"] > 0)
    client.get("/nowhere")
    return client.get("/metrics").text


def test_its_linter_finds_nothing(client: httpx.Client) -> None:
    checked = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=page(client),
        capture_output=True,
        check=False,
        text=True,
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_its_parser_reads_what_the_service_tells(client: httpx.Client) -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="pip install prometheus-client")
    found = {family.name: family for family in parser.text_string_to_metric_families(page(client))}
    assert {name: found[name].type for name in ("edgeface_frames", "edgeface_faces", "edgeface_info")} == {
        "edgeface_frames": "counter",
        "edgeface_faces": "gauge",
        "edgeface_info": "gauge",
    }
    ages = {sample.labels.get("le"): sample.value for sample in found["edgeface_frame_age_seconds"].samples}
    assert ages["+Inf"] >= 1
    requests = {sample.labels["status"] for sample in found["edgeface_requests"].samples}
    assert {"200", "404"} <= requests


def asked(port: int, query: str) -> list[dict[str, Any]]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as client:
        try:
            told = client.get("/api/v1/query", params={"query": query}).json()
        except (httpx.HTTPError, ValueError):  # it is still starting
            return []
    found: list[dict[str, Any]] = told.get("data", {}).get("result", [])
    return found


def test_a_real_prometheus_scrapes_a_guarded_service(tmp_path: Path) -> None:
    prometheus, port = program("prometheus"), free_port()
    settings = ServiceSettings(token=TOKEN, limits=QUICK, version="0.1")
    with running(settings, start="hall") as service:
        config = tmp_path / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
            "scrape_configs:\n"
            "- job_name: kiosk\n"
            f"  authorization: {{credentials: {TOKEN}}}\n"
            f"  static_configs: [{{targets: ['127.0.0.1:{service.port}']}}]\n"
        )
        process = subprocess.Popen(
            [prometheus, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}",
             f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"],
        )  # fmt: skip
        try:
            scraped(port, service)
        finally:
            process.terminate()
            process.wait(30)


def scraped(port: int, service: Running) -> None:
    frames = wait_for(lambda: asked(port, "edgeface_frames_total"), 60)
    assert frames[0]["metric"]["job"] == "kiosk"
    wait_for(lambda: asked(port, 'up{job="kiosk"} == 1'))
    first = float(frames[0]["value"][1])
    wait_for(lambda: float(asked(port, "edgeface_frames_total")[0]["value"][1]) > first)
    wait_for(lambda: asked(port, "rate(edgeface_frames_total[20s]) > 0"))
    quantile = "histogram_quantile(0.95, rate(edgeface_frame_age_seconds_bucket[20s]))"
    (latency,) = wait_for(lambda: [one for one in asked(port, quantile) if one["value"][1] != "NaN"])
    assert 0 < float(latency["value"][1]) <= 2.5
    (info,) = asked(port, "edgeface_info")
    assert {"version", "backend", "privacy"} <= set(info["metric"])
    assert time.time() - float(info["value"][0]) < 60
    assert service.thread.is_alive()
