"""What was trained here, teacher or student, as a teacher: graded, or asked to label, by its float network.

It stands in a student's place in the runtime. Input and crop are its recipe's. What a head needs that
training found (mean shape, temperature) is fitted on the training and tuning parts, as `pack` fits it for a
student. All else is the built-in bundle's: the detector that finds the faces, from which roll on a crop is
turned upright where the recipe does not say, and of a detector the threshold; of its figures AP alone does
not depend on that one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeface import Bundle, FaceAnalyzer
from edgeface.bundle import ModelSpec
from edgeface.heads import DETECTORS
from edgeface.labels import CELEBAMASK19, FER8, IBUG68

from .courses import WEIGHTS
from .datasets import Terms
from .provenance import digest
from .recipe import RecipeError, is_teacher, load_recipe

if TYPE_CHECKING:
    from torch import nn

    from .teachers.answers import Ask

__all__ = ["Taught", "weights_bytes"]

_RUNS = Path("runs")


@dataclass(frozen=True, slots=True)
class Taught:
    """A trained network: its recipe's file, its float weights, and what its head needs beside them.

    A member of a :class:`quantization.panel.Panel`. Made by :meth:`of`; another process can open it.
    """

    path: Path
    recipe: dict[str, Any] = field(repr=False)
    weights: Path
    run: Path
    """Folder of its run."""
    head: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, path: Path, data: Path, labels: Path, weights: Path | None = None, run: Path | None = None
    ) -> Taught:
        """What a recipe trained.

        Args:
            path: The recipe.
            data: The data sets: mean shape and temperature are fitted on them.
            labels: What `label` wrote of them.
            weights: The float weights, or a folder of NAME.npz; None: the run's, or the committed ones.
            run: Folder of its run; None: ``runs/NAME``, as `teach` has it.

        Raises:
            RecipeError: The recipe is not sound, its weights are not there or are of another network, or what
                its head is fitted on is not there.
        """
        recipe = load_recipe(path)
        run = run or _RUNS / path.stem
        if weights is None:
            known = [run / "weights.npz", WEIGHTS / f"{path.stem}.npz"]
        else:
            known = [weights / f"{path.stem}.npz" if weights.is_dir() else weights]
        found = next((file for file in known if file.is_file()), None)
        if found is None:
            raise RecipeError(
                f"{known[0]}: there are no weights; train them "
                f"(`{'teach' if is_teacher(recipe) else 'distill'} {path}`), or say where they are"
            )
        made = cls(path, recipe, found.resolve(), run)
        try:
            network = made.network()
        except (RuntimeError, ValueError) as error:  # torch says which shapes, at length
            raise RecipeError(
                f"{found}: the weights are of another network than {path} describes ({str(error)[:200]})"
            ) from error
        try:
            head = _fitted(recipe, network, data, labels)
        except (FileNotFoundError, ValueError) as error:
            raise RecipeError(
                f"{path}: what its head needs is fitted on --data and --labels: {error}"
            ) from error
        return replace(made, head=head)

    @property
    def name(self) -> str:
        """The recipe's."""
        return self.path.stem

    @property
    def task(self) -> str:
        return str(self.recipe["task"])

    @property
    def scheme(self) -> str:
        """What its answers are in, as a :class:`quantization.panel.Member` says it."""
        own = {"landmarks": IBUG68.key, "expression": FER8.key}
        return own.get(self.task) or str(_labels(self.recipe) or "")

    @property
    def needs(self) -> str:
        return "nothing" if self.task == "detection" else "a box"

    @property
    def terms(self) -> tuple[Terms, ...]:
        """Derived from the terms of what it learned from.

        Raises:
            TermsError: An earlier course's recipe is missing, or nobody declared the terms of a source.
        """
        from .tasks.seen import seen

        title = f"{self.name}, trained here"
        return (seen(self.path).terms.inherited(title, "derived from the terms of what it learned from"),)

    @property
    def digest(self) -> str:
        """SHA-256 of the weights."""
        return str(digest(self.weights))

    @property
    def asked(self) -> list[Any]:
        """All that its answers depend on, as JSON values."""
        return [self.digest, self.recipe, self.head, Bundle.builtin().digest]

    @property
    def size(self) -> int:
        return weights_bytes(self.weights)

    def open(self, min_score: float | None = None) -> Ask:
        """Loads the network; asked about a picture, a box and keypoints it answers as other teachers do."""
        from .taughtanswers import asker

        return asker(self, min_score)

    def network(self) -> nn.Module:
        """The float network as it was trained."""
        return _network(self.recipe, self.weights)

    def analyzer(self, tasks: Collection[str], min_score: float | None = None) -> FaceAnalyzer:
        """The runtime with the teacher in the place of the built-in bundle's student of its task."""
        from .reference import MixedBackend

        network, bundle = self.deployed(), Bundle.builtin()
        names = DETECTORS if self.task == DETECTORS[0] else (self.task,)
        models = {name: self.spec(network, name) for name in names}
        return FaceAnalyzer(
            tuple(task for task in tasks if task != DETECTORS[0]),
            bundle=replace(bundle, models={**bundle.models, **models}),
            backend=MixedBackend({self.task: network}),
            min_score=min_score,
        )

    def deployed(self) -> nn.Module:
        """The float network as the runtime asks it."""
        from .build import deployed

        return deployed(self.network())

    def spec(self, network: nn.Module, name: str) -> ModelSpec:
        """The entry ``name`` of the built-in manifest with this network (deployed) in the student's place."""
        return _spec(Bundle.builtin().model(name), self.recipe, network, self.head)


