"""The names of a store: each change is durable when it returns, whole or not made, and twice."""

from __future__ import annotations

import random
from contextlib import suppress
from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protozorfs.errors import (
    DecodeError,
    InvalidName,
    NameTaken,
    NoSuchFeed,
    StoreCorrupt,
    StoreError,
)
from protozorfs.names import own_id_name
from protozorfs.store import names as names_module
from protozorfs.store.files import FreeSpace
from protozorfs.store.memory_disk import ANY, WRITES, CutModel
from protozorfs.store.memory_files import MemoryFiles, Stopped
from protozorfs.store.name_records import (
    RECORD_BYTES,
    Change,
    Kind,
    NameRow,
    decode_record,
    encode_records,
    merge,
)
from protozorfs.store.names import COPY_FILE, NAMES_FILE, Names
from protozorfs.types import FeedId
from tests.sizes import long_or_short

if TYPE_CHECKING:
    from collections.abc import Callable

BOTH = (NAMES_FILE, COPY_FILE)
State = tuple[tuple[NameRow, ...], int | str | None]


def feed_id(number: int) -> FeedId:
    return FeedId(bytes([number]) * 32)


def row(name: bytes, number: int, *, is_owned: bool = True) -> NameRow:
    return NameRow(name, feed_id(number), is_owned, 1000 + number, 2000 + number)


def state(names: Names) -> State:
    return tuple(names.all()), names.setting("port")


def opened(files: MemoryFiles) -> State:
    """What the next run finds."""
    names = Names(files)
    names.close_as_is()
    return state(names)


# What one run does to names; each is one change, and so is each state between them.
LIFE: list[Callable[[Names], object]] = [
    lambda names: names.add(row(b"zebra", 1)),
    lambda names: names.add(row(b"a\xff\n", 2, is_owned=False)),
    lambda names: names.set_setting("port", 4000),
    lambda names: names.rename(b"zebra", b"horse"),
    lambda names: names.add(row(b"zebra", 3)),
    lambda names: names.set_mtimes([(feed_id(1), 5), (feed_id(9), 6)]),
    lambda names: names.remove(b"a\xff\n"),
    lambda names: names.rename(b"zebra", b"a\xff\n"),
    lambda names: names.set_setting("port", 4001),
    lambda names: names.remove(b"horse"),
]


def states_of_life() -> list[State]:
    names = Names(MemoryFiles())
    states = [state(names)]
    for change in LIFE:
        change(names)
        states.append(state(names))
    return states


def test_names_are_found_by_name_and_by_feed_and_survive_reopening() -> None:
    files = MemoryFiles()
    names = Names(files)
    names.add(row(b"zebra", 1))
    names.add(row(b"a\xff\n", 2, is_owned=False))
    names.add(row(b"gone", 3))
    assert names.remove(b"gone") == row(b"gone", 3)
    assert names.rename(b"zebra", b"horse").name == b"horse"
    names.set_mtimes([(feed_id(1), 5), (feed_id(9), 6)])
    names.set_mtimes([])
    names.set_setting("port", 4000)
    names.set_setting("port", 4001)
    names.set_setting("word", "text")
    names.close()
    assert files.read(NAMES_FILE) == files.read(COPY_FILE)
    names = Names(files)
    horse = row(b"horse", 1)._replace(mtime_ns=5)
    assert names.all() == [row(b"a\xff\n", 2, is_owned=False), horse]
    assert names.by_name(b"horse") == horse
    assert names.by_feed_id(feed_id(1)) == horse
    assert names.by_name(b"zebra") is None
    assert names.by_feed_id(feed_id(3)) is None
    assert names.is_removed(feed_id(3))
    assert not names.is_removed(feed_id(1))
    assert names.setting("port") == 4001
    assert names.setting("word") == "text"
    assert names.setting("none") is None


def test_a_name_and_a_feed_are_used_once() -> None:
    names = Names(MemoryFiles())
    names.add(row(b"a", 1))
    names.add(row(b"b", 2))
    with pytest.raises(NameTaken, match="a feed of that name"):
        names.add(row(b"a", 3))
    with pytest.raises(NameTaken, match="already, as b"):
        names.add(row(b"c", 2))
    with pytest.raises(NameTaken):
        names.rename(b"a", b"b")
    with pytest.raises(NoSuchFeed):
        names.rename(b"x", b"y")
    with pytest.raises(NoSuchFeed):
        names.remove(b"x")
    assert [name.name for name in names.all()] == [b"a", b"b"]


