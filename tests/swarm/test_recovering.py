"""What a killed run left is checked before anybody uses it, and without holding up the rest."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import trio

from protozorfs.app import open_node
from protozorfs.store.layout import SECRET_FILES
from tests.swarm.nodes import ALONE

if TYPE_CHECKING:
    from pathlib import Path


async def test_an_unclean_store_is_whole_when_the_node_is_open(tmp_path: Path) -> None:
    blocks = [b"%d" % number * 50 for number in range(3000)]
    async with open_node(tmp_path / "store", ALONE) as node:
        feed = await node.create(b"journal")
        await feed.append(blocks)
        await feed.sync()
        # The files as a kill leaves them: no mark of a clean stop.
        await trio.to_thread.run_sync(shutil.copytree, tmp_path / "store", tmp_path / "killed")
    async with open_node(tmp_path / "killed", ALONE) as node:
        again = node.feeds.by_name(b"journal")
        assert again is not None
        assert again.log.contiguous_length == 3000
        assert again.reader.read_nowait(0, again.byte_length) == b"".join(blocks)


async def test_a_damaged_feed_does_not_keep_others_from_being_used(tmp_path: Path) -> None:
    async with open_node(tmp_path / "store", ALONE) as node:
        for name in (b"good", b"bad"):
            feed = await node.create(name)
            await feed.append([b"hello"])
            await feed.sync()
        bad = node.feeds.by_name(b"bad")
        assert bad is not None
        path = bad.log.directory.path
        await trio.to_thread.run_sync(shutil.copytree, tmp_path / "store", tmp_path / "killed")
    for secret in SECRET_FILES:
        (tmp_path / "killed" / path / secret).write_bytes(bytes(32))
    async with open_node(tmp_path / "killed", ALONE) as node:
        good = node.feeds.by_name(b"good")
        assert good is not None
        assert good.reader.read_nowait(0, 5) == b"hello"
