"""Faces that look like one of FER+'s eight classes: which movements make them up, and how clearly.

The movements are the action units that EMFACS gives each of them (Friesen & Ekman, 1983; contempt is
one-sided), told as ARKit's coefficients. They are what a class is acted like: how people look who feel so
varies far more (Barrett et al., "Emotional Expressions Reconsidered", 2019).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from edgeface.labels import FER8

from .head import EXPRESSIONS, mirrored_expression

__all__ = ["PROTOTYPES", "draw_emotion"]

Array = NDArray[np.float32]

PROTOTYPES: Mapping[str, tuple[Mapping[str, float], ...]] = MappingProxyType(
    {
        "neutral": (
            {}, {"jawOpen": 0.12}, {"mouthPress": 0.25}, {"browInnerUp": 0.2}, {"mouthShrugLower": 0.2},
        ),
        "happiness": (
            {"mouthSmile": 0.7, "cheekSquint": 0.4, "mouthDimple": 0.2},
            {"mouthSmile": 0.9, "cheekSquint": 0.7, "eyeSquint": 0.4, "mouthUpperUp": 0.45,
             "mouthLowerDown": 0.3, "jawOpen": 0.12},
            {"mouthSmile": 0.9, "cheekSquint": 0.8, "eyeSquint": 0.5, "mouthUpperUp": 0.4,
             "mouthLowerDown": 0.4, "jawOpen": 0.45},
        ),
        "surprise": (
            {"browInnerUp": 0.9, "browOuterUp": 0.9, "eyeWide": 0.8, "jawOpen": 0.55},
            {"browInnerUp": 0.7, "browOuterUp": 0.8, "eyeWide": 0.7, "jawOpen": 0.3, "mouthFunnel": 0.5},
            {"browInnerUp": 0.8, "browOuterUp": 0.9, "eyeWide": 0.9},
        ),
        "sadness": (
            {"browInnerUp": 0.8, "mouthFrown": 0.7, "mouthShrugLower": 0.4},
            {"browInnerUp": 0.7, "browDown": 0.3, "mouthFrown": 0.8, "mouthStretch": 0.2, "eyeSquint": 0.3},
            {"browInnerUp": 0.6, "mouthFrown": 0.5, "eyeBlink": 0.35, "eyeLookDown": 0.4},
            {"browInnerUp": 0.7, "browDown": 0.3, "eyeSquint": 0.6, "eyeBlink": 0.3, "mouthFrown": 0.6,
             "mouthUpperUp": 0.4, "mouthLowerDown": 0.4, "jawOpen": 0.2, "cheekSquint": 0.4},
        ),
        "anger": (
            {"browDown": 1.0, "eyeSquint": 0.3, "mouthPress": 0.7, "mouthRollUpper": 0.3,
             "mouthRollLower": 0.3},
            {"browDown": 1.0, "eyeWide": 0.4, "noseSneer": 0.3, "mouthFrown": 0.4, "mouthShrugLower": 0.3},
            {"browDown": 1.0, "noseSneer": 0.6, "mouthUpperUp": 0.5, "mouthLowerDown": 0.6,
             "mouthFunnel": 0.2, "jawOpen": 0.35},
        ),
        "disgust": (
            {"noseSneer": 1.0, "mouthUpperUp": 0.6, "browDown": 0.5, "eyeSquint": 0.5,
             "mouthShrugLower": 0.4},
            {"noseSneer": 0.8, "mouthUpperUp": 0.6, "mouthLowerDown": 0.4, "mouthFrown": 0.5,
             "jawOpen": 0.2, "eyeSquint": 0.6},
        ),
        "fear": (
            {"browInnerUp": 0.9, "browOuterUp": 0.4, "browDown": 0.3, "eyeWide": 0.9, "mouthStretch": 0.7,
             "jawOpen": 0.25},
            {"browInnerUp": 0.9, "browOuterUp": 0.5, "eyeWide": 0.8, "mouthStretch": 0.8,
             "mouthLowerDown": 0.4},
        ),
        "contempt": (
            {"mouthSmileLeft": 0.45, "mouthDimpleLeft": 0.8, "mouthPressLeft": 0.3, "eyeSquint": 0.15},
            {"mouthUpperUpLeft": 0.5, "mouthDimpleLeft": 0.6, "mouthSmileLeft": 0.3, "browDown": 0.2},
        ),
    }
)  # fmt: skip
"""Class -> ways to show it, as coefficients by ARKit's names; without a side both are meant."""

_DRAWN = {"neutral": 0.27, "happiness": 0.21, "surprise": 0.13, "sadness": 0.13, "anger": 0.11,
          "disgust": 0.05, "fear": 0.06, "contempt": 0.04}  # fmt: skip
# What people take a class for beside neutral (FER+'s own confusions).
_LIKE = {"fear": "surprise", "surprise": "fear", "disgust": "anger", "anger": "disgust", "sadness": "neutral",
         "contempt": "neutral", "happiness": "neutral", "neutral": "sadness"}  # fmt: skip


def draw_emotion(rng: np.random.Generator) -> tuple[Array, Array]:
    """Coefficients float32 [51], by ``EXPRESSIONS``, and shares of the classes float32 [8], by FER-8.

    The weaker it is shown, the more of its share goes to neutral.
    """
    names = list(_DRAWN)
    name = names[rng.choice(len(names), p=list(_DRAWN.values()))]
    strength = float(rng.uniform(0.45, 1.2))
    ways = PROTOTYPES[name]
    shown = _coefficients(ways[rng.integers(len(ways))], strength, rng)
    clear = 0.9 if name == "neutral" else float(np.clip((strength - 0.2) / 0.6, 0.45, 0.9))
    shares = np.zeros(len(FER8), np.float32)
    shares[FER8.names.index(name)] = clear
    shares[FER8.names.index("neutral")] += (1 - clear) * 0.7
    shares[FER8.names.index(_LIKE[name])] += (1 - clear) * 0.3
    _look_about(shown, rng)
    coefficients = np.array([min(1.0, shown.get(key, 0.0)) for key in EXPRESSIONS], np.float32)
    return mirrored_expression(coefficients) if rng.random() < 0.5 else coefficients, shares


def _coefficients(way: Mapping[str, float], strength: float, rng: np.random.Generator) -> dict[str, float]:
    """A way to show something, each movement a little more or less, a little more on one side."""
    shown: dict[str, float] = {}
    for stem, value in way.items():
        reach = value * strength * float(rng.uniform(0.7, 1.2))
        for name in (stem, f"{stem}Left", f"{stem}Right"):
            if name in EXPRESSIONS:
                shown[name] = reach * float(rng.uniform(0.85, 1.0))
    for _ in range(2):  # and what has nothing to do with it
        name = EXPRESSIONS[rng.integers(len(EXPRESSIONS))]
        shown[name] = shown.get(name, 0.0) + float(rng.uniform(0, 0.12))
    return shown


def _look_about(shown: dict[str, float], rng: np.random.Generator) -> None:
    """A gaze, and now and then a blink."""
    across, up = rng.normal(0, 0.2, 2)
    for side, sign in (("Left", 1), ("Right", -1)):
        gaze = {
            ("eyeLookOut" if across * sign > 0 else "eyeLookIn") + side: abs(across),
            ("eyeLookUp" if up > 0 else "eyeLookDown") + side: abs(up),
        }
        for name, value in gaze.items():
            shown[name] = shown.get(name, 0.0) + float(value)
    if rng.random() < 0.08:
        for side in ("Left", "Right"):
            shown["eyeBlink" + side] = float(rng.uniform(0.5, 1))
            shown.pop("eyeWide" + side, None)
