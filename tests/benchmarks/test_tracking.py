"""The tracking benchmark: its arithmetic on signals that are known, its clips, its report and its plot."""

from __future__ import annotations

import json
import math
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import machine, tracking
from benchmarks.errors import BenchmarkError
from benchmarks.process import Program, Side
from edgeface.frame import read_image
from edgeface.smoothing import OneEuro, PointSmoother

FIVE = np.array([(265, 110), (330, 112), (298, 140), (275, 175), (322, 176)], np.float64)


def swing(count: int = 300, delay: float = 0.0) -> NDArray[np.float64]:
    at = np.arange(count) / 30.0 - delay
    return np.column_stack((140 * np.sin(2 * np.pi * at / 2), 35 * np.sin(2 * np.pi * at / 2)))


def seen(shift: NDArray[np.float64], noise: float = 0.0) -> NDArray[np.float64]:
    points = FIVE + shift[:, None]
    return points + np.random.default_rng(0).normal(0, noise, points.shape)


class TestArithmetic:
    def test_trembling_is_that_of_the_noise(self) -> None:
        found = tracking.trembling(seen(np.zeros((330, 2)), 0.5))
        assert found["rms"] == pytest.approx(0.5 * math.sqrt(2), rel=0.05)
        assert found["step"] == pytest.approx(1.0, rel=0.05)
        assert found["drift"] == pytest.approx(0.5 * math.sqrt(2 / 30), rel=0.25)
        assert tracking.trembling(seen(np.zeros((100, 2)))) == {"rms": 0.0, "step": 0.0, "drift": 0.0}

    def test_a_slow_drift_is_no_step(self) -> None:
        creeping = np.column_stack((np.linspace(0, 3, 330), np.zeros(330)))
        found = tracking.trembling(seen(creeping))
        assert found["step"] < 0.02
        assert found["drift"] == pytest.approx(found["rms"], rel=0.05)

    @pytest.mark.parametrize("delay", [-0.02, 0.0, 0.01, 0.05, 0.1])
    def test_a_delay_comes_back(self, delay: float) -> None:
        found = tracking.lag(seen(swing(delay=delay), noise=0.5), swing())
        assert found["lag_ms"] == pytest.approx(1e3 * delay, abs=2.0)

    def test_a_constant_offset_of_a_point_is_no_error(self) -> None:
        points = seen(swing()) + np.random.default_rng(1).normal(0, 9, (1, 5, 2))
        assert tracking.lag(points, swing()) == pytest.approx({"lag_ms": 0.0, "error": 0.0}, abs=1e-6)

    def test_a_filter_without_beta_lags_by_its_time_constant(self) -> None:
        """A low-pass filter of 1 Hz: 1 / (2 pi) seconds for slow movements; here the swing is 0.5 Hz."""
        filtered = PointSmoother(OneEuro(1.0, 0.0))
        raw = seen(swing())
        points = [
            filtered.smooth(p.astype(np.float32), 100.0, round(k / 30 * 1e9)) for k, p in enumerate(raw)
        ]
        found = tracking.lag(np.array(points, np.float64), swing())
        assert 100 < found["lag_ms"] < 170
        assert found["error"] > 20


@pytest.fixture(scope="module")
def photo(astronaut_path: Path) -> NDArray[np.uint8]:
    return read_image(astronaut_path).rgb


