"""A world of DHT nodes on virtual time: every run with the same seed is the same run.

Datagrams take their time, some are lost; nodes die, come and lie. Nothing here touches a socket or
a clock: it drives the engines of `protozorfs.dht`.
"""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from protozorfs import bencoding
from protozorfs.dht import krpc
from protozorfs.dht.endpoint import IPV4, Endpoint, is_local, is_usable
from protozorfs.dht.engine import Engine, Event
from protozorfs.dht.network import SavedNetwork
from protozorfs.dht.node_id import NodeId, make_node_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from protozorfs.dht.operations import Operation

# Changes the values of a reply to a query before they leave; False: the reply is not sent at all.
Lie: TypeAlias = "Callable[[krpc.Query, dict[bytes, bencoding.Encodable]], bool]"

NAT_SECONDS = 60.0  # a mapping without traffic is forgotten then
MAX_WAKES_AT_ONE_TIME = 50  # more of one node at the same instant: it spins
PORT = 6881


@dataclass(eq=False)
class Node:
    """A node of the world; `lie` changes a reply's values before they leave."""

    endpoint: Endpoint
    engine: Engine
    is_alive: bool = True
    lie: Lie | None = None
    is_behind_nat: bool = False  # only nodes that it asked get through to it
    asked_at: dict[Endpoint, float] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    sent: int = 0
    wake_at: float = float("inf")
    wakes: int = 0  # in all
    wakes_now: int = 0  # at the present instant
    asked: dict[bytes, krpc.Query] = field(default_factory=dict)


class World:
    """All nodes, the network between them, and the time."""

    def __init__(self, seed: int, *, delay: float = 0.05, loss: float = 0.0) -> None:
        """`delay` is the mean round trip in seconds, `loss` the share of datagrams lost."""
        self.now = 1000.0
        self.random = random.Random(seed)
        self.loss = loss
        self.delay = delay
        self.jitter = 0.0  # share of the delay, up and down
        self.nodes: dict[Endpoint, Node] = {}
        self.datagrams = 0
        self._queue: list[tuple[float, int, Node, tuple[bytes, Endpoint] | None]] = []
        self._numbers = itertools.count()

    # --- nodes ------------------------------------------------------------------------------------

    def random_endpoint(self) -> Endpoint:
        """A public address that nobody has yet."""
        while True:
            endpoint = Endpoint(self.random.randbytes(4), PORT)
            if is_usable(endpoint) and not is_local(endpoint.ip) and endpoint not in self.nodes:
                return endpoint

    def add_node(
        self, bootstrap: list[Endpoint], *, rate: int = 50, knows_address: bool = True
    ) -> Node:
        """A node that starts now."""
        endpoint = self.random_endpoint()
        node_id = make_node_id(endpoint.ip if knows_address else None, self.random)
        saved = SavedNetwork(
            family=IPV4,
            node_id=node_id,
            external_ip=endpoint.ip if knows_address else None,
            contacts=(),
        )
        engine = Engine(
            families=[IPV4],
            random=random.Random(self.random.random()),
            now=self.now,
            rate=rate,
            bootstrap=bootstrap,
            saved=[saved],
        )
        node = Node(endpoint, engine)
        self.nodes[endpoint] = node
        self.pump(node)
        return node

    def grow(self, count: int, *, settle: float = 60.0) -> list[Node]:
        """Adds nodes, a few at a time, each knowing three of those before it."""
        added = []
        for _ in range(count):
            known = list(self.nodes)
            bootstrap = self.random.sample(known, min(3, len(known)))
            added.append(self.add_node(bootstrap))
            self.run(0.05)
        self.run(settle)
        return added

    def churn(self, count: int) -> None:
        """So many nodes vanish, and as many come, each knowing three of which one is honest.

        Who knows nobody but the dead and a liar is lost: no protocol helps it.
        """
        alive = [node for node in self.nodes.values() if node.is_alive]
        for node in self.random.sample(alive, count):
            self.kill(node)
        honest, others = self.honest(), [node for node in alive if node.is_alive]
        for _ in range(count):
            known = [self.random.choice(honest), *self.random.sample(others, 2)]
            self.add_node([node.endpoint for node in known])

    def honest(self) -> list[Node]:
        """The nodes that are up and do not lie."""
        return [node for node in self.nodes.values() if node.is_alive and node.lie is None]

    def kill(self, node: Node) -> None:
        """The node vanishes without a word."""
        node.is_alive = False

    # --- time -------------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Lets time pass."""
        self._run_until(self.now + seconds, lambda: False)

    def finish(self, *operations: Operation, limit: float = 120.0) -> float:
        """Runs until all the operations are done; the seconds that took."""
        start = self.now
        self._run_until(start + limit, lambda: all(op.is_done for op in operations))
        assert all(op.is_done for op in operations)
        return self.now - start

    def _run_until(self, end: float, is_over: Callable[[], bool]) -> None:
        while self._queue and self._queue[0][0] <= end and not is_over():
            self._step()
        if not is_over():
            self.now = end

    def _step(self) -> None:
        at, _, node, datagram = heapq.heappop(self._queue)
        self.now = max(at, self.now)
        if not node.is_alive:
            return
        if datagram is not None:
            self._deliver(node, *datagram)
        elif at == node.wake_at:
            node.wake_at = float("inf")
            node.wakes += 1
            node.engine.handle_timeout(self.now)
            self.pump(node)

    def _deliver(self, node: Node, data: bytes, source: Endpoint) -> None:
        if node.is_behind_nat and self.now > node.asked_at.get(source, 0.0) + NAT_SECONDS:
            return
        if node.lie is not None:
            message = krpc.decode_message(data)
            if isinstance(message, krpc.Query):
                node.asked[message.transaction] = message
        node.engine.receive_datagram(data, source, self.now)
        self.pump(node)

    def pump(self, node: Node) -> None:
        """Sends what the node wants sent, takes its events, and notes when it wants to wake."""
        for data, target, _ in node.engine.datagrams_to_send(self.now):
            node.sent += 1
            if node.is_behind_nat:
                node.asked_at[target] = self.now
            self._send(node, data, target)
        while (event := node.engine.next_event()) is not None:
            node.events.append(event)
        deadline = node.engine.next_deadline()
        if deadline <= self.now:
            node.wakes_now += 1
            assert node.wakes_now < MAX_WAKES_AT_ONE_TIME, "a node spins"
        else:
            node.wakes_now = 0
        if deadline < node.wake_at:
            node.wake_at = deadline
            heapq.heappush(self._queue, (deadline, next(self._numbers), node, None))

    def _send(self, node: Node, data: bytes, target: Endpoint) -> None:
        self.datagrams += 1
        if node.lie is not None:
            changed = _lie(node, data)
            if changed is None:
                return
            data = changed
        receiver = self.nodes.get(target)
        if receiver is None or self.random.random() < self.loss:
            return
        spread = 1 + self.jitter * (2 * self.random.random() - 1)
        at = self.now + self.delay / 2 * spread
        heapq.heappush(self._queue, (at, next(self._numbers), receiver, (data, node.endpoint)))


