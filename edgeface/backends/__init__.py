"""What runs a model: one file per runtime, all behind the two small protocols of `edgeface.backends.base`.

A backend declares the artifact formats that it opens and is found by them; nothing of it is imported before
it is needed. `edgeface.backends.scripted` plays canned outputs, so that an application can be tested without
a model.
"""

from __future__ import annotations

from edgeface.backends.base import Backend, Session, Tensors, select

__all__ = ["Backend", "Session", "Tensors", "select"]
