"""The table of addresses: back-off grows, bans grow faster, nothing is dialled twice at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protozorfs.swarm.peers import (
    FIRST_BAN,
    FIRST_DELAY,
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
    table.connected(peer)
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
    table.connected(peer)
    table.failed(peer, "closed", 50.0, 0.0)
    assert peer.next_dial == 50.0 + FIRST_DELAY


def test_misbehaviour_is_left_alone_for_longer_each_time() -> None:
    table = PeerTable()
    peer = table.add_users(ADDRESS)
    waits = []
    for _ in range(12):
        table.misbehaved(peer, "invalid proof", 0.0, 0.0)
        waits.append(peer.next_dial)
        table.connected(peer)
    assert waits[:3] == [FIRST_BAN, 2 * FIRST_BAN, 4 * FIRST_BAN]
    assert waits[-1] == MAX_BAN
    assert peer.why == ""


def test_a_peer_whose_feeds_have_enough_is_put_off_until_they_need_it() -> None:
    table = PeerTable()
    peer = table.add_found(ADDRESS, FEED)
    assert peer is not None
    assert table.due(0.0, lambda _: False) == []
    assert peer.next_dial == UNWANTED_DELAY
    table.hurry({OTHER}, 1.0)
    assert peer.next_dial == UNWANTED_DELAY
    table.hurry({FEED}, 1.0)
    assert table.due(1.0, wanted) == [peer]


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
