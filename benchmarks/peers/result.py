"""The result of a run as it is written, and its table."""

from __future__ import annotations

import datetime
import statistics
from typing import TYPE_CHECKING, Any

from benchmarks import samples

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.peers.peer import Peer, Variant
    from benchmarks.peers.rounds import Measured

__all__ = ["SCHEMA", "report", "table"]

SCHEMA = "edgeface.benchmark.peers/1"

# What gives the same is compared with ours.
_OURS = {
    "boxes": "edgeface_boxes",
    "points": "edgeface_landmarks",
    "all": "edgeface_all",
    "network": "litert_tflite",
    "expression": "edgeface_expression",
}
_NOISY = 0.2  # interquartile range over the median


def report(
    peers: Sequence[Peer],
    measured: Measured,
    not_here: Mapping[str, str],
    conditions: dict[str, Any],
    machine: dict[str, Any],
) -> dict[str, Any]:
    """The result; `peers.schema.json` describes it.

    Args:
        peers: those that were measured.
        measured: their raw numbers.
        not_here: peer -> what is missing and where it comes from.
        conditions: what else a reader must know to measure the same.
        machine: as `benchmarks.machine.describe` tells it.
    """
    medians = {
        variant: {
            frame: [statistics.median(calls) / 1e6 for calls in rounds] for frame, rounds in frames.items()
        }
        for variant, frames in measured.latency_ns.items()
    }
    spreads = [samples.spread(rounds) for frames in medians.values() for rounds in frames.values()]
    noisy = any(spread > _NOISY for spread in spreads) or conditions["steal_share"] > 0.02
    everyones = _everyones(measured)
    return {
        "schema": SCHEMA,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine,
        "conditions": conditions,
        "software": measured.software,
        "interrupted": measured.interrupted,
        "flags": ["noisy"] if noisy else [],
        "not_here": dict(not_here),
        "variants": {
            variant.name: _row(peer, variant, measured, medians, everyones)
            for peer in peers
            for variant in peer.variants
        },
        "raw": {
            "latency_ns": measured.latency_ns,
            "first_result_ns": measured.first_result_ns,
            "peak_bytes": measured.peak_bytes,
        },
    }


def _everyones(measured: Measured) -> set[int]:
    """The photos whose face every variant with points has found."""
    found = [judged.found for judged in measured.judged.values() if judged.nme5]
    return set.intersection(*found) if found else set()


def _row(
    peer: Peer,
    variant: Variant,
    measured: Measured,
    medians: dict[str, dict[str, list[float]]],
    everyones: set[int],
) -> dict[str, Any]:
    mine = medians.get(variant.name, {})
    judged = measured.judged.get(variant.accuracy_of or variant.name)
    first_ms = [ns / 1e6 for ns in measured.first_result_ns.get(variant.name, ())]
    peaks = [size / 2**20 for size in measured.peak_bytes.get(variant.name, ())]
    return {
        "peer": peer.key,
        "title": variant.title,
        "gives": variant.gives,
        "weights_licence": variant.licence,
        "latency_ms": {
            frame: samples.summary([ns / 1e6 for calls in rounds for ns in calls])
            for frame, rounds in measured.latency_ns.get(variant.name, {}).items()
        },
        "ratio_of_ours": _ratios(variant, mine, medians),
        "extra_faces": measured.extra_faces.get(variant.name, {}),
        "no_result": measured.failed.get(variant.name, {}),
        "first_result_ms": samples.summary(first_ms) if first_ms else None,
        "peak_memory_mib": samples.summary(peaks) if peaks else None,
        "accuracy": None if judged is None else judged.summary(everyones),
        "accuracy_of": variant.accuracy_of or variant.name,
    }


def _ratios(
    variant: Variant, mine: dict[str, list[float]], medians: dict[str, dict[str, list[float]]]
) -> dict[str, Any]:
    """Ours over theirs by frame: below 1, EdgeFace is faster."""
    ours = medians.get(_OURS[variant.gives], {})
    if variant.name == _OURS[variant.gives]:
        return {}
    return {
        frame: {"of": _OURS[variant.gives], **samples.ratio(ours[frame], rounds).to_dict()}
        for frame, rounds in mine.items()
        if len(ours.get(frame, ())) == len(rounds)
    }


