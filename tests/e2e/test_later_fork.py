"""A Node program cuts a feed: who had it before says so, who follows it after gets the rest.

If the feed is ours, the program has its key, too: nothing is appended any more.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import (
    at,
    follow,
    free_port,
    id_of,
    mounted_at,
    options,
    shell,
    wait_until,
    wait_whole,
    xattr,
)
from tests.node_peer import generated_block, node_reader, node_writer

if TYPE_CHECKING:
    from tests.mounts import Mount

pytestmark = [pytest.mark.fuse, pytest.mark.interop]

LATER = "its key signed a later history elsewhere (fork 1, length 11), which is not followed"
COMMAND = Path(sys.executable).with_name("protozorfs")
SEED = bytes(range(4, 36))
BLOCKS = 20
BLOCK_BYTES = 64  # what a writer makes unless it is told


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
    heading = "frozen; `protozorfs check --evidence NAME` prints the proof\n"
    assert f"\n{heading}  {feed.name}: {LATER}\n" in (status / "status").read_text()
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


def expect_followed(feed: Path, data: bytes) -> None:
    wait_whole(feed, len(data))
    assert feed.read_bytes() == data
    assert xattr(feed, "fork") == "1"


def test_a_feed_that_was_cut_before_is_read_as_it_is_now(tmp_path: Path) -> None:
    port = free_port()
    data = b"".join(generated_block(index, BLOCK_BYTES) for index in range(10)) + b"after"
    with node_writer(SEED, blocks=BLOCKS) as writer:
        assert writer.address is not None
        writer.truncate(10)
        writer.append("after")
        peer = options(free_port(), writer.address)
        read = f"{COMMAND} read --no-follow --store {tmp_path}/read -o {peer}"
        shell(f"{read} {writer.feed_id.hex()} > {tmp_path}/copy")
        assert (tmp_path / "copy").read_bytes() == data
        with mounted_at(tmp_path, "m", port, writer.address) as mount:
            feed = follow(writer.feed_id, mount.path / "cut")
            expect_followed(feed, data)
            writer.append("live")
            data += b"live"
            expect_followed(feed, data)
            assert xattr(feed, "state") == "current"
    with (
        mounted_at(tmp_path, "m", port) as mount,
        mounted_at(tmp_path, "other", free_port(), at(port)) as other,
    ):
        expect_followed(mount.path / "cut", data)
        expect_followed(follow(writer.feed_id, other.path / "cut"), data)
        with node_reader(writer.feed_id, connect=[at(port)], length=12) as reader:
            assert reader.figures()["fork"] == 1
            assert reader.received() == data


def test_a_cut_feed_that_is_followed_again_is_read_as_it_is_now(tmp_path: Path) -> None:
    """Through the page cache, too: the kernel keeps the inode, for the name that is the ID."""
    before = b"".join(generated_block(index, BLOCK_BYTES) for index in range(BLOCKS))
    after = before[: 10 * BLOCK_BYTES] + b"x" * (10 * BLOCK_BYTES)
    with node_writer(SEED, blocks=BLOCKS) as writer, ExitStack() as mounts:
        assert writer.address is not None
        mount = mounts.enter_context(mounted_at(tmp_path, "m", free_port(), writer.address))
        by_id = mount.path / writer.feed_id.hex()
        feed = follow(writer.feed_id, mount.path / "cut")
        wait_whole(feed, len(before))
        number = by_id.stat().st_ino
        shutil.copyfile(by_id, tmp_path / "before")  # by sendfile
        writer.truncate(10)
        writer.append("x" * (10 * BLOCK_BYTES))
        feed.unlink()
        expect_followed(follow(writer.feed_id, feed), after)
        assert by_id.stat().st_ino == feed.stat().st_ino == number
        shutil.copyfile(by_id, tmp_path / "after")
    assert (tmp_path / "before").read_bytes() == before
    assert (tmp_path / "after").read_bytes() == after
