"""What a quantised network of foreign origin keeps of each output, beside what was asked for."""

from __future__ import annotations

from dataclasses import dataclass

from .parity import OutputParity

__all__ = ["EVERY", "Kept"]

EVERY = 5
"""Every fifth frame measures, the others calibrate."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The outputs of one file beside those of the float ONNX file, on frames that did not calibrate it."""

    name: str
    """What the file is called in what is told of it."""
    model: bytes
    parity: tuple[OutputParity, ...]
    min_sqnr_db: float

    @property
    def noisy(self) -> tuple[str, ...]:
        """Outputs that keep less than was asked for."""
        return tuple(o.output for o in self.parity if o.sqnr_db < self.min_sqnr_db)

    @property
    def least_db(self) -> float:
        """What the noisiest output keeps."""
        return min(o.sqnr_db for o in self.parity)

    @property
    def told_noisy(self) -> tuple[str, ...]:
        """The noisy ones in words, and what mends it."""
        return tuple(
            f"{self.name}: output '{o.output}' is NOISY: {o.sqnr_db:.2f} dB of {self.min_sqnr_db:g}; "
            "give --images like those it will see, more --frames, its own --mean, --std and --bgr, or a "
            "lower --min-sqnr-db; where it is silent on these images, its largest error counts: "
            f"{o.largest_error:.4g}"
            for o in self.parity
            if o.output in self.noisy
        )

    @property
    def told(self) -> tuple[str, ...]:
        """A line per output."""
        return tuple(
            f"  {o.output}: {o.sqnr_db:.2f} dB{' (NOISY)' if o.output in self.noisy else ''}, "
            f"largest error {o.largest_error:.4g} in frame {EVERY * o.worst_frame}"
            for o in self.parity
        )
