"""The live benchmark: its films, its clock, its report, and each half in miniature against the real thing."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import machine, published
from benchmarks.errors import BenchmarkError
from benchmarks.live import __main__ as command
from benchmarks.live import browser, clips, result, tracked, watched
from benchmarks.live.browser import Painted
from benchmarks.live.tracked import STRETCH, Plan, Tracked
from benchmarks.live.watched import Watched
from benchmarks.peers.accuracy import iou
from benchmarks.process import Program
from edgeface.analyzer import FaceAnalyzer
from edgeface.frame import read_image

SILENT = {"films": {"what": clips.WHAT, "sha256": {"0": "0" * 64}}, "threads": 1, "core": 0, "rounds": 4}
CONDITIONS: dict[str, Any] = {
    **SILENT,
    "frames_per_round": STRETCH,
    "watched_rounds": 2,
    "watched_seconds": 4.0,
    "load_average_before": 0.0,
    "steal_share": 0.0,
}
EDGEFACE = Program("EdgeFace", Path(sys.executable), "tracker_side.py")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory, astronaut_path: Path) -> list[clips.Film]:
    folder, photo = tmp_path_factory.mktemp("films"), read_image(astronaut_path).rgb
    return [clips.make(photo, faces, folder, seconds=1) for faces in clips.FACES]


def of_times(ours: float, theirs: float, rounds: int = 4, memory: float = 0.0) -> Tracked:
    """A run in which each frame took so many milliseconds, and the detector every 15th ten times that."""
    measured = Tracked()
    for faces in clips.FACES:
        for variant, side in tracked.VARIANTS.items():
            own = side == "edgeface"
            frame = round(1e6 * (ours if own else theirs))
            row = f"{variant}@{faces}"
            looked = [own, *[False] * (STRETCH - 1)]
            times = [10 * frame if flag else frame for flag in looked]
            measured.latency_ns[row], measured.detected[row] = [times] * rounds, [looked] * rounds
            measured.found[row] = 1.0
    held = np.linspace(100, 100 + memory, rounds) * 2**20
    measured.memory_bytes = {"edgeface": held.astype(int).tolist(), "mediapipe": [200 * 2**20] * rounds}
    return measured


def of_pictures(faces_told: int = 4) -> Watched:
    """A run in which a picture was painted 40 ms after the camera took it, and one of 50 after 90."""
    measured = Watched(clock=browser.Clock(5.0, 0.3, 0.1), browser="1", memory_bytes=[2**27, 2**27])
    for name in ("0 faces, 15 fps", "4 faces, 30 fps"):
        for _ in range(2):
            seen = [
                Painted(1e3 * k, 10.0, 20.0, 90.0 if k % 50 == 49 else 40.0, k, faces_told)
                for k in range(100)
            ]
            measured.note(name, seen, 3.5, 0.25)
        measured.cpu_share_alone[name] = 0.2
    return measured


class TestFilms:
    def test_faces_are_where_the_film_says(self, films: list[clips.Film]) -> None:
        with FaceAnalyzer(("landmarks",)) as analyzer:
            for film in films:
                for at in (0, 17, 29):
                    faces = analyzer.analyze(film.frames[at]).faces
                    assert len(faces) == film.faces
                    for box in film.boxes[at]:
                        hulls = [face.landmarks.points for face in faces if face.landmarks is not None]
                        assert max(iou((*p.min(0), *np.ptp(p, axis=0)), box) for p in hulls) > 0.8

    def test_the_slower_film_is_as_long(self, films: list[clips.Film]) -> None:
        from edgeface.camera import VideoFile

        for rate, path in films[1].paths.items():
            film = VideoFile(path)
            assert (film.rate, film.count) == (rate, rate)
            film.close()

    def test_a_photo_without_a_face_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(BenchmarkError, match="0 faces"):
            clips.make(np.full((200, 200, 3), 90, np.uint8), 1, tmp_path)


class TestTracked:
    def test_the_detectors_frames_count_in_the_mean_alone(self) -> None:
        ratios = tracked.ratios(of_times(ours=1.0, theirs=2.0))
        assert ratios["landmarks_1_face"]["value"] == pytest.approx(0.5)
        assert ratios["landmarks_1_face"]["met"] is True
        assert ratios["landmarks_1_face_mean"]["value"] == pytest.approx(0.5 * 24 / 15)
        assert tracked.ratios(of_times(1.5, 2.0))["landmarks_4_faces"]["met"] is False

    def test_memory_that_grows_is_told(self) -> None:
        told = result.report(of_times(1, 2, rounds=9, memory=8.0), None, CONDITIONS, machine.describe())
        growth = told["tracked"]["memory_growth_mib"]
        assert growth["edgeface"] == pytest.approx(6.0, abs=0.01)
        assert growth["met"] is False

    def test_the_tracker_is_shown_each_film_in_turn(self, films: list[clips.Film]) -> None:
        measured = tracked.measure({"edgeface": EDGEFACE}, films, Plan(2, 0), lambda _text: None)
        assert set(measured.latency_ns) == {
            f"tracked_{tasks}@{faces}"
            for tasks in ("landmarks", "all", "all_every_frame")
            for faces in clips.FACES
        }
        for faces in (1, 4):
            flags = [flag for part in measured.detected[f"tracked_landmarks@{faces}"] for flag in part]
            assert len(flags) == 2 * STRETCH
            assert 1 <= sum(flags) <= STRETCH, "the detector rests"
            assert measured.found[f"tracked_all@{faces}"] > 0.95
        assert measured.software["edgeface"]["bundle"]

    def test_a_side_that_loses_the_faces_gives_no_result(self, films: list[clips.Film]) -> None:
        moved = [[(box[0] + 200, *box[1:]) for box in boxes] for boxes in films[1].boxes]
        wrong = clips.Film(1, films[1].paths, films[1].frames, moved)
        with pytest.raises(BenchmarkError, match="found 0%"):
            tracked.measure({"edgeface": EDGEFACE}, [wrong], Plan(1, 0), lambda _text: None)


class TestClock:
    def test_all_bounds_together_are_closer_than_any(self) -> None:
        """The page began 1000 ms after the host; one answer was long on its way there, the other back."""
        there = (2_000_000_000 - 5_000_000, 1000.0, 2_000_100_000)
        back = (1_999_900_000, 1000.0, 2_000_000_000 + 9_000_000)
        clock = browser.clock_of([there, back], 5_001_000.0, 5_000_000_000_000)
        assert clock.offset_ms == pytest.approx(1000.0, abs=0.2)
        assert clock.within_ms < 0.2
        assert clock.time_origin_off_ms == pytest.approx(0.0, abs=0.2)

    def test_clocks_that_part_are_refused(self) -> None:
        bounds = [(2_000_000_000, 1000.0, 2_001_000_000), (3_000_000_000, 1990.0, 3_001_000_000)]
        with pytest.raises(BenchmarkError, match=r"part by 8\.9"):
            browser.clock_of(bounds, 0.0, 0)


class TestService:
    def test_it_is_started_chosen_and_ended(self, films: list[clips.Film]) -> None:
        paths = [films[0].paths[15], films[1].paths[15]]
        with watched.serving(paths) as service:
            service.choose(paths[1].name)
            assert service.memory() > 2**20
            assert service.cpu_seconds() > 0
            with pytest.raises(BenchmarkError, match="does not start"):
                service.choose("nowhere.avi")

    def test_one_that_cannot_start_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", "")
        monkeypatch.setattr(sys, "executable", shutil.which("false"))
        with pytest.raises(BenchmarkError, match="did not start"), watched.serving([]):
            pass

    def test_a_page_that_shows_other_faces_gives_no_result(self, films: list[clips.Film]) -> None:
        case = watched.Case(films[2], 30)
        with pytest.raises(BenchmarkError, match="0 of 200"):
            watched._check(case, of_pictures(faces_told=3).painted[case.name])
        watched._check(case, of_pictures(faces_told=4).painted[case.name])


class TestReport:
    def test_it_follows_its_schema(self) -> None:
        told = result.report(of_times(1, 3), of_pictures(), CONDITIONS, machine.describe())
        assert published.faults(Path("live.json"), json.loads(json.dumps(told))) == []
        assert told["flags"] == []
        told["tracked"]["rows"]["tracked_all@1"]["faces_found"] = 0.5
        assert published.faults(Path("live.json"), told)

    def test_the_table_says_what_was_missed(self) -> None:
        told = result.report(of_times(2, 3), of_pictures(), CONDITIONS, machine.describe())
        lines = result.table(told).splitlines()
        points = next(line for line in lines if "68 points | 1 |" in line)
        assert "0.67 [0.67, 0.67], goal 0.5 MISSED" in points
        everything = next(line for line in lines if "expression | 1 |" in line)
        assert "goal 1.0 met" in everything
        film = next(line for line in lines if "4 faces, 30 fps" in line)
        assert "| 10.0 | 40.0 | 40.0 | 90.0 | 28.3 | 28.6 | 25.0% | 20.0% |" in film

    def test_a_service_that_is_late_is_flagged(self) -> None:
        seen = of_pictures()
        seen.analysed["4 faces, 30 fps"] = 100
        assert result.report(None, seen, CONDITIONS, machine.describe())["flags"] == ["late"]
        assert "late" in result.table(result.report(None, seen, CONDITIONS, machine.describe()))

    def test_nothing_is_written_when_a_side_fails(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        wall = tmp_path / "wall.png"
        import cv2

        cv2.imwrite(str(wall), np.full((200, 200, 3), 90, np.uint8))
        out = tmp_path / "live.json"
        assert command.main(["--photo", str(wall), "--alone", "--out", str(out)]) == 1
        assert "no result" in capsys.readouterr().err
        assert not out.exists()


@pytest.mark.device
def test_a_picture_is_followed_from_the_camera_to_the_page(films: list[clips.Film]) -> None:
    pytest.importorskip("playwright", reason="the package playwright drives the browser")
    measured = watched.measure([films[1]], 1, 3.0, lambda _text: None)
    for name in ("1 face, 15 fps", "1 face, 30 fps"):
        assert len(measured.painted[name]) >= 5
        for one in measured.painted[name]:
            assert 0 <= one.result <= one.arrived <= one.painted < 10_000
        cameras = [one.camera for one in measured.painted[name]]
        assert cameras == sorted(cameras)
        assert 0 < measured.cpu_share[name][0] < 4
    assert measured.clock is not None
    assert measured.clock.within_ms < 5
    assert abs(measured.clock.time_origin_off_ms) < 50