@pytest.mark.parametrize("name", [b"", b"x" * 256, b"a/b", b"a\0", b".", b".."])
def test_what_cannot_be_a_file_name_is_refused(name: bytes) -> None:
    names = Names(MemoryFiles())
    names.add(row(b"a", 1))
    with pytest.raises(InvalidName):
        names.add(row(name, 2))
    with pytest.raises(InvalidName):
        names.rename(b"a", name)
    assert names.all() == [row(b"a", 1)]


def test_a_run_that_changes_nothing_writes_nothing() -> None:
    files = MemoryFiles()
    names = Names(files)
    names.add(row(b"x" * 255, 1))
    names.close()
    before = files.operations
    names = Names(files)
    assert names.all() == [row(b"x" * 255, 1)]
    names.set_mtimes([(feed_id(1), 2001)])  # as it is already
    names.close()
    assert files.operations == before


def test_records_of_a_newer_version_are_refused() -> None:
    files = MemoryFiles()
    Names(files).add(row(b"a", 1))
    content = encode_records([Change(99, b"")], 1)  # type: ignore[arg-type]
    files.replace(NAMES_FILE, content)
    with pytest.raises(StoreCorrupt, match="newer version"):
        Names(files)
    assert files.read(NAMES_FILE) == content


@pytest.mark.parametrize("failure", ["stop", "io", "full"])
@pytest.mark.parametrize("cuts", [False, True])
def test_a_fault_at_any_operation_shows_the_old_or_the_new(failure: str, cuts: bool) -> None:
    """What returned is there after a kill and a power cut; what raised is there or not, whole."""
    states = states_of_life()
    counted = MemoryFiles()
    names = Names(counted)
    for change in LIFE:
        change(names)
    names.close()
    assert counted.operations > 40
    for operation in range(counted.operations):
        for seed in range(long_or_short(20, 3)):
            files = MemoryFiles()
            names = Names(files)
            files.fail_at(operation, failure)
            allowed = {states[0]}
            for change, _ in zip(LIFE, states[1:], strict=True):
                before = state(names)
                try:
                    change(names)
                except Stopped:
                    with suppress(Stopped):
                        names.close()
                    after = states[states.index(before) + 1]
                    allowed = {before, after}
                    break
                except (StoreError, OSError):
                    assert state(names) == before
                    change(names)  # once there is room, or the disk works: it goes on
                allowed = {state(names)}
            else:
                files.fail_at(None)
            if cuts:
                files.power_cut(random.Random(seed))
            else:
                files.kill()
            found = opened(files)
            assert found in allowed, (operation, seed)
            files.power_cut(random.Random(seed))  # what the second run has shown stays
            assert opened(files) == found


def test_a_second_fault_while_files_are_made_whole_loses_nothing() -> None:
    states = states_of_life()
    for first in range(0, 60, long_or_short(1, 4)):
        for second in range(10):
            files = MemoryFiles()
            names = Names(files)
            files.fail_at(files.operations + first)
            done = 0
            with suppress(Stopped):
                for change in LIFE:
                    change(names)
                    done += 1
            files.power_cut(random.Random(first))
            files.fail_at(files.operations + second)
            with suppress(Stopped):
                Names(files)
            files.power_cut(random.Random(second))
            assert opened(files) in states[done : done + 2], (first, second)


def test_names_survive_a_disk_that_fails_each_sync_of_one_file() -> None:
    """A failed sync is not repeated: the file is written anew, or the change is refused."""
    files = MemoryFiles()
    names = Names(files)
    names.add(row(b"a", 1))
    for number in range(2, 30):
        before = files.operations
        files.fail_at(before + number % 7, "io")
        with suppress(OSError):
            names.add(row(b"%d" % number, number))
        kept = state(names)
        files.fail_at(None)
        files.power_cut(random.Random(number))
        names = Names(files)
        assert state(names) == kept or len(names.all()) == len(kept[0]) + 1


