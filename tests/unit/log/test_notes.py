"""Notes of what is held say what is true also where they are many, or cannot be written."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import StoreFull
from protozorfs.log import held_log
from protozorfs.log.bitfield import Bitfield
from protozorfs.log.claim import note_claim, read_claim
from protozorfs.log.files import LogFiles
from protozorfs.log.held_file import HeldBlocks
from protozorfs.log.held_log import NO_BASE, UNKNOWN_SIZE, Change, HeldLog, Note
from protozorfs.store import MemoryFiles
from tests.unit.log.feed_tools import (
    block_pair,
    check_all,
    check_whole,
    content,
    create_followed,
    create_owned,
    directory,
    fetch,
    owned_with,
    reopen,
    upgrade,
    upgrade_pair,
)

if TYPE_CHECKING:
    from protozorfs.log.feed import Log

BLOCKS = [b"%d" % number * (number % 50 + 1) for number in range(200)]
SOME_RECORDS = 10  # as many as a file of notes takes here


def held(log: Log) -> set[int]:
    return {index for index in range(log.length) if log.held.get(index)}


def size_of_notes(files: MemoryFiles) -> int:
    return files.open(f"{directory(files).path}/bitfield.log").size()


def follower_without_notes(indexes: range) -> MemoryFiles:
    source, files = owned_with(BLOCKS), MemoryFiles()
    log = reopen(files)
    upgrade(source, log)
    log.apply_all([block_pair(source, log, index) for index in indexes])
    files.remove(f"{directory(files).path}/bitfield.log")
    files.kill()
    return files


def test_what_is_checked_behind_notes_that_a_power_cut_tore_is_not_checked_again() -> None:
    source, files = owned_with(BLOCKS), MemoryFiles()
    log = reopen(files)
    upgrade(source, log)
    for index in range(0, 20, 2):
        log.apply_all([block_pair(source, log, index)])
    files.flip_bit(f"{directory(files).path}/bitfield.log", 8 * 2 * held_log.RECORD_BYTES)
    files.kill()
    log = check_all(reopen(files))
    progress = log.begin_progress()
    progress.run()
    log.end_progress(progress)
    files.kill()
    log = reopen(files)
    assert not log.in_doubt.segments
    assert held(log) == set(range(0, 20, 2))
    assert log.held_bytes == sum(map(len, BLOCKS[0:20:2]))


def test_old_notes_are_not_taken_for_those_behind_a_damaged_bitfield() -> None:
    """A power cut may bring them back, of the time when there was no such file."""
    source, files = owned_with(BLOCKS[:10]), MemoryFiles()
    log = reopen(files)
    upgrade(source, log)
    place = log.directory.path
    log.apply_all([block_pair(source, log, index) for index in range(5)])
    old = files.read(f"{place}/bitfield.log")
    log.apply_all([block_pair(source, log, index) for index in range(5, 10)])
    log.close()
    files.replace(f"{place}/bitfield.log", old)
    files.flip_bit(f"{place}/bitfield", 500)
    files.remove(f"{place}/clean")
    files.kill()
    assert held(check_all(reopen(files))) == set(range(10))
    files.kill()
    log = reopen(files)
    assert held(log) == set(range(10))
    assert not log.in_doubt.segments


def test_more_findings_than_notes_are_all_known_after_a_kill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Blocks that were found, and others that were found wrong: a record each."""
    files = follower_without_notes(range(1, 200, 2))
    monkeypatch.setattr(held_log, "MAX_RECORDS", SOME_RECORDS)
    log = check_all(reopen(files))
    assert held(log) == set(range(1, 200, 2))
    assert size_of_notes(files) <= SOME_RECORDS * held_log.RECORD_BYTES
    files.kill()
    log = reopen(files)
    assert held(log) == set(range(1, 200, 2))
    assert not log.in_doubt.segments
    assert log.held_bytes == sum(map(len, BLOCKS[1::2]))
    data = files.open(f"{directory(files).path}/data")
    for index in range(1, 200, 4):
        start, end = log.block_span(index)
        data.pwrite(b"?" * (end - start), start)
    files.kill()
    log = reopen(files)
    for index in range(1, 200, 4):
        assert log.read(log.block_span(index)[0], 1) == b""
    files.kill()
    log = reopen(files)
    assert held(log) == set(range(3, 200, 4))
    assert log.held_bytes == sum(map(len, BLOCKS[3::4]))


