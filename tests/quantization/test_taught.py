"""A teacher trained here behind the runtime's API: its own answers, its own crop, the student's figures."""

from __future__ import annotations

import json
import pickle
import re

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from edgeface import BBox, FaceAnalyzer, read_image
from edgeface.labels import CELEBAMASK19
from quantization.__main__ import main
from quantization.build import load_networks
from quantization.courses import WEIGHTS
from quantization.datasets import ferplus
from quantization.evaluate import grader_of
from quantization.panel import Panel
from quantization.recipe import RECIPES, RecipeError
from quantization.reference import TorchBackend
from quantization.splits import parts
from quantization.students.expression import ExpressionNet
from quantization.taught import Taught
from quantization.teachers.landmarks import LandmarkTeacher
from quantization.teachers.parsing import ParsingTeacher
from quantization.training import save_weights
from tests.quantization import tiny
from tests.quantization.miniature import write_points

pytestmark = pytest.mark.workshop


@pytest.fixture(autouse=True, scope="module")
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def teach(miniature, tmp_path):
    """A teacher of a recipe's text and a network's weights."""

    def make(text, network, name="some-teacher"):
        path, weights = tmp_path / f"{name}.toml", tmp_path / f"{name}.npz"
        path.write_text(text)
        save_weights(network, weights)
        with miniature.split():
            return Taught.of(path, miniature.data, miniature.labels, weights)

    return make


@pytest.fixture
def photo(repository):
    return read_image(repository / "examples/astronaut.jpg").rgb


def student(task):
    """A shipped student's float network, and its recipe as that of a teacher."""
    text = (RECIPES / f"{task}.toml").read_text()
    text = re.sub(r"(?s)\[(deploy|targets|gates|seen)\].*", "", text)
    text = re.sub(r"(?m)^(teacher|start|losses) = .*$|^quantised = .*$", "", text)
    return f'role = "teacher"\n{text}'


def evaluate(*words):
    return CliRunner().invoke(main, ["evaluate", *(str(word) for word in words)])


def test_a_detector_finds_what_the_same_weights_find_as_a_student(teach, photo):
    network = load_networks(WEIGHTS, ["detection"])
    made = teach(student("detection") + "[deploy]\n", network["detection"])
    assert (made.task, made.name, dict(made.head)) == ("detection", "some-teacher", {})
    for frame in (photo, np.ascontiguousarray(np.vstack([photo, photo])[:, :500])):  # wide and tall
        with FaceAnalyzer((), backend=TorchBackend(network)) as own, made.analyzer(("detection",)) as other:
            wanted, found = own.analyze(frame).faces, other.analyze(frame).faces
        assert len(found) == len(wanted) > 0
        assert [face.bbox for face in found] == [face.bbox for face in wanted]


def test_an_expression_is_the_network_s_own_at_a_temperature_of_its_own(teach, miniature):
    torch.manual_seed(5)
    net = ExpressionNet((4, 8, 8, 12), blocks=(1, 1, 1)).eval()
    made = teach(tiny.EXPRESSION_TEACHER, net)
    temperature = made.head["temperature"]
    root = miniature.data / "expression/ferplus"
    with miniature.split():
        names = parts("ferplus", "validation")
    with made.analyzer(("expression",)) as analyzer:
        for name in names:
            said = analyzer.analyze(read_image(root / name), [BBox(-0.5, -0.5, 48, 48)]).faces[0].expression
            grey = (ferplus.load_images(root, [name]).astype(np.float32) - 128) / 128
            with torch.no_grad():
                logits = net(torch.from_numpy(grey)[:, None])[0].flatten() / temperature
            told = [said.scores[c] for c in ferplus.CLASSES]
            # Half-weights in the file, and grey made of three equal colours.
            assert told == pytest.approx(torch.softmax(logits, 0).tolist(), abs=5e-3)


