from __future__ import annotations

from protozorfs.log.held_log import MAX_RECORDS, NO_BASE, RECORD_BYTES, Change, HeldLog, Note
from protozorfs.store import FilePool, MemoryFiles

BASE = bytes(range(32))


def make(files: MemoryFiles) -> HeldLog:
    return HeldLog(FilePool(files).file("bitfield.log"))


def noted(files: MemoryFiles, base: bytes = BASE) -> list[Note] | None:
    found = make(files).load(base)
    return None if found is None else found.notes


def test_what_is_noted_is_read_and_gone_on_with() -> None:
    files = MemoryFiles()
    log = make(files)
    log.begin(BASE, in_doubt=7)
    log.note(Change.HELD, 3, 5, 100)
    log.note(Change.LOST, 4, 5, 60)
    again = make(files)
    assert again.load(BASE) is not None
    again.note(Change.HELD, 5, 2**50, 2**60)
    assert noted(files) == [
        Note(Change.BEGIN, 0, 7),
        Note(Change.HELD, 3, 5, 100),
        Note(Change.LOST, 4, 5, 60),
        Note(Change.HELD, 5, 2**50, 2**48 - 1),
    ]


def test_the_kind_of_a_note_is_its_first_number() -> None:
    """docs/formats.md: later versions read what this one has noted."""
    for kind, change in enumerate(Change, start=1):
        files = MemoryFiles()
        log = make(files)
        log.begin(BASE)
        log.note(change, 3, 5)
        record = files.read("bitfield.log")[-RECORD_BYTES:]
        assert record[:24] == b"".join(number.to_bytes(8, "little") for number in (kind, 3, 5))


def test_ranges_that_follow_one_another_are_one_record() -> None:
    files = MemoryFiles()
    log = make(files)
    log.begin(BASE)
    for index in range(10, 1000):
        log.note(Change.HELD, index, index + 1, 5)
    log.note(Change.CHECKED, 1000, 1001)
    log.note(Change.HELD, 1000, 1001, 5)
    assert noted(files) == [
        Note(Change.BEGIN, 0, 0),
        Note(Change.HELD, 10, 1000, 990 * 5),
        Note(Change.CHECKED, 1000, 1001),
        Note(Change.HELD, 1000, 1001, 5),
    ]


def test_notes_behind_another_bitfield_count_for_nothing() -> None:
    files = MemoryFiles()
    assert noted(files) is None
    log = make(files)
    log.note(Change.HELD, 1, 2, 3)  # nothing is noted before a beginning
    assert noted(files, NO_BASE) is None
    log.begin(BASE)
    log.note(Change.HELD, 1, 2, 3)
    assert noted(files, NO_BASE) is None
    log.end()
    log.note(Change.HELD, 5, 6, 3)
    assert noted(files) == [Note(Change.BEGIN, 0, 0), Note(Change.HELD, 1, 2, 3)]


def test_a_damaged_record_is_passed_over_and_a_damaged_beginning_is_none() -> None:
    for at in range(4 * RECORD_BYTES):
        files = MemoryFiles()
        log = make(files)
        log.begin(BASE)
        for start in (1, 3, 5):
            log.note(Change.HELD, start, start + 1, 9)
        file = files.open("bitfield.log")
        (byte,) = file.pread(1, at)
        file.pwrite(bytes([byte ^ 1 << at % 8]), at)
        found = make(files).load(BASE)
        if at < RECORD_BYTES:
            assert found is None
        else:
            assert found is not None
            assert not found.is_whole
            assert not found.is_doubt_whole
            left = [start for start in (1, 3, 5) if start // 2 + 1 != at // RECORD_BYTES]
            assert [note.start for note in found.notes[1:]] == left


def test_behind_a_damaged_record_a_new_beginning_says_what_is_in_doubt() -> None:
    files = MemoryFiles()
    log = make(files)
    log.begin(BASE)
    log.note(Change.HELD, 1, 2, 9)
    log.note(Change.LOST, 1, 2, 9)
    files.flip_bit("bitfield.log", 8 * RECORD_BYTES)
    again = make(files)
    again.load(BASE)
    again.note(Change.BEGIN, 0, 5)
    again.note(Change.CHECKED, 0, 3)
    found = make(files).load(BASE)
    assert found is not None
    assert found.is_doubt_whole
    assert not found.is_whole  # how many bytes are held is not known


def test_a_torn_end_is_gone_on_behind() -> None:
    files = MemoryFiles()
    log = make(files)
    log.begin(BASE)
    log.note(Change.HELD, 1, 2, 9)
    files.open("bitfield.log").truncate(RECORD_BYTES + 5)
    again = make(files)
    assert again.load(BASE) is not None
    again.note(Change.HELD, 7, 8, 9)
    assert noted(files) == [Note(Change.BEGIN, 0, 0), Note(Change.HELD, 7, 8, 9)]


def test_it_says_when_it_is_full() -> None:
    files = MemoryFiles()
    log = make(files)
    log.begin(BASE)
    for index in range(MAX_RECORDS - 2):
        log.note(Change.HELD, 2 * index, 2 * index + 1, 1)
    assert log.has_room()
    log.note(Change.LOST, 1, 2, 1)
    assert not log.has_room()
    assert files.open("bitfield.log").size() == MAX_RECORDS * RECORD_BYTES
