"""Several teachers asked as one, and about the mirror image: the answer, the agreement, who is refused."""

from __future__ import annotations

import numpy as np
import pytest

from edgeface.labels import CELEBAMASK19, IBUG68, parsing_scheme
from quantization.members import Foreign
from quantization.panel import Panel, PanelError
from quantization.teachers.adapter import Crop
from quantization.teachers.adapterfile import load_adapter
from quantization.teachers.analyzer import AskedAnalyzer
from quantization.teachers.answers import (
    BlendshapesAnswer,
    ExpressionAnswer,
    FacesAnswer,
    MapAnswer,
    PointsAnswer,
)
from quantization.teachers.crops import look
from quantization.teachers.mirror import MirrorError, mirrored, mirrored_keypoints, unmirrored
from quantization.teachers.onnx import OnnxTeacher
from quantization.teachers.together import Joint, joined
from tests.quantization.miniature import draw, mean_face
from tests.quantization.small_teachers import write_teacher

pytestmark = pytest.mark.workshop

BOX = Crop("box", "stretch", 1.0, (0.0, 0.0), True, False, (), 0.0, "")


def foreign(folder, task, crop="whole", seed=0, scheme=None):
    folder.mkdir(exist_ok=True)
    write_teacher(folder, task, crop, seed)
    toml = folder / f"{task}.toml"
    if scheme:
        toml.write_text(toml.read_text().replace("'ibug68'", f"'{scheme}'"))
    return Foreign.of(load_adapter(toml), folder / f"{task}.onnx")


def shares(*values):
    return ExpressionAnswer(np.array([*values, *[0.0] * (8 - len(values))], np.float32))


# what several say


def test_one_view_agrees_with_nobody_and_knows_nothing_of_what_it_does_not_see():
    said = shares(0.5, 0.5)
    found = joined([said])
    assert (found.answer, found.agreement, found.doubted) == (said, None, None)
    found = joined([box_map((0, 0, 20, 20), 6, 0.9)])
    assert found.agreement is None
    assert not found.doubted[:20, :20].any()
    assert found.doubted[21:].all()


def test_expressions_are_averaged_and_agree_by_what_they_share():
    found = joined([shares(1.0), shares(0.5, 0.5)])
    assert found.answer.probabilities[:3].tolist() == [0.75, 0.25, 0.0]
    assert found.agreement == pytest.approx(0.75)
    assert joined([shares(0.2, 0.8)] * 3).agreement == pytest.approx(1)
    assert joined([shares(1.0), shares(0.0, 1.0)]).agreement == pytest.approx(0.5)


def test_points_are_averaged_and_a_tenth_of_the_face_apart_is_no_agreement():
    points = (mean_face() * 100).astype(np.float32)
    extent = float(np.sqrt(np.prod(np.ptp(points, axis=0))))
    for apart, agreement in ((0.0, 1.0), (0.1, 0.5), (0.5, 0.0)):  # each is half of it from the mean
        other = points + np.float32([apart * extent, 0])
        found = joined([PointsAnswer(points, "ibug68"), PointsAnswer(other, "ibug68")])
        assert found.agreement == pytest.approx(agreement, abs=1e-4)
        assert found.answer.points == pytest.approx((points + other) / 2, abs=1e-4)


def box_map(box, label, share, scheme="lapa11", size=(40, 30)):
    """A map that is all ``label`` in a box of a picture, with probability ``share``, else skin."""
    view = look(BOX, (16, 16), size, np.float32(box))
    maps = np.zeros((len(parsing_scheme(scheme)), 16, 16), np.float32)
    maps[label], maps[1] = share, maps[1] + (1 - share)
    return MapAnswer(view.put_back(maps, size), maps, view, scheme)


def test_maps_are_decided_by_the_mean_of_those_who_see_the_pixel():
    sure, doubtful = box_map((0, 0, 20, 20), 6, 0.9), box_map((0, 0, 20, 20), 2, 0.6)
    found = joined([sure, doubtful])
    inside = found.answer.labels[3:17, 3:17]
    assert (inside == 6).all()  # 0.9 / 2 against 0.6 / 2 and what is left for skin
    assert found.doubted[3:17, 3:17].all()  # one of two says so
    assert found.agreement == pytest.approx(0.5)
    third = joined([sure, doubtful, box_map((0, 0, 20, 20), 6, 0.8)])
    assert not third.doubted[3:17, 3:17].any()
    assert third.agreement == pytest.approx(2 / 3, abs=0.01)
    # Only one of them sees the right end of the picture: nobody contradicts it.
    wide = joined([sure, box_map((16, 0, 20, 20), 6, 0.9)])
    assert (wide.answer.labels[3:17, 3:33] == 6).all()
    assert not wide.doubted[3:17, 3:33].any()
    assert (wide.answer.labels[25:] == 0).all()
    with pytest.raises(TypeError, match="no probabilities of its own"):
        _ = wide.answer.soft