LANDMARKS = (
    (RECIPES / "landmarks-tough.toml")
    .read_text()
    .replace("size = 128", "size = 64")
    .replace("widths = [64, 128, 128]", "widths = [8, 8, 8]")
    .replace("code = 512", "code = 24")
)


def still(network):
    """A network whose answers are those of its last biases, 0."""
    with torch.no_grad():
        for name, values in network.named_parameters():
            if name.startswith(("points", "head")):
                values.zero_()
    return network.eval()


def test_points_lie_in_the_recipe_s_crop_around_a_mean_shape_that_follows_the_annotation(teach, photo):
    torch.manual_seed(6)
    network = LandmarkTeacher(64, (8, 8, 8), 24)
    with torch.no_grad():
        for values in network.parameters():
            values.zero_()  # also the biases: every residual is 0
    made = teach(LANDMARKS, network.eval())
    box = BBox(150.0, 60.0, 120.0, 160.0)
    with made.analyzer(("landmarks",)) as analyzer:
        found = analyzer.analyze(photo, [box]).faces[0].landmarks.points
    side, centre = 1.25 * 160, np.array([210.0, 140.0 + 0.12 * 160])
    mean = np.array(made.head["mean_shape"])
    assert found == pytest.approx(centre + (mean - 0.5) * side, abs=1.5)  # crops are of whole pixels
    assert np.ptp(mean, 0) == pytest.approx([0.6, 0.7], abs=0.25)


def test_a_map_is_the_network_s_at_its_own_size(teach, photo):
    torch.manual_seed(7)
    network = still(ParsingTeacher((8, 8, 8, 8)))
    with torch.no_grad():
        network.head.bias[CELEBAMASK19.index("hair")] = 1.0
    made = teach(tiny.PARSING_TEACHER, network)
    box = BBox(150.0, 60.0, 160.0, 160.0)
    with made.analyzer(("parsing",)) as analyzer:
        found = analyzer.analyze(photo, [box]).faces[0].parsing
    assert found.labels.shape == (64, 64)
    assert (found.labels == CELEBAMASK19.index("hair")).all()
    assert found.bbox.width == pytest.approx(1.45 * 160, abs=1.5)
    assert found.bbox.center[1] == pytest.approx(140 - 0.07 * 160, abs=1.5)


def test_another_process_opens_it(teach, photo):
    network = still(ParsingTeacher((8, 8, 8, 8)))
    made = pickle.loads(pickle.dumps(teach(tiny.PARSING_TEACHER, network)))
    with made.analyzer(("parsing",)) as analyzer:
        assert analyzer.analyze(photo).faces[0].parsing.labels.shape == (64, 64)


def test_the_command_files_a_teacher_s_figures_under_its_name(teach, miniature, tmp_path):
    torch.manual_seed(8)
    made = teach(tiny.PARSING_TEACHER, ParsingTeacher((8, 8, 8, 8)).eval(), "parsing-teacher")
    out = tmp_path / "results/metrics.json"
    where = ("--data", miniature.data, "--labels", miniature.labels)
    with miniature.split():
        told = evaluate(made.path, "--weights", made.weights, *where, "--out", out)
        assert told.exit_code == 0, told.output
        wanted = grader_of(made, miniature.data, miniature.labels).grade("parsing")
    figures = json.loads(out.read_text())
    assert figures == {"parsing": {"parsing-teacher": pytest.approx(wanted, nan_ok=True)}}
    curves = json.loads(out.with_name("curves.json").read_text())["parsing"]["parsing-teacher"]
    assert curves["sha256"] == made.digest