@pytest.mark.parametrize("path", BOTH)
def test_a_file_whose_sync_failed_is_another_file_afterwards(path: str) -> None:
    """The kernel takes for written what it could not write: a second sync says nothing."""
    files = MemoryFiles()
    names = Names(files)
    names.add(row(b"a", 1))
    before = {each: files.stamp(each).inode for each in BOTH}
    sync = 1 if path == NAMES_FILE else 3  # each file is written, then synced
    files.fail_at(files.operations + sync, "io")
    names.add(row(b"b", 2))
    assert [each for each in BOTH if files.stamp(each).inode != before[each]] == [path]
    files.power_cut(random.Random(1))
    assert opened(files) == state(names)


@pytest.mark.parametrize(
    ("failure", "operation"), [*(("full", number) for number in range(4)), ("io", 1), ("io", 3)]
)
def test_a_change_that_was_refused_does_not_come_back(
    failure: str, operation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even from the first file, in which it was durable when the second had no space."""
    files = MemoryFiles()
    names = Names(files)
    names.add(row(b"a", 1))
    files.fail_at(files.operations + operation, failure)
    with monkeypatch.context() as patch:
        if failure == "io":  # nor can the file be written anew
            patch.setattr(MemoryFiles, "rename", refuse)
        with pytest.raises((StoreError, OSError)):
            names.add(row(b"b", 2))
    assert names.all() == [row(b"a", 1)]
    files.kill()
    assert opened(files)[0] == (row(b"a", 1),)


REFUSED: list[Callable[[Names], object]] = [
    lambda names: names.add(row(b"b", 3)),
    lambda names: names.rename(b"a", b"b"),
    lambda names: names.remove(b"a"),
    lambda names: names.set_mtimes([(feed_id(1), 5)]),
]


@pytest.mark.parametrize("change", REFUSED, ids=["add", "rename", "remove", "times"])
@pytest.mark.parametrize("failure", ["io", "full"])
def test_a_change_that_was_refused_does_not_come_back_from_a_disk_that_fails_again(
    change: Callable[[Names], object], failure: str
) -> None:
    """Any three calls fail: the change, taking it back, and making the file anew."""
    refused = 0
    for faults in combinations(range(long_or_short(12, 10)), 3):
        files = MemoryFiles(seed=sum(faults))
        names = Names(files)
        names.add(row(b"a", 1))
        names.add(row(b"gone", 2))
        names.remove(b"gone")
        names.forget(feed_id(2))  # so that each change is a piece of two records
        before = state(names)
        first, *others = (files.operations + fault for fault in faults)
        files.fail_at(first, failure, also=others)
        try:
            change(names)
        except (StoreError, OSError):
            refused += 1
            assert state(names) == before
        after = state(names)
        disk = files.clone()
        assert opened(disk) == after, faults
        disk.power_cut(random.Random(1))
        assert opened(disk) == after, faults
        files.fail_at(None)
        names.add(row(b"next", 4))  # nothing that was left changes what comes later
        kept = state(names)
        files.power_cut(random.Random(2))
        assert opened(files) == kept, faults
    assert refused > 20


@pytest.mark.parametrize("operation", range(4))
def test_a_disk_that_fails_for_good_brings_back_a_refused_change_from_one_place_only(
    operation: int,
) -> None:
    """The sync of the second file: then both have it, and neither can be changed any more."""
    files = MemoryFiles()
    names = Names(files)
    names.add(row(b"a", 1))
    files.fail_at(files.operations + operation, "io", is_lasting=True)
    with pytest.raises(OSError, match="error"):
        names.remove(b"a")
    files.kill()
    assert bool(opened(files)[0]) == (operation < 3)


@pytest.mark.parametrize("operation", range(6))
def test_a_clean_end_takes_a_refused_change_back_that_could_not_be_before(operation: int) -> None:
    files = MemoryFiles()
    names = Names(files)
    names.add(row(b"a", 1))
    files.fail_at(files.operations + operation, "io", is_lasting=True)
    refused = True
    with suppress(OSError):
        names.rename(b"a", b"b")
        refused = False
    files.fail_at(None)
    names.close()
    assert opened(files)[0] == (row(b"a" if refused else b"b", 1),)


@pytest.mark.parametrize("operation", range(4))
def test_an_end_that_a_failed_sync_has_lost_makes_no_hole(operation: int) -> None:
    """Both files look whole to the next run, which cannot know of the error."""
    for seed in range(20):
        files = MemoryFiles(seed)
        names = Names(files)
        names.add(row(b"a", 1))
        files.fail_at(files.operations + operation, "io", is_lasting=True)
        names.close()
        files.fail_at(None)
        names = Names(files)
        names.rename(b"a", b"b")
        files.power_cut(random.Random(seed))
        assert files.read(NAMES_FILE) == files.read(COPY_FILE)
        assert opened(files)[0] == (row(b"b", 1),)


def refuse(*_: object) -> None:
    raise OSError("no")


def test_every_flipped_bit_in_one_file_is_mended_from_the_other() -> None:
    files = MemoryFiles()
    names = Names(files)
    for change in LIFE:
        change(names)
    names.close()
    kept = state(names)
    whole = files.read(NAMES_FILE)
    choice = random.Random(1)
    for path in BOTH:
        for at in range(0, len(whole), long_or_short(1, 7)):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << choice.randrange(8)
            files.replace(path, bytes(damaged))
            assert opened(files) == kept
            assert files.read(path) == whole
            assert files.read(NAMES_FILE) == files.read(COPY_FILE)


@pytest.mark.parametrize("path", BOTH)
def test_a_missing_file_that_is_made_on_a_full_disk_keeps_its_name(path: str) -> None:
    """It is made under its own name where there is no space for another file that takes it."""
    files = MemoryFiles()
    names = Names(files)
    names.add(row(b"a", 1))
    names.close()
    files.remove(path)
    files.sync_dir("")

    files.fail_at(files.operations, "full")
    names = Names(files)
    names.add(row(b"b", 2))
    assert set(files.listdir("")) == set(BOTH)
    files.power_cut(random.Random(1), CutModel(512, WRITES, ANY, 0.0, has_rubbish=False))

    assert set(files.listdir("")) == set(BOTH)
    assert files.read(NAMES_FILE) == files.read(COPY_FILE)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("path", BOTH)
def test_a_file_that_a_killed_run_has_put_in_its_place_keeps_its_name(
    path: str, fails: bool
) -> None:
    """Both have ended then, but the directory was not synced; and that may fail (`fails`)."""
    for operation in range(8):
        files = MemoryFiles()
        names = Names(files)
        names.add(row(b"a", 1))
        names.close()
        files.remove(path)
        files.sync_dir("")
        files.fail_at(files.operations + operation, "stop")
        with suppress(Stopped):
            Names(files)
        files.kill()
        files.fail_at(None)

        names = Names(files)
        if fails:
            files.fail_at(files.operations, "io")
        names.add(row(b"b", 2))
        files.power_cut(random.Random(1), CutModel(512, WRITES, ANY, 0.0, has_rubbish=False))

        assert {*BOTH} <= set(files.listdir("")), operation
        assert files.read(NAMES_FILE) == files.read(COPY_FILE)
        assert [one.name for one in opened(files)[0]] == [b"a", b"b"]


@pytest.mark.parametrize("path", BOTH)
def test_one_file_may_be_missing_or_cannot_be_read(path: str) -> None:
    files = MemoryFiles()
    names = Names(files)
    for change in LIFE:
        change(names)
    names.close()
    files.remove(path)
    assert opened(files) == state(names)
    files.replace(path, b"")
    assert opened(files) == state(names)
    assert files.read(NAMES_FILE) == files.read(COPY_FILE)


def test_a_record_that_is_damaged_twice_takes_nothing_else_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And nothing that is not named may be taken for removed any more."""
    files = MemoryFiles()
    names = Names(files)
    for change in LIFE:
        change(names)
    names.close()
    whole = files.read(NAMES_FILE)
    count = len(whole) // RECORD_BYTES
    for place in range(count):
        damaged = bytearray(whole)
        damaged[place * RECORD_BYTES + 100] ^= 1
        for path in BOTH:
            files.replace(path, bytes(damaged))
        found = Names(files)
        found.close()
        assert not found.is_complete
        assert not any(found.is_removed(feed_id(number)) for number in range(9))
        assert "damaged in both" in caplog.text
        rows = {row.feed_id: row for row in names.all()}
        others = {row.feed_id for row in found.all()} ^ set(rows)
        assert len(others) <= 1
        assert len({row.name for row in found.all()}) == len(found.all())
        files.kill()
        assert Names(files).all() == found.all()


def test_two_feeds_never_have_one_name() -> None:
    """A lost rename leaves two feeds of one name: the newer keeps it, the other has its ID."""
    files = MemoryFiles()
    names = Names(files)
    names.add(row(b"log", 1))
    names.rename(b"log", b"log.1")
    names.add(row(b"log", 2))
    names.close()
    content = bytearray(files.read(NAMES_FILE))
    place = next(
        at
        for at in range(0, len(content), RECORD_BYTES)
        if b"log.1" in content[at : at + RECORD_BYTES]
    )
    content[place] ^= 1
    for path in BOTH:
        files.replace(path, bytes(content))
    found = Names(files)
    assert found.by_name(b"log") == row(b"log", 2)
    other = found.by_feed_id(feed_id(1))
    assert other is not None
    assert other.name == own_id_name(feed_id(1))


def test_long_logs_are_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names_module, "MIN_STALE_RECORDS", 3)
    files = MemoryFiles()
    names = Names(files)
    names.add(row(b"a", 1))
    sizes = []
    for number in range(20):
        names.set_mtimes([(feed_id(1), number)])
        sizes.append(len(files.read(NAMES_FILE)))
    assert max(sizes) < 10 * RECORD_BYTES
    names.close()
    assert opened(files) == state(names)


