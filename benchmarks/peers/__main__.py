"""EdgeFace beside its peers: same frames, same core, one thread each, in turns; accuracy beside every speed.

Run from a checkout, on a quiet machine. The first run makes the peers' environments in the user's cache and
needs the network for that::

    python -m benchmarks.peers --data PHOTOS --expressions FACES --files MODELS --out peers-BOARD.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import edgeface
from benchmarks import environments, frames, machine
from benchmarks.errors import BenchmarkError
from benchmarks.peers import labelled, page, result, rounds
from benchmarks.peers.catalogue import OURS, PEERS
from benchmarks.peers.crops import LandmarkCrops
from benchmarks.peers.judging import Judge
from benchmarks.process import PATIENCE, Program, tell
from benchmarks.sides.mesh import VERTICES
from edgeface.bundle import Bundle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.peers.peer import Peer
    from edgeface.results import Face

__all__ = ["main"]

_ROOT = Path(__file__).resolve().parents[2]
_FACES = (1, 2, 4)
_SMILE = "happiness"  # what the photo that ships shows


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the result; 1 when nothing could be measured, 130 after Ctrl-C."""
    asked = _arguments(arguments)
    try:
        found = _run(asked)
    except (BenchmarkError, edgeface.EdgeFaceError) as error:
        print(f"no result: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted before a round was finished: no result", file=sys.stderr)
        return 130
    print(result.table(found))
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(found, indent=1) + "\n")
        asked.out.with_suffix(".md").write_text(result.table(found) + "\n")
        asked.out.with_suffix(".html").write_text(page.html(found))
        print(f"\nwritten to {asked.out}, and beside it .md and .html")
    return 130 if found["interrupted"] else 0


def _run(asked: argparse.Namespace) -> dict[str, Any]:
    photos = labelled.read_labelled(asked.data, asked.split, asked.part)
    faces = labelled.read_expressions(asked.expressions) if asked.expressions else []
    bundle = Bundle.builtin()
    crops = LandmarkCrops(bundle)
    shown = _frames(bundle, crops, given=bool(faces))
    plan = rounds.Plan(asked.rounds, asked.calls, asked.cold_rounds, asked.core, patience=asked.patience)
    with tempfile.TemporaryDirectory() as scratch:
        programs, not_here = _programs(asked, crops.told(Path(scratch)))
        load, times = os.getloadavg()[0], machine.cpu_times()
        measured = rounds.measure(programs, shown, plan, tell)
        steal = machine.steal_share(times, machine.cpu_times())
        with edgeface.FaceAnalyzer((), bundle=bundle) as finder:
            judge = Judge(photos, faces, finder, crops)
            for peer, program in programs.items():
                if peer.key not in measured.software:
                    continue
                tell(f"accuracy of {peer.key}")
                try:  # after Ctrl-C too: without an accuracy no speed is shown
                    measured.judged |= judge(program, peer.variants, plan)
                except BenchmarkError as error:
                    not_here[peer.key] = f"failed on the labelled photos: {error}"
                except KeyboardInterrupt:
                    measured.interrupted = True
                    break
    conditions = {
        "frames": {
            name: {"faces": len(frame.boxes), "sha256": frames.digest(frame.rgb)}
            for name, frame in shown.items()
        },
        "data": labelled.describe(photos),
        **({"expressions": labelled.describe_expressions(faces)} if faces else {}),
        "threads": 1,
        "core": plan.core,
        "rounds": measured.rounds,
        "timed_calls_per_round": plan.calls,
        "cold_rounds": plan.cold_rounds,
        "load_average_before": round(load, 2),
        "steal_share": round(steal, 4),
    }
    return result.report(list(programs), measured, not_here, conditions, machine.describe())


def _programs(asked: argparse.Namespace, own: dict[str, Any]) -> tuple[dict[Peer, Program], dict[str, str]]:
    """What is started for each peer that was chosen, and why the others are not here."""
    programs, not_here = {}, {}
    for peer in PEERS:
        if asked.only and peer.key not in (OURS, "litert", *asked.only):
            continue
        missing = peer.missing(asked.files)
        if missing:
            not_here[peer.key] = f"needs {'; and '.join(one.how for one in missing)} (--files)"
            continue
        chosen = peer if asked.expressions else peer.without("expression")
        if not chosen.variants:
            not_here[peer.key] = "needs faces with labelled expressions (--expressions)"
            continue
        tell(f"environment of {peer.key}")
        try:
            programs[chosen] = _program(peer, asked, own)
        except BenchmarkError as error:
            not_here[peer.key] = str(error)
    return programs, not_here


