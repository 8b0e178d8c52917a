"""The bitfield against a set of integers, and what must not cost memory or time."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from protozorfs.log.bitfield import PAGE_BITS, Bitfield

SPAN = 5 * PAGE_BITS
# Around the edges of pages things go wrong.
EDGES = sorted(
    {
        min(max(page * PAGE_BITS + delta, 0), SPAN)
        for page in range(6)
        for delta in (-33, -32, -1, 0, 1, 31, 32, 2000)
    }
)
INDEXES = st.one_of(st.sampled_from(EDGES), st.integers(0, SPAN - 1)).map(
    lambda index: min(index, SPAN - 1)
)
BOUNDS = st.one_of(st.sampled_from(EDGES), st.integers(0, SPAN))


class BitfieldMachine(RuleBasedStateMachine):
    """Two bitfields, each beside a Python set of the same indexes."""

    def __init__(self) -> None:
        super().__init__()
        self.bits = [Bitfield(), Bitfield()]
        self.models: list[set[int]] = [set(), set()]

    @initialize(start=BOUNDS, end=BOUNDS)
    def start_with_a_range(self, start: int, end: int) -> None:
        self.set_range(start, end, 1)

    @rule(index=INDEXES, which=st.integers(0, 1))
    def set(self, index: int, which: int) -> None:
        self.bits[which].set(index)
        self.models[which].add(index)

    @rule(index=INDEXES, which=st.integers(0, 1))
    def clear(self, index: int, which: int) -> None:
        self.bits[which].clear(index)
        self.models[which].discard(index)

    @rule(start=BOUNDS, end=BOUNDS, which=st.integers(0, 1))
    def set_range(self, start: int, end: int, which: int) -> None:
        self.bits[which].set_range(start, end)
        self.models[which].update(range(start, end))

    @rule(start=BOUNDS, end=BOUNDS, which=st.integers(0, 1))
    def clear_range(self, start: int, end: int, which: int) -> None:
        self.bits[which].clear_range(start, end)
        self.models[which].difference_update(range(start, end))

    @rule(word=st.integers(0, SPAN // 32 - 1), data=st.binary(max_size=1100), which=st.just(0))
    def assign_bytes(self, word: int, data: bytes, which: int) -> None:
        start = word * 32
        data = data[: (SPAN - start) // 8]
        self.bits[which].assign_bytes(start, data)
        model = self.models[which]
        model.difference_update(range(start, start + 8 * len(data)))
        model.update(start + i for i in range(8 * len(data)) if data[i // 8] >> (i % 8) & 1)

    @rule(index=INDEXES, which=st.integers(0, 1))
    def get(self, index: int, which: int) -> None:
        assert self.bits[which].get(index) == (index in self.models[which])
        assert (index in self.bits[which]) == (index in self.models[which])

    @rule(start=BOUNDS, end=BOUNDS)
    def search(self, start: int, end: int) -> None:
        bits, other = self.bits
        model, other_model = self.models
        wanted = range(start, end)
        found = bits.first_set(start, end)
        assert found == next((i for i in wanted if i in model), None)
        assert bits.count(start, end) == sum(i in model for i in wanted)
        unset = bits.first_unset(start)
        assert unset not in model
        assert all(i in model for i in range(start, unset))
        missing = [i for i in wanted if i not in model]
        assert bits.next_missing(start, end) == next(iter(missing), None)
        for excluded, inside in ((other, None), (None, other), (other, bits)):
            expected = (
                i
                for i in missing
                if (excluded is None or i not in other_model)
                and (inside is None or i in (other_model if inside is other else model))
            )
            found = bits.next_missing(start, end, excluding=excluded, within=inside)
            assert found == next(expected, None)

    @rule(start=BOUNDS, end=BOUNDS)
    def ranges(self, start: int, end: int) -> None:
        found = list(self.bits[0].ranges(start, end))
        covered = {i for first, stop in found for i in range(first, stop)}
        assert covered == self.models[0] & set(range(start, end))
        assert all(a[1] < b[0] for a, b in pairwise(found))

    @rule(word=st.integers(0, SPAN // 32 - 1), length=st.integers(0, 2 * PAGE_BITS))
    def bytes_and_back(self, word: int, length: int) -> None:
        start = word * 32
        raw = self.bits[0].to_bytes(start, length)
        assert len(raw) == -(-length // 32) * 4
        copy = Bitfield.from_bytes(raw, start)
        expected = self.models[0] & set(range(start, start + length))
        assert {i for a, b in copy.ranges(0, 2 * SPAN) for i in range(a, b)} == expected

    @invariant()
    def contiguous_length_is_up_to_date(self) -> None:
        for bits, model in zip(self.bits, self.models, strict=True):
            length = bits.contiguous_length
            assert length not in model
            assert length == 0 or bits.first_unset(0) == length
            assert bits.segments <= SPAN // PAGE_BITS + 1


TestBitfieldMachine = BitfieldMachine.TestCase
TestBitfieldMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_words_of_the_wire_are_little_endian() -> None:
    # Block b is bit b % 32 of word (b - start) // 32, words are u32 little-endian.
    bits = Bitfield()
    for index in (64, 95, 96 + 9):
        bits.set(index)
    words = memoryview(bits.to_bytes(64, 64)).cast("I")
    assert list(words) == [1 | 1 << 31, 1 << 9]


def test_a_huge_claim_is_one_segment_and_found_at_once() -> None:
    claimed = Bitfield(max_segments=16)
    claimed.set_range(0, 2**52)
    assert (claimed.segments, claimed.contiguous_length) == (1, 2**52)
    held = Bitfield()
    held.set_range(0, 2**52 - 5)
    assert held.next_missing(0, 2**52, within=claimed) == 2**52 - 5
    asked = Bitfield()
    asked.set_range(2**52 - 5, 2**52 - 1)
    assert held.next_missing(0, 2**52, excluding=asked, within=claimed) == 2**52 - 1
    assert claimed.count(1, 2**52 + 9) == 2**52 - 1
    claimed.clear(7)
    assert claimed.contiguous_length == 7
    assert list(claimed.ranges(0, 2**53)) == [(0, 7), (8, 2**52)]
    assert claimed.segments == 2
    assert claimed.next_missing(2**52, 2**53, within=claimed) is None


@pytest.mark.parametrize("order", [1, -1])
def test_beyond_its_limit_the_highest_claims_are_forgotten(order: int) -> None:
    claimed = Bitfield(max_segments=3)
    for page in range(10)[::order]:
        claimed.set(2 * page * PAGE_BITS)
    assert claimed.segments == 3
    assert list(claimed.ranges(0, 99 * PAGE_BITS)) == [
        (2 * page * PAGE_BITS, 2 * page * PAGE_BITS + 1) for page in range(3)
    ]
    assert claimed.contiguous_length == 1


def test_forgetting_shortens_the_contiguous_length() -> None:
    claimed = Bitfield(max_segments=1)
    claimed.set_range(0, PAGE_BITS + 1)
    assert claimed.segments == 1
    assert claimed.contiguous_length == PAGE_BITS
    claimed.clear(5)
    assert claimed.contiguous_length == 5
    assert claimed.get(6)
