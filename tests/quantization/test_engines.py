"""Both engines do the same, whatever happens to a worker; Ray runs here with two."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

# Workers import this module too: what is heavy and theirs not is imported by the tests.
from quantization.engines import EngineError, finish
from quantization.provenance import digest

pytestmark = [
    pytest.mark.workshop,
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning"),  # Ray's, of settings of its own
    # JAX's, which other tests import with the converter: Ray forks to start its own programs at once.
    pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning"),
]


@pytest.fixture(scope="module")
def ray():
    """Two workers on this machine, for all tests of this module."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}
    try:
        import ray
    except ImportError:
        pytest.fail('ray is missing: pip install -e ".[workshop-ray]"')
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield ray
    ray.shutdown()


@dataclass(frozen=True)
class Reversal:
    """Writes a shard's bytes backwards and notes whom it did; can be told to die or to fail."""

    diary: Path
    deadly: str = ""  # name of the shard that kills the first worker that takes it
    broken: str = ""
    question: str = "ab" * 32
    suffix: str = ".txt"

    def open(self):
        self.diary.mkdir(exist_ok=True)
        return self.read

    def read(self, shard, target):
        (self.diary / f"{shard.name} {os.getpid()} {len(list(self.diary.iterdir()))}").touch()
        target.write_bytes(shard.read_bytes()[::-1][:2])
        grave = self.diary.with_suffix(".grave")
        if shard.name == self.deadly and not grave.exists():
            grave.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if shard.name == self.broken:
            raise ValueError("cannot be done")
        target.write_bytes(shard.read_bytes()[::-1])

    def done(self):
        """Names of the shards, once for each time that one was begun."""
        return sorted(p.name.split()[0] for p in self.diary.iterdir())


@pytest.fixture
def files(tmp_path):
    (tmp_path / "shards").mkdir()
    paths = [tmp_path / "shards" / f"{name}.bin" for name in "dacb"]
    for path in paths:
        path.write_bytes(f"of {path.stem}".encode())
    return paths


def call(*words):
    """What a command of the workshop prints; it must succeed."""
    from click.testing import CliRunner

    from quantization.__main__ import main

    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_results_are_named_by_what_made_them_and_made_once(files, tmp_path):
    work = Reversal(tmp_path / "diary")
    done = finish(work, files, tmp_path / "out")
    assert [p.read_bytes() for p in done] == [b"d fo", b"a fo", b"c fo", b"b fo"]
    assert done[0].name == f"d-abababababab-{digest(files[0])[:16]}.txt"
    assert finish(work, files, tmp_path / "out") == done
    assert work.done() == ["a.bin", "b.bin", "c.bin", "d.bin"]
    files[1].write_bytes(b"new")
    assert finish(work, files, tmp_path / "out")[1].read_bytes() == b"wen"
    other = Reversal(tmp_path / "diary", question="cd" * 32)
    assert not {*finish(other, files, tmp_path / "out")} & {*done}
    assert work.done() == ["a.bin", "a.bin", "a.bin", "b.bin", "b.bin", "c.bin", "c.bin", "d.bin", "d.bin"]


def test_a_failed_shard_is_named_and_the_others_are_kept(files, tmp_path):
    work = Reversal(tmp_path / "diary", broken="a.bin")
    gone = tmp_path / "shards" / "gone.bin"
    with pytest.raises(EngineError) as told:
        finish(work, [*files, gone], tmp_path / "out")
    assert "2 of 5 shards failed" in str(told.value)
    assert f"{files[1]}: cannot be done" in str(told.value)
    assert f"{gone}: there is no such shard" in str(told.value)
    assert len(list((tmp_path / "out").glob("*.txt"))) == 3
    mended = Reversal(tmp_path / "diary")
    assert len(finish(mended, files, tmp_path / "out")) == 4
    assert mended.done() == ["a.bin", "a.bin", "b.bin", "c.bin", "d.bin"]
    assert len(list((tmp_path / "out").iterdir())) == 4  # nothing half-written is left


def test_an_engine_that_is_not_there_is_named(files, tmp_path):
    with pytest.raises(EngineError, match="no engine 'spark': use one of local, ray"):
        finish(Reversal(tmp_path / "diary"), files, tmp_path / "out", "spark")


def test_a_missing_ray_says_how_to_get_it(files, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r"the engine ray is not installed .*edgeface\[workshop-ray\]"):
        finish(Reversal(tmp_path / "diary"), files, tmp_path / "out", "ray")


def test_a_question_holds_the_versions_of_what_answers(monkeypatch):
    import edgeface
    from quantization.engines import question_of

    before = question_of("a", 1)
    assert question_of("a", 1) == before != question_of("a", 2)
    monkeypatch.setattr(edgeface, "__version__", "0.0")
    assert question_of("a", 1) != before


def test_a_killed_worker_of_ray_costs_its_own_shard_alone(ray, files, tmp_path):
    local = finish(Reversal(tmp_path / "one"), files, tmp_path / "local")
    work = Reversal(tmp_path / "two", deadly="c.bin")
    done = finish(work, files, tmp_path / "out", "ray")
    assert work.diary.with_suffix(".grave").exists()
    assert work.done() == ["a.bin", "b.bin", "c.bin", "c.bin", "d.bin"]
    assert [p.name for p in done] == [p.name for p in local]
    assert [p.read_bytes() for p in done] == [p.read_bytes() for p in local]
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_ray_labels_shards_as_this_process_does(ray, tmp_path):
    from tests.quantization.layouts import MAKERS
    from tests.quantization.small_teachers import write_teacher

    MAKERS["ferplus"](tmp_path / "set")
    call("shard", f"ferplus:{tmp_path / 'set'}", "--out", tmp_path / "shards", "--size", 2)
    teacher = write_teacher(tmp_path, "expression")
    asked = ("label", "--shards", tmp_path / "shards", *teacher, "--out")
    told = call(*asked, tmp_path / "local")
    assert told.endswith("3 shards: 6 samples labelled, 0 without a face, 0 broken\n")
    assert call(*asked, tmp_path / "ray", "--engine", "ray") == told
    local, rays = (sorted((tmp_path / name).iterdir()) for name in ("local", "ray"))
    assert len(local) == 3
    assert [(p.name, p.read_bytes()) for p in local] == [(p.name, p.read_bytes()) for p in rays]


def test_ray_grades_shards_as_this_process_does(ray, tmp_path):
    from tests.quantization.layouts import MAKERS
    from tests.quantization.small_teachers import write_teacher

    MAKERS["wflw"](tmp_path / "set")
    call("shard", f"wflw:{tmp_path / 'set'}", "--out", tmp_path / "shards", "--size", 3)
    _, adapter, _, model = write_teacher(tmp_path, "landmarks")
    asked = ("evaluate", "--data-set", f"webdataset:{tmp_path / 'shards'}", "--model", model)
    asked += ("--teacher", adapter, "--store")
    told = call(*asked, tmp_path / "local")
    assert re.search(r"^  photos +6$", told, re.MULTILINE)
    assert call(*asked, tmp_path / "ray", "--engine", "ray") == told
    local, rays = (sorted((tmp_path / name).iterdir()) for name in ("local", "ray"))
    assert len(local) == 2
    assert [(p.name, p.read_bytes()) for p in local] == [(p.name, p.read_bytes()) for p in rays]
