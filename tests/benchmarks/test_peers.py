"""The table of peers: judging, labels, sides that fail, what is not here, and a run of our own rows."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import environments, machine, published
from benchmarks.errors import BenchmarkError
from benchmarks.peers import __main__ as command
from benchmarks.peers import labelled, page, result, rounds
from benchmarks.peers.accuracy import Judged, best, five_of, missed
from benchmarks.peers.catalogue import OURS, PEERS
from benchmarks.peers.peer import Brought, Ours, Peer, Variant
from benchmarks.process import PATIENCE, Program, Side
from benchmarks.sides.mesh import VERTICES, points_of
from edgeface import FaceAnalyzer, read_image

_FACE = {"box": [100.0, 100.0, 80.0, 100.0], "five": None, "points": None}


class TestJudging:
    def test_a_box_that_overlaps_is_the_face(self) -> None:
        assert best({"each": [_FACE]}, [105, 120, 70, 80]) == _FACE
        assert best({"each": [_FACE]}, [205, 120, 70, 80]) is None
        assert best({}, [105, 120, 70, 80]) is None

    def test_points_say_better_where_a_face_is_than_a_wide_box(self) -> None:
        points = np.random.default_rng(0).uniform((100, 100), (180, 200), (68, 2)).tolist()
        wide = {"box": [0.0, 0.0, 400.0, 400.0], "points": points}
        assert best({"each": [wide]}, _FACE["box"]) == wide
        assert best({"each": [{**wide, "points": None}]}, _FACE["box"]) is None

    def test_one_face_is_not_two(self) -> None:
        assert missed({"each": [_FACE]}, [_FACE["box"]]) == 0
        assert missed({"each": [_FACE]}, [_FACE["box"], _FACE["box"]]) == 1
        assert missed({"each": [_FACE, _FACE]}, [_FACE["box"], _FACE["box"]]) == 0
        assert missed({}, [_FACE["box"]]) == 1

    def test_errors_are_parts_of_the_eye_distance(self) -> None:
        truth = np.random.default_rng(0).uniform(0, 100, (68, 2))
        eyes = float(np.linalg.norm(truth[36] - truth[45]))
        judged = Judged()
        judged.see(0, {"points": (truth + np.array([eyes / 10, 0])).tolist()}, truth)
        judged.see(1, {"five": (five_of(truth) + np.array([0, eyes / 20])).tolist()}, truth)
        judged.see(2, None, truth)
        told = judged.summary({0})
        assert told["recall_percent"] == pytest.approx(66.67)
        assert told["nme68_percent"] == pytest.approx(10)
        assert told["nme5_percent"] == pytest.approx(7.5)
        assert told["nme5_common_percent"] == pytest.approx(10)

    def test_an_expression_is_the_likeliest_of_those_that_the_labels_know(self) -> None:
        judged = Judged()
        asked = {"neutral", "anger"}
        judged.read("neutral", {"neutral": 0.3, "contempt": 0.5, "anger": 0.2}, asked)
        judged.read("neutral", {"neutral": 0.6, "anger": 0.4}, asked)
        judged.read("neutral", {"neutral": 0.1, "anger": 0.9}, asked)
        judged.read("anger", {"neutral": 0.9, "angry": 0.1}, asked)
        told = judged.summary(set())
        assert told["expression"] == {
            "photos": 4,
            "told": 4,
            "percent": 50.0,
            "mean_of_expressions_percent": pytest.approx(33.33),
        }
        assert told["recall_percent"] is None
        # In others' words; and what was not found was not read.
        judged.read("anger", {"neutral": 0.1, "angry": 0.9}, asked)
        judged.read("anger", {}, asked)
        assert judged.readings[-2:] == [("anger", "anger"), ("anger", "")]
        told = judged.summary(set())["expression"]
        assert (told["photos"], told["told"], told["percent"]) == (6, 5, 60.0)
        silent = Judged()
        silent.read("anger", {}, asked)
        assert silent.summary(set())["expression"]["percent"] is None
        assert "expression" not in Judged().summary(set())

    def test_the_meshs_68_points_turn_and_grow_with_the_face(self) -> None:
        assert len(VERTICES) == 70
        assert max(VERTICES) < 468
        vertices = np.random.default_rng(0).uniform(0, 100, (70, 2))
        turned = 3 * vertices @ np.array([[0.0, 1.0], [-1.0, 0.0]]) + 7
        expected = 3 * points_of(vertices) @ np.array([[0.0, 1.0], [-1.0, 0.0]]) + 7
        assert points_of(turned) == pytest.approx(expected)
        face = {"box": [0.0, 0.0, 400.0, 400.0], "points": None, "vertices": vertices.tolist()}
        judged = Judged()
        judged.see(0, face, points_of(vertices))
        assert judged.nme68 == {0: pytest.approx(0)}


def _labels(folder: Path, photo: Path) -> np.ndarray:
    """A folder of one labelled photo; its points, as EdgeFace sees them, are written counted from 1."""
    rgb = read_image(photo).rgb
    with FaceAnalyzer(("landmarks",), max_faces=1) as analyzer:
        (face,) = analyzer.analyze(rgb).faces
    assert face.landmarks is not None
    (folder / "one.jpg").write_bytes(photo.read_bytes())
    points = "\n".join(f"{x + 1} {y + 1}" for x, y in face.landmarks.points)
    (folder / "one.pts").write_text(f"version: 1\nn_points: 68\n{{\n{points}\n}}\n")
    return face.landmarks.points


class TestLabels:
    def test_they_are_read_from_zero(self, tmp_path: Path, astronaut_path: Path) -> None:
        points = _labels(tmp_path, astronaut_path)
        (one,) = labelled.read_labelled(tmp_path, None, "")
        assert np.abs(one.points - points).max() < 1e-3
        assert one.box[0] == pytest.approx(points[:, 0].min(), abs=1e-3)
        first = labelled.describe([one])
        (tmp_path / "one.pts").write_text((tmp_path / "one.pts").read_text().replace("\n2", "\n3", 1))
        assert labelled.describe(labelled.read_labelled(tmp_path, None, "")) != first

    def test_a_split_chooses(self, tmp_path: Path, astronaut_path: Path) -> None:
        _labels(tmp_path, astronaut_path)
        split = tmp_path / "split.csv"
        split.write_text("name,digest,part\none.jpg,0,train\n")
        assert len(labelled.read_labelled(tmp_path, split, "train")) == 1
        with pytest.raises(BenchmarkError, match=r"no photo that split\.csv has in its part 'validation'"):
            labelled.read_labelled(tmp_path, split, "validation")

    def test_what_is_no_label_is_named(self, tmp_path: Path, astronaut_path: Path) -> None:
        _labels(tmp_path, astronaut_path)
        (tmp_path / "one.pts").write_text("{ 1 2 3 4 }")
        with pytest.raises(BenchmarkError, match=r"one\.pts: holds 2 points"):
            labelled.read_labelled(tmp_path, None, "")
        (tmp_path / "one.pts").unlink()
        with pytest.raises(BenchmarkError, match=r"one\.pts: cannot be read"):
            labelled.read_labelled(tmp_path, None, "")

    def test_expressions_are_the_names_of_folders(self, tmp_path: Path, astronaut_path: Path) -> None:
        for name in ("happiness", "anger", "selfies"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "one.jpg").write_bytes(astronaut_path.read_bytes())
        found = labelled.read_expressions(tmp_path)
        assert {one.expression for one in found} == {"happiness", "anger"}
        told = labelled.describe_expressions(found)
        assert (told["photos"], told["expressions"]) == (2, {"happiness": 1, "anger": 1})
        (tmp_path / "anger").rename(tmp_path / "fear")
        assert labelled.describe_expressions(labelled.read_expressions(tmp_path))["sha256"] != told["sha256"]
        with pytest.raises(BenchmarkError, match="folders called neutral, happiness"):
            labelled.read_expressions(tmp_path / "selfies")


class TestCatalogue:
    def test_every_peer_has_its_side_and_names_of_its_own(self, repository: Path) -> None:
        variants = [variant.name for peer in PEERS for variant in peer.variants]
        assert len(set(variants)) == len(variants)
        assert len({peer.key for peer in PEERS}) == len(PEERS)
        for peer in PEERS:
            assert (repository / "benchmarks" / "sides" / peer.script).is_file()
            assert all(variant.accuracy_of in (None, *variants) for variant in peer.variants)
            kinds = ("boxes", "points", "all", "network", "expression")
            assert all(variant.gives in kinds for variant in peer.variants)

    def test_what_is_brought_is_found_by_any_of_its_names(self, tmp_path: Path) -> None:
        one = Brought("model", ("first.onnx", "second.onnx"), "somewhere")
        assert one.found([tmp_path]) is None
        (tmp_path / "second.onnx").touch()
        assert one.found([tmp_path / "none", tmp_path]) == tmp_path / "second.onnx"

    def test_node_that_is_not_there_is_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(BenchmarkError, match="install Node"):
            environments.NodeEnvironment("x", ()).interpreter(tmp_path)


_EMPTY = """\
import sys, time
sys.path.insert(0, {sides!r})
from lines import serve
def witness(calls):
    return {{"faces": 0, "each": []}}
