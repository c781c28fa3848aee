"""The store: two slots for bundles, and a pointer that is replaced last."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgeface.bundle import Bundle
from edgeface.errors import BundleError
from edgeface.store.admission import check_board, check_content, check_time, check_version
from edgeface.store.board import board_names
from edgeface.store.errors import (
    HealthError,
    SignatureError,
    StorageError,
    StoreBusyError,
    StoreError,
)
from edgeface.store.files import StoreFiles, slot_file
from edgeface.store.health import check_health
from edgeface.store.places import keys_path
from edgeface.store.release import parse_envelope, time_text
from edgeface.store.state import Slot, State
from edgeface.store.storage import FileStorage, Storage, locked
from edgeface.store.trust import TrustedKeys

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Opened", "Status", "Store", "Verdict"]

_READS = 3  # an installer may replace a slot between the reading of the pointer and that of the slot


def _utc() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A bundle to run.

    Attributes:
        bundle: Verified, in memory.
        slot: ``"a"`` or ``"b"``; None: the models that are built in.
        trial: It is to be confirmed (`Store.confirm`) by what runs it.
        trouble: Why it is not what should run; empty: it is.
    """

    bundle: Bundle
    slot: str | None
    trial: bool = False
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """What the store says of itself: its folder, its state, and the version of the built-in models."""

    where: str
    state: State
    builtin: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `Store.verify` found in one slot; ``text`` says it in words, with the mend when it is unsound."""

    slot: str
    sound: bool
    text: str


class Store:
    """The models of a device, in a folder that one process at a time writes and any number read.

        store = Store.at(store_path())
        store.install(data, release)  # verified, written, tried, and only then what runs
        opened = store.open()
        with FaceAnalyzer(bundle=opened.bundle) as analyzer: ...

    A service counts its starts, so that a bundle that keeps it from working is left by itself::

        store.install(data, release, waits=True)
        opened = store.start()  # the fourth such start without a confirmation runs the previous bundle
        ...
        store.confirm(opened.bundle.digest)  # when frames come

    Args:
        storage: the folder.
        keys: gives the trusted public keys, when they are needed.
        health: raises `HealthError` for a bundle's bytes that do not work here.
        boards: the names of this board.
        now: the time, UTC.
        builtin: gives the models that run when none is installed.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        keys: Callable[[], TrustedKeys] | None = None,
        health: Callable[[bytes], None] = check_health,
        boards: frozenset[str] | None = None,
        now: Callable[[], datetime] = _utc,
        builtin: Callable[[], Bundle] = Bundle.builtin,
    ) -> None:
        self._storage = storage
        self._files = StoreFiles(storage)
        self._keys = keys or (lambda: TrustedKeys.load(keys_path()))
        self._health = health
        self._boards = board_names() if boards is None else boards
        self._now = now
        self._builtin = builtin

    @classmethod
    def at(cls, folder: Path, *, picture: Path | None = None) -> Store:
        """The store in a folder of this machine, with its keys, clock and board.

        Args:
            folder: made by the first `install`.
            picture: as `edgeface.store.health.check_health` takes it.
        """
        return cls(FileStorage(folder), health=partial(check_health, picture=picture))

    def install(
        self,
        data: bytes,
        release: bytes | None = None,
        *,
        unsigned: bool = False,
        allow_older: bool = False,
        waits: bool = False,
    ) -> Slot:
        """Verify a bundle, write it beside the one that runs, try it, and make it the one that runs.

        Args:
            data: the bundle.
            release: what its publisher says of it, as `edgeface.store.release` describes.
            unsigned: take it without a signature; what a release says is then believed as it stands.
            allow_older: take a version that is not above all that ran, or a bundle that failed here before;
                also begin anew where what the store knew is damaged.
            waits: the health check is not all: what runs it must confirm it within three starts.

        Raises:
            BundleError: it is damaged.
            RefusedError: it is not to run here, see `edgeface.store.errors`; the one that ran before runs.
            StoreError: the store is busy, damaged, or its disk refuses; the one that ran before runs.
        """
        bundle = Bundle.from_bytes(data, source="to be installed")
        with locked(self._storage):
            state = self._files.state(forget=allow_older)
            slot = self._admitted(data, bundle, release, state, unsigned=unsigned, allow_older=allow_older)
            held = state.slots.get(state.current or "")
            if held is not None and held.digest == slot.digest and self._files.sound(state, state.current):
                return held
            self._files.tidy()
            failures = _failures(state, slot)
            if state.without_spare() != state:
                state = self._files.put(state.without_spare())
            self._files.fill(state.spare, data)
            state = self._files.put(state.staged(slot, waits=waits, failures=failures))
            self._decided(state)
            return slot

    def open(self) -> Opened:
        """What runs now; writes nothing, so that it works on a read-only disk and beside an installer.

        A damaged slot does not stop anything: the other slot stands in, or the models that are built in, and
        ``trouble`` says so.

        Raises:
            BundleError: even the built-in models are damaged.
        """
        trouble = ""
        for _ in range(_READS):
            try:
                state = self._files.state()
            except StoreError as error:
                return Opened(self._builtin(), None, trouble=str(error))
            if state.current is None:
                return Opened(self._builtin(), None)
            try:
                _, found = self._files.load(state, state.current)
                waits = state.trial is not None and state.trial.slot == state.current
                return Opened(found, state.current, waits)
            except StoreError as error:
                trouble = str(error)
        unchecked = state.trial.slot if state.trial is not None and not state.trial.checked else None
        for name in state.slots:
            if name not in (state.current, unchecked):
                with contextlib.suppress(StoreError):
                    return Opened(self._files.load(state, name)[1], name, trouble=trouble)
        return Opened(self._builtin(), None, trouble=trouble)

    def path(self) -> Path | None:
        """The file of the slot that runs, for what takes a path; None: the built-in models run."""
        slot = self.open().slot
        return None if slot is None else Path(self._storage.where, slot_file(slot))

    def start(self) -> Opened:
        """What runs now, for a service: a start of a bundle on trial is counted before it begins.

        A trial that a power cut ended is taken up again. Where nothing can be written, nothing is on trial:
        the confirmed bundle runs.

        Raises:
            BundleError: even the built-in models are damaged.
        """
        try:
            if self._files.state().trial is None:
                return self.open()
            with locked(self._storage):
                state = self._files.state()
                if state.trial is not None and not state.trial.checked:
                    with contextlib.suppress(HealthError):  # it was given up, which the state says
                        self._decided(state)
                    state = self._files.state()
                if state.trial is not None and state.exhausted:
                    state = self._files.put(state.given_up("it was started three times and never confirmed"))
                if state.trial is not None:
                    self._files.put(state.tried())
        except StoreBusyError:
            pass  # an installer is at work; it has put what runs aside already
        except StorageError as error:
            return self._confirmed(str(error))
        except StoreError:
            pass  # `open` tells it
        return self.open()

    def confirm(self, digest: str) -> bool:
        """What was started works: it stays. True if that was news.

        Args:
            digest: of the bundle that works (`Bundle.digest`); another one on trial stays on trial.

        Raises:
            StoreError: the store is busy, damaged, or its disk refuses; try again.
        """
        state = self._files.state()
        if state.trial is None or not state.trial.checked:
            return False
        with locked(self._storage):
            state = self._files.state()
            on_trial = state.trial is not None and state.trial.checked
            if not on_trial or state.slots[state.pending.slot].digest != digest:
                return False
            self._files.put(state.confirmed_now())
            return True

    def rollback(self) -> Opened:
        """Leave what runs for what ran before: the other slot, or the models that are built in.

        Raises:
            StoreError: there is nothing to go back from, or the store is busy, damaged, or its disk refuses.
        """
        with locked(self._storage):
            state = self._files.state()
            reason = "somebody rolled it back"
            if state.trial is not None:
                self._files.put(state.given_up(reason))
            elif state.confirmed is not None:
                other = next((name for name in state.slots if name != state.confirmed), None)
                self._files.put(state.back(other if self._files.sound(state, other) else None, reason))
            else:
                raise StoreError(
                    f"store {self._storage.where}: the built-in models run, and nothing is before them; "
                    "install a bundle"
                )
        return self.open()

    def status(self) -> Status:
        """What the store knows; nothing is verified.

        Raises:
            StoreError: that is damaged or cannot be read.
        """
        return Status(self._storage.where, self._files.state(), self._builtin().version)

    def verify(self) -> tuple[Verdict, ...]:
        """Read every slot again, byte by byte, and its signatures.

        Raises:
            StoreError: what the store knows is damaged or cannot be read.
        """
        for _ in range(_READS):
            state = self._files.state()
            verdicts = tuple(self._verdict(state, name) for name in state.slots)
            if all(verdict.sound for verdict in verdicts) or self._files.state() == state:
                break  # otherwise an installer was at work meanwhile
        return verdicts

    def _admitted(
        self,
        data: bytes,
        bundle: Bundle,
        envelope: bytes | None,
        state: State,
        *,
        unsigned: bool,
        allow_older: bool,
    ) -> Slot:
        """What the slot will say of a bundle, if it may be installed."""
        signers: tuple[str, ...] = ()
        if envelope is not None:
            parsed = parse_envelope(envelope)
            if not unsigned:
                signers = self._keys().signers(parsed)
            check_content(parsed.release, data, bundle)
            check_board(parsed.release, self._boards)
            check_time(parsed.release, self._now())
        elif not unsigned:
            raise SignatureError(
                "the bundle has no release beside it, so nobody vouches for it; fetch BUNDLE.release, too, "
                "or take it without a signature (--unsigned)"
            )
        current = state.slots.get(state.current or "")
        if not allow_older and (current is None or current.digest != bundle.digest):
            check_version(bundle, state, self._floor(bundle, state))
        return Slot(
            name=bundle.name,
            version=bundle.version,
            digest=bundle.digest,
            signers=signers,
            release="" if envelope is None else envelope.decode("utf-8"),
            installed=time_text(self._now()),
        )

    def _floor(self, bundle: Bundle, state: State) -> str | None:
        if state.floor is not None:
            return state.floor
        builtin = self._builtin()
        return builtin.version if builtin.name == bundle.name else None

    def _decided(self, state: State) -> None:
        """Try what is on trial until it passed or has had all its tries; each is counted before it begins.

        Raises:
            HealthError: it did not pass, and is given up.
            StoreError: the disk refuses, or gives back other bytes; it stays on trial.
        """
        reason: HealthError | None = None
        while not state.exhausted:
            state = self._files.put(state.tried())
            try:
                # Read back from the disk: what is tried is what will be read at the next start.
                self._health(self._files.load(state, state.pending.slot)[0])
            except HealthError as error:
                reason = error
            else:
                self._files.put(state.checked())
                return
        reason = reason or HealthError("every try of it was cut short, the power or the process with it")
        version = state.slots[state.pending.slot].version
        self._files.put(state.given_up(str(reason)))
        raise HealthError(f"version {version} was given up and what ran before runs on: {reason}") from reason

    def _confirmed(self, trouble: str) -> Opened:
        """What runs where nothing can be counted."""
        opened = self.open()
        if not opened.trial:
            return opened
        with contextlib.suppress(StoreError):
            state = self._files.state()
            if state.confirmed is not None:
                return Opened(self._files.load(state, state.confirmed)[1], state.confirmed, trouble=trouble)
        return Opened(self._builtin(), None, trouble=trouble)

    def _verdict(self, state: State, name: str) -> Verdict:
        held = state.slots[name]
        try:
            data, bundle = self._files.load(state, name)
            if not held.signers:
                return Verdict(name, True, "the bytes are right; taken without a signature")
            envelope = parse_envelope(held.release.encode())
            signers = self._keys().signers(envelope)
            check_content(envelope.release, data, bundle)
        except (BundleError, StoreError) as error:
            return Verdict(name, False, str(error))
        return Verdict(name, True, f"the bytes are right; signed by {', '.join(signers)}")


def _failures(state: State, slot: Slot) -> int:
    """Tries that count already: a machine that dies of a bundle must not begin with it anew for ever."""
    trial = state.trial
    if trial is None or trial.checked or state.slots[trial.slot].digest != slot.digest:
        return 0
    return trial.failures
