"""How often an expression's label changes though the face does not: as the model says it, and as it is held.

The head of each photo stands still or sways before a camera's noise (`benchmarks.composed`). It never changes
its expression, so every change of the label is a flip; they are counted per minute. What the tracker's
smoothing costs is a delay: where the scores of one photo give way to those of another at once, how long the
held label goes on with the old one.

Both come from the same scores, one run of the tracker per film: smoothing follows them, as
`edgeface.smoothing.ExpressionSmoother` does it in the tracker, at several time constants and margins, and
with as few readings as a tracker makes.

Run from a checkout::

    python -m benchmarks.flips --photos FOLDER --out benchmarks/results/flips-BOARD.json

Photos with more than one face, or none, are left out and counted. Nothing here is timed, so the machine may
be busy. Of a photo nothing is kept but its scores.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import edgeface
from benchmarks import machine
from benchmarks.composed import NOISE, SIZE, head_of, wall
from benchmarks.errors import BenchmarkError
from edgeface.bundle import Bundle
from edgeface.camera import Actor, SyntheticCamera, orbit
from edgeface.smoothing import ExpressionSmoother

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeface.results import Expression

__all__ = ["CLIPS", "SCHEMA", "SMOOTHINGS", "delay", "flips", "main", "report", "scores_of", "table", "watch"]

SCHEMA = "edgeface.benchmark.flips/1"
_ROOT = Path(__file__).resolve().parents[1]
_RATE = 30.0
_FACE = 120.0  # pixels that the detector's box is high; a guest at a kiosk
_PICTURES = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}
_BEFORE, _AFTER = 60, 150  # frames of the old and of the new face when the delay is measured

# clip -> reach in pixels to each side, and seconds of a figure of eight
CLIPS: dict[str, tuple[tuple[float, float], float]] = {
    "still": ((0.0, 0.0), 4.0),
    "sways": ((40.0, 10.0), 4.0),
}

_DEFAULT = edgeface.TrackSettings()
_OFF = edgeface.TrackSettings(expression_time=0.0, expression_margin=0.0, expression_every=0.0)
SMOOTHINGS: dict[str, edgeface.TrackSettings] = {
    "off": _OFF,
    **{
        f"{time:g} s, margin {margin:g}": replace(_OFF, expression_time=time, expression_margin=margin)
        for time, margin in ((0.0, 0.1), (0.15, 0.1), (0.3, 0.0), (0.3, 0.1), (0.3, 0.2), (0.6, 0.1))
    },
    f"{_DEFAULT.expression_time:g} s, margin {_DEFAULT.expression_margin:g}, "
    f"read every {_DEFAULT.expression_every:g} s": _DEFAULT,
}


@dataclass(frozen=True)
class Seen:
    """Clip -> the scores of every frame in which the face was found."""

    clips: dict[str, list[Expression]]


def scores_of(photo: NDArray[np.uint8], frames: int, seed: int = 0) -> Seen:
    """What the tracker says of the head of a photo, without smoothing, in each clip.

    Raises:
        BenchmarkError: the photo does not show one face, or a film begins without it.
    """
    head, height = head_of(photo)
    clips = {}
    for name, (reach, period) in CLIPS.items():
        path = orbit((320.3, 240.2), reach, period, _FACE / height)
        camera = SyntheticCamera(
            [Actor(head, path)], wall(seed), rate=_RATE, count=frames, noise=NOISE, seed=seed
        )
        found = []
        with edgeface.FaceAnalyzer(("landmarks", "expression")) as analyzer:
            tracker = edgeface.FaceTracker(analyzer, _OFF)
            for frame in iter(camera.read, None):
                found += [track.face.expression for track in tracker.update(frame).tracks]
        clips[name] = [one for one in found if one is not None]
        if len(clips[name]) < frames * 0.9:
            raise BenchmarkError(f"the face was found in {len(clips[name])} of {frames} frames")
    return Seen(clips)


def held(scores: Sequence[Expression], settings: edgeface.TrackSettings) -> list[str]:
    """The held label of each frame; as the tracker does, it reads as many of them as the settings say."""
    smoother, labels = ExpressionSmoother(settings.expression_time, settings.expression_margin), list[str]()
    read = -math.inf
    for number, expression in enumerate(scores):
        if number / _RATE - read >= settings.expression_every:
            read = number / _RATE
            smoother.smooth(expression, round(read * 1e9))
        labels.append(smoother.label)
    return labels


def flips(scores: Sequence[Expression], settings: edgeface.TrackSettings) -> float:
    """Changes of the held label per minute."""
    labels = held(scores, settings)
    return sum(a != b for a, b in itertools.pairwise(labels)) / (len(labels) / _RATE / 60)


def delay(
    before: Expression, after: Expression, settings: edgeface.TrackSettings, later: int = 0
) -> float | None:
    """Milliseconds from a change of the face to that of the held label; None if that never comes.

    ``later`` shifts the change by so many frames against those that are read.
    """
    frames = _BEFORE + later
    labels = held([before] * frames + [after] * _AFTER, settings)[frames:]
    return next((1e3 * k / _RATE for k, label in enumerate(labels) if label == after.label), None)


def report(photos: Sequence[Seen], conditions: dict[str, Any], description: dict[str, Any]) -> dict[str, Any]:
    """The result as it is written: the mean over the photos, and each photo's own."""
    means = [_mean(seen.clips["still"]) for seen in photos]
    pairs = [(a, b) for a, b in itertools.permutations(means, 2) if a.label != b.label]
    variants = {}
    for name, settings in SMOOTHINGS.items():
        raw = {clip: [round(flips(seen.clips[clip], settings), 3) for seen in photos] for clip in CLIPS}
        delays = [delay(a, b, settings, number % 3) for number, (a, b) in enumerate(pairs)]
        arrived = [one for one in delays if one is not None]
        variants[name] = {
            "flips_per_minute": {clip: round(float(np.mean(raw[clip])), 3) for clip in CLIPS},
            "photos_that_flip": {clip: int(np.count_nonzero(raw[clip])) for clip in CLIPS},
            "delay_ms": round(float(np.median(arrived)), 1) if arrived else None,
            "changes_never_told": len(delays) - len(arrived),
            "raw": raw,
        }
    return {
        "schema": SCHEMA,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": description,
        "conditions": {**conditions, "changes": len(pairs)},
        "software": {"edgeface": {"version": edgeface.__version__, "bundle": Bundle.builtin().digest}},
        "default": next(name for name, settings in SMOOTHINGS.items() if settings == _DEFAULT),
        "variants": variants,
    }


