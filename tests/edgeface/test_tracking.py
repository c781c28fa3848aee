"""Numbers that stay, events, dwell, and a detector that rests: on faces whose every movement is known."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeface.analyzer import FaceAnalyzer
from edgeface.backends.scripted import ScriptedBackend
from edgeface.bundle import Bundle
from edgeface.camera import Actor, Place, SyntheticCamera
from edgeface.errors import ArgumentError, FrameError
from edgeface.frame import Frame, read_image
from edgeface.known import TrackSettings
from edgeface.results import BBox, Blendshapes, Face, FrameResult
from edgeface.smoothing import OneEuro
from edgeface.tracking import FaceTracker
from edgeface.tracks import TrackResult
from tests.bundles import TINY
from tests.edgeface.crowd import SECOND, Crowd, Person, frame_at, times

RAW = TrackSettings(smoothing=None)


def still(x: float, y: float) -> Any:
    return lambda seconds: (x, y)


def watched(
    crowd: Crowd, moments: Sequence[float], settings: TrackSettings | None = None
) -> list[TrackResult]:
    tracker = FaceTracker(crowd, settings)
    return [tracker.update(frame_at(seconds)) for seconds in moments]


def events_of(results: list[TrackResult]) -> list[tuple[str, int]]:
    return [(event.kind, event.id) for result in results for event in result.events]


def test_a_followed_face_costs_no_detection() -> None:
    crowd = Crowd([Person(lambda t: (200 + 60 * t, 240))])
    results = watched(crowd, times(3.0))
    assert [len(result.tracks) for result in results] == [1] * 90
    assert {track.id for result in results for track in result.tracks} == {1}
    # At the start and every half second.
    assert [k for k, result in enumerate(results) if result.detected] == [0, 15, 30, 45, 60, 75]
    assert crowd.calls.count("detect") == 6
    assert len(crowd.calls) == 90


def test_without_landmarks_the_detector_sees_every_frame_and_numbers_stay() -> None:
    crowd = Crowd([Person(lambda t: (200 + 60 * t, 240)), Person(still(480, 240))], points=False)
    results = watched(crowd, times(1.0))
    assert all(result.detected for result in results)
    assert {track.id for result in results for track in result.tracks} == {1, 2}
    assert all(track.pose is None and track.openness is None for track in results[-1].tracks)


@pytest.mark.parametrize("degrees", [-170.0, -60.0, 30.0, 90.0, 180.0])
def test_a_leaning_face_is_followed_along_its_lean(degrees: float) -> None:
    crowd = Crowd([Person(still(320, 240), lean=lambda t: degrees)], noise=0.5)
    results = watched(crowd, times(2.0))
    assert [len(result.tracks) for result in results] == [1] * 60
    assert sum(result.detected for result in results) == 4
    for result in results:
        roll = result.tracks[0].face.roll
        assert roll is not None
        assert abs((roll - degrees + 180) % 360 - 180) < 2


def test_a_face_that_rolls_over_is_followed_all_the_way() -> None:
    """Once around in three seconds, through half a turn, where degrees jump from 180 to -180."""
    crowd = Crowd([Person(still(320, 240), lean=lambda t: (120 * t + 180) % 360 - 180)])
    results = watched(crowd, times(4.0))
    assert {track.id for result in results for track in result.tracks} == {1}
    assert sum(result.detected for result in results) == 8


def test_a_still_lean_is_cut_out_by_the_same_angle_and_the_crop_turns_with_the_head() -> None:
    asked: list[float] = []

    class Listening(Crowd):
        def analyze(
            self,
            frame: Frame,
            boxes: Sequence[BBox] | None = None,
            rolls: Sequence[float | None] | None = None,
            *,
            skip: Collection[str] = (),
        ) -> FrameResult:
            asked.extend(roll for roll in rolls or () if roll is not None)
            return super().analyze(frame, boxes, rolls, skip=skip)

    watched(Listening([Person(still(320, 240), lean=lambda t: 30.0)], noise=1.0), times(2.0))
    assert len(asked) == 56
    assert len(set(asked)) == 1
    asked.clear()
    watched(Listening([Person(still(320, 240), lean=lambda t: 40.0 * t)]), times(2.0))
    assert len(set(asked)) > 10
    assert asked[-1] == pytest.approx(77, abs=4)


def test_points_that_turn_over_in_one_frame_fell_off_the_face() -> None:
    crowd = Crowd([Person(still(320, 240), lean=lambda t: 0.0 if t < 1.0 else 24.0)])
    assert all(result.tracks for result in watched(crowd, times(1.4)))

    class Upset(Crowd):
        """Its points turn over; the crop does not."""

        def _face(self, box: BBox, person: Person | None, seconds: float) -> Face:
            face = super()._face(box, person, seconds)
            if seconds < 1.1 or face.landmarks is None:
                return face
            over = 2 * np.array(box.center, np.float32) - face.landmarks.points
            return replace(face, landmarks=replace(face.landmarks, points=over))

    results = watched(Upset([Person(still(320, 240))]), times(1.2))
    assert [len(result.tracks) for result in results[30:35]] == [1, 1, 1, 0, 1]


@pytest.mark.parametrize("speed", [80.0, 150.0, 300.0])
def test_numbers_survive_a_crossing(speed: float) -> None:
    """The one behind is hidden while they overlap; both must come out with their own number."""
    one = Person(lambda t: (100 + speed * t, 200))

    def covered(t: float) -> bool:
        return abs((100 + speed * t) - (540 - speed * t)) < 70

    other = Person(lambda t: (540 - speed * t, 215), hidden=covered)
    moments = times(440 / speed)
    results = watched(Crowd([one, other], noise=0.5), moments)
    first = {track.id: track.face.bbox.center[0] for track in results[2].tracks}
    last = {track.id: track.face.bbox.center[0] for track in results[-1].tracks}
    left, right = min(first, key=first.__getitem__), max(first, key=first.__getitem__)
    assert set(last) == {left, right}
    assert last[left] > last[right]


def test_a_quick_face_keeps_its_number() -> None:
    """A third of a face per frame, there and back."""
    crowd = Crowd([Person(lambda t: (320 + 140 * np.sin(2 * np.pi * t), 240), side=80)], noise=0.5)
    results = watched(crowd, times(4.0))
    assert {track.id for result in results for track in result.tracks} == {1}
    assert sum(len(result.tracks) for result in results) >= 115


def test_events_and_dwell() -> None:
    crowd = Crowd([Person(still(200, 240), hidden=lambda t: not 1.0 <= t < 3.0)])
    results = watched(crowd, times(6.0))
    told = [event for result in results for event in result.events]
    assert [event.kind for event in told] == ["appeared", "disappeared"]
    # Found within the quarter of a second of an idle detector, then 0.15 s.
    assert 1.15 * SECOND <= told[0].timestamp_ns <= 1.45 * SECOND
    assert 3.95 * SECOND <= told[1].timestamp_ns <= 4.1 * SECOND
    assert told[1].dwell_ns == pytest.approx(2 * SECOND, abs=0.3 * SECOND)
    shown = [result.tracks[0].dwell_ns for result in results if result.tracks]
    assert shown == sorted(shown)
    assert len(set(shown)) == len(shown)


def test_a_flicker_is_no_event() -> None:
    crowd = Crowd([Person(still(200, 240), hidden=lambda t: not 1.0 <= t < 1.4)])
    results = watched(crowd, times(4.0), TrackSettings(appear_after=0.6))
    assert any(result.tracks for result in results)
    assert events_of(results) == []


def test_a_short_absence_keeps_the_number_and_tells_nothing() -> None:
    crowd = Crowd([Person(still(200, 240), hidden=lambda t: 1.0 <= t < 1.7)])
    results = watched(crowd, times(3.0))
    assert events_of(results) == [("appeared", 1)]
    assert [len(result.tracks) for result in results[33:48]] == [0] * 15
    assert [track.id for track in results[-1].tracks] == [1]


def test_after_a_long_absence_there_is_a_new_number() -> None:
    crowd = Crowd([Person(still(200, 240), hidden=lambda t: 1.0 <= t < 2.5)])
    assert events_of(watched(crowd, times(4.0))) == [("appeared", 1), ("disappeared", 1), ("appeared", 2)]


def test_a_lost_face_is_looked_for_at_once_and_then_ever_less() -> None:
    crowd = Crowd([Person(still(200, 240), hidden=lambda t: t >= 2.0)])
    results = watched(crowd, times(12.0))
    lost = next(k for k, result in enumerate(results) if k > 30 and not result.tracks)
    looked = [k / 30 for k, result in enumerate(results) if result.detected and k > lost]
    assert looked[0] <= results[lost].frame.timestamp_ns / SECOND + 0.05
    waits = np.diff(looked)
    assert waits[:3].max() <= 0.04
    # Idle: four times a second, however long nobody comes.
    assert waits[-20:] == pytest.approx(0.25, abs=0.02)
    assert len(looked) <= 60


def test_points_that_settled_on_the_background_are_let_go() -> None:
    """The points go on saying "a face"; the detector, which has not seen one for two seconds, is believed."""
    crowd = Crowd([Person(still(200, 240), missed=lambda t: t > 1.0)])
    results = watched(crowd, times(5.0))
    held = [result.frame.timestamp_ns / SECOND for result in results if result.tracks]
    assert 2.5 <= max(held) <= 3.1
    assert events_of(results) == [("appeared", 1), ("disappeared", 1)]


class Sure(Crowd):
    """Its points say "a face" whatever is there, as those of a model may whose output cannot fall.

    `settled`: where nobody is, they have the shape of a head all the same, and say that they are guessed.
    """

    settled = False

    def _face(self, box: BBox, person: Person | None, seconds: float) -> Face:
        face = super()._face(box, person, seconds)
        if person is not None or face.landmarks is None:
            return face
        landmarks = replace(face.landmarks, presence=0.99)
        if self.settled:
            x, y = box.center
            shape = Person(lambda t: (x, y), side=box.height).points(seconds).astype(np.float32)
            landmarks = replace(landmarks, points=shape, visibility=np.full(68, 0.4, np.float32))
        return replace(face, landmarks=landmarks)


@pytest.mark.parametrize(("settled", "within"), [(False, 0.0), (True, 0.1)])
def test_a_lost_face_is_noticed_although_its_points_go_on_saying_a_face(settled: bool, within: float) -> None:
    crowd = Sure([Person(still(200, 240), hidden=lambda t: t > 1.05)])
    crowd.settled = settled
    held = [r.frame.timestamp_ns / SECOND for r in watched(crowd, times(3.0)) if r.tracks]
    assert max(held) <= 1.05 + within + 0.04


def test_a_covered_face_that_the_detector_sees_is_followed_on_and_watched() -> None:
    class Covered(Crowd):
        def _face(self, box: BBox, person: Person | None, seconds: float) -> Face:
            face = super()._face(box, person, seconds)
            assert face.landmarks is not None
            return replace(face, landmarks=replace(face.landmarks, visibility=np.full(68, 0.5, np.float32)))

    results = watched(Covered([Person(still(200, 240))]), times(3.0))
    assert all(len(result.tracks) == 1 for result in results)
    assert 20 <= sum(result.detected for result in results) <= 31
    missed = Covered([Person(still(200, 240), missed=lambda t: t > 1.0)])
    held = [r.frame.timestamp_ns / SECOND for r in watched(missed, times(3.0)) if r.tracks]
    assert max(held) <= 1.14


def test_a_face_that_the_detector_misses_now_and_then_is_followed_on() -> None:
    crowd = Crowd([Person(still(200, 240), missed=lambda t: 1.0 < t < 2.2), Person(still(450, 240))])
    results = watched(crowd, times(4.0))
    assert all(len(result.tracks) == 2 for result in results)


def test_a_new_face_is_found_beside_a_followed_one() -> None:
    crowd = Crowd([Person(still(200, 240)), Person(still(450, 240), hidden=lambda t: t < 1.1)])
    results = watched(crowd, times(2.0))
    found = next(k for k, result in enumerate(results) if len(result.tracks) == 2)
    assert 33 <= found <= 33 + 15
    assert [track.id for track in results[found].tracks].count(2) == 1


def test_two_followed_faces_never_become_one() -> None:
    """One walks behind the other, and stays there: its points fall onto the one in front."""
    hiding = Person(lambda t: (min(450.0, 200 + 125 * t), 240), side=98, hidden=lambda t: t > 1.8)
    results = watched(Crowd([Person(still(450, 240)), hiding]), times(4.0))
    for result in results:
        for one, other in itertools.combinations(result.tracks, 2):
            assert one.face.bbox.iou(other.face.bbox) <= 0.61
    assert [track.id for track in results[-1].tracks] == [track.id for track in results[0].tracks if
        track.face.bbox.center[0] > 300]  # fmt: skip


def test_a_face_that_leaves_the_picture_is_lost_and_breaks_nothing() -> None:
    results = watched(Crowd([Person(lambda t: (500 + 150 * t, 240))]), times(3.0))
    assert events_of(results) == [("appeared", 1), ("disappeared", 1)]


def jitter_and_lag(settings: TrackSettings) -> tuple[float, float]:
    """Trembling of a still face's points, and how far a moving face's lag behind, in pixels (side 100)."""
    quiet = watched(Crowd([Person(still(320, 240))], noise=1.0), times(4.0), settings)
    points = np.array([result.tracks[0].face.landmarks.points for result in quiet[30:]])  # type: ignore[union-attr]
    person = Person(lambda t: (100 + 100 * t, 240))
    moving = watched(Crowd([person], noise=1.0), times(4.0), settings)
    behind = []
    for result in moving[30:]:
        seen = result.tracks[0].face.landmarks
        assert seen is not None
        behind.append(float((person.points(result.frame.timestamp_ns / SECOND) - seen.points)[:, 0].mean()))
    return float(points.std(0).mean()), float(np.mean(behind))


def test_smoothing_takes_the_trembling_and_little_else() -> None:
    trembling, behind = jitter_and_lag(RAW)
    smoothed, lag = jitter_and_lag(TrackSettings())
    assert trembling == pytest.approx(1.0, abs=0.1)
    assert abs(behind) < 0.1
    assert smoothed < 0.5 * trembling
    # One face height per second, 3.3 pixels per frame: behind by less than a frame.
    assert 0 <= lag < 3.3
    stiff = jitter_and_lag(TrackSettings(smoothing=OneEuro(min_cutoff=0.3, beta=0.0)))
    assert stiff[0] < smoothed
    assert stiff[1] > 5 * lag


@given(st.lists(st.floats(0.001, 0.2), min_size=15, max_size=30), st.floats(-200, 200), st.floats(-100, 100))
def test_uneven_time_steps_cost_no_number(steps: list[float], across: float, down: float) -> None:
    moments = np.cumsum(steps).tolist()
    end = moments[-1]
    crowd = Crowd([Person(lambda t: (320 + across * t / end, 240 + down * t / end))], noise=0.3)
    results = watched(crowd, moments, TrackSettings(pose=False))
    assert {track.id for result in results for track in result.tracks} == {1}


class Moving(Crowd):
    """Its mouth trembles; its eye blinks for a tenth of a second, one second in."""

    def _face(self, box: BBox, person: Person | None, seconds: float) -> Face:
        face = super()._face(box, person, seconds)
        tremble = 0.3 + 0.02 * np.sin(97 * seconds)
        blink = float(1 <= seconds < 1.1)
        return replace(
            face, blendshapes=Blendshapes(("mouthFunnel", "eyeBlinkLeft"), np.array([tremble, blink]))
        )


def moves_of(settings: TrackSettings | None) -> NDArray[np.float32]:
    told = [
        result.tracks[0].face.blendshapes
        for result in watched(Moving([Person(still(320, 240))]), times(2.0), settings)
    ]
    return np.stack([each.scores for each in told if each is not None])


def test_movements_tremble_less_and_a_blink_is_as_quick_as_it_was() -> None:
    raw, smooth = moves_of(RAW), moves_of(None)
    assert raw.shape == smooth.shape == (60, 2)
    assert np.diff(smooth[:, 0]).std() < 0.5 * np.diff(raw[:, 0]).std()
    shut = raw[:, 1] > 0.5
    assert shut.sum() == 3
    assert smooth[shut, 1].min() > 0.8  # in its first frame
    assert smooth[np.flatnonzero(shut)[-1] + 2, 1] < 0.1


def test_without_movements_a_track_has_none() -> None:
    assert watched(Crowd([Person(still(320, 240))]), times(0.2))[-1].tracks[0].face.blendshapes is None


def test_an_expression_is_read_in_every_third_frame_and_shown_in_all() -> None:
    crowd = Crowd([Person(still(320, 240), smile=lambda t: float(t >= 1.0))])
    results = watched(crowd, times(3.0), TrackSettings(expression_time=0.0, expression_margin=0.0))
    gaps = np.diff(crowd.read)
    assert gaps.max() == pytest.approx(0.1)
    assert 30 <= len(crowd.read) <= 36  # and in those in which the detector looks
    shown = [track.face.expression for result in results for track in result.tracks]
    assert len(shown) == 90
    assert all(expression is not None for expression in shown)
    smiling = [k for k, result in enumerate(results) if result.tracks[0].expression == "happiness"]
    assert smiling == list(range(smiling[0], 90))
    assert 30 <= smiling[0] <= 33


def test_an_expression_is_read_in_every_frame_if_wanted_and_for_a_newcomer_at_once() -> None:
    crowd = Crowd([Person(still(320, 240))])
    watched(crowd, times(1.0), TrackSettings(expression_every=0.0))
    assert crowd.read == pytest.approx(times(1.0))
    crowd = Crowd([Person(still(200, 240)), Person(still(450, 240), hidden=lambda t: t < 0.7)])
    results = watched(crowd, times(2.0))
    assert all(track.face.expression is not None for result in results for track in result.tracks)
    assert len(results[-1].tracks) == 2


def test_an_older_frame_begins_anew_and_one_of_the_same_time_changes_nothing() -> None:
    tracker = FaceTracker(Crowd([Person(still(200, 240))]))
    first = [tracker.update(frame_at(seconds)) for seconds in (5.0, 5.1, 5.2, 5.3, 5.3)]
    assert [track.id for track in first[-1].tracks] == [1]
    again = tracker.update(frame_at(0.0))
    assert [(event.kind, event.id) for event in again.events] == [("disappeared", 1)]
    assert [track.id for track in again.tracks] == [2]
    assert again.tracks[0].dwell_ns == 0


def test_a_frame_that_fails_swallows_no_event() -> None:
    class Failing(Crowd):
        fails = False

        def analyze(
            self,
            frame: Frame,
            boxes: Sequence[BBox] | None = None,
            rolls: Sequence[float | None] | None = None,
            *,
            skip: Collection[str] = (),
        ) -> FrameResult:
            if self.fails:
                raise FrameError("broken")
            return super().analyze(frame, boxes, rolls, skip=skip)

    crowd = Failing([Person(still(200, 240), hidden=lambda t: t > 1.0)])
    tracker = FaceTracker(crowd)
    for seconds in times(1.5):
        tracker.update(frame_at(seconds))
    crowd.fails = True
    for seconds in (2.5, 2.6):
        with pytest.raises(FrameError):
            tracker.update(frame_at(seconds))
    crowd.fails = False
    assert [event.kind for event in tracker.update(frame_at(2.7)).events] == ["disappeared"]


def test_the_result_is_json_that_follows_the_schema(repository: Path) -> None:
    """And the schema describes every key that is written, and no other."""
    schema = json.loads((repository / "edgeface" / "schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    results = watched(Crowd([Person(still(200, 240)), Person(still(450, 200), side=60)]), times(0.3))
    said = [json.loads(json.dumps(result.to_dict())) for result in results]
    for one in said:
        validator.validate(one)
    told = said[-1]
    event = next(event for one in said for event in one["events"])
    parts = {"track": told["tracks"][0], "event": event}
    parts |= {name: told["tracks"][0][name] for name in ("pose", "openness")}
    for name, written in parts.items():
        described = schema["$defs"][name]
        assert set(written) == set(described["properties"]) == set(described["required"])
    assert set(told) == set(schema["properties"]) - {"stream"}
    for missing in ("tracks", "events", "detected"):
        assert not validator.is_valid({key: value for key, value in told.items() if key != missing})
    assert not validator.is_valid({**told, "tracks": [{**told["tracks"][0], "id": 0}]})
    without = watched(Crowd([Person(still(200, 240))], points=False), times(0.1))[-1].to_dict()
    assert without["tracks"][0]["pose"] is None
    validator.validate(without)
    assert [track["id"] for track in told["tracks"]] == [1, 2]
    assert [face["bbox"]["height"] > 80 for face in told["faces"]] == [True, False]
    assert told["detected"] is False


@pytest.mark.parametrize(
    "wrong",
    [{"detect_every": -1}, {"min_presence": 1.5}, {"forget_after": float("nan")}, {"smoothing": 3},
     {"idle_every": "soon"}, {"appear_after": float("inf")}, {"expression_margin": True}],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        TrackSettings(**wrong)


def test_a_scripted_backend_drives_a_tracker() -> None:
    """A user's own code can be tested without a model."""
    silent: dict[str, Any] = {"detection": {}, "landmarks": {}, "parsing": {}, "expression": {}}
    with FaceAnalyzer(bundle=Bundle.load(TINY), backend=ScriptedBackend(silent)) as analyzer:
        result = FaceTracker(analyzer).update(np.zeros((100, 100, 3), np.uint8))
    assert result.tracks == ()
    assert result.detected


