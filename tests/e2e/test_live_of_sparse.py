"""Live views of feeds of which only the parts that are read are fetched."""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import (
    follow,
    free_port,
    id_of,
    mounted_at,
    number,
    owner_and_reader,
    running,
    wait_size,
    wait_until_waiting,
)
from tests.errnos import expect

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fuse

BLOCKS = 3_000
BLOCK = 1_000
WAIT_SECONDS = 30.0
END_SECONDS = 2.0


def blocks() -> list[bytes]:
    return [b"%0*d\n" % (BLOCK - 1, index) for index in range(BLOCKS)]


def test_who_polls_gets_what_is_missing_fetched(tmp_path: Path) -> None:
    with owner_and_reader(tmp_path, more=["sparse"]) as (owner, reader):
        journal = owner.path / "journal"
        with journal.open("ab", buffering=0) as file:
            for block in blocks():
                file.write(block)
        feed = follow(id_of(journal), reader.path / "paul")
        wait_size(feed, BLOCKS * BLOCK)
        view = os.open(reader.path / ".live" / "paul@2000", os.O_RDONLY | os.O_NONBLOCK)
        with select.epoll() as poll:
            poll.register(view, select.EPOLLIN)
            got = b""
            while len(got) < 10 * BLOCK:
                assert poll.poll(WAIT_SECONDS), "it never became readable"
                got += os.read(view, 3 * BLOCK)
        os.close(view)
        assert got == b"".join(blocks()[2000:])[: len(got)]
        assert number(feed, "local") < BLOCKS * BLOCK / 2


def test_live_readers_do_not_keep_a_mount_from_ending(tmp_path: Path) -> None:
    """Readers at the end and polls, when SIGTERM comes; the readers end with it."""
    with mounted_at(tmp_path, "m", free_port()) as mount:
        feed = mount.path / "journal"
        feed.write_bytes(b"")
        view = mount.path / ".live" / "journal"
        with running("cat", view) as cat, running("cat", f"{view}@5") as other:
            descriptor = os.open(view, os.O_RDONLY)
            with select.epoll() as poll:
                poll.register(descriptor, select.EPOLLIN)
                assert poll.poll(0) == []
                wait_until_waiting(view, cat)
                wait_until_waiting(view.with_name("journal@5"), other)
                start = time.monotonic()
                assert mount.stop(signal.SIGTERM) < END_SECONDS
                assert cat.wait(END_SECONDS) == 1
                assert other.wait(END_SECONDS) == 1
                assert time.monotonic() - start < 2 * END_SECONDS
            expect(errno.ENOTCONN, lambda: os.close(descriptor))
