"""Promise 7: the power is cut after every call of an update, and the old bundle or the new one runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgeface.store import FileStorage, HealthError, StorageError
from edgeface.store.recording import Call, RecordingStorage, as_lines, from_lines, replay
from tests.edgeface.store.disks import MemoryStorage, all_crash_states, crash_states
from tests.edgeface.store.rig import Health, bundle, installed, store

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeface.store import Store

PIECE = 512  # bytes per write, a sector of old disks


def folder(*versions: str) -> dict[str, bytes]:
    """A folder into which these versions were installed, one after the other."""
    storage = MemoryStorage()
    for version in versions:
        store(storage).install(bundle(version), unsigned=True)
    return dict(storage.files)


def recorded(
    before: dict[str, bytes], do: Callable[[Store], object], health: Health | None = None, piece: int = PIECE
) -> list[Call]:
    storage = RecordingStorage(MemoryStorage(before), piece)
    do(store(storage, health))
    return storage.calls


def update(place: Store) -> None:
    place.install(bundle("3"), unsigned=True)


def trial(place: Store) -> None:
    """An update that the service confirms at its second start."""
    place.install(bundle("3"), unsigned=True, waits=True)
    place.start()
    place.confirm(place.start().bundle.digest)


def left(place: Store) -> None:
    """An update that the service never confirms."""
    place.install(bundle("3"), unsigned=True, waits=True)
    for _ in range(4):
        place.start()


def bad(place: Store) -> None:
    with pytest.raises(HealthError):
        place.install(bundle("3"), unsigned=True)


def back(place: Store) -> None:
    place.rollback()


BUILTIN = installed(store(MemoryStorage()))[0]
STORIES = {
    # versions before, what is done, the verdicts of health checks, what may run after a cut, and at the end
    "first": ((), update, (), {BUILTIN, "3"}, "3"),
    "second": (("1",), update, (), {"1", "3"}, "3"),
    "third": (("1", "2"), update, (), {"2", "3"}, "3"),
    "trial": (("1", "2"), trial, (), {"2", "3"}, "3"),
    "left": (("1", "2"), left, (), {"2", "3"}, "2"),
    "bad": (("1", "2"), bad, (HealthError("no"),) * 3, {"2"}, "2"),
    "back": (("1", "2"), back, (), {"1", "2"}, "1"),
    "back to the built-in": (("1",), back, (), {BUILTIN, "1"}, BUILTIN),
}


@pytest.mark.parametrize("name", STORIES)
def test_every_cut_leaves_the_old_bundle_or_the_new(name: str) -> None:
    versions, do, verdicts, allowed, final = STORIES[name]
    before = folder(*versions)
    calls = recorded(before, do, Health(*verdicts))
    tried, broken = 0, []
    for count, state in all_crash_states(before, calls):
        place = store(MemoryStorage(state))
        version, trouble = installed(place)
        tried += 1
        if version not in allowed or trouble or not all(verdict.sound for verdict in place.verify()):
            broken.append((count, calls[count - 1].what, version, trouble))
    assert broken == []
    assert tried > len([call for call in calls if call.what != "close"])
    # What was told to be done stays done, whatever happens to the power afterwards.
    assert {installed(store(MemoryStorage(state))) for state in crash_states(before, calls)} == {(final, "")}


def test_a_power_cut_leaves_hundreds_of_disks_and_none_broken() -> None:
    """Every story once more, from its log of writes as it would be carried to another disk."""
    tried = 0
    for versions, do, verdicts, allowed, _ in STORIES.values():
        before = folder(*versions)
        log = as_lines(recorded(before, do, Health(*verdicts)))
        found = [
            installed(store(MemoryStorage(state))) for _, state in all_crash_states(before, from_lines(log))
        ]
        assert {trouble for _, trouble in found} == {""}
        assert {version for version, _ in found} <= allowed
        tried += len(found)
    assert tried >= 200


def test_a_disk_that_keeps_no_order_breaks_a_store_without_sync() -> None:
    """The enumeration can fail: without one kind of call there are broken states, or lost ones."""
    before = folder("1", "2")
    calls = recorded(before, update, piece=5000)  # without syncs, pieces multiply

    def outcomes(kept: list[Call]) -> set[str]:
        found = set()
        for _, state in all_crash_states(before, kept):
            version, trouble = installed(store(MemoryStorage(state)))
            found.add("broken" if trouble or version not in ("2", "3") else version)
        return found

    assert outcomes(calls) == {"2", "3"}
    assert "broken" in outcomes([call for call in calls if call.what != "sync"])
    unordered = [call for call in calls if call.what != "sync_folder"]
    assert "broken" in outcomes(unordered)
    assert "2" in {installed(store(MemoryStorage(state)))[0] for state in crash_states(before, unordered)}


def test_a_pointer_that_is_not_replaced_last_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    before = folder("1", "2")
    calls = recorded(before, update)
    last = max(index for index, call in enumerate(calls) if call.new == "a.bundle")
    # The same calls with those that put the slot into its place at the very end.
    late = [*calls[:last], *calls[last + 2 :], *calls[last : last + 2]]
    found = [installed(store(MemoryStorage(state))) for _, state in all_crash_states(before, late)]
    assert [trouble for _, trouble in found if trouble]


@pytest.mark.parametrize(
    "name",
    ["third", pytest.param("trial", marks=pytest.mark.soak), pytest.param("left", marks=pytest.mark.soak)],
)
def test_from_every_cut_the_next_install_succeeds(name: str) -> None:
    versions, do, verdicts, _, _ = STORIES[name]
    before = folder(*versions)
    states = list(all_crash_states(before, recorded(before, do, Health(*verdicts))))
    for _, state in states:
        storage = MemoryStorage(state)
        place = store(storage)
        place.install(bundle("4"), unsigned=True)
        assert installed(place) == ("4", "")
        assert [file for file in storage.files if "bundle.new" in file] == []
        assert not storage.held


@pytest.mark.soak
@pytest.mark.parametrize("name", STORIES)
def test_a_cut_during_the_repair_of_a_cut(name: str) -> None:
    """Two power cuts in a row, the second at every call of the update after the first."""
    versions, do, verdicts, allowed, _ = STORIES[name]
    before = folder(*versions)
    states = [state for _, state in all_crash_states(before, recorded(before, do, Health(*verdicts), 5000))]
    for first in states:
        calls = recorded(first, lambda place: place.install(bundle("4"), unsigned=True), piece=5000)
        for _, second in all_crash_states(first, calls):
            version, trouble = installed(store(MemoryStorage(second)))
            assert version in {*allowed, "4"}
            assert trouble == ""


@pytest.mark.parametrize("name", ["third", "left"])
def test_a_start_after_every_cut_runs_something_sound(name: str) -> None:
    versions, do, verdicts, allowed, _ = STORIES[name]
    before = folder(*versions)
    for _, state in all_crash_states(before, recorded(before, do, Health(*verdicts))):
        place = store(MemoryStorage(state))
        runs = [place.start() for _ in range(5)]
        assert {found.bundle.version for found in runs} <= allowed
        assert {found.trouble for found in runs} == {""}
        assert place.status().state.trial is None, "five starts decide every trial"


def test_the_notes_can_be_carried_to_another_disk(tmp_path: Path) -> None:
    """As lines, read again, and replayed on a real folder: after each call the same files."""
    calls = recorded({}, update)
    carried = from_lines(as_lines(calls))
    assert carried == calls
    for count in range(len(calls) + 1):
        real, memory = FileStorage(tmp_path / str(count)), MemoryStorage()
        replay(carried[:count], real)
        replay(carried[:count], memory)
        assert {name: real.read(name, 1 << 30) for name in real.names()} == memory.files


def test_a_disk_that_lost_everything_is_a_new_store() -> None:
    place = store(MemoryStorage())
    assert installed(place) == (BUILTIN, "")
    assert place.status().state.slots == {}
    with pytest.raises(
        StorageError, match=r"store /proc/nowhere: cannot lock it for writing .*EDGEFACE_STORE"
    ):
        store(FileStorage(Path("/proc/nowhere"))).install(bundle("3"), unsigned=True)
