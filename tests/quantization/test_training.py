from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from quantization.training import Schedule, fit, load_weights, save_weights

pytestmark = pytest.mark.workshop


class Net(nn.Module):
    """A little of everything that has a state: weights, batch norm, dropout."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3)
        )
        self.head = nn.Conv2d(6, 1, 8)

    def forward(self, x):
        return (self.head(self.body(x)),)


class ToyTask:
    """Which half of a picture is brighter?"""

    def __init__(self, pause=0.0):
        self.pause = pause

    def network(self):
        return Net()

    def batch(self, rng, size):
        time.sleep(self.pause)
        side = rng.integers(0, 2, size)
        image = rng.normal(0, 0.3, (size, 3, 8, 8)).astype(np.float32)
        for i, s in enumerate(side):
            image[i, :, :, 4 * s : 4 * s + 4] += 1
        return {"image": torch.from_numpy(image), "side": torch.from_numpy(side.astype(np.float32))}

    def loss(self, outputs, batch):
        loss = nn.functional.binary_cross_entropy_with_logits(outputs[0].flatten(), batch["side"])
        return loss, {"loss": loss.item()}

    def validate(self, network):
        batch = self.batch(np.random.default_rng(77), 64)
        with torch.no_grad():
            logits = network.eval()(batch["image"])[0].flatten()
        return {"right": ((logits > 0).float() == batch["side"]).float().mean().item()}


SCHEDULE = Schedule(steps=60, batch=8, rate=5e-3, warmup=10, validate_every=20, workers=2, seed=5)


@pytest.fixture(autouse=True)
def few_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def weights(run):
    with np.load(run / "weights.npz") as arrays:
        return {k: arrays[k] for k in arrays.files}


def same(one, two):
    return one.keys() == two.keys() and all(np.array_equal(one[k], two[k]) for k in one)


def log(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("whole")
    fit(ToyTask(), SCHEDULE, run, threads=1)
    return run


def test_the_learning_rate_warms_up_and_then_falls_along_a_cosine():
    schedule = Schedule(steps=1200, batch=1, rate=0.01, warmup=200)
    rates = [schedule.rate_at(s) for s in range(1200)]
    assert rates[0] == pytest.approx(0.01 / 200)
    assert rates[199] == rates[200] == pytest.approx(0.01)
    assert rates[700] == pytest.approx(0.01 * (0.01 + 0.99 / 2), rel=1e-6)
    assert rates[-1] == pytest.approx(0.0001, rel=1e-2)
    assert all(a >= b for a, b in itertools.pairwise(rates[199:]))


def test_it_learns_and_nothing_is_nan(finished):
    rows = log(finished)
    assert [r["step"] for r in rows] == [20, 40, 60]
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    assert rows[-1]["val_right"] > 0.95
    assert all(np.isfinite(v) for r in rows for v in r.values())
    assert all(np.isfinite(v).all() for v in weights(finished).values())


def test_the_same_seed_gives_the_same_weights_and_another_others(finished, tmp_path):
    fit(ToyTask(), SCHEDULE, tmp_path / "again", threads=1)
    assert same(weights(finished), weights(tmp_path / "again"))
    fit(ToyTask(), replace(SCHEDULE, seed=6), tmp_path / "other", threads=1)
    assert not same(weights(finished), weights(tmp_path / "other"))


def test_batches_do_not_depend_on_the_number_of_workers(finished, tmp_path):
    fit(ToyTask(), replace(SCHEDULE, workers=5), tmp_path, threads=1)
    assert same(weights(finished), weights(tmp_path))


SCRIPT = """
import sys
from pathlib import Path
from tests.quantization.test_training import SCHEDULE, ToyTask
from quantization.training import fit
fit(ToyTask(pause=0.03), SCHEDULE, Path(sys.argv[1]), threads=1)
"""


def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(finished, tmp_path, repository):
    run = tmp_path / "killed"
    command = [sys.executable, "-c", SCRIPT, str(run)]
    environment = os.environ | {"PYTHONPATH": str(repository)}
    with subprocess.Popen(command, env=environment, cwd=repository) as process:
        while not (run / "checkpoint.pt").exists():
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        time.sleep(0.1)  # a few steps into the next stretch
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    stopped = torch.load(run / "checkpoint.pt", weights_only=True)["step"]
    assert stopped < SCHEDULE.steps
    assert not same(weights(run), weights(finished))
    subprocess.run(command, env=environment, cwd=repository, check=True)
    assert same(weights(run), weights(finished))
    assert [r["step"] for r in log(run)] == [20, 40, 60]
    assert log(run)[-1]["val_right"] == log(finished)[-1]["val_right"]


def test_a_fault_while_saving_leaves_the_last_good_state(finished, tmp_path, monkeypatch):
    """The disk is full at the second checkpoint; resumed, the run ends as if nothing had happened."""
    real, calls = torch.save, []

    def full(state, path):
        calls.append(path)
        if len(calls) == 2:
            Path(path).write_bytes(b"half a check")
            raise OSError(28, "No space left on device")
        real(state, path)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        fit(ToyTask(), SCHEDULE, tmp_path, threads=1)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 20
    fit(ToyTask(), SCHEDULE, tmp_path, threads=1)
    assert same(weights(tmp_path), weights(finished))


def test_going_on_with_a_finished_run_changes_nothing(finished):
    before = (finished / "weights.npz").read_bytes()
    net = fit(ToyTask(), SCHEDULE, finished, threads=1)
    assert (finished / "weights.npz").read_bytes() == before
    assert not net.training
    stored = weights(finished)["body.0.weight"].astype(np.float32)
    assert np.abs(net.body[0].weight.detach().numpy() - stored).max() < 1e-3


def test_a_run_can_begin_with_the_weights_of_another(finished, tmp_path):
    """The first course has all but learnt it; the second starts there, with a new schedule."""
    (tmp_path / "first").mkdir()
    (tmp_path / "first/weights.npz").write_bytes((finished / "weights.npz").read_bytes())
    fit(ToyTask(), replace(SCHEDULE, steps=20, rate=1e-6, start="first"), tmp_path / "second", threads=1)
    assert log(tmp_path / "second")[0]["val_right"] > 0.95
    for name, value in weights(tmp_path / "second").items():
        if "running" not in name:
            assert value == pytest.approx(weights(finished)[name], rel=1e-2, abs=1e-3)


def test_a_fault_in_a_batch_reaches_whoever_trains(tmp_path):
    class Faulty(ToyTask):
        def batch(self, rng, size):
            raise ValueError("image_0815.jpg: not a readable image")

    with pytest.raises(ValueError, match=r"image_0815\.jpg"):
        fit(Faulty(), SCHEDULE, tmp_path, threads=1)


def test_weights_read_as_they_were_written(tmp_path):
    torch.manual_seed(0)
    net = Net()
    net(torch.rand(4, 3, 8, 8) * 50)
    save_weights(net, tmp_path / "w.npz")
    fresh = load_weights(Net(), tmp_path / "w.npz")
    assert not fresh.training
    assert torch.equal(fresh.body[1].running_var, net.body[1].running_var)  # spans too far for half precision
    for name, value in fresh.state_dict().items():
        if "num_batches" not in name:
            assert value == pytest.approx(net.state_dict()[name].numpy(), rel=1e-3, abs=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == ["w.npz"]


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    save_weights(nn.Sequential(nn.Conv2d(3, 4, 1)), tmp_path / "stranger.npz")
    with pytest.raises(ValueError, match=r"stranger\.npz: the weights are of another network"):
        load_weights(Net(), tmp_path / "stranger.npz")
