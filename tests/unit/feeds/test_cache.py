"""What is dropped first, and who of many readers has a turn: pure policy, against naive models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from protozorfs.feeds.cache import (
    CHUNKS_IN_CACHE,
    MIN_CHUNK_BYTES,
    Chunk,
    Recency,
    Turns,
    chunk_bytes_for,
)
from protozorfs.feeds.wants import Want

if TYPE_CHECKING:
    import random

CHUNK = 100

uses = st.tuples(
    st.sampled_from(["put", "unread", "touch", "take", "forget"]),
    st.sampled_from("ab"),
    st.integers(0, 12),
    st.integers(1, 4),
)


def want() -> Want:
    return Want(0, 0, 0.0, 0)


@given(st.integers(1, 1 << 50))
def test_chunks_grow_with_the_cache_so_that_there_are_never_too_many(cache_bytes: int) -> None:
    size = chunk_bytes_for(cache_bytes)
    assert size.bit_count() == 1
    assert cache_bytes / size <= CHUNKS_IN_CACHE
    assert size == MIN_CHUNK_BYTES or size * CHUNKS_IN_CACHE < 2 * cache_bytes


@given(st.lists(uses, max_size=60), st.sets(st.tuples(st.sampled_from("ab"), st.integers(0, 12))))
@settings(max_examples=150)
def test_the_least_recently_used_go_first_and_pinned_ones_never(
    steps: list[tuple[str, str, int, int]], pinned_places: set[tuple[str, int]]
) -> None:
    recency: Recency[str] = Recency(CHUNK)
    order: list[Chunk[str]] = []  # the model: oldest first
    pinned = {Chunk(key, number) for key, number in pinned_places}
    for action, key, number, count in steps:
        chunk = Chunk(key, number)
        if action in ("put", "unread"):
            recency.put(chunk, number * 10, number * 10 + count, is_unread=action == "unread")
            order = [one for one in order if one != chunk]
            order.insert(0 if action == "unread" else len(order), chunk)
        elif action == "touch":
            assert recency.touch(chunk) == (chunk in order)
            if chunk in order:
                order.remove(chunk)
                order.append(chunk)
        elif action == "forget":
            recency.forget(key)
            order = [one for one in order if one.key != key]
        else:
            expected = [one for one in order if one not in pinned][:count]
            order = [one for one in order if one not in expected]
            victims = recency.take_oldest(count, pinned)
            taken = [
                Chunk(victim.key, one)
                for victim in victims
                for one in range(victim.first_chunk, victim.end_chunk)
            ]
            assert sorted(taken) == sorted(expected)
            for victim in victims:  # whole runs, with all that was put into them
                assert Chunk(victim.key, victim.first_chunk - 1) not in taken
                assert Chunk(victim.key, victim.end_chunk) not in taken
                assert victim.start == victim.first_chunk * 10
                assert (victim.end_chunk - 1) * 10 < victim.end <= victim.end_chunk * 10
        assert len(recency) == len(order)
        assert all(one in recency for one in order)


def test_what_is_put_twice_has_the_blocks_of_both() -> None:
    recency: Recency[str] = Recency(CHUNK)
    recency.put(Chunk("a", 0), 5, 6)
    recency.put(Chunk("a", 0), 2, 3)
    (victim,) = recency.take_oldest(1, set())
    assert (victim.start, victim.end) == (2, 6)


def test_chunks_of_bytes() -> None:
    recency: Recency[str] = Recency(CHUNK)
    assert recency.chunks_of(0, 100) == range(1)
    assert recency.chunks_of(99, 201) == range(3)
    assert recency.chunks_of(150, 150) == range(0)


def test_a_block_that_is_left_to_another_chunk_goes_with_that() -> None:
    recency: Recency[str] = Recency(CHUNK)
    recency.put(Chunk("a", 2), 7, 8)
    recency.put(Chunk("a", 3), 9, 10)
    assert not recency.takes("a", range(2), 5)
    assert not recency.takes("b", range(3), 5)
    assert recency.takes("a", range(3), 5)
    (victim,) = recency.take_oldest(1, set())
    assert victim == ("a", 2, 3, 5, 8)


@given(
    needs=st.lists(st.integers(1, 60), max_size=20),
    leaving=st.randoms(use_true_random=False),
    tight_at=st.integers(0, 30),
)
def test_readers_have_turns_in_the_order_they_came(
    needs: list[int], leaving: random.Random, tight_at: int
) -> None:
    turns: Turns[str] = Turns(100)
    waiting: list[tuple[Want, int]] = []
    for number, need in enumerate(needs):
        one = want()
        turns.enter(one, f"feed {number}", need)
        waiting.append((one, need))
    step = 0
    while waiting:
        step += 1
        if step == tight_at:
            alone = turns.only_first()
            assert (alone is None) or (alone is waiting[0][0] and len(turns) == 1)
            assert [one for one, _ in turns.admitted] == [waiting[0][0]]
        flags = [one.is_admitted for one, _ in waiting]
        count = len(turns)
        assert flags == [True] * count + [False] * (len(waiting) - count), "who came first"
        assert count >= 1
        admitted = sum(need for _, need in waiting[:count])
        assert count == 1 or admitted <= 100
        if step < tight_at and count < len(waiting):
            assert admitted + waiting[count][1] > 100, "as many as fit"
        gone = leaving.randrange(len(waiting))
        before = {id(one) for one, _ in waiting if one.is_admitted}
        one, _ = waiting.pop(gone)
        let_in = turns.leave(one)
        after = {id(one) for one, _ in waiting if one.is_admitted}
        assert len(let_in) == len(after - before)
    assert len(turns) == 0


def test_blocks_larger_than_thought_are_had_one_reader_at_a_time() -> None:
    turns: Turns[str] = Turns(100)
    wants = [want() for _ in range(8)]
    for one in wants:
        turns.enter(one, "feed", 1)
    assert len(turns) == 8
    assert turns.only_first() is None
    assert [one.is_admitted for one in wants] == [True] + 7 * [False]
    assert turns.only_first() is wants[0], "nobody else is in its way"
    counts = []
    for one in wants:
        turns.leave(one)
        counts.append(len(turns))
    assert counts == [2, 4, 5, 4, 3, 2, 1, 0]
