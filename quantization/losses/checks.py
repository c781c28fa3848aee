"""What every loss asks of its tensors before it counts: torch would broadcast or clamp a mistake away."""

from __future__ import annotations

from torch import Tensor

__all__ = ["require_labels", "require_same_shape"]


def require_same_shape(**tensors: Tensor) -> None:
    """Raises ValueError naming the first tensor whose shape is not that of the first."""
    (first, leader), *rest = tensors.items()
    for name, tensor in rest:
        if tensor.shape != leader.shape:
            raise ValueError(
                f"{name} is {list(tensor.shape)} where {first} is {list(leader.shape)}; resize or reshape one"
            )


def require_labels(logits: Tensor, labels: Tensor, ignore: int) -> Tensor:
    """The mask of the labels [N, ...] that count, for logits [N, C, ...].

    Raises:
        ValueError: labels and logits differ in size, or a label is neither a class nor ``ignore``.
    """
    if labels.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(
            f"labels are {list(labels.shape)} where logits are {list(logits.shape)}; "
            "give one label for each vector of logits"
        )
    known = labels != ignore
    wrong = known & ((labels < 0) | (labels >= logits.shape[1]))
    if wrong.any():
        raise ValueError(
            f"label {int(labels[wrong][0])} where the logits have {logits.shape[1]} classes; "
            f"map it to one of them, or to {ignore}, which is ignored"
        )
    return known
