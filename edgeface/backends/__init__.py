"""What runs a model: one file per runtime, all behind the two small protocols of `edgeface.backends.base`.

A backend's file says in its line ``OFFERS`` which artifact formats it opens and is found by them; nothing of
it is imported before it is needed, and no other file names it. Another distribution adds one with an entry
point of the group ``edgeface.backends``, which names a module with a function ``create``, or that function::

    [project.entry-points."edgeface.backends"]
    npu = "my_package.npu"

`edgeface.backends.scripted` plays canned outputs, so that an application can be tested without a model.
"""

from __future__ import annotations

from edgeface.backends.base import Backend, Ran, Session, Tensors, create, known, select

__all__ = ["Backend", "Ran", "Session", "Tensors", "create", "known", "select"]