def table(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    head = [
        "expression",
        *(f"flips a minute, {clip}" for clip in CLIPS),
        "delay of a change, ms",
        "never told",
    ]
    rows = [
        [
            name + (" (default)" if name == result["default"] else ""),
            *(f"{told['flips_per_minute'][clip]:.1f}" for clip in CLIPS),
            "-" if told["delay_ms"] is None else f"{told['delay_ms']:.0f}",
            f"{told['changes_never_told']} of {result['conditions']['changes']}",
        ]
        for name, told in result["variants"].items()
    ]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    about = result["conditions"]
    told = f"- {about['photos']} photos of one face, {about['frames']} frames of each clip at {_RATE:g} fps"
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", told])


def _mean(scores: Sequence[Expression]) -> Expression:
    return type(scores[0])(
        {name: float(np.mean([one.scores[name] for one in scores])) for name in scores[0].scores}
    )


def _seen(file: Path, frames: int, seed: int) -> Seen | None:
    try:
        return scores_of(edgeface.read_image(file).rgb, frames, seed)
    except (edgeface.EdgeFaceError, BenchmarkError):
        return None


def watch(paths: Sequence[Path], most: int, frames: int) -> tuple[list[Seen], int]:
    """What is seen of the photos of files and folders, by their names; how many are left out."""
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    kept, left_out = list[Seen](), 0
    for file in (file for file in files if file.suffix.lower() in _PICTURES):
        if len(kept) == most:
            break
        one = _seen(file, frames, len(kept))
        kept += [one] if one else []
        left_out += one is None
    return kept, left_out


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the result; 1 when there is no photo with one face."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.flips", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--frames", type=int, default=300, help="per clip (default: 300)")
    parser.add_argument("--most", type=int, default=40, help="photos (default: 40)")
    parser.add_argument(
        "--photos",
        type=Path,
        nargs="+",
        default=[_ROOT / "examples" / "astronaut.jpg"],
        help="files, or folders of them; one face each",
    )
    parser.add_argument("--out", type=Path, help="write the result here, as JSON")
    asked = parser.parse_args(arguments)
    photos, left_out = watch(asked.photos, asked.most, asked.frames)
    if not photos:
        print(f"no result: none of the {left_out} photos shows one face", file=sys.stderr)
        return 1
    conditions = {
        "photos": len(photos),
        "left_out": left_out,
        "frames": asked.frames,
        "frames_per_second": _RATE,
        "size": list(SIZE),
        "face_px": _FACE,
        "noise_grey_levels": NOISE,
        "clips": {
            name: {"reach_px": list(reach), "period_s": period} for name, (reach, period) in CLIPS.items()
        },
    }
    result = report(photos, conditions, machine.describe())
    print(table(result))
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(result, indent=1) + "\n")
        print(f"\nwritten to {asked.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
