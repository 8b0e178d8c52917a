"""A client of the DHT that sends what it is told to, right or wrong: one datagram, one answer.

Answers are told apart and searched as bytes: what is in them is the other's, right or wrong.
"""

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
OWN_ID = bytes(range(20))
NO_ITEM = 2**63 - 1  # as the seq of a get: nothing is newer
MAX_BYTES = 4096  # more than any implementation sends


class RawClient:
    """Asks one node."""

    def __init__(self, bound: socket.socket) -> None:
        self._socket = bound
        self._socket.settimeout(ANSWER_SECONDS)
        self._number = 0

    def ask(self, method: bytes, arguments: dict[bytes, bencoding.Encodable]) -> bytes:
        """The datagram that answers."""
        expected = self._send(method, arguments)
        while expected not in (data := self._socket.recv(MAX_BYTES)):
            pass
        return data

    def ask_silent(
        self, method: bytes, arguments: dict[bytes, bencoding.Encodable]
    ) -> bytes | None:
        """The datagram that answers, None if there is none.

        A ping follows the query: nodes answer in the order in which they are asked, so that who
        has answered the ping has nothing more to say.
        """
        expected, after = self._send(method, arguments), self._send(b"ping", {})
        answer = None
        while after not in (data := self._socket.recv(MAX_BYTES)):
            if expected in data:
                answer = data
        return answer

    def _send(self, method: bytes, arguments: dict[bytes, bencoding.Encodable]) -> bytes:
        """Sends a query; returns what every answer to it contains."""
        self._number += 1
        transaction = self._number.to_bytes(4, "big")
        query = {**arguments, b"id": OWN_ID}
        self._socket.send(krpc.encode_query(transaction, method, query, is_read_only=True))
        return b"1:t4:" + transaction

    def get(self, target: bytes, **more: int) -> bytes:
        """The datagram that answers a `get`; `seq` may be given."""
        arguments: dict[bytes, bencoding.Encodable] = {b"target": target}
        return self.ask(b"get", arguments | {key.encode(): value for key, value in more.items()})

    def token(self, target: bytes) -> bytes:
        """The node's token for a target; the item there, which may be damaged, stays out of it."""
        response = krpc.decode_message(self.get(target, seq=NO_ITEM))
        assert isinstance(response, krpc.Response)
        token = response.values[b"token"]
        assert isinstance(token, bytes)
        return token

    def put(self, arguments: dict[bytes, bencoding.Encodable]) -> int | None:
        """What becomes of a `put`: 0 it is taken, the code of an error, None: no answer."""
        answer = self.ask_silent(b"put", arguments)
        if answer is None:
            return None
        message = krpc.decode_message(answer)
        return message.code if isinstance(message, krpc.ErrorReply) else 0


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
