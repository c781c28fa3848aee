"""A recipe's training as one thing: what it depends on, its folder, and what is recorded beside the weights.

The folder holds ``checkpoint.pt``, ``log.jsonl``, ``weights.npz`` and ``provenance.json``; of a recipe that
learns from shards ``held-out.tar`` too, the samples that did not train, with their labels. A run whose
inputs are those that ``provenance.json`` names is gone on with; any other is set aside into ``before/`` and
training begins anew: no checkpoint is ever continued under another recipe, other labels or other data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import splits
from .provenance import TRAINING, commit, digest, machine, versions, write_json
from .recipe import (
    LABELLED,
    RecipeError,
    asked,
    check_lists,
    flat,
    load_recipe,
    sets_of,
    shards_held_out,
    shards_of,
    teaches,
)

if TYPE_CHECKING:
    from .team import Team

__all__ = ["COPIED", "HELD_OUT", "WEIGHTS", "Course", "differences", "write_held_out"]

HELD_OUT = "held-out.tar"
COPIED = "yunet_n_320_320.onnx"  # the published file whose features a detection student may copy
WEIGHTS = Path(__file__).parent / "weights"  # committed: NAME.npz of the recipe NAME.toml
Report = Callable[[int, Mapping[str, Any] | None], None]
# How shards are read, and into which classes; what they hold is in their digests.
_OF_SHARDS = ("data.validation", "data.share", "data.lossy", "data.agreement", "deploy.labels")
# They change when and how fast, not what comes out: batches depend on the seed and the step alone.
_NO_MATTER = ("schedule.workers", "schedule.validate_every")


@dataclass(frozen=True, slots=True)
class Course:
    """One training: a recipe, where its data, labels and teachers lie, the folder of all runs."""

    path: Path
    recipe: Mapping[str, Any]
    data: Path
    labels: Path
    teachers: Path
    run: Path
    committed: Path | None = WEIGHTS
    """Where the weights of a teacher lie that was not taught beside this run; None: it must have been."""

    @classmethod
    def of(cls, path: Path, data: Path, labels: Path, teachers: Path, run: Path) -> Course:
        """The course of a recipe's file.

        Raises:
            RecipeError: the recipe is not sound, or pins another split list.
        """
        recipe = load_recipe(path)
        check_lists(recipe, path, splits.SPLITS)
        return cls(path, recipe, data, labels, teachers, run)

    @property
    def weights(self) -> Path:
        """What comes out."""
        return self.run / "weights.npz"

    @property
    def held_out(self) -> Path | None:
        """The shard of what did not train; None where the recipe learns from no shards."""
        return self.run / HELD_OUT if shards_of(self.recipe) else None

    @property
    def started(self) -> str | None:
        """The recipe, beside this one, whose weights it begins with."""
        return self.recipe["schedule"].get("start")

    def asked(self) -> dict[str, tuple[dict[str, Any], Path]]:
        """The recipe and the weights of every teacher that is asked about each batch, by its name.

        Raises:
            RecipeError: the recipe is not there, or trains no teacher.
        """
        found = {}
        for name in asked(self.recipe):
            path = self.path.with_name(f"{name}.toml")
            recipe = load_recipe(path)
            if not teaches(recipe):
                raise RecipeError(f"{self.path}: teacher is {name!r}, which trains no teacher")
            weights = self.run.parent / name / "weights.npz"
            if not weights.exists() and self.committed and (self.committed / f"{name}.npz").exists():
                weights = self.committed / f"{name}.npz"
            found[name] = (recipe, weights)
        return found

    @property
    def mend(self) -> str:
        """The lines of a recipe that mends what int8 loses, where this one has not taken them already."""
        stem, schedule = self.path.stem, self.recipe["schedule"]
        if schedule.get("quantised"):
            return "it learned under int8 rounding already: look at `calibrate` for the tensor that ruins it"
        return (
            f"the mend is a quantised last course: copy {self.path.name} to {stem}-int8.toml, write there\n"
            f'    [schedule]\n    start = "{stem}"\n    quantised = true\n'
            f"    steps = {max(200, schedule['steps'] // 8)}\n    rate = {schedule['rate'] / 10:g}\n"
            f"    warmup = 50\nin place of those keys, and `build` it"
        )

    def settings(self) -> dict[str, Any]:
        """All of the recipe that decides about the weights, and the packages that train them."""
        more = _OF_SHARDS if shards_of(self.recipe) else ()
        found = flat(self.recipe, "task", "student", "schedule", "deploy.crop", *more)
        found = {name: value for name, value in found.items() if name not in _NO_MATTER}
        for name, (teacher, _) in self.asked().items():
            found |= {f"{name}: {key}": value for key, value in flat(teacher, "student.fold").items()}
        return found | {f"package {name}": version for name, version in versions(TRAINING).items()}

    def reads(self) -> dict[str, Path]:
        """The files that decide about the weights, by what they are."""
        found = {f"split list {name}": splits.SPLITS / f"{name}.csv" for name in sets_of(self.recipe)}
        for name in sets_of(self.recipe):
            if name in LABELLED:
                found[f"labels {name}"] = self.labels / f"{name}.npz"
            if name in LABELLED and self.recipe["student"].get("blendshapes"):
                found[f"labels {name}_blendshapes"] = self.labels / f"{name}_blendshapes.npz"
        if "labels lfpw" in found:
            found["labels lfpw_faces"] = self.labels / "lfpw_faces.npz"
        if self.recipe["student"].get("mistaken"):
            found["list of mistaken faces"] = splits.MISTAKEN
        for name in self.recipe["student"].get("taught", ()):
            found[f"maps {name}"] = self.labels / "parsing" / name
        found |= {f"shards {root}": root for root in shards_of(self.recipe)}
        if shards_of(self.recipe) and any(self.recipe["student"].get(key) for key in ("face3d", "rendered")):
            found["3D face"] = self.data / "face3d" / "ict_face_model_light.npz"
        if self.started:
            found[f"weights of {self.started}"] = self.run.parent / self.started / "weights.npz"
        found |= {f"weights of {name}": weights for name, (_, weights) in self.asked().items()}
        if "encoder" in self.recipe["student"]:
            found["encoder"] = self.teachers / self.recipe["student"]["encoder"]
        if self.recipe["student"].get("losses", {}).get("yunet"):
            found["YuNet's features"] = self.teachers / COPIED
        if self.recipe["student"].get("album"):
            from .album import DETECTORS

            found |= {name: self.teachers / name for name in DETECTORS}
        return found

    def require_reads(self) -> None:
        """Sees to it that all is there.

        Raises:
            RecipeError: something is not; names who makes it.
        """
        missing = [f"{what}, {path}" for what, path in self.reads().items() if not path.exists()]
        if unlabelled := [str(path) for path in shards_of(self.recipe) if not path.exists()]:
            raise RecipeError(
                f"{self.path}: data.shards: {', '.join(unlabelled)}: not there; `label --shards` writes "
                "labelled shards, `shard` those of a data set (a path counts from the folder you stand in)"
            )
        untaught = [name for name, (_, weights) in self.asked().items() if not weights.exists()]
        if untaught:
            first = "; ".join(f"`teach {self.path.with_name(f'{name}.toml')}`" for name in untaught)
            raise RecipeError(f"{self.path}: not there: {'; '.join(missing)}; run first: {first}")
        if missing:
            raise RecipeError(f"{self.path}: not there: {'; '.join(missing)}; `build` makes it")

    def inputs(self) -> dict[str, Any]:
        """All that decides about the weights: settings by value, files by digest (None: not there)."""
        return self.settings() | {what: digest(path) for what, path in self.reads().items()}

    def train(
        self,
        threads: int,
        report: Report | None = None,
        say: Callable[[str], None] = lambda _: None,
        team: Team | None = None,
    ) -> None:
        """Trains, or goes on with what was cut off; ``say`` is told when an earlier run is set aside.

        Every process of a ``team`` calls this; its leader alone reports and writes.

        Raises:
            RecipeError: what it begins with is not there, or a batch has too few images for the team.
            DataSetError: too much of the recipe's shards is broken, or they lack what it learns.
        """
        self.require_reads()
        from .tasks import load_task
        from .team import ALONE
        from .training import Schedule, fit

        team, schedule = team or ALONE, Schedule(**self.recipe["schedule"])
        if schedule.batch < team.size:
            raise RecipeError(
                f"{self.path}: schedule.batch is {schedule.batch}, too few for {team.size} processes: "
                "start fewer"
            )
        if team.leads:
            inputs = self.inputs()
            self._set_aside(inputs, say)
            told = self._provenance(inputs, schedule.seed, threads, team)
            write_json(self.run / "provenance.json", told)
            if self.held_out:
                write_held_out(self.recipe, self.held_out)
        told_once = say if team.leads else lambda _: None
        lessons = (dict(self.recipe), self.data, self.labels, self.teachers, self.asked())
        task = load_task(*lessons, told_once)
        fit(task, schedule, self.run, threads, report if team.leads else None, team)

    def _set_aside(self, inputs: Mapping[str, Any], say: Callable[[str], None]) -> None:
        path = self.run / "provenance.json"
        known = json.loads(path.read_text())["inputs"] if path.exists() else {}
        # The checkpoint last: until it is gone, a process that dies here does the same again.
        there = [n for n in ("log.jsonl", "weights.npz", "checkpoint.pt") if (self.run / n).exists()]
        if known == inputs or not there:
            return
        why = "; ".join(differences(known, inputs)) if known else "nothing says what it was made from"
        say(f"{self.run}: the earlier run is set aside into before/ ({why})")
        (self.run / "before").mkdir(exist_ok=True)
        if path.exists():
            (self.run / "before" / path.name).write_bytes(path.read_bytes())
        for name in there:
            (self.run / name).replace(self.run / "before" / name)

    def _provenance(self, inputs: Mapping[str, Any], seed: int, threads: int, team: Team) -> dict[str, Any]:
        import torch

        uncertain = ["another processor or another number of threads may round and add in another order"]
        if threads > 1:
            uncertain.append(f"{threads} threads: torch promises no order of additions between them")
        if team.device != "cpu":
            uncertain.append("a GPU: torch promises no order of additions on it, nor the same between models")
        if not team.alone:
            uncertain.append(
                f"{team.size} processes add in another order than one, and drop out other values"
            )
        return {
            "recipe": self.path.name,
            "recipe_sha256": digest(self.path),
            "seed": seed,
            "threads": threads,
            "processes": team.size,
            "device": team.device.partition(":")[0],
            "deterministic": threads == 1 and team.device == "cpu",
            "not_deterministic": uncertain,
            "machine": machine() | {"torch_kernels": torch.backends.cpu.get_cpu_capability()},
            "packages": versions(TRAINING),
            "commit": commit(),
            "inputs": dict(inputs),
        }


def write_held_out(recipe: Mapping[str, Any], path: Path) -> None:
    """Writes the samples of the recipe's shards that do not train, with their labels and terms, into one.

    Raises:
        DataSetError: there are no shards, or too much of them is broken.
    """
    from .datasets import open_dataset
    from .datasets.shards import held_out, join_terms, write_shard

    sets = [open_dataset("webdataset", root) for root in shards_of(recipe)]
    share = shards_held_out(recipe)
    kept = (sample for data in sets for sample in data if held_out(sample, share))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_shard(path, kept, join_terms(*(data.terms for data in sets)))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs, key by key, in words: values where they are short, for digests only that they differ."""
    told = []
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        short = all(len(str(value)) < 32 for value in (old, new))
        told.append(f"{name} {_shown(old)} -> {_shown(new)}" if short else f"{name} changed")
    return told


def _shown(value: Any) -> str:
    return "not set" if value is None else json.dumps(value)