def test_a_log_that_is_begun_anew_may_be_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names_module, "MIN_STALE_RECORDS", 1)
    for operation in range(long_or_short(200, 90)):
        for failure in ("stop", "io", "full"):
            files = MemoryFiles()
            names = Names(files)
            names.add(row(b"a", 1))
            names.add(row(b"b", 2))
            files.fail_at(files.operations + operation, failure)
            number = 0
            with suppress(Stopped):
                for number in range(12):
                    with suppress(OSError, StoreError):
                        names.set_mtimes([(feed_id(1), number)])
            files.power_cut(random.Random(operation))
            kept = Names(files)
            assert [row.name for row in kept.all()] == [b"a", b"b"]
            assert kept.all()[0].mtime_ns >= (number - 2 if number > 1 else 0)
            assert kept.is_complete


def test_many_times_are_one_change() -> None:
    """They are several records of one write, of which a power cut may keep any."""
    ids = [feed_id(number) for number in range(1, 60)]
    seen = set()
    for seed in range(40):
        for operation in range(1, 4):
            files = MemoryFiles()
            names = Names(files)
            for number, one in enumerate(ids):
                names.add(NameRow(b"%d" % number, one, False, 0, 0))
            files.fail_at(files.operations + operation)
            with pytest.raises(Stopped):
                names.set_mtimes([(one, 7) for one in ids])
            files.power_cut(random.Random(seed))
            found = Names(files)
            assert found.is_complete
            assert len(found.all()) == len(ids)
            seen.add(frozenset(row.mtime_ns for row in found.all()))
    assert seen == {frozenset({0}), frozenset({7})}


