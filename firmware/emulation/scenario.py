"""What a booted device does, as root under systemd; `tests/firmware/test_boot.py` reads what it says.

    python3 scenario.py PHOTO GOOD_BUNDLE GOOD_VERSION HANGING_BUNDLE

The photo goes through the service's socket; then two updates come, as `edgeface-update.service` brings them:
one that works, and one whose models hang when the service runs them. What does not come about ends it with
an error, and the device switches itself off either way (its unit says so).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE = 900  # seconds of the device's own clock
_PAUSE = 1  # between two looks, which cost little
_LONG_PAUSE = 5  # while the service hangs: waiting for that costs less than a look
_SERVICE = "http://127.0.0.1:8080/analyze"
_UNIT = "edgeface.service"
_STORE = Path("/var/lib/edgeface/store")
_AS_THE_SERVICE = ("setpriv", "--reuid=edgeface", "--regid=edgeface", "--clear-groups")


def _main(photo: Path, good: str, good_version: str, hanging: str) -> None:
    _until("the service runs", lambda: _systemctl("is-active", _UNIT) == "active")
    _say("first", answer=_analyzed(photo), security=_shown("NoNewPrivileges", "ProtectSystem", "User"))

    _models("install", good, "--unsigned", "--wait-for-service")
    _until("the good update is confirmed", _settled(good_version))
    _say("updated", status=_status())

    # The next update comes another night: today's starts do not count against it.
    _systemctl("reset-failed", _UNIT)
    _models("install", hanging, "--unsigned", "--wait-for-service")
    # One start for the update and three after a hang.
    _until("the watchdog barked three times", lambda: _restarts() >= 4, _LONG_PAUSE)
    _until("the hanging update is left", _settled(good_version))
    _until("the service runs again", lambda: _systemctl("is-active", _UNIT) == "active")
    _say("healthy", status=_status(), answer=_analyzed(photo))


def _analyzed(photo: Path) -> dict[str, Any]:
    request = urllib.request.Request(_SERVICE, photo.read_bytes())
    request.add_header("Content-Type", "image/jpeg")
    with urllib.request.urlopen(request, timeout=_PATIENCE) as reply:  # noqa: S310  our own
        answer = json.load(reply)
    return {"faces": [sorted(face) for face in answer["faces"]], "ran": answer["ran"]}


def _settled(version: str) -> Callable[[], bool]:
    """Whether this version runs, and not on trial: asked anew when the store's pointer was replaced.

    A question is a start of Python, which takes the emulator longer than what is waited for.
    """
    asked: tuple[int, int] | None = None

    def settled() -> bool:
        nonlocal asked
        pointer = (_STORE / "state.json").stat()
        if asked == (pointer.st_ino, pointer.st_mtime_ns):
            return False
        asked = pointer.st_ino, pointer.st_mtime_ns
        runs = _status()["runs"]
        return (runs["version"], runs["trial"]) == (version, False)

    return settled


def _status() -> dict[str, Any]:
    status: dict[str, Any] = json.loads(_models("status", "--json"))
    return status


def _models(*arguments: str) -> str:
    environment = {**os.environ, "EDGEFACE_STORE": str(_STORE)}
    command = [*_AS_THE_SERVICE, "/usr/bin/edgeface", "models", *arguments]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def _systemctl(*arguments: str) -> str:
    command = ["systemctl", *arguments]
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True).stdout.strip()


def _restarts() -> int:
    return int(_systemctl("show", _UNIT, "--property=NRestarts", "--value"))


def _shown(*names: str) -> str:
    return _systemctl("show", _UNIT, f"--property={','.join(names)}")


def _until(what: str, true: Callable[[], bool], pause: float = _PAUSE) -> None:
    end = time.monotonic() + _PATIENCE
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {_PATIENCE} s")
        time.sleep(pause)


def _say(step: str, **what: object) -> None:
    sys.stdout.write(f"scenario: {json.dumps({'step': step, **what})}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _main(Path(sys.argv[1]), *sys.argv[2:5])
