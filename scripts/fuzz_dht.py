"""The datagram path of a DHT node under atheris: see scripts/fuzz-dht.

Each run gives a node that has asked others a few datagrams: what the fuzzer made, and messages of
every kind with what it made in their fields. Nothing may be raised, nothing may grow beyond its
limit, and no answer may be larger than allowed.
"""

from __future__ import annotations

import random
import sys

import atheris

with atheris.instrument_imports(include=["protozorfs"]):
    from protozorfs import bencoding, crypto
    from protozorfs.dht import krpc
    from protozorfs.dht.endpoint import IPV4, IPV6, Endpoint
    from protozorfs.dht.engine import Engine
    from protozorfs.dht.node_id import NodeId
    from protozorfs.dht.rate_limits import MAX_REPLY_BYTES
    from protozorfs.dht.transactions import MAX_QUERIES_IN_FLIGHT

ASKED = Endpoint(bytes([8, 1, 2, 3]), 6881)
STRANGERS = [Endpoint(bytes([9, 1, 2, number]), 6881) for number in range(1, 9)]
STRANGERS.append(Endpoint(bytes([32, 1, *[1] * 14]), 6881))
METHODS = (b"ping", b"find_node", b"get_peers", b"announce_peer", b"get", b"put", b"other")
KEYS = (
    *(b"id", b"target", b"info_hash", b"token", b"port", b"implied_port", b"want", b"seq"),
    *(b"v", b"k", b"sig", b"salt", b"cas", b"nodes", b"nodes6", b"values"),
)
PAIR = crypto.key_pair(bytes(32))
STEP_SECONDS = 0.6  # between two datagrams: time-outs take part
MOST_EVENTS = 1000  # taken of one run
EPISODE = 500  # runs with one node, so that what grows is seen


class Target:
    """A node, and what is checked after each datagram."""

    def __init__(self) -> None:
        self._runs = 0
        self._start()

    def _start(self) -> None:
        self._now = 1000.0
        self._engine = Engine(
            families=[IPV4, IPV6], random=random.Random(1), now=self._now, bootstrap=[ASKED]
        )

    def one(self, data: bytes) -> None:
        """One run."""
        self._runs += 1
        if self._runs % EPISODE == 0:
            self._start()
        provider = atheris.FuzzedDataProvider(data)
        self._engine.get_item(PAIR.public_key)
        self._engine.announce(NodeId(bytes(20)), 4711)
        transactions = self._step()
        self._receive(data, STRANGERS[0])
        while provider.remaining_bytes() > 4:
            message, source = _message(provider, transactions)
            self._receive(message, source)
            transactions = self._step() or transactions

    def _receive(self, data: bytes, source: Endpoint) -> None:
        self._engine.receive_datagram(data, source, self._now)

    def _step(self) -> list[bytes]:
        """Lets time pass; returns the transaction ids of the queries that left."""
        self._now += STEP_SECONDS
        self._engine.handle_timeout(self._now)
        transactions = []
        for datagram, _, _ in self._engine.datagrams_to_send(self._now):
            assert len(datagram) <= MAX_REPLY_BYTES
            message = krpc.decode_message(datagram)
            if isinstance(message, krpc.Query):
                transactions.append(message.transaction)
        for _ in range(MOST_EVENTS):
            if self._engine.next_event() is None:
                break
        else:
            raise AssertionError("events without an end")
        assert len(transactions) <= MAX_QUERIES_IN_FLIGHT
        for network in self._engine.networks.values():
            assert len(network.table) <= 2 * len(STRANGERS)
        return transactions


def _message(
    provider: atheris.FuzzedDataProvider, transactions: list[bytes]
) -> tuple[bytes, Endpoint]:
    """A message with some fields as they should be and some of the fuzzer's."""
    fields: dict[bytes, bencoding.Encodable] = {b"id": bytes(range(20))}
    for _ in range(provider.ConsumeIntInRange(0, 5)):
        key = KEYS[provider.ConsumeIntInRange(0, len(KEYS) - 1)]
        fields[key] = _value(provider)
    kind = provider.ConsumeIntInRange(0, 2)
    if kind == 0:
        method = METHODS[provider.ConsumeIntInRange(0, len(METHODS) - 1)]
        source = STRANGERS[provider.ConsumeIntInRange(0, len(STRANGERS) - 1)]
        return krpc.encode_query(b"abcd", method, fields, is_read_only=False), source
    transaction = transactions[0] if transactions else b"none"
    if kind == 1:
        return krpc.encode_response(transaction, fields, ASKED), ASKED
    error = [provider.ConsumeIntInRange(0, 400), provider.ConsumeBytes(8)]
    return bencoding.encode({b"t": transaction, b"y": b"e", b"e": error}), ASKED


def _value(provider: atheris.FuzzedDataProvider) -> bencoding.Encodable:
    sizes = (20, 32, 64, 26, 38, 6)
    kind = provider.ConsumeIntInRange(0, 3)
    if kind == 0:
        return bytes(provider.ConsumeBytes(sizes[provider.ConsumeIntInRange(0, len(sizes) - 1)]))
    if kind == 1:
        return int(provider.ConsumeInt(8))
    if kind == 2:
        return bytes(provider.ConsumeBytes(provider.ConsumeIntInRange(0, 1000)))
    return [provider.ConsumeBytes(6), provider.ConsumeBytes(18), provider.ConsumeInt(2)]


def main() -> None:
    """Runs until libFuzzer's time is up, or something was raised."""
    target = Target()
    atheris.Setup(sys.argv, target.one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
