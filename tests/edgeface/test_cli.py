"""The command line: what it prints, writes and leaves alone, and its exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import edgeface
from edgeface import analyzer
from edgeface.cli import main, options
from edgeface.cli.inputs import expand, printable
from edgeface.cli.outputs import OutputError, OutputFolder, save_picture
from edgeface.cli.quiet import without_remarks
from edgeface.cli.report import TableReport
from edgeface.labels import FER8

_BUNDLE = Path(__file__).parents[1] / "fixtures" / "tiny.bundle"
_ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def scripted(monkeypatch):
    """Let `analyze` run on played outputs; returns a function that sets them."""
    original = analyzer.FaceAnalyzer

    def play(**scripts):
        filled = {task: {} for task in ("detection", "landmarks", "parsing", "expression")} | scripts
        backend = edgeface.ScriptedBackend(filled)
        monkeypatch.setattr(
            analyzer,
            "FaceAnalyzer",
            lambda *arguments, **options: original(*arguments, **options | {"backend": backend}),
        )

    play()
    return play


def _one_face(_tensors=None):
    """Detector outputs with one face in the middle."""
    score = np.full((8, 10), -9.0)
    score[4, 5] = 4.0
    box = np.zeros((8, 10, 4))
    box[4, 5] = 2.0
    return {"score_8": score, "box_8": box}


def _save(path, width=96, height=64, value=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), value, np.uint8))
    return path


def _video(path, frames=6, width=160, height=120, codec="mp4v", rate=12.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), rate, (width, height))
    assert writer.isOpened()
    rng = np.random.default_rng(1)
    for _ in range(frames):
        writer.write(rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
    writer.release()
    return path


def _frames(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        ok, frame = capture.read()
        if not ok:
            break
        frames.append(frame)
    capture.release()
    return frames


def _run(*words):
    return main(["analyze", "--bundle", str(_BUNDLE), *map(str, words)])


def _tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _lines(text):
    return [json.loads(line) for line in text.splitlines()]


# what it says


def test_the_photo_gives_a_row_per_face_and_nothing_is_written(folder, capsys, astronaut_path):
    assert _run(astronaut_path) == 0
    said = capsys.readouterr()
    head, *rows, last = said.out.splitlines()
    assert head.split()[:2] == ["file", "face"]
    assert "expression" in head
    assert [row.split()[1] for row in rows] == [str(i + 1) for i in range(len(rows))]
    assert f"{len(rows)} face" in last
    assert _tree(folder) == []


def test_no_face_is_said_and_is_no_fault(folder, capsys, scripted):
    _save(folder / "wall.png")
    assert _run("wall.png") == 0
    said = capsys.readouterr()
    assert "no face found" in said.out.splitlines()[1]
    assert said.out.splitlines()[-1].startswith("1 picture, no face found")
    assert said.err == ""


@pytest.mark.parametrize(
    ("tasks", "there", "absent"),
    [
        ("landmarks", ["points seen"], ["expression", "largest parts"]),
        ("expression,parsing", ["expression", "largest parts"], ["points seen"]),
        ("none", ["score"], ["points seen", "expression", "largest parts"]),
        ("detection", ["score"], ["points seen", "expression", "largest parts"]),
    ],
)
def test_only_the_tasks_asked_for_are_shown(folder, capsys, scripted, tasks, there, absent):
    scripted(detection=_one_face())
    _save(folder / "a.png")
    assert _run("a.png", "--tasks", tasks) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in there)
    assert not any(word in out for word in absent)


def test_the_tasks_of_the_command_line_are_those_of_the_analyser():
    assert options._TASKS == analyzer.TASKS


def test_a_quiet_run_says_nothing(folder, capsys, scripted):
    _save(folder / "a.png")
    assert _run("a.png", "-q", "--out", "out") == 0
    assert capsys.readouterr() == ("", "")
    assert _tree(folder) == ["a.png", "out/a.faces.png"]


def test_a_file_name_cannot_command_the_terminal(folder, capsys, scripted):
    name = "a\x1b[31m\rb.png"
    (folder / name).write_bytes(_save(folder / "x.png").read_bytes())
    (folder / "bad\x1b]0;.png").write_bytes(b"nothing")
    assert _run(name, "bad\x1b]0;.png") == 3
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "\r" not in said.out
    assert printable("ok ü.png") == "ok ü.png"


def test_the_table_of_a_terminal_shows_names_as_they_are(capsys):
    box = edgeface.BBox(1, 2, 3, 4)
    scores = dict.fromkeys(FER8.names, 0.05) | {"surprise": 0.65}
    face = edgeface.Face(box, roll=3.0, expression=edgeface.Expression(scores))
    report = TableReport(("expression",))
    report.picture("[red]x.png", edgeface.FrameResult((face, face), 10, 10))
    report.picture("none.png", edgeface.FrameResult((), 10, 10))
    report.finish()
    out = capsys.readouterr().out
    assert "[red]x.png" in out
    assert out.count("surprise 65%") == 2
    assert "no face found" in out


def test_a_long_run_shows_its_progress_on_a_terminal(folder, scripted):
    _save(folder / "a.png")
    _save(folder / "b.png")
    read, write = pty.openpty()
    words = [sys.executable, "-m", "edgeface", "analyze", "--bundle", str(_BUNDLE), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(words, stderr=write, stdout=subprocess.PIPE, env=environment) as process:
        out = process.stdout.read()
    os.close(write)
    shown = os.read(read, 100_000).decode()
    os.close(read)
    assert process.returncode == 0
    assert "/2" in shown
    assert b"2 pictures" in out
    assert b"/2" not in out


# JSON


def test_json_on_the_standard_output_is_one_line_per_picture_and_nothing_else(folder, capsys, scripted):
    scripted(detection=_one_face())
    for name in ("b.png", "a.png"):
        _save(folder / name)
    assert _run(folder, "--json") == 0
    said = capsys.readouterr()
    results = _lines(said.out)
    assert [Path(result["source"]).name for result in results] == ["a.png", "b.png"]
    assert {result["schema"] for result in results} == {"edgeface.frame/1"}
    assert [len(result["faces"]) for result in results] == [1, 1]
    assert len(results[0]["faces"][0]["landmarks"]["points"]) == 68
    assert "2 pictures, 2 faces" in said.err


def test_json_into_a_file_keeps_the_table(folder, capsys, scripted):
    _save(folder / "a.png")
    _save(folder / "b.png")
    assert _run("a.png", "b.png", "--json", "results.jsonl") == 0
    said = capsys.readouterr()
    assert said.out.count("no face found") == 3
    assert said.err == "wrote 2 results to results.jsonl\n"
    assert [line["source"] for line in _lines((folder / "results.jsonl").read_text())] == ["a.png", "b.png"]
    assert _run("a.png", "--json", "results.jsonl", "-q") == 0
    assert capsys.readouterr() == ("", "")


def test_a_text_file_after_json_is_its_file_in_every_run(folder, capsys, scripted):
    _save(folder / "a.png")
    for _ in range(2):
        assert _run("a.png", "--json", "out\x1b.txt") == 0
        assert capsys.readouterr().err == "wrote 1 result to out\N{REPLACEMENT CHARACTER}.txt\n"
    assert len(_lines((folder / "out\x1b.txt").read_text())) == 1


def test_a_picture_after_json_is_a_picture_and_never_overwritten(folder, capsys, scripted):
    before = _save(folder / "a.png").read_bytes()
    assert _run("--json", "a.png") == 0
    assert [line["source"] for line in _lines(capsys.readouterr().out)] == ["a.png"]
    assert _run("a.png", "--json=a.png") == 2
    assert "name a .jsonl file" in capsys.readouterr().err
    assert (folder / "a.png").read_bytes() == before


def test_any_file_name_is_possible_for_json(folder, scripted):
    _save(folder / "a.png")
    assert _run("a.png", "--json=results.txt", "-q") == 0
    assert len(_lines((folder / "results.txt").read_text())) == 1


# inputs


def test_folders_patterns_and_repetitions_become_one_ordered_list(folder):
    for name in ("p/f10.jpg", "p/f2.jpg", "p/sub/x.PNG", "p/.hidden.jpg", "p/.git/y.jpg", "p/f2.faces.jpg"):
        _save(folder / name.replace("PNG", "png")).rename(folder / name)
    (folder / "p" / "notes.txt").write_text("no picture")
    (folder / "p" / "clip.mp4").write_text("by its name a video")
    items, failures = expand(["p"], recursive=True)
    assert failures == []
    assert [item.source for item in items] == ["p/clip.mp4", "p/f2.jpg", "p/f10.jpg", "p/sub/x.PNG"]
    assert [item.video for item in items] == [True, False, False, False]
    assert [str(item.folder) for item in items] == [".", ".", ".", "sub"]
    flat, _ = expand(["p"], recursive=False)
    assert [item.path.name for item in flat] == ["clip.mp4", "f2.jpg", "f10.jpg"]
    again, _ = expand(["p/f10.jpg", "p", "./p/f2.jpg"], recursive=True)
    assert [item.path.name for item in again] == ["f10.jpg", "clip.mp4", "f2.jpg", "x.PNG"]
    matched, _ = expand(["p/*.jpg", str(folder / "**" / "*.PNG")], recursive=True)
    assert [item.path.name for item in matched] == ["f2.faces.jpg", "f2.jpg", "f10.jpg", "x.PNG"]
    named, _ = expand(["p/notes.txt"], recursive=True)
    assert [item.path.name for item in named] == ["notes.txt"]


def test_a_folder_that_a_pattern_matches_is_searched_like_one_that_is_named(folder, capsys, scripted):
    for name in ("p/a.png", "p/day 2/c.png", "p/day 10/b.png", "p/day 2/deep/d.png", "p/.hidden/e.png"):
        _save(folder / name)
    (folder / "p" / "empty").mkdir()
    (folder / "p" / "notes.txt").write_text("no picture")
    items, failures = expand(["p/*"], recursive=True)
    assert failures == []
    everything = ["p/a.png", "p/day 2/c.png", "p/day 2/deep/d.png", "p/day 10/b.png"]
    assert [item.source for item in items] == everything
    assert [str(item.folder) for item in items] == [".", ".", "deep", "."]
    flat, _ = expand(["p/*"], recursive=False)
    assert [item.source for item in flat] == ["p/a.png", "p/day 2/c.png", "p/day 10/b.png"]
    deep, _ = expand(["p/**"], recursive=True)
    assert sorted(item.source for item in deep) == sorted(everything)
    assert _run("p/e*", "p/q*") == 3
    said = capsys.readouterr().err
    assert "p/e*: no picture or video among what matches this pattern" in said
    assert "p/q*: nothing matches this pattern" in said


def test_a_folder_that_cannot_be_opened_costs_no_other(folder, monkeypatch):
    for name in ("p/a.png", "p/closed/b.png", "p/z/c.png"):
        _save(folder / name)
    scan = os.scandir  # its rights would not keep root out

    def scandir(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    items, failures = expand(["p", "p/closed"], recursive=True)
    assert [item.source for item in items] == ["p/a.png", "p/z/c.png"]
    assert [(fault.source, fault.reason) for fault in failures] == [("p/closed", "Permission denied")] * 2


def test_a_file_whose_name_is_a_pattern_is_that_file(folder):
    _save(folder / "a.jpg").rename(folder / "[a].jpg")
    items, failures = expand(["[a].jpg"], recursive=True)
    assert [item.source for item in items] == ["[a].jpg"]
    assert failures == []


def test_one_bad_file_never_stops_the_others(folder, capsys, scripted):
    _save(folder / "good1.png")
    whole = _save(folder / "good2.jpg", 640, 480).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("not a picture")
    (folder / "empty.png").touch()
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe")
    bad = ["cut.jpg", "text.png", "empty.png", "missing.png", "empty", "no*thing.jpg", "pipe", "a\0b.png"]
    assert _run("good1.png", *bad, "good2.jpg", "--json") == 3
    said = capsys.readouterr()
    assert [line["source"] for line in _lines(said.out)] == ["good1.png", "good2.jpg"]
    assert f"{len(bad)} inputs could not be used" in said.err
    for name in bad:
        assert printable(name) in said.err


def test_nothing_but_bad_input_is_reported_without_a_model(folder, capsys):
    assert main(["analyze", "missing.png", "--bundle", "also-missing"]) == 3
    assert "no such file or folder" in capsys.readouterr().err


# overlays


def test_overlays_are_written_whole_and_inputs_stay(folder, capsys, scripted):
    scripted(detection=_one_face())
    picture = _save(folder / "photo.jpg", 640, 480)
    before = picture.read_bytes()
    assert _run("photo.jpg", "--out", "out") == 0
    overlay = cv2.imread("out/photo.faces.jpg")
    assert overlay.shape == (480, 640, 3)
    assert np.abs(overlay.astype(int) - cv2.imread("photo.jpg")).max() > 60
    assert picture.read_bytes() == before
    assert "wrote out/photo.faces.jpg" in capsys.readouterr().out
    assert _tree(folder) == ["out/photo.faces.jpg", "photo.jpg"]


def test_inputs_of_one_name_get_overlays_of_their_own(folder, capsys, scripted):
    for value, name in enumerate(("a/x.jpg", "b/x.jpg", "x.jpeg", "X.jpg", "x.png")):
        _save(folder / name, 640, 480, value=40 * value)
    assert _run("a/x.jpg", "b/x.jpg", "x.jpeg", "X.jpg", "x.png", "--out", "out") == 0
    names = ["x.faces.jpg", "x-2.faces.jpg", "x-3.faces.jpg", "X-4.faces.jpg", "x.faces.png"]
    assert sorted(names) == sorted(path.name for path in (folder / "out").iterdir())
    shades = [round(cv2.imread(f"out/{name}").mean()) for name in names]
    assert shades == pytest.approx([0, 40, 80, 120, 160], abs=2)
    said = capsys.readouterr()
    assert "b/x.jpg: its overlay is out/x-2.faces.jpg" in said.err
    assert "wrote 5 overlays to out" in said.out


def test_folders_inside_a_folder_are_kept_and_a_second_run_replaces(folder, scripted):
    for name in ("in/x.png", "in/deep/x.png"):
        _save(folder / name)
    for _ in range(2):
        assert _run("in", "--out", "in", "-q") == 0
    assert _tree(folder) == ["in/deep/x.faces.png", "in/deep/x.png", "in/x.faces.png", "in/x.png"]


def test_an_input_is_never_overwritten_by_an_overlay(folder, capsys, scripted):
    _save(folder / "x.png", value=10)
    precious = _save(folder / "x.faces.png", value=200).read_bytes()
    assert _run("x.png", "x.faces.png", "--out", ".") == 0
    assert (folder / "x.faces.png").read_bytes() == precious
    assert _tree(folder) == ["x-2.faces.png", "x.faces.faces.png", "x.faces.png", "x.png"]


def test_outputs_that_cannot_be_written_have_their_own_code(folder, capsys, scripted):
    _save(folder / "a.png")
    (folder / "taken").write_text("a file")
    assert _run("a.png", "--json=missing/x.jsonl") == 5
    assert "cannot write missing/x.jsonl" in capsys.readouterr().err
    assert _run("a.png", "--out", "taken") == 2
    assert _run("a.png", "--out", "taken/deeper") == 5
    assert "cannot write" in capsys.readouterr().err


def test_an_overlay_that_cannot_be_written_stops_no_other(folder, capsys, scripted):
    """A file is where one input's folder must go, and a folder where a video's overlay must."""
    for name in ("in/a.png", "in/sub/b.png", "in/sub/c.png", "in/z.png"):
        _save(folder / name)
    _video(folder / "in" / "film.mp4", 3)
    (folder / "out" / "film.faces.mp4").mkdir(parents=True)
    (folder / "out" / "sub").write_text("a file")
    assert _run("in", "--out", "out", "--json=r.jsonl") == 5
    said = capsys.readouterr()
    assert "3 overlays could not be written:" in said.err
    assert re.search(
        r"^  in/sub/b\.png: out/sub: \S.* choose another folder for --out$", said.err, re.MULTILINE
    )
    assert "in/sub/c.png: out/sub: " in said.err
    assert re.search(r"^  in/film\.mp4: out/film\.faces\.mp4: \S", said.err, re.MULTILINE)
    assert "could not be used" not in said.err
    assert "wrote 2 overlays to out" in said.out
    sources = {line["source"] for line in _lines((folder / "r.jsonl").read_text())}
    assert sources == {
        *("in/a.png", "in/sub/b.png", "in/sub/c.png", "in/z.png"),
        *(f"in/film.mp4#{number}" for number in range(3)),
    }
    assert [path.name for path in sorted((folder / "out").iterdir())] == [
        *("a.faces.png", "film.faces.mp4", "sub", "z.faces.png"),
    ]
    assert (folder / "out" / "sub").read_text() == "a file"


def test_an_overlay_and_an_input_that_fail_are_both_told(folder, capsys, scripted):
    _save(folder / "in" / "sub" / "b.png")
    (folder / "in" / "text.png").write_text("not a picture")
    (folder / "out").mkdir()
    (folder / "out" / "sub").touch()
    assert _run("in", "--out", "out", "-q") == 5
    said = capsys.readouterr()
    assert "1 input could not be used:" in said.err
    assert "1 overlay could not be written:" in said.err
    assert said.out == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named(folder, capsys, scripted):
    _save(folder / "a.png")
    assert _run("a.png", "--json=/dev/full") == 5
    assert "No space left" in capsys.readouterr().err
    words = [sys.executable, "-m", "edgeface", "models", "--bundle", str(_BUNDLE)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, env=environment, check=False)
    assert done.returncode == 5
    assert done.stderr.decode() == "edgeface: cannot write: No space left on device\n"


def test_an_overlay_that_cannot_be_completed_leaves_nothing(folder):
    (folder / "x.jpg").mkdir()
    with pytest.raises(OutputError):
        save_picture(folder / "x.jpg", np.zeros((8, 8, 3), np.uint8))
    assert [path.name for path in folder.iterdir()] == ["x.jpg"]
    with pytest.raises(OutputError):
        OutputFolder(folder / "x.jpg" / "\0", [])


# videos


@pytest.mark.parametrize(
    ("name", "codec", "size"), [("c.mp4", "mp4v", (160, 120)), ("c.avi", "MJPG", (162, 122))]
)
def test_a_video_gives_annotated_video_and_a_result_per_frame(folder, capsys, scripted, name, codec, size):
    scripted(detection=_one_face())
    _video(folder / name, 6, *size, codec)
    assert _run(name, "--out", "out", "--json", "r.jsonl") == 0
    results = _lines((folder / "r.jsonl").read_text())
    assert [result["source"] for result in results] == [f"{name}#{index}" for index in range(6)]
    times = [result["timestamp_ns"] for result in results]
    assert np.diff(times) == pytest.approx(1e9 / 12, rel=0.01)
    frames = _frames(folder / "out" / "c.faces.mp4")
    assert len(frames) == 6
    assert frames[0].shape[0] == 480  # enlarged, to be legible
    out = capsys.readouterr().out
    assert f"{name}: 6 frames, faces in 6, at most 1 at once, mostly" in out
    assert "1 video (6 frames), 6 faces" in out
    assert _tree(folder) == [name, "out/c.faces.mp4", "r.jsonl"]


def test_a_cut_video_keeps_what_came_before_the_cut(folder, capsys, scripted):
    whole = _video(folder / "c.avi", 40, codec="MJPG").read_bytes()
    (folder / "c.avi").write_bytes(whole[: len(whole) // 2])
    _save(folder / "z.png")
    assert _run("c.avi", "z.png", "--out", "out", "--json=r.jsonl") == 3
    results = _lines((folder / "r.jsonl").read_text())
    assert 10 < len(results) < 35
    assert results[-1]["source"] == "z.png"
    assert len(_frames(folder / "out" / "c.faces.mp4")) == len(results) - 1
    said = capsys.readouterr()
    assert f"ends after {len(results) - 1} of 40 frames" in said.err
    assert "no face found" in said.out


@pytest.mark.parametrize("content", [b"", b"no video at all", bytes(5000)])
def test_a_file_that_is_no_video_is_reported(folder, content):
    (folder / "c.mp4").write_bytes(content)
    words = [sys.executable, "-m", "edgeface", "analyze", "--bundle", str(_BUNDLE), "c.mp4", "--out", "out"]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    done = subprocess.run(words, capture_output=True, env=environment, text=True, check=False)
    assert done.returncode == 3
    assert "c.mp4: cannot be opened; is it a video, is it complete" in done.stderr
    assert len(done.stderr.splitlines()) == 2  # the decoder itself keeps quiet
    assert _tree(folder) == ["c.mp4"]


# faults and interruptions


def _after(count, error):
    """Detector outputs that raise from the call `count` on."""
    calls = iter(range(10_000))

    def play(_tensors):
        if next(calls) >= count:
            raise error
        return _one_face()

    return play


def test_a_lost_device_stops_the_run_and_keeps_the_results(folder, capsys, scripted):
    for index in range(4):
        _save(folder / f"{index}.png")
    scripted(detection=_after(2, edgeface.DeviceError("the accelerator is gone; plug it in again")))
    assert _run(folder, "--json") == 4
    said = capsys.readouterr()
    assert len(_lines(said.out)) == 2
    assert "plug it in again" in said.err


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_a_bad_bundle_has_its_own_code(folder, capsys, damage):
    _save(folder / "a.png")
    if damage == "flipped":
        data = bytearray(_BUNDLE.read_bytes())
        data[-5] ^= 1
        (folder / "m.bundle").write_bytes(data)
    assert main(["analyze", "a.png", "--bundle", "m.bundle", "--json=r.jsonl", "--out", "out"]) == 4
    assert main(["models", "--bundle", "m.bundle"]) == 4
    assert "m.bundle" in capsys.readouterr().err
    assert not (folder / "r.jsonl").exists()
    assert not (folder / "out").exists()


def test_an_internal_fault_costs_one_input_and_shows_where_it_happened(folder, capsys, scripted):
    for index in range(3):
        _save(folder / f"{index}.png")
    calls = iter(range(9))

    def play(_tensors):
        if next(calls) == 1:
            raise ZeroDivisionError("a defect")
        return _one_face()

    scripted(detection=play)
    assert _run(folder, "--json") == 70
    said = capsys.readouterr()
    assert [Path(line["source"]).name for line in _lines(said.out)] == ["0.png", "2.png"]
    assert "Traceback" in said.err
    assert "1.png: internal fault, please report it" in said.err


def test_a_fault_outside_the_files_is_an_internal_fault_too(monkeypatch, capsys):
    monkeypatch.setattr("edgeface.cli.analyze.run", lambda _request: 1 // 0)
    assert _run("a.png") == 70
    assert "please report it" in capsys.readouterr().err


def test_an_interruption_keeps_what_was_written(folder, capsys, scripted):
    _save(folder / "a.png")
    _video(folder / "b.mp4", 8)
    _save(folder / "c.png")
    scripted(detection=_after(4, KeyboardInterrupt()))
    assert _run("a.png", "b.mp4", "c.png", "--out", "out", "--json=r.jsonl") == 130
    assert [line["source"] for line in _lines((folder / "r.jsonl").read_text())] == [
        "a.png",
        "b.mp4#0",
        "b.mp4#1",
        "b.mp4#2",
    ]
    assert len(_frames(folder / "out" / "b.faces.mp4")) == 3
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.faces.png", "b.faces.mp4"]
    said = capsys.readouterr()
    assert "interrupted" in said.err
    assert "b.mp4: 3 frames" in said.out


@pytest.fixture
def hearing():
    """What a shell puts in the background is deaf to Ctrl-C, and so are its children: these must not be."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_control_c_ends_the_program_cleanly(folder, hearing):
    _video(folder / "long.mp4", 900)
    words = [sys.executable, "-m", "edgeface", "analyze", "--bundle", str(_BUNDLE), "long.mp4", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, err = process.stdout.read(), process.stderr.read()
    assert process.returncode == 130
    assert len(_lines((first + rest).decode())) < 900
    assert b"Traceback" not in err


def test_a_reader_that_has_seen_enough_is_no_fault(folder):
    _video(folder / "long.mp4", 300)
    words = [sys.executable, "-m", "edgeface", "analyze", "--bundle", str(_BUNDLE), "long.mp4", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert json.loads(process.stdout.readline())["schema"] == "edgeface.frame/1"
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 0
    assert b"Broken" not in err
    assert b"Traceback" not in err


# the command line itself


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["a.png", "--tasks", "landmark"],
        ["a.png", "--threads", "0"],
        ["a.png", "--threads", "many"],
        ["a.png", "--max-faces", "0"],
        ["a.png", "--min-score", "1"],
        ["a.png", "--smallest-face", "7"],
        ["a.png", "--nonsense"],
    ],
)
def test_a_wrong_command_line_is_told_with_its_mend(folder, capsys, words):
    _save(folder / "a.png")
    assert _run(*words) == 2
    assert "Error" in capsys.readouterr().err
    assert _tree(folder) == ["a.png"]


