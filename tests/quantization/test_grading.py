"""Any subject on any data set: what is asked, what is counted, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from edgeface import (
    BBox,
    Bundle,
    Expression,
    Face,
    FaceAnalyzer,
    FrameResult,
    Landmarks,
    ParsingMap,
    read_image,
)
from edgeface.labels import FER8, IBUG68, parsing_scheme
from quantization.__main__ import main
from quantization.datasets import DataSetError, Sample, Terms, open_dataset, write_shard
from quantization.datasets.points import _WFLW, to_ibug68
from quantization.datasets.shards import write_shards
from quantization.graded_rows import (
    FIGURES,
    TaskError,
    detection_row,
    expression_row,
    landmarks_row,
    parsing_row,
)
from quantization.grading import Grading, grade_set
from quantization.members import Foreign
from quantization.panel import Panel
from quantization.subjects import Subject, SubjectError
from quantization.teachers.adapter import AdapterError
from quantization.teachers.adapterfile import load_adapter
from tests.quantization.layouts import MAKERS
from tests.quantization.miniature import write_points
from tests.quantization.small_teachers import write_teacher

pytestmark = pytest.mark.workshop

RGB = np.full((40, 60, 3), 100, np.uint8)
ALL = BBox(0, 0, 60, 40)
FREE = Terms("drawn", "free", True, "this test")


class Oracle:
    """Says what the test tells it, and remembers which boxes it was given."""

    def __init__(self, *faces):
        self.faces, self.boxes = faces, None

    def analyze(self, rgb, boxes=None):
        self.boxes = boxes
        return FrameResult(self.faces, rgb.shape[1], rgb.shape[0])


def points_of(seed, count=68):
    return np.random.default_rng(seed).uniform(5, 35, (count, 2)).astype(np.float32)


def face(points=None, box=ALL, **more):
    seen = None if points is None else Landmarks(points, np.ones(68, np.float32), 1.0)
    return Face(box, landmarks=seen, **more)


def teacher(folder, task, crop="whole"):
    """A subject of a few numbers."""
    write_teacher(folder, task, crop)
    return Subject.of_panel(
        Panel.of([Foreign.of(load_adapter(folder / f"{task}.toml"), folder / f"{task}.onnx")])
    )


def evaluate(*words):
    return CliRunner().invoke(main, ["evaluate", *(str(word) for word in words)])


# points


def test_wflw_holds_ibug_s_points_on_both_sides_alike():
    """What mirrors into what is known of both schemes, and must agree."""
    runs = [(0, 32), (51, 51), (52, 52), (53, 53), (54, 54), (55, 59), (76, 82), (83, 87), (88, 92), (93, 95)]
    mirror = {a + k: b - k for a, b in runs for k in range(b - a + 1)} | {96: 97, 97: 96}
    for right, left in (
        ((33, 38), (46, 41)),
        ((38, 42), (50, 46)),
        ((60, 65), (72, 67)),
        ((65, 68), (75, 72)),
    ):
        pairs = list(zip(range(*right), range(left[0], left[1], -1), strict=True))
        mirror |= dict(pairs) | {b: a for a, b in pairs}
    assert sorted(mirror) == list(range(98))
    assert [mirror[i] for i in _WFLW] == [_WFLW[IBUG68.flip[k]] for k in range(68)]


def test_points_without_all_of_ibug_s_are_refused():
    with pytest.raises(DataSetError, match="points of cofw29 hold no ibug68: use one of ibug68, wflw98"):
        to_ibug68(points_of(0, 29), "cofw29")


# rows and figures


def test_landmarks_are_those_of_the_face_that_holds_the_points():
    points = points_of(1, 98)
    truth = to_ibug68(points, "wflw98")
    sample = Sample("a", RGB, points=points, points_scheme="wflw98", attributes={"yaw": -40.0})
    stranger = face(truth + 9, BBox(50, 30, 10, 10))
    row = landmarks_row(Oracle(stranger, face(truth + np.float32([0, 3]))), None, sample, RGB)
    assert (row["yaw"], row["light"]) == (-40.0, 100.0)
    figures = FIGURES["landmarks"]([row, landmarks_row(Oracle(stranger), None, sample, RGB)]).metrics
    eyes = np.linalg.norm(truth[36] - truth[45])
    assert figures["nme"] == figures["nme_yaw_30_45"] == pytest.approx(3 / eyes, rel=1e-5)
    assert (figures["photos"], figures["missed"]) == (2, 1)


def parsed(scheme, names):
    """A mask whose columns are the classes in turn, and the face that says it."""
    ids = np.array([parsing_scheme(scheme).index(name) for name in names], np.uint8)
    mask = np.tile(np.repeat(ids, 60 // len(ids)), (40, 1))
    return mask, face(parsing=ParsingMap(mask, BBox(-0.5, -0.5, 60, 40), scheme))


def test_maps_of_another_scheme_are_converted_where_no_class_is_left_empty():
    truth, own = parsed("lapa11", ["background", "skin", "nose", "hair", "u_lip"])
    sample = Sample("a", RGB, mask=truth, mask_scheme="lapa11")
    same = FIGURES["parsing"]([parsing_row(Oracle(own), sample, RGB)])
    assert (same.metrics["mean_f1"], same.curves["scheme"]) == (1, "lapa11")
    # Nineteen classes become eleven, glasses skin and ears skin.
    _, rich = parsed("celebamask19", ["hat", "eyeglasses", "nose", "hair", "u_lip"])
    row = parsing_row(Oracle(rich), sample, RGB)
    found = FIGURES["parsing"]([row])
    assert (found.metrics["mean_f1"], found.curves["scheme"]) == (1, "lapa11")
    assert "eyeglasses" in found.curves["lost"]
    # And the other way round it is the truth that changes: eleven cannot fill nineteen.
    many, _ = parsed("celebamask19", ["hat", "eyeglasses", "nose", "hair", "u_lip"])
    row = parsing_row(Oracle(own), Sample("a", RGB, mask=many, mask_scheme="celebamask19"), RGB)
    nobody = parsing_row(Oracle(), Sample("a", RGB, mask=many, mask_scheme="celebamask19"), RGB)
    found = FIGURES["parsing"]([row, nobody])
    assert (found.curves["scheme"], found.metrics["missed"]) == ("lapa11", 1)
    assert found.metrics["f1_nose"] == pytest.approx(2 / 3)  # found in one of two pictures
    assert found.metrics["f1_background"] == pytest.approx(2 * 2 / (2 + 2 + 4))


def test_unknown_pixels_do_not_count_and_schemes_apart_are_refused():
    truth, own = parsed("lapa11", ["background", "skin", "nose", "hair", "u_lip"])
    truth[:, 12:24] = 255
    wrong = own.parsing.labels.copy()
    wrong[:, 12:24] = 3
    said = face(parsing=ParsingMap(wrong, own.parsing.bbox, "lapa11"))
    row = parsing_row(Oracle(said), Sample("a", RGB, mask=truth, mask_scheme="lapa11"), RGB)
    assert FIGURES["parsing"]([row]).metrics["miou"] == 1
    person, _ = parsed("easyportrait2", ["background", "person"])
    with pytest.raises(TaskError, match="maps of lapa11 cannot be held against masks of easyportrait2"):
        parsing_row(Oracle(own), Sample("a", RGB, mask=person, mask_scheme="easyportrait2"), RGB)


def test_an_expression_is_asked_in_the_face_s_box_or_the_whole_picture():
    scores = dict.fromkeys(FER8.names, 0.05) | {"fear": 0.65}
    oracle = Oracle(face(expression=Expression(scores)))
    sample = Sample("a", RGB, boxes=np.float32([[4, 5, 20, 30]]), expression=FER8.names.index("fear"))
    row = expression_row(oracle, sample, RGB)
    assert oracle.boxes == [BBox(4, 5, 20, 30)]
    whole = expression_row(oracle, replace(sample, boxes=None, expression=0), RGB)
    assert oracle.boxes == [BBox(-0.5, -0.5, 60, 40)]
    silent = expression_row(Oracle(face()), sample, RGB)
    figures = FIGURES["expression"]([row, whole, silent]).metrics
    assert (figures["images"], figures["accuracy"], figures["missed"]) == (2, 0.5, 1)
    with pytest.raises(TaskError, match="in none of 1 pictures was a face found"):
        FIGURES["expression"]([silent])


def test_invalid_boxes_are_neither_asked_for_nor_wrong_to_find():
    boxes = np.float32([[2, 3, 20, 20], [30, 3, 20, 20], [5, 5, 0, 9]])
    sample = Sample("a", RGB, boxes=boxes, attributes={"invalid": (0, 1, 1)})
    hit, second = (face(box=BBox(*boxes[k].tolist(), score=0.9 - 0.1 * k)) for k in (0, 1))
    row = detection_row(Oracle(hit), Oracle(second, hit), sample, RGB)
    empty = replace(sample, boxes=np.zeros((0, 4), np.float32), attributes={})
    free = detection_row(Oracle(hit), Oracle(hit), empty, RGB)
    good = FIGURES["detection"]([row]).metrics
    assert (good["faces"], good["recall_50"], good["face_free_images"]) == (1, 1, 0)
    assert "false_positives_per_image" not in good  # on no picture it is no 0
    assert good["ap"] == pytest.approx(1)
    worse = FIGURES["detection"]([row, free]).metrics
    assert (worse["face_free_images"], worse["false_positives_per_image"]) == (1, 1)
    with pytest.raises(TaskError, match="in none of 1 pictures is there a face"):
        FIGURES["detection"]([free])


# data sets


@pytest.mark.parametrize(
    ("kind", "task", "says"),
    [
        ("cofw", "landmarks", "6 have points of cofw29"),
        ("lapa", "landmarks", "6 have points of lapa106"),
        ("folder", "landmarks", "6 have no points. Use a data set that has them: 300w"),
        ("wflw", "parsing", "6 have no mask. Use a data set that has them: celebamask"),
        ("widerface", "expression", "6 have no clear expression"),
        ("wflw", "detection", "6 have labels of one face, whoever else is there. Use .*: widerface"),
    ],
)
def test_a_data_set_without_the_labels_is_refused(kind, task, says, tmp_path):
    MAKERS[kind](tmp_path / "set")
    with pytest.raises(TaskError, match=f"set: cannot grade {task}, which needs .*{says}"):
        grade_set(
            Grading(Subject.of(Path(Bundle.builtin().source)), task), kind, tmp_path / "set", store=tmp_path
        )


@pytest.mark.parametrize(
    ("kind", "task"), [("ferplus", "expression"), ("lapa", "parsing"), ("wflw", "landmarks")]
)
def test_shards_give_the_figures_of_the_set_and_what_is_broken_is_counted(kind, task, tmp_path):
    MAKERS[kind](tmp_path / "set")
    work, store = Grading(teacher(tmp_path, task), task), tmp_path / "store"
    whole, faults = grade_set(work, kind, tmp_path / "set", store=store)
    assert (whole.metrics["broken"], faults) == (0, ())
    assert not store.exists()
    data = open_dataset(kind, tmp_path / "set")
    write_shards(tmp_path / "shards", data, data.terms, 4)
    shards, _ = grade_set(work, "webdataset", tmp_path / "shards", store=store)
    assert json.dumps(shards.metrics) == json.dumps(whole.metrics)
    assert shards.curves == whole.curves
    kept = {p.name: p.stat().st_mtime_ns for p in store.iterdir()}
    assert len(kept) == 2
    second = tmp_path / "shards/shard-000001.tar"
    second.write_bytes(second.read_bytes()[: second.stat().st_size // 2])
    less, (fault,) = grade_set(work, "webdataset", tmp_path / "shards", store=store)
    assert fault.startswith("shard-000001.tar: the shard is cut off")
    assert less.metrics["broken"] == 1
    again = {p.name: p.stat().st_mtime_ns for p in store.iterdir()}
    assert {name for name in again if again[name] != kept.get(name)} == set(again) - set(kept)
    assert len(again) == 3


def test_shards_that_are_broken_all_over_are_refused(tmp_path):
    for k in range(3):
        (tmp_path / f"{k}.tar").write_bytes(b"no tar")
    with pytest.raises(
        DataSetError, match=r"3 of 3 items are broken, fetch it again\n  0.tar: the shard is cut"
    ):
        grade_set(
            Grading(teacher(tmp_path, "parsing"), "parsing"), "webdataset", tmp_path, store=tmp_path / "store"
        )


def test_a_box_that_lies_nowhere_is_a_broken_item(tmp_path):
    png = cv2.imencode(".png", RGB)[1].tobytes()
    boxes = np.float32([[[4, 5, 20, 30]], [[900, 5, 20, 30]], [[4, 5, 0, 30]]])
    samples = [Sample(f"s{k}", png, boxes=box, expression=k) for k, box in enumerate(boxes)]
    write_shard(tmp_path / "a.tar", samples, FREE)
    subject = Subject.of(Path(Bundle.builtin().source), tasks=["expression"])
    found, faults = grade_set(
        Grading(subject, "expression"), "webdataset", tmp_path / "a.tar", store=tmp_path / "store"
    )
    assert (found.metrics["images"], found.metrics["broken"]) == (1, 2)
    assert [fault.partition(":")[0] for fault in faults] == ["s1", "s2"]


# subjects


@pytest.fixture
def portrait(tmp_path, repository):
    """The astronaut in the layout of 300-W; the points are the built-in student's own."""
    path = tmp_path / "set" / "astronaut.jpg"
    path.parent.mkdir()
    shutil.copy(repository / "examples/astronaut.jpg", path)
    with FaceAnalyzer(("landmarks",)) as analyzer:
        points = analyzer.analyze(read_image(path)).faces[0].landmarks.points
    write_points(path.with_suffix(".pts"), points)
    return path.parent


