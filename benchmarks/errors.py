"""`BenchmarkError`: the one way a benchmark fails. A run that fails leaves no result behind."""

from __future__ import annotations

__all__ = ["BenchmarkError"]


class BenchmarkError(Exception):
    """A side would not start, died, or gave an answer that is not a face: there is nothing to compare."""