def test_several_and_their_mirror_images_are_graded_as_one(teach, miniature, tmp_path):
    words = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        made = teach(
            tiny.EXPRESSION_TEACHER, ExpressionNet((4, 8, 8, 12), blocks=(1, 1, 1)).eval(), f"teacher-{seed}"
        )
        words += ["--teacher", made.path, "--model", made.weights]
    where = ("--data", miniature.data, "--labels", miniature.labels)
    with miniature.split():
        told = evaluate(*words, "--mirror", *where, "--out", tmp_path / "figures.json")
        assert told.exit_code == 0, told.output
        names = parts("ferplus", "validation")
        panel = Panel.of(
            [
                Taught.of(p, miniature.data, miniature.labels, w)
                for p, w in zip(words[1::4], words[3::4], strict=True)
            ],
            mirror=True,
        )
    assert "expression, teacher-1 + teacher-2, mirrored\n" in told.stdout
    ((name, figures),) = json.loads((tmp_path / "figures.json").read_text())["expression"].items()
    assert name == panel.name
    ask, root, right = panel.open(), miniature.data / "expression/ferplus", 0
    votes = ferplus.load_votes(root)
    for one in names:
        said = ask(read_image(root / one).rgb, np.float32([-0.5, -0.5, 48, 48])).answer
        right += int(said.probabilities.argmax()) == int(votes[one][:8].argmax())
    assert figures["accuracy"] == pytest.approx(right / len(names))


def test_any_reader_grades_it(teach, photo, miniature, tmp_path):
    with torch.no_grad():
        network = LandmarkTeacher(64, (8, 8, 8), 24)
        for values in network.parameters():
            values.zero_()
    made = teach(LANDMARKS, network.eval(), "landmarks-tough")
    folder = tmp_path / "set"
    folder.mkdir()
    cv2.imwrite(str(folder / "astronaut.jpg"), photo[:, :, ::-1])
    with made.analyzer(("landmarks",)) as analyzer:
        points = analyzer.analyze(photo).faces[0].landmarks.points
    write_points(folder / "astronaut.pts", points + np.float32([2, 0]))
    where = ("--data", miniature.data, "--labels", miniature.labels, "--store", tmp_path / "store")
    out = tmp_path / "figures.json"
    with miniature.split():
        told = evaluate(
            made.path, "--weights", made.weights, *where, "--data-set", f"300w:{folder}", "--out", out
        )
    assert told.exit_code == 0, told.output
    ((name, figures),) = json.loads(out.read_text())["landmarks"].items()
    assert name == "landmarks-tough on 300w"
    eyes = np.linalg.norm(points[36] - points[45])
    assert figures["nme"] == pytest.approx(2 / eyes, abs=0.01)


def test_what_cannot_be_graded_says_why(teach, miniature, tmp_path):
    where = ("--data", miniature.data, "--labels", miniature.labels)
    recipe = tmp_path / "some.toml"
    recipe.write_text(tiny.PARSING_TEACHER)
    with miniature.split():
        told = evaluate(recipe, *where, "--run", tmp_path)
        assert told.exit_code == 1
        assert "weights.npz: there are no weights; train them (`teach" in told.output
        told = evaluate(recipe, "--weights", WEIGHTS / "expression-teacher.npz", *where)
        assert told.exit_code == 1
        assert "the weights are of another network" in told.output
        recipe.write_text(tiny.EXPRESSION_TEACHER)
        told = evaluate(recipe, "--weights", WEIGHTS / "expression-teacher.npz", "--model", recipe, *where)
        assert told.exit_code == 2
        assert "a teacher's RECIPE is graded by its weights" in told.output
        recipe.write_text(tiny.EXPRESSION)
        told = evaluate(recipe, "--data-set", f"ferplus:{tmp_path}")
        assert told.exit_code == 2
        assert "on a --data-set a student is its file: give --model" in told.output
        with pytest.raises(RecipeError, match=r"there are no weights; train them \(`distill"):
            Taught.of(recipe, miniature.data, miniature.labels)


def test_data_that_its_head_is_fitted_on_must_be_there(teach, tmp_path):
    recipe, weights = tmp_path / "some.toml", WEIGHTS / "expression-teacher.npz"
    recipe.write_text((RECIPES / "expression-teacher.toml").read_text())
    with pytest.raises(RecipeError, match=r"fitted on --data and --labels: .*nothing"):
        Taught.of(recipe, tmp_path / "nothing", tmp_path, weights)