def _program(peer: Peer, asked: argparse.Namespace, own: dict[str, Any]) -> Program:
    interpreter = peer.environment.interpreter(asked.cache)
    name = f"peer {peer.key}"
    if peer.key == OURS:
        return Program(name, interpreter, peer.script)
    told = {**own, **peer.told(asked.cache, asked.files), "runtime": peer.runtime, "mesh-vertices": VERTICES}
    return Program(name, interpreter, peer.script, [json.dumps(told)])


def _frames(bundle: Bundle, crops: LandmarkCrops, *, given: bool) -> dict[str, rounds.Shown]:
    """The photo that ships, 640 x 480: alone as in `facemesh`, its face two and four times; and its crop.

    ``given``: the first of them once more, with the box of its face.
    """
    photo = edgeface.read_image(_ROOT / "examples" / "astronaut.jpg").rgb
    shown = {}
    with edgeface.FaceAnalyzer(("landmarks",), bundle=bundle) as analyzer:
        (face,) = _largest(analyzer, photo, 1)
        for count in _FACES:
            rgb = frames.webcam_frame(photo) if count == 1 else frames.group_frame(photo, face, count)
            faces = _largest(analyzer, rgb, count)
            boxes = tuple(_hull(one) for one in faces)
            shown["1 face" if count == 1 else f"{count} faces"] = rounds.Shown(rgb, boxes)
            if count == 1:
                pixels, crop = crops.cut(rgb, faces[0])
                away = crops.offsets(faces[0].landmarks, crop)
                alone = {rounds.CROP: rounds.Shown(pixels.copy(), (), away, crops.unit)}
                if given:
                    box = faces[0].bbox
                    told = (box.x, box.y, box.width, box.height)
                    alone[rounds.FACE] = rounds.Shown(rgb, (), box=told, expression=_SMILE)
    return {**shown, **alone}


def _largest(analyzer: edgeface.FaceAnalyzer, rgb: np.ndarray, count: int) -> list[Face]:
    faces = sorted(analyzer.analyze(rgb).faces, key=lambda face: -face.bbox.area)[:count]
    if len(faces) != count:
        raise BenchmarkError(f"EdgeFace finds {len(faces)} faces in a frame with {count}")
    return faces


def _hull(face: Face) -> tuple[float, ...]:
    if face.landmarks is None:
        raise BenchmarkError("EdgeFace gave no points of a face")
    points = face.landmarks.points.astype(np.float64)
    return (*points.min(0).tolist(), *np.ptp(points, axis=0).tolist())


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=(__doc__ or "").split("\n\n")[0]
    )
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        required=True,
        help="labelled photos with 300-W's .pts files: a speed without its accuracy is not shown",
    )
    add("--split", type=Path, help="only the photos that this CSV (columns name, part) has in --part")
    add("--part", default="validation", help="(default: validation)")
    add(
        "--expressions",
        type=Path,
        help="faces with labelled expressions, in folders called neutral, happiness ...: for what reads them",
    )
    add("--files", type=Path, nargs="+", default=[], help="folders with the models and clones that you have")
    add("--only", nargs="+", choices=[peer.key for peer in PEERS], help="these peers, beside EdgeFace")
    add("--rounds", type=int, default=100, help="interleaved rounds (default: 100)")
    add("--calls", type=int, default=3, help="timed calls per variant, frame and round (default: 3)")
    add("--cold-rounds", type=int, default=5, help="whole processes per variant (default: 5; 0: none)")
    add(
        "--patience",
        type=float,
        default=PATIENCE,
        help=f"seconds for an answer; a peer that hangs is ended, the others go on (default: {PATIENCE:g})",
    )
    add("--core", type=int, default=max(os.sched_getaffinity(0)), help="every side is pinned to it")
    add("--cache", type=Path, default=environments.default_cache(), help="where environments are kept")
    add("--out", type=Path, help="write the result here, as JSON; the table and a page with plots beside it")
    parsed = parser.parse_args(arguments)
    if min(parsed.rounds, parsed.calls) < 1 or parsed.cold_rounds < 0:
        parser.error("--rounds and --calls must be 1 or more, --cold-rounds 0 or more")
    if not parsed.patience > 0:
        parser.error("--patience must be above 0")
    return parsed


if __name__ == "__main__":
    sys.exit(main())