def test_boxes_of_one_face_become_one_and_what_one_alone_sees_is_doubted():
    first = FacesAnswer(np.float32([[10, 10, 20, 20], [60, 10, 20, 20]]), np.float32([0.9, 0.6]))
    second = FacesAnswer(np.float32([[12, 10, 20, 20]]), np.float32([0.3]))
    found = joined([first, second])
    assert found.answer.boxes == pytest.approx(np.float32([[10.5, 10, 20, 20], [60, 10, 20, 20]]))
    assert found.answer.scores == pytest.approx([0.6, 0.3])
    assert found.doubted.tolist() == [False, True]
    assert found.agreement == pytest.approx(0.75)
    nobody = FacesAnswer(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    empty = joined([nobody, nobody])
    assert (empty.answer.boxes.shape, empty.agreement) == ((0, 4), 1.0)


# the mirror


def test_what_is_said_of_the_mirror_image_is_brought_back():
    face = draw(4)
    height, width = face.rgb.shape[:2]
    flipped, box = mirrored(face.rgb, face.box)
    keypoints = mirrored_keypoints(face.keypoints, width)
    for point, name in zip(keypoints, ("green", "red"), strict=False):  # her right eye is now on the left
        x, y = point.round().astype(int).tolist()
        assert flipped[y, x].argmax() == ("red", "green").index(name)
    assert (box[:2] < keypoints).all()
    assert (keypoints < box[:2] + box[2:]).all()
    assert mirrored(flipped, box)[1] == pytest.approx(face.box)
    assert unmirrored(FacesAnswer(box[None], np.ones(1, np.float32)), width).boxes[0] == pytest.approx(
        face.box
    )
    seen = face.points[list(IBUG68.flip)] * np.float32([-1, 1]) + np.float32([width - 1, 0])
    assert unmirrored(PointsAnswer(seen, "ibug68"), width).points == pytest.approx(face.points, abs=1e-3)
    maps = np.zeros((19, 16, 16), np.float32)
    left, right = CELEBAMASK19.index("l_eye"), CELEBAMASK19.index("r_eye")
    maps[left, :, :8] = maps[right, :, 8:] = 1
    view = look(BOX, (16, 16), (width, height), box)
    said = MapAnswer(view.put_back(maps, (width, height)), maps, view, "celebamask19")
    back = unmirrored(said, width)
    middle = int(face.box[1] + face.box[3] / 2)
    across = np.linspace(face.box[0] + 6, face.box[0] + face.box[2] - 6, 5).astype(int)
    assert back.labels[middle, across].tolist()[:2] == [left, left]
    assert back.labels[middle, across].tolist()[3:] == [right, right]
    again = back.soft[0].put_back(back.soft[1], (width, height))
    assert (again != back.labels).mean() < 0.01


def test_left_and_right_that_nobody_can_exchange_are_refused(tmp_path):
    points = PointsAnswer(np.zeros((98, 2), np.float32), "wflw98")
    with pytest.raises(MirrorError, match="points of 'wflw98': known are the mirror images of ibug68"):
        unmirrored(points, 10)
    shapes = BlendshapesAnswer(points, np.zeros(52, np.float32), np.ones(52, np.bool_))
    with pytest.raises(MirrorError, match="blendshapes"):
        unmirrored(shapes, 10)
    with pytest.raises(TypeError, match="BlendshapesAnswer, BlendshapesAnswer: have no mean"):
        joined([shapes, shapes])


# panels


def test_a_panel_is_the_mean_of_its_members_and_of_their_mirror_images(tmp_path):
    one, two = (foreign(tmp_path / name, "landmarks", "box", seed) for seed, name in enumerate("ab"))
    face = draw(2)
    asked = [OnnxTeacher(m.adapter, m.model) for m in (one, two)]
    flipped, box = mirrored(face.rgb, face.box)
    plain = [teacher(face.rgb, face.box).points for teacher in asked]
    both = plain + [unmirrored(teacher(flipped, box), face.rgb.shape[1]).points for teacher in asked]
    assert np.abs(both[0] - both[2]).max() > 1
    for mirror, wanted in ((False, plain), (True, both)):
        panel = Panel.of([one, two], mirror)
        said = panel.open()(face.rgb, face.box)
        assert said.answer.points == pytest.approx(np.mean(wanted, axis=0), abs=1e-3)
        assert 0 <= said.agreement < 1
    assert panel.name == "landmarks + landmarks, mirrored"
    assert panel.needs == "a box"
    assert len({Panel.of(m, f).digest for m in ([one], [two], [one, two]) for f in (False, True)}) == 6


def test_a_face_that_half_of_the_views_deny_is_found_only_by_who_asks_for_doubtful_ones():
    boxes = np.float32([[10, 10, 20, 20], [60, 10, 30, 30]])
    said = Joint(FacesAnswer(boxes, np.float32([0.9, 0.3])), 0.75, np.array([False, True]))
    rgb = np.zeros((60, 100, 3), np.uint8)
    for doubtful, found in ((False, [0]), (True, [1, 0])):  # the largest first
        with AskedAnalyzer(lambda _: said, "detection", "nothing", doubtful) as analyzer:
            faces = analyzer.analyze(rgb).faces
        assert [face.bbox.x for face in faces] == [boxes[k, 0] for k in found]
        assert faces[-1].bbox.score == pytest.approx(0.9)


def test_who_cannot_be_asked_together_is_told_why(tmp_path):
    points, shares_of = foreign(tmp_path, "landmarks"), foreign(tmp_path, "expression")
    with pytest.raises(
        PanelError, match=r"of one task and one scheme.* landmarks of ibug68; expression says "
    ):
        Panel.of([points, shares_of])
    other = foreign(tmp_path / "other", "landmarks", scheme="other")
    with pytest.raises(PanelError, match="landmarks of ibug68; landmarks says landmarks of no known order"):
        Panel.of([points, other])
    with pytest.raises(PanelError, match="which points of no known order change places in a mirror"):
        Panel.of([other], mirror=True)
