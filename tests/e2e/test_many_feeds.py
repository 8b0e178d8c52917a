"""Thousands of followed feeds in one mount: nobody has them, or one peer has them all."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from protozorfs import crypto
from protozorfs.log.feed import Log
from protozorfs.store.layout import Store
from protozorfs.store.name_records import NameRow
from protozorfs.types import FeedId
from tests.dht_peers import own_swarm
from tests.e2e.stage import at, free_port, mounted_at, wait_size, wait_until
from tests.mounts import mounted
from tests.node_peer import LOOPBACK
from tests.processes import cpu_seconds, open_files, resident_bytes
from tests.sizes import long_or_short

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mounts import Mount

pytestmark = [pytest.mark.fuse, pytest.mark.slow]

FEEDS = long_or_short(10_000, 1_000)
WATCHED_SECONDS = long_or_short(120.0, 15.0)
FIRST_SECONDS = 5.0  # after the start, in which the node finds its place; not measured
MOST_CPU_SHARE = 0.03  # of a core
# What Python, its libraries and the node take, and then each feed: its objects in the layers.
MOST_BYTES = 60_000_000 + 10_000 * FEEDS
SWARM_NODES = 20
MOST_LISTING_SECONDS = 1.0  # of the whole directory

SHARED_FEEDS = long_or_short(10_000, 300)
# Files of logs are closed when they were not used for a minute, and looked at once in a minute.
REST_SECONDS = long_or_short(150.0, 3.0)
FEEDS_PER_SECOND = (
    100  # at the least, that are shown and fetched; an idle machine does ten times that
)
MOST_SHARED_BYTES = 70_000_000 + 20_000 * SHARED_FEEDS  # a feed's log, and its channel with a peer
MOST_OPEN_FILES = long_or_short(40, 300)  # of a whole process; logs may have 256
APPENDS = 20
MOST_MEDIAN_SECONDS = 0.25  # until an append is read elsewhere
MOST_STOP_SECONDS = 2.0  # the promise; to sync all that came would take longer, on a disk


def make_store(path: Path, count: int) -> None:
    """A store that follows so many feeds."""
    with Store(path) as store:
        for number in range(count):
            add_name(store, number, is_owned=False)


def make_owners_store(path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that owns the same feeds, with a line in each. Nothing is synced while it is made."""
    with monkeypatch.context() as patch, Store(path) as store:
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.setattr(os, "fdatasync", lambda descriptor: None)
        for number in range(count):
            feed_id, seed = key_of(number)
            log = Log.create(store.feed(feed_id), seed)
            log.append([line_of(number)])
            log.close()
            add_name(store, number, is_owned=True)


def add_name(store: Store, number: int, *, is_owned: bool) -> None:
    now_ns = time.time_ns()
    store.names.add(NameRow(name_of(number), key_of(number)[0], is_owned, now_ns, now_ns))


def key_of(number: int) -> tuple[FeedId, bytes]:
    """The ID of a feed, and the seed of its key."""
    seed = crypto.blake2b_256(b"feed %d" % number)
    return FeedId(crypto.key_pair(seed).public_key), seed


def name_of(number: int) -> bytes:
    return b"feed%05d" % number


def line_of(number: int) -> bytes:
    return b"line of feed %d\n" % number


def cpu_share(pids: list[int], seconds: float) -> list[float]:
    """What each process takes of a core during the next seconds."""
    before, start = [cpu_seconds(pid) for pid in pids], time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - start
    return [(cpu_seconds(pid) - used) / elapsed for pid, used in zip(pids, before, strict=True)]


def count_of(mount: Mount, state: str) -> int:
    """How many feeds the status says are in a state."""
    text = (mount.path / ".protozorfs" / "status").read_text()
    found = re.search(rf"^feeds .* (\d+) {state}", text, re.MULTILINE)
    return int(found[1]) if found is not None else 0


def seconds_until_read(writer: Path, reader: Path) -> float:
    """From an append to the file in one mount until a reader of the other one has it."""
    size = reader.stat().st_size
    with writer.open("ab", buffering=0) as sink, reader.open("rb", buffering=0) as source:
        source.seek(size)
        start = time.monotonic()
        sink.write(b"news\n")
        wait_size(reader, size + 5)
        assert source.read(100) == b"news\n"
        return time.monotonic() - start


