"""Another program cuts a feed whose key it has, too: the mount says so, and appends no more."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import at, free_port, id_of, mounted_at, shell, wait_until, xattr
from tests.node_peer import node_writer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mounts import Mount

pytestmark = [pytest.mark.fuse, pytest.mark.interop]

LATER = "its key signed a later history elsewhere (fork 1, length 11), which is not followed"


def seed_of(mount: Mount, feed: Path) -> bytes:
    """The feed's secret key, as somebody has it who copied it out of the store."""
    feed_id = id_of(feed).hex()
    return (mount.store / "feeds" / feed_id[:2] / feed_id / "secret").read_bytes()


def expect_refused(feed: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"echo two >> {feed}"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "Read-only file system" in done.stderr
    assert feed.read_bytes() == b"one\n"


def expect_told(mount: Mount, feed: Path) -> None:
    status = mount.path / ".protozorfs"
    assert xattr(feed, "state") == "frozen"
    assert xattr(feed, "fork") == "0"
    assert f"frozen\n  {feed.name}: {LATER}\n" in (status / "status").read_text()
    (listed,) = json.loads((status / "status.json").read_text())["feeds"]
    assert listed["frozen_why"] == LATER


def test_our_feed_takes_no_appends_after_its_key_signed_a_later_fork(tmp_path: Path) -> None:
    port = free_port()
    with mounted_at(tmp_path, "m", port) as mount:
        feed = mount.path / "journal"
        shell(f"echo one >> {feed}")
        seed = seed_of(mount, feed)
        with node_writer(seed, connect=[at(port)], blocks=20, evil="fork"):
            wait_until(lambda: xattr(feed, "state") == "frozen")
            expect_refused(feed)
        expect_told(mount, feed)
        why = mount.path / ".protozorfs" / "feeds" / "journal" / "why"
        assert why.read_text() == f"appends are refused: the feed is frozen, since {LATER}\n"
    with mounted_at(tmp_path, "m", port) as mount:
        feed = mount.path / "journal"
        expect_told(mount, feed)
        expect_refused(feed)
