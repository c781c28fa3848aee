"""One node of an ONNX graph, as the functions that compute it see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Node", "Operator", "Unreadable"]


class Unreadable(ValueError):
    """A node uses what is not computed here; the message says what, and what may be done."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operator of the graph, ready to be computed.

    Attributes:
        kind: Its type, such as ``Conv``.
        attributes: Plain values by name.
        fixed: The inputs' values where the file holds them; None where they are computed or left out.
        count: How many tensors it makes.
    """

    kind: str
    attributes: Mapping[str, Any]
    fixed: tuple[NDArray[Any] | None, ...]
    count: int

    def get(self, name: str, default: Any) -> Any:
        return self.attributes.get(name, default)

    def whole(self, position: int, name: str, default: Any = None) -> Any:
        """Whole numbers, which old opsets write as an attribute and new ones as an input that is fixed."""
        if name in self.attributes:
            return self.attributes[name]
        if position >= len(self.fixed) or self.fixed[position] is None:
            if default is not None or position >= len(self.fixed):
                return default
            raise Unreadable(f"its {name} is computed from the image; fix it in the file")
        return self.fixed[position].astype(np.int64).ravel().tolist()

    def refuse_unless(self, holds: bool, what: str) -> None:
        if not holds:
            raise Unreadable(f"{what} is not computed here")


Operator = Callable[[Node, Sequence[Any]], Any]
"""What a node makes of its inputs: a tensor, or one for each of its outputs."""
