"""The label-flip benchmark: its arithmetic on scores that are known, its films, its report and its table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import flips
from edgeface.known import TrackSettings
from edgeface.labels import FER8
from edgeface.results import Expression


def said(happy: float) -> Expression:
    """Happiness by so much, and neutral by the rest."""
    return Expression(dict.fromkeys(FER8.names, 0.0) | {"happiness": happy, "neutral": 1 - happy})


def smoothing(time: float, margin: float, every: float = 0.0) -> TrackSettings:
    return TrackSettings(expression_time=time, expression_margin=margin, expression_every=every)


WAVERING = [said(0.55 if number % 2 else 0.45) for number in range(60)]  # two seconds


class TestArithmetic:
    def test_what_wavers_flips_at_every_frame_and_not_once_where_it_is_held(self) -> None:
        assert flips.flips(WAVERING, smoothing(0.0, 0.0)) == pytest.approx(59 * 30)
        assert flips.flips(WAVERING, smoothing(0.0, 0.2)) == 0
        assert flips.flips(WAVERING, smoothing(0.3, 0.1)) == 0

    def test_a_change_is_told_after_the_time_that_its_mean_takes(self) -> None:
        happy, neutral = said(0.9), said(0.1)
        assert flips.delay(happy, neutral, smoothing(0.0, 0.0)) == 0
        told = flips.delay(happy, neutral, smoothing(0.3, 0.0))
        assert told == pytest.approx(300 * 0.693, abs=34)  # the mean of both is passed after a half-life
        later = flips.delay(happy, neutral, smoothing(0.3, 0.2))
        assert later is not None
        assert told is not None
        assert later > told
        assert flips.delay(said(0.55), said(0.45), smoothing(0.3, 0.2)) is None

    def test_the_default_is_the_trackers(self) -> None:
        result = flips.report([flips.Seen({"still": WAVERING, "sways": WAVERING})], {}, {})
        assert flips.SMOOTHINGS[result["default"]] == TrackSettings()

    def test_between_two_readings_a_label_is_held(self) -> None:
        labels = flips.held(
            [said(0.9 * (number % 3 != 1)) for number in range(30)], smoothing(0.0, 0.0, 0.09)
        )
        assert labels == ["happiness"] * 30
        happy, neutral = said(0.9), said(0.1)
        told = [flips.delay(happy, neutral, smoothing(0.0, 0.0, 0.09), later) for later in range(3)]
        assert sorted(told) == pytest.approx([0, 1e3 / 30, 2e3 / 30])


class TestReport:
    def test_a_photo_goes_through_all_of_it(self, astronaut_path: Path, tmp_path: Path) -> None:
        (tmp_path / "empty.png").write_bytes(b"no picture")
        out = tmp_path / "flips.json"
        arguments = ["--photos", str(tmp_path), str(astronaut_path), "--frames", "12", "--out", str(out)]
        assert flips.main(arguments) == 0
        result = json.loads(out.read_text())
        assert result["conditions"]["photos"] == 1
        assert result["conditions"]["left_out"] == 1
        for told in result["variants"].values():
            assert told["flips_per_minute"] == {"still": 0.0, "sways": 0.0}  # a plain smile
            assert told["raw"].keys() == flips.CLIPS.keys()
        lines = flips.table(result).splitlines()
        assert len(lines) == 2 + len(flips.SMOOTHINGS) + 2
        assert sum("(default)" in line for line in lines) == 1

    def test_without_a_face_there_is_no_result(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "empty.png").write_bytes(b"no picture")
        assert flips.main(["--photos", str(tmp_path), "--out", str(tmp_path / "none.json")]) == 1
        assert "none of the 1 photos shows one face" in capsys.readouterr().err
        assert not (tmp_path / "none.json").exists()
