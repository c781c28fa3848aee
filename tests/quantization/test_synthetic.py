from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeface.labels import CELEBAMASK19, IBUG68, flip_labels
from quantization.synthetic import (
    EXPRESSIONS,
    Camera,
    FaceMaker,
    Head,
    Light,
    Look,
    Morphable,
    Pose,
    box_of,
    draw_expression,
)
from quantization.synthetic.command import synthesise
from quantization.synthetic.raster import Raster
from quantization.teachers.face3d import Face3D
from tests.quantization.miniature import make_head

pytestmark = pytest.mark.workshop

SIDE = 160
MODEL = "face3d/ict_face_model_light.npz"
few = settings(max_examples=15)


@pytest.fixture(scope="module")
def egg_file(tmp_path_factory):
    return make_head(tmp_path_factory.mktemp("head") / MODEL, 64, 128)


@pytest.fixture(scope="module")
def egg(egg_file):
    return FaceMaker(egg_file)


@pytest.fixture(scope="module")
def real(request):
    return FaceMaker(request.getfixturevalue("shared_data") / MODEL)


def expression(**coefficients):
    return np.array([coefficients.get(name, 0) for name in EXPRESSIONS], np.float32)


def head(maker, pose=None, coefficients=None, distance=60.0, seed=3, side=100.0):
    rng = np.random.default_rng(seed)
    return Head(
        np.zeros(maker.model.identities, np.float32),
        expression() if coefficients is None else coefficients,
        pose or Pose(),
        Camera((80.0, 84.0), side * distance / 18, distance),
        replace(Look.draw(rng), volume=0.0),
        Light.draw(rng),
    )


def grey():
    return np.full((SIDE, SIDE, 3), 128, np.uint8)


@few
@given(yaw=st.floats(-50, 50), pitch=st.floats(-30, 30), roll=st.floats(-40, 40))
def test_points_lie_where_their_vertices_are_seen(egg, yaw, pitch, roll):
    """The vertex of a point is painted; its strongest pixel on a fine picture is the point."""
    model = egg.model
    made = head(egg, Pose(yaw, pitch, roll))
    face = egg.render(made, grey())
    vertices = model.shape(made.identity, made.expression).vertices @ made.pose.matrix().T.astype(np.float32)
    points, distance = made.camera.finer(4).project(vertices)
    seen = Raster().draw(points, distance, model.triangles, (4 * SIDE, 4 * SIDE))
    checked = 0
    for k in np.flatnonzero(face.visible):
        paint = (np.arange(len(vertices)) == model.landmarks[k]).astype(np.float32)
        strength = seen.blend(paint, model.triangles)
        if strength.max() > 0.85:  # its fan may show where it lies just behind the outline
            at = np.array(divmod(int(seen.pixel[strength.argmax()]), 4 * SIDE))[::-1]
            assert np.linalg.norm((at + 0.5) / 4 - 0.5 - face.points[k]) < 0.7
            checked += 1
    assert checked > 20


