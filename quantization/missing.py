"""What a step of a build would stop at, found before anything is done: packages, pictures, shards, terms.

Each is told with its mend. Nothing here trains or converts, and torch itself may be what is missing: where a
package is, that alone is told, because the rest cannot be looked at without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .recipe import load_recipe, sets_of, shards_of, shards_share

__all__ = [
    "CONVERTING",
    "GRADING",
    "LABELLING",
    "REPORTING",
    "TRAINING",
    "before",
    "mend",
    "of_device",
    "of_lessons",
    "of_set",
    "of_terms",
    "of_threshold",
]

# What a step imports, and what pip calls it.
LABELLING = {
    "cv2": "opencv-python-headless",
    "onnxruntime": "onnxruntime",
    "ai_edge_litert": "ai-edge-litert",
}
TRAINING = {"torch": "torch", "cv2": "opencv-python-headless", "PIL": "pillow"}
CONVERTING = {
    **TRAINING,
    "litert_torch": "litert-torch",
    "ai_edge_quantizer": "ai-edge-quantizer",
    "ai_edge_litert": "ai-edge-litert",
    "flatbuffers": "flatbuffers",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
}
GRADING = TRAINING | {"ai_edge_litert": "ai-edge-litert", "pycocotools": "pycocotools"}
REPORTING = {"matplotlib": "matplotlib"}

_FACE3D = Path("face3d") / "ict_face_model_light.npz"
_FER_PLUS = Path("expression") / "ferplus"
_WHERE = "put it there, or say where the data sets are: --data"


def mend(what: str) -> str:
    """What brings a file that no step makes, by what :attr:`.chain.Step.reads` calls it."""
    if what.startswith("shards "):
        return (
            "`label --shards` writes labelled shards, `shard` those of a data set (a path counts from the "
            "folder you stand in)"
        )
    if what.startswith("split list "):
        return "`split` writes it"
    if what == "list of mistaken faces":
        return "`mistaken` writes it"
    if what == "3D face":
        return _WHERE
    return "put it there, or say where the published networks are: --teachers"


def before(packages: Mapping[str, str], *checks: Iterable[str]) -> tuple[str, ...]:
    """What is missing of ``packages`` (module -> package) or, where all are there, what ``checks`` find."""
    absent = [name for module, name in packages.items() if find_spec(module) is None]
    if absent:
        named = f"the package{'s' * (len(absent) > 1)} {', '.join(absent)}"
        return (f'{named}: not installed; `pip install ".[workshop]"` in a checkout',)
    return tuple(told for check in checks for told in check)


def of_set(name: str, data: Path) -> Iterator[str]:
    """Whether a built-in data set's pictures are there."""
    from .label import SOURCES

    folder = data / {source.split: Path(source.folder) for source in SOURCES}.get(name, _FER_PLUS)
    if not data.is_dir():
        yield f"the folder of data sets, {data}: not there; say where it is: --data"
    elif not folder.is_dir():
        yield f"the pictures of {name}, {folder}: not there; {_WHERE}"


def of_lessons(recipe: Mapping[str, Any], data: Path) -> Iterator[str]:
    """Whether the pictures and the labelled shards are there that a recipe's task reads."""
    yield from _pictures(recipe, data)
    yield from _shards(recipe)


def of_terms(path: Path) -> Iterator[str]:
    """Whether a recipe claims a licence that `pack` would refuse after all the work."""
    from .build import Source
    from .datasets import DataSetError
    from .terms import TermsError

    if not all(root.exists() for root in shards_of(load_recipe(path))):
        return
    try:
        Source.read(path)
    except DataSetError:
        return  # told by `of_lessons`
    except TermsError as error:
        yield str(error)


def of_threshold(recipe: Mapping[str, Any], teachers: Path) -> Iterator[str]:
    """Whether the network is there that a detector's threshold is found with, where it is to be found."""
    from .album import DETECTORS

    if "false_per_window" in recipe["deploy"] and not (teachers / DETECTORS[0]).is_file():
        yield f"{DETECTORS[0]}, {teachers / DETECTORS[0]}: not there; {mend(DETECTORS[0])}"


def of_device(device: str) -> Iterator[str]:
    """Whether what is to train is there; ``device``: one of :data:`.team.DEVICES`."""
    from .team import Team, TeamError

    try:
        Team.of_environment(device)
    except TeamError as error:
        yield str(error)


def _pictures(recipe: Mapping[str, Any], data: Path) -> Iterator[str]:
    """Of the built-in data sets, and of the 3D model that hides points and renders heads."""
    student, share = recipe["student"], recipe["student"].get("share")
    for name in sets_of(recipe):
        # A landmarks' recipe takes pictures of the sets that have a share, and LFPW's in any case.
        if share is None or name == "lfpw" or share.get(name):
            yield from of_set(name, data)
    scenes = student.get("scenes", {})
    landmarks = recipe["task"] == "landmarks" and shards_share(recipe) < 1
    if (landmarks or scenes.get("rendered") or scenes.get("turned")) and data.is_dir():
        model = data / _FACE3D
        if not model.is_file():
            yield f"the 3D face, {model}: not there; {_WHERE}"


def _shards(recipe: Mapping[str, Any]) -> Iterator[str]:
    """Whether the shards that are there hold a label of the task; read until the first that does."""
    roots = [root for root in shards_of(recipe) if root.exists()]
    if not roots or len(roots) < len(shards_of(recipe)):
        return  # those that are not there are told as files
    from .datasets import DataSetError, open_dataset

    task = recipe["task"]
    try:
        if any(_labelled(task, sample) for root in roots for sample in open_dataset("webdataset", root)):
            return
    except DataSetError as error:
        yield str(error)
        return
    yield (
        f"{', '.join(map(str, roots))}: no sample has a label of {task}; let a teacher of {task} label them: "
        "`label --shards`"
    )


def _labelled(task: str, sample: Any) -> bool:
    said = {
        "detection": (sample.boxes,),
        "landmarks": (sample.points,),
        "parsing": (sample.mask,),
        "expression": (sample.votes, sample.expression),
    }
    return any(value is not None for value in said[task])
