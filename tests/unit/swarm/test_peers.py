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
    MAX_USER_DELAY,
    PeerTable,
)
from protozorfs.types import Address

ADDRESS = Address("127.0.0.1", 4000)


def test_a_new_peer_is_due_at_once() -> None:
    table = PeerTable()
    peer = table.add(ADDRESS, is_users=True)
    assert table.due(0.0) == [peer]
    assert table.next_due() == 0.0


def test_an_address_is_one_peer_and_stays_the_users() -> None:
    table = PeerTable()
    peer = table.add(ADDRESS, is_users=True)
    assert table.add(ADDRESS, is_users=False) is peer
    assert peer.is_users


def test_who_is_dialled_or_connected_is_not_due() -> None:
    table = PeerTable()
    peer = table.add(ADDRESS, is_users=True)
    peer.is_dialling = True
    assert table.due(1e9) == []
    table.connected(peer)
    assert table.due(1e9) == []
    assert table.next_due() is None


@given(
    is_users=st.booleans(),
    failures=st.integers(min_value=1, max_value=60),
    chance=st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_failures_back_off_up_to_a_limit(is_users: bool, failures: int, chance: float) -> None:
    table = PeerTable()
    peer = table.add(ADDRESS, is_users=is_users)
    for _ in range(failures):
        table.failed(peer, "refused", 100.0, chance)
    limit = MAX_USER_DELAY if is_users else MAX_DELAY
    delay = min(limit, FIRST_DELAY * 2.0 ** (failures - 1))
    assert peer.next_dial == 100.0 + delay * (1 + JITTER * chance)
    assert table.due(peer.next_dial) == [peer]
    assert table.due(peer.next_dial - 0.01) == []


def test_a_connection_ends_the_back_off() -> None:
    table = PeerTable()
    peer = table.add(ADDRESS, is_users=True)
    for _ in range(10):
        table.failed(peer, "refused", 0.0, 0.0)
    table.connected(peer)
    table.failed(peer, "closed", 50.0, 0.0)
    assert peer.next_dial == 50.0 + FIRST_DELAY


def test_misbehaviour_is_left_alone_for_longer_each_time() -> None:
    table = PeerTable()
    peer = table.add(ADDRESS, is_users=True)
    waits = []
    for _ in range(12):
        table.misbehaved(peer, "invalid proof", 0.0, 0.0)
        waits.append(peer.next_dial)
        table.connected(peer)
    assert waits[:3] == [FIRST_BAN, 2 * FIRST_BAN, 4 * FIRST_BAN]
    assert waits[-1] == MAX_BAN
    assert peer.why == ""
