"""What smoothing costs and gives: how much a still face trembles against how far a moving one lags behind.

Clips are composed from photos: the head of each, brought to one size, stands still or swings over a
background under the noise of a camera, so that where every point should be is known. EdgeFace's tracker
follows it without smoothing and with the One-Euro filter at several settings; MediaPipe 0.10.14 FaceMesh in
video mode sees the very same frames. Both are judged by the same five points: outer eye corners, tip of the
nose, mouth corners.

Run from a checkout::

    python -m benchmarks.tracking --out benchmarks/results/tracking-BOARD.json

The plot lies beside the result, as SVG. Nothing here is timed, so the machine may be busy.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np

import edgeface
from benchmarks import environments, machine
from benchmarks import frames as webcam
from benchmarks.composed import NOISE, SIZE, head_of, wall
from benchmarks.errors import BenchmarkError
from benchmarks.process import Program, Side
from edgeface.bundle import Bundle
from edgeface.camera import Actor, Place, SyntheticCamera

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from edgeface.frame import Frame

__all__ = [
    "CLIPS",
    "SCHEMA",
    "SMOOTHINGS",
    "Film",
    "lag",
    "main",
    "measure",
    "plot",
    "report",
    "table",
    "trembling",
]

SCHEMA = "edgeface.benchmark.tracking/1"
_ROOT = Path(__file__).resolve().parents[1]
_RATE = 30.0
_FACE = 120.0  # pixels that the detector's box is high; a guest at a kiosk
_SETTLE = 30  # frames at the start that are not judged: filters begin without a past
_LEAST_LAG = 0.1  # milliseconds, in the plot: less is nothing
_FIVE_POINTS = [36, 45, 30, 48, 54]

# clip -> reach in pixels and seconds there and back, along a slightly falling line
CLIPS: dict[str, tuple[float, float]] = {"still": (0.0, 1.0), "slow": (140.0, 5.0), "quick": (140.0, 2.0)}

SMOOTHINGS: dict[str, edgeface.OneEuro | None] = {
    "off": None,
    **{
        f"One-Euro {cutoff:g} Hz, {beta:g}": edgeface.OneEuro(cutoff, beta)
        for cutoff, beta in (
            (0.25, 15.0),
            (0.5, 5.0),
            (0.5, 15.0),
            (0.5, 40.0),
            (1.0, 0.0),
            (1.0, 15.0),
            (2.0, 15.0),
        )
    },
}
_DEFAULT = next(name for name, filtered in SMOOTHINGS.items() if filtered == edgeface.OneEuro())
PEER = "MediaPipe video mode"


@dataclass(frozen=True)
class Film:
    """Frames of one clip, and `shift`, float64 [T, 2]: how far the head has moved in each, pixels."""

    frames: list[Frame]
    shift: NDArray[np.float64]


@dataclass
class Measured:
    """Variant -> clip -> one dictionary of figures per photo."""

    figures: dict[str, dict[str, list[dict[str, float]]]] = field(default_factory=dict)
    digests: dict[str, list[str]] = field(default_factory=dict)
    software: dict[str, dict[str, Any]] = field(default_factory=dict)

    def note(self, variant: str, clip: str, points: NDArray[np.float64], film: Film) -> None:
        """Judge the points that a variant saw, float64 [T, 5, 2]."""
        figures = trembling(points) if clip == "still" else lag(points, film.shift)
        self.figures.setdefault(variant, {}).setdefault(clip, []).append(figures)


def path_of(clip: str, scale: float) -> Callable[[float], Place]:
    """Where the head is at a time in seconds. It begins between two pixels, as nothing stands on one."""
    reach, period = CLIPS[clip]

    def path(seconds: float) -> Place:
        swing = reach * math.sin(2 * math.pi * seconds / period)
        return Place(320.3 + swing, 240.2 + 0.25 * swing, scale)

    return path


def compose(rgb: NDArray[np.uint8], clip: str, count: int, seed: int = 0) -> Film:
    """The film of a clip from a photo with one face.

    Raises:
        BenchmarkError: the photo does not show exactly one face.
    """
    head, height = head_of(rgb)
    path = path_of(clip, _FACE / height)
    camera = SyntheticCamera([Actor(head, path)], wall(seed), rate=_RATE, count=count, noise=NOISE, seed=seed)
    frames = list(iter(camera.read, None))
    places = [path(k / _RATE) for k in range(count)]
    shift = np.array([(place.x, place.y) for place in places]) - (places[0].x, places[0].y)
    return Film(frames, shift)


def follow(film: Iterable[Frame], smoothing: edgeface.OneEuro | None) -> NDArray[np.float64]:
    """What EdgeFace's tracker sees, float64 [T, 5, 2].

    Raises:
        BenchmarkError: it does not see exactly one face in every frame.
    """
    seen = []
    with edgeface.FaceAnalyzer(("landmarks",)) as analyzer:
        tracker = edgeface.FaceTracker(analyzer, edgeface.TrackSettings(smoothing=smoothing))
        for number, frame in enumerate(film):
            tracks = tracker.update(frame).tracks
            if len(tracks) != 1 or tracks[0].face.landmarks is None:
                raise BenchmarkError(
                    f"EdgeFace sees {len(tracks)} faces in frame {number} of a clip with one"
                )
            seen.append(tracks[0].face.landmarks.points[_FIVE_POINTS])
    return np.array(seen, np.float64)


def watch(side: Side, variant: str, film: Iterable[Frame]) -> NDArray[np.float64]:
    """What a side sees that is shown one frame after the other, float64 [T, 5, 2].

    Raises:
        BenchmarkError: it died, or does not see exactly one face in every frame.
    """
    seen = []
    for number, frame in enumerate(film):
        side.ask({"do": "frame", "height": frame.height, "width": frame.width}, frame.rgb.tobytes())
        found = side.calls(variant, warm_up=0, calls=1)["seen"]
        if found["faces"] != 1:
            raise BenchmarkError(
                f"{side.name} sees {found['faces']} faces in frame {number} of a clip with one"
            )
        seen.append(found["points"])
    return np.array(seen, np.float64)


def trembling(points: NDArray[np.float64]) -> dict[str, float]:
    """How much points of a still face tremble, float64 [T, 5, 2] in pixels.

    Returns:
        `rms`: root mean square distance of a point from its mean. `step`: that from one frame to the next,
        which is what the eye sees. `drift`: what is left of `rms` when each second is averaged.
    """
    settled = points[_SETTLE:]
    away = settled - settled.mean(0)
    second = round(_RATE)
    whole = away[: len(away) // second * second].reshape(-1, second, *away.shape[1:]).mean(1)
    return {
        name: _rms(values)
        for name, values in (("rms", away), ("step", np.diff(settled, axis=0)), ("drift", whole))
    }


def lag(points: NDArray[np.float64], shift: NDArray[np.float64]) -> dict[str, float]:
    """How far points of a moving face are behind it.

    Args:
        points: float64 [T, 5, 2], pixels.
        shift: float64 [T, 2], how far the face has moved, pixels.

    Returns:
        `lag_ms`: the delay that explains most of the error, by least squares on the speed. `error`: root mean
        square distance of a point from where it should be, pixels. A constant offset of a point is no error.
    """
    off = points[_SETTLE:] - shift[_SETTLE:, None]
    off = off - off.mean(0)
    speed = (np.gradient(shift, axis=0) * _RATE)[_SETTLE:]
    speed = speed - speed.mean(0)
    delay = -float((off.mean(1) * speed).sum() / (speed**2).sum())
    return {"lag_ms": 1e3 * delay, "error": _rms(off)}


def _rms(vectors: NDArray[np.float64]) -> float:
    return math.sqrt(float((vectors**2).sum(-1).mean()))


def measure(photos: Sequence[NDArray[np.uint8]], count: int, peer: Program | None, core: int) -> Measured:
    """Compose every clip from every photo and let every variant see it.

    Raises:
        BenchmarkError: a photo does not show one face, or a variant lost it.
    """
    measured = Measured()
    for seed, photo in enumerate(photos):
        for clip in CLIPS:
            film = compose(photo, clip, count, seed)
            measured.digests.setdefault(clip, []).append(
                webcam.digest(np.stack([f.rgb for f in film.frames]))
            )
            for name, smoothing in SMOOTHINGS.items():
                measured.note(name, clip, follow(film.frames, smoothing), film)
            if peer is not None:
                with Side(peer, film.frames[0].rgb, core) as side:
                    measured.note(PEER, clip, watch(side, "mediapipe_video", film.frames), film)
                    measured.software["mediapipe"] = side.ask({"do": "about"})
    measured.software["edgeface"] = {"version": edgeface.__version__, "bundle": Bundle.builtin().digest}
    return measured


def report(measured: Measured, conditions: dict[str, Any], description: dict[str, Any]) -> dict[str, Any]:
    """The result as it is written: the mean over the photos of every figure, and each photo's own."""
    means = {
        variant: {
            clip: {name: round(float(np.mean([f[name] for f in runs])), 4) for name in runs[0]}
            for clip, runs in clips.items()
        }
        for variant, clips in measured.figures.items()
    }
    return {
        "schema": SCHEMA,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": description,
        "conditions": {**conditions, "clips_sha256": measured.digests},
        "software": measured.software,
        "default": _DEFAULT,
        "units": {"rms": "px", "step": "px", "drift": "px", "error": "px", "lag_ms": "ms"},
        "variants": means,
        "raw": measured.figures,
    }