def test_a_bundle_and_the_file_of_its_student_have_one_figure(portrait, tmp_path):
    bundle = Bundle.builtin()
    file = tmp_path / "landmarks.int8.tflite"
    file.write_bytes(bundle.artifact(bundle.model("landmarks").artifact))
    out = tmp_path / "figures.json"
    for model in (bundle.source, file):
        result = evaluate("--model", model, "--data-set", f"300w:{portrait}", "--out", out)
        assert result.exit_code == 0, result.output
    figures = json.loads(out.read_text())
    assert list(figures) == ["landmarks"]  # of the bundle's tasks what the data set has labels for
    whole, student = figures["landmarks"].values()
    assert whole == student
    assert whole["missed"] == 0
    assert 0 <= whole["nme"] < 1e-4  # but for the decimals of the file
    assert list(figures["landmarks"]) == ["landmarks.int8 on 300w", "students on 300w"]
    curves = json.loads((tmp_path / "curves.json").read_text())["landmarks"]
    assert len({curve["sha256"] for curve in curves.values()}) == 2


def test_a_teacher_of_crops_is_shown_the_detector_s_faces(portrait, tmp_path):
    found, _ = grade_set(
        Grading(teacher(tmp_path, "landmarks", "box"), "landmarks"), "300w", portrait, store=tmp_path
    )
    assert found.metrics["missed"] == 0
    # Random points within the crop: wrong, but not further off than the face is large.
    assert 0.05 < found.metrics["nme"] < 3
    nobody = portrait / "astronaut.jpg"
    cv2.imwrite(str(nobody), np.full((512, 512, 3), 90, np.uint8))
    found, _ = grade_set(
        Grading(teacher(tmp_path, "landmarks", "box"), "landmarks"), "300w", portrait, store=tmp_path
    )
    assert (found.metrics["missed"], found.metrics["fr10"]) == (1, 1)


