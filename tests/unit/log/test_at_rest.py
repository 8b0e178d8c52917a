"""What the mark of a clean stop says is what the log says; and where it may not be asked."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protozorfs.errors import DecodeError
from protozorfs.log.at_rest import (
    NOTHING,
    AtRest,
    decode_at_rest,
    encode_at_rest,
    read_at_rest,
)
from protozorfs.store import MemoryFiles
from tests.unit.log.feed_tools import (
    create_owned,
    directory,
    fetch,
    owned_with,
    reopen,
    scrub,
    upgrade,
)

if TYPE_CHECKING:
    from protozorfs.log.feed import Log

BLOCKS = [b"a" * 100, b"", b"ccc", b"d" * 5000]
COUNTS = st.integers(0, 2**53 - 1)
MARKS = st.builds(AtRest, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, st.booleans())


def said_by(log: Log) -> AtRest:
    return AtRest(
        fork=log.fork,
        length=log.length,
        byte_length=log.byte_length,
        held_bytes=log.held_bytes,
        contiguous_length=log.contiguous_length,
        damaged=log.damaged,
    )


def owned_at_rest() -> MemoryFiles:
    files = MemoryFiles()
    log = create_owned(files)
    log.append(BLOCKS)
    log.close()
    return files


def half_held_at_rest() -> MemoryFiles:
    files = MemoryFiles()
    log, source = reopen(files), owned_with(BLOCKS)
    upgrade(source, log)
    for index in (0, 1, 3):
        fetch(source, log, index)
    log.close()
    return files


def damaged_at_rest() -> MemoryFiles:
    files = owned_at_rest()
    data = files.open(f"{directory(files).path}/data")
    data.pwrite(b"!", 50)
    log = reopen(files)
    scrub(log)
    assert log.take_lost() == [(0, 1)]
    log.close()
    return files


@pytest.mark.parametrize("make", [owned_at_rest, half_held_at_rest, damaged_at_rest])
def test_a_mark_says_what_the_log_says_and_lasts(make: object) -> None:
    assert callable(make)
    for seed in range(4):
        files = make()
        files.power_cut(random.Random(seed))
        said = read_at_rest(directory(files))
        assert said is not None
        assert said == said_by(reopen(files))
        assert said.length == len(BLOCKS)


def test_a_mark_says_what_is_missing_and_what_is_damaged() -> None:
    half, damaged = (read_at_rest(directory(one())) for one in (half_held_at_rest, damaged_at_rest))
    assert half is not None
    assert damaged is not None
    assert (half.held_bytes, half.contiguous_length, half.damaged) == (5100, 2, False)
    assert (damaged.held_bytes, damaged.contiguous_length, damaged.damaged) == (5003, 0, True)


def test_a_feed_without_files_has_nothing_and_gets_none_by_being_opened() -> None:
    files = MemoryFiles()
    log = reopen(files)
    assert read_at_rest(directory(files)) == said_by(log) == NOTHING
    assert (log.read(0, 10), log.allocated_bytes, log.head) == (b"", 0, None)
    log.close()
    assert files.operations == 0


def test_after_the_first_write_only_the_log_knows() -> None:
    files = half_held_at_rest()
    log = reopen(files)
    assert read_at_rest(directory(files)) is not None
    fetch(owned_with(BLOCKS), log, 2)
    assert read_at_rest(directory(files)) is None
    log.close()
    assert read_at_rest(directory(files)) == said_by(log)


def test_beside_evidence_only_the_log_may_be_asked() -> None:
    files = owned_at_rest()
    log = reopen(files)
    log.keep_beside("record", b"counts only when it was verified in this run")
    assert read_at_rest(directory(files)) is not None
    log.keep_beside("evidence", b"of whatever kind")
    assert read_at_rest(directory(files)) is None


def test_what_is_kept_beside_a_log_without_files_survives_a_power_cut() -> None:
    for seed in range(4):
        files = MemoryFiles()
        log = reopen(files)
        log.keep_beside("evidence", b"for ever")
        files.power_cut(random.Random(seed))
        assert files.read(f"{log.directory.path}/evidence") == b"for ever"


@pytest.mark.parametrize("content", [b"", b"\0" * 88, b"pzfsrest"])
def test_a_mark_of_another_kind_sends_to_the_log(content: bytes) -> None:
    files = owned_at_rest()
    files.replace(f"{directory(files).path}/clean", content)
    assert read_at_rest(directory(files)) is None
    assert reopen(files).length == len(BLOCKS)


def test_the_bytes_of_a_mark() -> None:
    encoded = encode_at_rest(AtRest(1, 2, 3, 4, 5, True))
    assert encoded[:56].hex() == (
        "707a667372657374" "0100" "0100" "00000000"
        "0100000000000000" "0200000000000000" "0300000000000000"
        "0400000000000000" "0500000000000000"
    )  # fmt: skip
    assert len(encoded) == 88


@given(MARKS)
def test_a_mark_comes_back_as_it_was(mark: AtRest) -> None:
    assert decode_at_rest(encode_at_rest(mark)) == mark


@given(MARKS, st.integers(0, 88 * 8 - 1), st.integers(0, 87))
def test_no_mark_with_a_wrong_bit_or_end_counts(mark: AtRest, bit: int, end: int) -> None:
    encoded = bytearray(encode_at_rest(mark))
    for wrong in (encoded[:end], encoded + b"\0", encoded + bytes(96)):
        with pytest.raises(DecodeError):
            decode_at_rest(bytes(wrong))
    encoded[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DecodeError):
        decode_at_rest(bytes(encoded))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_mark_or_none(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_at_rest(data)
