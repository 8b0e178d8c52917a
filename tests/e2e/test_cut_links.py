"""Followers of every kind show the same bytes, however often the link to the owner is cut."""

from __future__ import annotations

import base64
import random
import re
import socket
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import (
    WAIT_SECONDS,
    at,
    follow,
    free_port,
    id_of,
    mounted_at,
    running,
    wait_until,
)
from tests.node_peer import LOOPBACK
from tests.sizes import long_or_short

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.fuse

SIZE = long_or_short(10_000_000, 3_000_000)
CUTS = long_or_short(20, 8)
MAX_BLOCK = 40_000
# What less writes to a terminal besides the text: empty lines, its message, sequences.
NOT_TEXT = re.compile(
    rb"\x1b\[1m~\x1b\[0m|Waiting for data\.\.\. \([^)]*\)|\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|[\r\n]"
)
LESS = """
import os, pty, sys
os.environ |= {"TERM": "xterm", "LESSHISTFILE": "-", "LESS": "", "LC_ALL": "C"}
with open(sys.argv[2], "wb", buffering=0) as screen:
    def copy(descriptor):
        data = os.read(descriptor, 65536)
        screen.write(data)
        return b"."
    pty.spawn(["less", "-X", "+F", sys.argv[1]], copy)
"""
READLINES = """
import sys, time
with open(sys.argv[1], "rb") as feed, open(sys.argv[2], "wb", buffering=0) as copy:
    while True:
        line = feed.readline()
        copy.write(line)
        if not line:
            time.sleep(0.02)
"""
EPOLL = """
import os, select, sys
feed = os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)
with select.epoll() as poll, open(sys.argv[2], "wb", buffering=0) as copy:
    poll.register(feed, select.EPOLLIN)
    while True:
        poll.poll()
        try:
            copy.write(os.read(feed, 50_000))
        except BlockingIOError:
            pass
"""


FIRST = b"Rmlyc3Q=\n"  # in base64, as what follows


class Link:
    """A TCP relay to a port on loopback, whose connections can be cut."""

    def __init__(self, server: socket.socket, target: int) -> None:
        self.bytes_passed = 0
        self._server = server
        self._target = target
        self._ends: list[socket.socket] = []
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._server.getsockname()[1]
        return port

    def serve(self) -> None:
        """Relays until the listening socket is closed."""
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            try:
                far = socket.create_connection((LOOPBACK, self._target))
            except OSError:
                near.close()
                continue
            with self._lock:
                self._ends += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(16_384):
                sink.sendall(data)
                self.bytes_passed += len(data)
        except OSError:
            return  # cut
        finally:
            for end in (source, sink):
                with self._lock:
                    if end in self._ends:
                        self._ends.remove(end)
                end.close()

    def cut(self) -> None:
        """Ends every connection, in the middle of whatever it carries."""
        with self._lock:
            for end in self._ends:
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def link_to(port: int) -> Iterator[Link]:
    """A link for the length of the block."""
    with socket.create_server((LOOPBACK, 0)) as server:
        link = Link(server, port)
        thread = threading.Thread(target=link.serve, daemon=True)
        thread.start()
        yield link
        server.shutdown(socket.SHUT_RDWR)
        thread.join(WAIT_SECONDS)
        link.cut()


def followers(feed: Path, directory: Path) -> dict[Path, list[str]]:
    """Commands that copy a feed for ever, by the file that each copies to."""
    live = feed.parent / ".live" / feed.name
    shells = {
        "tail-f": f"exec tail -c +1 -s 0.02 -f {feed}",
        "tail-F": f"exec tail -c +1 -s 0.02 -F {feed}",
        "busybox": f"exec busybox tail -c +1 -f {feed}",
        "cat-live": f"exec cat {live}",
        "dd-live": f"exec dd status=none bs=7000 if={live}",
    }
    copies = {
        directory / name: ["bash", "-c", f"{command} > {directory / name}"]
        for name, command in shells.items()
    }
    scripts = {"readline": (READLINES, feed), "epoll-live": (EPOLL, live), "less": (LESS, feed)}
    for name, (script, source) in scripts.items():
        copies[directory / name] = [
            sys.executable,
            "-c",
            script,
            str(source),
            str(directory / name),
        ]
    return copies


def append_blocks(feed: Path, seconds: float) -> bytes:
    """Appends blocks of some lines, spread over a time; returns all of them."""
    chance = random.Random(7)
    blocks: list[bytes] = []
    total = 0
    with feed.open("ab", buffering=0) as file:
        while total < SIZE:
            block = base64.encodebytes(chance.randbytes(chance.randrange(MAX_BLOCK)))
            file.write(block)
            blocks.append(block)
            total += len(block)
            time.sleep(seconds * len(block) / SIZE)
    return b"".join(blocks)


def is_copy(copy: Path, content: bytes) -> bool:
    """True if a follower has shown all of it; of less, what its terminal shows."""
    shown = copy.read_bytes()
    if copy.name == "less":
        return NOT_TEXT.sub(b"", shown) == content.replace(b"\n", b"")
    return shown == content


def test_followers_are_byte_exact_over_a_link_that_is_cut(tmp_path: Path) -> None:
    port, copies = free_port(), tmp_path / "copies"
    copies.mkdir()
    with ExitStack() as stack:
        owner = stack.enter_context(mounted_at(tmp_path, "owner", port))
        link = stack.enter_context(link_to(port))
        peer = at(link.port)
        reader = stack.enter_context(mounted_at(tmp_path, "reader", free_port(), peer))
        journal = owner.path / "journal"
        journal.write_bytes(FIRST)  # nothing can follow a feed of which no head is known
        feed = follow(id_of(journal), reader.path / "paul")
        commands = followers(feed, copies)
        for command in commands.values():
            stack.enter_context(running(*command))
        # It shows nothing of what was there before it came to the end for the first time.
        wait_until(lambda: (copies / "less").exists() and b"Wait" in (copies / "less").read_bytes())
        written: list[bytes] = []
        writer = threading.Thread(target=lambda: written.append(append_blocks(journal, CUTS * 0.4)))
        writer.start()
        for _ in range(CUTS):
            passed = link.bytes_passed
            # Something of each connection arrives before it is cut.
            wait_until(lambda before=passed: link.bytes_passed > before + 20_000)  # type: ignore[misc]
            link.cut()
        writer.join(WAIT_SECONDS)
        for copy in commands:
            wait_until(lambda copy=copy: copy.exists() and copy.stat().st_size >= SIZE)  # type: ignore[misc]
            wait_until(lambda copy=copy: is_copy(copy, FIRST + written[0]))  # type: ignore[misc]
