from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.nn import functional

from quantization.losses import (
    DeepFeatureLoss,
    KdConstants,
    ShapeModel,
    assistive,
    class_weights,
    cross_and_dice,
    decoupled_kd,
    draw_weights,
    kd_loss,
    labelled_mean,
    overlap,
    quality_focal,
    soft_label_kd,
    weighted_mean,
    wing,
)

pytestmark = pytest.mark.workshop

seeds = st.integers(0, 2**32 - 1)


def normal(seed, *shape, grad=False):
    """Standard normal numbers, float64."""
    values = np.random.default_rng(seed).normal(size=shape)
    return torch.from_numpy(values).requires_grad_(grad)


def integers(seed, high, *shape):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, high, shape))


def slope(loss, *inputs):
    return torch.autograd.grad(loss, inputs)


# landmarks


@pytest.mark.parametrize(
    ("error", "total"), [(0.10, 0.557), (0.04, 0.274), (0.03, 0.191), (0.01, 0.0395), (0.002, 0.012)]
)
@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("teachers", [1, -1])
def test_kd_loss_of_one_coordinate_is_the_published_figure(error, total, side, teachers):
    """Tough teacher 0.02 off, tolerant 0.05: only the sizes of the errors count, not their sides."""
    student, tough, tolerant, truth = (
        torch.tensor([v], dtype=torch.float64)
        for v in (0.3 + side * error, 0.3 + teachers * 0.02, 0.3 + 0.05, 0.3)
    )
    assert kd_loss(student, tough, tolerant, truth).total.item() == pytest.approx(total, abs=1e-6)


def kd_example():
    rng = np.random.default_rng(7)
    truth = rng.uniform(-0.5, 0.5, (4, 136))
    rows = [truth + rng.normal(0, spread, truth.shape) for spread in (0.03, 0.012, 0.025)]
    return [torch.from_numpy(a) for a in (*rows, truth)]


def test_kd_loss_of_a_random_batch_is_the_published_figure():
    terms = kd_loss(*kd_example())
    found = [t.item() for t in (terms.total, terms.main, terms.tough, terms.tolerant)]
    assert found == pytest.approx([0.12157673, 0.07688199, 0.02809232, 0.01660242], abs=1e-6)


def test_kd_loss_in_float32_and_as_points_is_the_same():
    exact = kd_loss(*kd_example()).total
    as_points = [t.float().view(4, 68, 2) for t in kd_example()]
    rough = kd_loss(*as_points).total
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact.item(), abs=1e-6)


def test_the_slope_of_kd_loss_is_right_on_each_branch_and_teachers_have_none():
    # Errors between the edges, so that the numerical slope does not step over one.
    student = torch.tensor([0.10, 0.04, 0.03, 0.01, 0.002], dtype=torch.float64, requires_grad=True)
    tough, tolerant, truth = (torch.full((5,), v, dtype=torch.float64) for v in (0.02, -0.05, 0.0))
    assert gradcheck(lambda s: kd_loss(s, tough, tolerant, truth).total, (student,), atol=1e-9)
    tough.requires_grad_(), tolerant.requires_grad_()
    kd_loss(student, tough, tolerant, truth).total.backward()
    assert tough.grad is tolerant.grad is None
    # 2 * 2e + 1.9 + 1.8;  2 * 3 + 1.9 + 0.4;  the same;  2 * 3 + 0.45 + 0.4;  2 * 3: all toward the truth.
    assert (5 * student.grad).tolist() == pytest.approx([4.1, 8.3, 8.3, 6.85, 6.0])


def test_a_weight_leaves_points_out_and_the_constants_may_be_others():
    student, tough, tolerant, truth = (t.view(4, 68, 2) for t in kd_example())
    some = torch.zeros(4, 68, dtype=torch.bool)
    some[:, 17:] = True
    kept = kd_loss(*(t[:, 17:] for t in (student, tough, tolerant, truth)))
    student[:, :17] += 3
    assert kd_loss(student, tough, tolerant, truth, some).total.item() == pytest.approx(kept.total.item())
    plain = KdConstants(main_weight=0, tough_weight=1, tolerant_weight=0, tough_beyond=1, tough_before=1)
    passed = (student - truth).abs() >= 0.15 * (tough - truth).abs()
    by_hand = (((student - truth).abs() - (tough - truth).abs()).abs() * passed).mean()
    assert kd_loss(student, tough, tolerant, truth, constants=plain).total.item() == pytest.approx(
        by_hand.item()
    )


