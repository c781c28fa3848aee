"""The publisher's repository of models: a folder that any static web server, or a stick, hands to devices.

It is a TUF repository (The Update Framework specification 1.0, written with python-tuf) of four roles. The
root's keys say whose keys the others have, and belong into a safe; the targets' key says what there is; the
snapshot's and the timestamp's say, again every few weeks, that nothing newer is being kept back. Beside them
stand the release keys, one per person: they sign what a bundle is, and go to the devices in ``keys.json``.

::

    REPOSITORY/metadata/   1.root.json 1.targets.json 1.snapshot.json timestamp.json, every version of them
    REPOSITORY/targets/    SHA256.NAME of bundles, their releases, releases.json and keys.json
    KEYS/                  root-1.pem ... targets.pem snapshot.pem timestamp.pem release-NAME.pem

A version that devices may have seen is never written again, and ``timestamp.json``, by which they find the
rest, is written last: whoever looks while a publisher works sees the old state or the new.
"""

from __future__ import annotations

from .repository import Days, Repository
from .signing import PublishError, make_key, sign_release

__all__ = ["Days", "PublishError", "Repository", "make_key", "sign_release"]
