"""Owner, relay and reader in three networks: the reader can reach the relay alone."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import (
    MOUNT_SECONDS,
    are_same,
    follow,
    id_of,
    shell,
    wait_size,
    wait_whole,
)
from tests.mounts import Mount, installed_command, mounted
from tests.namespaces import Host, network

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.fuse

PORT = 4711
OWNER, RELAY, READER = 0, 1, 2
SIZE = 5_000_000
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)"


@contextmanager
def mounted_on(host: Host, directory: Path, name: str, peer: str | None = None) -> Iterator[Mount]:
    """A mount whose daemon is on a host; its files are those of all."""
    settings = f"nodht,nolan,noportmap,port={PORT}" + (f",peer={peer}:{PORT}" if peer else "")
    command = host.command(*installed_command())
    with mounted(
        *(directory, "-o", settings),
        command=command,
        name=name,
        watchdog_seconds=MOUNT_SECONDS,
    ) as mount:
        yield mount


def reaches(host: Host, address: str) -> bool:
    command = host.command("python3", "-c", CONNECT, address, str(PORT))
    return subprocess.run(command, stderr=subprocess.DEVNULL, timeout=20).returncode == 0


def test_the_reader_gets_all_through_the_relay_when_the_owner_has_left(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shell(f"head -c {SIZE} /dev/urandom > {source}")
    with network(3, [(OWNER, RELAY), (RELAY, READER)]) as hosts, ExitStack() as stack:
        relay = stack.enter_context(mounted_on(hosts[RELAY], tmp_path, "relay"))
        to_relay = hosts[RELAY].address_seen_by(OWNER)
        with mounted_on(hosts[OWNER], tmp_path, "owner", to_relay) as owner:
            feed = owner.path / "journal"
            shell(f"echo first >> {feed}; cat {source} >> {feed}; echo last >> {feed}")
            feed_id, size = id_of(feed), feed.stat().st_size
            wait_whole(follow(feed_id, relay.path / "journal"), size)
            assert reaches(hosts[RELAY], hosts[OWNER].address_seen_by(RELAY))
            assert not reaches(hosts[READER], hosts[OWNER].address_seen_by(RELAY))
        to_relay = hosts[RELAY].address_seen_by(READER)
        reader = stack.enter_context(mounted_on(hosts[READER], tmp_path, "reader", to_relay))
        read = follow(feed_id, reader.path / "journal")
        wait_size(read, size)
        assert are_same(read, relay.path / "journal")
        shell(f"(echo first; cat {source}; echo last) | cmp - {read}")