def test_a_file_that_cannot_be_graded_says_why(tmp_path):
    bundle = Bundle.builtin()
    file = tmp_path / "mine.tflite"
    file.write_bytes(bundle.artifact(bundle.model("parsing").artifact))
    with pytest.raises(SubjectError, match=r"mine.tflite: say with --task which one of .*landmarks"):
        Subject.of(file)
    with pytest.raises(
        SubjectError, match=r"outputs of \[1, 128, 128, 19\], but a student of landmarks has \d"
    ):
        Subject.of(file, tasks=["landmarks"])
    assert Subject.of(file, tasks=["parsing"]).tasks == ("parsing",)
    file.write_bytes(b"no model")
    with pytest.raises(SubjectError, match=r"mine.tflite: LiteRT cannot open it"):
        Subject.of(file, tasks=["parsing"])
    with pytest.raises(SubjectError, match=r"mine.onnx: an .onnx file says nothing of its preprocessing"):
        Subject.of(file.with_suffix(".onnx"))
    with pytest.raises(SubjectError, match=r"a model file must end in .tflite or .onnx"):
        Subject.of(file.rename(tmp_path / "mine.bundle"))
    write_teacher(tmp_path, "parsing")
    write_teacher(tmp_path, "expression")
    adapter = load_adapter(tmp_path / "parsing.toml")
    with pytest.raises(AdapterError, match="but the adapter reads"):
        Subject.of_panel(Panel.of([Foreign.of(adapter, tmp_path / "expression.onnx")]))


