"""How much memory claims take: `python -m tests.unit.swarm.claims` prints KiB at the most.

A peer announces what it has and asks for what there is in every way that costs it little, on one
connection, and takes no answer.
"""

from __future__ import annotations

import resource

from protozorfs.compact import encode_buffer, encode_uint
from protozorfs.wire import messages as m
from tests.unit.swarm.fork_peers import OURS, owner_of
from tests.unit.swarm.hostile import OPEN
from tests.unit.swarm.memory_peers import Peer, Pipe, settle

OPENS = 16_000
SEGMENTS = 20_000
WIDE_BITFIELDS = 20  # of 65 536 words each
REQUESTS = 4_000


def peak_kib() -> int:
    """The most that this process has had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Claims everything."""
    pipe = Pipe(Peer(key=2), owner_of(OURS))
    pipe.offer()
    settle([pipe])
    ((replica, _),) = pipe.dialler.peer.replicator.links.items()
    connection = replica.connection
    before = peak_kib()

    def send(message_type: int, body: bytes) -> None:
        connection.send(replica.channel, message_type, body)
        if connection.queued_bytes > 200_000:
            pipe.listener.session.receive(bytes(connection.bytes_to_send()), 0.0)

    send(m.SYNC, m.encode_sync(m.Sync(0, 2**52, 0, True, True, True)))
    for number in range(SEGMENTS):
        send(m.RANGE, m.encode_range(m.Range(False, number * 2**30 + 1, 1)))
    words = bytes(range(256)) * 1024
    for number in range(WIDE_BITFIELDS):
        send(m.BITFIELD, m.encode_bitfield(m.BitfieldMessage(number * 2**21, words)))
    for number in range(SEGMENTS):
        send(m.WANT, m.encode_want(m.Want(number * 2**21, 2**21)))
        send(m.UNWANT, m.encode_want(m.Want(number, 2**21)))
    for number in range(OPENS):
        body = encode_uint(number + 2) + encode_buffer(m.PROTOCOL) + encode_buffer(bytes(32))
        pipe.dialler.session.connection._mux.queue.put(0, OPEN, body)
    send(m.EXTENSION, b"\0")
    while connection.queued_bytes:
        pipe.listener.session.receive(bytes(connection.bytes_to_send()), 0.0)
    print(peak_kib() - before)


if __name__ == "__main__":
    main()
