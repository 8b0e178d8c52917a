"""Operations against nodes that answer as real ones were seen to. Source: docs/dht.md."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from protozorfs import bencoding, crypto
from protozorfs.dht import krpc, operation_queue, peer_operations
from protozorfs.dht.endpoint import Endpoint, encode_peer
from protozorfs.dht.engine import RoutersWanted
from protozorfs.dht.items import sign_item
from protozorfs.dht.node_id import NodeId
from protozorfs.dht.operations import ItemFound, PeersFound
from protozorfs.errors import LocalProtocolError
from protozorfs.types import Signature
from tests.unit.dht.scripted import (
    ROUND_TRIP,
    Script,
    Surroundings,
    Values,
    contact,
    holding,
    nodes_value,
    plain,
    refusing,
    silent,
)

if TYPE_CHECKING:
    from protozorfs.dht.items import SignedItem

PAIR = crypto.key_pair(bytes([3]) * 32)
OLD, NEW, OTHER = sign_item(PAIR, 4, b"old"), sign_item(PAIR, 5, b"new"), sign_item(PAIR, 5, b"?!")
INFOHASH = NodeId(bytes([5]) * 20)
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


def around(count: int, *special: Script) -> Surroundings:
    """`count` nodes; the first ones are special, the others plain."""
    return Surroundings(dict(enumerate([*special, *[plain] * (count - len(special))])))


# --- reading --------------------------------------------------------------------------------------


def test_the_highest_seq_wins_whoever_sent_it_and_seq_is_always_sent() -> None:
    """MUST (docs/dht.md): `seq` in every get, against unsigned values under our target."""
    world = around(8, holding(OLD), holding(OLD), holding(NEW), holding(OLD))
    operation = world.engine.get_item(PAIR.public_key)
    world.finish(operation)
    assert operation.best == NEW
    assert operation.copies(4) == 3
    assert operation.answered_count == 8
    assert all(query.arguments[b"seq"] == 0 for _, query in world.queries(b"get"))
    found = [event.item for event in world.events if isinstance(event, ItemFound)]
    assert found[-1] == NEW
    assert len(found) <= 2


def test_what_is_not_newer_is_not_sent_and_not_asked_twice() -> None:
    world = around(8, *[holding(NEW)] * 8)
    operation = world.engine.get_item(PAIR.public_key, newer_than=5)
    world.finish(operation)
    assert operation.best is None
    assert operation.copies(5) == 8
    assert len(world.queries(b"get")) == 8


def forged(**changes: object) -> Script:
    """A node with an item that is not quite one."""

    def script(query: krpc.Query) -> Values:
        values = plain(query)
        if query.method == b"get":
            values |= {
                b"k": PAIR.public_key,
                b"seq": 9,
                b"sig": NEW.signature,
                b"v": bencoding.raw(NEW.raw_value),
            }
            for key, value in changes.items():
                if value is None:
                    del values[key.encode()]
                else:
                    values[key.encode()] = value  # type: ignore[assignment]
        return values

    return script


@pytest.mark.parametrize(
    "script",
    [
        forged(),
        forged(sig=bytes(64)),
        forged(k=bytes(32)),
        forged(k=None),
        forged(sig=None),
        forged(seq=-1),
        forged(seq=b"9"),
        forged(seq=2**63),
        forged(v=bytes(1100)),
    ],
)
def test_forged_and_unsigned_items_do_not_count(script: Script) -> None:
    world = around(8, script, holding(OLD), script)
    operation = world.engine.get_item(PAIR.public_key)
    world.finish(operation)
    assert operation.best == OLD


def test_a_malleated_signature_is_repaired() -> None:
    s = int.from_bytes(NEW.signature[32:], "little") + GROUP_ORDER
    bad = replace(NEW, signature=Signature(NEW.signature[:32] + s.to_bytes(32, "little")))
    world = around(4, holding(bad))
    operation = world.engine.get_item(PAIR.public_key)
    world.finish(operation)
    assert operation.best == NEW


def test_two_values_of_one_seq_are_both_reported() -> None:
    world = around(8, holding(NEW), holding(OTHER), holding(NEW), holding(OTHER))
    operation = world.engine.get_item(PAIR.public_key)
    world.finish(operation)
    assert operation.best is not None
    assert {operation.best, *operation.rivals} == {NEW, OTHER}


def test_a_node_with_a_value_and_no_nodes_is_asked_for_nodes() -> None:
    """bittorrent-dht sends one or the other; a stale item there must not end the search."""

    def like_bittorrent_dht(query: krpc.Query) -> Values:
        if query.method == b"get":
            values = holding(OLD)(query)
            assert isinstance(values, dict)
            del values[b"nodes"]
            return values
        is_for_item = query.arguments.get(b"target") == OLD.target
        return {b"nodes": nodes_value(1) if is_for_item else b""}

    world = Surroundings({0: like_bittorrent_dht})
    world.scripts[contact(1).endpoint] = (1, holding(NEW))
    operation = world.engine.get_item(PAIR.public_key)
    world.finish(operation)
    assert operation.best == NEW
    assert [number for number, _ in world.queries(b"find_node")] == [0]


def test_a_dead_node_costs_little_and_nothing_found_is_tried_again() -> None:
    world = around(8, silent, silent)
    operation = world.engine.get_item(PAIR.public_key)
    seconds = world.finish(operation)
    assert operation.best is None
    assert seconds < 5.0
    asked = [number for number, _ in world.queries(b"get")]
    assert all(asked.count(number) == 1 for number in range(2, 8))


def test_an_answer_that_comes_late_still_counts() -> None:
    world = around(8, holding(NEW))
    operation = world.engine.get_item(PAIR.public_key)
    late = contact(0).endpoint
    number, script = world.scripts.pop(late)
    held: list[krpc.Query] = []
    world.scripts[late] = (number, lambda query: held.append(query))
    world.run(0.6)  # slow by now
    assert held
    reply = world._reply(held[0], number, script(held[0]))
    assert reply is not None
    if not operation.is_done:
        world.engine.receive_datagram(reply, late, world.now)
    world.finish(operation)
    assert operation.best == NEW


# --- writing --------------------------------------------------------------------------------------


RANKED = sorted(
    range(16), key=lambda n: int.from_bytes(contact(n).node_id) ^ int.from_bytes(NEW.target)
)


def in_two_steps(script: Script) -> Surroundings:
    """16 such nodes: we know the 8 far ones, which name the 8 nearest to the item's target."""

    def naming(query: krpc.Query) -> Values | int | None:
        answer = script(query)
        if isinstance(answer, dict) and query.arguments.get(b"target") == NEW.target:
            return {**answer, b"nodes": nodes_value(*RANKED[:8])}
        return answer

    world = Surroundings(dict.fromkeys(RANKED[8:], naming))
    world.scripts |= {contact(number).endpoint: (number, naming) for number in RANKED[:8]}
    return world


def test_a_put_goes_to_the_8_nearest_with_their_tokens() -> None:
    def script(query: krpc.Query) -> Values:
        return plain(query, b"for " + query.arguments.get(b"target", b"")[:2])  # type: ignore[operator, index]

    world = in_two_steps(script)
    operation = world.engine.put_item(NEW)
    world.finish(operation)
    assert operation.stored_count == 8
    assert not operation.is_outdated
    puts = world.queries(b"put")
    assert {number for number, _ in puts} == set(RANKED[:8])
    for _, query in puts:
        assert query.arguments[b"token"] == b"for " + NEW.target[:2]
        assert query.raw_value == NEW.raw_value
        assert b"cas" not in query.arguments  # nothing was there


def test_cas_is_what_the_node_itself_returned() -> None:
    world = around(8, holding(OLD), holding(sign_item(PAIR, 3, b"older")))
    operation = world.engine.put_item(NEW)
    world.finish(operation)
    cas = {number: query.arguments.get(b"cas") for number, query in world.queries(b"put")}
    assert cas == {0: 4, 1: 3, **dict.fromkeys(range(2, 8))}


@pytest.mark.parametrize("there", [sign_item(PAIR, 6, b"newer"), OTHER])
def test_nothing_is_put_where_something_newer_or_another_stands(there: SignedItem) -> None:
    world = around(8, holding(there))
    operation = world.engine.put_item(NEW)
    world.finish(operation)
    assert operation.is_outdated
    assert operation.best == there
    assert world.queries(b"put") == []


