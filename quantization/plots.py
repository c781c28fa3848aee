"""The report's plots: each a drawing, a sentence that says what is seen, and a table of the same numbers.

Colours are those of Okabe and Ito (2008), told apart with any colour vision; kinds differ in line style and
hatching as well. Every plot is drawn twice, for a light and a dark page.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

__all__ = [
    "Plot",
    "bars",
    "confusion",
    "curve",
    "draw",
    "int8_cost",
    "learning",
    "look_of",
    "percent",
    "reliability",
]

Kinds = Mapping[
    str, Any
]  # "int8", "fp32", "teacher", or the name of one that was trained here: what there is
Table = Sequence[Sequence[str]]  # the first row is the head

_LIGHT = {"ink": "#22272e", "soft": "#d5dae1", "int8": "#0072b2", "fp32": "#c25e00", "teacher": "#00805f",
          "one": "#a8437f", "other": "#5c6670"}  # fmt: skip
_DARK = {"ink": "#e4e8ee", "soft": "#3a424d", "int8": "#56b4e9", "fp32": "#e69f00", "teacher": "#2fc79c",
         "one": "#e08bbb", "other": "#9aa5b1"}  # fmt: skip
_LINES = {"int8": "-", "fp32": "--", "teacher": ":", "one": "-.", "other": (0, (6, 1, 1, 1, 1, 1))}
_HATCHES = {"int8": "", "fp32": "///", "teacher": "...", "one": "xxx", "other": "---"}


def look_of(kind: str, kinds: Iterable[str]) -> str:
    """By what name a kind's colour, line and hatch are known; teachers trained here take turns."""
    if kind in ("int8", "fp32", "teacher"):
        return kind
    trained = [other for other in kinds if other not in ("int8", "fp32", "teacher")]
    return ("one", "other")[trained.index(kind) % 2]


@dataclass(frozen=True, slots=True)
class Plot:
    """``name`` is the stem of its file; ``paint`` draws it onto axes in a theme's colours."""

    name: str
    title: str
    alt: str
    table: Table
    paint: Callable[[Axes, Mapping[str, str]], None]
    size: tuple[float, float] = (6.0, 3.6)  # inches


def draw(plot: Plot, dark: bool = False) -> bytes:
    """The plot as a PNG, its background transparent; the same bytes each time."""
    theme = _DARK if dark else _LIGHT
    ink = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    style = dict.fromkeys(ink, theme["ink"]) | {
        "grid.color": theme["soft"],
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 10,
        "legend.frameon": False,
        "hatch.color": theme["ink"],
        "hatch.linewidth": 0.5,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=plot.size, layout="constrained")
        plot.paint(figure.subplots(), theme)
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=144, metadata={"Software": None})
    return out.getvalue()


def percent(value: float | None) -> str:
    """A share with one decimal; a dash for none."""
    return "-" if value is None or np.isnan(value) else f"{100 * value:.1f} %"


def _listed(values: Mapping[str, str]) -> str:
    return ", ".join(f"{kind} {value}" for kind, value in values.items())


def learning(
    task: str, name: str, stages: Sequence[tuple[str, Sequence[Mapping[str, float]]]], figures: Sequence[str]
) -> Plot:
    """Figures of a log over the steps of a training's stages, ``(name, rows)``, end to end; at most four."""
    rows: list[tuple[str, float, Mapping[str, float]]] = []
    ends: list[tuple[str, float]] = []
    for stage, log in stages:
        offset = ends[-1][1] if ends else 0
        rows += [(stage, offset + row["step"], row) for row in log]
        ends.append((stage, rows[-1][1]))
    told = {f.removeprefix("val_"): [row.get(f, np.nan) for _, _, row in rows] for f in figures}

    def paint(axes: Axes, theme: Mapping[str, str]) -> None:
        looks = zip((theme["int8"], theme["fp32"], theme["teacher"], theme["ink"]), "osD^", strict=True)
        for (what, values), (colour, marker) in zip(told.items(), looks, strict=False):
            axes.plot([step for _, step, _ in rows], values, f"-{marker}", ms=4, color=colour, label=what)
        for stage, end in ends:
            axes.axvline(end, color=theme["soft"], zorder=0)
            label = stage.removeprefix(f"{task}-")
            axes.annotate(
                label, (end, 1), (0, 2), ("data", "axes fraction"), "offset points", ha="right", fontsize=8
            )
        axes.set(xlabel="step", xlim=(0, None))
        axes.grid(axis="y")
        axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=4)

    ways = [f"{what} from {values[0]:.3f} to {values[-1]:.3f}" for what, values in told.items()]
    alt = f"{task}, {ends[-1][1]:g} steps in {len(ends)} stages: {'; '.join(ways)}."
    columns = zip(*told.values(), strict=True)
    table = [
        ("stage", "step", *told),
        *((n, f"{s:g}", *(f"{v:.4f}" for v in vs)) for (n, s, _), vs in zip(rows, columns, strict=True)),
    ]
    return Plot(f"{task}-{name}", name.capitalize().replace("-", " "), alt, table, paint)


