from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.labels import IBUG68
from quantization.teachers.face3d import Face3D
from quantization.teachers.facemesh import FaceMesh, RidgeMap
from quantization.teachers.mirror import mirrored
from quantization.teachers.ultraface import UltraFace
from quantization.teachers.yunet import YuNet

pytestmark = pytest.mark.workshop


def similar(rng):
    """A random turn, scale and shift."""
    scale, angle = rng.uniform(20, 200), rng.uniform(-1, 1)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = rng.uniform(0, 300, 2)
    return lambda points: points @ turn.T + shift


@pytest.fixture(scope="module")
def linear():
    """Meshes of twelve parameters whose 68 points are an exact linear map of the upright mesh."""
    rng = np.random.default_rng(0)
    base, ways = rng.normal(0, 0.6, (478, 2)), rng.normal(0, 0.05, (12, 478, 2))
    base[33], base[263], ways[:, [33, 263]] = (-0.5, 0), (0.5, 0), 0  # the outer eye corners define the frame
    mix, shift = rng.normal(0, 0.05, (68, 478)), rng.normal(0, 0.2, (68, 2))

    def sample(count, seed):
        generator = np.random.default_rng(seed)
        local = base + np.einsum("nk,kij->nij", generator.normal(0, 1, (count, 12)), ways)
        points = mix @ local + shift
        moves = [similar(generator) for _ in range(count)]
        return (
            np.stack([m(x) for m, x in zip(moves, local, strict=True)]).astype(np.float32),
            np.stack([m(x) for m, x in zip(moves, points, strict=True)]).astype(np.float32),
        )

    return sample


def test_the_ridge_map_recovers_an_exact_linear_map(linear):
    ridge = RidgeMap.fit(*linear(80, 1), ridge=1e-7)
    meshes, points = linear(20, 2)
    for mesh, truth in zip(meshes, points, strict=True):
        size = np.linalg.norm(mesh[33] - mesh[263])
        assert np.abs(ridge(mesh) - truth).max() < 3e-3 * size


def test_the_ridge_map_turns_with_the_face(linear):
    ridge = RidgeMap.fit(*linear(40, 1))
    mesh = linear(1, 3)[0][0]
    for seed in range(5):
        move = similar(np.random.default_rng(seed))
        assert ridge(move(mesh).astype(np.float32)) == pytest.approx(move(ridge(mesh)), rel=1e-3, abs=0.1)


def test_both_views_of_a_symmetric_face_agree(linear):
    """The mirrored picture's points, brought back, are the first view's: averaging changes nothing then."""
    ridge = RidgeMap.fit(*linear(40, 1))
    mesh = linear(1, 4)[0][0]
    seen = ridge(mesh)

    class Symmetric(RidgeMap):
        def __call__(self, given):
            if given is mesh:
                return seen
            back = seen[list(IBUG68.flip)] * (-1, 1) + (639, 0)
            return back.astype(np.float32)

    assert Symmetric(ridge.weights).both_views(mesh, mesh.copy(), 640) == pytest.approx(seen, abs=1e-3)


@given(x=st.integers(0, 70), y=st.integers(0, 30), w=st.integers(1, 25), h=st.integers(1, 25))
def test_a_box_seen_in_the_mirror_frames_the_same_pixels(x, y, w, h):
    image = np.zeros((60, 97, 3), np.uint8)
    image[y : y + h, x : x + w] = 255
    picture, box = mirrored(image, np.array([x - 0.5, y - 0.5, w, h], np.float32))
    rows, columns = np.nonzero(picture[..., 0])
    assert box.tolist() == [columns.min() - 0.5, rows.min() - 0.5, w, h]


# the 3D face


