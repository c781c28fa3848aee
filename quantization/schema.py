"""All that a recipe may say: a table per task, of its students and of the teachers that are trained here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from .keys import Key

__all__ = ["GRID_SIZES", "LABELLED", "SETS", "SHARE", "STUDENTS", "TASKS", "schema"]

TASKS = ("detection", "landmarks", "parsing", "expression")
LABELLED = ("lfpw", "celebamask", "celeba_hq", "utkface", "youtube_faces")
SETS = (*LABELLED, "ferplus")

# A landmark student's last map, in cells, and the crops, in pixels, that its convolutions make one of: they
# halve and round up, four times or five.
GRID_SIZES = {4: range(97, 129), 7: range(97, 113)}


def _need(key: Key) -> Key:
    return replace(key, required=True)


SHARE, _AMOUNT = Key("number", least=0, most=1), Key("number", least=0)
_COUNT, _TEXT, _FLAG = Key("whole", least=1), Key("text"), Key("flag")
_WIDTHS = Key("list", True, of=_COUNT)
_FOUR, _FIVE = replace(_WIDTHS, count=4), replace(_WIDTHS, count=5)
_EXPAND = Key(
    "list", of=Key("whole", least=0, most=8)
)  # of each stage: 0 plain, else how wide inverted blocks
_HALVED = Key("whole", least=32, multiple=32)  # pixels that are halved five times, and doubled again
_TEMPERATURE = Key("number", least=0.1)
_MIX = (
    "photo",
    "mosaic",
    "pasted",
    "natural",
    "bystander",
    "largest",
    "smallest",
    "soft",
    "strength",
    "hard",
    "squeezed",
    "couples",
    "written",
    "decoys",
    "beside",
)
_SCENES = dict.fromkeys(_MIX, _AMOUNT) | dict.fromkeys(("rendered", "turned"), Key("whole", least=0))
_CROP = {
    "scale": Key("number", True, least=0.1),
    "shift": Key("list", True, of=Key("number", least=-2, most=2), count=2),
    "align_above": Key("number", least=0, most=180),
}
# quantization.augment.DAMAGES
_DAMAGES = ("dark", "grey", "blur", "motion", "small", "noise", "jpeg")
_DAMAGE = {"damage": Key("table", of=dict.fromkeys(_DAMAGES, SHARE))}
_TURNED_TO = Key("number", least=0, most=180)
_PARSING = {
    **_DAMAGE,
    "size": _need(_HALVED),
    "sizes": Key("list", of=_HALVED),
    "fine": _FLAG,  # maps of twice the crop's pixels on a side
    "decoder": _FOUR,
    "rare": _AMOUNT,  # help of it is not shown (comparisons/parsing-rare.toml): new recipes leave it out
    "necklaces": SHARE,  # of the photos, drawn over them
    "turned": _need(SHARE),
    "turned_to": _TURNED_TO,
    "strength": _need(_AMOUNT),
    "dice": _need(_AMOUNT),
    "taught": Key("list", of=Key("text", allowed=LABELLED)),
    "taught_share": SHARE,
}
_LANDMARKS = {
    **_DAMAGE,
    "size": _need(_COUNT),
    "code": _need(_COUNT),
    "negatives": _need(SHARE),
    "mistaken": SHARE,
    "face3d": _FLAG,
    "turned": _need(SHARE),
    "turned_to": _TURNED_TO,
    "covered": _need(SHARE),
    "strength": _need(_AMOUNT),
    "share": Key("table", of=dict.fromkeys(LABELLED, SHARE)),
    "also_validation": Key("list", of=Key("text", allowed=LABELLED[1:])),  # LFPW's grades this very task
    "rendered": _COUNT,
    "rendered_share": SHARE,
}
_DETECTION = {
    **_DAMAGE,
    "width": _need(_HALVED),
    "height": _need(_HALVED),
    "widths": _FIVE,
    "blocks": Key("list", True, of=_COUNT, count=3),
    "neck": _need(_COUNT),
    "expand": replace(_EXPAND, count=3),
    "quality_floor": _need(SHARE),
    "scenes": Key("table", True, of=_SCENES),
    "album": _COUNT,
    "album_share": SHARE,
    "smallest": _need(_AMOUNT),
}
_EXPRESSION = {
    "balance": _need(_AMOUNT),
    "turned": SHARE,
    "turned_to": _TURNED_TO,
    "fold": Key("list", of=Key("whole", least=0), count=2),  # [k, n]: does not train on fold k of n
    **_DAMAGE,
}
STUDENTS: Mapping[str, Mapping[str, Key]] = {
    "detection": {
        **_DETECTION,
        "losses": Key("table", of={"scores": _AMOUNT, "yunet": _AMOUNT, "mirror": _FLAG}),
    },
    "detection teacher": _DETECTION,
    "landmarks": {
        "widths": _FIVE,
        "grid": Key("whole", least=4, most=7),
        "expand": replace(_EXPAND, count=3),
        "bounded": _FLAG,  # ReLU6 behind the last stage
        **_LANDMARKS,
        "blendshapes": _FLAG,
        "refined": SHARE,  # of a teacher in the points that nobody placed; the mesh has the rest
        "losses": Key("table", of={"kd": _AMOUNT, "visibility": _AMOUNT, "blendshapes": _AMOUNT}),
    },
    "landmarks teacher": {
        "encoder": _need(_TEXT),
        "widths": Key("list", True, of=_COUNT, count=3),
        "softened": SHARE,
        **_LANDMARKS,
        "size": _need(_HALVED),
    },
    "parsing": {
        "widths": _FIVE,
        "expand": replace(_EXPAND, count=4),
        **_PARSING,
        "losses": Key("table", of={"features": _AMOUNT}),
    },
    "parsing teacher": {"encoder": _need(_TEXT), **_PARSING},
    "expression": {
        "widths": _WIDTHS,
        "expand": _EXPAND,
        **_EXPRESSION,
        "losses": Key(
            "table",
            of={"soft": _AMOUNT, "decoupled": _AMOUNT, "temperature": _TEMPERATURE, "mirror": _FLAG},
        ),
    },
    "expression teacher": {"widths": _WIDTHS, "blocks": _WIDTHS, **_EXPRESSION},
}
_SCHEDULE = {
    "steps": _need(_COUNT),
    "batch": _need(_COUNT),
    "rate": Key("number", True, least=0),
    "weight_decay": _AMOUNT,
    "warmup": Key("whole", least=0),
    "ema": SHARE,
    "seed": Key("whole", least=0),
    "validate_every": _COUNT,
    "workers": _COUNT,
    "start": _TEXT,
    "encoder_rate": _AMOUNT,
    "quantised": _FLAG,
}
_DEPLOY = {
    "licence": _TEXT,
    "labels": _TEXT,
    "description": _need(_TEXT),
    "calibration": _need(_COUNT),
    "tall": _FLAG,
    "percentile": Key("number", least=50, most=100),
    "false_per_window": _AMOUNT,
    "faces_lost": SHARE,
    "min_sqnr_db": Key("number"),
    "precision": Key("text", allowed=("int8",)),
    "crop": Key("table", of=_CROP),
    "head": Key("table", True),
}


def schema(kind: str) -> Mapping[str, Key]:
    """The keys of a recipe for one of `TASKS`, or for the teacher of one, as ``parsing teacher``."""
    deploy = {} if kind.endswith(" teacher") else dict(_DEPLOY)
    if not kind.startswith("detection"):
        deploy["crop"] = Key("table", True, of=_CROP)
    return {
        "task": Key("text", True, allowed=TASKS),
        "role": Key("text", allowed=("teacher", "student")),
        "teacher": Key("names"),
        "student": Key("table", True, of=STUDENTS[kind]),
        "schedule": Key("table", True, of=_SCHEDULE),
        "deploy": Key("table", True, of=deploy),
        "data": Key(
            "table",
            of={
                "sets": Key("list", of=Key("text", allowed=SETS)),
                "lists": Key("table", of=dict.fromkeys(SETS, _TEXT)),
                "shards": Key("list", of=_TEXT),
                "validation": Key("number", least=0.01, most=0.9),
                "share": Key("number", least=0.01, most=1),
                "lossy": _FLAG,
                "agreement": SHARE,
            },
        ),
        "seen": Key("table", of={"data": Key("list", of=_TEXT), "teachers": Key("list", of=_TEXT)}),
        "targets": Key("table", of=Key("bound")),
        "gates": Key(
            "table",
            of={
                "bytes": _COUNT,
                "edgetpu": _FLAG,
                "parity": _FLAG,
                "lost": _FLAG,
                "figures": Key("table", of=Key("bound")),
            },
        ),
    }
