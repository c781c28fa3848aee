"""Counts visits into an SQLite file: sums per quarter of an hour, and nothing that leads to anybody.

    python examples/count_visits.py visits.db [CAMERA]
    sqlite3 visits.db "select * from visits"

No picture, no point, no number of a face and no time of a single visit is ever written. Where there were
fewer than five visits in a quarter, only their number is: a mean of one person is a fact about that person.
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import time
from collections import Counter
from dataclasses import dataclass, field

import edgeface

TABLES = """
create table if not exists visits (
    start text not null,      -- of the interval, UTC
    minutes real not null,    -- its length
    visits integer not null,  -- faces that appeared
    stay_s real,              -- mean stay of those that left; null: too few
    facing real,              -- share of the time in which they faced the screen; null: too few
    expression text           -- the one that was seen longest, but for neutral; null: too few, or none
)
"""


@dataclass
class Sums:
    """Of one interval; all that is remembered."""

    begin: float
    visits: int = 0
    left: int = 0
    stayed: float = 0.0
    present: float = 0.0
    faced: float = 0.0
    expressions: Counter[str] = field(default_factory=Counter)

    def add(self, result: edgeface.TrackResult, seconds: float) -> None:
        """Add a frame that stands for so many seconds."""
        for event in result.events:
            if event.kind == "appeared":
                self.visits += 1
            else:
                self.left += 1
                self.stayed += event.dwell_ns / 1e9
        for track in result.tracks:
            if track.confirmed:
                self.present += seconds
                self.faced += seconds * track.facing
                self.expressions[track.expression or "neutral"] += seconds

    def row(self, minutes: float, few: int) -> tuple[object, ...]:
        """Return what may be written."""
        start = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.begin))
        if min(self.visits, self.left) < few:
            return start, minutes, self.visits, None, None, None
        del self.expressions["neutral"]
        commonest = self.expressions.most_common(1)
        return (
            start,
            minutes,
            self.visits,
            round(self.stayed / self.left, 1),
            round(self.faced / self.present, 2) if self.present else None,
            commonest[0][0] if commonest else None,
        )


def main() -> None:
    """Count until Ctrl-C or the end of the film; the interval that is not over is written too."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", help="the database; it is made if there is none")
    parser.add_argument("camera", nargs="?", default="0", help="synthetic:examples/astronaut.jpg needs none")
    parser.add_argument(
        "--minutes", type=float, default=15.0, help="length of an interval (default: %(default)s)"
    )
    parser.add_argument("--few", type=int, default=5, help="visits below which only their number is written")
    options = parser.parse_args()
    length = 60 * options.minutes

    with contextlib.closing(sqlite3.connect(options.file)) as database:
        database.execute(TABLES)

        def write(sums: Sums) -> None:
            with database:
                row = sums.row(options.minutes, options.few)
                database.execute("insert into visits values (?, ?, ?, ?, ?, ?)", row)

        sums = Sums(time.time())
        try:
            for result, seconds in results(options.camera):
                if time.time() >= sums.begin + length:
                    write(sums)
                    sums = Sums(time.time())
                sums.add(result, seconds)
        except KeyboardInterrupt:
            pass
        finally:
            write(sums)


def results(source: str):  # noqa: ANN201  a generator of (TrackResult, seconds)
    """Yield the result of every frame and the seconds since the one before."""
    with (
        edgeface.open_camera(source, live=True) as camera,
        edgeface.FaceAnalyzer(["landmarks", "expression"]) as analyzer,
    ):
        tracker, before = edgeface.FaceTracker(analyzer), None
        with edgeface.Stream(camera, tracker.update) as stream:
            for moment in stream:
                now = moment.frame.timestamp_ns
                yield moment.result, 0.0 if before is None else min(1.0, (now - before) / 1e9)
                before = now


if __name__ == "__main__":
    main()