class TestClips:
    def test_the_face_moves_as_told(self, photo: NDArray[np.uint8]) -> None:
        film = tracking.compose(photo, "quick", 40)
        assert [frame.rgb.shape for frame in film.frames] == [(480, 640, 3)] * 40
        assert film.shift[15].tolist() == pytest.approx([140, 35])
        points = tracking.follow(film.frames, None)
        assert np.abs((points - points[0]).mean(1) - film.shift).max() < 5
        assert abs(points[0, 1, 0] - points[0, 0, 0]) == pytest.approx(70, abs=15)

    def test_the_still_one_stands_and_smoothing_steadies_it(self, photo: NDArray[np.uint8]) -> None:
        film = tracking.compose(photo, "still", 70)
        assert not film.shift.any()
        assert not np.array_equal(film.frames[0].rgb, film.frames[1].rgb)
        plain = tracking.trembling(tracking.follow(film.frames, None))
        stiff = tracking.trembling(tracking.follow(film.frames, OneEuro(0.5, 5.0)))
        assert 0 < stiff["step"] < 0.5 * plain["step"] < 1

    def test_a_photo_without_a_face_is_refused(self) -> None:
        with pytest.raises(BenchmarkError, match="0 faces"):
            tracking.compose(np.full((200, 200, 3), 90, np.uint8), "still", 10)

    def test_a_face_that_is_lost_ends_the_run(self, photo: NDArray[np.uint8]) -> None:
        film = tracking.compose(photo, "still", 3)
        dark = [type(frame)(frame.rgb // 255, frame.timestamp_ns, "dark") for frame in film.frames]
        with pytest.raises(BenchmarkError, match="0 faces in frame 0"):
            tracking.follow(dark, None)

    def test_a_side_sees_one_frame_after_the_other(self, photo: NDArray[np.uint8]) -> None:
        film = tracking.compose(photo, "quick", 8)
        program = Program("EdgeFace", Path(sys.executable), "edgeface_side.py")
        with Side(program, film.frames[0].rgb, max(machine.os.sched_getaffinity(0))) as side:
            points = tracking.watch(side, "edgeface_landmarks", film.frames)
        assert np.abs((points - points[0]).mean(1) - film.shift).max() < 6
        assert film.shift[-1, 0] > 90


def measured() -> tracking.Measured:
    found = tracking.Measured(software={"edgeface": {"version": "0"}})
    for number, name in enumerate((*tracking.SMOOTHINGS, tracking.PEER)):
        for clip in tracking.CLIPS:
            shift = np.zeros((120, 2)) if clip == "still" else swing(120)
            for _ in range(2):
                found.note(name, clip, seen(shift, 0.1 * (number + 1)), tracking.Film([], shift))
    return found


class TestReport:
    def test_it_holds_every_variant_and_clip_and_is_json(self) -> None:
        result: dict[str, Any] = json.loads(json.dumps(tracking.report(measured(), {"photos": 2}, {})))
        assert set(result["variants"]) == {*tracking.SMOOTHINGS, tracking.PEER}
        assert result["default"] in result["variants"]
        assert tracking.SMOOTHINGS[result["default"]] == OneEuro()
        for name, clips in result["variants"].items():
            assert set(clips) == set(tracking.CLIPS)
            assert clips["still"]["rms"] == pytest.approx(result["raw"][name]["still"][0]["rms"], abs=1e-4)
            assert len(result["raw"][name]["quick"]) == 2
        assert all(result["units"][name] for name in ("rms", "step", "drift", "lag_ms", "error"))

    def test_the_plot_has_a_mark_for_each_variant_where_its_figures_are(self) -> None:
        result = tracking.report(measured(), {}, {})
        drawing = ElementTree.fromstring(tracking.plot(result))
        space = "{http://www.w3.org/2000/svg}"
        marks = drawing.findall(f"{space}circle")
        assert len(marks) == len(result["variants"])
        heights = [float(mark.attrib["cy"]) for mark in marks]
        assert heights == sorted(heights)  # the most trembling one first, at the top
        told = " ".join(text.text or "" for text in drawing.iter(f"{space}text"))
        assert tracking.PEER in told
        assert f"{result['default']} (default)" in told

    def test_a_failed_run_writes_nothing(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = tmp_path / "result.json"
        assert tracking.main(["--alone", "--photos", str(tmp_path / "none.jpg"), "--out", str(out)]) == 1
        assert "no result" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []
