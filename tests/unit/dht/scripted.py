"""Nodes that answer as a test says, around one engine; time passes only as the engine asks."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from protozorfs import bencoding
from protozorfs.dht import krpc
from protozorfs.dht.endpoint import IPV4, Endpoint
from protozorfs.dht.engine import Engine, Event
from protozorfs.dht.network import SavedNetwork
from protozorfs.dht.node_id import NodeId

if TYPE_CHECKING:
    from protozorfs.dht.items import SignedItem
    from protozorfs.dht.operations import Operation

Values = dict[bytes, bencoding.Encodable]
# What a node answers: values of a response, an error code, or nothing.
Script = Callable[[krpc.Query], "Values | int | None"]

OWN_ID = NodeId(bytes([0x11]) * 20)
ROUND_TRIP = 0.05
MAX_TURNS = 100  # of the driver at one moment; a few arrivals there are


def contact(number: int) -> krpc.Contact:
    """Node `number`, on loopback, where each port is a host and every id is genuine."""
    node_id = NodeId(random.Random(number).randbytes(20))
    return krpc.Contact(node_id, Endpoint(bytes([127, 0, 0, 1]), 3000 + number))


def nodes_value(*numbers: int) -> bytes:
    """The compact nodes of a reply."""
    return krpc.encode_contacts(contact(number) for number in numbers)


def item_values(item: SignedItem) -> Values:
    """What a node that holds an item answers to `get`."""
    return {
        b"k": item.public_key,
        b"seq": item.seq,
        b"sig": item.signature,
        b"v": bencoding.raw(item.raw_value),
    }


class Surroundings:
    """The engine under test, in a network of scripted nodes all of which it knows."""

    def __init__(
        self, scripts: dict[int, Script], *, rate: int = 1000, settle: float = 5.0
    ) -> None:
        self.now = 0.0
        self.scripts = {contact(number).endpoint: (number, s) for number, s in scripts.items()}
        self.asked: list[tuple[int, krpc.Query]] = []
        self.events: list[Event] = []
        saved = SavedNetwork(
            family=IPV4,
            node_id=OWN_ID,
            external_ip=None,
            contacts=tuple(contact(number) for number in scripts),
        )
        self.engine = Engine(
            families=[IPV4], random=random.Random(1), now=0.0, rate=rate, saved=[saved]
        )
        self._under_way: list[tuple[float, bytes, Endpoint]] = []
        self.run(settle)
        self.asked.clear()

    def queries(self, method: bytes) -> list[tuple[int, krpc.Query]]:
        """What was asked of whom, of one method."""
        return [(number, query) for number, query in self.asked if query.method == method]

    def run(self, seconds: float) -> None:
        """Lets time pass."""
        self._run(self.now + seconds, None)

    def finish(self, operation: Operation) -> float:
        """Runs until the operation is done; the seconds that took."""
        start = self.now
        self._run(start + 60.0, operation)
        assert operation.is_done
        return self.now - start

    def _run(self, end: float, operation: Operation | None) -> None:
        self._pump()
        turns = 0  # at one moment
        while operation is None or not operation.is_done:
            arrivals = [at for at, _, _ in self._under_way]
            at = min([self.engine.next_deadline(), *arrivals])
            if at > end:
                break
            turns = 0 if at > self.now else turns + 1
            assert turns < MAX_TURNS, "a driver would not sleep"
            self.now = max(at, self.now)
            if self.engine.next_deadline() <= self.now:
                self.engine.handle_timeout(self.now)
            for entry in [entry for entry in self._under_way if entry[0] <= self.now]:
                self._under_way.remove(entry)
                self.engine.receive_datagram(entry[1], entry[2], self.now)
            self._pump()
        if operation is None:
            self.now = end

    def _pump(self) -> None:
        for data, target, _ in self.engine.datagrams_to_send(self.now):
            query = krpc.decode_message(data)
            if not isinstance(query, krpc.Query) or target not in self.scripts:
                continue
            number, script = self.scripts[target]
            self.asked.append((number, query))
            reply = self._reply(query, number, script(query))
            if reply is not None:
                self._under_way.append((self.now + ROUND_TRIP, reply, target))
        while (event := self.engine.next_event()) is not None:
            self.events.append(event)

    @staticmethod
    def _reply(query: krpc.Query, number: int, answer: Values | int | None) -> bytes | None:
        asker = Endpoint(bytes([127, 0, 0, 1]), 1)
        if answer is None:
            return None
        if isinstance(answer, int):
            return krpc.encode_error(query.transaction, krpc.KrpcError(answer, "no"), asker)
        values = {b"id": contact(number).node_id, **answer}
        return krpc.encode_response(query.transaction, values, asker)


def plain(query: krpc.Query, token: bytes = b"token") -> Values:
    """A node with nothing to tell, and willing to store."""
    if query.method in (b"get", b"get_peers"):
        return {b"token": token, b"nodes": b""}
    return {b"nodes": b""} if query.method == b"find_node" else {}


def holding(item: SignedItem, then: Script = plain) -> Script:
    """A node that holds an item; it honours the `seq` of a get."""

    def script(query: krpc.Query) -> Values | int | None:
        answer = then(query)
        if query.method == b"get" and isinstance(answer, dict):
            newer_than = krpc.read_int(query.arguments, b"seq")
            if newer_than is None or item.seq > newer_than:
                return {**answer, **item_values(item)}
            return {**answer, b"seq": item.seq}
        return answer

    return script


def refusing(code: int, then: Script = plain) -> Script:
    """A node that answers stores with an error."""

    def script(query: krpc.Query) -> Values | int | None:
        return code if query.method in (b"put", b"announce_peer") else then(query)

    return script


def silent(query: krpc.Query) -> None:
    """A node that answers nothing but what puts it into the table."""
    del query
