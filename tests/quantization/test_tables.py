from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgeface import Bundle
from quantization.commands import options
from quantization.lines import LINES
from quantization.shrunk import SIZES
from quantization.tables import rewrite
from tests.bundles import TINY

pytestmark = pytest.mark.workshop

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "edgeface/models/students.bundle"
BENCHMARK = ROOT / "benchmarks/results/facemesh-x86-64.json"
PLACES = "".join(
    f"before\n<!-- table: {name} -->\nold\n<!-- /table -->\n"
    for name in ("accuracy", "size", "latency", "comparisons", "robustness", "terms")
)


@pytest.fixture
def figures(tmp_path: Path):
    """Writes a metrics file: the committed one's figures, changed as the test says."""

    def write(**detection: float | None) -> Path:
        known = json.loads(options.METRICS.read_text())
        for kind in ("int8", "fp32"):
            joined = known["detection"][kind] | detection
            known["detection"][kind] = {key: value for key, value in joined.items() if value is not None}
        path = tmp_path / "metrics.json"
        path.write_text(json.dumps(known))
        return path

    return write


def _without(path: Path, name: str) -> Path:
    """The metrics file without a figure of the landmarks, and whatever is counted by it."""
    known = json.loads(path.read_text())
    for kind in ("int8", "fp32"):
        for key in (name, "visibility_auc_turned", "pose_error"):
            known["landmarks"][kind].pop(key, None)
    path.write_text(json.dumps(known))
    return path


def rows(readme: str, start: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in readme.splitlines()
        if line.startswith(f"| {start}")
    ]


def test_recall_by_size_and_false_faces_say_what_they_are_graded_on(figures):
    path = figures(recall_at_24px=0.5, recall_at_60px=1.0, faces_shrunk=136.0, face_free_images=1321.0)
    told = {row[1]: row for row in rows(rewrite(PLACES, path, TINY, BENCHMARK), "detection")}
    assert told["faces shrunk to 24 px found"][2:5:2] == ["50.00 %", "50.00 %"]
    assert told["faces shrunk to 24 px found"][-1] == "136 faces of 105 LFPW photos"
    assert told["faces shrunk to 60 px found"][2] == "100.00 %"
    windows = "1,321 windows without a face of 105 LFPW photos"
    assert told["false faces per face-free picture"][-1] == windows
    assert told["faces of two teachers found, IoU >= 0.5"][-1] == "105 LFPW photos"


def test_a_figure_that_an_older_grading_lacks_is_left_out(figures):
    sizes = dict.fromkeys([f"recall_at_{side}px" for side in SIZES])
    text = rewrite(PLACES, figures(**sizes), TINY, BENCHMARK)
    assert "shrunk" not in text
    assert len([row for row in rows(text, "detection") if row[-1].endswith("LFPW photos")]) == 6


def test_false_faces_on_no_picture_have_no_row(figures):
    path = figures(false_positives_per_image=None, false_positives_confirmed=None, face_free_images=0.0)
    assert "false faces per face-free" not in rewrite(PLACES, path, TINY, BENCHMARK)


def test_what_was_asked_with_care_has_its_column_and_nobody_need_ask_so(figures):
    path = figures(recall_at_20px=0.5)
    told = {row[1]: row for row in rows(rewrite(PLACES, path, TINY, BENCHMARK), "detection")}
    known = json.loads(options.METRICS.read_text())["detection"]["careful"]["recall_at_20px"]
    assert told["faces shrunk to 20 px found"][2:5] == ["50.00 %", f"{100 * known:.2f} %", "50.00 %"]
    figures_left = json.loads(path.read_text())
    del figures_left["detection"]["careful"]
    path.write_text(json.dumps(figures_left))
    told = {row[1]: row for row in rows(rewrite(PLACES, path, TINY, BENCHMARK), "detection")}
    assert told["faces shrunk to 20 px found"][3] == "-"


def test_terms_tell_every_source_of_every_student_once(figures, tmp_path):
    text = rewrite(PLACES, figures(), TINY, BENCHMARK)
    start = text.index("<!-- table: terms -->")
    told = [row for row in rows(text[start:], "") if row[0] not in {"data set or teacher", "---"}]
    names = [row[0] for row in told]
    assert len(names) == len(set(names))
    lfpw = next(row for row in told if row[0].startswith("[LFPW"))
    assert lfpw[1:] == ["research only, no commercial use", "detection, landmarks, parsing"]
    assert "](https://ibug.doc.ic.ac.uk/resources/300-W/)" in lfpw[0]
    ferplus = next(row for row in told if row[0].startswith("[FER+"))
    assert ferplus[1:] == ["labels: MIT; images: research only", "expression"]
    first_teacher = next(i for i, name in enumerate(names) if name.startswith("teacher: "))
    assert all(name.startswith("teacher: ") for name in names[first_teacher:])


def test_terms_are_those_that_the_packed_students_inherit(figures):
    """Who restricts a shipped student is in the table, by the title that its licence names it with."""
    text = rewrite(PLACES, figures(), TINY, BENCHMARK)
    bundle = Bundle.builtin()
    for task in ("detection", "landmarks", "parsing", "expression"):
        for row in rows(text[text.index("<!-- table: terms -->") :], ""):
            title = row[0].removeprefix("teacher: ").removeprefix("[").partition(" (")[0]
            if row[1].startswith(("research only", "non-commercial")) and task in row[2].split(", "):
                assert title in bundle.model(task).licence


