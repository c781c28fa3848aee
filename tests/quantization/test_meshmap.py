"""The mesh's map to 68 points is graded by folds: on photos that it was not fitted on."""

from __future__ import annotations

import numpy as np
import pytest

from edgeface.labels import IBUG68
from quantization.label import _fitted
from quantization.metrics import inter_ocular, nme
from quantization.splits import fold_of
from quantization.teachers.meshmap import FOLDS, Shown, errors, fit_map, unseen_errors

pytestmark = pytest.mark.workshop

WIDTH = 640
_CHOSEN = np.setdiff1d(np.arange(478), [33, 263])[:68]  # the 68 points are some of the mesh
_MIRROR = np.arange(478)
_MIRROR[[33, 263]] = 263, 33
_MIRROR[_CHOSEN] = _CHOSEN[list(IBUG68.flip)]


def faces(count, noise, seed=0):
    """Faces whose truth is points of the mesh and noise, of so much of the outer eye corners' distance."""
    rng = np.random.default_rng(seed)
    base, ways = rng.normal(0, 0.6, (478, 2)), rng.normal(0, 0.05, (12, 478, 2))
    corners = [33, 263, *_CHOSEN[[36, 45]]]
    base[corners], ways[:, corners] = [(-0.5, 0), (0.5, 0)] * 2, 0
    found = []
    for number in range(count):
        angle, side = rng.uniform(-0.5, 0.5), rng.uniform(80, 160)
        turn = side * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        local = base + np.einsum("k,kij->ij", rng.normal(0, 1, 12), ways)
        mesh = local @ turn + rng.uniform(250, 350, 2)
        mirror = mesh[_MIRROR] * (-1, 1) + (WIDTH - 1, 0)
        points = mesh[_CHOSEN] + rng.normal(0, noise * side, (68, 2)) * (noise > 0)
        one, other, truth = (each.astype(np.float32) for each in (mesh, mirror, points))
        found.append(Shown(f"face-{number}.jpg", one, other, truth, WIDTH))
    return found


def test_without_noise_both_errors_are_next_to_nothing():
    shown = faces(60, 0.0)
    assert errors(fit_map(shown), shown).max() < 0.01
    assert unseen_errors(shown).max() < 0.02


@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_a_map_flatters_itself_on_its_own_photos_and_not_on_those_it_never_saw(noise):
    shown = faces(60, noise)
    own, unseen = errors(fit_map(shown), shown), unseen_errors(shown)
    # What a map that knew the truth would be off by: the noise of the labels.
    exact = np.stack([face.mesh[_CHOSEN] for face in shown])
    truth = np.stack([face.points for face in shown])
    floor = nme(exact, truth, inter_ocular(truth)).mean()
    assert floor == pytest.approx(noise * np.sqrt(np.pi / 2), rel=0.1)
    assert own.mean() < 0.97 * floor
    assert unseen.mean() > floor
    assert unseen.mean() >= own.mean()


def test_each_face_is_asked_of_the_map_of_the_other_folds():
    shown = faces(30, 0.02)
    found = unseen_errors(shown, 3)
    for k in range(3):
        rest = fit_map([face for face in shown if fold_of(face.name, 3) != k])
        for face, error in zip(shown, found, strict=True):
            if fold_of(face.name, 3) == k:
                assert errors(rest, [face])[0] == pytest.approx(error, rel=1e-6)


def test_the_fold_depends_on_the_name_alone():
    shown = faces(24, 0.02)
    forward, backward = unseen_errors(shown), unseen_errors(shown[::-1])[::-1]
    assert forward == pytest.approx(backward, rel=1e-3)


def test_labelling_says_what_the_map_is_worth(capsys):
    shown = faces(40, 0.02)
    ridge = _fitted(shown)
    (line,) = capsys.readouterr().out.splitlines()
    assert line == (
        f"face mesh to 68 points, fitted on 40 photos of LFPW: NME {unseen_errors(shown).mean():.2%} on "
        f"those that a map had not seen ({FOLDS} folds), {errors(ridge, shown).mean():.2%} on its own"
    )


def test_one_photo_alone_has_nobody_to_ask(capsys):
    assert np.isnan(unseen_errors(faces(1, 0.0))).all()
    _fitted(faces(1, 0.0))
    assert not capsys.readouterr().out
