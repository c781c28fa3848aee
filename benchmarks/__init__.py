"""Suites that compare EdgeFace with what a user would pick instead; run from a checkout, never shipped."""

from __future__ import annotations

__all__: list[str] = []