def test_findings_that_no_space_is_found_for_are_looked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = follower_without_notes(range(1, 200, 2))
    monkeypatch.setattr(held_log, "MAX_RECORDS", SOME_RECORDS)
    log = reopen(files)
    running = log.begin_check()
    assert running is not None
    running.run()
    tries = [0]

    def full(_files: MemoryFiles, _path: str, _data: bytes) -> None:
        tries[0] += 1
        raise StoreFull("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFiles, "replace", full)
        log.end_check(running)
    assert tries[0] == 1, "it is not tried again for each of them"
    assert held(log) == set(range(1, 200, 2))
    files.kill()
    log = reopen(files)
    assert log.in_doubt.count(0, 200) == 200
    assert held(check_all(log)) == set(range(1, 200, 2))


def check_held_bytes(files: MemoryFiles, indexes: set[int]) -> None:
    """After a kill, and after a clean stop, whose mark says it, too."""
    for _ in range(2):
        files.kill()
        log = check_all(reopen(files))
        assert held(log) == indexes
        assert log.held_bytes == sum(len(BLOCKS[index]) for index in indexes)
        log.close()


def fails_once(files: MemoryFiles, log: Log, source: Log, index: int) -> None:
    """Fetches a block that cannot be noted, while all else can be written."""
    files.fail_at(files.operations, errno.EROFS)
    with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
        fetch(source, log, index)
    files.fail_at(None)


def test_blocks_that_could_not_be_noted_are_not_missing_from_what_is_held() -> None:
    """What is noted of their loss is not of blocks that counted before."""
    source, files = owned_with(BLOCKS), MemoryFiles()
    log = reopen(files)
    upgrade(source, log)
    fails_once(files, log, source, 7)
    check_held_bytes(files, set())


def test_a_block_whose_loss_could_not_be_noted_counts_once_when_it_has_come_again() -> None:
    source, files = owned_with(BLOCKS), MemoryFiles()
    log = reopen(files)
    upgrade(source, log)
    for index in (7, 9):
        fetch(source, log, index)
    files.kill()
    log = reopen(files)
    files.open(f"{directory(files).path}/data").pwrite(b"?", log.block_span(7)[0])
    files.fail_at(files.operations, errno.EROFS)
    assert log.read(log.block_span(7)[0], 1) == b""
    files.fail_at(None)
    fetch(source, log, 7)
    check_held_bytes(files, {7, 9})


@pytest.mark.parametrize(
    ("notes", "held_bytes"),
    [
        ([Note(Change.HELD, 0, 4, 40), Note(Change.LOST, 1, 3, 20)], 20),
        ([Note(Change.HELD, 0, 4, 40), Note(Change.CHECKED, 0, 4), Note(Change.CUT, 4, 9)], 40),
        ([Note(Change.LOST, 1, 3, 20)], None),
        ([Note(Change.HELD, 0, 2, 20), Note(Change.LOST, 1, 3, 20)], None),
        ([Note(Change.HELD, 0, 2, 20), Note(Change.HELD, 1, 2, 10)], None),
        ([Note(Change.HELD, 0, 4, 40), Note(Change.CUT, 3, 9)], None),
        ([Note(Change.HELD, 0, 4, 1 << 60)], None),
        ([Note(Change.HELD, 0, 4, 40), Note(Change.LOST, 0, 4, UNKNOWN_SIZE)], None),
    ],
)
def test_bytes_held_are_told_only_by_notes_that_fit_one_another(
    notes: list[Note], held_bytes: int | None
) -> None:
    files = LogFiles(create_followed(MemoryFiles()).directory, is_owned=False)
    files.held_log.begin(NO_BASE)
    for note in notes:
        files.held_log.note(*note)
    assert read_claim(files, 10, is_owned=False).held_bytes == held_bytes


def test_what_was_held_beyond_the_end_is_in_doubt_when_the_feed_grows_where_no_note_is_left() -> (
    None
):
    files = LogFiles(create_followed(MemoryFiles()).directory, is_owned=False)
    before = Bitfield()
    before.set_range(0, 10)
    files.renew_held(HeldBlocks(10, 100, False, before, Bitfield()))
    files.held_log.clear()
    note_claim(files, read_claim(files, 5, is_owned=False), 5)
    claim = read_claim(files, 10, is_owned=False)
    assert not any(claim.held.get(index) > claim.in_doubt.get(index) for index in range(10))


def test_records_beyond_the_limit_are_missed() -> None:
    """As an earlier version may have written them."""
    files = MemoryFiles()
    log = reopen(files)
    source = owned_with(BLOCKS)
    upgrade(source, log)
    for index in range(0, 100, 2):
        fetch(source, log, index)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held_log, "MAX_RECORDS", SOME_RECORDS)
        files.kill()
        log = reopen(files)
        assert log.in_doubt.count(0, 200) == 200
        assert held(check_all(log)) == set(range(0, 100, 2))