def test_what_was_compared_is_told_with_its_interval_and_verdict(figures):
    path = figures()
    text = rewrite(PLACES, path, TINY, BENCHMARK)
    start, end = (text.index(f"<!-- table: {name} -->") for name in ("comparisons", "robustness"))
    assert text[start:end].count("\n|") == 2  # nothing was compared: a head without rows
    (path.parent / "comparisons").mkdir()
    committed = options.METRICS.with_name("comparisons") / "landmarks-rendered.json"
    shutil.copy(committed, path.parent / "comparisons")
    (quarter,) = rows(rewrite(PLACES, path, TINY, BENCHMARK), "landmarks-rendered, quarter")
    told = json.loads(committed.read_text())["variants"]["quarter"]
    assert quarter[1] == "nme, lower is better"
    assert quarter[3] == f"{told['mean']:+.4f}"
    assert quarter[4:] == [f"{told['low']:+.4f} to {told['high']:+.4f}", "hurts"]


def test_what_the_landmarks_say_beyond_the_points_is_told_with_its_count(figures):
    path = figures()
    assert "rendered heads" not in rewrite(PLACES, _without(path, "heads_found"), TINY, BENCHMARK)
    known = json.loads(path.read_text())
    for kind in ("int8", "fp32"):
        known["landmarks"][kind] |= {"pose_error": 2.5608, "heads_posed": 82.0, "presence_auc": 0.9996}
        known["landmarks"][kind] |= {"backgrounds": 1284.0}
    path.write_text(json.dumps(known))
    told = {row[1]: row for row in rows(rewrite(PLACES, path, TINY, BENCHMARK), "landmarks")}
    pose = told["head pose within 45 degrees, mean error in degrees"]
    assert (*pose[2:5:2], pose[-1]) == ("2.561", "2.561", "82 rendered heads")
    presence = told["faces told from backgrounds, area under ROC"]
    assert (*presence[2:5:2], presence[-1]) == ("99.96 %", "99.96 %", "1,284 backgrounds of 105 LFPW photos")


def test_the_nano_line_has_its_column_and_the_mesh_stands_beside_what_it_taught(figures):
    told = {row[1]: row for row in rows(rewrite(PLACES, figures(), TINY, BENCHMARK), "landmarks")}
    known = json.loads(LINES["nano"].metrics.read_text())["landmarks"]["int8"]
    (nme,) = (row for what, row in told.items() if what.startswith("NME by the outer eye corners"))
    assert nme[5] == f"{100 * known['nme']:.2f} %"
    assert "(the mesh that taught it: 3.34 %)" in nme[1]
    (moves,) = (row for what, row in told.items() if what.startswith("blendshapes"))
    assert moves[5] == "-"  # it tells none


def test_where_each_student_breaks_is_told_of_the_files_that_were_shown_it(figures):
    path = figures()
    start, end = "<!-- table: robustness -->", "<!-- table: terms -->"

    def table(text: str) -> dict[str, list[str]]:
        found = rows(text[text.index(start) : text.index(end)], "")
        return {row[0].partition(",")[0]: row[1:] for row in found}

    assert table(rewrite(PLACES, path, SHIPPED, BENCHMARK))["blur"] == ["-"] * 4
    bundle = Bundle.load(SHIPPED)
    digests = {artifact.name: artifact.sha256 for artifact in bundle.artifacts}
    blur = {"level": [0.02, 0.04, 0.08, 0.16]}
    measured = {
        "detection": {"recall_50": 0.9, "blur": [0.9, 0.8, 0.75, 0.73]},
        "parsing": {"mean_f1": 0.7, "blur": [0.7, 0.6, 0.5, 0.1]},
        "expression": {"accuracy": 0.8, "blur": [0.8, 0.1, 0.1, 0.1]},
    }
    found = {}
    for task, figure in measured.items():
        name = next(iter(figure))
        sha256 = digests[bundle.model(task).artifact] if task != "expression" else "of another file"
        told = {"sha256": sha256, "clean": {name: figure[name]}, "blur": blur | {name: figure["blur"]}}
        found[task] = {"int8": told}
    path.with_name("robustness.json").write_text(json.dumps(found))
    told = table(rewrite(PLACES, path, SHIPPED, BENCHMARK))
    assert told["damage"] == ["detection", "landmarks", "parsing", "expression"]
    assert told["blur"] == ["holds", "-", "breaks at 8 %", "-"]
    assert told["noise"] == ["-"] * 4


def test_a_comparison_that_cannot_be_read_is_named(figures):
    path = figures()
    (path.parent / "comparisons").mkdir()
    (path.parent / "comparisons/half.json").write_text('{"variants": {"a": {}}}')
    with pytest.raises(ValueError, match=r"half.json: not what `compare` writes .*; run it again"):
        rewrite(PLACES, path, TINY, BENCHMARK)


def test_a_table_without_a_place_is_told(figures):
    short = PLACES.replace("<!-- table: terms -->", "")
    with pytest.raises(ValueError, match="has 0 places for the table 'terms'"):
        rewrite(short, figures(), TINY, BENCHMARK)


def test_the_readme_is_what_was_measured():
    readme = (ROOT / "README.md").read_text()
    assert rewrite(readme, options.METRICS, SHIPPED, BENCHMARK) == readme