def test_a_file_that_was_cut_short_is_mended_from_the_other() -> None:
    """What is missing is more than one change that never ended."""
    files = MemoryFiles()
    names = Names(files)
    for change in LIFE:
        change(names)
    names.close()
    whole = files.read(NAMES_FILE)
    for path in BOTH:
        for size in range(0, len(whole), 100):
            files.replace(path, whole[:size])
            assert opened(files) == state(names), size
            assert files.read(path).startswith(whole[:-RECORD_BYTES])  # but for the end
            for each in BOTH:
                files.replace(each, whole)


class LiveNames:
    """Names over several lives, beside a plain model of them."""

    def __init__(self) -> None:
        self.files = MemoryFiles()
        self.names = Names(self.files)
        self.allowed = [state(self.names)]

    def change(self, number: int, name: int, kind: str, failing: int | None, how: str) -> bool:
        """One change, perhaps with a fault; False if the machine stopped."""
        one, text = feed_id(number + 1), b"n%d" % name
        known = self.names.by_feed_id(one)
        self.files.fail_at(None if failing is None else self.files.operations + failing, how)
        before = state(self.names)
        model = {row.feed_id: row for row in before[0]}
        if kind == "remove":
            model.pop(one, None)
        else:
            old = known or NameRow(text, one, True, 1, 1)
            model[one] = old._replace(name=text)
        after = (tuple(sorted(model.values())), before[1])
        try:
            if known is None and kind == "put":
                self.names.add(NameRow(text, one, True, 1, 1))
            elif known is not None and kind == "put":
                self.names.rename(known.name, text)
            elif known is not None:
                self.names.remove(known.name)
        except NameTaken:
            after = before
        except Stopped:
            self.allowed = [before, after]
            return False
        except (StoreError, OSError):
            assert state(self.names) == before
            self.allowed = [before, after]  # should it end before the next change
            return True
        finally:
            if how != "stop":
                self.files.fail_at(None)
        assert state(self.names) == after
        self.allowed = [after]
        return True

    def end(self, how: str, seed: int) -> None:
        """This run ends, and the next one begins."""
        if how == "clean":
            with suppress(Stopped):
                self.names.close()
            self.files.kill()
        elif how == "kill":
            self.files.kill()
        else:
            self.files.power_cut(random.Random(seed))
        self.names = Names(self.files)
        found = state(self.names)
        assert found in self.allowed
        assert self.names.is_complete
        self.allowed = [found]


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.integers(0, 3),
            st.integers(0, 3),
            st.sampled_from(["put", "put", "remove"]),
            st.one_of(st.none(), st.integers(0, 12)),
            st.sampled_from(["stop", "io", "full"]),
        ),
        st.tuples(st.sampled_from(["clean", "kill", "cut"]), st.integers(0, 1000)),
    ),
    min_size=5,
    max_size=40,
)


