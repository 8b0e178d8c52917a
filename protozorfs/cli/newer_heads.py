"""Asks the network, for a while, whether feeds of a store have grown elsewhere."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import trio

from protozorfs import app
from protozorfs.cli.running import run_async
from protozorfs.errors import StoreCorrupt

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from protozorfs.app import Node
    from protozorfs.feeds.feed import Feed
    from protozorfs.options import Options
    from protozorfs.types import FeedId

ASK_SECONDS = 30.0  # for all feeds together; the DHT may have to be joined first
AGAIN_SECONDS = 1.0  # until a feed is asked for again of which nobody has answered
MAX_ASKED = 8  # feeds at once; each is some 20 packets on the DHT


class Answer(NamedTuple):
    """What is known of one feed after asking.

    Attributes:
        has_come: somebody answered who would know a newer head.
        length: blocks up to the newest head that is known.
        held_length: how many of these are here, from the first on.
        frozen_why: its key signed another history; a part of a sentence.
    """

    has_come: bool
    length: int
    held_length: int
    frozen_why: str

    @property
    def allows_appends(self) -> bool:
        """Nothing is known that an append now would contradict."""
        return not self.frozen_why and self.held_length == self.length


def may_ask(options: Options) -> bool:
    """Whether there is anybody to ask with these options."""
    return bool(options.peers) or not (options.nodht and options.nolan)


def ask(store: Path, options: Options, feed_ids: Collection[FeedId]) -> dict[FeedId, Answer]:
    """Asks for newer heads of owned feeds, and fetches what there is.

    The store is opened for that, and closed again. A feed that cannot be opened has no answer.

    Raises:
        StoreLocked: it is in use.
        EndedBySignal: one came.
        ProtozorfsError: what else prevents it.
    """
    return run_async(_ask, store, options, feed_ids)


async def _ask(store: Path, options: Options, feed_ids: Collection[FeedId]) -> dict[FeedId, Answer]:
    # By its own key the node that the store was copied from would take this one for itself.
    options = replace(options, ephemeral_id=True, noportmap=True)
    answered: set[FeedId] = set()
    async with app.open_node(store, options, adopts=True) as node:
        found = (node.feeds.by_id(feed_id) for feed_id in feed_ids)
        feeds = [feed for feed in found if feed is not None and feed.is_usable]
        if may_ask(options):
            with trio.move_on_after(ASK_SECONDS):
                await _ask_all(node, feeds, answered)
        return {feed.feed_id: _answer(feed, feed.feed_id in answered) for feed in feeds}


async def _ask_all(node: Node, feeds: Collection[Feed], answered: set[FeedId]) -> None:
    limit = trio.CapacityLimiter(MAX_ASKED)

    async def ask_one(feed: Feed) -> None:
        async with limit:
            while not await node.swarm.check_newest(feed):  # noqa: ASYNC110, it asks anew
                await trio.sleep(AGAIN_SECONDS)
        answered.add(feed.feed_id)
        with suppress(StoreCorrupt):  # of a damaged feed not all may come back
            await feed.reader.wait_bytes(0, feed.byte_length)

    async with trio.open_nursery() as nursery:
        for feed in feeds:
            nursery.start_soon(ask_one, feed)


def _answer(feed: Feed, has_come: bool) -> Answer:
    return Answer(has_come, feed.length, feed.log.contiguous_length, feed.frozen_why)
