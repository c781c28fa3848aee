"""The benchmark's arithmetic, its checks of the answers, its report and its child processes."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import checks, environments, facemesh, frames, machine, samples
from benchmarks.errors import BenchmarkError
from benchmarks.process import Program, Side

_SCHEMA = json.loads(Path(facemesh.__file__).with_name("facemesh.schema.json").read_text())
_SEEN: dict[str, Any] = {
    "faces": 1,
    "box": [240.0, 60.0, 120.0, 150.0],
    "points": [[265.0, 110.0], [330.0, 112.0], [298.0, 140.0], [275.0, 175.0], [322.0, 176.0]],
}


class TestSamples:
    def test_ratio_is_of_medians(self) -> None:
        found = samples.ratio([1.0, 2.0, 300.0], [4.0, 4.0, 4.0])
        assert found.value == 0.5

    def test_an_outlier_widens_nothing_when_both_sides_share_it(self) -> None:
        theirs = np.linspace(4, 5, 101)
        theirs[::3] *= 10  # the machine was busy in a third of the rounds, for both sides
        found = samples.ratio(theirs / 2, theirs)
        assert (found.low, found.value, found.high) == pytest.approx((0.5, 0.5, 0.5))

    def test_interval_holds_the_truth(self) -> None:
        held = 0
        for seed in range(60):
            noise = np.random.default_rng(seed)
            ours, theirs = 0.6 * noise.lognormal(0, 0.2, 80), noise.lognormal(0, 0.2, 80)
            found = samples.ratio(ours, theirs, draws=400, seed=seed)
            held += found.low <= 0.6 <= found.high
        assert 50 <= held < 60, "a 95 % interval holds the truth in about 57 of 60 runs, not in all of them"

    def test_same_seed_same_interval(self) -> None:
        ours, theirs = np.random.default_rng(0).lognormal(0, 0.3, (2, 40))
        assert samples.ratio(ours, theirs, seed=3) == samples.ratio(ours, theirs, seed=3)
        assert samples.ratio(ours, theirs, seed=3) != samples.ratio(ours, theirs, seed=4)

    @given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=30), st.floats(0.1, 10))
    def test_ratio_of_a_scaled_copy_is_the_scale(self, theirs: list[float], scale: float) -> None:
        found = samples.ratio([value * scale for value in theirs], theirs, draws=50)
        assert (found.low, found.value, found.high) == pytest.approx((scale, scale, scale))

    @pytest.mark.parametrize(("ours", "theirs"), [([], []), ([1.0], [1.0, 2.0])])
    def test_rounds_must_pair(self, ours: list[float], theirs: list[float]) -> None:
        with pytest.raises(ValueError, match="one value per round"):
            samples.ratio(ours, theirs)

    def test_summary_clips_nothing(self) -> None:
        found = samples.summary([1.0] * 98 + [50.0, 1000.0])
        assert (found["count"], found["median"], found["min"]) == (100, 1.0, 1.0)
        assert found["p99"] > 50.0

    def test_spread(self) -> None:
        assert samples.spread([2.0] * 9) == 0.0
        assert samples.spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 3)


class TestChecks:
    def test_a_face_passes(self) -> None:
        checks.check_alone("side", _SEEN)
        assert checks.check_agreement(_SEEN, _SEEN) == {"iou": 1.0, "distance": 0.0}

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"faces": 0}, "found 0 faces"),
            ({"faces": 2}, "found 2 faces"),
            ({"points": [[0.0, 0.0]] * 5}, "do not lie in its face"),
            ({"points": [[float("nan"), 110.0]] * 5}, "do not lie in its face"),
            ({"parsing": {"background": 1.0}}, "hardly any skin"),
            ({"expression": {"neutral": 1.0}}, "not a distribution"),
            ({"expression": dict.fromkeys("abcdefgh", 0.5)}, "not a distribution"),
        ],
    )
    def test_anything_else_ends_the_run(self, change: dict[str, Any], told: str) -> None:
        with pytest.raises(BenchmarkError, match=told):
            checks.check_alone("side", {**_SEEN, **change})

    def test_another_box_is_no_agreement(self) -> None:
        with pytest.raises(BenchmarkError, match="disagree"):
            checks.check_agreement({**_SEEN, "box": [320.0, 60.0, 120.0, 150.0]}, _SEEN)

    def test_mirrored_points_are_no_agreement(self) -> None:
        mirrored = [_SEEN["points"][index] for index in (1, 0, 2, 4, 3)]
        with pytest.raises(BenchmarkError, match="disagree"):
            checks.check_agreement({**_SEEN, "points": mirrored}, _SEEN)


class TestFrame:
    def test_photo_is_placed_unscaled(self) -> None:
        photo = np.random.default_rng(0).integers(1, 256, (512, 512, 3), dtype=np.uint8)
        frame = frames.webcam_frame(photo)
        assert frame.shape == (480, 640, 3)
        assert np.array_equal(frame[:, 64:576], photo[:480])
        assert not frame[:, :64].any()
        assert not frame[:, 576:].any()

    def test_digest_sees_one_bit(self) -> None:
        frame = np.zeros((480, 640, 3), np.uint8)
        before = frames.digest(frame)
        frame[479, 639, 2] ^= 1
        assert frames.digest(frame) != before

    def test_another_size_is_refused(self) -> None:
        with pytest.raises(ValueError, match="512"):
            frames.webcam_frame(np.zeros((480, 640, 3), np.uint8))


def _measured() -> facemesh.Measured:
    ms = {"edgeface_landmarks": 1.0, "edgeface_all": 2.6, "mediapipe_static": 2.5, "mediapipe_video": 1.5}
    return facemesh.Measured(
        latency_ns={name: [[int(value * 1e6)] * 3 for _ in range(12)] for name, value in ms.items()},
        first_result_ns={name: [int(ms[name] * 1e8)] * 5 for name in facemesh.COLD},
        peak_memory_bytes={name: [int(ms[name] * 2**26)] * 5 for name in facemesh.COLD},
        agreement={"iou": 0.8, "distance": 0.05},
        software={
            "edgeface": {"version": "0.1.0", "bundle": "0" * 64, "python": "3.11.7", "libraries": {}},
            "mediapipe": {"version": "0.10.14", "python": "3.11.7", "libraries": {}},
        },
    )


def _conditions() -> dict[str, Any]:
    return {
        "frame": {"what": frames.WHAT, "sha256": "0" * 64},
        "faces": 1,
        "threads": 1,
        "core": 0,
        "rounds": 12,
        "timed_calls_per_round": 3,
        "untimed_calls_per_round": 1,
        "cold_rounds": 5,
        "load_average_before": 0.1,
        "steal_share": 0.0,
        "commit": None,
    }


class TestReport:
    def test_it_is_what_the_schema_says(self) -> None:
        result = json.loads(json.dumps(facemesh.report(_measured(), _conditions(), machine.describe())))
        jsonschema.validate(result, _SCHEMA)

    @pytest.mark.parametrize("missing", ["raw", "machine", "conditions", "ratios", "goals", "agreement"])
    def test_the_schema_notices_what_is_missing(self, missing: str) -> None:
        result = facemesh.report(_measured(), _conditions(), machine.describe())
        del result[missing]
        with pytest.raises(jsonschema.ValidationError, match=missing):
            jsonschema.validate(result, _SCHEMA)

    def test_goals_are_judged_by_the_ratios(self) -> None:
        result = facemesh.report(_measured(), _conditions(), machine.describe())
        assert result["ratios"]["detect_and_landmarks"]["value"] == 0.4
        assert result["ratios"]["landmarks_to_video_mode"]["value"] == pytest.approx(0.6667)
        met = {name: goal["met"] for name, goal in result["goals"].items()}
        assert met == {
            "detect_and_landmarks": True,
            "detect_and_all_three": False,
            "cold_start": False,
            "peak_memory": False,
        }

    def test_a_noisy_run_says_so(self) -> None:
        quiet, noisy = _measured(), copy.deepcopy(_measured())
        for number, calls in enumerate(noisy.latency_ns["edgeface_all"]):
            calls[:] = [int(2.6e6 * (1 + number))] * 3
        assert facemesh.report(quiet, _conditions(), machine.describe())["flags"] == []
        assert facemesh.report(noisy, _conditions(), machine.describe())["flags"] == ["noisy"]
        stolen = {**_conditions(), "steal_share": 0.1}
        assert facemesh.report(quiet, stolen, machine.describe())["flags"] == ["noisy"]

    def test_every_committed_result_is_what_the_schema_says(self, repository: Path) -> None:
        for path in sorted((repository / "benchmarks" / "results").glob("facemesh-*.json")):
            jsonschema.validate(json.loads(path.read_text()), _SCHEMA)


class TestMachine:
    def test_steal_share(self) -> None:
        assert machine.steal_share([0] * 8, [10, 0, 10, 60, 0, 0, 0, 20]) == 0.2

    def test_it_names_neither_the_host_nor_a_folder(self) -> None:
        told = json.dumps(machine.describe())
        assert machine.platform.node() not in told or not machine.platform.node()
        assert "/home" not in told


class TestSide:
    """The children, with the Python that runs this test."""

    @pytest.fixture
    def frame(self) -> np.ndarray:
        return np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)

    def test_times_are_of_the_calls(self, frame: np.ndarray, repository: Path) -> None:
        bundle = repository / "tests" / "fixtures" / "tiny.bundle"
        program = Program("EdgeFace", Path(sys.executable), "edgeface_side.py", [str(bundle)])
        core = max(machine.os.sched_getaffinity(0))
        with Side(program, frame, core) as side:
            answer = side.calls("edgeface_landmarks", warm_up=1, calls=4)
            assert len(answer["times_ns"]) == 4
            assert 0 < sum(answer["times_ns"]) < answer["clock_ns"] - side.started_ns
            assert answer["seen"]["faces"] in (0, 1)
            assert len(side.ask({"do": "about"})["bundle"]) == 64
            memory = side.ask({"do": "memory"})
            assert 10 * 2**20 < memory["now"] <= memory["peak"] < 2**30

    def test_a_side_that_dies_says_why(self, frame: np.ndarray, tmp_path: Path) -> None:
        program = Program(
            "EdgeFace", Path(sys.executable), "edgeface_side.py", [str(tmp_path / "none.bundle")]
        )
        side = Side(program, frame, max(machine.os.sched_getaffinity(0)))
        with side, pytest.raises(BenchmarkError, match=r"(?s)EdgeFace ended with code 1.*BundleError"):
            side.calls("edgeface_landmarks", warm_up=0, calls=1)


class TestEnvironments:
    def test_an_interrupted_environment_is_not_ready(self, tmp_path: Path) -> None:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "python").symlink_to(sys.executable)
        assert not environments.MEDIAPIPE.is_ready(tmp_path)
        (tmp_path / "installed").write_text("other versions")
        assert not environments.MEDIAPIPE.is_ready(tmp_path)

    def test_a_failed_run_writes_nothing(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = tmp_path / "result.json"
        stranger = tmp_path / "python"
        stranger.write_text("#!/bin/sh\necho no mediapipe here >&2\nexit 3\n")
        stranger.chmod(0o755)
        assert facemesh.main(["--out", str(out), "--mediapipe-python", str(stranger)]) == 1
        assert "no result" in capsys.readouterr().err
        assert not out.exists()
