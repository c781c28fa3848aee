"""The result as it is written, `live.schema.json`, and as tables."""

from __future__ import annotations

import datetime
import statistics
from typing import TYPE_CHECKING, Any

from benchmarks import samples
from benchmarks.live import tracked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.live.tracked import Tracked
    from benchmarks.live.watched import Watched

__all__ = ["MOST_GROWTH", "SCHEMA", "report", "table"]

SCHEMA = "edgeface.benchmark.live/1"
MOST_GROWTH = 2.0
"""MiB that the tracker may hold more at the end than after a quarter of the run: promise 15."""

_NOISY = 0.2
_STOLEN = 0.02
_IN_TIME = 0.9  # of the camera's frames, that the service must have analysed for its share to mean anything


def report(
    first: Tracked | None, second: Watched | None, conditions: dict[str, Any], description: dict[str, Any]
) -> dict[str, Any]:
    """All of it; a half that was left out is None."""
    told_first = None if first is None else _tracked(first)
    told_second = None if second is None else _watched(second)
    flags = set()
    if conditions["steal_share"] > _STOLEN:
        flags.add("noisy")
    if first is not None and any(
        samples.spread(first.mean_ms(row)) > _NOISY for row in first.latency_ns if not row.endswith("@0")
    ):
        flags.add("noisy")
    if told_second is not None and any(
        case["analysed_fps"] < _IN_TIME * int(name.split()[-2]) for name, case in told_second["cases"].items()
    ):
        flags.add("late")
    return {
        "schema": SCHEMA,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": description,
        "conditions": conditions,
        "software": {} if first is None else first.software,
        "flags": sorted(flags),
        "tracked": told_first,
        "watched": told_second,
    }


def _tracked(measured: Tracked) -> dict[str, Any]:
    growth = {side: round(measured.growth_mib(side), 3) for side in measured.memory_bytes}
    return {
        "rows": {
            row: {
                "tracked_frame_ms": samples.summary(measured.tracked_ms(row)),
                "mean_frame_ms": samples.summary(measured.mean_ms(row)),
                "detector_looked": sum(map(sum, measured.detected[row])),
                "frames": sum(map(len, measured.detected[row])),
                "faces_found": round(measured.found[row], 4),
            }
            for row in sorted(measured.latency_ns)
        },
        "ratios": tracked.ratios(measured),
        "memory_growth_mib": {**growth, "at_most": MOST_GROWTH, "met": growth["edgeface"] <= MOST_GROWTH},
        "raw": {
            "latency_ns": measured.latency_ns,
            "detected": measured.detected,
            "memory_bytes": measured.memory_bytes,
        },
    }


def _watched(measured: Watched) -> dict[str, Any]:
    cases = {}
    for name, painted in measured.painted.items():
        seconds = measured.seconds[name]
        cases[name] = {
            "camera_to_result_ms": samples.summary([one.result for one in painted]),
            "camera_to_page_ms": samples.summary([one.arrived for one in painted]),
            "camera_to_painted_ms": samples.summary([one.painted for one in painted]),
            "analysed_fps": round(measured.analysed[name] / seconds, 2),
            "painted_fps": round(len(painted) / seconds, 2),
            "cpu_share": round(statistics.median(measured.cpu_share[name]), 4),
            "cpu_share_alone": round(measured.cpu_share_alone[name], 4),
        }
    held = measured.memory_bytes
    return {
        "cases": {name: cases[name] for name in sorted(cases)},
        "browser": f"Chromium {measured.browser}",
        "clock": None if measured.clock is None else measured.clock.to_dict(),
        "memory_mib": [round(size / 2**20, 1) for size in held],
        "raw": {
            "painted_ms": {
                name: [round(one.painted, 2) for one in seen] for name, seen in measured.painted.items()
            },
            "cpu_share": measured.cpu_share,
        },
    }


def table(result: dict[str, Any]) -> str:
    """Markdown: a frame more of a film, then the service before a browser."""
    parts = []
    if result["tracked"] is not None:
        parts.append(_tracked_table(result["tracked"]))
    if result["watched"] is not None:
        parts.append(_watched_table(result["watched"]))
    if result["flags"]:
        parts.append(f"- flags: {', '.join(result['flags'])}")
    return "\n\n".join(parts)


_TITLES = {
    "tracked_landmarks": "EdgeFace, 68 points",
    "tracked_all": "EdgeFace, points, parsing, expression",
    "tracked_all_every_frame": "EdgeFace, the same, the expression read in every frame",
    "mediapipe_video": "MediaPipe 0.10.14 FaceMesh, video mode",
}


def _tracked_table(told: dict[str, Any]) -> str:
    lines = [
        "| what | faces | tracked frame, ms | mean of all frames, ms | over MediaPipe: tracked | mean |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row, figures in sorted(told["rows"].items(), key=lambda pair: pair[0].partition("@")[::-1]):
        variant, _, faces = row.partition("@")
        over = {ratio["frames"]: _ratio(ratio) for ratio in told["ratios"].values() if ratio["of"] == row}
        cells = [
            _TITLES[variant],
            faces,
            f"{figures['tracked_frame_ms']['median']:.2f}",
            f"{figures['mean_frame_ms']['median']:.2f}",
            over.get("tracked", "-"),
            over.get("mean", "-"),
        ]
        lines.append(_line(cells))
    growth = told["memory_growth_mib"]
    lines += [
        "",
        f"- memory: {growth['edgeface']:+.2f} MiB in the last three quarters of the run "
        f"(at most {growth['at_most']:g}: {'met' if growth['met'] else 'MISSED'})",
    ]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ratio(ratio: dict[str, Any]) -> str:
    goal = f", goal {ratio['at_most']:.1f} {'met' if ratio['met'] else 'MISSED'}" if "met" in ratio else ""
    return f"{ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]{goal}"


def _watched_table(told: dict[str, Any]) -> str:
    lines = [
        "| film | camera to result, ms | to painted, ms | p95 | p99 | analysed, fps | painted, fps "
        "| share of a core | nobody watching |",
        f"| --- {'| ---: ' * 8}|",
    ]
    for name, case in told["cases"].items():
        painted = case["camera_to_painted_ms"]
        times = (case["camera_to_result_ms"]["median"], painted["median"], painted["p95"], painted["p99"])
        numbers = [f"{value:.1f}" for value in (*times, case["analysed_fps"], case["painted_fps"])]
        lines.append(_line([name, *numbers, f"{case['cpu_share']:.1%}", f"{case['cpu_share_alone']:.1%}"]))
    held = ", ".join(f"{size:.0f}" for size in told["memory_mib"])
    lines += ["", f"- {told['browser']}; the service holds {held} MiB after each round"]
    return "\n".join(lines)
