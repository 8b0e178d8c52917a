"""Thousands of followed feeds that nobody has, in one mount: the DHT is asked at its full rate."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from protozorfs import crypto
from protozorfs.store.database import NameRow
from protozorfs.store.layout import Store
from protozorfs.types import FeedId
from tests.dht_peers import own_swarm
from tests.mounts import mounted
from tests.node_peer import LOOPBACK
from tests.processes import cpu_seconds, resident_bytes
from tests.sizes import long_or_short

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.fuse, pytest.mark.slow]

FEEDS = long_or_short(10_000, 1_000)
WATCHED_SECONDS = long_or_short(120.0, 15.0)
FIRST_SECONDS = 5.0  # after the start, in which the node finds its place; not measured
MOST_CPU_SHARE = 0.03  # of a core
# What Python, its libraries and the node take, and then each feed: its objects in the layers.
MOST_BYTES = 60_000_000 + 10_000 * FEEDS
SWARM_NODES = 20
MOST_LISTING_SECONDS = 1.0  # of the whole directory


def make_store(path: Path, count: int) -> None:
    """A store that follows so many feeds."""
    with Store(path) as store:
        now_ns = time.time_ns()
        for number in range(count):
            pair = crypto.key_pair(crypto.blake2b_256(b"feed %d" % number))
            name = b"feed%05d" % number
            store.names.add(NameRow(name, FeedId(pair.public_key), False, now_ns, now_ns))


def test_followed_feeds_at_rest_cost_next_to_nothing(tmp_path: Path) -> None:
    make_store(tmp_path / "many.store", FEEDS)
    with own_swarm(SWARM_NODES) as swarm:
        settings = f"nolan,noportmap,bind={LOOPBACK},{swarm.options}"
        limit = 60 + WATCHED_SECONDS
        with mounted(tmp_path, "-o", settings, name="many", watchdog_seconds=limit) as mount:
            time.sleep(FIRST_SECONDS)
            pid = mount.process.pid
            used, start = cpu_seconds(pid), time.monotonic()
            time.sleep(WATCHED_SECONDS)
            share = (cpu_seconds(pid) - used) / (time.monotonic() - start)
            looked = time.monotonic()
            assert len(os.listdir(mount.path)) == FEEDS
            listing_seconds = time.monotonic() - looked
            resident = resident_bytes(pid)
    print(f"{FEEDS} feeds: {share:.2%} of a core, {resident / 1e6:.0f} MB")
    print(f"listed in {listing_seconds:.3f} s")
    assert share <= MOST_CPU_SHARE
    assert resident <= MOST_BYTES
    assert listing_seconds <= MOST_LISTING_SECONDS
