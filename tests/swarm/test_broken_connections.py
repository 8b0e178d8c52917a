"""A peer whose connection breaks did nothing wrong: it is dialled again soon."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from protozorfs.types import Address
from tests.swarm.nodes import ALONE, LOOPBACK, WAIT_SECONDS, node_at

if TYPE_CHECKING:
    from pathlib import Path

DIALS = 4
PARTS = (b"", b"\0")  # of what a listener sends before it is gone


async def test_an_end_in_the_middle_is_no_fault_of_the_peer(tmp_path: Path) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host=LOOPBACK)
    async with listener:
        address = Address(LOOPBACK, listener.socket.getsockname()[1])
        async with node_at(tmp_path / "a", options=replace(ALONE, peers=(address,))) as node:
            with trio.fail_after(WAIT_SECONDS):
                for dial in range(DIALS):
                    async with await listener.accept() as stream:
                        await stream.receive_some()  # else the close is a reset
                        await stream.send_all(PARTS[dial % 2])
            (peer,) = node.swarm.connections.table
            assert (peer.is_users, peer.bans) == (True, 0)
            assert peer.failures >= DIALS - 1
