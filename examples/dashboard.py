"""A dashboard of many kiosks over MQTT: who is online, how many people are there, how long they stay.

    edgeface watch --camera 0 --privacy counts --mqtt mqtt://BROKER/kiosks/hall      on each device
    python examples/dashboard.py BROKER kiosks                                       anywhere

Needs paho-mqtt (pip install "edgeface[mqtt]"). It uses nothing but counts and events, so that the kiosks may
keep the rest to themselves.
"""

from __future__ import annotations

import argparse
import json
import threading
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from rich.live import Live
from rich.table import Table


@dataclass
class Kiosk:
    """What is known of one device."""

    status: str = "?"
    here: int = 0
    visits: int = 0
    left: int = 0
    stayed: float = 0.0
    fps: float = 0.0


class Dashboard:
    """Hears everything below a topic."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._lock = threading.Lock()  # messages come in paho's thread
        self._kiosks: dict[str, Kiosk] = {}

    def hear(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        """Take a result, or a status."""
        name = message.topic.removeprefix(f"{self._root}/")
        with self._lock:
            if name.endswith("/status"):
                kiosk = self._kiosks.setdefault(name.removesuffix("/status"), Kiosk())
                kiosk.status = message.payload.decode()
                if kiosk.status != "online":
                    kiosk.here = 0
            else:
                self._count(self._kiosks.setdefault(name, Kiosk()), json.loads(message.payload))

    def _count(self, kiosk: Kiosk, told: dict[str, Any]) -> None:
        faces = told["faces"]  # a number where the kiosk keeps the faces to itself
        kiosk.here = faces if isinstance(faces, int) else len(faces)
        kiosk.fps = told["stream"]["fps"]
        for event in told["events"]:
            if event["kind"] == "appeared":
                kiosk.visits += 1
            else:
                kiosk.left += 1
                kiosk.stayed += event["dwell_ns"] / 1e9

    def table(self) -> Table:
        """Return what is known now."""
        table = Table(
            "Kiosk", "Status", "Here", "Visits", "Stay", "Frames/s", title=f"Kiosks below {self._root}"
        )
        with self._lock:
            for name, kiosk in sorted(self._kiosks.items()):
                stay = f"{kiosk.stayed / kiosk.left:.1f} s" if kiosk.left else "-"
                colour = "green" if kiosk.status == "online" else "red"
                status = f"[{colour}]{kiosk.status}[/]"
                table.add_row(name, status, str(kiosk.here), str(kiosk.visits), stay, f"{kiosk.fps:.0f}")
        return table


def main() -> None:
    """Show the table until Ctrl-C."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("broker")
    parser.add_argument("topic", help="what all kiosks are below")
    parser.add_argument("--port", type=int, default=1883)
    options = parser.parse_args()
    dashboard = Dashboard(options.topic)
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = dashboard.hear
    # After a broker's restart too, which forgets who had subscribed.
    client.on_connect = lambda *_: client.subscribe(f"{options.topic}/#", qos=1)
    client.connect(options.broker, options.port)
    client.loop_start()
    stop = threading.Event()
    try:
        with Live(get_renderable=dashboard.table, refresh_per_second=4):
            stop.wait()
    except KeyboardInterrupt:
        pass
    finally:
        client.loop_stop()


if __name__ == "__main__":
    main()