@given(seed=seeds)
def test_aloss_is_zero_at_the_teacher_and_in_the_dead_zone(seed):
    teacher, truth = normal(seed, 2, 9)
    aloss = partial(assistive, teacher=teacher, truth=truth, beyond=1.9, before=-0.45, dead_zone=0.15)
    for fraction in (1.0, -1.0, 0.149, -0.1, 0.0):
        student = truth + fraction * (teacher - truth)
        assert aloss(student).abs().max() < 1e-9
    assert (aloss(truth + 1.001 * (teacher - truth)) > 0).all()
    assert (aloss(truth - 0.5 * (teacher - truth)) < 0).all()


def test_kd_loss_names_the_tensor_of_another_shape():
    student, tough, tolerant, truth = kd_example()
    with pytest.raises(ValueError, match=r"tolerant is \[1, 136\] where student is \[4, 136\]"):
        kd_loss(student, tough, tolerant[:1], truth)


def test_wing_is_a_logarithm_near_and_a_line_far_and_joins_smoothly():
    assert wing(torch.tensor(0.02, dtype=torch.float64)).item() == pytest.approx(0.08 * math.log(2))
    far = wing(torch.tensor([0.1, 1.1], dtype=torch.float64))
    assert (far[1] - far[0]).item() == pytest.approx(1.0)
    edge = 0.08
    below, above = wing(torch.tensor([edge - 1e-9, edge + 1e-9], dtype=torch.float64))
    assert (above - below).abs() < 1e-8
    assert gradcheck(wing, (torch.tensor([0.0, 0.01, 0.07, 0.2], dtype=torch.float64, requires_grad=True),))


# soft landmarks


def turned(shapes, seed):
    """Shapes [N, K, 2], each brought to a place, size and roll of its own."""
    rng = np.random.default_rng(seed)
    flat = shapes[..., 0] + 1j * shapes[..., 1]
    factor = np.exp(rng.uniform(-1, 1, len(flat)) + 1j * rng.uniform(-np.pi, np.pi, len(flat)))[:, None]
    shift = rng.normal(0, 50, (len(flat), 2)) @ (1, 1j)
    moved = factor * flat + shift[:, None]
    return np.stack([moved.real, moved.imag], -1)