def opened(variant):
    if variant.startswith("dies"):
        raise SystemExit("no licence for this processor")
    if variant.startswith("hangs"):
        sys.stderr.write("waiting for a licence server\\n")
        sys.stderr.flush()
        time.sleep(600)
    return lambda frame: frame.sum()
serve(opened, witness, lambda: {{"version": "0"}})
"""


@pytest.fixture
def shown() -> dict[str, rounds.Shown]:
    rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return {"1 face": rounds.Shown(rgb, ((10.0, 10.0, 20.0, 20.0),))}


@pytest.fixture(scope="module")
def photo(repository: Path) -> dict[str, rounds.Shown]:
    """The photo that ships, twice."""
    rgb = read_image(repository / "examples" / "astronaut.jpg").rgb
    with FaceAnalyzer((), max_faces=1) as analyzer:
        (face,) = analyzer.analyze(rgb).faces
    box = (face.bbox.x, face.bbox.y, face.bbox.width, face.bbox.height)
    return {"1 face": rounds.Shown(rgb, (box,)), "again": rounds.Shown(rgb, (box,))}


@pytest.fixture
def ours() -> tuple[Peer, Program]:
    """Our detector."""
    whole = next(peer for peer in PEERS if peer.key == OURS)
    return replace(whole, variants=whole.variants[:1]), Program("ours", Path(sys.executable), whole.script)


def _stranger(tmp_path: Path, repository: Path, variant: str) -> tuple[Peer, Program]:
    script = tmp_path / f"{variant}_side.py"
    script.write_text(_EMPTY.format(sides=str(repository / "benchmarks" / "sides")))
    peer = Peer(variant, str(script), Ours(), (Variant(variant, variant, "boxes", "none"),))
    return peer, Program(variant, Path(sys.executable), str(script))


def _plan(patience: float = PATIENCE) -> rounds.Plan:
    core = max(machine.os.sched_getaffinity(0))
    return rounds.Plan(rounds=2, calls=2, cold_rounds=1, core=core, patience=patience)


class TestRounds:
    @pytest.mark.parametrize(
        ("variant", "why"), [("blind", "found 0 of 1 faces"), ("dies", "no licence for this processor")]
    )
    def test_a_side_without_a_face_has_no_result(
        self, shown: dict[str, Any], tmp_path: Path, repository: Path, variant: str, why: str
    ) -> None:
        peer, program = _stranger(tmp_path, repository, variant)
        told: list[str] = []
        measured = rounds.measure({peer: program}, shown, _plan(), told.append)
        assert why in measured.failed[variant]["1 face"]
        assert not measured.latency_ns.get(variant)
        assert not measured.first_result_ns
        assert told[0] == f"starting {variant}"

    def test_ctrl_c_keeps_the_finished_rounds(
        self, ours: tuple[Peer, Program], photo: dict[str, rounds.Shown]
    ) -> None:
        seen = []

        def tell(what: str) -> None:
            seen.append(what)
            if what == "round 2 of 2":
                raise KeyboardInterrupt

        measured = rounds.measure(dict([ours]), photo, _plan(), tell)
        assert (measured.interrupted, measured.rounds) == (True, 1)
        assert {len(found) for found in measured.latency_ns["edgeface_boxes"].values()} == {1}
        assert not any("whole" in what for what in seen)
        # Between two frames of a round: what one has more than the others goes.
        measured.latency_ns["edgeface_boxes"]["again"].append([1])
        measured.cut_short()
        assert {len(found) for found in measured.latency_ns["edgeface_boxes"].values()} == {1}

    def test_ctrl_c_before_a_round_is_finished_leaves_nothing(
        self, ours: tuple[Peer, Program], photo: dict[str, rounds.Shown]
    ) -> None:
        def tell(what: str) -> None:
            if what.startswith("round"):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            rounds.measure(dict([ours]), photo, _plan(), tell)

    def test_a_side_that_hangs_is_ended_and_the_others_go_on(
        self,
        tmp_path: Path,
        repository: Path,
        ours: tuple[Peer, Program],
        photo: dict[str, rounds.Shown],
    ) -> None:
        programs = dict([_stranger(tmp_path, repository, "hangs"), ours])
        before = time.monotonic()
        measured = rounds.measure(programs, photo, _plan(patience=20), lambda _what: None)
        assert time.monotonic() - before < 300
        for frame in photo:
            why = measured.failed["hangs"][frame]
            assert why.splitlines()[0] == "waiting for a licence server"
            assert why.splitlines()[-1] == "hangs gave no answer within 20 s and was ended"
            assert len(measured.latency_ns["edgeface_boxes"][frame]) == 2
        assert len(measured.first_result_ns["edgeface_boxes"]) == 1

    @pytest.mark.parametrize(
        ("does", "told"),
        [
            # The frame is more than a pipe holds: writing it blocks.
            ("time.sleep(600)", "deaf gave no answer within 2 s"),
            ("sys.stdin.buffer.readline(), print('hello', flush=True), sys.stdin.read()", "answered b'hello"),
        ],
    )
    def test_a_side_that_reads_no_frame_or_talks_nonsense_is_named(
        self, tmp_path: Path, does: str, told: str
    ) -> None:
        path = tmp_path / "deaf_side.py"
        path.write_text(f"import sys, time\n{does}\n")
        frame = np.zeros((480, 640, 3), np.uint8)
        patience = 2 if "sleep" in does else 60
        with pytest.raises(BenchmarkError, match=told):
            Side(Program("deaf", Path(sys.executable), str(path)), frame, _plan().core, patience)

    def test_an_expression_is_checked_on_the_face_that_is_shown(self) -> None:
        frame = rounds.Shown(np.zeros((2, 2, 3), np.uint8), (), box=(0, 0, 2, 2), expression="happiness")
        assert frame.wrong({"expression": {"happiness": 0.75, "anger": 0.25}}) == ""
        assert "sees anger" in frame.wrong({"expression": {"happiness": 0.25, "anger": 0.75}})
        assert "add up to 1.500" in frame.wrong({"expression": {"happiness": 1.0, "anger": 0.5}})
        assert "add up to nan" in frame.wrong({"expression": {"happiness": float("nan"), "anger": 0.5}})

    def test_a_runtime_that_computes_something_else_is_wrong(self) -> None:
        frame = rounds.Shown(np.zeros((2, 2, 3), np.uint8), (), offsets=(1.0, 2.0), unit=10.0)
        assert frame.wrong({"offsets": [0.1, 0.2]}) == ""
        assert "px from those of LiteRT" in frame.wrong({"offsets": [0.4, 0.2]})


class TestReport:
    def test_a_speed_without_its_accuracy_is_not_shown(self) -> None:
        peer = Peer("other", "x.py", Ours(), (Variant("other", "Other", "boxes", "MIT"),))
        measured = rounds.Measured(latency_ns={"other": {"1 face": [[1_234_000, 1_234_000]]}})
        conditions = {
            "frames": {"1 face": {"faces": 1, "sha256": "0" * 64}},
            "data": {"photos": 1, "sha256": "0" * 64},
            "steal_share": 0.0,
        }
        where = {"board": None, "cpu": "<processor>"}
        told = result.report([peer], measured, {"dlib68": "needs its file"}, conditions, where)
        assert "1.23" not in result.table(told)
        assert "<svg" not in page.html(told)
        assert "- dlib68: not here: needs its file" in result.table(told)
        judged = Judged()
        judged.see(0, _FACE, np.zeros((68, 2)))
        measured.judged["other"] = judged
        told = result.report([peer], measured, {}, conditions, where)
        assert "<svg" in page.html(told)
        assert "&lt;processor&gt;" in page.html(told)
        assert "1.23" in result.table(told)
        assert "100.00" in result.table(told)


def test_the_page_shows_who_is_beaten_and_needs_nothing_from_outside() -> None:
    told = json.loads((published.RESULTS / "peers-x86-64.json").read_text())
    shown = page.html(told)
    assert [word for word in ("<script", "http", "url(", "nan") if word in shown] == []
    assert shown.count("Time and error") > 2
    assert shown.count("Time and memory") > 2
    assert ">mediapipe_static</text>" in shown
    told["variants"]["mediapipe_static"]["accuracy"] = None
    assert ">mediapipe_static</text>" not in page.html(told)


def test_a_whole_run_of_our_own_rows(
    tmp_path: Path, astronaut_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Our own sides need no environment, and no network: what is chosen beside them is not here."""
    _labels(tmp_path, astronaut_path)
    out = tmp_path / "peers.json"
    faces = tmp_path / "faces" / "happiness"
    faces.mkdir(parents=True)
    (faces / "one.jpg").write_bytes(astronaut_path.read_bytes())
    asked = [
        "--data",
        str(tmp_path),
        "--only",
        OURS,
        "dlib68",
        "emotiefflib",
        "--rounds",
        "1",
        "--calls",
        "1",
    ]
    asked += ["--expressions", str(faces.parent)]
    assert command.main([*asked, "--cold-rounds", "0", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert published.faults(out, found) == []
    assert "shape_predictor_68" in found["not_here"]["dlib68"]
    ours = found["variants"]["edgeface_all"]
    assert set(ours["latency_ms"]) == {"1 face", "2 faces", "4 faces"}
    assert ours["accuracy"]["recall_percent"] == 100
    assert ours["accuracy"]["nme68_percent"] < 0.5
    assert found["variants"]["litert_tflite"]["accuracy"]["nme68_percent"] < 0.5
    assert set(found["variants"]["litert_tflite"]["latency_ms"]) == {"crop"}
    assert "enet_b0_8_best_vgaf.onnx" in found["not_here"]["emotiefflib"]
    reads = found["variants"]["edgeface_expression"]
    assert set(reads["latency_ms"]) == {"given face"}
    assert reads["accuracy"]["expression"]["percent"] == 100
    assert ours["accuracy"]["expression"] == reads["accuracy"]["expression"]
    assert "expression" not in found["variants"]["edgeface_landmarks"]["accuracy"]
    assert found["conditions"]["expressions"]["expressions"] == {"happiness": 1}
    assert "| EdgeFace: 68 points |" in out.with_suffix(".md").read_text()
    assert capsys.readouterr().out.startswith("| what |")
    shown = out.with_suffix(".html").read_text()
    assert "<td>EdgeFace: 68 points</td>" in shown
    assert "<h2>" not in shown  # one call of one row each: nothing to compare