def turned(vertices, yaw, pitch, roll):
    """Image points (y down) of a head that looks to the picture's right, up, and leans clockwise."""
    a, b, c = np.radians([yaw, pitch, roll])
    look = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    nod = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    lean = np.array([[np.cos(c), np.sin(c), 0], [-np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return ((vertices @ (lean @ nod @ look).T)[:, :2] * (7.5, -7.5) + (180, 140)).astype(np.float32)


@pytest.fixture(scope="module")
def egg(miniature):
    return Face3D(miniature.data / "face3d/ict_face_model_light.npz")


def points_of(face):
    return face._vertices[face._ids]


@given(yaw=st.floats(-70, 70))
def test_a_pure_turn_of_the_head_is_its_yaw(egg, yaw):
    found = egg.pose(turned(points_of(egg), yaw, 0, 0))
    assert found == pytest.approx((yaw, 0, 0), abs=0.05)


@given(pitch=st.floats(-40, 40), roll=st.floats(-60, 60))
def test_nodding_and_leaning_are_told_apart(egg, pitch, roll):
    assert egg.pose(turned(points_of(egg), 0, pitch, 0)) == pytest.approx((0, pitch, 0), abs=0.05)
    assert egg.pose(turned(points_of(egg), 0, 0, roll)) == pytest.approx((0, 0, roll), abs=0.05)


def test_an_egg_hides_its_far_side(egg):
    """Points near the edge of the egg's front: all seen from the front, half of them from the side."""
    assert egg.visible(0, 0).mean() > 0.9
    front = points_of(egg)
    right, left = front[:, 0] > 3, front[:, 0] < -3
    # A face that looks to the picture's right turns its right side (of the picture) away from the viewer.
    side = egg.visible(75, 0)
    assert side[left].mean() > 0.9
    assert side[right].mean() < 0.2
    assert egg.visible(-75, 0)[right].mean() > 0.9
    assert (egg.visible(90, 0) == egg.visible(200, 0)).all()  # no pose is off the table


@pytest.fixture(scope="module")
def head(request):
    shared = request.getfixturevalue("shared_data")
    return Face3D(shared / "face3d" / "ict_face_model_light.npz")


@pytest.mark.data
@pytest.mark.parametrize(
    "pose", [(0, 0, 0), (30, 0, 0), (-45, 0, 0), (0, 20, 0), (0, -25, 0), (0, 0, 40), (0, 0, -70)]
)
def test_the_head_has_the_pose_it_was_given(head, pose):
    assert head.pose(turned(points_of(head), *pose)) == pytest.approx(pose, abs=0.5)


@pytest.mark.data
def test_the_far_jaw_of_a_turned_head_is_hidden(head):
    frontal = head._render(0, 0)  # as the table of `visible` is made, for a few poses
    assert frontal[17:].all()
    assert frontal[3:14].all()
    # Points 0-7 are on the left of the picture, 9-16 on its right: hidden when she looks there.
    right = head._render(50, 0)
    assert not right[11:17].any()
    assert right[2:9].all()
    left = head._render(-50, 0)
    assert not left[0:6].any()
    assert left[8:15].all()
    assert (right[list(IBUG68.flip)] == left).mean() > 0.93


# the published networks


@pytest.fixture(scope="module")
def astronaut(repository):
    from edgeface import read_image

    return read_image(repository / "examples/astronaut.jpg").rgb


@pytest.mark.data
def test_the_detectors_agree_on_the_astronaut_however_large_she_is(teachers, astronaut):
    import cv2

    wide, second = (
        YuNet(teachers / "yunet_n_640_640.onnx"),
        UltraFace(teachers / "ultralight_version-RFB-320.onnx"),
    )
    first = wide.detect(astronaut)
    assert len(first) == 1
    x, y, w, h = first.boxes[0].tolist()
    for scale in (0.5, 1.0, 1.5):
        photo = cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        again = wide.detect(photo, fill=0.8)
        expected = [(x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5, w * scale, h * scale]
        assert again.boxes[0] == pytest.approx(expected, abs=0.12 * h * scale)
        boxes, scores = second.detect(photo)
        assert scores[0] > 0.9
        assert boxes[0] == pytest.approx(expected, abs=0.25 * h * scale)
    points = first.keypoints[0]
    assert points[0, 0] < points[2, 0] < points[1, 0]
    assert points[:2, 1].max() < points[2, 1] < points[3:, 1].min()
    assert len(wide.detect(np.full((200, 300, 3), 127, np.uint8))) == 0
    assert len(second.detect(np.full((200, 300, 3), 127, np.uint8))[0]) == 0


@pytest.mark.data
def test_the_mesh_of_the_astronaut_lies_on_her_face_turned_or_not(teachers, astronaut):
    import cv2

    mesh = FaceMesh(teachers / "mediapipe_face_landmarker.task")
    found = YuNet(teachers / "yunet_n_640_640.onnx").detect(astronaut)
    box, eyes = found.boxes[0], found.keypoints[0]
    points, score = mesh.mesh(astronaut, box)
    assert score > 0.9
    assert points.shape == (478, 2)
    between = np.linalg.norm(eyes[0] - eyes[1])
    assert np.linalg.norm(points[[33, 133]].mean(0) - eyes[0]) < 0.2 * between
    assert np.linalg.norm(points[[263, 362]].mean(0) - eyes[1]) < 0.2 * between
    centre = box[:2] + box[2:] / 2
    matrix = cv2.getRotationMatrix2D(tuple(centre.tolist()), 15, 1.0)
    turned_points, _ = mesh.mesh(cv2.warpAffine(astronaut, matrix, (512, 512)), box)
    apart = np.linalg.norm(turned_points - (points @ matrix[:, :2].T + matrix[:, 2]), axis=1)
    assert apart.mean() < 0.06 * between
    _, nobody = mesh.mesh(np.full_like(astronaut, 90), box)
    assert nobody < 0.3