def plot(result: dict[str, Any]) -> str:
    """The trade-off as SVG, both axes logarithmic: lag of the quick face, step of the still one."""
    marks = {
        name: (max(clips["quick"]["lag_ms"], _LEAST_LAG), max(clips["still"]["step"], 1e-3))
        for name, clips in result["variants"].items()
    }
    across = _Axis([x for x, _ in marks.values()], 70, 610)
    upwards = _Axis([y for _, y in marks.values()], 460, 40)
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 880 520" font-family="sans-serif" '
        'font-size="13"><rect width="880" height="520" fill="#fff"/>',
        '<text x="340" y="505" text-anchor="middle">'
        f"lag of the quick face, ms ({_LEAST_LAG} or less at the left)</text>",
        '<text transform="translate(18 250) rotate(-90)" text-anchor="middle">'
        "step of the still face from frame to frame, px</text>",
    ]
    for value in across.ticks():
        x = across.place(value)
        parts.append(f'<path d="M{x} 40V460" stroke="#ddd"/>')
        parts.append(f'<text x="{x}" y="480" text-anchor="middle">{value:g}</text>')
    for value in upwards.ticks():
        y = upwards.place(value)
        parts.append(f'<path d="M70 {y}H610" stroke="#ddd"/>')
        parts.append(f'<text x="62" y="{y + 4}" text-anchor="end">{value:g}</text>')
    for number, (name, (lag_ms, step)) in enumerate(sorted(marks.items(), key=lambda mark: -mark[1][1]), 1):
        colour = "#c2410c" if name == PEER else "#15803d" if name == result["default"] else "#1d4ed8"
        x, y = across.place(lag_ms), upwards.place(step)
        told = escape(name + (" (default)" if name == result["default"] else ""))
        parts.append(f'<circle cx="{x}" cy="{y}" r="6" fill="{colour}"/>')
        parts.append(f'<text x="{x + 9}" y="{y - 7}">{number}</text>')
        parts.append(f'<text x="632" y="{40 + 24 * number}" fill="{colour}">{number} {told}</text>')
    return "\n".join([*parts, "</svg>\n"])


