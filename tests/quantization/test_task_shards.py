"""Every task learns from labelled shards alone; what a sample does not say is masked, and counted."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from edgeface import BBox, Bundle, FaceAnalyzer
from edgeface.labels import CELEBAMASK19, IBUG11, LAPA11
from quantization.build import build, network_of
from quantization.datasets import DataSetError, Sample, Terms, open_dataset, write_shard
from quantization.datasets.shards import held_out
from quantization.recipe import RECIPES, TASKS, RecipeError, check_recipe, load_recipe, sets_of
from quantization.tasks import load_task
from quantization.tasks.seen import seen_in
from quantization.tasks.shards import Shards, box_of, five_points
from quantization.training import Schedule, fit, load_weights
from tests.quantization.miniature import colours_at, draw, make_head

pytestmark = pytest.mark.workshop

OWN = Terms("our pictures", "ours", True, "this test")
NOWHERE = Path("/nowhere")
SMALLER = {
    "detection": {"width": 96, "height": 64, "widths": [4, 8, 8, 12, 12], "blocks": [1, 1, 1], "neck": 8},
    "landmarks": {"size": 112, "widths": [4, 8, 8, 12, 12], "code": 24},
    "parsing": {"size": 64, "widths": [4, 8, 8, 12, 12], "decoder": [8, 8, 8, 8]},
    "expression": {"widths": [4, 8, 8, 12]},
}
OF_BUILT_IN = ("share", "also_validation", "taught", "taught_share")


def png(rgb):
    return cv2.imencode(".png", rgb[:, :, ::-1])[1].tobytes()


def label_map(face):
    """Skin, eyes and a mouth in LaPa's classes."""
    mask = np.zeros(face.rgb.shape[:2], np.uint8)
    x, y, w, h = map(float, face.box)
    cv2.ellipse(mask, ((x + w / 2, y + h / 2), (w, h), 0.0), LAPA11.names.index("skin"), -1)
    for point, name in zip(face.keypoints, ("r_eye", "l_eye", "nose", "mouth", "mouth"), strict=True):
        cv2.circle(mask, tuple(point.round().astype(int).tolist()), 3, LAPA11.names.index(name), -1)
    return mask


def sample_of(task, seed, **changes):
    """A drawn face with the label of one task, as a teacher would have left it."""
    face = draw(seed)
    labels = {
        "detection": {"attributes": {"teacher": "small", "faces": "all"}},
        "landmarks": {"points": face.points, "points_scheme": "ibug68"},
        "parsing": {"mask": label_map(face), "mask_scheme": "lapa11"},
        "expression": {"votes": votes(seed), "expression": int(votes(seed).argmax())},
    }[task]
    told = {"boxes": face.box[None], "attributes": {"teacher": "small", "faces": "one"}} | labels | changes
    return Sample(f"{task}-{seed}.png", png(face.rgb), **told)


def votes(seed):
    """Soft answers of a teacher, surest of class seed % 8."""
    soft = np.exp(np.random.default_rng(seed).normal(0, 0.3, 8) + 3 * np.eye(8)[seed % 8])
    return np.r_[soft / soft.sum(), 0, 0].astype(np.float32)


def recipe_of(task, *shards, more=None, **data):
    """The shipped recipe of the task over shards alone, with a network of a few numbers."""
    plain = {"detection": "own-folder", "expression": "expression-first"}  # the courses that ask nobody
    plain["landmarks"] = "landmarks-fifth"  # and the one before blendshapes
    base = RECIPES / f"{plain.get(task, task)}.toml"
    recipe = copy.deepcopy(load_recipe(base))
    student = {k: v for k, v in recipe["student"].items() if k not in OF_BUILT_IN} | SMALLER[task]
    student |= more or {}
    recipe["schedule"] = {"steps": 3, "batch": 4, "rate": 1e-3, "validate_every": 3, "warmup": 1}
    recipe |= {
        "student": student,
        "data": {"shards": [str(path) for path in shards], "validation": 0.2} | data,
    }
    recipe["deploy"] = {k: v for k, v in recipe["deploy"].items() if k != "licence"} | {"calibration": 4}
    if task == "parsing":
        recipe["deploy"]["labels"] = "lapa11"
    recipe.pop("teacher", None)
    recipe.pop("targets", None)
    check_recipe(recipe, Path("own.toml"))
    return recipe


