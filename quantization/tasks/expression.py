"""Expression: FER+'s vote distributions, not their majority (Barsoum et al., 2016), and a teacher's answers.

Of shards the votes may be a teacher's: its answers are soft targets, and pictures without a label serve too.

``student.losses`` weighs what a teacher says of the same crops beside the votes, whose weight is 1: ``soft``
and ``decoupled`` distillation at ``temperature`` (4 unless said). Several are asked for their mean, with
``mirror`` also about the mirror images. A teacher's recipe is one of this task
with ``student.blocks``, or a student's.

``student.fold = [k, n]`` leaves fold k of n of FER+'s training images out, and ``validate`` tells how many of
them it gets right. Whoever asks such networks hears of each image only those that had not seen it
(:mod:`..teachers.folds`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .. import augment
from ..datasets import ferplus
from ..losses import decoupled_kd, soft_label_kd
from ..recipe import RecipeError
from ..splits import parts
from ..students.expression import ExpressionNet
from ..teachers.expression import answers, load_teacher
from ..teachers.folds import split_by_fold, who_may_answer
from .shards import expressions

__all__ = ["ExpressionTask"]

_TURNED_TO = 45.0  # degrees, of a crop that student.turned turns, where student.turned_to does not say
_LEFT = 4000  # images of a fold that was left out that a validation looks at, at most


class ExpressionTask:
    """Cross-entropy to the taggers' votes over the eight classes; rare classes are drawn more often."""

    def __init__(self, data: Path, recipe: Mapping[str, Any]) -> None:
        self._recipe = recipe
        own = recipe.get("shards")
        asked = {name: teacher for name, (teacher, _) in recipe.get("asked", {}).items()}
        self._teachers = [load_teacher(*given) for given in recipe.get("asked", {}).values()]
        self._may: Tensor | None = None
        self._left: tuple[Tensor, Tensor] | None = None
        folded = asked if any("fold" in teacher["student"] for teacher in asked.values()) else {}
        if folded and own is not None:
            raise RecipeError(
                f"teacher: {', '.join(asked)}: student.fold is of FER+'s images, and data.shards are read, "
                "too: leave data.shards out, or ask teachers without folds"
            )
        if own is None or own.share < 1:
            self._load(data / "expression" / "ferplus", folded)
            self._probability = self._drawn(self._targets)
        if own is not None:
            (images, targets), (held, votes) = [
                (torch.from_numpy(crops), torch.from_numpy(shares))
                for crops, shares in expressions(own, recipe["crop"])
            ]
            drawn = self._drawn(targets)
            if own.share < 1:
                drawn = np.concatenate([self._probability * (1 - own.share), drawn * own.share])
                images, targets = torch.cat([self._images, images]), torch.cat([self._targets, targets])
                held, votes = torch.cat([self._tuning, held]), torch.cat([self._tuning_votes, votes])
            self._probability, self._images, self._targets = drawn, images, targets
            self._tuning, self._tuning_votes = held, votes
        self._losses = {name: float(value) for name, value in recipe.get("losses", {}).items()}

    def _load(self, root: Path, folded: Mapping[str, Mapping[str, Any]]) -> None:
        """FER+'s images and votes; of teachers by folds, ``folded``, who may answer for which.

        Raises:
            RecipeError: nobody may for one of them.
        """
        votes = ferplus.load_votes(root)
        train, left = split_by_fold(parts("ferplus", "train"), self._recipe.get("fold"))
        tuning = parts("ferplus", "tuning")
        if folded:
            self._may = torch.from_numpy(who_may_answer(folded, train))
        if left:
            some = left[:: math.ceil(len(left) / _LEFT)]
            best = torch.tensor([int(votes[n][:8].argmax()) for n in some])
            self._left = torch.from_numpy(ferplus.load_images(root, some)), best
        self._images = torch.from_numpy(ferplus.load_images(root, train))
        self._targets = torch.from_numpy(np.stack([votes[n][:8] / votes[n][:8].sum() for n in train]))
        self._tuning = torch.from_numpy(ferplus.load_images(root, tuning))
        self._tuning_votes = torch.from_numpy(np.stack([votes[n][:8] for n in tuning]))

    def _drawn(self, targets: Tensor) -> NDArray[np.float64]:
        """How often each image is drawn, of sum 1: rare classes more often."""
        majority = targets.argmax(1)
        frequency = torch.bincount(majority, minlength=8).float()[majority]
        weight = (1 / frequency) ** float(self._recipe["balance"])
        probability = (weight / weight.sum()).double().numpy()
        return probability / probability.sum()

    def network(self) -> nn.Module:
        return ExpressionNet.of(self._recipe)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        index = torch.from_numpy(rng.choice(len(self._images), size, p=self._probability))
        images, shares = self._images[index], self._recipe.get("damage", {})
        if shares:
            images = torch.from_numpy(np.stack([_damaged(grey, rng, shares) for grey in images.numpy()]))
        turned = float(self._recipe.get("turned", 0)), float(self._recipe.get("turned_to", _TURNED_TO))
        made = {"image": _augment(images.float()[:, None], rng, *turned), "target": self._targets[index]}
        return made if self._may is None else made | {"may": self._may[index]}

    def loss(
        self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        logits = outputs[0].flatten(1)
        loss = -(batch["target"] * functional.log_softmax(logits, 1)).sum(1).mean()
        hit = (logits.argmax(1) == batch["target"].argmax(1)).float().mean()
        terms = {"loss": loss.item(), "accuracy": hit.item()}
        for name, term in self._distilled(logits, batch).items():
            loss = loss + self._losses[name] * term
            terms[name] = term.item()
        return loss, terms

    def _distilled(self, logits: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The terms that a teacher is asked for; of several teachers, towards the mean of their shares.

        Raises:
            RecipeError: there is a weight and no teacher.
        """
        wanted = [name for name in ("soft", "decoupled") if self._losses.get(name)]
        if not wanted:
            return {}
        if not self._teachers:
            raise RecipeError("student.losses weighs a teacher's answers, and no teacher was given")
        told = answers(self._teachers, batch["image"], bool(self._losses.get("mirror")), batch.get("may"))
        temperature = self._losses.get("temperature", 4.0)
        terms = {
            "soft": lambda: soft_label_kd(logits, told, temperature),
            "decoupled": lambda: decoupled_kd(logits, told, batch["target"].argmax(1), temperature),
        }
        return {name: terms[name]() for name in wanted}

    def calibration(self, count: int) -> Iterator[NDArray[np.float32]]:
        """Training crops as the runtime makes them: float32 [48, 48, 3] in [-1, 127/128]."""
        for grey in self._images[:: max(1, len(self._images) // count)].numpy():
            yield (np.repeat(grey[:, :, None], 3, axis=2).astype(np.float32) - 128) / 128

    @torch.no_grad()
    def logits(self, network: nn.Module, images: Tensor) -> Tensor:
        """Logits [N, 8] of grey images uint8 [N, 48, 48]."""
        network.eval()
        chunks = ((images[:, None].float() - 128) / 128).split(250)
        return torch.cat([network(c)[0].flatten(1) for c in chunks])

    def validate(self, network: nn.Module) -> dict[str, float]:
        logits = self.logits(network, self._tuning)
        truth, guess = self._tuning_votes.argmax(1), logits.argmax(1)
        recall = [(guess[truth == c] == c).float().mean().item() for c in range(8) if (truth == c).any()]
        figures = {
            "accuracy": (guess == truth).float().mean().item(),
            "balanced": float(np.mean(recall)),
            "temperature": fit_temperature(logits, truth),
        }
        if self._left is not None:
            images, best = self._left
            hit = self.logits(network, images).argmax(1) == best
            figures["left_accuracy"] = hit.float().mean().item()
        return figures


def fit_temperature(logits: Tensor, truth: Tensor) -> float:
    """The temperature of Guo et al. (2017) that minimises the cross-entropy to the majority labels [N].

    To the majority, because that is what a score is read as: "right so often". The net itself learns the
    votes, which are less sure.
    """
    grid = torch.linspace(0.3, 2.5, 221)
    losses = [functional.cross_entropy(logits / t, truth).item() for t in grid]
    return float(grid[int(np.argmin(losses))])


def _damaged(grey: NDArray[np.uint8], rng: np.random.Generator, shares: Mapping[str, float]) -> Any:
    """A grey crop uint8 [48, 48] through :func:`quantization.augment.damage`."""
    rgb = np.repeat(grey[:, :, None], 3, axis=2)
    return cv2.cvtColor(augment.damage(rgb, rng, shares), cv2.COLOR_RGB2GRAY)


def _augment(images: Tensor, rng: np.random.Generator, turned: float = 0.0, most: float = 0.0) -> Tensor:
    """Affine jitter (zoom-out repeats the border), flip, contrast, blur, noise, erased parts; to [-1, 1].

    ``turned`` is the share of the crops that are turned by up to ``most`` degrees, the others by 17.
    """
    size = len(images)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, shape or (size,)).astype(np.float32))

    angle = uniform(-0.3, 0.3)
    if turned:
        angle = torch.where(uniform(0, 1) < turned, uniform(-1, 1) * float(np.radians(most)), angle)
    zoom = torch.exp(uniform(-0.2, 0.2))
    flip = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    shift = uniform(-0.12, 0.12, size, 2)
    theta = torch.stack(
        [
            torch.stack([torch.cos(angle) * zoom * flip, -torch.sin(angle) * zoom, shift[:, 0]], 1),
            torch.stack([torch.sin(angle) * zoom * flip, torch.cos(angle) * zoom, shift[:, 1]], 1),
        ],
        1,
    )
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    images = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    mean = images.mean((1, 2, 3), keepdim=True)
    contrast, bright = torch.exp(uniform(-0.5, 0.5)), uniform(-40, 40)
    images = (images - mean) * contrast[:, None, None, None] + mean + bright[:, None, None, None]
    soft = functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    images = torch.where((uniform(0, 1) < 0.2)[:, None, None, None], soft, images)
    images = (
        images
        + torch.from_numpy(rng.normal(0, 1, images.shape).astype(np.float32))
        * uniform(0, 8)[:, None, None, None]
    )
    for i in np.flatnonzero(rng.random(size) < 0.35):
        h, w = rng.integers(6, 20, 2)
        y, x = rng.integers(0, 48 - h), rng.integers(0, 48 - w)
        images[i, :, y : y + h, x : x + w] = float(rng.uniform(0, 255))
    return (images.clamp(0, 255) - 128) / 128
