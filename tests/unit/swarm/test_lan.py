"""Local discovery on virtual time: what is announced when, and what strangers can cost."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protozorfs.dht.rate_limits import MAX_TRACKED_HOSTS
from protozorfs.swarm.lan import (
    ALL_EARLY_BURST,
    ALL_EARLY_RATE,
    ANSWER_DELAY,
    EARLY_BURST,
    EARLY_RATE,
    LISTEN_SECONDS,
    MIN_AGE,
    MIN_SPACING,
    REPEAT_DELAYS,
    SOURCE_BURST,
    SOURCE_RATE,
    TOTAL_BURST,
    TOTAL_RATE,
    Announcement,
    Counters,
    Found,
    LocalDiscovery,
)
from protozorfs.swarm.lan_messages import HOST_IPV4, MAX_COOKIE_BYTES, MAX_SENT_INFOHASHES
from protozorfs.types import Address

FIVE_MINUTES = 300.0
REPEATS_END = sum(REPEAT_DELAYS)
HOST = "10.0.0.2"
PORT = 4000
ONE = bytes([1]) * 20


def infohashes_up_to(count: int) -> list[bytes]:
    return [number.to_bytes(20, "big") for number in range(count)]


def heard(*infohashes: bytes, cookie: bytes = b"theirs") -> bytes:
    return Announcement(infohashes, cookie).encode(HOST_IPV4, PORT)


@dataclass
class World:
    """One engine, and what it sends, on virtual time."""

    engine: LocalDiscovery
    now: float = 1000.0
    sent: list[tuple[float, tuple[bytes, ...]]] = field(default_factory=list)

    def run(self, seconds: float) -> None:
        """As a driver does it: asks the engine exactly when it wants to be asked."""
        end = self.now + seconds
        idle = 0
        while True:
            deadline = self.engine.next_deadline()
            if deadline is None or deadline > end:
                self.now = end
                return
            self.now = max(self.now, deadline)
            messages = self.engine.messages_to_send(self.now)
            self.sent += [(self.now, message.infohashes) for message in messages]
            idle = 0 if messages else idle + 1
            assert idle <= 3, "asked for nothing, again and again"

    def times_of(self, infohash: bytes) -> list[float]:
        return [time for time, infohashes in self.sent if infohash in infohashes]


def new_world(seed: int = 0) -> World:
    return World(LocalDiscovery(b"ours", random.Random(seed).random))


def test_nothing_to_do_without_infohashes() -> None:
    world = new_world()
    assert world.engine.next_deadline() is None
    assert world.engine.messages_to_send(world.now) == []
    world.engine.add(ONE, world.now)
    world.run(10)
    world.engine.remove(ONE)
    assert ONE not in world.engine
    assert world.engine.next_deadline() is None
    assert world.engine.messages_to_send(world.now) == []


def test_a_new_one_at_once_then_after_2_and_6_seconds_then_every_5_minutes() -> None:
    world = new_world()
    start = world.now
    world.engine.add(ONE, start)
    world.engine.add(ONE, start)
    world.run(3600)
    times = [time - start for time in world.times_of(ONE)]
    assert times[:3] == [0.0, 2.0, 6.0]
    steps = [later - earlier for earlier, later in itertools.pairwise(times[2:])]
    assert all(MIN_AGE <= step <= FIVE_MINUTES for step in steps)
    assert len(steps) >= 3600 / FIVE_MINUTES - 1


def test_what_is_due_together_leaves_together() -> None:
    world = new_world()
    for infohash in infohashes_up_to(MAX_SENT_INFOHASHES):
        world.engine.add(infohash, world.now)
    world.run(3600)
    assert all(len(infohashes) == MAX_SENT_INFOHASHES for _, infohashes in world.sent)
    assert len(world.sent) <= 3 + 3600 / 240


def test_ten_thousand_over_an_hour() -> None:
    world = new_world()
    infohashes = infohashes_up_to(10_000)
    start = world.now
    for infohash in infohashes:
        world.engine.add(infohash, start)
    world.run(60)
    late = bytes([0xFF]) * 20
    world.engine.add(late, world.now)
    world.run(3540)

    # Somebody who adds a feed while thousands are being announced does not wait for them.
    assert world.times_of(late)[0] <= start + 61

    times: dict[bytes, list[float]] = defaultdict(list)
    for time, batch in world.sent:
        assert len(set(batch)) == len(batch) <= MAX_SENT_INFOHASHES
        for infohash in batch:
            times[infohash].append(time)
    for infohash in infohashes:
        own = times[infohash]
        assert own[0] <= start + 45
        assert len(own) >= 3 + 10
        assert own[-1] > start + 3600 - FIVE_MINUTES
        for earlier, later in itertools.pairwise(own[2:]):
            assert MIN_AGE <= later - earlier <= FIVE_MINUTES

    for (earlier, _), (later, _) in itertools.pairwise(world.sent):
        assert later - earlier >= MIN_SPACING * 0.999
    # The start is over after three minutes; from then on no minute differs much from another.
    per_minute = [0] * 60
    for time, _ in world.sent:
        per_minute[int((time - start) // 60) % 60] += 1
    average = 10_000 / MAX_SENT_INFOHASHES / 4
    assert all(0.8 * average <= count <= 1.2 * average for count in per_minute[4:])


def test_an_answer_to_who_announces_what_we_have_once_a_minute() -> None:
    world = new_world()
    world.engine.add(ONE, world.now)
    world.run(REPEATS_END + MIN_AGE)
    world.sent.clear()
    asked = world.now
    for _ in range(10):
        found = world.engine.receive_datagram(heard(ONE), HOST, world.now)
        assert found == [Found(ONE, Address(HOST, PORT))]
        world.run(5)
    assert len(world.sent) == 1
    assert asked <= world.sent[0][0] <= asked + ANSWER_DELAY
    world.run(MIN_AGE - 50 + 0.5)
    world.engine.receive_datagram(heard(ONE), HOST, world.now)
    world.run(1)
    assert len(world.sent) == 2


def test_hearing_of_a_new_one_hastens_its_first_repeat_only() -> None:
    world = new_world()
    start = world.now
    world.engine.add(ONE, start)
    for _ in range(100):
        world.engine.receive_datagram(heard(ONE), HOST, world.now)
        world.run(0.1)
    first, second, third, *rest = world.times_of(ONE)
    assert first == start
    assert start < second <= start + 0.1 + ANSWER_DELAY + MIN_SPACING
    assert third == second + REPEAT_DELAYS[1]
    assert rest == []


def test_an_answer_counts_as_an_announcement() -> None:
    """Two nodes that have the same do not announce it twice as often."""
    worlds = [new_world(seed) for seed in range(2)]
    infohashes = infohashes_up_to(1000)
    for world in worlds:
        for infohash in infohashes:
            world.engine.add(infohash, world.now)
    for _ in range(3600 * 10):
        for world, other in (worlds, worlds[::-1]):
            known = len(world.sent)
            world.run(0.1)
            for _, batch in world.sent[known:]:
                other.engine.receive_datagram(heard(*batch), HOST, other.now)
    least = 3600 / 240 * 1000
    for world in worlds:
        announced = sum(len(batch) for _, batch in world.sent)
        assert announced <= 3000 + 1.3 * least
        assert all(
            later - earlier <= FIVE_MINUTES
            for infohash in infohashes
            for earlier, later in itertools.pairwise(world.times_of(infohash))
        )


def test_only_what_we_have_is_found() -> None:
    world = new_world()
    world.engine.add(ONE, world.now)
    other = bytes([2]) * 20
    found = world.engine.receive_datagram(heard(other, ONE, ONE), HOST, world.now)
    assert found == [Found(ONE, Address(HOST, PORT))]
    assert world.engine.receive_datagram(heard(other), HOST, world.now) == []
    world.engine.remove(ONE)
    assert world.engine.receive_datagram(heard(ONE), HOST, world.now) == []


def test_our_own_datagrams_are_nothing() -> None:
    world = new_world()
    world.engine.add(ONE, world.now)
    [message] = world.engine.messages_to_send(world.now)
    own = message.encode(HOST_IPV4, PORT)
    assert world.engine.receive_datagram(own, HOST, world.now) == []
    assert world.engine.receive_datagram(b"\xff", HOST, world.now) == []
    assert world.engine.counters == Counters(own=1, malformed=1)


@pytest.mark.parametrize(
    "cookie", [b"", b"\r\nPort: 1", b" ours", b"ours\n", b"\xff\x00", b"x" * (MAX_COOKIE_BYTES + 1)]
)
def test_a_cookie_that_would_not_come_back_as_it_was_sent_is_refused(cookie: bytes) -> None:
    with pytest.raises(ValueError, match="not a printable cookie"):
        LocalDiscovery(cookie, random.Random(1).random)


def test_a_new_link_hears_everything_again() -> None:
    world = new_world()
    infohashes = infohashes_up_to(100)
    for infohash in infohashes:
        world.engine.add(infohash, world.now)
    world.run(20)
    world.sent.clear()
    world.engine.links_changed(world.now)
    world.run(1)
    assert {infohash for _, batch in world.sent for infohash in batch} == set(infohashes)
    world.run(20)
    assert all(len(world.times_of(infohash)) == 3 for infohash in infohashes)


def test_one_source_cannot_use_up_what_all_may_cost() -> None:
    world = new_world()
    world.engine.add(ONE, world.now)
    accepted = sum(
        bool(world.engine.receive_datagram(heard(ONE), HOST, world.now)) for _ in range(1000)
    )
    assert accepted == SOURCE_BURST
    assert world.engine.receive_datagram(heard(ONE), "10.0.0.3", world.now) != []
    accepted = sum(
        bool(world.engine.receive_datagram(heard(ONE), HOST, world.now + number / 100))
        for number in range(1000)
    )
    assert SOURCE_RATE * 10 - 5 <= accepted <= SOURCE_RATE * 10 + 5


def test_a_flood_from_many_sources_is_bounded() -> None:
    world = new_world()
    world.engine.add(ONE, world.now)
    sources = [f"10.0.{number // 250}.{number % 250}" for number in range(3 * MAX_TRACKED_HOSTS)]
    for source in sources:
        world.engine.receive_datagram(heard(ONE), source, world.now)
    counters = world.engine.counters
    assert counters.accepted == TOTAL_BURST
    assert counters.limited == len(sources) - TOTAL_BURST
    assert len(world.engine._source_limits) == MAX_TRACKED_HOSTS
    world.run(1)
    for source in sources:
        world.engine.receive_datagram(heard(ONE), source, world.now)
    assert counters.accepted <= TOTAL_BURST + TOTAL_RATE


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "hear", "wait", "links"]),
        st.integers(0, 40),
        st.floats(0, 200),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(OPERATIONS)
def test_whatever_happens_everything_is_announced_in_time(
    operations: list[tuple[str, int, float]],
) -> None:
    """New links start over; apart from that the ages of all announcements keep to BEP 14."""
    world = new_world()
    infohashes = infohashes_up_to(41)
    added: dict[bytes, tuple[float, int]] = {}  # when, and how many were sent before
    for what, number, seconds in operations:
        infohash = infohashes[number]
        new = world.now, len(world.sent)
        if what == "add":
            world.engine.add(infohash, world.now)
            added.setdefault(infohash, new)
        elif what == "remove":
            world.engine.remove(infohash)
            added.pop(infohash, None)
        elif what == "hear":
            world.engine.receive_datagram(heard(infohash), HOST, world.now)
        elif what == "links":
            world.engine.links_changed(world.now)
            added = dict.fromkeys(added, new)
        else:
            world.run(seconds)
    assert len(world.engine) == len(added)
    world.run(FIVE_MINUTES)
    for infohash, (since, sent_before) in added.items():
        times = [time for time, batch in world.sent[sent_before:] if infohash in batch]
        assert times[0] <= since + 1
        assert times[-1] >= world.now - FIVE_MINUTES
        for earlier, later in itertools.pairwise(times[2:]):
            assert MIN_AGE <= later - earlier <= FIVE_MINUTES


def test_somebody_may_answer_until_a_while_after_the_last_repeat() -> None:
    world = new_world()
    assert not world.engine.may_answer(ONE)
    world.engine.add(ONE, world.now)
    assert world.engine.announced_at(ONE) is None
    start = world.now
    world.run(REPEATS_END + LISTEN_SECONDS - 0.1)
    assert world.engine.may_answer(ONE)
    assert world.engine.announced_at(ONE) == start + REPEATS_END
    assert world.engine.take_unanswered(world.now) == []
    world.run(0.2)
    assert world.engine.take_unanswered(world.now) == [ONE]
    assert not world.engine.may_answer(ONE)
    world.run(FIVE_MINUTES)
    assert world.engine.take_unanswered(world.now) == [], "nobody waits for what comes by turns"


def test_who_waits_has_it_announced_once_more_if_a_minute_has_passed() -> None:
    world = new_world()
    world.engine.add(ONE, world.now)
    world.run(REPEATS_END + MIN_AGE / 2)
    world.engine.take_unanswered(world.now)
    world.sent.clear()
    world.engine.ask(ONE, world.now)
    assert not world.engine.may_answer(ONE), "it was announced less than a minute ago"
    world.run(MIN_AGE / 2)
    for _ in range(10):
        world.engine.ask(ONE, world.now)
        assert world.engine.may_answer(ONE)
        world.run(LISTEN_SECONDS / 20)
    assert len(world.sent) == 1
    world.run(LISTEN_SECONDS)
    assert world.engine.take_unanswered(world.now) == [ONE]
    world.engine.ask(bytes(20), world.now)
    assert bytes(20) not in world.engine


def test_who_waits_comes_first_among_thousands() -> None:
    world = new_world()
    infohashes = infohashes_up_to(10_000)
    for infohash in infohashes:
        world.engine.add(infohash, world.now)
    world.engine.ask(infohashes[0], world.now)
    world.run(MIN_SPACING)
    assert infohashes[0] in world.sent[0][1]


def test_what_was_let_go_and_came_back_is_asked_anew() -> None:
    world = new_world()
    world.engine.add(ONE, world.now)
    world.run(REPEATS_END)
    world.engine.remove(ONE)
    world.engine.add(ONE, world.now)
    world.run(LISTEN_SECONDS + 0.1)
    assert world.engine.take_unanswered(world.now) == [], "the answers to its first time"
    assert world.engine.may_answer(ONE)


def found(number: int) -> Found:
    return Found(ONE, Address(f"10.0.{number // 256}.{number % 256}", PORT))


def at_rest(seed: int = 0) -> World:
    """An engine whose only infohash was announced a few seconds ago."""
    world = new_world(seed)
    world.engine.add(ONE, world.now)
    world.run(REPEATS_END + 5)
    world.sent.clear()
    return world


def test_a_peer_that_is_not_connected_is_answered_within_the_minute() -> None:
    world = at_rest()
    asked = world.now
    world.engine.receive_datagram(heard(ONE), HOST, asked)
    world.engine.answer_early(Found(ONE, Address(HOST, PORT)), asked)
    world.run(1)
    [answered] = world.times_of(ONE)
    assert asked <= answered <= asked + ANSWER_DELAY
    world.engine.answer_early(Found(ONE, Address(HOST, PORT)), answered + 0.1)
    world.run(1)
    assert len(world.sent) == 1, "one answer is for all who ask at about the same time"


def test_an_early_answer_takes_no_repeat_away() -> None:
    world = new_world()
    start = world.now
    world.engine.add(ONE, start)
    while world.now < start + REPEATS_END - 0.2:
        world.run(0.5)
        world.engine.answer_early(Found(ONE, Address(HOST, PORT)), world.now)
    world.run(1)
    assert world.times_of(ONE) == [start, start + REPEAT_DELAYS[0], start + REPEATS_END]


def test_one_source_gets_few_early_answers() -> None:
    world = at_rest()
    seconds = 50
    for _ in range(seconds * 10):
        world.engine.answer_early(found(7), world.now)
        world.run(0.1)
    assert EARLY_BURST <= len(world.sent) <= EARLY_BURST + EARLY_RATE * seconds + 1
    world.run(1)
    known = len(world.sent)
    world.engine.answer_early(found(8), world.now)
    world.run(1)
    assert len(world.sent) == known + 1, "another is answered"


def test_whatever_strangers_ask_the_early_answers_are_bounded() -> None:
    """They invent sources and know all that is here."""
    world = new_world()
    infohashes = infohashes_up_to(50)
    for infohash in infohashes:
        world.engine.add(infohash, world.now)
    world.run(REPEATS_END + 5)
    world.sent.clear()
    seconds = 40  # until the minute is over for the first of them
    for count in range(seconds * 20):
        infohash = infohashes[count % 50]
        world.engine.answer_early(Found(infohash, found(count).address), world.now)
        world.run(0.05)
    announced = sum(len(batch) for _, batch in world.sent)
    assert announced <= ALL_EARLY_BURST + ALL_EARLY_RATE * seconds + 1