def write(folder, samples, name="a.tar"):
    folder.mkdir(exist_ok=True, parents=True)
    write_shard(folder / name, samples, OWN)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Per task a folder of a shard with 20 samples."""
    root = tmp_path_factory.mktemp("shards")
    return {task: write(root / task, [sample_of(task, i) for i in range(20)]) for task in TASKS}


@pytest.fixture(autouse=True)
def few_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("task", TASKS)
def test_a_student_trains_from_shards_and_needs_nothing_else(task, shards, tmp_path):
    recipe, told = recipe_of(task, shards[task]), []
    assert sets_of(recipe) == ()
    lessons = load_task(recipe, NOWHERE, NOWHERE, say=told.append)
    assert told[0].startswith(f"{task}: ")
    network = fit(lessons, Schedule(**recipe["schedule"]), tmp_path, threads=1)
    assert all(torch.isfinite(p).all() for p in network.parameters())
    again = load_weights(network_of(recipe), tmp_path / "weights.npz")  # what packing loads
    crops = list(lessons.calibration(3))
    assert len(crops) >= 3
    assert crops[0].dtype == np.float32
    image = torch.from_numpy(crops[0]).permute(2, 0, 1)[None]
    again(image[:, :1] if task == "expression" else image)
    assert all(np.isfinite(v) for v in lessons.validate(network).values())


@pytest.mark.parametrize("task", TASKS)
def test_the_batch_of_a_step_is_the_same_whoever_draws_it(task, shards):
    recipe = recipe_of(task, shards[task])
    one, other = (load_task(recipe, NOWHERE, NOWHERE).batch(np.random.default_rng(3), 4) for _ in range(2))
    assert all(torch.equal(one[k].nan_to_num(-1), other[k].nan_to_num(-1)) for k in one)


def test_a_sample_stays_on_its_side_wherever_it_lies(tmp_path):
    samples = [sample_of("expression", i) for i in range(40)]
    write(tmp_path / "one", samples)
    for i in range(4):
        write(tmp_path / "four", samples[::-1][i::4], f"{i}.tar")
    sides = [
        {s.name: held_out(s, 0.25) for s in open_dataset("webdataset", tmp_path / name)}
        for name in ("one", "four")
    ]
    assert sides[0] == sides[1]
    assert 3 <= sum(sides[0].values()) <= 20
    more = {s.name: held_out(s, 0.5) for s in samples}
    assert all(more[name] for name, held in sides[0].items() if held)  # a larger part keeps what it had
    assert held_out(replace(samples[0], part="test"), 0.01)
    assert sum(held_out(replace(s, part="train"), 0.25) for s in samples) == sum(sides[0].values())


@pytest.mark.parametrize("task", TASKS)
def test_samples_without_the_label_are_left_out_and_counted(task, tmp_path):
    bare = [replace(sample_of(task, 100 + i), boxes=None, points=None, points_scheme="", mask=None,
                    mask_scheme="", votes=None, expression=None) for i in range(3)]  # fmt: skip
    told = []
    recipe = recipe_of(task, write(tmp_path / "a", [*(sample_of(task, i) for i in range(20)), *bare]))
    load_task(recipe, NOWHERE, NOWHERE, say=told.append)
    assert any(line.startswith("3 left out: ") for line in told), told
    only = recipe_of(task, write(tmp_path / "b", bare))
    with pytest.raises(DataSetError, match=rf"too little to learn {task} from .*3 left out"):
        load_task(only, NOWHERE, NOWHERE)


@pytest.mark.parametrize("task", TASKS)
def test_a_broken_sample_is_counted_and_too_many_end_the_run(task, tmp_path):
    good = [sample_of(task, i) for i in range(20)]
    spoiled = [replace(s, name=f"bad-{i}", picture=s.picture[:60]) for i, s in enumerate(good)]
    told = []
    load_task(
        recipe_of(task, write(tmp_path / "few", [*good, spoiled[0]])), NOWHERE, NOWHERE, say=told.append
    )
    assert [line for line in told if "bad-0: the picture cannot be decoded" in line]
    many = recipe_of(task, write(tmp_path / "many", [*good, *spoiled, *spoiled[:5]]))
    with pytest.raises(DataSetError, match="broken items so far"):
        load_task(many, NOWHERE, NOWHERE)


def test_a_part_without_a_sample_is_refused(shards):
    with pytest.raises(DataSetError, match=r"0 are held out.*another data\.validation"):
        load_task(recipe_of("expression", shards["expression"], validation=0.01), NOWHERE, NOWHERE)


# landmarks


def test_a_face_without_points_teaches_that_it_is_there_and_no_more(tmp_path):
    bare = [replace(sample_of("landmarks", i), points=None, points_scheme="") for i in range(20, 60)]
    folder = write(tmp_path / "a", [*(sample_of("landmarks", i) for i in range(20)), *bare])
    recipe, told = recipe_of("landmarks", folder), []
    lessons = load_task(recipe, NOWHERE, NOWHERE, say=told.append)
    assert any(line.startswith("40 of them have a face and no points") for line in told)
    batch = lessons.batch(np.random.default_rng(0), 32)
    without = (batch["pointed"] == 0) & (batch["present"] == 1)
    assert 5 < int(without.sum()) < 32
    mine = {name: values[without] for name, values in batch.items()}
    outputs = tuple(torch.randn(int(without.sum()), n, 1, 1, requires_grad=True) for n in (136, 68, 1))
    loss, terms = lessons.loss(outputs, mine)
    loss.backward()
    assert terms["shape"] == terms["visibility"] == 0 < terms["presence"]
    assert not outputs[0].grad.any()
    assert not outputs[1].grad.any()
    assert outputs[2].grad.abs().min() > 0


def test_an_unknown_visibility_is_masked_and_a_known_one_is_not(shards, tmp_path):
    lessons = load_task(recipe_of("landmarks", shards["landmarks"]), NOWHERE, NOWHERE)
    network = lessons.network()
    seen = network(torch.randn(2, 3, 112, 112))[1].detach()
    assert 1.8 < float(seen.min()) <= float(seen.max()) < 2.2  # nobody taught it: every point is seen
    batch = lessons.batch(np.random.default_rng(0), 8)
    assert lessons.loss(tuple(network.train()(batch["image"])), batch)[1]["visibility"] == 0
    hidden = np.arange(68) % 3 > 0
    known = [replace(sample_of("landmarks", i), visible=hidden) for i in range(20)]
    recipe = recipe_of("landmarks", write(tmp_path / "a", known))
    recipe["student"] |= {"covered": 0.0, "negatives": 0.0}
    told = load_task(recipe, NOWHERE, NOWHERE).batch(np.random.default_rng(0), 8)
    assert told["told"].min() == 1
    assert 0.4 < float(told["seen"].mean()) <= 0.67
    model = make_head(tmp_path / "data/face3d/ict_face_model_light.npz", 40, 48).parents[1]
    asked = recipe_of("landmarks", shards["landmarks"])
    asked["student"]["face3d"] = True
    assert load_task(asked, model, NOWHERE).batch(np.random.default_rng(0), 8)["told"].min() == 1
    assert "face3d" in seen_in([asked]).teachers


def test_points_of_another_scheme_become_the_68(tmp_path):
    from quantization.datasets.points import _WFLW

    def as_wflw(seed):
        sample = sample_of("landmarks", seed)
        points = np.zeros((98, 2), np.float32)
        points[list(_WFLW)] = sample.points
        return replace(sample, points=points, points_scheme="wflw98")

    recipe = recipe_of("landmarks", write(tmp_path / "a", [as_wflw(i) for i in range(20)]))
    recipe["student"]["covered"] = 0.0
    lessons = load_task(recipe, NOWHERE, NOWHERE)
    for seed, face in enumerate(lessons._train):
        rgb, points, *_ = lessons._face_sample(np.random.default_rng(seed), face)
        at = points * 112 - 0.5
        eyes = colours_at(rgb, np.stack([at[36:42].mean(0), at[42:48].mean(0)]))
        assert eyes in {"rg", "gr"}  # gr: mirrored
    foreign = [replace(sample_of("landmarks", i), points=np.zeros((29, 2), np.float32),
                       points_scheme="cofw29") for i in range(20)]  # fmt: skip
    with pytest.raises(DataSetError, match=r"no face .* has points of ibug68 or wflw98"):
        load_task(recipe_of("landmarks", write(tmp_path / "b", foreign)), NOWHERE, NOWHERE)


# detection


def test_points_that_nobody_knows_have_no_part_in_the_loss(shards, tmp_path):
    lessons = load_task(recipe_of("detection", shards["detection"]), NOWHERE, NOWHERE)
    batch = lessons.batch(np.random.default_rng(0), 8)
    assert (batch["state"] > 0).any()
    assert torch.isnan(batch["points"][batch["state"] > 0]).all()
    network = lessons.network()
    loss, terms = lessons.loss(tuple(network.train()(batch["image"])), batch)
    loss.backward()
    assert terms["points"] == 0 < terms["box"]
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    # Untaught, they stand as in an upright face: a crop that goes by them is not turned.
    left, right = network(batch["image"])[2][0, :, 0, 0].detach().view(5, 2)[:2]
    assert float(left[1]) == float(right[1])
    assert left[0] < right[0]
    pointed = [sample_of("detection", i, points=draw(i).points, points_scheme="ibug68") for i in range(20)]
    known = load_task(recipe_of("detection", write(tmp_path / "a", pointed)), NOWHERE, NOWHERE)
    batch = known.batch(np.random.default_rng(0), 8)
    assert torch.isfinite(batch["points"]).all()
    assert known.loss(tuple(known.network().train()(batch["image"])), batch)[1]["points"] > 0


def test_a_picture_that_tells_of_one_face_gives_that_face_and_no_background(tmp_path):
    whole = [sample_of("detection", i) for i in range(20)]
    single = [sample_of("expression", i) for i in range(20, 40)]
    lessons = load_task(recipe_of("detection", write(tmp_path / "a", [*whole, *single])), NOWHERE, NOWHERE)
    alone = load_task(recipe_of("detection", write(tmp_path / "b", whole)), NOWHERE, NOWHERE)
    held = [sum(held_out(s, 0.2) for s in part) for part in (whole, single)]
    assert len(lessons._own.photos) == len(alone._own.photos) == 20 - held[0]
    assert len(lessons._own.heads) == len(alone._own.heads) + 20 - held[1]
    with pytest.raises(DataSetError, match="0 pictures tell of all their faces"):
        load_task(recipe_of("detection", write(tmp_path / "c", single)), NOWHERE, NOWHERE)


def test_pictures_without_a_face_are_backgrounds(tmp_path):
    empty = [Sample(f"e{i}", png(draw(i).rgb), boxes=np.zeros((0, 4), np.float32)) for i in range(5)]
    folder = write(tmp_path / "a", [*(sample_of("detection", i) for i in range(20)), *empty])
    lessons = load_task(recipe_of("detection", folder), NOWHERE, NOWHERE)
    assert len(lessons._own.empty) == sum(not held_out(s, 0.2) for s in empty)


# expression


def test_the_teachers_shares_are_the_targets_and_a_class_alone_is_all_of_them(tmp_path):
    hard = [sample_of("expression", i, votes=None) for i in range(10)]
    soft = [sample_of("expression", i) for i in range(10, 20)]
    unsure = [sample_of("expression", 30, votes=np.eye(10, dtype=np.float32)[8])]
    crowd = [sample_of("expression", 31, boxes=np.ones((2, 4), np.float32) * 9)]
    told, recipe = [], recipe_of("expression", write(tmp_path / "a", [*hard, *soft, *unsure, *crowd]))
    lessons = load_task(recipe, NOWHERE, NOWHERE, say=told.append)
    assert "1 left out: no clear expression" in told
    assert "1 left out: several faces, and it does not say whose expression it is" in told
    train = [s for s in (*hard, *soft) if not held_out(s, 0.2)]
    wanted = [np.eye(8)[s.expression] if s.votes is None else s.votes[:8] for s in train]
    np.testing.assert_allclose(lessons._targets.numpy(), wanted, atol=1e-6)
    logits = torch.zeros(4, 8, 1, 1)
    batch = lessons.batch(np.random.default_rng(0), 4)
    assert lessons.loss((logits,), batch)[0].item() == pytest.approx(np.log(8))


def test_the_crop_of_an_expression_is_the_runtimes(shards):
    lessons = load_task(recipe_of("expression", shards["expression"]), NOWHERE, NOWHERE)
    first = next(s for s in open_dataset("webdataset", shards["expression"]) if not held_out(s, 0.2))
    grey = cv2.cvtColor(first.pixels(), cv2.COLOR_RGB2GRAY)
    x, y, w, h = first.boxes[0]
    side, middle = max(w, h), (x + w / 2, y + h / 2)
    piece = cv2.getRectSubPix(grey, (round(float(side)),) * 2, tuple(map(float, middle)))
    piece = cv2.resize(piece, (48, 48), interpolation=cv2.INTER_AREA).astype(float)
    ours = lessons._images[0].numpy()[6:-6, 6:-6]
    assert np.abs(ours - piece[6:-6, 6:-6]).mean() < 6


# parsing


def test_maps_keep_their_scheme_or_are_converted_where_nothing_is_lost(shards, tmp_path):
    own = recipe_of("parsing", shards["parsing"])
    lessons = load_task(own, NOWHERE, NOWHERE)
    ibug = [replace(sample_of("parsing", i), mask_scheme="ibug11") for i in range(20)]
    moved = recipe_of("parsing", write(tmp_path / "a", ibug))
    moved["deploy"]["labels"] = "celebamask19"
    other = load_task(moved, NOWHERE, NOWHERE)
    for (_, ours, _), (_, theirs, _) in zip(lessons._train, other._train, strict=True):
        # The same pictures and ids: those of iBugMask-11's classes, under CelebAMask's.
        for i, name in enumerate(IBUG11.names):
            np.testing.assert_array_equal(ours == i, theirs == CELEBAMASK19.names.index(name))
    batch = lessons.batch(np.random.default_rng(0), 4)
    labels = set(batch["mask"].unique().tolist())
    assert labels <= {*range(len(LAPA11)), 255}
    assert lessons.network()(batch["image"])[0].shape[1] == len(LAPA11)
    assert network_of(own)(batch["image"])[0].shape[1] == len(LAPA11)


def test_a_conversion_that_loses_something_must_be_asked_for(tmp_path):
    samples = [sample_of("parsing", i) for i in range(20)]
    recipe = recipe_of("parsing", write(tmp_path / "a", samples))
    recipe["deploy"]["labels"] = "celebamask19"  # LaPa's skin holds the ears
    with pytest.raises(DataSetError, match=r"loses something as celebamask19 \(write data.lossy = true\)"):
        load_task(recipe, NOWHERE, NOWHERE)
    recipe["data"]["lossy"] = True
    lessons = load_task(recipe, NOWHERE, NOWHERE)
    assert any((mask == CELEBAMASK19.names.index("l_eye")).any() for _, mask, _ in lessons._train)
    people = [replace(s, mask_scheme="easyportrait2", mask=(s.mask > 0).astype(np.uint8)) for s in samples]
    with pytest.raises(DataSetError, match="of which none of lapa11 can be made"):
        load_task(recipe_of("parsing", write(tmp_path / "b", people)), NOWHERE, NOWHERE)


def test_what_a_map_does_not_say_stays_unknown(tmp_path):
    def half_known(seed):
        sample = sample_of("parsing", seed)
        mask = sample.mask.copy()
        mask[: len(mask) // 2] = 255
        return replace(sample, mask=mask)

    shards = write(tmp_path / "a", [half_known(i) for i in range(20)])
    # On a finer grid a logit beside what is unknown has a say in it.
    recipe = recipe_of("parsing", shards, more={"fine": False})
    lessons = load_task(recipe, NOWHERE, NOWHERE)
    batch = lessons.batch(np.random.default_rng(0), 4)
    unknown = batch["mask"] == 255
    assert unknown.any()
    logits = torch.randn(4, len(LAPA11), *batch["mask"].shape[1:])
    loss = lessons.loss((logits,), batch)[0]
    other = torch.where(unknown[:, None], torch.randn_like(logits) * 9, logits)
    assert lessons.loss((other,), batch)[0].item() == pytest.approx(loss.item())


# the face of a sample


def test_the_face_is_the_noted_one_the_only_one_or_the_one_of_the_labels():
    face = draw(5)
    two = np.stack([face.box, np.add(face.box, [200, 0, 0, 0])]).astype(np.float32)
    noted = Sample("a", b"", boxes=two, attributes={"face": (3, 4, 50, 60)})
    assert box_of(noted).tolist() == [3, 4, 50, 60]
    assert box_of(Sample("a", b"", boxes=two[:1])).tolist() == face.box.tolist()
    assert box_of(Sample("a", b"", boxes=two)) is None
    held = Sample("a", b"", boxes=two[::-1], points=face.points, points_scheme="ibug68")
    assert box_of(held).tolist() == face.box.tolist()
    around = box_of(replace(held, boxes=None))
    assert (around[:2] < face.points.min(0) + 1).all()
    assert (around[:2] + around[2:] > face.points.max(0) - 1).all()
    of_map = box_of(Sample("a", b"", mask=label_map(face), mask_scheme="lapa11"))
    np.testing.assert_allclose(of_map, face.box, atol=2)
    assert box_of(Sample("a", b"")) is None
    np.testing.assert_allclose(five_points(held), face.keypoints, atol=1e-3)
    assert np.isnan(five_points(Sample("a", b""))).all()


# files


def toml(value, *place):
    """A recipe as the text of its file."""
    if not isinstance(value, dict):
        return json.dumps(value)
    if len(place) > 1:  # an inline table
        return "{ " + ", ".join(f"{k} = {toml(v, *place, k)}" for k, v in value.items()) + " }"
    plain = "\n".join(
        f"{k} = {toml(v, *place, k)}" for k, v in value.items() if place or not isinstance(v, dict)
    )
    tables = [f"[{k}]\n{toml(v, k)}" for k, v in value.items() if not place and isinstance(v, dict)]
    return "\n\n".join([plain, *tables])


@pytest.mark.parametrize("task", ["detection", "landmarks", "parsing"])
def test_a_student_of_shards_becomes_a_bundle_that_answers(task, shards, tmp_path):
    recipe = recipe_of(task, shards[task], more={"widths": [8, 8, 8, 12, 12]})
    # Three steps leave a network little to say.
    recipe["deploy"]["min_sqnr_db"] = -20.0 if task == "parsing" else 3.0
    path = tmp_path / "own.toml"
    path.write_text(toml(recipe))
    assert load_recipe(path) == recipe
    fit(load_task(recipe, NOWHERE, NOWHERE), Schedule(**recipe["schedule"]), tmp_path, threads=1)
    (tmp_path / "weights.npz").rename(tmp_path / f"{task}.npz")
    bundle = Bundle.from_bytes(build([path], NOWHERE, NOWHERE, tmp_path, tmp_path / "none.json"))
    assert "our pictures" in bundle.model(task).licence
    assert "held out by the hash" in bundle.card(task)
    face = draw(3)
    if task == "detection":
        with FaceAnalyzer((), bundle=bundle, min_score=0.001) as analyzer:
            found = analyzer.analyze(face.rgb).faces
        left, right = found[0].keypoints[:2]
        assert left[0] < right[0]
        assert found[0].roll == pytest.approx(0, abs=1)  # as of an upright face: nobody taught points
        return
    with FaceAnalyzer([task], bundle=bundle) as analyzer:
        (found,) = analyzer.analyze(face.rgb, [BBox(*face.box.tolist())]).faces
    if task == "landmarks":
        assert found.landmarks.points.shape == (68, 2)
        assert found.landmarks.visibility.min() > 0.8
    else:
        assert found.parsing.scheme == "lapa11"


# recipe and terms


@pytest.mark.parametrize(
    ("task", "place", "key", "value"),
    [
        ("landmarks", "student", "share", {"lfpw": 1.0}),
        ("landmarks", "student", "also_validation", ["celebamask"]),
        ("detection", "student", "album", 10),
        ("detection", "deploy", "false_per_window", 0.05),
    ],
)
def test_what_is_of_the_built_in_data_is_refused_beside_shards_alone(task, place, key, value, shards):
    recipe = recipe_of(task, shards[task])
    recipe[place][key] = value
    recipe["student"].setdefault("album_share", 0.5) if key == "album" else None
    with pytest.raises(RecipeError, match=rf"own\.toml: .*{key} is of the built-in data sets"):
        check_recipe(recipe, Path("own.toml"))


def test_necklaces_need_a_scheme_that_names_them(shards):
    recipe = recipe_of("parsing", shards["parsing"])
    recipe["student"]["necklaces"] = 0.25
    with pytest.raises(RecipeError, match=r"lapa11.*necklaces are drawn into celebamask19"):
        load_task(recipe, NOWHERE, NOWHERE)


def test_keys_of_shards_need_shards(shards):
    recipe = recipe_of("expression", shards["expression"])
    del recipe["data"]["shards"]
    with pytest.raises(RecipeError, match=r"data\.validation is of shards"):
        check_recipe(recipe, Path("own.toml"))


def test_the_weights_inherit_the_terms_that_the_shards_state(shards, tmp_path):
    recipe = recipe_of("expression", shards["expression"])
    terms = seen_in([recipe]).terms
    assert terms.commercial
    assert "our pictures (ours)" in terms.licence
    bound = tmp_path / "b.tar"
    write_shard(bound, [sample_of("expression", 1)], Terms("found ones", "research", False, "nobody"))
    both = seen_in([recipe_of("expression", shards["expression"], bound)]).terms
    assert not both.commercial
    assert "found ones" in both.licence
    mixed = recipe_of("expression", shards["expression"], share=0.5)
    assert sets_of(mixed) == ("ferplus",)
    assert "FER" in seen_in([mixed]).terms.licence


# beside the built-in data


@pytest.mark.parametrize("task", TASKS)
def test_shards_serve_beside_the_built_in_data_by_their_share(task, shards, miniature):
    share = {"share": {"lfpw": 1.0}} if task == "landmarks" else {}
    recipe = recipe_of(task, shards[task], share=0.25, lossy=True, more=share)
    if task == "parsing":
        recipe["deploy"]["labels"] = "celebamask19"
    with miniature.split():
        lessons = load_task(recipe, miniature.data, miniature.labels)
    train = int(sum(not held_out(s, 0.2) for s in open_dataset("webdataset", shards[task])))
    drawn = {
        "detection": lambda: lessons._scenes._weights,
        "landmarks": lambda: lessons._weights,
        "parsing": lambda: lessons._weights,
        "expression": lambda: lessons._probability,
    }[task]()
    assert drawn.sum() == pytest.approx(1)
    assert drawn[-train:].sum() == pytest.approx(0.25)
    assert len(drawn) > train
    batch = lessons.batch(np.random.default_rng(0), 4)
    loss, _ = lessons.loss(tuple(lessons.network().train()(batch["image"])), batch)
    assert torch.isfinite(loss)


def test_built_in_data_that_is_not_there_is_named(shards):
    with pytest.raises(RecipeError, match=r"/nowhere: there is no such folder of data sets.*--data"):
        load_task(recipe_of("expression", shards["expression"], share=0.5), NOWHERE, NOWHERE)


def test_shards_that_are_not_there_are_named(tmp_path):
    with pytest.raises(DataSetError, match="missing: there is no such folder"):
        Shards((tmp_path / "missing",), 0.1).read("expression", lambda *_: "nothing")