@settings(
    max_examples=long_or_short(3000, 120),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(STEPS)
def test_lives_of_any_kind_in_any_order(steps: list[tuple[object, ...]]) -> None:
    names = LiveNames()
    for step in steps:
        if len(step) == 2:
            how, seed = step
            assert isinstance(how, str)
            assert isinstance(seed, int)
            names.end(how, seed)
        else:
            number, name, kind, failing, how = step
            assert isinstance(number, int)
            assert isinstance(name, int)
            assert isinstance(failing, int | None)
            if not names.change(number, name, str(kind), failing, str(how)):
                names.end("cut", number)
    names.end("kill", 0)
    names.end("cut", 0)


def test_the_layout_of_a_record() -> None:
    (content,) = [encode_records([Change(Kind.REMOVED, b"\7" * 32)], 258)]
    assert len(content) == RECORD_BYTES
    assert content[:24] == b"pzfsname" + bytes([1, 0, 3, 0, 32, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0])
    assert content[24:56] == b"\7" * 32
    assert content[56:480] == bytes(424)
    record = decode_record(content)
    assert record is not None
    assert (record.sequence, record.change.kind) == (258, Kind.REMOVED)
    assert decode_record(content[:-1]) is None


@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_any_bytes_are_read_without_an_error(first: bytes, second: bytes) -> None:
    assert merge(first, second).known.rows == {}


@pytest.mark.parametrize("kind", [Kind.START, Kind.REMOVED, Kind.END])
def test_a_record_of_another_size_than_its_kind_has_is_refused(kind: Kind) -> None:
    strange = encode_records([Change(kind, bytes(9))], 1)
    with pytest.raises(DecodeError, match="nobody has written"):
        merge(strange, b"")
    files = MemoryFiles()
    files.replace(NAMES_FILE, strange)
    with pytest.raises(StoreCorrupt):
        Names(files)


@pytest.mark.parametrize(("spare", "is_begun_anew"), [(-1, False), (0, True)])
def test_a_long_log_is_begun_anew_only_where_both_files_have_room(
    monkeypatch: pytest.MonkeyPatch, spare: int, is_begun_anew: bool
) -> None:
    monkeypatch.setattr(names_module, "MIN_STALE_RECORDS", 3)
    needed = 1 + 9  # the beginning, and a record for each name
    free = names_module.BEGIN_SPACE_BYTES + 2 * needed * RECORD_BYTES + spare
    monkeypatch.setattr(MemoryFiles, "free_space", lambda _: FreeSpace(free, free))
    files = MemoryFiles()
    names = Names(files)
    for number in range(9):
        names.add(row(b"%d" % number, number))
    for number in range(60):
        names.set_mtimes([(feed_id(1), number)])
    assert (len(files.read(NAMES_FILE)) < 40 * RECORD_BYTES) == is_begun_anew
