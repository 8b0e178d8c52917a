"""A mount whose DHT port is flooded goes on answering, and remembers nothing of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.dht_peers import ROOT, own_swarm
from tests.e2e.stage import follow, free_port, id_of, shell, wait_whole
from tests.mounts import mounted
from tests.node_peer import LOOPBACK
from tests.processes import cpu_seconds, resident_bytes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.fuse, pytest.mark.slow]

DATAGRAMS = 50_000
SECONDS = 5.0
# A sender that shares two cores with its victim and other tests may fall behind a little.
MOST_SECONDS = 8.0
PAUSE_SECONDS = 0.001  # between two listings
MOST_LISTING_SECONDS = 0.1  # of 99 in 100
# Tables of hosts that are bounded by their size, and what the allocator keeps for itself.
MOST_GROWTH = 4_000_000
FIRST_FLOOD = 5_000  # fills caches and buffers that are there for good


def flood(port: int, count: int, seconds: float) -> subprocess.Popen[str]:
    """A process that sends so many datagrams."""
    command = [sys.executable, "-m", "tests.flood", LOOPBACK, str(port), str(count), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def listings_during(process: subprocess.Popen[str], path: Path) -> list[float]:
    """How long each listing of a directory took while a process ran, sorted."""
    took = []
    while process.poll() is None:
        start = time.perf_counter()
        os.listdir(path)
        took.append(time.perf_counter() - start)
        time.sleep(PAUSE_SECONDS)
    return sorted(took)


def test_a_flood_disturbs_nobody(tmp_path: Path) -> None:
    port = free_port()
    with own_swarm(10) as swarm:
        settings = f"nolan,noportmap,bind={LOOPBACK},{swarm.options}"
        with (
            mounted(tmp_path, "-o", f"{settings},port={port}", name="m") as mount,
            mounted(tmp_path, "-o", settings, name="other") as other,
        ):
            feed = mount.path / "journal"
            shell(f"echo before >> {feed}")
            with flood(port, FIRST_FLOOD, 1.0) as first:
                listings_during(first, mount.path)
            pid = mount.process.pid
            resident, used = resident_bytes(pid), cpu_seconds(pid)
            with flood(port, DATAGRAMS, SECONDS) as process:
                took = listings_during(process, mount.path)
                assert process.stdout is not None
                sent, seconds = process.stdout.read().split()
            growth = resident_bytes(pid) - resident
            late = took[int(len(took) * 0.99)]
            print(
                f"{sent} datagrams in {seconds} s: {len(took)} listings, 99 % within "
                f"{late * 1000:.1f} ms, the longest {took[-1] * 1000:.1f} ms; "
                f"{cpu_seconds(pid) - used:.2f} s of CPU, {growth / 1000:.0f} kB more"
            )
            assert float(seconds) <= MOST_SECONDS
            assert late <= MOST_LISTING_SECONDS
            assert growth <= MOST_GROWTH
            wait_whole(follow(id_of(feed), other.path / "journal"), 7)
