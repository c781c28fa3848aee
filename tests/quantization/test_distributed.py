"""Two real processes under torchrun train what one would have trained."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from quantization.__main__ import main
from quantization.shared_norm import SharedNorm, share_norms
from quantization.team import ALONE, Team
from quantization.training import Schedule
from tests.quantization import tiny

pytestmark = pytest.mark.workshop

RECIPE = """
task = "landmarks"

[student]
size = 112
widths = [4, 8, 8, 12, 16]
code = 24
negatives = 0.4
turned = 0.3
covered = 0.3
strength = 0.5
share = { lfpw = 0.5, utkface = 0.5 }

[schedule]
steps = 12
batch = 6
rate = 2.0e-3
warmup = 4
validate_every = 4

[deploy]
description = "Drawn faces"
calibration = 8
crop = { scale = 1.25, shift = [0.0, 0.12], align_above = 20.0 }
head = { residual_scale = 1.0 }
"""

# The command line over the drawn data.
COMMAND = """
import sys
from pathlib import Path
from quantization import splits
from quantization.__main__ import main
splits.SPLITS = Path(sys.argv[1])
main(sys.argv[2:])
"""

# A training in plain float32, whose arithmetic differs by the order of additions alone.
EXACT = """
import contextlib, sys
from pathlib import Path
import torch
from quantization.team import Team
from quantization.training import fit
from tests.quantization.test_distributed import PLAIN, Counting
torch.autocast = lambda *_: contextlib.nullcontext()
team = Team.of_environment()
with team.joined():
    fit(Counting(Path(sys.argv[1])), PLAIN, Path(sys.argv[1]), threads=1, team=team)
