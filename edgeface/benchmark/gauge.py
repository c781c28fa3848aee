"""A thread that looks at the machine once a second while a benchmark runs."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    from edgeface.benchmark.machine import Machine

__all__ = ["Gauge"]

_SLOW = 5  # readings, of which one asks for power and throttling


class Gauge:
    """Notes the machine's state before, after, and once a second in between.

        with Gauge(Machine()) as gauge:
            ...
        gauge.conditions()

    Args:
        machine: what is read.
        interval: seconds between two readings.
    """

    def __init__(self, machine: Machine, interval: float = 1.0) -> None:
        self._machine, self._interval = machine, interval
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="edgeface gauge", daemon=True)
        self._before: dict[str, Any] = {}
        self._after: dict[str, Any] = {}
        self._times: list[list[int] | None] = []
        self._own = [0.0, 0.0]
        self._clock_ns = 0
        self._settled: int | None = None
        self._peak: int | None = None
        self.timeline: list[dict[str, Any]] = []
        """One entry per reading: seconds since the start, temperature, clock, power, memory, throttling."""

    def __enter__(self) -> Gauge:
        self._before = self._machine.state()
        self._times.append(self._machine.cpu_times())
        self._own[0] = sum(os.times()[:4])
        self._clock_ns = time.monotonic_ns()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self._read()
        self._own[1] = sum(os.times()[:4])
        self._times.append(self._machine.cpu_times())
        self._after = self._machine.state()

    def settle(self) -> None:
        """Everything is open and warm now: memory grows from here."""
        found = self._machine.memory()
        if self._settled is None and found is not None:
            self._settled = found[0]

    def seconds(self) -> float:
        """Since the start."""
        return (time.monotonic_ns() - self._clock_ns) / 1e9

    def conditions(self) -> dict[str, Any]:
        """The machine before and after, and who else used it.

        ``steal_share`` is what other machines on the same host took of all the time of all cores,
        ``others_share`` what other processes of this one took; None where it is unknown.
        """
        steal, others = self._shares()
        return {
            "before": self._before,
            "after": self._after,
            "steal_share": steal,
            "others_share": others,
        }

    def memory(self) -> dict[str, int | None]:
        """Bytes: the peak, where memory was when everything was open, and how far it grew from there."""
        last = self.timeline[-1]["memory_bytes"] if self.timeline else None
        growth = None if last is None or self._settled is None else last - self._settled
        # The kernel brings its own peak up to date a little late.
        peaks = [size for size in (self._peak, self._settled) if size is not None]
        peak = max(peaks, default=None)
        return {"peak_bytes": peak, "settled_bytes": self._settled, "growth_bytes": growth}

    def _watch(self) -> None:
        while not self._end.wait(self._interval):
            self._read()

    def _read(self) -> None:
        clocks, memory = self._machine.clocks(), self._machine.memory()
        # On a Raspberry Pi these two start a program, which would be seen in the times if it came too often.
        ask = len(self.timeline) % _SLOW == 0
        throttled = self._machine.throttled() if ask else None
        if memory is not None:
            self._peak = max(memory)
        self.timeline.append(
            {
                "seconds": round(self.seconds(), 3),
                "temperature_c": self._machine.temperature(),
                "clock_mhz": None if clocks is None else max(clocks),
                "power_w": self._machine.power() if ask else None,
                "memory_bytes": None if memory is None else memory[0],
                "throttled": None if throttled is None else throttled["now"],
            }
        )

    def _shares(self) -> tuple[float | None, float | None]:
        early, late = self._times[0], self._times[-1]
        if early is None or late is None:
            return None, None
        spent = [after - before for before, after in zip(early, late, strict=True)]
        total = max(sum(spent), 1)
        idle = spent[3] + spent[4]
        own = (self._own[1] - self._own[0]) * os.sysconf("SC_CLK_TCK")
        others = max(0.0, total - idle - spent[7] - own)
        return round(spent[7] / total, 4), round(others / total, 4)
