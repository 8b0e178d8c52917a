"""`cat .protozorfs/feeds/NAME/why` says what a reader really waits for."""

from __future__ import annotations

import re
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from protozorfs import crypto
from protozorfs.types import FeedId
from tests.e2e.half_held import FIRST_MISSING, half_held
from tests.e2e.stage import (
    at,
    follow,
    free_port,
    id_of,
    mounted_at,
    running,
    shell,
    wait_size,
    wait_until,
    wait_until_waiting,
    wait_whole,
)
from tests.node_peer import LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fuse

TIME = r"\d+(\.\d)? s"


def why(feed: Path) -> str:
    """The sentence about a feed, from the mount that it is in."""
    return (feed.parent / ".protozorfs" / "feeds" / feed.name / "why").read_text()


def wait_why(feed: Path, pattern: str) -> None:
    """Waits until the whole sentence is like that."""
    wait_until(lambda: re.fullmatch(pattern + "\n", why(feed)) is not None)


def read_missing(feed: Path) -> list[str]:
    return ["dd", "status=none", f"if={feed}", "bs=1", "count=1", f"skip={FIRST_MISSING}"]


def test_at_the_end_of_a_feed_of_ours(tmp_path: Path) -> None:
    with mounted_at(tmp_path, "m", free_port()) as mount:
        feed = mount.path / "journal"
        shell(f"echo one >> {feed}; echo two >> {feed}")
        assert why(feed) == "nobody waits: all 2 blocks are here\n"
        with running("cat", mount.path / ".live" / "journal"):
            wait_why(
                feed,
                f"block 2, the next one, for which 1 reader has waited {TIME}: "
                "it comes with the next append",
            )


def test_at_the_end_of_a_followed_feed(tmp_path: Path) -> None:
    port = free_port()
    with (
        mounted_at(tmp_path, "reader", free_port(), at(port)) as mount,
        mounted_at(tmp_path, "owner", port) as owner,
    ):
        shell(f"echo one >> {owner.path}/journal")
        feed = follow(id_of(owner.path / "journal"), mount.path / "paul")
        wait_whole(feed, 4)
        with running("cat", mount.path / ".live" / "paul"):
            waits = f"block 1, the next one, for which 1 reader has waited {TIME}: "
            wait_why(feed, waits + "1 peer is connected, none knows of it")
            owner.stop(signal.SIGKILL)
            wait_why(
                feed,
                waits + "no peer that has the feed is connected; "
                f"{LOOPBACK}:{port} is dialled (at once|in {TIME}) .*",
            )


def test_an_open_waits_for_the_first_head(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        port = silent.getsockname()[1]
        with mounted_at(tmp_path, "m", free_port(), at(port)) as mount:
            stranger = FeedId(crypto.key_pair(bytes(32)).public_key)
            feed = follow(stranger, mount.path / "paul")
            with running("cat", feed):
                wait_why(
                    feed,
                    f"the first head, for which 1 open has waited {TIME}: no peer that has the "
                    f"feed is connected; {LOOPBACK}:{port} is being dialled",
                )


def test_a_block_whose_peer_has_gone(tmp_path: Path) -> None:
    with half_held(tmp_path) as staged, running(*read_missing(staged.feed)) as reader:
        wait_until_waiting(staged.feed, reader)
        wait_why(
            staged.feed,
            rf"block \d+, for which 1 reader has waited {TIME}: no peer that has the feed is "
            rf"connected; {LOOPBACK}:{staged.owner_port} is dialled (at once|in {TIME}) "
            r"\(cannot be reached: .*\)",
        )


def test_a_block_that_no_connected_peer_has(tmp_path: Path) -> None:
    """A third node follows through the one that holds half, when the owner is gone."""
    relay_port = free_port()
    with half_held(tmp_path, port=relay_port) as staged:
        others = mounted_at(tmp_path, "other", free_port(), at(relay_port), more=["sparse"])
        with others as mount:
            feed = follow(id_of(staged.feed), mount.path / "paul")
            wait_size(feed, staged.feed.stat().st_size)
            with running(*read_missing(feed)), running(*read_missing(feed)):
                wait_why(
                    feed,
                    rf"block \d+, for which 2 readers have waited up to {TIME}: "
                    "1 peer is connected, none has it",
                )


def test_a_block_that_was_asked_of_a_silent_peer(tmp_path: Path) -> None:
    with half_held(tmp_path) as staged, staged.owner_again() as owner:
        wait_why(staged.feed, r"nobody waits: \d+ of \d+ blocks .* fetched when they are read")
        wait_until(lambda: "connected" in (staged.mount.path / ".protozorfs/status").read_text())
        peers = staged.feed.parent / ".protozorfs" / "feeds" / staged.feed.name / "peers"
        wait_until(lambda: "a head of length" in peers.read_text())
        owner.process.send_signal(signal.SIGSTOP)
        try:
            with running(*read_missing(staged.feed)):
                asked = rf"asked of {LOOPBACK}:{staged.owner_port} {TIME} ago"
                wait_why(staged.feed, rf"block \d+, for which 1 reader has waited {TIME}: {asked}")
        finally:
            owner.process.send_signal(signal.SIGCONT)
