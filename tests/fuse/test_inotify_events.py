"""inotify watchers of a followed feed see MODIFY when it grows."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.errnos import expect
from tests.fuse.inotify import IN_MODIFY, watched
from tests.fuse.test_page_cache_waits import sendfile_waiting
from tests.fuse.test_waiting_reads import DEATH_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.fuse.conftest import Staged

pytestmark = pytest.mark.fuse

SECONDS = 10.0  # an upper bound; it takes milliseconds
NOTHING_SECONDS = 1.0  # twice the time between two events of a feed
GROWTHS = 300


def test_modify_when_a_followed_feed_grows(shared: Staged) -> None:
    path = shared.followed(1000, 1000)
    with watched(path) as watch:
        shared.control("stage", path.name, blocks=["more\n"])
        assert watch.events(SECONDS, 1) == [(IN_MODIFY, b"")]
        assert path.stat().st_size == 1005
        shared.control("stage", path.name, blocks=["and more\n"])
        assert watch.events(SECONDS, 1) == [(IN_MODIFY, b"")]


def test_watchers_of_the_directory_see_it_too(shared: Staged) -> None:
    path = shared.followed(0, 0)
    with watched(shared.path) as watch:
        shared.control("stage", path.name, blocks=["more\n"])
        assert (IN_MODIFY, os.fsencode(path.name)) in watch.events(SECONDS, 1)


def test_a_local_append_is_one_event_as_ever(shared: Staged) -> None:
    path = shared.owned()
    with watched(path) as watch:
        with path.open("ab", buffering=0) as file:
            file.write(b"more\n")
        assert watch.events(NOTHING_SECONDS, 2) == [(IN_MODIFY, b"")]


def test_events_are_rate_limited_and_the_last_growth_is_told(shared: Staged) -> None:
    path = shared.followed(0, 0)
    seen = 0
    with watched(path) as watch:
        start = time.monotonic()
        for _ in range(GROWTHS):
            shared.control("stage", path.name, blocks=["x"])
        took = time.monotonic() - start
        while watch.events(NOTHING_SECONDS, 1):
            seen += 1
            size = path.stat().st_size
    assert size == GROWTHS
    assert 1 <= seen <= took / 0.5 + 3


def test_noinotify(stage: Callable[..., AbstractContextManager[Staged]]) -> None:
    with stage("-o", "noinotify") as staged:
        path = staged.followed(0, 0)
        with watched(path) as watch:
            staged.control("stage", path.name, blocks=["more\n"])
            assert watch.events(NOTHING_SECONDS, 1) == []


def test_nobody_else_may_truncate_to_the_same_size(shared: Staged) -> None:
    path = shared.followed(1000, 1000)
    stop = threading.Event()

    def grow() -> None:
        while not stop.wait(0.01):
            shared.control("stage", path.name, blocks=["x"])

    grower = threading.Thread(target=grow)
    grower.start()
    try:
        for _ in range(200):
            expect(errno.EACCES, lambda: os.truncate(path, path.stat().st_size))
    finally:
        stop.set()
        grower.join()


def test_growth_while_somebody_waits_for_pages_is_told_later(shared: Staged) -> None:
    path = shared.followed(300_001, 70_000)
    other = shared.followed(0, 0)
    with sendfile_waiting(path) as process, watched(path) as watch, watched(other) as watch_other:
        while watch.events(NOTHING_SECONDS, 1):
            continue  # of the bytes that came before
        shared.control("stage", path.name, pattern=5_000, held=False)
        shared.control("stage", other.name, blocks=["more\n"])
        assert watch_other.events(SECONDS, 1) == [(IN_MODIFY, b"")]
        assert watch.events(NOTHING_SECONDS, 1) == []
        shared.control("hold", path.name, count=305_001)
        assert process.wait(DEATH_SECONDS) == 0
        assert watch.events(SECONDS, 1) == [(IN_MODIFY, b"")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_mount_ends_in_time_while_feeds_grow(
    stage: Callable[..., AbstractContextManager[Staged]], number: int
) -> None:
    with stage() as staged:
        paths = [staged.followed(0, 0) for _ in range(30)]
        for path in paths:
            staged.control("stage", path.name, blocks=["x"])
        assert staged.mount.stop(number) < 2.0