def _lie(node: Node, data: bytes) -> bytes | None:
    """What a hostile node sends instead, None for nothing; its own queries are left alone."""
    message = krpc.decode_message(data)
    if isinstance(message, krpc.Query):
        return data
    query = node.asked.pop(message.transaction, None)
    if query is None or not isinstance(message, krpc.Response) or node.lie is None:
        return data
    values: dict[bytes, bencoding.Encodable] = {**message.values}
    if not node.lie(query, values):
        return None
    return bencoding.encode({b"t": message.transaction, b"y": b"r", b"r": values})


# --- liars ----------------------------------------------------------------------------------


def say_nothing(query: krpc.Query, values: dict[bytes, bencoding.Encodable]) -> bool:
    """Answers pings, to stay in everybody's table, and nothing else."""
    del values
    return query.method == b"ping"


def forge_values(query: krpc.Query, values: dict[bytes, bencoding.Encodable]) -> bool:
    """Has every item, newer than all others, with a signature of nobody's."""
    if query.method == b"get":
        values |= {b"seq": 2**40, b"v": b"forged", b"k": bytes(32), b"sig": bytes(64)}
    return True


def withhold(query: krpc.Query, values: dict[bytes, bencoding.Encodable]) -> bool:
    """Has nothing, whatever it was given."""
    if query.method in (b"get", b"get_peers"):
        for key in (b"v", b"k", b"sig", b"seq", b"values"):
            values.pop(key, None)
    return True


def keep_the_first() -> Lie:
    """Serves the first item that it ever had of a target, whatever was put since."""
    first: dict[NodeId, dict[bytes, bencoding.Encodable]] = {}

    def lie(query: krpc.Query, values: dict[bytes, bencoding.Encodable]) -> bool:
        target = krpc.read_id(query.arguments, b"target")
        if query.method == b"get" and target is not None and b"v" in values:
            item = {key: values[key] for key in (b"v", b"k", b"sig", b"seq")}
            values |= first.setdefault(target, item)
        return True

    return lie


def name_ghosts(seed: int) -> Lie:
    """Names 8 nodes right beside the target that do not exist, and keeps what it has to itself."""
    source = random.Random(seed)

    def lie(query: krpc.Query, values: dict[bytes, bencoding.Encodable]) -> bool:
        target = krpc.read_id(query.arguments, b"target")
        target = target or krpc.read_id(query.arguments, b"info_hash")
        if target is not None:
            ghosts = [
                krpc.Contact(
                    NodeId(target[:17] + source.randbytes(3)),
                    Endpoint(bytes([source.randrange(1, 100)]) + source.randbytes(3), PORT),
                )
                for _ in range(8)
            ]
            values[b"nodes"] = krpc.encode_contacts(ghosts)
        return withhold(query, values)

    return lie
