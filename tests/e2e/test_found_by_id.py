"""Feeds followed by their IDs alone, between real mounts that know nothing of each other."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.dht_peers import SWARMS
from tests.e2e.stage import (
    follow,
    id_of,
    mounted_on,
    shell,
    wait_size,
    wait_whole,
    xattr,
)
from tests.mounts import Mount, mounted
from tests.namespaces import network
from tests.node_peer import LOOPBACK
from tests.processes import cpu_seconds

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fuse

logger = logging.getLogger(__name__)

SWARM_NODES = 20
WATCHED_SECONDS = 5.0
MOST_CPU_SHARE = 0.03
PORT = 4711
OWNER, MEETING, READER = 0, 1, 2


def hand_over(owner: Mount, reader: Mount) -> None:
    """A feed made in one is followed in the other by its ID, and grows there."""
    feed = owner.path / "journal"
    shell(f"echo hello >> {feed}")
    read = follow(id_of(feed), reader.path / "paul")
    wait_size(read, 6)
    assert shell(f"cat {read}") == "hello\n"
    start = time.monotonic()
    shell(f"echo world >> {feed}")
    wait_whole(read, 12)
    logger.info("an appended line was there after %.3f s", time.monotonic() - start)
    assert shell(f"cat {read}") == "hello\nworld\n"


@pytest.mark.interop
@pytest.mark.parametrize("kind", SWARMS)
def test_a_feed_is_followed_by_its_id_through_a_dht(tmp_path: Path, kind: str) -> None:
    with SWARMS[kind](SWARM_NODES) as swarm:
        settings = f"nolan,noportmap,bind={LOOPBACK},{swarm.options}"
        with (
            mounted(tmp_path, "-o", settings, name="owner") as owner,
            mounted(tmp_path, "-o", settings, name="reader") as reader,
        ):
            hand_over(owner, reader)


def test_a_feed_is_followed_by_its_id_on_the_lan(tmp_path: Path) -> None:
    settings = "nodht,noportmap"
    with (
        network(2, [(0, 1)]) as hosts,
        mounted_on(hosts[0], tmp_path, "owner", settings) as owner,
        mounted_on(hosts[1], tmp_path, "reader", settings) as reader,
    ):
        hand_over(owner, reader)


def test_two_that_nobody_can_dial_meet_through_a_third(tmp_path: Path) -> None:
    """Owner and reader reach the third alone, and nobody reaches them: one is enough to meet.

    The third follows the feed, and is the only DHT node that either of them can know.
    """
    with network(3, [(OWNER, MEETING), (READER, MEETING)]) as hosts, ExitStack() as stack:
        alone = f"nolan,noportmap,port={PORT},bootstrap={LOOPBACK}:{PORT}"
        meeting = stack.enter_context(mounted_on(hosts[MEETING], tmp_path, "meeting", alone))
        hidden = {}
        for place in (OWNER, READER):
            at = hosts[MEETING].address_seen_by(place)
            hosts[place].refuse_connections(PORT)
            settings = f"nolan,noportmap,port={PORT},bootstrap={at}:{PORT}"
            mount = mounted_on(hosts[place], tmp_path, f"hidden{place}", settings)
            hidden[place] = stack.enter_context(mount)
            assert hosts[place].reaches(at, PORT)
            assert not hosts[MEETING].reaches(hosts[place].address_seen_by(MEETING), PORT)
        feed = hidden[OWNER].path / "journal"
        shell(f"echo first >> {feed}")
        wait_whole(follow(id_of(feed), meeting.path / "journal"), 6)
        read = follow(id_of(feed), hidden[READER].path / "journal")
        wait_whole(read, 6)
        shell(f"echo more >> {feed}")
        wait_whole(read, 11)
        assert shell(f"cat {read}") == "first\nmore\n"


def test_without_any_route_a_mount_works_offline_and_rests(tmp_path: Path) -> None:
    """All options at their defaults, public routers included: there is nowhere to send anything."""
    with network(1, []) as hosts, mounted_on(hosts[0], tmp_path, "alone", "rw") as mount:
        feed = mount.path / "journal"
        shell(f"echo hello >> {feed}")
        assert shell(f"cat {feed}") == "hello\n"
        assert xattr(feed, "state") == "owned"
        time.sleep(1.0)  # its first searches end
        start = cpu_seconds(mount.process.pid)
        time.sleep(WATCHED_SECONDS)
        assert cpu_seconds(mount.process.pid) - start <= MOST_CPU_SHARE * WATCHED_SECONDS
        assert mount.said.count("offline") == 1
