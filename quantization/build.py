"""From trained weights to the bundle: each student quantised, described, carded, and put into one file.

What a student may be used for nobody writes: its licence follows from the terms of what it learned from, and
a recipe that claims more is refused before anything is exported.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

import edgeface
from edgeface.heads import DETECTORS
from edgeface.labels import parsing_scheme

from .card import HEADLINES, OWN_CARD, Facts, write_card
from .convert import ExportError
from .lines import BASE, Line
from .onnx_export import export_onnx
from .pack import Exported, Student, build_bundle, export_student, export_tall
from .progress import progress
from .provenance import digest
from .recipe import shards_of
from .tasks import StudentTask, load_recipe, load_task
from .tasks.seen import Seen, seen, stages
from .terms import WeightsTerms, check_claim
from .thresholds import presence_floor, score_threshold
from .training import load_weights

__all__ = ["Source", "build", "deployed", "load_networks", "load_trained", "network_of"]


@dataclass(frozen=True, slots=True)
class Source:
    """What a student comes from, without its data.

    Attributes:
        recipe: Of its last course.
        courses: Name of each course's recipe and the SHA-256 of its file, in their order.
        seen: What they taught it by.
        terms: What follows for its weights.
    """

    recipe: dict[str, Any]
    courses: tuple[tuple[str, str], ...]
    seen: Seen
    terms: WeightsTerms

    @classmethod
    def read(cls, path: Path) -> Source:
        """The source of a recipe's student.

        Raises:
            TermsError: the recipe claims more than the terms of data and teachers give, or one has none.
        """
        recipe, saw = load_recipe(path), seen(path)
        terms = saw.terms
        if claim := recipe["deploy"].get("licence"):
            check_claim(claim, terms, f"{path}: deploy.licence")
        return cls(recipe, tuple((stage.stem, str(digest(stage))) for stage in stages(path)), saw, terms)


def load_networks(weights: Path, tasks: Iterable[str], line: Line = BASE) -> dict[str, nn.Module]:
    """The trained float networks of a line as they are deployed, by task."""
    return {
        task: deployed(load_trained(load_recipe(line.recipe(task)), weights / f"{line.stem(task)}.npz"))
        for task in tasks
    }


def load_trained(recipe: dict[str, Any], weights: Path) -> nn.Module:
    """The float network of a recipe as it was trained."""
    return load_weights(network_of(recipe), weights)


def deployed(trained: nn.Module) -> nn.Module:
    """The network as it leaves the workshop: some take another input than they were trained on."""
    return trained.deployed() if hasattr(trained, "deployed") else trained


def network_of(recipe: dict[str, Any]) -> nn.Module:
    """The untrained network of a recipe; needs no data."""
    student, task = recipe["student"], recipe["task"]
    if task == "expression":
        from .students.expression import ExpressionNet

        return ExpressionNet.of(student)
    if task == "landmarks":
        from .students.landmarks import LandmarkNet

        return LandmarkNet.of(student)
    if task == "parsing":
        from .students.parsing import ParsingNet

        labels = parsing_scheme(recipe["deploy"].get("labels") or "celebamask19")
        return ParsingNet.of(student, len(labels))
    from .students.detection import DetectionNet

    return DetectionNet.of(student)


def build(
    recipes: Sequence[Path],
    data: Path,
    labels: Path,
    weights: Path,
    metrics: Path,
    *,
    teachers: Path | None = None,
    with_onnx: bool = False,
    name: str = BASE.title,
    card: Path | None = None,
) -> bytes:
    """The bundle of the recipes' students, called ``name``.

    Figures come from ``metrics`` and the ``curves.json`` beside it (both by ``evaluate``), if they are there.
    ``teachers`` holds the published networks, which a detector's threshold is found with.
    ``card`` is the prose of all cards; without it each task's own, or that of students from shards.
    ``with_onnx`` adds each student as the ONNX file that TensorRT takes (S8S8), for the runtime's `onnx`.

    Raises:
        TermsError: a recipe or a card claims more than the terms of data and teachers give.
        ExportError: a student does not pass the checks of :mod:`quantization.pack`.
    """
    sources = [Source.read(path) for path in recipes]
    metrics_of, curves_of = (_figures(path) for path in (metrics, metrics.with_name("curves.json")))
    students = []
    for source in sources:
        task, deploy = source.recipe["task"], source.recipe["deploy"]
        lessons = load_task(source.recipe, data, labels)
        trained = load_trained(source.recipe, weights / f"{task}.npz")
        network = deployed(trained)
        count, least = int(deploy["calibration"]), float(deploy.get("min_sqnr_db", 10.0))
        calibration = list(progress(f"{task}: calibration crops", lessons.calibration(count), count))
        exported = _export(source.recipe, network, calibration, with_onnx=with_onnx)
        facts = source, weights / f"{task}.npz", metrics_of.get(task, {}), curves_of.get(task, {})
        prose = card or (OWN_CARD if shards_of(source.recipe) else None)
        student = _describe(lessons, trained, exported, *facts, prose)
        if "false_per_window" in deploy:
            found = score_threshold(student, data, labels, teachers, float(deploy["false_per_window"]))
            student = replace(student, head={**student.head, "score_threshold": found})
        if "faces_lost" in deploy:
            found = presence_floor(student, data, labels, float(deploy["faces_lost"]))
            student = replace(student, head={**student.head, "min_presence": found})
        students.append(student)
        if task == "detection" and deploy.get("tall", True):
            for other in progress("detection: for frames that are higher than wide", DETECTORS[1:]):
                tall = export_tall(network, exported, calibration, min_sqnr_db=least)
                students.append(replace(student, task=other, exported=tall))
    commercial = all(source.terms.commercial for source in sources)
    allowed = "commercial use allowed" if commercial else "research only"
    return build_bundle(
        students,
        name=name,
        version=edgeface.__version__,
        created_by="python -m quantization pack",
        licence=f"weights: {allowed}, see each model's card; code: Apache-2.0",
    )


def _export(
    recipe: Mapping[str, Any],
    network: nn.Module,
    calibration: Sequence[NDArray[np.float32]],
    *,
    with_onnx: bool,
) -> Exported:
    """The int8 file of a student as its recipe wants it, and the ONNX file where it is asked for."""
    name, deploy, outputs = recipe["task"], recipe["deploy"], type(network).outputs
    share = float(deploy.get("percentile", 100.0))
    exported = export_student(
        network,
        outputs,
        progress(f"{name}: ranges of the int8 file", calibration),
        percentile=share,
        min_sqnr_db=float(deploy.get("min_sqnr_db", 10.0)),
        require_edgetpu=recipe.get("gates", {}).get("edgetpu", True),
    )
    if with_onnx:
        (onnx,) = (
            export_onnx(network, outputs, frames, percentile=share).s8s8
            for frames in progress(f"{name}: ONNX file", (calibration,))
        )
        exported = replace(exported, variants={"onnx": onnx})
    return exported


def _figures(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def _describe(
    lessons: StudentTask,
    trained: nn.Module,
    exported: Exported,
    source: Source,
    weights: Path,
    metrics: Mapping[str, Mapping[str, float]],
    curves: Mapping[str, Mapping[str, Any]],
    prose: Path | None,
) -> Student:
    """A student's entry of the manifest and its card.

    Args:
        lessons: Its task over the data, which knows what its head needs.
        trained: Its float network as it was trained.
        exported: Its int8 file.
        source: What it comes from.
        weights: File of the float weights.
        metrics: Its figures by kind, ``int8`` and ``fp32``, as far as it was graded.
        curves: The same of ``curves.json``.
        prose: Of its card; None: the task's own.

    A figure that is no number, because there was nothing to measure it on, is a dash on the card and is left
    out of the manifest.

    Raises:
        TermsError: the card's text speaks of terms itself.
        ExportError: what training found for its head is no number.
    """
    name, deploy = source.recipe["task"], source.recipe["deploy"]
    facts = Facts(
        seen=source.seen,
        terms=source.terms,
        recipes=source.courses,
        weights=str(digest(weights)),
        artifact=hashlib.sha256(exported.tflite).hexdigest(),
        size=len(exported.tflite),
        metrics=metrics,
        curves=curves,
    )
    int8 = metrics.get("int8", {})
    return Student(
        task=name,
        exported=exported,
        crop=deploy.get("crop"),
        head=deploy["head"] | _fitted(name, lessons, trained),
        labels=deploy.get("labels"),
        licence=source.terms.licence,
        description=deploy["description"],
        card=write_card(name, facts, prose),
        metrics={
            key: round(value, 4)
            for key, _, unit in HEADLINES[name]
            if unit != "n" and (value := int8.get(key)) is not None and math.isfinite(value)
        },
    )


def _fitted(name: str, task: Any, network: nn.Module) -> dict[str, Any]:
    """What a head needs that training found: the mean shape, the temperature."""
    found: dict[str, Any] = {}
    if name == "landmarks":
        from .students.landmarks import MovementNet

        offset = task.annotation_offset(network)
        points = task.mean_shape + offset
        if isinstance(network, MovementNet):
            from .coefficients import LIVE_NAMES

            found["blendshapes"] = list(LIVE_NAMES)
        found["mean_shape"] = [[round(float(v), 5) for v in point] for point in points]
        found["annotation_offset"] = [[round(float(v), 5) for v in point] for point in offset]
    elif name == "expression":
        found["temperature"] = round(float(task.validate(network)["temperature"]), 3)
    for key, value in found.items():
        if key != "blendshapes" and not np.isfinite(value).all():
            raise ExportError(
                f"{name}: head.{key} is no number: see from which step on log.jsonl has none, lower "
                "schedule.rate, and train again"
            )
    return found
