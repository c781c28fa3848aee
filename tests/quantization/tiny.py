"""Recipes of students that train in seconds on the miniature."""

from __future__ import annotations

from pathlib import Path

__all__ = ["EXPRESSION", "EXPRESSION_TEACHER", "LANDMARKS", "PARSING", "PARSING_TEACHER", "write"]

EXPRESSION = """
task = "expression"

[student]
widths = [4, 8, 8, 12]
balance = 0.35

[schedule]
steps = 10
batch = 8
rate = 5e-3
warmup = 5
validate_every = 10

[deploy]
labels = "fer8"
description = "Noise, told apart"
calibration = 8
min_sqnr_db = 3.0
crop = { scale = 1.0, shift = [0.0, 0.0], align_above = 12.0 }
head = {}

[gates]
lost = false     # four photos of noise
"""

EXPRESSION_TEACHER = """
task = "expression"
role = "teacher"

[student]
widths = [4, 8, 8, 12]
blocks = [1, 1, 1]
balance = 0.35

[schedule]
steps = 4
batch = 8
rate = 5e-3
warmup = 2
validate_every = 4

[deploy]
crop = { scale = 1.0, shift = [0.0, 0.0] }
"""

LANDMARKS = """
task = "landmarks"

[student]
size = 112
widths = [4, 8, 8, 12, 12]
code = 24
negatives = 0.2
turned = 0.1
covered = 0.2
strength = 0.3
share = { lfpw = 0.6, celebamask = 0.2, youtube_faces = 0.2 }

[schedule]
steps = 30
batch = 8
rate = 3e-3
warmup = 5
validate_every = 15

[deploy]
labels = "ibug68"
description = "Points of drawn heads"
calibration = 8
min_sqnr_db = 3.0
crop = { scale = 1.25, shift = [0.0, 0.12], align_above = 20.0 }
head = { residual_scale = 1.0 }

[targets]
nme = "<= 0.2"

[gates]
lost = false     # two photos
bytes = 200_000
"""

PARSING = """
task = "parsing"
teacher = "parsing-teacher"

[student]
size = 64
widths = [4, 8, 8, 12, 12]
decoder = [8, 8, 8, 8]
taught = ["celeba_hq"]
taught_share = 0.5
turned = 0.1
strength = 0.3
dice = 1.0

[schedule]
steps = 4
batch = 2
rate = 1e-3
warmup = 2
validate_every = 4

[deploy]
labels = "celebamask19"
description = "Parts of drawn heads"
calibration = 4
min_sqnr_db = -20.0
crop = { scale = 1.45, shift = [0.0, -0.07], align_above = 20.0 }
head = {}

[gates]
parity = false
lost = false
"""

PARSING_TEACHER = """
task = "parsing"

[student]
encoder = "tf2_mobilenet_v2_1.0_224_ptq.tflite"
size = 64
decoder = [8, 8, 8, 8]
rare = 1.0
turned = 0.1
strength = 0.3
dice = 1.0

[schedule]
steps = 2
batch = 2
rate = 1e-3
warmup = 1
validate_every = 2

[deploy]
crop = { scale = 1.45, shift = [0.0, -0.07] }
"""


def write(folder: Path, **recipes: str) -> Path:
    """Writes each as NAME.toml (``_`` in a name becomes ``-``); returns the path of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name.replace('_', '-')}.toml" for name in recipes]
    for path, text in zip(paths, recipes.values(), strict=True):
        path.write_text(text)
    return paths[0]