"""

PLAIN = Schedule(steps=16, batch=7, rate=5e-3, warmup=4, validate_every=1, workers=2, seed=5)


class Counting:
    """Where is the bright stripe? Judged by the rows that have one alone, and every made batch is noted."""

    def __init__(self, run):
        self.run = run

    def network(self):
        head = nn.Conv2d(6, 2, 8)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), head, _Tuple()
        )

    def batch(self, rng, size):
        image = rng.normal(0, 0.3, (size, 3, 8, 8)).astype(np.float32)
        side, has = rng.integers(0, 2, size), rng.random(size) < 0.25
        for i in np.flatnonzero(has):
            image[i, :, :, 4 * side[i] : 4 * side[i] + 4] += 1
        with (self.run / f"made-by-{os.environ.get('RANK', 'one')}").open("a") as file:
            file.write(f"{image.sum():.6f}\n")
        return {
            "image": torch.from_numpy(image),
            "side": torch.from_numpy(side),
            "has": torch.from_numpy(has),
        }

    def loss(self, outputs, batch):
        logits, has = outputs[0].flatten(1), batch["has"]
        apart = nn.functional.cross_entropy(logits, batch["side"], reduction="none")
        loss = (apart * has).sum() / has.sum().clamp(min=1)
        return loss, {"loss": loss.item(), "had": float(has.sum())}

    def validate(self, network):
        return {"bias": float(network[3].bias.sum())}


class _Tuple(nn.Module):
    def forward(self, x):
        return (x,)


class Bench:
    """A recipe, its data, and torchrun."""

    def __init__(self, root, miniature, repository, command="distill", recipe=RECIPE):
        self.root, self.miniature, self.repository, self.command = root, miniature, repository, command
        self.recipe = root / "tiny.toml"
        self.recipe.write_text(recipe)
        (root / "command.py").write_text(COMMAND)

    def arguments(self, run):
        places = ["--data", self.miniature.data, "--labels", self.miniature.labels, "--teachers", self.root]
        more = ["--threads", "1", "--run", self.root / run]
        return [self.command, str(self.recipe), *map(str, [*places, *more])]

    def alone(self, run):
        with self.miniature.split():
            done = CliRunner().invoke(main, self.arguments(run))
        assert done.exit_code == 0, done.output

    def start(self, run, processes=2):
        script = [self.root / "command.py", self.miniature.lists, *self.arguments(run)]
        return start(processes, script, self.repository)

    def together(self, run):
        with self.start(run) as process:
            _, said = process.communicate()
        assert process.returncode == 0, said
        return said

    def log(self, run):
        return [json.loads(line) for line in (self.root / run / "log.jsonl").read_text().splitlines()]

    def weights(self, run):
        return (self.root / run / "weights.npz").read_bytes()


def start(processes, script, repository):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", str(processes), "--", *map(str, script)]
    environment = os.environ | {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, cwd=repository, stderr=subprocess.PIPE, text=True)


@pytest.fixture(autouse=True)
def few_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def bench(miniature, repository, tmp_path_factory):
    """The same training by one process and by two."""
    made = Bench(tmp_path_factory.mktemp("team"), miniature, repository)
    made.alone("one")
    made.said = made.together("two")
    return made


def test_two_processes_have_the_loss_curve_of_one(bench):
    """Within 3 %: bfloat16 rounds by the shape of a batch, and six faces make norms that feel it."""
    one, two = bench.log("one"), bench.log("two")
    assert [row["step"] for row in two] == [4, 8, 12]
    for a, b in zip(one, two, strict=True):
        for term in ("shape", "visibility", "presence"):
            assert b[term] == pytest.approx(a[term], rel=0.03), (term, a, b)


def test_two_processes_teach_a_teacher_as_one_does(miniature, repository, tmp_path):
    bench = Bench(tmp_path, miniature, repository, "teach", tiny.EXPRESSION_TEACHER)
    bench.alone("one")
    bench.together("two")
    (one,), (two,) = bench.log("one"), bench.log("two")
    assert one["step"] == two["step"] == 4
    assert two["loss"] == pytest.approx(one["loss"], rel=0.03)
    told = json.loads((tmp_path / "two/provenance.json").read_text())
    assert told["processes"] == 2


def test_the_leader_alone_writes_and_speaks(bench):
    names = sorted(path.name for path in (bench.root / "two").iterdir())
    assert names == ["checkpoint.pt", "log.jsonl", "provenance.json", "weights.npz"]
    assert bench.said.count("tiny: 4 of 12 steps") == 1
    told = json.loads((bench.root / "two/provenance.json").read_text())
    alone = json.loads((bench.root / "one/provenance.json").read_text())
    assert (told["processes"], alone["processes"]) == (2, 1)
    assert told["inputs"] == alone["inputs"]  # so that either goes on with the other's run
    assert any("2 processes add in another order" in line for line in told["not_deterministic"])


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_ends_the_job_and_costs_one_interval_at_most(bench, victim):
    run = f"killed-{victim}"
    with bench.start(run) as process:
        while not (bench.root / run / "checkpoint.pt").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        os.kill(worker(process.pid, victim), signal.SIGKILL)
        _, said = process.communicate()
    assert process.returncode != 0
    assert "SIGKILL" in said  # torchrun names the one that died
    assert re.search(
        rf"Error: process {1 - victim} of 2: .* The same command goes on from the last checkpoint", said
    ), said[:4000]
    assert "Traceback" not in said.partition("torch/distributed/elastic")[0], said[:4000]
    stopped = torch.load(bench.root / run / "checkpoint.pt", weights_only=True)["step"]
    assert 4 <= stopped < 12
    bench.together(run)
    assert bench.log(run)[-1]["step"] == 12
    assert bench.weights(run) == bench.weights("two")


DEAF = """
import os, time
from quantization.team import Team
team = Team.of_environment("cpu")
with team.joined():
    if not team.leads:
        os._exit(3)
    while True:
        try:
            time.sleep(30)
        except BaseException:
            pass
"""

TORN = """
import os
from quantization.team import Team
team = Team.of_environment("cpu")
with team.joined():
    if not team.leads:
        os._exit(3)
    raise ValueError("half a batch")