def owner_of_which_a_power_cut_took_the_end(*, notes: int = 0) -> MemoryFiles:
    """It got 10 blocks back, the last is missing; then all 10 are gone, and only noted.

    `notes`: so many more records there are.
    """
    whole = owned_with(BLOCKS[:20])
    files = MemoryFiles()
    log = create_owned(files)
    log.append(BLOCKS[:10])
    log.sync()
    log.close()
    log = reopen(files)
    before = {name: files.read(f"{log.directory.path}/{name}") for name in ("data", "tree", "head")}
    upgrade(whole, log)
    for index in (*range(10, 19, 2), *range(11, 19, 2)):
        fetch(whole, log, index)
    for number in range(notes):
        log._files.held_log.note(Change.CHECKED, 2 * number, 2 * number + 1)
    files.kill()
    for name, data in before.items():
        files.replace(f"{log.directory.path}/{name}", data)
    return files


def check_appends(files: MemoryFiles, log: Log) -> None:
    """What is appended now is not taken for what was noted of earlier blocks."""
    assert log.length == 10
    log.append(BLOCKS[10:20])
    files.kill()
    log = reopen(files)
    assert not log.damaged
    assert held(log) == set(range(20))
    check_whole(check_all(log), BLOCKS[:20])


def test_a_cut_is_noted_where_the_notes_are_full() -> None:
    files = owner_of_which_a_power_cut_took_the_end()
    records = size_of_notes(files) // held_log.RECORD_BYTES
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held_log, "MAX_RECORDS", records)
        check_appends(files, reopen(files))


@pytest.mark.parametrize("failure", ["full", "io"])
@pytest.mark.parametrize("is_lasting", [False, True])
def test_a_cut_that_cannot_be_noted_is_no_harm_to_what_is_appended(
    failure: str, *, is_lasting: bool
) -> None:
    files = owner_of_which_a_power_cut_took_the_end()
    note = HeldLog.note

    def failing(notes: HeldLog, change: Change, start: int, end: int, size: int = 0) -> None:
        if change == Change.CUT:
            files.fail_at(files.operations, failure, is_lasting=is_lasting)
        note(notes, change, start, end, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HeldLog, "note", failing)
        try:
            log: Log | None = reopen(files)
        except OSError:
            assert failure == "io"
            log = None
    files.fail_at(None)
    check_appends(files, log or reopen(files))


@pytest.mark.parametrize("failure", ["full", "io"])
def test_own_history_that_could_not_be_stored_is_no_harm_to_what_is_appended(failure: str) -> None:
    whole = owned_with([*BLOCKS[:10], b"lost"])
    whole.sync()
    for operation in range(12):
        files = MemoryFiles()
        log = create_owned(files)
        log.append(BLOCKS[:10])
        log.sync()
        log.close()
        log = reopen(files)
        pairs = [upgrade_pair(whole, log), block_pair(whole, log, 10)]
        files.fail_at(files.operations + operation, failure)
        try:
            log.apply_all(pairs)
        except (StoreFull, OSError):
            files.fail_at(None)
        else:
            files.fail_at(None)
            if log.length > 10:
                assert operation > 4
                return
        if log.length > 10 or log.directory.has_failed_sync:
            continue
        log.append([b"new"])
        files.kill()
        log = reopen(files)
        assert not log.damaged, operation
        assert held(log) == set(range(11)), operation
        assert content(log) == [*BLOCKS[:10], b"new"]
