"""A record as text: Markdown for a file, and the same without its marks for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeface.benchmark.compare import Compared

__all__ = ["comparison", "device_line", "facts", "markdown", "minutes", "number", "plain", "stage_order"]

_FIGURES = ("p50", "p90", "p95", "p99", "min")
_FLAGS = {
    "throttled": "the device was slowed down by heat or by its supply",
    "noisy": "something else used the processor, or times vary by more than a fifth",
    "cpu_fallback": "a part ran on the CPU, or without its fast kernels",
    "cold": "measured for less than five minutes: a device that has become warm may be slower",
    "unchecked": "there was nothing to compare the runtime's answers with",
}
_STAGES = (
    "age",
    "total",
    "detection",
    "landmarks",
    "parsing",
    "expression",
    "interpreter",
    "import",
    "load",
    "first",
    "second",
)


def number(value: float | None, digits: int = 3) -> str:
    """A number in as many digits as it is worth; a dash for None."""
    if value is None:
        return "-"
    return f"{value:.{max(0, digits - len(str(int(abs(value)))))}f}"


def stage_order(stages: Sequence[str]) -> list[str]:
    """Stages as they follow each other, the bare runs behind their stage."""

    def place(stage: str) -> tuple[int, str]:
        name = stage.partition(".")[0]
        return (_STAGES.index(name) if name in _STAGES else len(_STAGES), stage)

    return sorted(stages, key=place)


def plain(record: dict[str, Any]) -> str:
    """What the terminal shows."""
    lines = [device_line(record), ""]
    head = ["case", "stage", "calls", *(f"{figure} ms" for figure in _FIGURES)]
    lines += _aligned([head, *_rows(record)])
    by_minute = minutes(record)
    lines += ["", *_aligned(by_minute)] if by_minute else []
    lines += ["", *(f"{name}: {value}" for name, value in facts(record)), *_warnings(record)]
    return "\n".join(lines)


def markdown(record: dict[str, Any]) -> str:
    """The same as a document."""
    head = ["case", "stage", "calls", *(f"{figure} ms" for figure in _FIGURES)]
    table = _table([head, *_rows(record)])
    by_minute = minutes(record)
    table += ["", *_table(by_minute)] if by_minute else []
    told = [f"- {name}: {_escaped(value)}" for name, value in facts(record)]
    warned = [f"- **{_escaped(line)}**" for line in _warnings(record)]
    title = f"# EdgeFace, {record['scenario']}: {_escaped(device_line(record))}"
    return "\n".join([title, "", *table, "", *told, *warned, ""])


def minutes(record: dict[str, Any]) -> list[list[str]]:
    """Frames per second and the p90 of each minute, with a head; nothing where there was one minute alone.

    A device that becomes hot is slower at its end than at its beginning.
    """
    rows = [
        [case["name"], str(told["minute"]), str(told["count"]), number(told["fps"]), number(told["p90_ms"])]
        for case in record["cases"]
        if len(case["minutes"]) > 1 and case["kind"] != "process"
        for told in case["minutes"]
    ]
    return [["case", "minute", "calls", "fps", "p90 ms"], *rows] if rows else []


def comparison(compared: Sequence[Compared], differing: Sequence[str]) -> str:
    """Two records side by side, B over A; what else differs comes first."""
    lines = [f"differs: {line}" for line in differing]
    rows = [["case", "figure", "A ms", "B ms", "B / A", "99 % interval", "verdict"]]
    for one in compared:
        interval = one.interval
        rows.append(
            [
                one.case,
                one.figure,
                number(one.first),
                number(one.second),
                "-" if interval is None else f"{interval.value:.3f}",
                "-" if interval is None else f"{interval.low:.3f} to {interval.high:.3f}",
                one.verdict,
            ]
        )
    return "\n".join([*lines, *([""] if lines else []), *_aligned(rows)])


def device_line(record: dict[str, Any]) -> str:
    """The device in one line."""
    device = record["device"]
    parts = [
        device["board"],
        device["cpu"],
        f"{device['cores']} cores",
        record["conditions"]["before"]["governor"],
    ]
    return ", ".join(str(part) for part in parts if part)


def facts(record: dict[str, Any]) -> list[tuple[str, str]]:
    """What belongs beside the numbers, as name and text."""
    models, memory = record["models"], record["memory"]
    threads = "1 thread" if models["threads"] == 1 else f"{models['threads']} threads"
    told = [("backend", f"{models['backend']}, {threads}; {models['why']}")]
    told += [("ran", text) for text in _ran(models["models"])]
    answers = {f"{a['result']} ({a['against']})" for a in record["answers"].values()}
    told.append(("answers", "; ".join(sorted(answers))))
    told.append(("picture", record["picture"]["what"]))
    samples = memory.get("samples_bytes")
    own = "" if samples is None else f" with {_mebibytes(samples)} of samples"
    grown = _mebibytes(memory["growth_bytes"])
    told.append(("memory", f"peak {_mebibytes(memory['peak_bytes'])}, growth {grown}{own}"))
    before, after = record["conditions"]["before"], record["conditions"]["after"]
    heat = before["temperature_c"], after["temperature_c"]
    told.append(("temperature", "no sensor" if heat == (None, None) else _degrees(*heat)))
    told.append(("clock", f"{_clock(before)} to {_clock(after)} MHz"))
    if after["throttled"] is not None:
        now = ", ".join(after["throttled"]["now"]) or f"no ({after['throttled']['hex']})"
        told.append(("throttled", now))
    told.append(("power", _power(record)))
    told.append(("taken by others", _others(record["conditions"])))
    told += [(f"{case['name']}", _rate(case)) for case in record["cases"] if case["kind"] != "process"]
    told += [
        (case["name"], f"peak {_mebibytes(max(peaks))} in the largest of {len(peaks)} processes")
        for case in record["cases"]
        if (peaks := [size for size in case["extra"].get("peak_bytes", ()) if size is not None])
    ]
    return told + _results(record["results"])


def _rows(record: dict[str, Any]) -> list[list[str]]:
    rows = []
    for case in record["cases"]:
        for stage in stage_order(list(case["stages_ms"])):
            told = case["stages_ms"][stage]
            rows.append(
                [case["name"], stage, str(told["count"]), *(number(told[figure]) for figure in _FIGURES)]
            )
    return rows


def _power(record: dict[str, Any]) -> str:
    """The mean while it was measured: before and after, the device rests."""
    found = [entry["power_w"] for entry in record["timeline"] if entry["power_w"] is not None]
    source = record["conditions"]["after"]["power_source"]
    if source is None:
        return "no sensor"
    return f"{number(sum(found) / len(found) if found else None)} W ({source})"


def _degrees(before: float | None, after: float | None) -> str:
    return f"{number(before)} to {number(after)} °C"


def _others(conditions: dict[str, Any]) -> str:
    shares = (
        ("other processes", conditions["others_share"]),
        ("other machines of the host", conditions["steal_share"]),
    )
    told = (f"{'-' if share is None else f'{100 * share:.1f} %'} by {who}" for who, share in shares)
    return f"{', '.join(told)}, of all cores"


def _ran(models: dict[str, Any]) -> list[str]:
    """What ran the models; those alike in one line."""
    alike: dict[str, list[str]] = {}
    for task, model in models.items():
        ran = model["ran"]
        if ran is not None:
            left = "" if ran["cpu_operators"] is None else f", {ran['cpu_operators']} operators on the CPU"
            said = f"{ran['backend']}, {ran['delegate'] or 'no delegate'}, {ran['precision']}{left}"
            alike.setdefault(said, []).append(task)
    return [f"{', '.join(tasks)}: {said}" for said, tasks in alike.items()]


def _rate(case: dict[str, Any]) -> str:
    frames = case["frames"]
    lost = "" if frames is None else f", {frames['dropped']} of {frames['came']} frames dropped"
    return f"{number(case['fps'])} frames per second{lost}; {case['warm_up']} calls of warm-up left out"


def _results(results: dict[str, Any]) -> list[tuple[str, str]]:
    told = []
    fruits, mlperf = results.get("fruits"), results.get("mlperf")
    if fruits:
        theirs = (
            f"{fruits['class'] or 'none of the classes'} by sorted[5] = {number(fruits['sorted_5_ms'])} ms"
        )
        ours = f"median {number(fruits['median_ms'])} ms, p95 {number(fruits['p95_ms'])} ms"
        told.append(("FRUITS", f"{theirs}; {ours} ({fruits['class_by_p95'] or 'no class'} by that)"))
    if mlperf:
        p90 = mlperf["estimates_ms"]["p90"]
        found = "no estimate" if p90 is None else f"p90 with early stopping {number(p90['value'])} ms"
        why = "" if mlperf["valid"] else f"; not valid by MLPerf's rules: {'; '.join(mlperf['why_not'])}"
        told.append(("MLPerf", f"{found}, {mlperf['queries']} queries{why}"))
    return told


def _warnings(record: dict[str, Any]) -> list[str]:
    told = [f"{flag}: {_FLAGS.get(flag, 'unknown to this version')}" for flag in record["flags"]]
    if record["interrupted"]:
        told.insert(0, "interrupted: the numbers are of what was measured until then")
    return told


def _mebibytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 2**20:.1f} MiB"


def _clock(state: dict[str, Any]) -> str:
    return "-" if not state["clocks_mhz"] else f"{max(state['clocks_mhz']):.0f}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Markdown; the first two columns are words."""
    ruled = [rows[0], ["---", "---", *["---:"] * (len(rows[0]) - 2)], *rows[1:]]
    return [f"| {' | '.join(_escaped(cell) for cell in row)} |" for row in ruled]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 or not _is_number(cell, rows, column) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _is_number(_cell: str, rows: Sequence[Sequence[str]], column: int) -> bool:
    return all(
        row[column].replace(".", "").replace("-", "").isdecimal() or row[column] == "-" for row in rows[1:]
    )


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
