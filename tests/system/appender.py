"""Appends one line to a store's feed, with a node that asks nobody: `python -m ... STORE LINE`.

Makes the feed if the store has none. Prints what came of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from protozorfs.app import open_node
from protozorfs.errors import NotWritable
from tests.swarm.nodes import ALONE


async def append(store: Path, line: bytes) -> None:
    """See above."""
    async with open_node(store, ALONE) as node:
        feed = node.feeds.by_name(b"journal") or await node.create(b"journal")
        try:
            await feed.append([line])
            await feed.sync()
        except NotWritable as error:
            print(f"refused: {error}")
        else:
            print("appended")


if __name__ == "__main__":
    trio.run(append, Path(sys.argv[1]), sys.argv[2].encode())