def test_what_is_of_data_sets_alone_is_refused_without_one(tmp_path):
    MAKERS["ferplus"](tmp_path / "set")
    for words, says in (
        (("--engine", "ray"), "--engine is for data sets and shards: give --data-set"),
        (("--part", "test"), "--part is for data sets"),
        (("--data-set", tmp_path), "is not KIND:PATH, for example 300w:data/lfpw"),
    ):
        result = evaluate(*words)
        assert (result.exit_code, says in result.output) == (2, True), result.output
    for words, says in (
        (("--engine", "ray", "--task", "expression"), "works over shards: write them with `shard ferplus:"),
        (("--part", "tset"), "there is no part 'tset': use one of train, validation, test"),
        (("--task", "parsing"), "cannot grade parsing, which needs a mask"),
        (("--teacher", "nobody", "--model", __file__), "no adapter is called 'nobody'"),
    ):
        result = evaluate("--data-set", f"ferplus:{tmp_path / 'set'}", *words)
        assert (result.exit_code, says in result.output) == (1, True), result.output


def test_teachers_asked_together_have_a_table_and_their_curves(portrait, tmp_path):
    words = []
    for seed, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        words += write_teacher(tmp_path / name, "landmarks", "box", seed)
    asked = ("--data-set", f"300w:{portrait}", "--out", tmp_path / "figures.json")
    told = evaluate(*words, "--mirror", *asked, "--plots", tmp_path / "plots")
    assert told.exit_code == 0, told.output
    title, *lines = [line for line in told.stdout.splitlines() if "progress" not in line]
    assert title == "landmarks, landmarks + landmarks, mirrored on 300w"
    nme = json.loads((tmp_path / "figures.json").read_text())["landmarks"][title.removeprefix("landmarks, ")]
    rows = {line.split("  ")[1].strip(): line.split() for line in lines if line.startswith("  ")}
    assert rows["photos"][-1] == "1"
    assert f"{nme['nme']:.4f}" in rows["NME, outer eye corners"]
    assert told.stdout.rstrip().endswith("landmarks-ced.png, landmarks-parts.png, landmarks-subgroups.png")
    assert (tmp_path / "plots/landmarks-ced.png").read_bytes().startswith(b"\x89PNG")
    (curves,) = json.loads((tmp_path / "plots/curves.json").read_text())["landmarks"].values()
    assert len(curves["ced"]["threshold"]) == len(curves["ced"]["share"]) == 101
    # The mean of both is nearer than the worse of them; and they are other subjects than each alone.
    alone = []
    for k in (0, 4):
        assert evaluate(*words[k : k + 4], *asked).exit_code == 0
        figures = json.loads((tmp_path / "figures.json").read_text())["landmarks"]
        alone.append(figures["landmarks on 300w"]["nme"])
    assert len({*alone, nme["nme"]}) == 3
    assert nme["nme"] < max(alone)


def test_what_is_of_teachers_is_refused_without_them(tmp_path):
    file = tmp_path / "some.onnx"
    file.write_bytes(b"")
    for words, says in (
        (("--mirror",), "--mirror is of teachers: name them with --teacher"),
        (("--model", file, "--model", file), "give --model once, or the teachers' names with --teacher"),
        (("--teacher", "a", "--teacher", "b", "--model", file), "--teacher was given 2 times and --model 1"),
        (("--plots", tmp_path / "plots"), "--plots is for --data-set and --teacher"),
        (("expression", "--teacher", "a"), "a RECIPE is graded alone"),
        (("--published", "--teacher", "a"), "graded beside the students: leave --teacher out"),
    ):
        result = evaluate(*words)
        assert (result.exit_code, says in result.output) == (2, True), result.output
