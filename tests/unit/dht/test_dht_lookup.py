"""The search itself: its order, its end, and what liars cannot do to it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from hypothesis import example, given, settings
from hypothesis import strategies as st

from protozorfs.dht import lookup
from protozorfs.dht.endpoint import Endpoint
from protozorfs.dht.krpc import Contact
from protozorfs.dht.lookup import Lookup, State
from protozorfs.dht.node_id import NodeId, distance, make_node_id

if TYPE_CHECKING:
    from protozorfs.dht.lookup import Candidate

TARGET = NodeId(bytes(20))
OWN_ID = NodeId(b"\xff" * 20)
SOURCE = random.Random(99)


def node(rank: int, *, ip: bytes | None = None) -> Contact:
    """A node on loopback (each port a host, every id genuine) at that distance from the target."""
    where = Endpoint(ip or bytes([127, 0, 0, 1]), 2000 + rank)
    return Contact(NodeId(rank.to_bytes(2, "big") + bytes(18)), where)


def public(rank: int, *, belongs: bool, subnet: int | None = None) -> Contact:
    """A node out there; `rank` orders those whose id is forged."""
    subnet = rank if subnet is None else subnet
    ip = bytes([11, subnet >> 8, subnet & 0xFF, 1 + rank % 200])
    node_id = make_node_id(ip, SOURCE) if belongs else NodeId(rank.to_bytes(3, "big") + bytes(17))
    return Contact(node_id, Endpoint(ip, 6881))


def ask_all(search: Lookup) -> list[Candidate]:
    """Takes what may be asked now."""
    asked = []
    while (candidate := search.next_candidate()) is not None:
        asked.append(candidate)
    return asked


def answer(search: Lookup, candidate: Candidate, *named: Contact) -> bool:
    assert candidate.node_id is not None
    return search.on_response(candidate, candidate.node_id, named)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 120), st.floats(0, 0.6))
@example(seed=1533, count=102, dead=0.5625)  # the five nearest are dead
def test_it_finds_the_nearest_of_the_living(seed: int, count: int, dead: float) -> None:
    """Where so many are dead that whoever answered seems to lie, some of the living are missed."""
    source = random.Random(seed)
    everybody = [
        Contact(NodeId(source.randbytes(20)), Endpoint(bytes([127, 0, 0, 1]), 2000 + number))
        for number in range(count)
    ]
    up = {contact for contact in everybody if source.random() >= dead}
    search = Lookup(TARGET, OWN_ID, source.sample(everybody, min(8, count)))
    known = {contact.node_id for contact in everybody}
    asked = 0
    while not search.is_done:
        candidate = search.next_candidate()
        assert candidate is not None, "it waits for nothing"
        asked += 1
        assert candidate.node_id in known
        contact = Contact(candidate.node_id, candidate.endpoint)
        if contact not in up:
            search.on_slow(candidate)
            search.on_failure(candidate)
            continue
        near = sorted(everybody, key=lambda other: distance(other.node_id, TARGET))
        answer(search, candidate, *near[:8], *source.sample(everybody, min(4, count)))
    assert asked <= count
    answered = search.answered()
    distances = [candidate.distance for candidate in answered]
    assert distances == sorted(distances)
    nearest = sorted(everybody, key=lambda other: distance(other.node_id, TARGET))[:8]
    found = {candidate.endpoint for candidate in answered}
    missed = [contact for contact in up.intersection(nearest) if contact.endpoint not in found]
    assert not missed or all(candidate.is_liar for candidate in answered)


def test_few_are_asked_at_once_and_slow_ones_do_not_count() -> None:
    search = Lookup(TARGET, OWN_ID, [node(rank) for rank in range(1, 30)])
    first = ask_all(search)
    assert [candidate.distance for candidate in first] == sorted(
        distance(node(rank).node_id, TARGET) for rank in range(1, 1 + lookup.ALPHA)
    )
    search.on_slow(first[0])
    search.on_slow(first[1])
    assert len(ask_all(search)) == 2
    answer(search, first[0])  # late, and still good
    assert first[0].state is State.ANSWERED


def test_it_is_done_when_the_8_nearest_answered() -> None:
    search = Lookup(TARGET, OWN_ID, [node(rank) for rank in range(1, 30)])
    for _ in range(8):
        assert not search.is_done
        candidate = search.next_candidate()
        assert candidate is not None
        answer(search, candidate)
    assert search.is_done
    assert search.next_candidate() is None


def test_without_anybody_it_is_done() -> None:
    assert Lookup(TARGET, OWN_ID, []).is_done
    assert Lookup(TARGET, OWN_ID, [Contact(OWN_ID, node(1).endpoint)]).is_done


def test_bootstrap_nodes_come_first_and_take_their_place() -> None:
    search = Lookup(TARGET, OWN_ID, [node(9)], [node(5).endpoint, node(9).endpoint])
    asked = ask_all(search)
    assert [candidate.endpoint for candidate in asked] == [node(5).endpoint, node(9).endpoint]
    assert search.on_response(asked[0], node(5).node_id, [node(3)])
    assert not search.is_done
    answer(search, asked[1])
    (third,) = ask_all(search)
    answer(search, third)
    assert search.is_done
    assert [candidate.endpoint.port for candidate in search.answered()] == [2003, 2005, 2009]


def test_a_slow_bootstrap_node_is_waited_for_when_there_is_nobody_else() -> None:
    search = Lookup(TARGET, OWN_ID, [], [node(5).endpoint])
    (candidate,) = ask_all(search)
    search.on_slow(candidate)
    assert not search.is_done
    search.on_failure(candidate)
    assert search.is_done


def test_a_node_with_another_id_than_claimed_is_tried_in_its_true_place() -> None:
    """A liar cannot hide a node by naming it under a false id."""
    search = Lookup(TARGET, OWN_ID, [node(50)])
    (seed,) = ask_all(search)
    shadow = Contact(NodeId(bytes(19) + b"\1"), node(7).endpoint)
    answer(search, seed, shadow)
    (asked,) = ask_all(search)
    assert not search.on_response(asked, node(7).node_id, [node(3)])  # what it names is not taken
    (again,) = ask_all(search)
    assert (again.node_id, again.endpoint) == node(7)
    assert not search.on_response(again, NodeId(bytes(19) + b"\2"), [])
    assert ask_all(search) == []  # once
    assert search.is_done


def test_who_names_only_dead_nodes_is_believed_no_longer() -> None:
    search = Lookup(TARGET, OWN_ID, [node(1000), node(1001)])
    liar, honest = ask_all(search)
    answer(search, liar, *[node(rank) for rank in range(1, 9)])
    ghosts = ask_all(search)
    assert len(ghosts) == lookup.ALPHA  # only what is under way among the nearest counts
    answer(search, honest, *[node(rank) for rank in range(100, 108)])
    for ghost in ghosts:
        search.on_slow(ghost)
    named = [candidate.distance >> 144 for candidate in ask_all(search)]
    assert named
    assert all(rank >= 100 for rank in named)
    assert liar.is_liar
    assert not honest.is_liar


def test_an_honest_node_with_some_dead_contacts_keeps_its_credit() -> None:
    search = Lookup(TARGET, OWN_ID, [node(1000)])
    (seed,) = ask_all(search)
    answer(search, seed, *[node(rank) for rank in range(1, 9)])
    for number, candidate in enumerate(ask_all(search)):
        if number % 2:
            search.on_slow(candidate)
        else:
            answer(search, candidate)
    assert not seed.is_liar
    assert len(ask_all(search)) == 3


def test_nodes_with_forged_ids_do_not_push_genuine_ones_out() -> None:
    """Sybils right around the target: the 8 nearest genuine nodes are asked and stored on, too."""
    sybils = [public(rank, belongs=False) for rank in range(1, 20)]
    genuine = [public(300 + rank, belongs=True) for rank in range(12)]
    search = Lookup(TARGET, OWN_ID, [*sybils, *genuine])
    while not search.is_done:
        candidate = search.next_candidate()
        assert candidate is not None
        candidate.token = b"token"
        answer(search, candidate)
    chosen = search.storing_candidates()
    assert sum(candidate.belongs for candidate in chosen) == 8
    assert sum(not candidate.belongs for candidate in chosen) == 8
    assert len(search.answered()) == 16


def test_one_candidate_for_each_subnet_until_it_fails() -> None:
    search = Lookup(TARGET, OWN_ID, [node(1000)])
    (seed,) = ask_all(search)
    answer(search, seed)
    search = Lookup(TARGET, OWN_ID, [public(1, belongs=False)])
    (seed,) = ask_all(search)
    same = [public(rank, belongs=False, subnet=77) for rank in range(2, 7)]
    answer(search, seed, *same)
    (first,) = ask_all(search)
    assert first.endpoint == same[0].endpoint
    search.on_slow(first)
    (second,) = ask_all(search)
    assert second.endpoint == same[1].endpoint


def test_local_addresses_named_by_public_nodes_are_left_alone() -> None:
    search = Lookup(TARGET, OWN_ID, [public(1, belongs=True)])
    (seed,) = ask_all(search)
    targets = [
        Endpoint(bytes([127, 0, 0, 1]), 6881),
        Endpoint(bytes([192, 168, 1, 1]), 6881),
        Endpoint(bytes([224, 0, 0, 1]), 6881),
        Endpoint(bytes([12, 0, 0, 1]), 0),
        Endpoint(bytes([12, 0, 0, 2]), 53),
    ]
    answer(search, seed, *[Contact(NodeId(bytes([i]) * 20), t) for i, t in enumerate(targets)])
    assert ask_all(search) == []
    assert search.is_done


def test_candidates_are_bounded() -> None:
    search = Lookup(TARGET, OWN_ID, [])
    for rank in range(1, 1000):
        search._add(node(rank), None)
    assert len(search._candidates) == lookup.MAX_CANDIDATES
    assert len(search._by_host) == lookup.MAX_CANDIDATES
    for _ in range(1000):
        search._add(Contact(NodeId(SOURCE.randbytes(20)), node(1).endpoint), None)
    assert len(search._candidates) == lookup.MAX_CANDIDATES


def test_those_that_were_silent_are_asked_once_more() -> None:
    search = Lookup(TARGET, OWN_ID, [node(rank) for rank in range(1, 4)])
    for candidate in ask_all(search):
        search.on_slow(candidate)
        search.on_failure(candidate)
    assert search.is_done
    search.retry_silent()
    again = ask_all(search)
    assert len(again) == 3
    for candidate in again:
        search.on_failure(candidate)
    search.retry_silent()
    assert ask_all(search) == []