def bent_shapes(count=60, points=12, kinds=2, seed=0, spread=0.05):
    """Shapes of exactly so many modes, upright."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(points, 2))
    mean = (mean - mean.mean(0)) / np.linalg.norm(mean - mean.mean(0))
    # No mode may move, turn or scale the mean, or the similarity would take part of it away.
    ways = np.stack(
        [mean, mean @ [[0, 1], [-1, 0]], np.tile((1, 0), (points, 1)), np.tile((0, 1), (points, 1))]
    )
    basis = np.linalg.qr(
        np.concatenate([ways, rng.normal(size=(kinds, points, 2))]).reshape(4 + kinds, -1).T
    )[0]
    modes = basis[:, 4:].T.reshape(kinds, points, 2)
    along = rng.normal(size=(count, kinds)) * spread / np.arange(1, kinds + 1)
    return mean + np.einsum("nk,kpc->npc", along - along.mean(0), modes)


def test_the_modes_of_shapes_are_found_whatever_their_place_size_and_roll():
    shapes = turned(bent_shapes(kinds=2), seed=1)
    model = ShapeModel.fit(shapes, explained=0.9999)
    assert len(model.modes) == 2
    assert model.explained == pytest.approx(1)
    assert np.linalg.norm(model.mean) == pytest.approx(1)
    assert model.deviations[0] > model.deviations[1]
    assert np.abs(model.soften(shapes, limit=10) - shapes).max() < 1e-9 * np.abs(shapes).max()
    flat = model.modes.reshape(2, -1)
    assert np.allclose(flat @ flat.T, np.eye(2))


def test_noise_outside_the_modes_is_smoothed_away():
    clean = 100 * bent_shapes(kinds=2)
    noisy = clean + np.random.default_rng(3).normal(0, 1, clean.shape)
    model = ShapeModel.fit(noisy, modes=2)
    before, after = (np.square(s - clean).mean() for s in (noisy, model.soften(noisy)))
    # Of 24 coordinates, the two modes and the four of place, size and roll keep their noise.
    assert after < 0.4 * before
    assert 0.5 < model.explained < 1


@given(seed=seeds)
def test_softening_follows_a_face_and_softens_once(seed):
    shapes = bent_shapes(kinds=6)
    model = ShapeModel.fit(shapes, modes=2)
    soft = model.soften(shapes)
    assert np.abs(soft - shapes).max() > 1e-3
    assert np.abs(model.soften(soft) - soft).max() < 1e-12
    moved, moved_soft = turned(shapes, seed), turned(soft, seed)
    assert np.abs(model.soften(moved) - moved_soft).max() < 1e-9 * np.abs(moved).max()


def test_all_modes_keep_a_shape_and_few_explain_as_much_as_was_asked():
    shapes = turned(bent_shapes(kinds=8), seed=2)
    full = ShapeModel.fit(shapes, explained=1.0)
    assert len(full.modes) == 8
    assert np.abs(full.soften(shapes, limit=9) - shapes).max() < 1e-9 * np.abs(shapes).max()
    shares = [ShapeModel.fit(shapes, modes=k).explained for k in range(1, 9)]
    assert shares == sorted(shares)
    for wanted in (0.3, 0.7, 0.9, 0.97):
        model = ShapeModel.fit(shapes, explained=wanted)
        k = len(model.modes)
        assert shares[k - 1] >= wanted
        assert k == 1 or shares[k - 2] < wanted


def test_a_shape_goes_three_deviations_along_a_mode_and_no_farther():
    shapes = bent_shapes(kinds=2)
    model = ShapeModel.fit(shapes, modes=2)
    along = (shapes - model.mean).reshape(len(shapes), -1) @ model.modes.reshape(2, -1).T
    assert model.deviations.tolist() == pytest.approx(along.std(axis=0, ddof=1).tolist())
    for side in (1, -1):
        way = side * model.deviations[0] * model.modes[0]
        strange, allowed = (model.mean + 8 * way)[None], (model.mean + 3 * way)[None]
        assert np.abs(model.soften(strange) - allowed).max() < 1e-12
        assert np.abs(model.soften(strange, limit=9) - strange).max() < 1e-12


def test_shapes_that_make_no_model_are_named():
    shapes = bent_shapes()
    broken = shapes.copy()
    broken[17, 3, 1] = np.nan
    collapsed = shapes.copy()
    collapsed[5] = 2.0
    for wrong, said in (
        (broken, "shape 17 has a coordinate that is not finite"),
        (collapsed, "shape 5 has nothing of the mean shape"),
        (collapsed[5:], "shape 0 has all its points in one place"),
        (shapes[:1], "1 shape; a shape model needs at least two"),
        (turned(shapes[[0] * 9], seed=4), "differ in nothing but place"),
        (shapes[0], r"shapes are \[12, 2\]; give \[N, K, 2\]"),
    ):
        with pytest.raises(ValueError, match=said):
            ShapeModel.fit(wrong, modes=1)
    with pytest.raises(ValueError, match="3 modes asked for; these 60 shapes have 1 to 2"):
        ShapeModel.fit(shapes, modes=3)
    with pytest.raises(ValueError, match="explained is 90; a share"):
        ShapeModel.fit(shapes, explained=90)
    for both in ({}, {"modes": 2, "explained": 0.9}):
        with pytest.raises(ValueError, match="give one of the two"):
            ShapeModel.fit(shapes, **both)
    with pytest.raises(ValueError, match=r"this model's are \[N, 12, 2\]"):
        ShapeModel.fit(shapes, modes=1).soften(shapes[:, :5])


# distillation


def test_soft_labels_are_the_divergence_at_a_temperature():
    student, teacher = normal(0, 5, 7), normal(1, 5, 7)
    found = soft_label_kd(student, teacher, temperature=3.0)
    p, q = (functional.softmax(x / 3, 1) for x in (teacher, student))
    assert found.item() == pytest.approx(9 * (p * (p / q).log()).sum(1).mean().item())
    shares = functional.softmax(teacher, 1).log()  # a teacher that answers in probabilities
    assert soft_label_kd(student, shares, 3.0).item() == pytest.approx(found.item())


def test_a_teacher_of_votes_may_give_classes_nothing():
    votes = torch.tensor([[0.7, 0.3, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    student = normal(0, 2, 3, grad=True)
    plain = soft_label_kd(student, votes.log(), temperature=1.0)
    wanted = functional.kl_div(functional.log_softmax(student, 1), votes, reduction="batchmean")
    assert plain.item() == pytest.approx(wanted.item())
    decoupled = decoupled_kd(student, votes.log(), votes.argmax(1), temperature=1.0)
    assert torch.isfinite(decoupled)
    assert torch.isfinite(slope(plain + decoupled, student)[0]).all()


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 2, 2)])
def test_slopes_of_both_distillations_are_right(shape):
    student, teacher = normal(2, *shape, grad=True), normal(3, *shape)
    labels = integers(4, shape[1], shape[0], *shape[2:])
    weight = normal(5, shape[0], *shape[2:]).abs()
    assert gradcheck(lambda s: soft_label_kd(s, teacher, 2.0, weight), (student,))
    assert gradcheck(lambda s: decoupled_kd(s, teacher, labels, 2.0, weight), (student,))


@given(seed=seeds, temperature=st.floats(0.5, 20), shift=st.floats(-30, 30))
def test_a_student_that_agrees_has_nothing_to_learn(seed, temperature, shift):
    teacher, labels = normal(seed, 6, 5), integers(seed, 5, 6)
    student = (teacher + shift).requires_grad_()
    for loss in (
        soft_label_kd(student, teacher, temperature),
        decoupled_kd(student, teacher, labels, temperature),
    ):
        assert loss.item() == pytest.approx(0, abs=1e-9)
        assert slope(loss, student)[0].abs().max() < 1e-9


def test_a_teacher_gets_no_slope():
    student, teacher = normal(0, 3, 4, grad=True), normal(1, 3, 4, grad=True)
    (soft_label_kd(student, teacher) + decoupled_kd(student, teacher, integers(0, 4, 3))).backward()
    assert student.grad.abs().max() > 0
    assert teacher.grad is None


@given(seed=seeds, temperature=st.floats(0.5, 10), sharp=st.floats(0.1, 15))
def test_decoupled_distillation_with_the_coupled_weights_is_the_plain_one(seed, temperature, sharp):
    """TCKD + (1 - p) NCKD is KD, also where the teacher is next to certain."""
    student, teacher = normal(seed, 6, 5), sharp * normal(seed + 1, 6, 5)
    labels = integers(seed, 5, 6)
    outside = 1 - functional.softmax(teacher / temperature, 1).gather(1, labels[:, None])[:, 0]
    found = decoupled_kd(student, teacher, labels, temperature, other_weight=outside)
    plain = soft_label_kd(student, teacher, temperature)
    assert found.item() == pytest.approx(plain.item(), rel=1e-6, abs=1e-9)


def test_the_parts_of_decoupled_distillation_are_those_of_the_formula():
    student, teacher, target = normal(0, 1, 4), normal(1, 1, 4), torch.tensor([2])
    p, q = (functional.softmax(x[0], 0).tolist() for x in (teacher, student))
    tckd = p[2] * math.log(p[2] / q[2]) + (1 - p[2]) * math.log((1 - p[2]) / (1 - q[2]))
    rest = [(p[i] / (1 - p[2]), q[i] / (1 - q[2])) for i in (0, 1, 3)]
    nckd = sum(a * math.log(a / b) for a, b in rest)
    for alpha, beta in ((1, 0), (0, 1), (1, 8)):
        found = decoupled_kd(student, teacher, target, 1.0, target_weight=alpha, other_weight=beta)
        assert found.item() == pytest.approx(alpha * tckd + beta * nckd)


@given(seed=seeds, weighted=st.booleans())
def test_maps_are_distilled_as_a_loop_over_their_pixels_would(seed, weighted):
    student, teacher = normal(seed, 2, 4, 3, 2), normal(seed + 1, 2, 4, 3, 2)
    labels = integers(seed, 5, 2, 3, 2)
    labels[labels == 4] = 255
    weight = normal(seed, 2, 3, 2).abs() if weighted else torch.ones(2, 3, 2, dtype=torch.float64)
    sums = np.zeros((2, 2))
    for n in range(2):
        for y in range(3):
            for x in range(2):
                one = (student[n : n + 1, :, y, x], teacher[n : n + 1, :, y, x])
                w = weight[n, y, x].item()
                sums[0] += (w * soft_label_kd(*one).item(), w)
                if labels[n, y, x] != 255:
                    sums[1] += (w * decoupled_kd(*one, labels[n : n + 1, y, x]).item(), w)
    wanted = sums[:, 0] / np.maximum(sums[:, 1], 1e-300)
    given_weight = weight if weighted else None
    found = [
        soft_label_kd(student, teacher, weight=given_weight).item(),
        decoupled_kd(student, teacher, labels, weight=given_weight).item(),
    ]
    assert found == pytest.approx(wanted.tolist(), rel=1e-9)


@given(seed=seeds, pixels=st.booleans())
def test_what_is_ignored_costs_and_teaches_nothing(seed, pixels):
    shape = (3, 4, 2, 3) if pixels else (8, 4)
    student, teacher = normal(seed, *shape, grad=True), normal(seed + 1, *shape)
    labels = integers(seed, 5, shape[0], *shape[2:])
    labels[labels == 4] = 255
    known = labels != 255
    changed = torch.where(known[:, None], student.detach(), 40 * normal(seed + 2, *shape)).requires_grad_()
    losses = [
        lambda s: soft_label_kd(s, teacher, weight=known),
        lambda s: decoupled_kd(s, teacher, labels),
    ]
    if pixels:
        losses.append(lambda s: sum(p.sum() for p in cross_and_dice(s, labels)))
    for loss in losses:
        one, other = loss(student), loss(changed)
        assert one.item() == pytest.approx(other.item(), rel=1e-12, abs=1e-15)
        for tensor, value in ((student, one), (changed, other)):
            found = slope(value, tensor)[0].movedim(1, -1)
            assert (found[~known] == 0).all()
            assert (found[known] != 0).any() or not known.any()


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 2, 2)])
def test_a_batch_of_which_nothing_counts_costs_zero(shape):
    student, teacher = normal(0, *shape, grad=True), normal(1, *shape)
    none = torch.full((shape[0], *shape[2:]), 255)
    losses = [decoupled_kd(student, teacher, none), soft_label_kd(student, teacher, weight=none != 255)]
    if len(shape) == 4:
        losses.append(cross_and_dice(student, none)[0])
    for loss in losses:
        assert loss.item() == 0
        assert (slope(loss, student)[0] == 0).all()


def test_a_sample_that_weighs_twice_counts_as_two():
    student, teacher, labels = normal(0, 3, 4), normal(1, 3, 4), integers(0, 4, 3)
    weight, twice = torch.tensor([1.0, 2.0, 0.0]), [0, 1, 1]
    for loss in (lambda i, w: soft_label_kd(student[i], teacher[i], 4.0, w),
                 lambda i, w: decoupled_kd(student[i], teacher[i], labels[i], 4.0, w)):  # fmt: skip
        assert loss(slice(None), weight).item() == pytest.approx(loss(twice, None).item())


def test_mistaken_logits_labels_and_weights_are_named():
    logits, labels = normal(0, 2, 4, 3, 3), integers(0, 4, 2, 3, 3)
    with pytest.raises(ValueError, match=r"teacher is \[2, 3, 3, 3\] where student is \[2, 4, 3, 3\]"):
        soft_label_kd(logits, logits[:, :3])
    with pytest.raises(ValueError, match=r"a weight is \[4\] where the values are \[2, 3, 3\]"):
        soft_label_kd(logits, logits, weight=torch.ones(4))
    for wrong in (4, -1, 254):
        labels[1, 2, 0] = wrong
        for call in (lambda: decoupled_kd(logits, logits, labels), lambda: cross_and_dice(logits, labels)):
            with pytest.raises(ValueError, match=f"label {wrong} where the logits have 4 classes"):
                call()
    with pytest.raises(ValueError, match=r"labels are \[2, 3\] where logits are \[2, 4, 3, 3\]"):
        cross_and_dice(logits, labels[:, 0])


# deep features


def feature_loss(**others):
    torch.manual_seed(0)
    return DeepFeatureLoss((3, 2), (4, 2), **others).double()


def test_deep_features_are_projected_resized_and_compared():
    loss = feature_loss(layer_weights=(1.0, 0.5))
    small, same = normal(0, 2, 3, 2, 2), normal(1, 2, 2, 4, 4)
    theirs, theirs_same = normal(2, 2, 4, 4, 4), normal(3, 2, 2, 4, 4)
    first, second = loss.projections
    up = functional.interpolate(first(small), scale_factor=2, mode="bilinear", align_corners=False)
    by_hand = (up - theirs).square().mean() + 0.5 * (second(same) - theirs_same).square().mean()
    assert loss((small, same), (theirs, theirs_same)).item() == pytest.approx(by_hand.item())


def test_larger_student_features_are_averaged_not_sampled():
    loss = DeepFeatureLoss((1,), (1,)).double()
    with torch.no_grad():
        loss.projections[0].weight.fill_(1), loss.projections[0].bias.zero_()
    spike = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    spike[0, 0, ::4, ::4] = 16.0  # plain bilinear sampling by 4 sees two pixels of every four
    assert loss((spike,), (torch.ones(1, 1, 4, 4, dtype=torch.float64),)).item() < 0.1


def test_features_a_projection_can_match_cost_nothing_and_their_slopes_are_right():
    loss = feature_loss()
    student = [normal(0, 2, 3, 3, 3, grad=True), normal(1, 2, 2, 5, 4, grad=True)]
    matched = [p(s).detach() for p, s in zip(loss.projections, student, strict=True)]
    assert loss(student, matched).item() == pytest.approx(0, abs=1e-12)
    teacher = [normal(2, 2, 4, 6, 6), normal(3, 2, 2, 2, 2)]
    assert gradcheck(lambda *s: loss(s, teacher), student)
    teacher[0].requires_grad_()
    loss(student, teacher).backward()
    assert teacher[0].grad is None
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in loss.parameters())


def test_samples_of_weight_zero_teach_no_features():
    loss = feature_loss()
    student, teacher = (
        [normal(0, 3, 3, 2, 2), normal(1, 3, 2, 2, 2)],
        [normal(2, 3, 4, 2, 2), normal(3, 3, 2, 2, 2)],
    )
    kept = loss([s[1:] for s in student], [t[1:] for t in teacher])
    assert loss(student, teacher, torch.tensor([0.0, 1.0, 1.0])).item() == pytest.approx(kept.item())


def test_features_of_other_layers_are_refused():
    with pytest.raises(ValueError, match="2 layers of the student, 1 of the teacher"):
        DeepFeatureLoss((3, 4), (3,))
    with pytest.raises(ValueError, match="0 layers of the student"):
        DeepFeatureLoss((), ())
    loss, fits, other = feature_loss(), normal(0, 2, 3, 2, 2), normal(0, 2, 2, 2, 2)
    with pytest.raises(ValueError, match="1 features of the student, 2 of the teacher; this loss has 2"):
        loss([fits], [normal(0, 2, 4, 2, 2), other])
    with pytest.raises(ValueError, match=r"teacher feature 0 is \[2, 5, 2, 2\]"):
        loss([fits, other], [normal(0, 2, 5, 2, 2), other])


# parsing


def test_a_perfect_map_costs_nothing_and_a_wrong_one_does():
    labels = integers(0, 4, 2, 8, 8)
    perfect = 60 * functional.one_hot(labels, 5).permute(0, 3, 1, 2).double()
    cross, dice = cross_and_dice(perfect, labels)
    assert dice.shape == (5,)
    assert cross.item() == pytest.approx(0, abs=1e-12)
    assert dice.abs().max() < 1e-12  # also of class 4, which is neither there nor guessed
    cross, dice = cross_and_dice(perfect.roll(1, 1), labels)
    assert cross.item() == pytest.approx(60)
    assert (dice > 0.9).all()


def test_cross_entropy_and_dice_are_those_of_a_loop_over_pixels_and_classes():
    logits, labels, weights = normal(0, 2, 3, 4, 4), integers(1, 4, 2, 4, 4), torch.tensor([0.5, 1.0, 4.0])
    labels[labels == 3] = 255
    cross, dice = cross_and_dice(logits, labels, weights)
    shares, known = functional.softmax(logits, 1), labels != 255
    wanted = functional.cross_entropy(logits, labels, weights.double(), ignore_index=255)
    assert cross.item() == pytest.approx(wanted.item())
    for c in range(3):
        p, true = shares[:, c][known], labels[known] == c
        by_hand = 1 - (2 * p[true].sum() + 1) / (p.sum() + true.sum() + 1)
        assert dice[c].item() == pytest.approx(by_hand.item())


def test_the_slope_of_cross_entropy_and_dice_is_right():
    logits, labels = normal(0, 1, 4, 2, 3, grad=True), integers(1, 4, 1, 2, 3)
    labels[0, 1, 1] = 255
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0])
    assert gradcheck(lambda x: cross_and_dice(x, labels, weights), (logits,))


def test_class_weights_are_heavier_the_rarer_and_one_on_average():
    pixels = np.array([[9000, 900, 90, 0], [9500, 480, 20, 0]])
    weights = class_weights(pixels)
    assert (np.diff(weights) > 0).all()
    assert (weights * pixels.sum(0)).sum() / pixels.sum() == pytest.approx(1)
    shares = pixels.sum(0) / pixels.sum()
    assert weights[2] / weights[0] == pytest.approx(((shares[0] + 1e-3) / (shares[2] + 1e-3)) ** 0.35)
    assert class_weights(pixels, power=0.0).tolist() == pytest.approx([1] * 4)
    with pytest.raises(ValueError, match=r"counts \[2, 4\] without a pixel"):
        class_weights(np.zeros_like(pixels))


def test_images_that_show_what_is_rare_are_drawn_more_often():
    pixels = np.zeros((32, 3), int)
    pixels[:, 0] = 5000
    pixels[:8, 1] = 41  # a quarter of the images show it: rarity 1/2
    pixels[8:12, 1] = 40  # too few pixels to be seen
    pixels[7, 2] = 300  # one of 32: rarity 4
    weights = draw_weights(pixels, (1, 2), strength=2.0)
    assert weights.sum() == pytest.approx(1)
    assert (weights / weights[-1])[[0, 7, 8]].tolist() == pytest.approx([2.0, 10.0, 1.0])
    assert (draw_weights(pixels, (1, 2), 2.0, ceiling=1.5) / weights.min()).max() < 10
    bounded = draw_weights(pixels, (1, 2), 2.0, ceiling=1.5)
    assert bounded[7] / bounded[-1] == pytest.approx(1 + 2 * (0.5 + 1.5))
    for even in (draw_weights(pixels, (1, 2), 0.0), draw_weights(pixels, (), 2.0)):
        assert even.tolist() == pytest.approx([1 / 32] * 32)


def test_draw_weights_refuse_what_is_not_counted():
    with pytest.raises(ValueError, match="no pixel counts"):
        draw_weights(np.zeros((0, 3), int), (1,), 1.0)
    with pytest.raises(ValueError, match=r"rare classes \[1, 3\] where pixels of 3 classes"):
        draw_weights(np.ones((2, 3), int), (1, 3), 1.0)


# detection


def test_quality_focal_loss_is_zero_at_the_quality_and_steep_far_from_it():
    quality = torch.tensor([0.0, 0.3, 0.9], dtype=torch.float64)
    logits = normal(0, 3, grad=True)
    loss = quality_focal(logits, quality)
    share = torch.sigmoid(logits.detach())
    cross = -(quality * share.log() + (1 - quality) * (1 - share).log())
    assert loss.tolist() == pytest.approx(((share - quality) ** 2 * cross).tolist())
    found = slope(loss.sum(), logits)[0]
    assert found.tolist() == pytest.approx(((share - quality).abs() ** 2 * (share - quality)).tolist())
    assert quality_focal(torch.logit(quality[1:]), quality[1:]).abs().max() < 1e-12
    with pytest.raises(ValueError, match=r"quality is \[2\] where logits is \[3\]"):
        quality_focal(logits, quality[1:])


boxes = st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.floats(1, 60), st.floats(1, 60))


def corners(box):
    x, y, width, height = box
    return torch.tensor([[x, y, x + width, y + height]], dtype=torch.float64)


@given(one=boxes, other=boxes)
def test_overlap_of_boxes_is_symmetric_and_within_its_bounds(one, other):
    a, b = corners(one), corners(other)
    iou, giou = (v.item() for v in overlap(a, b))
    assert (iou, giou) == pytest.approx(tuple(v.item() for v in overlap(b, a)))
    assert 0 <= iou <= 1
    assert -1 <= giou <= iou + 1e-12
    assert [v.item() for v in overlap(a, a)] == pytest.approx([1, 1], abs=1e-5)


def test_overlap_of_known_boxes_and_its_slope_between_distant_ones():
    a = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1], [5, 5, 4, 4]], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([[1.0, 0, 3, 2], [3, 0, 4, 1], [0, 0, 1, 1]], dtype=torch.float64)
    iou, giou = overlap(a, b)
    assert iou.tolist() == pytest.approx([1 / 3, 0, 0], abs=1e-5)
    assert giou[:2].tolist() == pytest.approx([1 / 3, -0.5], abs=1e-5)
    assert slope(giou[1], a)[0][1, 2] > 0  # growing toward the other box is worth it
    near = torch.tensor([[0.1, 0.2, 2.0, 2.1], [0, 0, 1, 1.2]], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: overlap(x, b[:2]), (near,))


# means


@given(seed=seeds)
def test_a_weighted_mean_is_the_mean_of_repeated_values(seed):
    values, times = normal(seed, 4, 3), integers(seed, 4, 4)
    wanted = values.repeat_interleave(times, 0)
    found = weighted_mean(values, times)
    assert found.item() == pytest.approx(wanted.mean().item() if len(wanted) else 0)
    assert weighted_mean(values, None).item() == pytest.approx(values.mean().item())
    mask = normal(seed, 4, 3) > 0
    both = weighted_mean(values, times, mask)
    assert both.item() == pytest.approx(weighted_mean(values, times[:, None] * mask).item())


@given(seed=seeds, present=st.lists(st.booleans(), min_size=4, max_size=4))
def test_samples_without_a_label_cost_and_teach_nothing_whatever_stands_there(seed, present):
    outputs, targets = normal(seed, 4, 5, grad=True), normal(seed + 1, 4, 5)
    has = torch.tensor(present)
    targets[~has] = torch.nan
    loss = labelled_mean(functional.mse_loss, has, outputs, targets)
    wanted = (outputs - targets)[has].square().mean().item() if any(present) else 0.0
    assert loss.item() == pytest.approx(wanted)
    found = slope(loss, outputs)[0]
    assert torch.isfinite(found).all()
    assert (found[~has] == 0).all()
    assert (found[has] != 0).all()


def squares(guess, truth, weight):
    return weighted_mean((guess - truth).square(), weight)


def test_every_task_learns_from_a_batch_with_few_labels():
    """Points on two samples, classes on none; the teacher serves all three."""
    torch.manual_seed(0)
    network = torch.nn.Linear(6, 4).double()
    outputs = network(normal(0, 3, 6))
    teacher, nan = normal(1, 3, 4), torch.full((3, 4), torch.nan, dtype=torch.float64)
    has_points, nobody = torch.tensor([True, True, False]), torch.zeros(3, dtype=torch.bool)
    points, classes = torch.where(has_points[:, None], normal(2, 3, 4), nan), torch.full((3,), 255)
    loss = (
        labelled_mean(squares, has_points, outputs, points, None)
        + labelled_mean(functional.cross_entropy, nobody, outputs, classes)
        + soft_label_kd(outputs, teacher)
    )
    loss.backward()
    wanted = (outputs - points)[:2].square().mean() + soft_label_kd(outputs, teacher)
    assert loss.item() == pytest.approx(wanted.item())
    assert torch.isfinite(network.weight.grad).all()
    assert network.weight.grad.abs().max() > 0


def test_has_must_say_yes_or_no_of_every_sample():
    outputs = normal(0, 3, 4)
    for wrong in (torch.ones(3), torch.ones(2, dtype=torch.bool), torch.ones(3, 4, dtype=torch.bool)):
        with pytest.raises(ValueError, match=r"for 3 samples; give one bool per sample"):
            labelled_mean(functional.mse_loss, wrong, outputs, outputs)