def weights_bytes(weights: Path) -> int:
    """Bytes of a network's weights, two a value as they are kept."""
    with np.load(weights) as arrays:
        return 2 * sum(int(arrays[name].size) for name in arrays.files)


def _labels(recipe: Mapping[str, Any]) -> str | None:
    """The scheme of the maps that a recipe's network draws; a teacher's is CelebAMask-HQ's."""
    if recipe["task"] != "parsing":
        return None
    return str(recipe["deploy"].get("labels") or CELEBAMASK19.key)


def _network(recipe: dict[str, Any], weights: Path) -> nn.Module:
    """The trained network of a recipe, in evaluation mode."""
    if not is_teacher(recipe):
        from .build import load_trained

        return load_trained(recipe, weights)
    task, student = recipe["task"], recipe["student"]
    if task == "expression":
        from .teachers import expression

        return expression.load_teacher(recipe, weights)
    if task == "detection":
        from .teachers import detection

        return detection.load_teacher(recipe, weights)
    from .training import load_weights

    if task == "parsing":
        from .teachers.parsing import ParsingTeacher

        return load_weights(ParsingTeacher(student["decoder"]), weights)
    from .teachers.landmarks import LandmarkTeacher

    network = LandmarkTeacher(int(student["size"]), student["widths"], int(student["code"]))
    return load_weights(network, weights)


def _fitted(recipe: dict[str, Any], network: nn.Module, data: Path, labels: Path) -> dict[str, Any]:
    """What the head of these tasks needs that training found."""
    if recipe["task"] not in {"landmarks", "expression"}:
        return {}
    from .build import _fitted as fitted
    from .tasks import load_task

    # The human points decide about the mean shape: faces that others labelled, or nobody, need not be read.
    student = {name: value for name, value in recipe["student"].items() if not name.startswith("rendered")}
    human = {"share": {"lfpw": 1.0}} if "share" in student else {}
    lessons = load_task(recipe | {"student": student | human}, data, labels)
    return fitted(recipe["task"], lessons, network)


def _spec(
    own: ModelSpec, recipe: Mapping[str, Any], network: nn.Module, head: Mapping[str, Any]
) -> ModelSpec:
    """A student's entry of the manifest with the teacher's input, outputs, crop and head."""
    import torch

    student, crop = recipe["student"], own.crop
    height, width = own.input.height, own.input.width
    if "width" in student:
        sides = int(student["height"]), int(student["width"])
        height, width = sides if height <= width else sides[::-1]
    elif "size" in student:
        height = width = int(student["size"])
    with torch.no_grad():
        shapes = [tuple(o.permute(0, 2, 3, 1).shape) for o in network(torch.zeros(1, 3, height, width))]
    names = list(type(network).outputs)  # type: ignore[arg-type]  # every network here names them
    # No teacher tells blendshapes of its own.
    told = [spec for spec in own.outputs if spec.name in names]
    outputs = tuple(replace(spec, shape=shapes[names.index(spec.name)]) for spec in told)
    named = {key: value for key, value in own.head.items() if key != "blendshapes"}
    if crop is not None:
        trained = recipe["deploy"]["crop"]
        upright = float(trained.get("align_above", crop.align_above))
        shift = tuple(trained["shift"])
        crop = replace(crop, scale=float(trained["scale"]), shift=shift, align_above=upright)
    return replace(
        own,
        input=replace(own.input, shape=(1, height, width, 3)),
        outputs=outputs,
        crop=crop,
        labels=_labels(recipe) or own.labels,
        head={**named, **recipe["deploy"].get("head", {}), **head},
        golden=None,
    )
