"""Rates, budgets, votes and timers."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from protozorfs import crypto
from protozorfs.dht import external_address, rate_limits, transactions
from protozorfs.dht.budget import MIN_RATE, PacketBudget, Priority
from protozorfs.dht.endpoint import IPV4, Endpoint
from protozorfs.dht.external_address import ExternalAddress
from protozorfs.dht.rate_limits import KeyedBuckets, OutgoingGuard
from protozorfs.dht.transactions import RoundTrips, Transactions
from tests.unit.dht.scripted import Surroundings, plain


def endpoint(number: int, port: int = 6881) -> Endpoint:
    """Each number is a subnet of its own."""
    return Endpoint((0x08000000 + (number << 8)).to_bytes(4, "big"), port)


# --- budget -----------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.integers(1, 60),
    st.lists(st.tuples(st.floats(0, 0.3), st.sampled_from([*Priority, None])), max_size=300),
)
def test_no_second_has_more_packets_than_the_rate(
    rate: int, tries: list[tuple[float, Priority | None]]
) -> None:
    budget, now, sent = PacketBudget(rate), 0.0, []
    for pause, priority in tries:
        now += pause
        if priority is None:
            if budget.may_reply(now):
                budget.on_reply(now)
                sent.append(now)
        elif budget.may_query(priority, now):
            budget.on_query(now)
            sent.append(now)
    limit = max(rate, MIN_RATE)
    for at in sent:
        assert sum(at <= other < at + 0.999999 for other in sent) <= limit


def test_what_matters_less_leaves_room_for_what_matters_more() -> None:
    budget = PacketBudget(50)

    def fill(priority: Priority) -> int:
        count = 0
        while budget.may_query(priority, 1.0):
            budget.on_query(1.0)
            count += 1
        return count

    assert [fill(priority) for priority in reversed(Priority)] == [25, 5, 10, 5, 5]
    assert budget.used(1.0) == 50
    assert not budget.may_reply(1.0)
    at = budget.query_time(Priority.READER, 1.0)
    assert budget.may_query(Priority.READER, at)
    assert budget.used(at) == 0


def test_replies_take_half_at_most() -> None:
    budget = PacketBudget(50)
    count = 0
    while budget.may_reply(0.0):
        budget.on_reply(0.0)
        count += 1
    assert count == 25
    assert budget.may_query(Priority.READER, 0.0)


# --- per host ---------------------------------------------------------------------------------


def test_buckets_fill_again_and_are_bounded() -> None:
    buckets = KeyedBuckets(rate=2.0, burst=4.0)
    assert [buckets.allow(b"a", 1.0, 0.0) for _ in range(6)] == [True] * 4 + [False] * 2
    assert buckets.allow(b"b", 4.0, 0.0)
    assert buckets.allow(b"a", 1.0, 0.5)
    assert not buckets.allow(b"a", 1.0, 0.5)
    for number in range(2 * rate_limits.MAX_TRACKED_HOSTS):
        buckets.allow(number.to_bytes(4, "big"), 1.0, 1.0)
    assert len(buckets) == rate_limits.MAX_TRACKED_HOSTS


def test_a_host_is_asked_at_a_pace_it_bears() -> None:
    """libtorrent bans a host that sends 50 datagrams within 10 seconds."""
    guard, now, sent = OutgoingGuard(), 0.0, []
    target = endpoint(1)
    while now < 60.0:
        at = guard.send_time(target, now)
        assert at is not None
        if at > now:
            now = at
            continue
        guard.on_sent(target, now)
        guard.on_answered(target)
        sent.append(now)
    for at in sent:
        assert sum(at <= other < at + 10.0 for other in sent) < 50
    assert len(sent) > 200


def test_a_silent_stranger_gets_two_datagrams_a_minute() -> None:
    guard = OutgoingGuard()
    victim = endpoint(2)
    sent = 0
    for second in range(180):
        for _ in range(3):
            if guard.send_time(victim, float(second)) == second:
                guard.on_sent(victim, float(second))
                sent += 1
    assert sent == 6
    assert guard.send_time(victim, 180.0, is_bootstrap=True) is not None
    assert guard.send_time(endpoint(3), 0.0) == 0.0


def test_the_guard_is_bounded_and_knows_whom_we_asked() -> None:
    guard = OutgoingGuard()
    for number in range(2 * rate_limits.MAX_TRACKED_HOSTS):
        guard.on_sent(endpoint(number), 0.0)
    assert len(guard) == rate_limits.MAX_TRACKED_HOSTS
    last = endpoint(2 * rate_limits.MAX_TRACKED_HOSTS - 1)
    assert guard.was_contacted(last, 100.0)
    assert not guard.was_contacted(last, rate_limits.CONTACT_MEMORY)
    assert not guard.was_contacted(endpoint(0), 0.0)


# --- the external address ---------------------------------------------------------------------

OURS, LIE = Endpoint(bytes([198, 51, 100, 1]), 1), Endpoint(bytes([198, 51, 100, 2]), 1)


def test_a_majority_of_subnets_is_believed() -> None:
    address = ExternalAddress(IPV4)
    votes = [address.vote(endpoint(number), OURS, 0.0) for number in range(6)]
    assert votes == [False] * 4 + [True, False]
    assert address.ip == OURS.ip


def test_one_liar_moves_nothing() -> None:
    address = ExternalAddress(IPV4)
    for port in range(1000):  # one host, and the machines of one subnet
        neighbour = Endpoint(endpoint(1).ip[:3] + bytes([port % 256]), port)
        assert not address.vote(neighbour, LIE, 0.0)
    assert address.ip is None
    for number in range(2, 12):
        address.vote(endpoint(number), OURS, 0.0)
    for number in range(20, 26):
        assert not address.vote(endpoint(number), LIE, 1000.0)
    assert address.ip == OURS.ip


def test_a_new_address_wins_in_time_but_not_at_once() -> None:
    address = ExternalAddress(IPV4)
    for number in range(5):
        address.vote(endpoint(number), OURS, 0.0)
    for number in range(5, 80):
        assert not address.vote(endpoint(number), LIE, 10.0)  # changed a moment ago
    changes = [address.vote(endpoint(number), LIE, 400.0) for number in range(80, 90)]
    assert changes.count(True) == 1
    assert address.ip == LIE.ip
    assert len(address._votes) <= external_address.MAX_VOTES


def test_local_addresses_and_the_other_family_do_not_vote() -> None:
    address = ExternalAddress(IPV4)
    private = Endpoint(bytes([10, 0, 0, 1]), 1)
    sixth = Endpoint(bytes.fromhex("20010db8000000000000000000000001"), 1)
    for number in range(20):
        assert not address.vote(endpoint(number), private, 0.0)
        assert not address.vote(endpoint(number), sixth, 0.0)
        assert not address.vote(Endpoint(bytes([10, 0, number, 1]), 1), OURS, 0.0)


# --- transactions -----------------------------------------------------------------------------


def test_a_reply_counts_from_the_host_that_was_asked_and_once() -> None:
    table: Transactions[str] = Transactions(random.Random(1))
    pending = table.open(endpoint(1), None, "owner", 0.25, 0.0)
    assert len(pending.transaction) >= 4
    assert table.is_awaited(endpoint(1))
    assert table.take(pending.transaction, endpoint(2)) is None
    assert table.take(pending.transaction, endpoint(1, 7)) is None
    assert table.take(bytes(4), endpoint(1)) is None
    assert table.take(pending.transaction, endpoint(1)) is pending
    assert table.take(pending.transaction, endpoint(1)) is None
    assert not table.is_awaited(endpoint(1))
    assert table.next_deadline() is None


def test_a_query_is_slow_first_and_given_up_later() -> None:
    table: Transactions[str] = Transactions(random.Random(1))
    pending = table.open(endpoint(1), None, "owner", 0.25, 0.0)
    assert table.next_deadline() == 0.25
    assert table.expire(0.2) == []
    assert table.expire(0.25) == [pending]
    assert table.is_open(pending)
    assert table.next_deadline() == transactions.GIVE_UP_AFTER
    assert table.expire(transactions.GIVE_UP_AFTER) == [pending]
    assert not table.is_open(pending)
    assert len(table) == 0


def test_a_query_whose_times_both_passed_is_given_up_at_once() -> None:
    table: Transactions[str] = Transactions(random.Random(1))
    pending = table.open(endpoint(1), None, "owner", 0.25, 0.0)
    assert table.expire(100.0) == [pending]
    assert not table.is_open(pending)


def test_the_round_trip_is_learned() -> None:
    trips = RoundTrips()
    assert trips.slow_after == transactions.FIRST_SLOW_AFTER
    for _ in range(20):
        trips.add(0.05)
    assert trips.slow_after == transactions.MIN_SLOW_AFTER
    for _ in range(50):
        trips.add(0.3)
    assert 0.59 < trips.slow_after <= transactions.MAX_SLOW_AFTER
    for _ in range(50):
        trips.add(1.9)
    assert trips.slow_after == transactions.MAX_SLOW_AFTER


# --- both at once -----------------------------------------------------------------------------


def test_who_waits_for_a_host_and_for_the_budget_lets_the_driver_sleep() -> None:
    """Many searches among three nodes: a query that its host could take has no budget yet."""
    few = Surroundings(dict.fromkeys(range(8), plain), rate=50)
    keys = [crypto.key_pair(bytes([number]) * 32).public_key for number in range(60)]
    searches = [
        few.engine.get_item(key, priority=Priority.READER if number % 2 else Priority.SAMPLE)
        for number, key in enumerate(keys)
    ]
    for search in searches:
        few.finish(search)