def nearest_hit(vertices, triangles, target):
    """Share of the way from the origin to ``target`` at which triangles are met first (Moeller-Trumbore)."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    u, v = b - a, c - a
    h = np.cross(target, v)
    det = (u * h).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        s = (-a * h).sum(1) / det
        q = np.cross(-a, u)
        t = (q * target).sum(1) / det
        share = (v * q).sum(1) / det
    hit = (s >= 0) & (t >= 0) & (s + t <= 1) & (share > 0) & (np.abs(det) > 1e-9)
    return share[hit].min(initial=np.inf)


@pytest.mark.parametrize(
    "pose", [Pose(), Pose(45, 0, 0), Pose(-80, 10, 20), Pose(20, -35, 0), Pose(0, 35, 50)]
)
def test_a_point_is_hidden_where_a_ray_to_it_meets_something_else_first(egg, pose):
    made = head(egg, pose)
    face = egg.render(made, grey())
    vertices = egg.model.shape(made.identity, made.expression).vertices @ made.pose.matrix().T
    vertices = vertices - (0, 0, made.camera.distance)
    inner = cv2.erode((face.mask > 0).astype(np.uint8), np.ones((3, 3)))  # on the outline either may be right
    clear, agreed = 0, 0
    for k, i in enumerate(egg.model.landmarks):
        depth = -vertices[i, 2]
        before = depth - depth * nearest_hit(vertices, egg.model.triangles, vertices[i])
        x, y = face.points[k].round().astype(int)
        if abs(before - 0.75) > 0.3 and inner[y, x]:
            clear += 1
            agreed += (before < 0.75) == face.visible[k]
    assert clear > 30
    assert agreed == clear


@few
@given(yaw=st.floats(-60, 60), pitch=st.floats(-35, 35), roll=st.floats(-50, 50))
def test_a_rendered_head_has_the_pose_that_was_asked_for(egg, egg_file, yaw, pitch, roll):
    face = egg.render(head(egg, Pose(yaw, pitch, roll), distance=400.0), grey())
    assert Face3D(egg_file).pose(face.points) == pytest.approx((yaw, pitch, roll), abs=2)
    assert (face.pose.yaw, face.pose.pitch, face.pose.roll) == (yaw, pitch, roll)


@pytest.mark.data
@pytest.mark.parametrize(
    "pose", [(0, 0, 0), (40, 0, 0), (-70, 0, 0), (0, 25, 0), (0, -30, 20), (35, 15, -25)]
)
def test_the_real_head_has_the_pose_that_was_asked_for(real, shared_data, pose):
    face = real.render(head(real, Pose(*pose), distance=400.0), grey())
    assert Face3D(shared_data / MODEL).pose(face.points) == pytest.approx(pose, abs=2)


def check_mirror(maker, pose, sampled):
    one = maker.render(sampled, grey())
    two = maker.render(sampled.mirrored(maker.model, SIDE), grey())
    flipped = one.points[list(IBUG68.flip)] * (-1, 1) + (SIDE - 1, 0)
    assert two.points == pytest.approx(flipped, abs=0.15)
    assert (two.visible == one.visible[list(IBUG68.flip)]).mean() > 0.97
    assert (two.mask == flip_labels(one.mask, CELEBAMASK19.key)).mean() > 0.97
    assert np.abs(two.image.astype(int) - one.image[:, ::-1]).mean() < 2
    assert not np.array_equal(one.mask, two.mask)
    assert two.pose == Pose(-pose.yaw, pose.pitch, -pose.roll)


@pytest.mark.parametrize("pose", [Pose(30, 5, 10), Pose(-60, -10, -20)])
def test_the_mirrored_head_gives_the_mirrored_picture(egg, pose):
    sampled = replace(
        head(egg, pose, expression(eyeBlinkLeft=1)), identity=np.array([1, -1, 0.7], np.float32)
    )
    check_mirror(egg, pose, sampled)


@pytest.mark.data
def test_the_real_head_mirrors(real):
    rng, pose = np.random.default_rng(4), Pose(25, 5, 10)
    drawn = Head.draw(rng, real.model.identities, (80.0, 84.0), 100.0, pose)
    check_mirror(real, pose, drawn)


def part_at(face, point):
    x, y = np.round(point).astype(int)
    return CELEBAMASK19.names[face.mask[y, x]]


def test_the_mask_says_what_the_points_say(egg):
    face = egg.render(head(egg), grey())
    assert part_at(face, face.five[0]) == "r_eye"
    assert part_at(face, face.five[1]) == "l_eye"
    assert part_at(face, face.points[29]) == "nose"
    assert part_at(face, (face.points[20] + face.points[38]) / 2 * (1, 1)) in {"skin", "r_brow"}
    assert part_at(face, (0, 0)) == "background"
    assert {"hair", "l_brow", "r_brow"} <= {CELEBAMASK19.names[k] for k in np.unique(face.mask)} | {"hair"}


@pytest.mark.data
@pytest.mark.parametrize("yaw", [0, 20, -20])
def test_the_real_mask_says_what_the_points_say(real, yaw):
    face = real.render(head(real, Pose(yaw), expression(jawOpen=0.5)), grey())
    p = face.points
    expected = {
        "r_eye": face.five[0],
        "l_eye": face.five[1],
        "nose": p[30],
        "r_brow": p[19],
        "l_brow": p[24],
        "u_lip": (p[51] + p[62]) / 2,
        "l_lip": (p[57] + p[66]) / 2,
        "mouth": (p[62] + p[66]) / 2,
        "skin": (p[33] + p[51]) / 2,
        "neck": p[8] + (0, 12),
    }
    assert {name: part_at(face, at) for name, at in expected.items()} == {name: name for name in expected}
    # Every point is seen from the front but the jaw's, which is on its turn away.
    assert face.visible[17:].mean() > 0.95


def lid_gap(face, eye):
    return face.points[[eye + 4, eye + 5], 1].mean() - face.points[[eye + 1, eye + 2], 1].mean()


def check_movements(maker):
    rest = maker.render(head(maker), grey())
    opened = maker.render(head(maker, None, expression(jawOpen=1)), grey())
    assert opened.points[66, 1] - opened.points[62, 1] > rest.points[66, 1] - rest.points[62, 1] + 3
    assert opened.points[17:31] == pytest.approx(rest.points[17:31], abs=1)  # brows and bridge stay
    wink = maker.render(head(maker, None, expression(eyeBlinkLeft=1)), grey())
    assert lid_gap(wink, 42) < 0.5 * lid_gap(rest, 42)  # the person's left is on the picture's right
    assert lid_gap(wink, 36) == pytest.approx(lid_gap(rest, 36), abs=0.2)
    assert (wink.expression == expression(eyeBlinkLeft=1)).all()


def test_names_move_what_they_name(egg):
    check_movements(egg)


@pytest.mark.data
def test_names_move_what_they_name_on_the_real_head(real):
    check_movements(real)
    rest = real.render(head(real), grey()).points
    smile = real.render(head(real, None, expression(mouthSmileRight=1)), grey()).points
    assert smile[48, 1] < rest[48, 1] - 1
    assert abs(smile[54, 1] - rest[54, 1]) < 0.7
    wink = real.render(head(real, None, expression(eyeBlinkLeft=1)), grey())
    eyes = [(wink.mask == CELEBAMASK19.index(name)).sum() for name in ("l_eye", "r_eye")]
    assert eyes[0] < 0.35 * eyes[1]


@pytest.mark.parametrize("yaw", [60, -60])
def test_the_annotated_jaw_slides_out_to_the_silhouette_on_the_far_side_alone(egg, yaw):
    face = egg.render(head(egg, Pose(yaw)), grey())
    far, near = (slice(9, 17), slice(0, 8)) if yaw > 0 else (slice(0, 8), slice(9, 17))
    out = (face.annotated - face.points)[:, 0] * np.sign(yaw)
    assert (out[far] >= 0).all()
    assert out[far].max() > 3
    assert (face.annotated[near] == face.points[near]).all()
    assert (face.annotated[17:] == face.points[17:]).all()


@given(seed=st.integers(0, 2**32 - 1))
@few
def test_a_picture_depends_on_its_generator_alone(egg, seed):
    made = [
        Head.draw(np.random.default_rng(seed), egg.model.identities, (80.0, 80.0), 90.0) for _ in range(2)
    ]
    one = egg.render(made[0], grey())
    egg.render(head(egg), np.zeros((90, 130, 3), np.uint8))  # buffers of another size in between
    two = egg.render(made[1], grey())
    assert (one.image == two.image).all()
    assert (one.mask == two.mask).all()
    assert (one.points == two.points).all()
    assert one.image.shape == (SIDE, SIDE, 3)
    assert np.isfinite(one.points).all()
    assert ((one.expression >= 0) & (one.expression <= 1)).all()


def test_what_is_behind_the_head_stays_and_its_edge_is_soft(egg):
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    before = noise.copy()
    face = egg.render(head(egg), noise)
    assert (noise == before).all()
    outside = cv2.dilate((face.mask > 0).astype(np.uint8), np.ones((5, 5))) == 0
    assert outside.sum() > 1000
    assert (face.image[outside] == noise[outside]).all()
    black, white = (egg.render(head(egg), np.full_like(noise, v)).image[..., 0].astype(int) for v in (0, 255))
    share = np.unique(white - black)
    assert share[0] <= 1
    assert share[-1] == 255
    assert ((share > 20) & (share < 235)).any()


def test_a_head_beside_the_picture_leaves_it_alone(egg):
    away = replace(head(egg), camera=Camera((-500.0, 80.0), 300.0, 60.0))
    face = egg.render(away, grey())
    assert (face.image == 128).all()
    assert not face.mask.any()
    assert not face.visible.any()


def test_the_box_reaches_from_the_chin_to_the_forehead():
    points = np.tile(np.array([[10, 20], [60, 120]], np.float32), (34, 1))
    assert box_of(points) == pytest.approx([10, -16, 50, 136])


def test_expressions_differ_and_come_in_pairs():
    drawn = np.stack([draw_expression(np.random.default_rng(i)) for i in range(300)])
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    left, right = (drawn[:, EXPRESSIONS.index(f"mouthSmile{s}")] for s in ("Left", "Right"))
    assert np.corrcoef(left, right)[0, 1] > 0.8
    assert (drawn.max(0) > 0).mean() > 0.9


def test_a_file_without_expressions_is_refused(tmp_path, egg_file):
    with np.load(egg_file) as file:
        parts = dict(file)
    np.savez(tmp_path / "a.npz", **{k: v for k, v in parts.items() if k != "uv"})
    with pytest.raises(ValueError, match=r"a\.npz: no uv"):
        Morphable(tmp_path / "a.npz")
    names = parts["expression_names"].copy()
    names[names == "jawOpen"] = "gape"
    np.savez(tmp_path / "b.npz", **(parts | {"expression_names": names}))
    with pytest.raises(ValueError, match=r"b\.npz: no expression is called jawOpen"):
        Morphable(tmp_path / "b.npz")
    with pytest.raises(ValueError, match="oversample is 0"):
        FaceMaker(egg_file, 0)


def test_the_command_writes_what_it_labels(tmp_path, egg_file):
    arguments = ["--data", egg_file.parents[1], "--count", 3, "--size", 64, "--out", tmp_path / "out"]
    result = CliRunner().invoke(synthesise, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out").glob("*_mask.png"))) == 3
    with np.load(tmp_path / "out/labels.npz") as labels:
        assert labels["points"].shape == labels["annotated"].shape == (3, 68, 2)
        assert labels["pose"].shape == (3, 3)
        assert labels["expression_names"].tolist() == list(EXPRESSIONS)
    assert cv2.imread(str(tmp_path / "out/000002.png")).shape == (64, 64, 3)