@dataclass(frozen=True, slots=True)
class _Curve:
    """What one of `_CURVES` shows: names of the two rows, axes, the figure in its legend, and in words."""

    title: str
    rows: tuple[str, str]
    axes: tuple[str, str]
    figure: str
    alt: str
    every: int  # row that the table tells


_CURVES = {
    "ced": _Curve(
        "Cumulative errors",
        ("threshold", "share"),
        ("NME by the outer eye corners", "faces not above it"),
        "AUC {:.1%}",
        "Cumulative error distribution up to an NME of 10 %; area under it",
        10,
    ),
    "precision-recall": _Curve(
        "Precision and recall at IoU 0.5",
        ("recall", "precision"),
        ("recall", "precision"),
        "AP {:.1%}",
        "Precision over recall at IoU 0.5; average precision",
        10,
    ),
    "risk-coverage": _Curve(
        "Risk and coverage",
        ("coverage", "risk"),
        ("answered, the surest first", "of these wrong"),
        "AURC {:.4f}",
        "Share of wrong answers among the surest; area under it",
        20,
    ),
}


def curve(task: str, which: str, kinds: Kinds, figure: Mapping[str, float]) -> Plot:
    """A line per kind, both axes in percent, the same places in the table for all.

    ``which``: ``ced`` (Cumulative Error Distribution), ``precision-recall`` or ``risk-coverage``;
    ``figure``: AUC10, AP at IoU 0.5 or AURC per kind.
    """
    told = _CURVES[which]
    lines = {kind: tuple(rows[name] for name in told.rows) for kind, rows in kinds.items()}
    legend = {kind: told.figure.format(figure[kind]).replace("%", " %") for kind in kinds}

    def paint(axes: Axes, theme: Mapping[str, str]) -> None:
        for kind, (x, y) in lines.items():
            values = np.array(y, np.float64)
            look = look_of(kind, lines)
            axes.plot(x, values, ls=_LINES[look], color=theme[look], label=f"{kind} ({legend[kind]})", lw=2)
        axes.set(xlabel=told.axes[0], ylabel=told.axes[1], xlim=(0, None), ylim=(0, None))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1))
        axes.grid()
        axes.legend()

    table: list[Sequence[str]] = [("", *told.axes)]
    for kind, (x, y) in lines.items():
        points = list(zip(x, y, strict=True))[:: told.every]
        table += [(kind, percent(a), percent(b)) for a, b in points]
    return Plot(f"{task}-{which}", told.title, f"{told.alt}: {_listed(legend)}.", table, paint)


def bars(name: str, title: str, what: str, kinds: Mapping[str, Mapping[str, float | None]]) -> Plot:
    """A figure per class and kind, in percent; a class without one has no bar."""
    classes = list(dict.fromkeys(c for values in kinds.values() for c in values))
    height = 0.8 / len(kinds)

    def paint(axes: Axes, theme: Mapping[str, str]) -> None:
        for i, (kind, values) in enumerate(kinds.items()):
            lengths = np.array([values.get(c) for c in classes], np.float64)  # None becomes NaN
            places = np.arange(len(classes)) - 0.4 + height * (i + 0.5)
            look = look_of(kind, kinds)
            axes.barh(places, lengths, height, color=theme[look], hatch=_HATCHES[look], label=kind)
        axes.set_yticks(range(len(classes)), classes)
        axes.set(xlabel=what, ylim=(len(classes) - 0.4, -0.6))
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=3)

    first, values = next(iter(kinds.items()))
    real = {c: v for c, v in values.items() if v is not None and np.isfinite(v)}
    alt = f"{what} per class, {' and '.join(kinds)}."
    if real:
        low, high = min(real, key=real.__getitem__), max(real, key=real.__getitem__)
        alt += f" Of {first} the lowest is {low} with {percent(real[low])}, the highest {high} with "
        alt += f"{percent(real[high])}."
    table = [("", *kinds), *((c, *(percent(v.get(c)) for v in kinds.values())) for c in classes)]
    return Plot(name, title, alt, table, paint, (6.0, 1.1 + 0.19 * len(classes) * (len(kinds) + 0.6)))


