"""`write` and `read` with a node of their own, on a store that is not mounted."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import click
import trio

from protozorfs import app, ids
from protozorfs.cli.mount_streams import (
    CHUNK_BYTES,
    not_found,
    pause_while_read,
    say_what_is_read,
    write_all,
)
from protozorfs.cli.running import run_async
from protozorfs.errors import HeadUnknown
from protozorfs.options import DEFAULT_HEAD_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from protozorfs.app import Node
    from protozorfs.options import Options
    from protozorfs.types import FeedId

STANDARD_OUTPUT = 1


def write(store: Path, options: Options, name: str | None, *, serve: bool) -> None:
    """Copies standard input to a new feed.

    Raises:
        StoreLocked: another process has the store open.
        EndedBySignal: one came.
        ProtozorfsError: what else prevents it.
    """
    run_async(_with_node, store, options, partial(_write, name=name, serve=serve))


def read(store: Path, options: Options, feed_id: FeedId, *, follow: bool) -> None:
    """Copies a feed to standard output. Raises like `write`."""
    run_async(_with_node, store, options, partial(_read, feed_id=feed_id, follow=follow))


async def _with_node(store: Path, options: Options, use: Callable[[Node], Awaitable[None]]) -> None:
    async with app.open_node(store, options) as node:
        await use(node)


async def _write(node: Node, *, name: str | None, serve: bool) -> None:
    feed = await node.feeds.create(None if name is None else os.fsencode(name))
    click.echo(ids.format_hex(feed.feed_id))
    say_what_is_read()
    stream = node.write_stream(feed)
    while data := await trio.to_thread.run_sync(os.read, 0, CHUNK_BYTES, abandon_on_cancel=True):
        await stream.send(data)
    await stream.aclose()
    if serve:
        click.echo("end of input; serving the feed until Ctrl-C", err=True)
        await trio.sleep_forever()


async def _read(node: Node, *, feed_id: FeedId, follow: bool) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_with_reader)
        await _copy(node, feed_id, follow=follow)
        nursery.cancel_scope.cancel()


async def _end_with_reader() -> None:
    await trio.to_thread.run_sync(pause_while_read, STANDARD_OUTPUT, abandon_on_cancel=True)


async def _copy(node: Node, feed_id: FeedId, *, follow: bool) -> None:
    feed = node.feeds.by_id(feed_id) or await node.feeds.visit(feed_id)
    feed.acquire()
    try:
        if follow:
            async for data in node.read_stream(feed):
                await _print(data)
            return
        with trio.move_on_after(DEFAULT_HEAD_TIMEOUT), suppress(HeadUnknown):
            await feed.reader.wait_first_head()
        if feed.is_unknown:
            raise not_found(node.feeds.report(feed_id).why)
        offset = 0
        end = feed.byte_length
        while offset < end:
            await feed.reader.wait_bytes(offset, min(offset + CHUNK_BYTES, end))
            data = feed.reader.read_nowait(offset, CHUNK_BYTES)
            await _print(data)
            offset += len(data)
    finally:
        feed.release()


async def _print(data: bytes) -> None:
    await trio.to_thread.run_sync(write_all, STANDARD_OUTPUT, data, abandon_on_cancel=True)
