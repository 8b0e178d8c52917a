"""A client of the DHT that sends what it is told to, right or wrong: one datagram, one answer."""

from __future__ import annotations

import random
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from protozorfs.dht import krpc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs import bencoding
    from protozorfs.types import Address

ANSWER_SECONDS = 5.0
SILENCE_SECONDS = 0.5  # after which a node on loopback counts as silent
OWN_ID = bytes(range(20))
MAX_BYTES = 2048


class RawClient:
    """Asks one node."""

    def __init__(self, bound: socket.socket) -> None:
        self._socket = bound
        self._number = 0

    def ask(
        self,
        method: bytes,
        arguments: dict[bytes, bencoding.Encodable],
        seconds: float = ANSWER_SECONDS,
    ) -> krpc.Response | krpc.ErrorReply | None:
        """The node's answer, None if there is none."""
        self._number += 1
        transaction = self._number.to_bytes(4, "big")
        query = {**arguments, b"id": OWN_ID}
        self._socket.send(krpc.encode_query(transaction, method, query, is_read_only=True))
        self._socket.settimeout(seconds)
        while True:
            try:
                message = krpc.decode_message(self._socket.recv(MAX_BYTES))
            except TimeoutError:
                return None
            if not isinstance(message, krpc.Query) and message.transaction == transaction:
                return message

    def get(self, target: bytes, **more: int) -> krpc.Response:
        """The answer to a `get`; `seq` may be given."""
        arguments: dict[bytes, bencoding.Encodable] = {b"target": target}
        answer = self.ask(b"get", arguments | {key.encode(): value for key, value in more.items()})
        assert isinstance(answer, krpc.Response)
        return answer

    def put(self, arguments: dict[bytes, bencoding.Encodable]) -> int | None:
        """What becomes of a `put`: 0 it is taken, the code of an error, None: no answer."""
        answer = self.ask(b"put", arguments, SILENCE_SECONDS)
        if answer is None:
            return None
        return answer.code if isinstance(answer, krpc.ErrorReply) else 0


@contextmanager
def raw_client(node: Address) -> Iterator[RawClient]:
    """A client of the node at that address, on a host of its own.

    libtorrent bans a host that sends 50 datagrams within 10 seconds.
    """
    host = f"127.1.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((host, 0))
        bound.connect((node.host, node.port))
        yield RawClient(bound)
