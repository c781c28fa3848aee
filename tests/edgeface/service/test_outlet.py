"""Results that leave by themselves, over real pipes: slow readers, those who go, and those who come again."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import jsonschema
import pytest

from edgeface.errors import ServiceError
from edgeface.service import ServiceSettings, named_camera, watch
from edgeface.service.pipe import NamedPipe, StandardOutput
from tests.edgeface.service.running import ASTRONAUT, running
from tests.edgeface.service.watching import Lines, wait_for, watched


def test_a_pipe_gives_results_like_those_of_the_service(tmp_path: Path, repository: Path) -> None:
    path = tmp_path / "faces"
    with watched(NamedPipe(path)) as seen:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        lines = Lines.of(path)
        told = [lines.next() for _ in range(3)]
        assert seen.outlet.open
        lines.leave()
    assert not path.exists()
    schema = json.loads((repository / "edgeface" / "schema.json").read_text())
    for one in told:
        jsonschema.validate(one, schema)
        assert one["source"] == "synthetic"
    numbers = [one["stream"]["number"] for one in told]
    assert numbers == sorted(set(numbers))
    assert seen.metrics.total("results_written", to="pipe") >= 3


def test_readers_come_and_go_and_nobody_is_held_up(tmp_path: Path) -> None:
    path = tmp_path / "faces"
    os.mkfifo(path)
    with watched(NamedPipe(path)) as seen:
        seen.go_on(3)  # nobody reads
        assert not seen.outlet.open
        numbers = []
        for _ in range(3):
            lines = Lines.of(path)
            numbers.append(lines.next()["stream"]["number"])  # whole from its first byte
            os.read(lines._descriptor, 10)  # and he goes in the middle of the next
            lines.leave()
            wait_for(lambda: not seen.outlet.open)
            seen.go_on(2)
    assert numbers == sorted(set(numbers))
    assert path.exists()  # it was there before


def test_a_slow_reader_gets_the_newest_and_every_event(tmp_path: Path) -> None:
    path = tmp_path / "faces"
    with watched(NamedPipe(path)) as seen:
        lines = Lines.of(path)
        told = [lines.next()]
        for _ in range(4):
            seen.go_on(6)
            told.append(lines.next())
        lines.leave()
        skipped = seen.metrics.total("results_skipped", to="pipe")
    numbers = [one["stream"]["number"] for one in told]
    # One line lies in the pipe; the next is the newest at the time when that was taken out.
    assert numbers[-1] - numbers[0] >= 3 * 6
    assert skipped >= 12
    events = [event["kind"] for one in told for event in one["events"]]
    assert events[:1] == ["appeared"]  # of a frame that he did not get


def test_what_is_no_pipe_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letters"
    path.write_text("dear")
    with pytest.raises(ServiceError, match="is no named pipe; delete it or choose another name"):
        NamedPipe(path)
    assert path.read_text() == "dear"
    with pytest.raises(ServiceError, match="No such file or directory"):
        NamedPipe(tmp_path / "missing" / "faces")


def test_a_file_that_took_the_place_of_the_pipe_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "faces"
    with watched(NamedPipe(path)) as seen:
        path.unlink()
        path.write_text("")
        seen.go_on(4)
        assert not seen.outlet.open
    assert path.read_text() == ""


def test_an_output_that_nobody_reads_ends(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with watched(StandardOutput(writing)) as seen:
        lines = Lines(reading)
        assert lines.next()["schema"] == "edgeface.frame/1"
        seen.go_on(5)  # he is slow
        assert not seen.outlet.ended
        lines.leave()
        wait_for(lambda: seen.outlet.ended)
        assert isinstance(seen.outlet.error, BrokenPipeError)
        seen.go_on(2)  # nobody else is held up
    os.close(writing)


def test_an_output_without_room_is_told(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no device here that is always full")
    with Path("/dev/full").open("wb") as full, watched(StandardOutput(full.fileno())) as seen:
        wait_for(lambda: seen.outlet.ended)
        assert "No space left" in str(seen.outlet.error)


def test_in_private_only_counts_leave() -> None:
    reading, writing = os.pipe()
    with watched(StandardOutput(writing), privacy="counts"):
        lines = Lines(reading)
        told = [lines.next() for _ in range(3)]
        lines.leave()
    os.close(writing)
    for one in told:
        assert one["schema"] == "edgeface.counts/1"
        assert set(one) == {"schema", "timestamp_ns", "faces", "facing", "events", "stream"}


def test_a_folder_is_watched_to_its_end_and_its_last_result_is_written(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("1.jpg", "2.jpg"):
        (photos / name).write_bytes(ASTRONAUT.read_bytes())
    path, said = tmp_path / "results", list[str]()
    with path.open("wb") as file:
        watch(
            ServiceSettings(tasks=()),
            named_camera(str(photos), loop=False),
            output=file.fileno(),
            stop=threading.Event(),
            say=said.append,
        )
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert told[-1]["source"] == "2.jpg"
    assert len(told[-1]["faces"]) == 1
    assert said == []


def test_a_service_writes_to_its_pipe_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "faces"
    with running(ServiceSettings(pipe=path), start="hall") as service, service.client() as client:
        assert f"Results go to the pipe {path}." in service.said
        assert client.get("/state").json()["outlets"] == {"pipe": False}
        lines = Lines.of(path)
        assert lines.next()["schema"] == "edgeface.frame/1"
        assert client.get("/state").json()["outlets"] == {"pipe": True}
        lines.leave()
        # A line is counted after it is written, so its reader may be here first.
        wait_for(lambda: 'edgeface_results_written_total{to="pipe"}' in client.get("/metrics").text)
        assert 'edgeface_outlet_open{to="pipe"}' in client.get("/metrics").text
    assert not path.exists()