def test_the_astronaut_is_followed_over_the_picture(astronaut_path: Path) -> None:
    """The real students: a window slides over the photo, so that the face moves by 3 pixels a frame."""
    photo = read_image(astronaut_path).rgb
    with FaceAnalyzer(("landmarks", "expression")) as analyzer:
        tracker = FaceTracker(analyzer)
        results = []
        for k in range(40):
            left = 3 * k
            cut = np.ascontiguousarray(photo[0:320, left : left + 320])
            results.append(tracker.update(Frame(cut, k * SECOND // 30, "window")))
    assert {track.id for result in results for track in result.tracks} == {1}
    assert sum(result.detected for result in results) == 3
    assert all("detection" not in result.frame.timings for result in results if not result.detected)
    assert [len(result.tracks) for result in results] == [1] * 40
    for k, result in enumerate(results):
        box, landmarks = result.tracks[0].face.bbox, result.tracks[0].face.landmarks
        assert landmarks is not None
        assert box.iou(BBox(180 - 3 * k, 55, 90, 119)) > 0.7
        nose = landmarks.points[30]
        assert abs(nose[0] - (results[0].tracks[0].face.landmarks.points[30][0] - 3 * k)) < 6  # type: ignore[union-attr]
    assert results[-1].tracks[0].expression == "happiness"
    assert results[-1].tracks[0].pose is not None
    assert abs(results[-1].tracks[0].pose.roll) < 15


def cut_out(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The astronaut's head with a soft oval edge, uint8 [205, 180, 4]."""
    head = photo[10:215, 135:315]
    y, x = np.mgrid[-1 : 1 : head.shape[0] * 1j, -1 : 1 : head.shape[1] * 1j]
    alpha = np.clip((1 - np.hypot(x, y)) / 0.15, 0, 1) * 255
    return np.dstack([head, alpha.astype(np.uint8)])


@pytest.mark.parametrize("speed", [120.0, 240.0])
def test_two_heads_that_pass_each_other_keep_their_numbers(astronaut_path: Path, speed: float) -> None:
    """The real students: the one behind is drawn to the one in front before it is hidden."""
    head = cut_out(read_image(astronaut_path).rgb)
    other = np.ascontiguousarray(head[:, ::-1])
    behind = Actor(head, lambda t: Place(540 - speed * t, 250, 0.8))
    front = Actor(other, lambda t: Place(100 + speed * t, 235, 0.8))
    background = np.tile(np.linspace(60, 160, 640, dtype=np.uint8)[:, None], (480, 1, 3))
    camera = SyntheticCamera([behind, front], background, count=int(440 / speed * 30))
    results = []
    with FaceAnalyzer(("landmarks",)) as analyzer:
        tracker = FaceTracker(analyzer)
        while (frame := camera.read()) is not None:
            results.append(tracker.update(frame))
    first, last = (
        sorted((track.face.bbox.center[0], track.id) for track in results[k].tracks) for k in (1, -1)
    )
    assert [number for _, number in first] == [number for _, number in last][::-1]
    assert len(first) == 2
    assert "disappeared" not in [kind for kind, _ in events_of(results)]


def test_a_head_that_leans_far_costs_no_further_detection(astronaut_path: Path) -> None:
    """The real students: it swings to 40 degrees and back within two seconds."""
    head = cut_out(read_image(astronaut_path).rgb)
    path = lambda t: Place(320, 240, 0.9, 40 * np.sin(np.pi * t))  # noqa: E731  named, as it is the truth, too
    camera = SyntheticCamera([Actor(head, path)], np.full((480, 640, 3), 100, np.uint8), count=60)
    with FaceAnalyzer(("landmarks",)) as analyzer:
        tracker = FaceTracker(analyzer)
        results = [tracker.update(frame) for frame in iter(camera.read, None)]
    assert [[track.id for track in result.tracks] for result in results] == [[1]] * 60
    assert sum(result.detected for result in results) == 4
    leans = [result.tracks[0].face.roll for result in results]
    assert np.abs(np.array(leans) - [path(k / 30).roll for k in range(60)]).max() < 8


@pytest.mark.data
@pytest.mark.parametrize(("least", "share"), [(0.9, 0.95), (0.0, 0.9)])
def test_a_covered_face_is_noticed_within_three_frames(shared_data: Path, least: float, share: float) -> None:
    """Photos of people; also when the presence, which ends at 0.5, is not asked at all."""
    noticed = []
    with FaceAnalyzer(("landmarks",)) as analyzer:
        for path in sorted((shared_data / "landmarks" / "lfpw" / "trainset").glob("*.jpg"))[::20]:
            rgb = read_image(path).rgb
            faces = analyzer.analyze(rgb).faces
            if len(faces) != 1:
                continue
            box = faces[0].bbox
            covered = rgb.copy()
            left, top = max(0, int(box.x - box.side / 2)), max(0, int(box.y - box.side / 2))
            place = covered[top : top + int(2 * box.side), left : left + int(2 * box.side)]
            place[...] = cv2.resize(rgb[:60, :60], place.shape[1::-1])
            tracker = FaceTracker(analyzer, TrackSettings(min_presence=least))
            shown = [rgb] * 6 + [covered] * 3
            results = [tracker.update(Frame(p, k * SECOND // 30, "photo")) for k, p in enumerate(shown)]
            assert len(results[5].tracks) == 1
            noticed.append(not results[-1].tracks)
    assert len(noticed) >= 20
    assert np.mean(noticed) >= share


def test_frames_of_another_size_begin_anew() -> None:
    tracker = FaceTracker(Crowd([Person(still(200, 240))]))
    for seconds in times(0.5):
        tracker.update(frame_at(seconds))
    result = tracker.update(Frame(np.zeros((960, 1280, 3), np.uint8), SECOND // 2, "crowd"))
    assert [event.kind for event in result.events] == ["disappeared"]
    assert [track.id for track in result.tracks] == [2]


def test_a_reset_forgets_the_faces_and_no_number_comes_twice() -> None:
    tracker = FaceTracker(Crowd([Person(still(200, 240))]))
    tracker.update(frame_at(0.0))
    tracker.reset()
    assert [track.id for track in tracker.update(frame_at(0.1)).tracks] == [2]
