"""Where a feed was found before: dialled at the next start, and ranked by what came of it."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import trio

from protozorfs.store.files import RealFiles
from protozorfs.store.known_peers import KnownPeers
from protozorfs.types import Address, FeedId, NodeKey
from tests.swarm.nodes import LOOPBACK, node_at, read_all, until

if TYPE_CHECKING:
    from pathlib import Path

A_KEY = NodeKey(b"k" * 32)


async def test_a_remembered_peer_is_enough_and_those_that_failed_rank_last(tmp_path: Path) -> None:
    async with node_at(tmp_path / "owner") as owner:
        feed = await owner.create(b"journal")
        await feed.append([b"hello\n"])
        async with node_at(tmp_path / "reader") as reader:
            await reader.feeds.follow(feed.feed_id, b"paul")
        stale = RealFiles(tmp_path / "reader")
        with socket.create_server((LOOPBACK, 0)) as server:
            nobody = server.getsockname()[1]
        listeners = await trio.open_tcp_listeners(0, host=LOOPBACK)
        async with listeners[0], trio.open_nursery() as nursery:
            hangs_up = listeners[0].socket.getsockname()[1]
            nursery.start_soon(trio.serve_listeners, _hang_up, listeners)
            with closing(KnownPeers(stale)) as peers:
                for rank, port in enumerate([owner.port, hangs_up, nobody]):
                    peers.remember([feed.feed_id], Address(LOOPBACK, port), A_KEY, rank)
                peers.note_failure([feed.feed_id], Address(LOOPBACK, owner.port))
                assert _ports(peers, feed.feed_id) == [nobody, hangs_up, owner.port]
            async with node_at(tmp_path / "reader") as reader:
                followed = reader.feeds.by_id(feed.feed_id)
                assert followed is not None
                assert await read_all(followed, 6) == b"hello\n"
                table = reader.swarm.connections.table
                await until(lambda: all(peer.was_tried for peer in table))
            nursery.cancel_scope.cancel()
    with closing(KnownPeers(stale)) as peers:
        known = peers.of_feed(feed.feed_id)
        assert (known[0].address.port, known[0].failures) == (owner.port, 0)
        assert known[0].node_key != A_KEY
        assert {peer.address.port for peer in known[1:]} == {nobody, hangs_up}
        assert all(peer.failures for peer in known[1:])


async def _hang_up(stream: trio.SocketStream) -> None:
    await stream.aclose()


def _ports(peers: KnownPeers, feed_id: FeedId) -> list[int]:
    return [peer.address.port for peer in peers.of_feed(feed_id)]
