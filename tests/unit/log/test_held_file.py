from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protozorfs.crypto import blake2b_256
from protozorfs.errors import DecodeError
from protozorfs.log.bitfield import Bitfield
from protozorfs.log.held_file import HeldBlocks, decode_held, encode_held

RANGES = st.lists(st.tuples(st.integers(0, 60_000), st.integers(1, 9000)), max_size=8)


@settings(max_examples=60)
@given(
    ranges=RANGES,
    doubts=RANGES,
    is_damaged=st.booleans(),
)
def test_what_is_written_is_read(
    ranges: list[tuple[int, int]], doubts: list[tuple[int, int]], is_damaged: bool
) -> None:
    held, in_doubt = Bitfield(), Bitfield()
    for start, count in ranges:
        held.set_range(start, start + count)
    for start, count in doubts:
        in_doubt.set_range(start, start + count)
    length = 70_000
    found = decode_held(encode_held(HeldBlocks(length, 99, is_damaged, held, in_doubt)))
    assert (found.length, found.held_bytes, found.is_damaged) == (length, 99, is_damaged)
    assert list(found.held.ranges(0, length)) == list(held.ranges(0, length))
    assert list(found.in_doubt.ranges(0, length)) == list(in_doubt.ranges(0, length))


def test_a_long_run_and_a_far_block_take_little_space() -> None:
    held = Bitfield()
    held.set_range(5, 2**40)
    held.set(2**50)
    data = encode_held(HeldBlocks(2**51, 0, False, held, Bitfield()))
    assert len(data) < 2000
    assert list(decode_held(data).held.ranges(0, 2**51)) == [(5, 2**40), (2**50, 2**50 + 1)]


def test_torn_files_are_refused() -> None:
    held = Bitfield()
    held.set_range(3, 5000)
    data = encode_held(HeldBlocks(6000, 1, False, held, Bitfield()))
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            decode_held(data[:size])
    for at in range(0, len(data), 7):
        with pytest.raises(DecodeError):
            decode_held(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


@pytest.mark.parametrize(
    "segment",
    [
        *((0, 3, 3), (0, 9, 3), (0, 0, 6001), (0, 2**60, 2**61)),
        *((2, 0, 6001), (4, 3, 4), (2**63, 3, 4), (3, 8192, *[0] * 64)),
        *((1, 1, *[0] * 64), (1, 8192, *[0] * 64), (1, 2**63, *[0] * 64)),
    ],
)
def test_segments_that_no_feed_of_that_length_has_are_refused(segment: tuple[int, ...]) -> None:
    body = encode_held(HeldBlocks(6000, 1, False, Bitfield(), Bitfield()))[32:]
    body += b"".join(number.to_bytes(8, "little") for number in segment)
    with pytest.raises(DecodeError):
        decode_held(blake2b_256(body) + body)


@pytest.mark.parametrize("change", ["magic", "segment", "tail"])
def test_other_formats_are_refused(change: str) -> None:
    body = encode_held(HeldBlocks(0, 0, False, Bitfield(), Bitfield()))[32:]
    if change == "magic":
        body = b"another\n" + body[8:]
    elif change == "segment":
        body += (7).to_bytes(8, "little") * 3
    else:
        body += b"x"
    with pytest.raises(DecodeError):
        decode_held(blake2b_256(body) + body)