def table(result: dict[str, Any]) -> str:
    """Markdown. A row without an accuracy shows no speed."""
    frames, read = list(result["conditions"]["frames"]), "expressions" in result["conditions"]
    head = [
        "what",
        "gives",
        *(f"{frame}, ms" for frame in frames),
        "EdgeFace over it",
        "first result, ms",
        "peak, MiB",
        "faces found, %",
        "NME 68, %",
        "NME 5, %",
        *(["expression, % (mean of each)"] if read else []),
        "weights",
    ]
    lines = [_line(head), _line(["---", "---", *["---:"] * (len(head) - 3), "---"])]
    groups = list(_OURS)  # what is compared stands together, ours first
    rows = sorted(result["variants"].values(), key=lambda row: groups.index(row["gives"]))
    lines += [_line(_cells(row, frames, read=read)) for row in rows]
    notes = [
        f"- {row['title']}: no result on {frame}: {_first_line(why)}"
        for row in result["variants"].values()
        for frame, why in row["no_result"].items()
    ]
    notes += [
        f"- {row['title']}: {count} more than there are on {frame}"
        for row in result["variants"].values()
        for frame, count in row["extra_faces"].items()
        if count
    ]
    notes += [f"- {peer}: not here: {how}" for peer, how in result["not_here"].items()]
    data = result["conditions"]["data"]
    judged = [row["accuracy"] for row in result["variants"].values() if row["accuracy"]]
    common = max((accuracy["common"] for accuracy in judged), default=0)
    notes.append(
        f"- accuracy on {data['photos']} labelled photos; both errors over the {common} faces that every row "
        "with points has found, in percent of the distance of the outer eye corners; times are medians; "
        "EdgeFace over it: the ratio on the first frame that both have, with its 95 % interval"
    )
    if read:
        notes.append(
            f"- expression: how many of {result['conditions']['expressions']['photos']} labelled faces were "
            "read rightly; in brackets the mean over the expressions, where rare ones count as much; of a "
            "given face the box is told, and finding it is not in the time; who finds faces itself is asked "
            "about those that EdgeFace finds, and its figure is of those that it finds too"
        )
    if result.get("interrupted"):
        notes.append(f"- interrupted: {result['conditions']['rounds']} rounds were finished")
    if result["flags"]:
        notes.append(f"- flags: {', '.join(result['flags'])}")
    return "\n".join([*lines, "", *notes])


def _cells(row: dict[str, Any], frames: list[str], *, read: bool) -> list[str]:
    accuracy = row["accuracy"]
    shown = row["latency_ms"] if accuracy is not None else {}
    ratio = next(iter(row["ratio_of_ours"].values()), None) if shown else None
    first, peak = row["first_result_ms"], row["peak_memory_mib"]
    return [
        row["title"],
        row["gives"],
        *(f"{shown[frame]['median']:.2f}" if frame in shown else "-" for frame in frames),
        f"{ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]" if ratio else "-",
        f"{first['median']:.0f}" if first and shown else "-",
        f"{peak['median']:.0f}" if peak and shown else "-",
        *(
            _number(accuracy, name)
            for name in ("recall_percent", "nme68_common_percent", "nme5_common_percent")
        ),
        *([_expression(accuracy)] if read else []),
        row["weights_licence"],
    ]


def _expression(accuracy: dict[str, Any] | None) -> str:
    told = None if accuracy is None else accuracy.get("expression")
    if not told or told["percent"] is None:
        return "-"
    lost = "" if told["told"] == told["photos"] else f", of {told['told']}"
    return f"{told['percent']:.2f} ({told['mean_of_expressions_percent']:.2f}){lost}"


def _number(accuracy: dict[str, Any] | None, name: str) -> str:
    value = None if accuracy is None else accuracy[name]
    return "-" if value is None else f"{value:.2f}"


def _first_line(text: str) -> str:
    return text.strip().splitlines()[-1][:160] if text.strip() else "it said nothing"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