def test_options_reach_the_analyser(folder, capsys, scripted):
    score = np.full((8, 10), -9.0)
    score[2, 2], score[6, 7] = 4.0, 2.0
    box = np.zeros((8, 10, 4))
    box[2, 2], box[6, 7] = 1.0, 1.5
    scripted(detection={"score_8": score, "box_8": box})
    _save(folder / "a.png", 80, 64)

    def boxes(*words):
        assert _run("a.png", "--json", "--tasks=none", "-q", *words) == 0
        return [face["bbox"]["score"] for face in _lines(capsys.readouterr().out)[0]["faces"]]

    both = boxes()
    assert len(both) == 2
    assert boxes("--max-faces", "1") == both[:1]
    assert boxes("--min-score", "0.95") == both[1:]
    assert boxes("--threads", "2") == both
    # Each of the tiles is answered alike, and all but one of the faces lie in each of their middles.
    assert len(boxes("--smallest-face", "10")) > 2


def test_help_says_that_a_bundle_is_no_link(folder, capsys):
    for command in ("analyze", "models"):
        assert main([command, "--help"]) == 0
        assert "a bundle file, not a link to one" in " ".join(capsys.readouterr().out.split())
    (folder / "m.bundle").symlink_to(_BUNDLE)
    assert main(["models", "--bundle", "m.bundle"]) == 4
    assert "m.bundle: is a link; give the path of the file itself" in capsys.readouterr().err


