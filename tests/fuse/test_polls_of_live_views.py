"""poll, select and epoll on live views, and on everything else."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import wait_until
from tests.fuse.test_live_views import live
from tests.fuse.test_waiting_reads import DEATH_SECONDS, reader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fuse.conftest import Staged

pytestmark = pytest.mark.fuse

SECONDS = 10.0  # an upper bound; it takes a millisecond
DESCRIPTORS = 200


@contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def append(staged: Staged, path: Path, text: str) -> None:
    staged.control("stage", path.name, blocks=[text])


def is_readable(descriptor: int, seconds: float = 0.0) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


def test_select_says_when_there_is_more(shared: Staged) -> None:
    path = shared.owned(b"one\n")
    with opened(live(path)) as descriptor:
        assert is_readable(descriptor)
        assert os.read(descriptor, 100) == b"one\n"
        assert not is_readable(descriptor)
        timer = threading.Timer(0.1, append, (shared, path, "two\n"))
        timer.start()
        assert is_readable(descriptor, SECONDS)
        timer.join()
        assert os.read(descriptor, 100) == b"two\n"
        assert not is_readable(descriptor)


def test_what_is_known_but_not_here_is_not_ready(shared: Staged) -> None:
    path = shared.followed(10_000, 5_000)
    with opened(live(path)) as descriptor:
        assert len(os.read(descriptor, 100_000)) == 5_000
        assert not is_readable(descriptor)
        timer = threading.Timer(0.1, shared.control, ("hold", path.name), {"count": 10_000})
        timer.start()
        assert is_readable(descriptor, SECONDS)
        timer.join()


@pytest.mark.parametrize("edge", [0, select.EPOLLET])
def test_two_hundred_descriptors_in_one_epoll(shared: Staged, edge: int) -> None:
    path = shared.owned(b"one\n")
    descriptors = [os.open(live(path), os.O_RDONLY | os.O_NONBLOCK) for _ in range(DESCRIPTORS)]
    with select.epoll() as poll:
        try:
            for descriptor in descriptors:
                assert os.read(descriptor, 100) == b"one\n"
                poll.register(descriptor, select.EPOLLIN | edge)
            assert poll.poll(0, DESCRIPTORS) == []
            for line in (b"two\n", b"three\n"):
                append(shared, path, line.decode())
                seen: set[int] = set()
                while len(seen) < DESCRIPTORS:
                    events = poll.poll(SECONDS, DESCRIPTORS)
                    assert events, f"{len(seen)} of {DESCRIPTORS} were told"
                    for descriptor, _ in events:
                        assert os.read(descriptor, 100) == line
                        seen.add(descriptor)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def test_a_signal_ends_poll(shared: Staged) -> None:
    path = shared.owned(b"")
    script = "import os, select, sys\nfd = os.open(sys.argv[1], os.O_RDONLY)\np = select.poll()\n"
    script += "p.register(fd, select.POLLIN)\nprint('polls', flush=True)\np.poll()\n"
    with reader(sys.executable, "-c", script, live(path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"polls\n"
        wait_until(lambda: shared.control("show", path.name)["waiting"] == 1)
        process.terminate()
        assert process.wait(DEATH_SECONDS) == -signal.SIGTERM
    wait_until(lambda: shared.control("show", path.name)["waiting"] == 0)


def test_everything_else_is_always_ready(shared: Staged) -> None:
    path = shared.owned(b"")
    for file in (path, shared.path / ".protozorfs" / "version"):
        with opened(file) as descriptor:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN | select.POLLOUT)
            assert poll.poll(0) == [(descriptor, select.POLLIN | select.POLLOUT)]