"""


@pytest.mark.parametrize("script", [DEAF, TORN])
def test_who_is_left_says_so_whatever_it_is_at(tmp_path, repository, script):
    """At work that lets no exception out, and at work that breaks for want of the other."""
    (tmp_path / "left.py").write_text(script)
    with start(2, [tmp_path / "left.py"], repository) as process:
        _, said = process.communicate()
    assert "Error: process 0 of 2: another process of this training ended" in said, said[:4000]
    assert "half a batch" not in said


def worker(launcher, rank):
    """The process of a rank, among the children of torchrun."""
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            return int(child)
    raise LookupError(rank)


def test_an_uneven_batch_gives_the_same_gradients_to_the_last_digits(tmp_path, repository):
    """Seven rows for two processes; a mean of two losses would be another loss."""
    script = tmp_path / "exact.py"
    script.write_text(EXACT)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    environment = os.environ | {"PYTHONPATH": str(repository)}
    subprocess.run([sys.executable, script, tmp_path / "one"], env=environment, cwd=repository, check=True)
    with start(2, [script, tmp_path / "two"], repository) as process:
        _, said = process.communicate()
    assert process.returncode == 0, said
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert len(one) == PLAIN.steps
    assert 0 in {row["had"] for row in one}  # a batch that teaches nothing is an ordinary one
    for a, b in zip(one, two, strict=True):
        assert b["had"] == a["had"]
        assert (b["loss"], b["val_bias"]) == pytest.approx((a["loss"], a["val_bias"]), abs=3e-5)
    made = {name: (tmp_path / name).glob("made-by-*") for name in ("one", "two")}
    batches = {name: [set(p.read_text().split()) for p in sorted(paths)] for name, paths in made.items()}
    first, second = batches["two"]
    assert len(first) == len(second) == PLAIN.steps // 2  # no batch is made twice
    assert first | second == batches["one"][0]


def test_shared_norms_keep_parameters_names_and_what_they_say_when_graded():
    torch.manual_seed(1)
    plain = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5))
    plain(torch.rand(4, 3, 8, 8))
    before, names = dict(plain.named_parameters()), list(plain.state_dict())
    wanted = plain.eval()(torch.ones(2, 3, 8, 8))
    share_norms(plain)
    assert isinstance(plain[1], SharedNorm)
    assert list(plain.state_dict()) == names
    assert all(after is before[name] for name, after in plain.named_parameters())
    assert torch.equal(plain.eval()(torch.ones(2, 3, 8, 8)), wanted)


def test_one_process_is_a_team_that_changes_nothing(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert Team.of_environment("cpu") == ALONE
    outputs, net = (torch.rand(2, 3),), nn.Linear(1, 1)
    assert ALONE.gathered(outputs, 2)[0] is outputs[0]
    assert ALONE.parallel(net) is net
    assert list(ALONE.turns(range(3, 9))) == [3, 4, 5, 6, 7, 8]
    assert list(Team(1, 3).turns(range(3, 9))) == [4, 7]


@pytest.mark.parametrize(
    ("asked", "gpus", "place", "device"),
    [
        ("auto", 0, {}, "cpu"),
        ("auto", 1, {}, "cuda:0"),
        ("cpu", 1, {}, "cpu"),
        ("cuda", 1, {}, "cuda:0"),
        ("auto", 2, {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, "cuda:1"),
        ("auto", 1, {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, "cpu"),
    ],
)
def test_each_process_has_a_gpu_where_there_are_as_many_and_it_is_not_told_otherwise(
    monkeypatch, asked, gpus, place, device
):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    team = Team.of_environment(asked)
    assert team.device == device
    assert team.alone == (not place)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here, so it would be used")
def test_a_gpu_that_is_not_there_is_asked_for_in_vain(bench):
    with bench.miniature.split():
        done = CliRunner().invoke(main, [*bench.arguments("never"), "--device", "cuda"])
    assert done.exit_code == 1
    assert "--device cuda: torch sees 0 GPUs for 1 processes" in done.output
    assert not (bench.root / "never").exists()


@pytest.mark.parametrize(
    ("command", "message"),
    [("distill", r"schedule\.batch is 6, too few for 7 processes"), ("build", "`build` is one process")],
)
def test_what_a_team_cannot_do_is_said_before_it_begins(bench, monkeypatch, command, message):
    place = {"RANK": "0", "WORLD_SIZE": "7", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "7"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    arguments = bench.arguments("never")
    if command == "build":
        arguments = ["build", *arguments[1:-2], "--runs", str(bench.root / "never")]
    with bench.miniature.split():
        done = CliRunner().invoke(main, arguments)
    assert done.exit_code != 0
    assert re.search(message, done.output)
    assert not (bench.root / "never/checkpoint.pt").exists()
