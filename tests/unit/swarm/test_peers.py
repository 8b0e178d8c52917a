"""The table of addresses: back-off grows, bans grow faster, nothing is dialled twice at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protozorfs.swarm.peers import (
    FIRST_BAN,
    FIRST_DELAY,
    HASTE_INTERVAL,
    JITTER,
    MAX_BAN,
    MAX_DELAY,
    MAX_FAILURES,
    MAX_PEERS_PER_FEED,
    MAX_USER_DELAY,
    UNWANTED_DELAY,
    Peer,
    PeerTable,
)
from protozorfs.types import Address, FeedId

ADDRESS = Address("127.0.0.1", 4000)


FEED = FeedId(bytes(32))
OTHER = FeedId(bytes([1]) * 32)


def wanted(_: Peer) -> bool:
    return True


def test_a_new_peer_is_due_at_once() -> None:
    table = PeerTable()
    peer = table.add_users(ADDRESS)
    assert table.due(0.0, wanted) == [peer]
    assert table.next_due() == 0.0


def test_an_address_is_one_peer_and_stays_the_users() -> None:
    table = PeerTable()
    peer = table.add_users(ADDRESS)
    assert table.add_found(ADDRESS, FEED) is peer
    assert peer.is_users
    assert peer.feeds == {FEED}


def test_who_is_dialled_or_connected_is_not_due() -> None:
    table = PeerTable()
    peer = table.add_users(ADDRESS)
    peer.is_dialling = True
    assert table.due(1e9, wanted) == []
    table.connected(peer, "a:1")
    assert table.due(1e9, wanted) == []
    assert table.next_due() is None


@given(
    is_users=st.booleans(),
    failures=st.integers(min_value=1, max_value=60),
    chance=st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_failures_back_off_up_to_a_limit(is_users: bool, failures: int, chance: float) -> None:
    table = PeerTable()
    peer = table.add_users(ADDRESS) if is_users else table.add_found(ADDRESS, FEED)
    assert peer is not None
    for _ in range(failures):
        table.failed(peer, "refused", 100.0, chance)
    if not is_users and failures >= MAX_FAILURES:
        assert len(table) == 0
        return
    limit = MAX_USER_DELAY if is_users else MAX_DELAY
    delay = min(limit, FIRST_DELAY * 2.0 ** (failures - 1))
    assert peer.next_dial == 100.0 + delay * (1 + JITTER * chance)
    assert table.due(peer.next_dial, wanted) == [peer]
    assert table.due(peer.next_dial - 0.01, wanted) == []


def test_a_connection_ends_the_back_off() -> None:
    table = PeerTable()
    peer = table.add_users(ADDRESS)
    for _ in range(10):
        table.failed(peer, "refused", 0.0, 0.0)
    table.connected(peer, "a:1")
    table.failed(peer, "closed", 50.0, 0.0)
    assert peer.next_dial == 50.0 + FIRST_DELAY


def test_misbehaviour_is_left_alone_for_longer_each_time() -> None:
    table = PeerTable()
    peer = table.add_users(ADDRESS)
    waits = []
    for _ in range(12):
        table.misbehaved(peer, "invalid proof", 0.0, 0.0)
        waits.append(peer.next_dial)
        table.connected(peer, "a:1")
    assert waits[:3] == [FIRST_BAN, 2 * FIRST_BAN, 4 * FIRST_BAN]
    assert waits[-1] == MAX_BAN
    assert peer.why == ""


def test_a_peer_whose_feeds_have_enough_is_put_off_until_they_need_it() -> None:
    table = PeerTable()
    peer = table.add_found(ADDRESS, FEED)
    assert peer is not None
    assert table.due(0.0, lambda _: False) == []
    assert peer.due == UNWANTED_DELAY
    table.hurry({OTHER}, 1.0)
    assert peer.due == UNWANTED_DELAY
    table.hurry({FEED}, 1.0)
    assert table.due(1.0, wanted) == [peer]


def test_a_peer_that_was_put_off_after_a_failure_is_due_when_its_feeds_need_it() -> None:
    table = PeerTable()
    peer = table.add_found(ADDRESS, FEED)
    assert peer is not None
    table.failed(peer, "refused", 0.0, 0.0)
    assert table.due(1.0, lambda _: False) == []
    assert peer.due == 1.0 + UNWANTED_DELAY
    table.hurry({FEED}, 2.0)
    assert table.due(2.0, wanted) == [peer]


def test_a_peer_of_no_feed_is_forgotten_when_its_connection_ends() -> None:
    """Else it would be known, and put off, when its feed is followed again."""
    table = PeerTable()
    peer = table.add_found(ADDRESS, FEED)
    assert peer is not None
    table.connected(peer, "a:1")
    table.forget_feed(FEED)
    assert table.find(ADDRESS) is peer, "it is connected"
    table.failed(peer, "the peer closed the connection", 1.0, 0.0)
    assert table.find(ADDRESS) is None


def test_a_back_off_ends_for_a_peer_that_was_heard_of() -> None:
    table = PeerTable()
    peer = table.add_found(ADDRESS, FEED)
    assert peer is not None
    for _ in range(MAX_FAILURES - 1):
        table.failed(peer, "refused", 0.0, 0.0)
    assert table.due(1.0, wanted) == []
    assert table.hasten(peer, 1.0)
    assert table.due(1.0, wanted) == [peer]
    peer.next_dial = 100.0
    assert not table.hasten(peer, 1.0 + HASTE_INTERVAL / 2), "strangers may say it all the time"
    assert table.hasten(peer, 1.0 + HASTE_INTERVAL)


def test_nothing_ends_a_ban_before_its_time() -> None:
    table = PeerTable()
    banned, ourselves = table.add_found(ADDRESS, FEED), table.add_users(Address("::1", 4000))
    assert banned is not None
    table.misbehaved(banned, "invalid proof", 0.0, 0.0)
    table.is_this_node(ourselves)
    table.hasten_all(FEED, 1.0)
    assert table.due(1.0, wanted) == []


def test_who_may_be_reached() -> None:
    table = PeerTable()
    assert not table.may_be_reached(FEED, 0.0)
    peer = table.add_found(ADDRESS, FEED)
    assert peer is not None
    assert table.may_be_reached(FEED, 0.0), "it is to be dialled"
    assert not table.may_be_reached(OTHER, 0.0)
    peer.is_dialling = True
    assert table.may_be_reached(FEED, 0.0)
    table.failed(peer, "refused", 0.0, 0.0)
    assert not table.may_be_reached(FEED, 0.0), "not before the next attempt"
    assert table.may_be_reached(FEED, peer.next_dial)
    table.connected(peer, "a:1")
    assert not table.may_be_reached(FEED, 100.0), "its connection is asked"
    table.add_users(Address("::1", 4000))
    assert table.may_be_reached(OTHER, 0.0)


def test_a_peer_that_is_put_off_is_no_hope_though_it_was_never_tried() -> None:
    table = PeerTable()
    assert table.add_found(ADDRESS, FEED) is not None
    assert table.due(0.0, lambda peer: False) == []
    assert not table.may_be_reached(FEED, 0.0)
    assert table.may_be_reached(FEED, UNWANTED_DELAY)


def test_found_peers_are_bounded_and_go_with_their_feed() -> None:
    table = PeerTable()
    for port in range(1, 1000):
        table.add_found(Address("10.0.0.1", port), FEED)
    assert len(table) == MAX_PEERS_PER_FEED
    table.add_found(Address("10.0.0.1", 1), OTHER)
    table.forget_feed(FEED)
    assert [peer.feeds for peer in table] == [{OTHER}]


def test_a_ban_outlives_the_feed() -> None:
    table = PeerTable()
    peer = table.add_found(ADDRESS, FEED)
    assert peer is not None
    table.misbehaved(peer, "invalid proof", 0.0, 0.0)
    table.forget_feed(FEED)
    assert table.add_found(ADDRESS, FEED) is peer
    assert table.due(FIRST_BAN / 2, wanted) == []
