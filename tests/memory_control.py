"""A mount of feeds in memory, run as a process of its own, and the socket by which it is staged.

    python -m tests.memory_control [--watch-proc | --no-self-test] ARGUMENTS OF mount.protozorfs

The lines on the socket are JSON, each answered by one: see `_command`. `--watch-proc` has the
self-test fail, so that the fallbacks for interrupts and for the origin of READs are in use;
`--no-self-test` has it make no request, as on a machine that is too busy.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import trio

from protozorfs import ids
from protozorfs.cli.mounting import run
from protozorfs.fs import origins, requests
from protozorfs.fs.self_test import SelfTest
from tests.memory_feeds import MemoryFeeds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from protozorfs.options import Options
    from tests.memory_feeds import MemoryFeed


class Fault(Exception):
    """What a test asked for."""


class MemoryNode:
    """What `open_memory_node` yields."""

    def __init__(self, feeds: MemoryFeeds) -> None:
        self.feeds = feeds


@asynccontextmanager
async def open_memory_node(
    path: Path, options: Options, *, mount_point: str | None
) -> AsyncIterator[MemoryNode]:
    """Stands in for `app.open_node`; listens for a test's commands on the socket STORE/control."""
    os.makedirs(path, exist_ok=True)
    feeds = MemoryFeeds(is_local=options.local)
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, feeds, path / "control")
        yield MemoryNode(feeds)
        nursery.cancel_scope.cancel()


@contextmanager
def short(path: Path) -> Iterator[str]:
    """Another name of a socket: by its own, which may be long, none can be bound or found."""
    parent = os.open(path.parent, os.O_PATH)
    try:
        yield f"/proc/self/fd/{parent}/{path.name}"
    finally:
        os.close(parent)


async def serve_control(
    feeds: MemoryFeeds,
    path: Path,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answers commands, one connection after another."""
    await trio.Path(path).unlink(missing_ok=True)
    listener = trio.socket.socket(trio.socket.AF_UNIX)
    with short(path) as name:
        await listener.bind(name)
    listener.listen()
    task_status.started()
    with listener:
        while True:
            connection, _ = await listener.accept()
            await _serve_connection(feeds, trio.SocketStream(connection))


async def _serve_connection(feeds: MemoryFeeds, stream: trio.SocketStream) -> None:
    buffer = b""
    async for chunk in stream:
        buffer += chunk
        while b"\n" in buffer:
            line, buffer = buffer.split(b"\n", 1)
            answer = await _command(feeds, **json.loads(line))
            await stream.send_all(json.dumps(answer).encode() + b"\n")


async def _command(feeds: MemoryFeeds, do: str, feed: str, **values: Any) -> dict[str, Any]:
    """Acts on a feed named by its name or ID.

    stage: append `blocks` (text) or `zeros` bytes, held or not. hold: the first `count` bytes are
    here. island: bytes [`start`, `end`) are here, too. set: attributes of the feed. search: a first
    attempt to find a head starts; found: it ends. show: what is in it. crash: the node fails;
    break: whoever asks for a feed by its ID does.
    """
    if do == "crash":
        raise Fault("the node")
    if do == "break":
        feeds.is_broken = True
    found = feeds.by_name(feed.encode()) or await feeds.visit(ids.parse_feed_id(feed))
    if do == "stage":
        blocks = [text.encode() for text in values.get("blocks", ())]
        pattern = values.get("pattern", 0)
        if pattern:
            blocks.append(pattern_bytes(pattern))
        found.stage(blocks, held=values.get("held", True))
    elif do == "hold":
        found.hold(values["count"])
    elif do == "island":
        found.hold_island(values["start"], values["end"])
    elif do == "set":
        for name, value in values.items():
            setattr(found, name, value)
    elif do == "search":
        found.attempt = trio.Event()
    elif do == "found":
        assert found.attempt is not None
        found.attempt.set()
        found.attempt = None
    return _shown(found)


def _shown(feed: MemoryFeed) -> dict[str, Any]:
    return {
        "id": ids.format_hex(feed.feed_id),
        "sizes": [len(block) for block in feed.blocks],
        "data": feed.data[:1000].decode("latin-1"),
        "handles": feed.handles,
        "syncs": feed.syncs,
        "waiting": feed.waiting_count,
        "looks": feed.looks,
    }


def pattern_bytes(count: int) -> bytes:
    """Bytes of which every 16 differ."""
    return b"".join(b"%015d\n" % index for index in range(count // 16 + 1))[:count]


class Control:
    """The test's end of the socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        with short(path) as name:
            self._socket.connect(name)
        self._lines = self._socket.makefile("rb")

    def __call__(self, do: str, feed: str, **values: object) -> dict[str, Any]:
        """One command; see `_command`."""
        self._socket.sendall(json.dumps({"do": do, "feed": feed, **values}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(self._lines.readline())
        return answer

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


def main() -> int:
    arguments = sys.argv[1:]
    if arguments[:1] == ["--watch-proc"]:
        del arguments[0]
        requests.find_layout = _find_nothing
        origins._closure_memory = _no_memory
    if arguments[:1] == ["--no-self-test"]:
        del arguments[0]
        SelfTest._ask = _ask_nothing  # type: ignore[method-assign]
    return run(arguments, open_memory_node)


def _ask_nothing(self: SelfTest, mount_point: str) -> None:
    """In place of a READ of the hidden file."""


def _find_nothing(*_arguments: object, **_named: object) -> None:
    return None


def _no_memory(task: trio.lowlevel.Task) -> bytes:
    return b""


if __name__ == "__main__":
    sys.exit(main())
