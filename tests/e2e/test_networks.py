"""Owner, relay and reader in three networks: the reader can reach the relay alone."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import (
    are_same,
    follow,
    id_of,
    mounted_on,
    shell,
    wait_size,
    wait_whole,
)
from tests.namespaces import network

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fuse

PORT = 4711
OWNER, RELAY, READER = 0, 1, 2
SIZE = 5_000_000
ALONE = f"nodht,nolan,noportmap,port={PORT}"


def test_the_reader_gets_all_through_the_relay_when_the_owner_has_left(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shell(f"head -c {SIZE} /dev/urandom > {source}")
    with network(3, [(OWNER, RELAY), (RELAY, READER)]) as hosts, ExitStack() as stack:
        relay = stack.enter_context(mounted_on(hosts[RELAY], tmp_path, "relay", ALONE))
        to_relay = f"{ALONE},peer={hosts[RELAY].address_seen_by(OWNER)}:{PORT}"
        with mounted_on(hosts[OWNER], tmp_path, "owner", to_relay) as owner:
            feed = owner.path / "journal"
            shell(f"echo first >> {feed}; cat {source} >> {feed}; echo last >> {feed}")
            feed_id, size = id_of(feed), feed.stat().st_size
            wait_whole(follow(feed_id, relay.path / "journal"), size)
            assert hosts[RELAY].reaches(hosts[OWNER].address_seen_by(RELAY), PORT)
            assert not hosts[READER].reaches(hosts[OWNER].address_seen_by(RELAY), PORT)
        to_relay = f"{ALONE},peer={hosts[RELAY].address_seen_by(READER)}:{PORT}"
        reader = stack.enter_context(mounted_on(hosts[READER], tmp_path, "reader", to_relay))
        read = follow(feed_id, reader.path / "journal")
        wait_size(read, size)
        assert are_same(read, relay.path / "journal")
        shell(f"(echo first; cat {source}; echo last) | cmp - {read}")
