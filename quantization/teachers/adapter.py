"""What must be known of a foreign ONNX model before it can teach, as plain data.

`quantization.teachers.adapterfile` reads it from a TOML file whose tables and keys are the classes and fields
here; `quantization.teachers.onnx` runs the model by it.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeface.labels import FER8, parsing_scheme

from ..datasets import Terms

__all__ = [
    "IGNORED",
    "Adapter",
    "AdapterError",
    "Crop",
    "Detection",
    "Expression",
    "Input",
    "Landmarks",
    "Licence",
    "Parsing",
    "Template",
]

IGNORED = "-"  # a channel of the model that the house has no name for
Template = tuple[tuple[float, float], ...]


class AdapterError(ValueError):
    """An adapter is malformed, or the model is not the one that it describes; the message names the key."""


@dataclass(frozen=True, slots=True)
class Licence:
    """Terms of what the user brings.

    Attributes:
        code: Of the published code, for example ``"MIT"``.
        weights: Of the weights and of the data they were trained on, in words.
        commercial: False where code, weights or training data forbid commercial use or grant no licence:
            such a teacher opens only after its terms were accepted.
    """

    code: str
    weights: str
    commercial: bool


@dataclass(frozen=True, slots=True)
class Input:
    """How a crop becomes a tensor: ``(pixel / scale - mean) / std``, pixels 0 to 255.

    Attributes:
        name: Of the model's input.
        size: (width, height).
        layout: ``"NCHW"`` or ``"NHWC"``.
        colour: ``"RGB"`` or ``"BGR"``; ``mean`` and ``std`` are in the same order.
        scale: Divisor of the pixels.
        mean: One per channel.
        std: One per channel.
        box: Name of a second input that takes the face box, float [1, 4] (left, top, right, bottom in pixels
            of the picture); empty when the model has none.
    """

    name: str
    size: tuple[int, int]
    layout: str
    colour: str
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    box: str


@dataclass(frozen=True, slots=True)
class Crop:
    """Which part of the picture the model sees.

    Attributes:
        kind: ``"whole"`` picture; ``"box"``: around the face box; ``"points"``: five points onto a template;
            ``"celebahq"``: the square that CelebA-HQ cut out around eyes and mouth; ``"polar"``: RoI
            tanh-polar that keeps angles (Lin et al., 2021).
        fit: Of ``whole``: ``"stretch"`` or ``"letterbox"`` (top left, the rest black).
        scale: Of ``box``: side of the crop over side of the box.
        shift: Of ``box``: the centre's move (x, y), in sides of the box.
        square: Of ``box``: the longer side counts for both.
        clip: Of ``box``: cut at the picture's edge (then stretched) instead of filled with black.
        templates: Of ``points``: one or more sets of five points (picture's left eye, right eye, nose, left
            and right corner of the mouth) in input pixels, centres at integers; the nearest set is taken.
        tanh: Of ``points``: share of the half side from which on the crop is squeezed by tanh to show the
            whole picture (0: none), as in FaRL.
        note: What the sources leave open about the crop; empty when nothing.
    """

    kind: str
    fit: str
    scale: float
    shift: tuple[float, float]
    square: bool
    clip: bool
    templates: tuple[Template, ...]
    tanh: float
    note: str


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Points as numbers or heatmaps. Here as below an output is given by its name or its place (``"#0"``).

    Attributes:
        output: Name of the output: [1, N, 2] or [1, 2N] (x, y), or heatmaps [1, N, h, w].
        decode: ``"pixels"`` of the input; ``"unit"``: 0 to 1 between the input's edges; ``"signed"``: -1 to 1
            between them; ``"argmax"`` or ``"centroid"`` of heatmaps.
        activation: Before a centroid: ``"sigmoid"`` or ``"none"``.
        scheme: ``"ibug68"``, or empty for an order that the house has no name for.
        count: Number of points.
    """

    output: str
    decode: str
    activation: str
    scheme: str
    count: int


@dataclass(frozen=True, slots=True)
class Parsing:
    """A map per class.

    Attributes:
        output: Name of the output.
        layout: ``"NCHW"`` or ``"NHWC"`` of the output.
        scheme: Key of the house's scheme (`edgeface.labels`) that the result is in.
        channels: Class of `scheme` for every channel, or ``"-"`` for one that is thrown away.
        softmax: The output holds logits; False: it holds probabilities already.
    """

    output: str
    layout: str
    scheme: str
    channels: tuple[str, ...]
    softmax: bool

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes of the scheme that the model never says."""
        return tuple(name for name in parsing_scheme(self.scheme).names if name not in self.channels)


@dataclass(frozen=True, slots=True)
class Expression:
    """One score per class, brought into the order of FER8.

    Attributes:
        output: Name of the output, [1, N].
        channels: Class of FER8 for every score, or ``"-"`` for one that is no class (valence, arousal).
        softmax: The output holds logits.
    """

    output: str
    channels: tuple[str, ...]
    softmax: bool

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes of FER8 that the model never says; their probability is 0."""
        return tuple(name for name in FER8.names if name not in self.channels)


@dataclass(frozen=True, slots=True)
class Detection:
    """Boxes by their corners, and class scores.

    Attributes:
        scores: Name of the output [1, N, K].
        column: Which of the K scores is the face's.
        boxes: Name of the output [1, N, 4]: left, top, right, bottom.
        decode: ``"unit"``: 0 to 1 between the input's edges; ``"pixels"`` of the input.
        threshold: Least score.
        nms: Largest overlap (IoU) of two faces.
    """

    scores: str
    column: int
    boxes: str
    decode: str
    threshold: float
    nms: float


@dataclass(frozen=True, slots=True)
class Adapter:
    """One teacher. ``verified`` and ``unverified`` say in words what was tried here and what was not.

    ``network`` is the module of `quantization.teachers.networks` that reads its checkpoint; empty when there
    is none, and only an ONNX file will do.
    """

    name: str
    title: str
    source: tuple[str, ...]
    verified: str
    unverified: str
    export: str
    network: str
    sha256: str
    licence: Licence
    input: Input
    crop: Crop
    output: Landmarks | Parsing | Expression | Detection

    @property
    def terms(self) -> Terms:
        """The same as any data set's; what the file leaves unsaid of commerce it does not allow."""
        licence = f"code: {self.licence.code}; weights: {self.licence.weights}"
        return Terms(self.title, licence, self.licence.commercial, self.source[0])

    @property
    def task(self) -> str:
        """``"landmarks"``, ``"parsing"``, ``"expression"`` or ``"detection"``."""
        return type(self.output).__name__.lower()
