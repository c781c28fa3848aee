"""The training loop all students share: resumable, logged, with an exponential moving average of the weights.

Batch ``k`` of a run depends on the seed and ``k`` alone, so a resumed run sees the batches it would have
seen. Autocast to bfloat16 and channels-last tensors make a CPU with AVX-512 BF16 train three times faster
here. Under ``torchrun`` several processes train one network: see :mod:`.team`.
"""

from __future__ import annotations

import copy
import json
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from .team import ALONE, Team

__all__ = ["LESSONS", "Schedule", "Task", "fit", "load_weights", "save_weights"]

# A network's part of this name belongs to its losses: it learns and is resumed with the rest, and stays here.
LESSONS = "lessons."


class Task(Protocol):
    """What a student learns from: its network, its batches, its loss, its validation figure."""

    def network(self) -> nn.Module: ...

    def batch(self, rng: np.random.Generator, size: int) -> Mapping[str, Tensor]: ...

    def loss(
        self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]: ...

    def validate(self, network: nn.Module) -> dict[str, float]: ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """Steps, batch size, peak learning rate (linear warm-up, then one cosine), decay, seed, intervals."""

    steps: int
    batch: int
    rate: float
    weight_decay: float = 0.02
    warmup: int = 200
    ema: float = 0.998
    seed: int = 0
    validate_every: int = 500
    workers: int = 1
    start: str | None = None  # the run, beside this one, whose weights to begin with
    encoder_rate: float = 1.0  # of the rate, for a network's pretrained `encoder`
    quantised: bool = False  # computes as the int8 file will: see :mod:`.qat`

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def _prefetch(task: Task, schedule: Schedule, steps: range, depth: int = 4) -> Iterator[Mapping[str, Tensor]]:
    """The batches of ``steps`` in order, made ahead by threads (OpenCV and numpy release the GIL)."""
    slots: list[queue.Queue[Any]] = [queue.Queue(depth) for _ in range(schedule.workers)]
    stop = threading.Event()

    def work(lane: int) -> None:
        for step in steps[lane :: schedule.workers]:
            if stop.is_set():
                return
            try:
                slots[lane].put(task.batch(np.random.default_rng([schedule.seed, step]), schedule.batch))
            except BaseException as fault:  # noqa: BLE001  # raised again by the loop that waits for it
                slots[lane].put(fault)
                return

    for lane in range(schedule.workers):
        threading.Thread(target=work, args=(lane,), daemon=True).start()
    try:
        for turn in range(len(steps)):
            item = slots[turn % schedule.workers].get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()


def _save(
    path: Path,
    network: nn.Module,
    average: nn.Module,
    ranges: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
) -> None:
    state = {
        "network": network.state_dict(),
        "average": average.state_dict(),
        "ranges": ranges.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),  # of dropout
        "step": step,
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _begin(
    run: Path,
    schedule: Schedule,
    network: nn.Module,
    average: nn.Module,
    ranges: nn.Module,
    optimizer: torch.optim.Optimizer,
    team: Team,
) -> int:
    """Puts all back as a run left it, or begins with another's weights; returns the step to go on with."""
    checkpoint = run / "checkpoint.pt"

    def found() -> dict[str, Any]:
        if checkpoint.exists():
            return dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
        if schedule.start:
            fresh = getattr(type(network), "begun_later", ())
            start = _load(network, run.parent / schedule.start / "weights.npz", fresh).state_dict()
            return {"network": start, "average": start}
        return {}

    state = team.told(found)
    if state:
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
    if "step" not in state:
        return 0
    ranges.load_state_dict(state.get("ranges", {}))
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state.get("random", torch.get_rng_state()))
    return int(state["step"])


def save_weights(network: nn.Module, path: Path) -> None:
    """Writes the weights as float16 numpy arrays (.npz): what is committed beside a recipe."""
    arrays = {
        k: v.detach().float().cpu().numpy()
        for k, v in network.state_dict().items()
        if "num_batches" not in k and not k.startswith(LESSONS)
    }
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(
            file, **{k: v.astype(np.float16) if "running_var" not in k else v for k, v in arrays.items()}
        )
    partial.replace(path)


def load_weights(network: nn.Module, path: Path) -> nn.Module:
    """Loads what :func:`save_weights` wrote; the network is returned in evaluation mode.

    Raises:
        ValueError: the weights are of another network.
    """
    return _load(network, path, ())


def _load(network: nn.Module, path: Path, lacking: tuple[str, ...]) -> nn.Module:
    """The same, where the weights may lack the parts whose names begin with one of ``lacking``."""
    with np.load(path) as arrays:
        state = {k: torch.from_numpy(arrays[k].astype(np.float32)) for k in arrays.files}
    missing, unexpected = network.load_state_dict(state, strict=False)
    if unexpected or [k for k in missing if "num_batches" not in k and not k.startswith((LESSONS, *lacking))]:
        raise ValueError(
            f"{path}: the weights are of another network; missing {missing}, unexpected {unexpected}"
        )
    return network.eval()