@pytest.mark.parametrize("code", [krpc.CAS_MISMATCH, krpc.SEQ_TOO_LOW])
def test_a_refusal_leads_to_a_get_that_proves_the_newer_item(code: int) -> None:
    """MUST: 301/302 from even one node leads to a get. The item came between search and put."""
    newer = sign_item(PAIR, 6, b"came in between")
    has_it: list[bool] = []

    def script(query: krpc.Query) -> Values | int | None:
        if query.method == b"put":
            has_it.append(True)
            return code
        return holding(newer)(query) if has_it else plain(query)

    world = around(8, script)
    operation = world.engine.put_item(NEW)
    world.finish(operation)
    assert operation.best == newer
    assert operation.is_outdated
    assert operation.stored_count == 7


def test_a_liar_who_refuses_proves_nothing() -> None:
    world = around(8, refusing(krpc.SEQ_TOO_LOW))
    operation = world.engine.put_item(NEW)
    world.finish(operation)
    assert not operation.is_outdated
    assert operation.stored_count == 7


def test_302_for_the_item_that_is_there_is_success() -> None:
    """bittorrent-dht refuses the same item again."""
    world = around(8, refusing(krpc.SEQ_TOO_LOW, holding(NEW)))
    operation = world.engine.put_item(NEW)
    world.finish(operation)
    assert operation.stored_count == 8


def test_the_next_in_rank_takes_the_place_of_who_fails() -> None:
    def without_token(query: krpc.Query) -> Values:
        return {key: value for key, value in plain(query).items() if key != b"token"}

    def deaf(query: krpc.Query) -> Values | None:
        return None if query.method == b"put" else plain(query)

    world = in_two_steps(plain)
    for number, script in enumerate([without_token, refusing(krpc.PROTOCOL_ERROR), deaf]):
        world.scripts[contact(RANKED[number]).endpoint] = (RANKED[number], script)
    operation = world.engine.put_item(NEW)
    world.finish(operation)
    assert operation.stored_count == 8
    asked = [number for number, _ in world.queries(b"put")]
    assert RANKED[0] not in asked
    assert asked.count(RANKED[1]) == 1
    assert asked.count(RANKED[2]) == 2  # once more, for datagrams are lost
    assert len(set(asked) - set(RANKED[:8])) == 3


def test_a_fresh_item_is_not_put_again() -> None:
    """More than 8 copies, the nearest 8 among them."""
    world = in_two_steps(holding(NEW))
    operation = world.engine.put_item(NEW, skip_if_fresh=True)
    world.finish(operation)
    assert operation.is_fresh
    assert operation.stored_count > 8
    assert world.queries(b"put") == []


def test_eight_copies_are_refreshed() -> None:
    """They may all be about to expire."""
    world = around(8, *[holding(NEW)] * 8)
    operation = world.engine.put_item(NEW, skip_if_fresh=True)
    world.finish(operation)
    assert not operation.is_fresh
    assert operation.stored_count == len(world.queries(b"put")) == 8


# --- peers ----------------------------------------------------------------------------------------

PEERS = [Endpoint(bytes([127, 0, 0, 9]), 4000 + number) for number in range(3)]


