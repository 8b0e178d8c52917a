"""What inode numbers are derived with: kept if it can be, and the same if it cannot."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protozorfs import crypto
from protozorfs.errors import DecodeError
from protozorfs.store.files import RealFiles
from protozorfs.store.memory_files import MemoryFiles
from protozorfs.store.numbers import (
    INODES_FILE,
    MAX_KEPT,
    KeptNumbers,
    decode_numbers,
    encode_numbers,
)

if TYPE_CHECKING:
    from pathlib import Path

SEED, OTHER_SEED = bytes(32), bytes(range(32))
KEPT = st.dictionaries(st.binary(max_size=300), st.integers(0, 2**64 - 1), max_size=20)


@given(st.binary(min_size=32, max_size=32), KEPT)
def test_round_trip(key: bytes, numbers: dict[bytes, int]) -> None:
    assert decode_numbers(encode_numbers(key, numbers)) == (key, numbers)


def test_layout() -> None:
    data = encode_numbers(b"k" * 32, {b"ab": 0x0102})
    content = b"pzfsinod\1\0\1\0" + b"k" * 32 + b"\2\0ab" + b"\2\1\0\0\0\0\0\0"
    assert data == content + crypto.blake2b_256(content)


@given(st.binary(max_size=200))
def test_any_content_is_decoded_or_refused(content: bytes) -> None:
    for data in (content, content + crypto.blake2b_256(content)):
        with pytest.raises(DecodeError):
            decode_numbers(data)


@given(st.integers(0, 8 * 100 - 1), st.integers(0, 30))
def test_every_changed_bit_and_every_cut_is_noticed(bit: int, cut: int) -> None:
    data = bytearray(encode_numbers(b"k" * 32, {b"identity": 7, b"other": 8}))
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    with pytest.raises(DecodeError):
        decode_numbers(bytes(data))
    with pytest.raises(DecodeError):
        decode_numbers(bytes(data[: len(data) - 1 - cut]))


@pytest.mark.parametrize("count", [0, 2])
def test_a_count_that_is_wrong_is_refused(count: int) -> None:
    data = bytearray(encode_numbers(b"k" * 32, {b"identity": 7})[:-32])
    data[10] = count
    with pytest.raises(DecodeError, match="ends too"):
        decode_numbers(bytes(data) + crypto.blake2b_256(bytes(data)))


def test_another_version_is_refused() -> None:
    data = bytearray(encode_numbers(b"k" * 32, {})[:-32])
    data[8] = 2
    with pytest.raises(DecodeError, match="another version"):
        decode_numbers(bytes(data) + crypto.blake2b_256(bytes(data)))


def test_the_file_is_private(tmp_path: Path) -> None:
    KeptNumbers(RealFiles(tmp_path), SEED)
    assert (tmp_path / INODES_FILE).stat().st_mode & 0o777 == 0o600


def test_the_key_outlives_the_node_key_and_numbers_their_run() -> None:
    files = MemoryFiles()
    kept = KeptNumbers(files, SEED)
    assert len(kept.key) == 32
    assert kept.key != SEED
    kept.keep(b"identity", 7)
    again = KeptNumbers(files, OTHER_SEED)
    assert (again.key, again.numbers) == (kept.key, {b"identity": 7})
    assert KeptNumbers(MemoryFiles(), OTHER_SEED).key != kept.key


def test_what_was_kept_survives_a_power_cut() -> None:
    files = MemoryFiles()
    KeptNumbers(files, SEED).keep(b"identity", 7)
    files.power_cut(random.Random(1))
    assert KeptNumbers(files, OTHER_SEED).numbers == {b"identity": 7}


@pytest.mark.parametrize("failure", ["full", "io"])
@pytest.mark.parametrize("operation", range(6))
def test_where_nothing_can_be_kept_the_key_is_the_same_all_the_same(
    failure: str, operation: int, caplog: pytest.LogCaptureFixture
) -> None:
    files = MemoryFiles()
    files.fail_at(operation, failure)
    kept = KeptNumbers(files, SEED)
    assert kept.key == KeptNumbers(MemoryFiles(), SEED).key
    assert "could not be kept" in caplog.text
    assert KeptNumbers(files, SEED).key == kept.key  # there is space again
    assert files.exists(INODES_FILE)


def test_a_number_that_cannot_be_kept_counts_in_this_run(caplog: pytest.LogCaptureFixture) -> None:
    files = MemoryFiles()
    kept = KeptNumbers(files, SEED)
    files.fail_at(files.operations, "full")
    kept.keep(b"identity", 7)
    assert kept.numbers == {b"identity": 7}
    assert "could not be kept" in caplog.text


def test_a_damaged_file_is_made_anew(caplog: pytest.LogCaptureFixture) -> None:
    files = MemoryFiles()
    before = KeptNumbers(files, SEED)
    files.replace(INODES_FILE, b"garbage" * 20)
    after = KeptNumbers(files, SEED)
    assert after.key == before.key
    assert "made anew" in caplog.text
    assert decode_numbers(files.read(INODES_FILE)) == (before.key, {})


def test_a_file_that_cannot_be_read_stays_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / INODES_FILE).mkdir()  # EISDIR, for one
    kept = KeptNumbers(RealFiles(tmp_path), SEED)
    kept.keep(b"identity", 7)
    assert kept.numbers == {b"identity": 7}
    assert "cannot be read" in caplog.text
    assert os.listdir(tmp_path) == [INODES_FILE]


def test_the_file_has_a_limit() -> None:
    files = MemoryFiles()
    kept = KeptNumbers(files, SEED)
    kept.numbers = {b"%d" % number: number for number in range(MAX_KEPT)}
    kept.keep(b"one more", 7)
    assert kept.numbers[b"one more"] == 7
    assert decode_numbers(files.read(INODES_FILE))[1] == {}
