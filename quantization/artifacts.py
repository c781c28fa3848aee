"""A trained student's files for every target, and their parity: from recipe, weights and data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgeface import Bundle

from .build import load_networks
from .calibrate import tensor_ranges
from .convert import to_float_tflite
from .heldout import held_out_frames
from .onnx_export import export_onnx
from .pack import export_student
from .parity import Parity, measure
from .tasks import RECIPES, load_recipe, load_task

__all__ = ["student_artifacts", "student_parity", "student_ranges"]

_MIN_SQNR_DB = 10.0  # of a recipe that does not say


def student_artifacts(task: str, data: Path, labels: Path, weights: Path) -> dict[str, bytes]:
    """File name -> content: int8 .tflite (CPU, Edge TPU), ONNX in fp32, fp16, U8S8 (CPU) and S8S8 (TensorRT).

    Raises:
        ExportError: an export fails its own checks.
    """
    recipe = load_recipe(RECIPES / f"{task}.toml")
    deploy = recipe["deploy"]
    calibration = list(load_task(recipe, data, labels).calibration(int(deploy["calibration"])))
    network = load_networks(weights, [task])[task]
    names = type(network).outputs
    floor = float(deploy.get("min_sqnr_db", _MIN_SQNR_DB))
    share = float(deploy.get("percentile", 100.0))
    exported = export_student(network, names, calibration, percentile=share, min_sqnr_db=floor)
    files = export_onnx(network, names, calibration, percentile=share)
    return {
        f"{task}.int8.tflite": exported.tflite,
        f"{task}.fp32.onnx": files.fp32,
        f"{task}.fp16.onnx": files.fp16,
        f"{task}.int8-u8s8.onnx": files.u8s8,
        f"{task}.int8-s8s8.onnx": files.s8s8,
    }


def student_ranges(task: str, data: Path, labels: Path, weights: Path) -> dict[str, tuple[float, float]]:
    """Tensor name -> least and largest value over the student's calibration crops."""
    recipe = load_recipe(RECIPES / f"{task}.toml")
    crops = list(load_task(recipe, data, labels).calibration(int(recipe["deploy"]["calibration"])))
    height, width, channels = crops[0].shape
    network = load_networks(weights, [task])[task]
    share = float(recipe["deploy"].get("percentile", 100.0))
    return tensor_ranges(to_float_tflite(network, height, width, channels=channels), crops, percentile=share)


def student_parity(
    task: str,
    bundle: Bundle,
    data: Path,
    labels: Path,
    weights: Path,
    *,
    frames: int,
    figures: Mapping[str, Mapping[str, float]],
    interpreters: Mapping[str, Path],
) -> Parity:
    """Parity of the bundle's student and of the ONNX files made from the same weights and calibration.

    Raises:
        ExportError: an export fails, or a runtime cannot run its file.
    """
    recipe = load_recipe(RECIPES / f"{task}.toml")
    deploy = recipe["deploy"]
    return measure(
        task,
        load_networks(weights, [task])[task],
        bundle,
        load_task(recipe, data, labels).calibration(int(deploy["calibration"])),
        held_out_frames(task, bundle, data, labels, frames),
        percentile=float(deploy.get("percentile", 100.0)),
        min_sqnr_db=float(deploy.get("min_sqnr_db", _MIN_SQNR_DB)),
        figures=figures,
        interpreters=interpreters,
    )