def serving(*peers: Endpoint) -> Script:
    def script(query: krpc.Query) -> Values:
        values = plain(query)
        if query.method == b"get_peers":
            values[b"values"] = [encode_peer(peer) for peer in peers]
        return values

    return script


def test_peers_of_all_nodes_are_brought_together_and_told_once() -> None:
    world = around(8, serving(*PEERS[:2]), serving(*PEERS[1:]), serving())
    operation = world.engine.get_peers(INFOHASH)
    world.finish(operation)
    assert operation.peers == set(PEERS)
    told = [event.peers for event in world.events if isinstance(event, PeersFound)]
    assert sorted(peer for peers in told for peer in peers) == PEERS


def test_peers_are_capped() -> None:
    many = [Endpoint(bytes([127, 0, 1, 1]), 2000 + number) for number in range(600)]
    world = around(8, *[serving(*many[i * 70 : i * 70 + 70]) for i in range(8)])
    operation = world.engine.get_peers(INFOHASH)
    world.finish(operation)
    assert len(operation.peers) == peer_operations.MAX_PEERS


@pytest.mark.parametrize("implied", [False, True])
def test_announce(implied: bool) -> None:
    world = around(8, serving(*PEERS))
    operation = world.engine.announce(INFOHASH, 7777, implied_port=implied)
    world.finish(operation)
    assert operation.stored_count == 8
    assert operation.peers == set(PEERS)
    for _, query in world.queries(b"announce_peer"):
        assert query.arguments[b"port"] == 7777
        assert query.arguments[b"token"] == b"token"
        assert (b"implied_port" in query.arguments) == implied


def test_an_operation_starts_as_soon_as_the_first_search_is_over() -> None:
    world = Surroundings(dict.fromkeys(range(8), plain))
    fresh = Surroundings(dict.fromkeys(range(8), plain), settle=0.0)
    early, late = fresh.engine.put_item(NEW), world.engine.put_item(NEW)
    assert world.finish(late) <= 4 * ROUND_TRIP
    assert fresh.finish(early) <= 8 * ROUND_TRIP
    assert early.stored_count == 8


# --- operations in general ------------------------------------------------------------------------


def test_a_cancelled_operation_sends_nothing_more() -> None:
    world = around(8)
    operation = world.engine.get_item(PAIR.public_key)
    world.run(0.01)
    asked = len(world.asked)
    operation.cancel()
    world.run(1.0)
    assert operation.is_done
    assert len(world.asked) == asked > 0


def test_too_many_operations_are_refused() -> None:
    world = around(8)
    for _ in range(operation_queue.MAX_WAITING):
        world.engine.get_peers(INFOHASH)
    with pytest.raises(LocalProtocolError):
        world.engine.get_peers(INFOHASH)


def test_whoever_waits_and_is_cancelled_makes_room() -> None:
    world = around(8)
    for _ in range(5000):
        world.engine.get_peers(INFOHASH).cancel()


def test_routers_are_wanted_only_when_nothing_else_leads_anywhere() -> None:
    alone = Surroundings({0: silent})
    wanted = [event for event in alone.events if isinstance(event, RoutersWanted)]
    assert len(wanted) == 1
    assert not any(isinstance(event, RoutersWanted) for event in around(8).events)
    alone.run(600.0)
    wanted = [event for event in alone.events if isinstance(event, RoutersWanted)]
    assert 2 <= len(wanted) <= 6, "with pauses that grow"


@pytest.mark.parametrize(("script", "expected"), [(plain, True), (silent, False)])
def test_a_put_says_whether_anybody_was_sent_the_item(script: Script, expected: bool) -> None:
    world = around(8, *[script] * 8)
    operation = world.engine.put_item(NEW)
    assert not operation.has_begun_storing
    world.finish(operation)
    assert operation.has_begun_storing == expected == bool(world.queries(b"put"))
