"""Watchers between two real mounts: inotify, and a live view of a feed read by its ID alone."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import (
    follow,
    id_of,
    owner_and_reader,
    running,
    shell,
    wait_whole,
)
from tests.fuse.inotify import IN_MODIFY, watched

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fuse

SECONDS = 10.0  # an upper bound; it takes some milliseconds
STOP_SECONDS = 2.0


def test_watchers_see_what_is_appended_elsewhere(tmp_path: Path) -> None:
    with owner_and_reader(tmp_path) as (owner, reader):
        journal = owner.path / "journal"
        shell(f"echo one >> {journal}")
        feed = follow(id_of(journal), reader.path / "paul")
        wait_whole(feed, 4)
        with watched(feed) as watch:
            while watch.events(1.0, 1):
                continue  # of the first line
            for count in range(1, 4):
                shell(f"echo more >> {journal}")
                assert watch.events(SECONDS, 1) == [(IN_MODIFY, b"")]
                assert feed.read_text() == "one\n" + "more\n" * count
        start = time.monotonic()
        reader.stop()
        assert time.monotonic() - start < STOP_SECONDS


def test_a_live_view_of_a_feed_that_is_not_followed(tmp_path: Path) -> None:
    with owner_and_reader(tmp_path) as (owner, reader):
        journal = owner.path / "journal"
        shell(f"echo one >> {journal}")
        view = reader.path / ".live" / id_of(journal).hex()
        with running("cat", view, stdout=subprocess.PIPE) as cat:
            assert cat.stdout is not None
            assert cat.stdout.readline() == b"one\n"
            shell(f"echo two >> {journal}")
            assert cat.stdout.readline() == b"two\n"
