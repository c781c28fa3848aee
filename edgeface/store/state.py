"""What the store knows, and how it changes: values and pure functions, written to the disk by nobody here.

There are two slots. One may be confirmed: it holds what runs. A bundle goes into the other one and is on
trial there, until it is confirmed or, after `MOST_FAILURES` tries, given up. With no slot confirmed, the
models that are built into the package run::

    nothing on trial --staged--> to be checked --checked--> running, on trial --confirmed_now--> confirmed
                                       |                            |
                                       +---------- given_up --------+--> as before, remembered as failed
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from edgeface.errors import BundleError
from edgeface.manifest import Section

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MOST_FAILURES", "SLOTS", "Failed", "Slot", "State", "Trial"]

SLOTS = ("a", "b")
MOST_FAILURES = 3
"""Tries of a bundle, each counted before it begins, after which it is given up."""

_SCHEMA = "edgeface.store/1"
_MOST_FAILED = 8
_MOST_REASON = 300
_MOST_RELEASE = 64 << 10


@dataclass(frozen=True, slots=True)
class Slot:
    """What a slot holds.

    Attributes:
        name: The bundle's name.
        version: The bundle's version.
        digest: SHA-256 of the bundle's header.
        signers: Whose signatures were verified; none: it was taken without, because somebody said so.
        release: The release as it was read, so that it can be verified again; empty: there was none.
        installed: When, UTC, by this device's clock.
    """

    name: str
    version: str
    digest: str
    signers: tuple[str, ...]
    release: str
    installed: str


@dataclass(frozen=True, slots=True)
class Trial:
    """A slot that is not confirmed yet.

    Attributes:
        slot: Which one.
        failures: Tries that began and were not seen to succeed.
        checked: It passed the health check and runs; before that, the confirmed slot runs.
        waits: The health check is not enough: what runs it must confirm it.
    """

    slot: str
    failures: int = 0
    checked: bool = False
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """A bundle that was given up, and why."""

    version: str
    digest: str
    reason: str


@dataclass(frozen=True, slots=True)
class State:
    """All of it. ``floor`` is the version that the next one must be above; None: none was confirmed yet."""

    confirmed: str | None = None
    trial: Trial | None = None
    slots: Mapping[str, Slot] = field(default_factory=dict)
    floor: str | None = None
    failed: tuple[Failed, ...] = ()

    @property
    def current(self) -> str | None:
        """The slot that runs; None: the built-in models do."""
        if self.trial is not None and self.trial.checked:
            return self.trial.slot
        return self.confirmed

    @property
    def spare(self) -> str:
        """The slot that may be overwritten."""
        return SLOTS[1] if self.confirmed == SLOTS[0] else SLOTS[0]

    @property
    def pending(self) -> Trial:
        """What is on trial, for those who know that something is.

        Raises:
            LookupError: nothing is.
        """
        if self.trial is None:
            raise LookupError("nothing is on trial")
        return self.trial

    @property
    def exhausted(self) -> bool:
        """What is on trial has had all its tries."""
        return self.trial is not None and self.trial.failures >= MOST_FAILURES

    def without_spare(self) -> State:
        """Before the spare slot is overwritten: nothing points to it any more."""
        slots = {name: slot for name, slot in self.slots.items() if name == self.confirmed}
        return replace(self, trial=None, slots=slots)

    def staged(self, slot: Slot, *, waits: bool, failures: int) -> State:
        """The spare slot holds ``slot`` and is to be checked."""
        slots = {**self.without_spare().slots, self.spare: slot}
        failed = tuple(item for item in self.failed if item.digest != slot.digest)
        return replace(self, trial=Trial(self.spare, failures, False, waits), slots=slots, failed=failed)

    def tried(self) -> State:
        """One more try begins."""
        return replace(self, trial=replace(self.pending, failures=self.pending.failures + 1))

    def checked(self) -> State:
        """The health check passed: confirmed, unless what runs it has to say so."""
        if self.pending.waits:
            return replace(self, trial=replace(self.pending, failures=0, checked=True))
        return self.confirmed_now()

    def confirmed_now(self) -> State:
        """What was on trial runs from now on; the slot that ran before is kept, to go back to."""
        slot = self.pending.slot
        return replace(self, confirmed=slot, trial=None, floor=self.slots[slot].version)

    def given_up(self, reason: str) -> State:
        """What was on trial is forgotten, and remembered as failed."""
        return self._failed(self.pending.slot, reason).without_spare()

    def back(self, to: str | None, reason: str) -> State:
        """The confirmed slot is left, for the other one or, with None, for the built-in models."""
        left = self if self.confirmed is None else self._failed(self.confirmed, reason)
        slots = {} if to is None else {to: self.slots[to]}
        return replace(left, confirmed=to, trial=None, slots=slots)

    def _failed(self, slot: str, reason: str) -> State:
        held = self.slots[slot]
        kept = [item for item in self.failed if item.digest != held.digest]
        line = "".join(letter if letter.isprintable() else " " for letter in reason)
        failed = (*kept, Failed(held.version, held.digest, line[:_MOST_REASON]))[-_MOST_FAILED:]
        return replace(self, failed=failed)

    def encode(self) -> bytes:
        """JSON with a digest of its own: a failing disk must not choose what runs."""
        values = asdict(replace(self, slots={}))
        values["slots"] = {name: asdict(slot) for name, slot in self.slots.items()}
        return json.dumps({"schema": _SCHEMA, "state": values, "sha256": _digest(values)}, indent=1).encode()

    @classmethod
    def decode(cls, data: bytes) -> State:
        """Read what `encode` wrote.

        Raises:
            BundleError: names the place and what is wrong there.
        """
        try:
            section = Section(json.loads(data.decode("utf-8")), "store")
        except (ValueError, RecursionError) as error:
            raise BundleError("it is not JSON") from error
        if section.text("schema") != _SCHEMA:
            raise section.fail("schema", f"{_SCHEMA}; another edgeface wrote it")
        values = section.take("state")
        if section.digest("sha256") != _digest(values):
            raise BundleError("its SHA-256 does not match")
        section.done()
        return _state(Section(values, "state"))


def _digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _state(section: Section) -> State:
    listed = Section(section.take("slots"), "state.slots")
    slots = {name: _slot(listed.take(name), name) for name in SLOTS if name in listed.names()}
    listed.done()
    confirmed, trial = section.take("confirmed"), section.take("trial")
    state = State(
        confirmed=None if confirmed is None else _held(section, "confirmed", slots),
        trial=None if trial is None else _trial(trial, slots),
        slots=MappingProxyType(slots),
        floor=None if section.take("floor") is None else section.text("floor"),
        failed=tuple(_failed(item) for item in _list(section, "failed", _MOST_FAILED)),
    )
    section.done()
    if state.trial is not None and state.trial.slot == state.confirmed:
        raise BundleError("state.trial.slot: is confirmed already")
    return state


def _held(section: Section, key: str, slots: Mapping[str, Slot]) -> str:
    name = section.text(key)
    if name not in slots:
        raise section.fail(key, "a slot that holds something")
    return name


def _slot(value: object, name: str) -> Slot:
    section = Section(value, f"state.slots.{name}")
    release = section.take("release")
    if not isinstance(release, str) or len(release) > _MOST_RELEASE:
        raise section.fail("release", "text")
    signers = _list(section, "signers", 64)
    if not all(isinstance(signer, str) for signer in signers):
        raise section.fail("signers", "names")
    slot = Slot(
        name=section.text("name"),
        version=section.text("version"),
        digest=section.digest("digest"),
        signers=tuple(signers),
        release=release,
        installed=section.text("installed"),
    )
    section.done()
    return slot


def _trial(value: object, slots: Mapping[str, Slot]) -> Trial:
    section = Section(value, "state.trial")
    trial = Trial(
        slot=_held(section, "slot", slots),
        failures=section.integer("failures", 0, MOST_FAILURES),
        checked=_flag(section, "checked"),
        waits=_flag(section, "waits"),
    )
    section.done()
    return trial


def _failed(value: object) -> Failed:
    section = Section(value, "state.failed")
    failed = Failed(section.text("version"), section.digest("digest"), section.text("reason"))
    section.done()
    return failed


def _flag(section: Section, key: str) -> bool:
    value = section.take(key)
    if not isinstance(value, bool):
        raise section.fail(key, "true or false")
    return value


def _list(section: Section, key: str, most: int) -> list[Any]:
    value = section.take(key)
    if not isinstance(value, list) or len(value) > most:
        raise section.fail(key, f"a list of at most {most}")
    return value