class _Axis:
    """A logarithmic axis from `start` to `end`, pixels, with room beside the outermost values."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._low, self._high = min(values) / 1.5, max(values) * 1.5
        self._start, self._end = start, end

    def place(self, value: float) -> float:
        share = math.log(value / self._low) / math.log(self._high / self._low)
        return round(self._start + share * (self._end - self._start), 1)

    def ticks(self) -> list[float]:
        decades = range(math.floor(math.log10(self._low)), math.ceil(math.log10(self._high)))
        every = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
        return [value for value in every if self._low <= value <= self._high]


def table(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    still, moving = ("rms", "step", "drift"), [clip for clip in CLIPS if clip != "still"]
    head = ["points", *(f"still: {key}, px" for key in still)]
    head += [f"{clip}: {what}" for clip in moving for what in ("lag, ms", "error, px")]
    rows = [
        [
            name + (" (default)" if name == result["default"] else ""),
            *(f"{clips['still'][key]:.3f}" for key in still),
            *(
                f"{clips[clip][key]:{form}}"
                for clip in moving
                for key, form in (("lag_ms", ".1f"), ("error", ".2f"))
            ),
        ]
        for name, clips in result["variants"].items()
    ]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tracking", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--frames", type=int, default=300, help="per clip (default: 300)")
    parser.add_argument(
        "--photos", type=Path, nargs="+", default=[_ROOT / "examples" / "astronaut.jpg"], help="one face each"
    )
    parser.add_argument("--out", type=Path, help="write the result here, as JSON, and the plot beside it")
    parser.add_argument("--alone", action="store_true", help="leave MediaPipe out")
    parser.add_argument(
        "--core", type=int, default=max(os.sched_getaffinity(0)), help="MediaPipe is pinned to it"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=environments.default_cache(),
        help="where MediaPipe's environment is kept",
    )
    parser.add_argument("--mediapipe-python", type=Path, help="a Python that has mediapipe==0.10.14 already")
    parsed = parser.parse_args(arguments)
    if parsed.frames < 2 * _SETTLE:
        parser.error(f"--frames must be {2 * _SETTLE} or more")
    return parsed


def _run(asked: argparse.Namespace) -> dict[str, Any]:
    peer = None
    if not asked.alone:
        python = asked.mediapipe_python or environments.MEDIAPIPE.interpreter(asked.cache)
        peer = Program("MediaPipe", python, "mediapipe_side.py")
    photos = [edgeface.read_image(path).rgb for path in asked.photos]
    conditions = {
        "photos": len(photos),
        "frames": asked.frames,
        "judged_from_frame": _SETTLE,
        "frames_per_second": _RATE,
        "size": list(SIZE),
        "face_px": _FACE,
        "noise_grey_levels": NOISE,
        "clips": {name: {"reach_px": reach, "period_s": period} for name, (reach, period) in CLIPS.items()},
    }
    return report(measure(photos, asked.frames, peer, asked.core), conditions, machine.describe())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write result and plot; 1 when a side fails, and then nothing is written."""
    asked = _arguments(arguments)
    try:
        result = _run(asked)
    except (BenchmarkError, edgeface.EdgeFaceError) as error:
        print(f"no result: {error}", file=sys.stderr)
        return 1
    print(table(result))
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(result, indent=1) + "\n")
        asked.out.with_suffix(".svg").write_text(plot(result))
        print(f"\nwritten to {asked.out} and {asked.out.with_suffix('.svg')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
