"""Plots of one thing against another: time and memory, size and accuracy, a variant and its base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from .plots import Plot, look_of
from .verdicts import Verdict

__all__ = ["differences", "frontier", "size"]

_MIB = 2.0**20


def frontier(name: str, title: str, points: Mapping[str, tuple[float, float]]) -> Plot:
    """Systems by latency (ms) and memory (MiB); those that none beats in both are joined."""
    best = sorted(
        p
        for p in points.values()
        if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points.values())
    )

    def paint(axes: Axes, theme: Mapping[str, str]) -> None:
        axes.step([p[0] for p in best], [p[1] for p in best], where="post", color=theme["soft"])
        for what, (x, y) in points.items():
            colour = theme["int8" if what.startswith("edgeface") else "fp32"]
            axes.plot(x, y, "o" if what.startswith("edgeface") else "s", color=colour)
            axes.annotate(what, (x, y), (6, 6), textcoords="offset points", fontsize=9)
        room = [1.3 * max(values) for values in zip(*points.values(), strict=True)]  # for the names
        axes.set(xlabel="median time per frame, ms", ylabel="peak memory, MiB")
        axes.set(xlim=(0, room[0]), ylim=(0, room[1]))
        axes.grid()

    names = [what for what, p in points.items() if p in best]
    alt = f"Time per frame and peak memory of {len(points)} systems; not beaten in both: {', '.join(names)}."
    table = [
        ("system", "ms", "MiB", "on the frontier"),
        *((w, f"{x:.2f}", f"{y:.1f}", "yes" if w in names else "no") for w, (x, y) in points.items()),
    ]
    return Plot(name, title, alt, table, paint)


def size(task: str, what: str, points: Mapping[str, tuple[str, float, float]], up: bool) -> Plot:
    """Networks of a task by the bytes they are stored in and by one figure; unbeaten ones are joined.

    Args:
        task: whose.
        what: the figure.
        points: kind -> what it is called, its bytes, its figure.
        up: higher is better.
    """
    sign = 1 if up else -1
    places = {kind: (count, value) for kind, (_, count, value) in points.items()}
    best = sorted(
        p
        for p in places.values()
        if not any(q != p and q[0] <= p[0] and sign * q[1] >= sign * p[1] for q in places.values())
    )

    middle = np.exp(np.log([count for count, _ in places.values()]).mean())

    def paint(axes: Axes, theme: Mapping[str, str]) -> None:
        axes.step([p[0] / _MIB for p in best], [p[1] for p in best], where="post", color=theme["soft"])
        for kind, (name, count, value) in points.items():
            mark = "o" if kind in ("int8", "fp32") else "s"
            axes.plot(count / _MIB, value, mark, color=theme[look_of(kind, points)])
            side = (-6, "right") if count > middle else (6, "left")  # towards the middle there is room
            axes.annotate(
                name, (count / _MIB, value), (side[0], 5), textcoords="offset points", ha=side[1], fontsize=9
            )
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set(xlabel="network as it is stored, MiB (logarithmic)", ylabel=what)
        axes.margins(x=0.2, y=0.25)  # for the names
        axes.grid()

    names = [name for kind, (name, _, _) in points.items() if places[kind] in best]
    alt = f"{task}: {what} over the size of {len(points)} networks; not beaten in both: {', '.join(names)}."
    table = [
        ("network", "bytes", what, "on the frontier"),
        *((n, f"{b:,.0f}", f"{v:.4f}", "yes" if n in names else "no") for n, b, v in points.values()),
    ]
    return Plot(f"{task}-size", "Accuracy and size", alt, table, paint)


def differences(rows: Sequence[Verdict]) -> Plot:
    """Each variant's mean difference to its base with its interval, in shares of the base."""
    names = [f"{row.comparison}: {row.variant}" for row in rows]
    looks = {"helps": ("teacher", "o"), "hurts": ("fp32", "X"), "not shown": ("other", "s")}

    def paint(axes: Axes, theme: Mapping[str, str]) -> None:
        for i, row in enumerate(rows):
            sign = (1 if row.higher else -1) / row.base
            colour, mark = looks[row.verdict]
            ends = sorted((sign * row.low, sign * row.high))
            axes.plot(ends, (i, i), color=theme[colour], lw=2)
            axes.plot(sign * row.mean, i, mark, color=theme[colour], ms=7)
            side = ends[1]
            axes.annotate(row.verdict, (side, i), (6, 0), textcoords="offset points", va="center", fontsize=9)
        axes.axvline(0, color=theme["ink"], lw=0.8)
        axes.set_yticks(range(len(rows)), names)
        axes.invert_yaxis()
        axes.margins(x=0.2)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlabel("better by, of the base's figure")
        axes.grid(axis="x")

    said = {
        verdict: [n for n, row in zip(names, rows, strict=True) if row.verdict == verdict]
        for verdict in looks
    }
    told = "; ".join(f"{verdict}: {', '.join(who)}" for verdict, who in said.items() if who)
    table = [
        ("comparison", "figure", "base", "variant", "difference", "95 % interval", "verdict"),
        *(
            (
                name,
                f"{row.figure} ({'higher' if row.higher else 'lower'} is better)",
                f"{row.base:.4f}",
                f"{row.own:.4f}",
                f"{row.mean:+.4f}",
                f"{row.low:+.4f} to {row.high:+.4f}",
                row.verdict,
            )
            for name, row in zip(names, rows, strict=True)
        ),
    ]
    return Plot(
        "comparisons",
        "Better or worse than the base",
        f"Differences of {len(rows)} variants to their bases with 95 % intervals. {told}.",
        table,
        paint,
        (7.5, 1.0 + 0.4 * len(rows)),
    )
