"""How long the analysis of faces takes on this device, measured so that the numbers can be believed.

`edgeface bench` is this package's command. The way of one measurement:

1. `subject` opens the models on the backend that would be used, and `answers` asks them a known question: a
   runtime that answers wrongly is refused before anything is timed, and again afterwards.
2. `scenarios` names what can be measured. Each calls the analyzer over and over on pictures from `pictures`
   and checks every answer: as many faces as were put there. What was timed goes into a `samples.Series`, all
   of it: warm-up is dropped and counted, outliers stay.
3. Meanwhile `gauge` reads temperature, clocks, throttling, power and memory once a second; `machine` says
   what the device is. Both read files below an injectable root; `readings` parses what they find.
4. `record` puts it together: one JSON object that follows ``edgeface/benchmark/schema.json``, with every raw
   sample. `tables`, `page` and `compare` are made from that object alone, also years later.

Nothing is sent anywhere, and nothing in a record names the machine, its owner or a file.
"""

from __future__ import annotations

__all__ = ["ABOUT"]

ABOUT = {
    "quick": "frames of 0, 1 and 4 faces and three cold starts; about 20 seconds",
    "crop": "each student on its own",
    "frame": "whole frames of 640 x 480 with 0, 1 and 4 faces",
    "stream": "a camera, ten minutes: age, dropped frames, frames per second by minute",
    "multi": "several cameras at once",
    "fruits": "WebFace260M's FRUITS: 50 runs over six pictures, one thread",
    "mlperf": "MLPerf's single stream, ten minutes: p90 with early stopping",
    "cold": "whole processes: interpreter, import, models, first result",
}
"""What can be measured, by name; here and not beside the code, so that `--help` loads nothing."""