def test_followed_feeds_at_rest_cost_next_to_nothing(tmp_path: Path) -> None:
    make_store(tmp_path / "many.store", FEEDS)
    with own_swarm(SWARM_NODES) as swarm:
        settings = f"nolan,noportmap,bind={LOOPBACK},{swarm.options}"
        limit = 60 + WATCHED_SECONDS
        with mounted(tmp_path, "-o", settings, name="many", watchdog_seconds=limit) as mount:
            time.sleep(FIRST_SECONDS)
            pid = mount.process.pid
            (share,) = cpu_share([pid], WATCHED_SECONDS)
            looked = time.monotonic()
            assert len(os.listdir(mount.path)) == FEEDS
            listing_seconds = time.monotonic() - looked
            resident = resident_bytes(pid)
            assert count_of(mount, "offline") + count_of(mount, "resolving") == FEEDS
    print(f"{FEEDS} feeds: {share:.2%} of a core, {resident / 1e6:.0f} MB")
    print(f"listed in {listing_seconds:.3f} s")
    assert share <= MOST_CPU_SHARE
    assert resident <= MOST_BYTES
    assert listing_seconds <= MOST_LISTING_SECONDS
    assert not any((tmp_path / "many.store" / "feeds").iterdir())  # nothing has come


def test_a_listing_opens_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes of feeds at rest are told from their marks: no file stays open, little in memory."""
    make_owners_store(tmp_path / "own.store", SHARED_FEEDS, monkeypatch)
    with mounted_at(tmp_path, "own", free_port()) as mount:
        pid = mount.process.pid
        before = open_files(pid)
        start, used = time.monotonic(), cpu_seconds(pid)
        listed = subprocess.run(["ls", "-l", mount.path], capture_output=True, check=True)
        seconds, cpu = time.monotonic() - start, cpu_seconds(pid) - used
        assert listed.stdout.count(b" feed") == SHARED_FEEDS
        assert count_of(mount, "owned") == SHARED_FEEDS
        assert open_files(pid) <= before
        print(f"ls -l of {SHARED_FEEDS} feeds: {seconds:.2f} s, {cpu:.2f} s of CPU in the mount")


def test_two_nodes_that_share_all_their_feeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_owners_store(tmp_path / "owner.store", SHARED_FEEDS, monkeypatch)
    make_store(tmp_path / "follower.store", SHARED_FEEDS)
    port = free_port()
    # Without inotify: to wake watchers of so many feeds that came at once takes minutes, at a pace.
    more = ["noinotify"]
    with (
        mounted_at(tmp_path, "owner", port) as owner,
        mounted_at(tmp_path, "follower", free_port(), at(port), more=more) as follower,
    ):
        pids = [owner.process.pid, follower.process.pid]
        start = time.monotonic()
        limit = 10.0 + SHARED_FEEDS / FEEDS_PER_SECOND
        wait_until(lambda: slowly(follower) == SHARED_FEEDS, limit)
        seconds = time.monotonic() - start
        shares = cpu_share(pids, REST_SECONDS)
        files = [open_files(pid) for pid in pids]
        resident = [resident_bytes(pid) for pid in pids]
        names = [os.fsdecode(name_of(SHARED_FEEDS * i // APPENDS)) for i in range(APPENDS)]
        times = [seconds_until_read(owner.path / name, follower.path / name) for name in names]
        median = statistics.median(times)
        stop_seconds = follower.stop()
    print(f"{SHARED_FEEDS} feeds fetched in {seconds:.1f} s; at rest {shares[0]:.2%} and")
    print(f"{shares[1]:.2%} of a core, {resident[0] / 1e6:.0f} and {resident[1] / 1e6:.0f} MB,")
    print(f"{files[0]} and {files[1]} files; append until read: median {median * 1e3:.1f} ms,")
    print(f"the follower stopped in {stop_seconds:.1f} s")
    assert max(shares) <= MOST_CPU_SHARE
    assert max(files) <= MOST_OPEN_FILES
    assert max(resident) <= MOST_SHARED_BYTES
    assert median <= MOST_MEDIAN_SECONDS
    assert stop_seconds <= MOST_STOP_SECONDS


def slowly(follower: Mount) -> int:
    """How many feeds are whole; not looked at all the time, since that is work for the mount."""
    time.sleep(0.5)
    return count_of(follower, "current")