def test_help_tells_the_exit_codes(capsys):
    assert main(["analyze", "--help"]) == 0
    out = capsys.readouterr().out
    for code in ("0", "2", "3", "4", "5", "70", "130"):
        assert any(line.split()[:1] == [code] for line in out.splitlines())


def test_the_version_is_the_package_s(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"edgeface {edgeface.__version__}\n"


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom edgeface.cli import main\nassert main(['analyze', '--help']) == 0\n"
        "heavy = {'numpy', 'cv2', 'rich', 'ai_edge_litert'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=_ROOT, stdout=subprocess.DEVNULL)


def test_a_picture_off_a_terminal_needs_no_rich(folder):
    _save(folder / "a.png")
    code = (
        "import sys\nfrom edgeface.cli import main\n"
        f"assert main(['analyze', '--bundle', {str(_BUNDLE)!r}, {str(folder / 'a.png')!r}]) == 0\n"
        "assert 'rich' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=_ROOT, capture_output=True)
    assert done.stderr == b""  # nor does the native runtime remark on itself


def test_only_remarks_are_held_back(capfd):
    def remark():
        with without_remarks():
            os.write(2, b"INFO: kernels\nWARNING: hot\n")
            print("own words", file=sys.stderr)
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        remark()
    os.write(2, b"INFO: after\n")
    assert sorted(capfd.readouterr().err.splitlines()) == ["INFO: after", "WARNING: hot", "own words"]


# models


def test_models_lists_what_a_bundle_holds(capsys):
    assert main(["models", "--bundle", str(_BUNDLE)]) == 0
    out = capsys.readouterr().out
    assert main(["models", "--json", "--bundle", str(_BUNDLE)]) == 0
    known = json.loads(capsys.readouterr().out)
    assert "edgeface models --card TASK" in out.splitlines()[-1]
    bundle = edgeface.Bundle.load(_BUNDLE)
    assert known["schema"] == "edgeface.models/1"
    assert known["digest"] == bundle.digest
    assert [model["task"] for model in known["models"]] == list(bundle.tasks)
    for model, artifact in zip(
        known["models"], sorted(known["models"], key=lambda m: m["task"]), strict=True
    ):
        assert model["size"] == len(bundle.artifact(model["artifact"]))
        assert model["sha256"][:12] in out
        assert model["licence"] in out
        assert artifact["task"] in out


def test_a_model_card_is_printed(capsys):
    assert main(["models", "--card", "parsing", "--bundle", str(_BUNDLE)]) == 0
    assert capsys.readouterr().out.strip() == edgeface.Bundle.load(_BUNDLE).card("parsing").strip()
    assert main(["models", "--card", "horoscope", "--bundle", str(_BUNDLE)]) == 2
    assert "choose from detection" in capsys.readouterr().err


def test_the_examples_run(astronaut_path):
    if not (_ROOT / "edgeface" / "models" / "students.bundle").exists():
        pytest.skip("the students are not in this checkout yet")
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    words = [sys.executable, str(_ROOT / "examples" / "minimal.py")]
    out = subprocess.run(words, check=True, env=environment, capture_output=True, text=True).stdout
    assert "BBox" in out
    assert "hair covers" in out