def confusion(task: str, classes: Sequence[str], matrix: Sequence[Sequence[int]], kind: str) -> Plot:
    """Rows are true classes, columns what was said, each row in shares of its sum."""
    counts = np.array(matrix, np.float64)
    share = np.divide(counts, counts.sum(1, keepdims=True), out=np.zeros_like(counts), where=counts > 0)
    many = len(classes) > 10

    def paint(axes: Axes, theme: Mapping[str, str]) -> None:
        axes.imshow(share, cmap="cividis", vmin=0, vmax=1)
        axes.set_xticks(range(len(classes)), classes, rotation=90)
        axes.set_yticks(range(len(classes)), classes)
        axes.set(xlabel="said", ylabel="true")
        axes.spines[:].set_visible(False)
        for i, j in np.argwhere(share >= (0.05 if many else 0.01)):
            colour = "black" if share[i, j] > 0.5 else "white"
            text = f"{100 * share[i, j]:.0f}"
            axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=7 if many else 9)

    mistakes = share - np.diag(np.diag(share))
    i, j = np.unravel_index(mistakes.argmax(), share.shape)
    alt = (
        f"Confusion matrix of {task}, {kind}, in percent of each true class. The most frequent mistake: "
        f"{classes[i]} taken for {classes[j]}, {percent(float(share[i, j]))}."
    )
    rows = [(c, *(percent(v) for v in row)) for c, row in zip(classes, share.tolist(), strict=True)]
    side = 1.8 + (0.32 if many else 0.5) * len(classes)
    return Plot(
        f"{task}-confusion",
        f"Confusion ({kind})",
        alt,
        [("true \\ said", *classes), *rows],
        paint,
        (side, side),
    )


def reliability(task: str, kinds: Kinds, ece: Mapping[str, float]) -> Plot:
    """Accuracy over confidence in bins of equal width; the diagonal is perfect calibration."""
    legend = {k: f"ECE {percent(ece[k])}" for k in kinds}

    def paint(axes: Axes, theme: Mapping[str, str]) -> None:
        axes.plot([0, 1], [0, 1], color=theme["ink"], lw=0.8, label="perfect")
        for kind, bins in kinds.items():
            x, y = (np.array(bins[key], np.float64) for key in ("confidence", "accuracy"))
            size = 10 + 250 * np.sqrt(np.array(bins["count"]) / max(sum(bins["count"]), 1))
            look = look_of(kind, kinds)
            axes.plot(x, y, ls=_LINES[look], color=theme[look], label=f"{kind} ({legend[kind]})")
            axes.scatter(x, y, size, color=theme[look], alpha=0.5, linewidths=0)
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1))
        axes.set_aspect("equal")
        axes.grid()
        axes.legend(loc="upper left")

    table: list[Sequence[str]] = [("", "bin", "images", "confidence", "accuracy")]
    for kind, bins in kinds.items():
        columns = zip(bins["count"], bins["confidence"], bins["accuracy"], strict=True)
        table += [(kind, str(i), str(n), percent(c), percent(a)) for i, (n, c, a) in enumerate(columns, 1)]
    alt = (
        f"Accuracy over confidence; a dot's area grows with its images. Calibration error: {_listed(legend)}."
    )
    return Plot(f"{task}-reliability", "Reliability", alt, table, paint, (5.0, 4.6))


def int8_cost(task: str, figures: Sequence[tuple[str, float, float, bool]]) -> Plot:
    """What int8 changes: ``(figure, int8, fp32, higher is better)``, in hundredths of the figure."""
    change = [100 * (a - b) for _, a, b, _ in figures]
    names = [name for name, *_ in figures]
    gain = [(c >= 0) == up for c, (*_, up) in zip(change, figures, strict=True)]

    def paint(axes: Axes, theme: Mapping[str, str]) -> None:
        for i, (value, good) in enumerate(zip(change, gain, strict=True)):
            kind = "teacher" if good else "fp32"
            axes.barh(i, value, 0.6, color=theme[kind], hatch="" if good else "///")
            side = 1 if value >= 0 else -1
            axes.annotate(
                f"{value:+.2f}", (value, i), (4 * side, 0), textcoords="offset points",
                va="center", ha="left" if side > 0 else "right", fontsize=9,
            )  # fmt: skip
        axes.axvline(0, color=theme["ink"], lw=0.8)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.margins(x=0.25)
        axes.set_xlabel("int8 - fp32, percentage points (hatched: worse)")

    worst = max(range(len(names)), key=lambda i: abs(change[i]))
    alt = f"Change from fp32 to int8 per figure; the largest is {names[worst]}, {change[worst]:+.2f} points."
    table = [
        ("figure", "int8", "fp32", "int8 - fp32"),
        *(
            (n, percent(a), percent(b), f"{c:+.2f} points")
            for (n, a, b, _), c in zip(figures, change, strict=True)
        ),
    ]
    return Plot(f"{task}-int8-fp32", "int8 against fp32", alt, table, paint, (6.0, 1.0 + 0.35 * len(names)))