def fit(
    task: Task,
    schedule: Schedule,
    run: Path,
    threads: int = 2,
    report: Callable[[int, Mapping[str, Any] | None], None] | None = None,
    team: Team = ALONE,
) -> nn.Module:
    """Trains ``task`` into the folder ``run`` (``checkpoint.pt``, ``log.jsonl``, ``weights.npz``) or goes on.

    ``report`` is called with the steps done: first with those of an earlier run, then after each step, with
    the log's row where one was written. Every process of a ``team`` calls this; its leader alone writes and
    validates. Returns the averaged network in evaluation mode.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(schedule.seed)
    network = task.network().to(team.device, memory_format=torch.channels_last)
    average = copy.deepcopy(network).eval()
    optimizer = torch.optim.AdamW(_groups(network, schedule), lr=schedule.rate, fused=True)
    learner, graded, ranges = network, average, nn.Module()  # type: nn.Module, nn.Module, nn.Module
    if schedule.quantised:
        learner, graded, ranges = _as_deployed(network, average)
    first = _begin(run, schedule, network, average, ranges, optimizer, team)
    learner = team.parallel(learner)
    if team.leads:
        run.mkdir(parents=True, exist_ok=True)
        _forget_after(first, run / "log.jsonl")
    if report:
        report(first, None)
    steps = range(first, schedule.steps)
    batches = _prefetch(task, schedule, team.turns(steps))
    started, sums = time.monotonic(), {}  # type: float, dict[str, float]
    for turn, step in enumerate(steps):
        batch = team.deal(batches, turn)
        team.seed(schedule.seed, step)
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate_at(step) * group["share"]
        for name, value in _step(learner.train(), optimizer, task, batch, schedule, team).items():
            sums[name] = sums.get(name, 0.0) + value
        _update_average(average, network, min(schedule.ema, (1 + step) / (10 + step)))
        done, row = step + 1, None  # type: int, dict[str, Any] | None
        if team.leads and (done % schedule.validate_every == 0 or done == schedule.steps):
            count = (done - 1) % schedule.validate_every + 1
            row = {"step": done, "seconds": round(time.monotonic() - started, 1)}
            row |= {name: round(value / count, 5) for name, value in sums.items()}
            row |= {f"val_{k}": round(v, 5) for k, v in task.validate(_on_cpu(graded)).items()}
            with (run / "log.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
            sums = {}
            # The checkpoint last: whoever finds it finds the weights of its step, too.
            save_weights(average, run / "weights.npz")
            _save(run / "checkpoint.pt", network, average, ranges, optimizer, done)
        if report:
            report(done, row)
    if team.leads and first >= schedule.steps:
        save_weights(average, run / "weights.npz")  # the same bytes again, where somebody lost them
    return average.eval()


def _step(
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
    task: Task,
    batch: Mapping[str, Tensor],
    schedule: Schedule,
    team: Team,
) -> dict[str, float]:
    """One step of the weights on a batch; returns the loss's terms."""
    image = team.own(batch["image"]).to(team.device, memory_format=torch.channels_last)
    # bfloat16 has eight bits itself: it would round what a fake int8 has just rounded.
    with nullcontext() if schedule.quantised else torch.autocast(image.device.type, torch.bfloat16):
        outputs = learner(image)
    outputs = team.gathered(tuple(o.float() for o in outputs), schedule.batch)
    loss, terms = task.loss(outputs, batch)
    optimizer.zero_grad(set_to_none=True)
    team.backward(loss, outputs)
    nn.utils.clip_grad_norm_(learner.parameters(), 5.0)
    optimizer.step()
    return terms


def _as_deployed(network: nn.Module, average: nn.Module) -> tuple[nn.Module, nn.Module, nn.Module]:
    """What learns and what is graded in a quantised course, and the ranges that both round by."""
    from .qat import Quantised

    learner = Quantised(network)
    return learner, Quantised(average, learner.ranges), learner.ranges


def _on_cpu(network: nn.Module) -> nn.Module:
    """The network itself, or a copy where it lies on a GPU: tasks grade on the CPU."""
    there = next(network.parameters()).device.type
    return network if there == "cpu" else copy.deepcopy(network).cpu()


def _forget_after(step: int, log: Path) -> None:
    """Drops the rows that a process wrote before it died without its checkpoint."""
    rows = log.read_text().splitlines(keepends=True) if log.exists() else []
    kept = [row for row in rows if row.endswith("\n") and json.loads(row)["step"] <= step]
    if len(kept) < len(rows):
        partial = log.with_suffix(".partial")
        partial.write_text("".join(kept))
        partial.replace(log)


def _groups(network: nn.Module, schedule: Schedule) -> list[dict[str, Any]]:
    """Weights decay, biases and norms do not; some parts learn at their own share of the rate.

    A pretrained encoder's is the schedule's, those that a network's class names are in its ``rates``.
    """
    rates = {"encoder.": schedule.encoder_rate, **getattr(type(network), "rates", {})}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        share = next((rate for part, rate in rates.items() if name.startswith(part)), 1.0)
        groups.setdefault((share, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": schedule.weight_decay if decays else 0.0,
            "share": share,
        }
        for (share, decays), parameters in groups.items()
    ]


@torch.no_grad()
def _update_average(average: nn.Module, network: nn.Module, keep: float) -> None:
    slow, fast = list(average.state_dict().values()), list(network.state_dict().values())
    real = [t.dtype.is_floating_point for t in slow]
    torch._foreach_lerp_(
        [s for s, r in zip(slow, real, strict=True) if r],
        [f for f, r in zip(fast, real, strict=True) if r],
        1 - keep,
    )
    for s, f, r in zip(slow, fast, real, strict=True):
        if not r:
            s.copy_(f)
