"""From a folder of pictures to a file that answers: the commands of recipes/own-folder.toml, drawn faces."""

from __future__ import annotations

import hashlib
import json

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from edgeface import BBox, Bundle, FaceAnalyzer
from edgeface.labels import FER8
from quantization.__main__ import main
from quantization.datasets import open_dataset
from quantization.datasets.shards import held_out
from quantization.provenance import digest
from tests.quantization import tiny
from tests.quantization.miniature import draw
from tests.quantization.small_teachers import write_teacher

pytestmark = pytest.mark.workshop

COUNT = 40
DATA = """
[data]
shards = ["runs/labelled"]
validation = 0.2
"""
STEPS = [
    "distill own",
    *(f"{name} own" for name in ("convert", "check", "parity", "evaluate", "bundle", "report")),
]


class Folder:
    """Somebody's folder, in which everything happens: no data set and no label of this project is near."""

    def __init__(self, root):
        self.root = root
        (root / "pictures").mkdir()
        for i in range(COUNT):
            bgr = draw(i).rgb[:, :, ::-1]
            cv2.imwrite(str(root / f"pictures/holiday-{i:03d}.png"), np.ascontiguousarray(bgr))
        (root / "own.toml").write_text(tiny.EXPRESSION + DATA)
        self.teacher = write_teacher(root, "expression")

    def run(self, *words):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root)
            result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exit_code == 0, result.output
        return result.output

    def fails(self, *words):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root)
            result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exit_code == 1, result.output
        return result.output

    def labelled(self):
        self.run("shard", "folder:pictures", "--licence", "ours, all of it", "--commercial",
                 "--out", "runs/shards", "--size", 16)  # fmt: skip
        self.run("label", "--shards", "runs/shards", *self.teacher, "--out", "runs/labelled")
        return self


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder after the five commands, and what the training said."""
    before = torch.get_num_threads()
    own = Folder(tmp_path_factory.mktemp("own")).labelled()
    told = own.run("distill", "own.toml", "--threads", 1)
    own.run("convert", "own.toml", "--out", "files")
    own.run("pack", "own.toml")
    yield own, told
    torch.set_num_threads(before)


def test_five_commands_lead_from_a_folder_to_files_that_answer(folder):
    own, told = folder
    held = sum(held_out(s, 0.2) for s in open_dataset("webdataset", own.root / "runs/labelled"))
    assert f"expression: {COUNT - held} samples train, {held} are held out" in told
    names = ("int8.tflite", "fp32.onnx", "fp16.onnx", "int8-u8s8.onnx", "int8-s8s8.onnx")
    assert {p.name for p in (own.root / "files").iterdir()} == {f"expression.{name}" for name in names}
    bundle = Bundle.load(own.root / "runs/own/student.bundle")
    face = draw(3)
    with FaceAnalyzer(["expression"], bundle=bundle) as analyzer:
        (found,) = analyzer.analyze(face.rgb, [BBox(*face.box.tolist())]).faces
    assert found.expression.label in FER8.names
    assert sum(found.expression.scores.values()) == pytest.approx(1, abs=0.02)


def test_the_licence_follows_from_the_pictures_and_the_teacher(folder):
    own, _ = folder
    spec = Bundle.load(own.root / "runs/own/student.bundle").model("expression")
    assert spec.licence.startswith("commercial use allowed, under the terms of ")
    assert "ours, all of it" in spec.licence
    assert "random numbers" in spec.licence  # the teacher's
    card = Bundle.load(own.root / "runs/own/student.bundle").card("expression")
    assert "pictures; a small teacher" in card
    assert "labelled by expression" in card
    assert "No teacher" not in card
    assert "FER" not in card


def test_what_was_learned_from_is_in_the_provenance(folder):
    own, _ = folder
    told = json.loads((own.root / "runs/own/provenance.json").read_text())["inputs"]
    assert told["shards runs/labelled"] == digest(own.root / "runs/labelled")
    assert told["data.validation"] == 0.2
    assert not [name for name in told if name.startswith(("split", "labels"))]


def test_the_student_is_graded_on_what_did_not_train_it(folder):
    own, _ = folder
    every = open_dataset("webdataset", own.root / "runs/labelled")
    kept = open_dataset("webdataset", own.root / "runs/own/held-out.tar")
    assert [s.name for s in kept] == [s.name for s in every if held_out(s, 0.2)]
    assert kept.terms == every.terms
    told = own.run("evaluate", "own.toml")
    figures = json.loads((own.root / "runs/own/results/metrics.json").read_text())["expression"]
    assert set(figures) == {"int8", "fp32"}
    assert figures["int8"]["images"] == len(list(kept))
    assert 0 <= figures["int8"]["accuracy"] <= 1
    assert "expression, fp32\n" in told
    own.run("pack", "own.toml")
    card = Bundle.load(own.root / "runs/own/student.bundle").card("expression")
    assert "The int8 figures are of this very file." in card


def test_a_run_goes_on_and_another_answer_of_the_teacher_begins_anew(folder, tmp_path):
    own = Folder(tmp_path).labelled()
    own.run("distill", "own.toml", "--threads", 1)
    first = (tmp_path / "runs/own/weights.npz").read_bytes()
    assert "set aside" not in own.run("distill", "own.toml", "--threads", 1)
    assert (tmp_path / "runs/own/weights.npz").read_bytes() == first
    assert (
        first == (folder[0].root / "runs/own/weights.npz").read_bytes()
    )  # the same folder, the same weights
    for shard in (tmp_path / "runs/labelled").glob("*.tar"):
        shard.unlink()
    other = write_teacher(tmp_path, "expression", seed=1)
    own.run("label", "--shards", "runs/shards", *other, "--out", "runs/labelled")
    assert "set aside into before/ (shards runs/labelled changed" in own.run(
        "distill", "own.toml", "--threads", 1
    )
    assert (tmp_path / "runs/own/weights.npz").read_bytes() != first


def test_build_makes_all_of_it_from_the_shards(folder, tmp_path):
    own = Folder(tmp_path).labelled()
    words = ("build", "own.toml", "--threads", 1, "--frames", 4)
    told = own.run(*words)
    assert [line.split(":")[0] for line in told.splitlines() if line.split(":")[0] in STEPS][
        : len(STEPS)
    ] == STEPS
    made = tmp_path / "runs/built/own"
    bundle = Bundle.load(made / "student.bundle")
    figures = json.loads((made / "results/metrics.json").read_text())["expression"]["int8"]
    assert bundle.model("expression").metrics["accuracy"] == pytest.approx(figures["accuracy"], abs=1e-4)
    assert (made / "report/report.html").exists()
    before = hashlib.sha256((made / "student.bundle").read_bytes()).hexdigest()
    assert own.run(*words).count("up to date") == len(STEPS)
    assert hashlib.sha256((made / "student.bundle").read_bytes()).hexdigest() == before


def test_what_is_missing_is_said(tmp_path):
    own = Folder(tmp_path)
    assert "runs/labelled: not there; `label --shards` writes labelled shards" in own.fails(
        "distill", "own.toml"
    )
    assert "there are no weights" in own.fails("pack", "own.toml")
    own.run("shard", "folder:pictures", "--out", "runs/labelled")
    told = own.fails("distill", "own.toml")
    assert (
        f"too little to learn expression from (expression: 0 samples train, 0 are held out; {COUNT} left"
        in told
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        wrong = CliRunner().invoke(main, ["shard", "folder:pictures", "--commercial", "--out", "x"])
    assert (wrong.exit_code, "are of --licence: give it" in wrong.output) == (2, True)
