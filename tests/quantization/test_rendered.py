"""What makes rendered heads a data set: backgrounds, emotions, things worn, and samples with every label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeface.labels import BLENDSHAPES52, CELEBAMASK19, FER8, IBUG68
from quantization.datasets import open_dataset
from quantization.datasets.shards import stated_terms
from quantization.recipe import RECIPES, TASKS, RecipeError, load_recipe, shards_share
from quantization.synthetic import EXPRESSIONS, FaceMaker, Head, Pose
from quantization.synthetic.backgrounds import PICTURES, Backgrounds
from quantization.synthetic.command import synthesise
from quantization.synthetic.emotions import PROTOTYPES, draw_emotion
from quantization.synthetic.samples import TERMS, draw_samples
from quantization.synthetic.worn import wear
from quantization.tasks import load_task
from quantization.tasks.seen import seen_in, stages
from quantization.tasks.shards import Shards, expressions, faces, maps, stock
from tests.quantization.miniature import make_head

pytestmark = pytest.mark.workshop

MODEL = "face3d/ict_face_model_light.npz"
PART = {name: i for i, name in enumerate(CELEBAMASK19.names)}
WORN = ("hat", "earring", "necklace", "eyeglasses")


@pytest.fixture(scope="module")
def backgrounds():
    return Backgrounds()


@pytest.fixture(scope="module")
def real(request):
    return FaceMaker(request.getfixturevalue("shared_data") / MODEL)


@pytest.fixture(scope="module")
def portraits(real):
    """Heads that look into the camera, more or less, over grey."""
    grey = np.full((200, 200, 3), 128, np.uint8)
    found = []
    for seed in range(60):
        rng = np.random.default_rng([4, seed])
        pose = Pose(*(float(v) for v in rng.normal(0, 12, 3)))
        found.append(real.render(Head.draw(rng, real.model.identities, (100, 90), 105, pose), grey))
    return found


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), width=st.integers(24, 200), height=st.integers(24, 200))
def test_a_background_has_the_size_that_was_asked_for_and_depends_on_the_seed_alone(
    backgrounds, seed, width, height
):
    one, again = (backgrounds.draw(np.random.default_rng(seed), width, height) for _ in range(2))
    assert one.shape == (height, width, 3)
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, again)


def test_backgrounds_are_of_many_kinds(backgrounds):
    drawn = [backgrounds.draw(np.random.default_rng(seed), 64, 64) for seed in range(60)]
    assert len({picture.tobytes() for picture in drawn}) == 60
    assert np.ptp([picture.mean() for picture in drawn]) > 80


def test_every_picture_behind_the_heads_has_its_terms_stated():
    told = (PICTURES / "README.md").read_text()
    for path in PICTURES.glob("*.webp"):
        assert path.stem in told or ("panorama-*" in told and path.stem.startswith("panorama-"))


def test_a_folder_without_pictures_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"no panorama-\* in it; give a folder"):
        Backgrounds(tmp_path)
    (tmp_path / "panorama-a.webp").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"panorama-a\.webp: not a readable picture"):
        Backgrounds(tmp_path)


def test_every_class_has_its_movements_by_names_that_the_head_knows():
    assert set(PROTOTYPES) == set(FER8.names)
    for ways in PROTOTYPES.values():
        for way in ways:
            for stem, value in way.items():
                assert {stem, stem + "Left", stem + "Right"} & set(EXPRESSIONS), stem
                assert 0 < value <= 1


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_an_emotion_is_coefficients_and_shares_that_sum_to_one(seed):
    shown, shares = draw_emotion(np.random.default_rng(seed))
    assert shown.shape == (51,)
    assert ((shown >= 0) & (shown <= 1)).all()
    assert shares.shape == (8,)
    assert shares.sum() == pytest.approx(1, abs=1e-5)
    assert (shares >= 0).all()


def test_a_smile_is_drawn_as_happiness_and_seldom_otherwise():
    smile = EXPRESSIONS.index("mouthSmileLeft"), EXPRESSIONS.index("mouthSmileRight")
    smiling: dict[str, list[float]] = {name: [] for name in FER8.names}
    for seed in range(600):
        shown, shares = draw_emotion(np.random.default_rng(seed))
        smiling[FER8.names[int(shares.argmax())]].append(float(shown[list(smile)].min()))
    assert all(len(found) > 5 for found in smiling.values())
    assert np.mean(smiling["happiness"]) > 0.3
    assert max(np.mean(found) for name, found in smiling.items() if name != "happiness") < 0.05


@pytest.mark.data
def test_what_is_worn_changes_the_picture_where_it_names_its_class_and_nothing_else(portraits):
    named = dict.fromkeys((*WORN, "hair"), 0)
    for seed, face in enumerate(portraits):
        worn = wear(face, np.random.default_rng(seed))
        assert worn.points is face.points
        assert worn.visible is face.visible
        changed = worn.mask != face.mask
        for name in named:
            named[name] += bool((changed & (worn.mask == PART[name])).any())
        assert set(np.unique(worn.mask[changed])) <= {PART[name] for name in named}
        # Antialiased rims reach a little further than their class.
        near = cv2.dilate(changed.astype(np.uint8), np.ones((9, 9))) > 0
        assert (worn.image == face.image).all(2)[~near].mean() > 0.98
    assert all(count >= 2 for count in named.values()), named


@pytest.mark.data
def test_glasses_lie_over_the_eyes_and_a_hat_above_the_brows(portraits):
    glasses, hats = 0, 0
    for seed, face in enumerate(portraits):
        worn = wear(face, np.random.default_rng(seed))
        new = (worn.mask != face.mask) & (worn.mask == PART["eyeglasses"])
        if new.any():
            glasses += 1
            for eye in (slice(36, 42), slice(42, 48)):
                x, y = face.points[eye].mean(0).round().astype(int)
                assert new[y, x]
        hat = worn.mask == PART["hat"]
        if hat.any():
            hats += 1
            up = face.points[27] - face.points[8]
            rows, columns = np.nonzero(hat)
            middle = np.array([columns.mean(), rows.mean()])
            assert (middle - face.points[27]) @ up > 0
    assert glasses > 3
    assert hats > 1


@pytest.mark.data
def test_samples_have_every_label_and_depend_on_their_seed_alone(real, backgrounds):
    one, again = ([*draw_samples(real, backgrounds, 24, 160, 5)] for _ in range(2))
    for sample, same in zip(one, again, strict=True):
        assert sample.name == same.name
        np.testing.assert_array_equal(sample.pixels(), same.pixels())
    shown = [sample for sample in one if len(sample.boxes)]
    assert 12 < len(shown) < 24
    for sample in shown:
        assert sample.points.shape == (len(IBUG68), 2)
        assert sample.visible.shape == (len(IBUG68),)
        assert sample.mask.shape == (160, 160)
        assert sample.blendshapes.shape == (len(BLENDSHAPES52.names),)
        assert sample.blendshapes_known.tolist() == [False] + [True] * 51
    assert 5 < sum(sample.votes is not None for sample in shown) < len(shown)
    other = next(iter(draw_samples(real, backgrounds, 1, 160, 6)))
    assert other.name != one[0].name


@pytest.mark.data
def test_faces_that_look_ahead_all_show_an_emotion(real, backgrounds):
    shown = [*draw_samples(real, backgrounds, 30, 96, 5, facing=True)]
    assert all(len(sample.boxes) == 1 and sample.votes is not None for sample in shown)
    assert np.std([sample.attributes["yaw"] for sample in shown]) < 30
    assert len({sample.name for sample in shown}) == 30
    anyhow = [s for s in draw_samples(real, backgrounds, 60, 96, 5) if len(s.boxes)]
    assert np.std([sample.attributes["yaw"] for sample in anyhow]) > 30


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """A few shards of the egg-shaped head, by the command."""
    root = tmp_path_factory.mktemp("rendered")
    make_head(root / "data" / MODEL, 64, 128)
    asked = ["--data", root / "data", "--shards", "--count", "40", "--size", "128", "--out", root / "out"]
    result = CliRunner().invoke(synthesise, list(map(str, asked)))
    assert result.exit_code == 0, result.output
    return root / "out"


def test_the_command_writes_shards_with_their_terms_and_refuses_a_folder_that_has_some(shards):
    assert stated_terms(shards) == TERMS
    assert TERMS.commercial
    assert open_dataset("webdataset", shards).count() == 40
    data = str(shards.parent / "data")
    asked = ["--data", data, "--shards", "--count", "1", "--out", str(shards)]
    result = CliRunner().invoke(synthesise, asked)
    assert result.exit_code == 1
    assert "there are shards in it" in result.output
    asked = ["--data", data, "--facing", "--count", "1", "--out", str(shards.parent / "other")]
    result = CliRunner().invoke(synthesise, asked)
    assert result.exit_code == 2
    assert "--facing is of --shards" in result.output


def test_every_task_finds_its_lessons_in_them(shards):
    held = 0.2
    heads = faces(Shards((shards,), held), None)
    assert all(face.told and face.pointed and face.known for part in heads for face in part)
    mirrored = [BLENDSHAPES52.flip[i] for i in range(52)]
    shown = next(s for s in open_dataset("webdataset", shards) if s.blendshapes is not None)
    face = next(f for part in heads for f in part)
    assert face.movement.shape == (2, 43)
    assert shown.blendshapes[mirrored].shape == (52,)
    assert len(maps(Shards((shards,), held), "celebamask19")[0]) == len(heads[0])
    trained, graded = stock(Shards((shards,), held))
    assert trained.empty
    assert len(trained.heads) > len(graded.heads) > 0
    crop = {"scale": 1.0, "shift": [0.0, 0.0]}
    (images, shares), (kept, _) = expressions(Shards((shards,), held), crop)
    assert images.shape[1:] == (48, 48)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
    assert len(kept) < len(images)


def test_a_face_of_which_one_live_blendshape_is_unknown_does_not_teach_them(shards, tmp_path):
    from quantization.datasets.shards import write_shard

    samples = []
    for sample in open_dataset("webdataset", shards):
        if sample.blendshapes is None:
            continue
        known = sample.blendshapes_known.copy()
        known[BLENDSHAPES52.names.index("jawOpen")] = False
        samples.append(replace(sample, blendshapes_known=known))
    write_shard(tmp_path / "doubtful.tar", samples, TERMS)
    parts = faces(Shards((tmp_path,), 0.2), None)
    assert all(face.movement is None for part in parts for face in part)
    with pytest.raises(RecipeError, match=r"student\.blendshapes: no face that trains has any; leave it out"):
        load_task(_over(tmp_path, "landmarks"), Path("/nowhere"), Path("/nowhere"))


def test_a_landmark_student_learns_blendshapes_of_shards_alone(shards):
    recipe = _over(shards, "landmarks")
    task = load_task(recipe, Path("/nowhere"), Path("/nowhere"))
    batch = task.batch(np.random.default_rng(0), 8)
    assert batch["moved"].sum() > 2
    assert batch["movement"].shape == (8, 43)
    outputs = task.network()(batch["image"])
    assert task.loss(outputs, batch)[1]["blendshapes"] > 0
    assert "blendshapes" in task.validate(task.network())


def _over(shards, task):
    """The clean line's recipe of a task, over these shards and with a small network."""
    recipe = load_recipe(RECIPES / f"{task}-clean.toml")
    small = {"widths": [4, 8, 8, 12, 12], "code": 24} if task == "landmarks" else {}
    data = {"shards": [str(shards)], "validation": 0.2}
    return recipe | {"data": data, "student": recipe["student"] | small}


@pytest.mark.parametrize("task", TASKS)
def test_the_clean_line_saw_nothing_but_free_data(task, shards):
    seen = seen_in([_over(shards, task)])
    assert not seen.teachers
    assert seen.terms.commercial
    assert list(seen.data) == [f"webdataset:{shards}"]
    for course in stages(RECIPES / f"{task}-clean.toml"):
        assert course.stem.startswith(f"{task}-clean")
        assert shards_share(load_recipe(course)) == 1  # nothing else is read
        assert not load_recipe(course).get("teacher")
