"""A peer that cannot be reached is a state, not an error; it is tried again, ever more rarely."""

from __future__ import annotations

import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from protozorfs import crypto
from protozorfs.types import FeedId
from tests.e2e.stage import (
    WAIT_SECONDS,
    at,
    follow,
    free_port,
    mounted_at,
    shell,
    wait_until,
    xattr,
)
from tests.node_peer import LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fuse

DIALS = 5
# Of 0.25, 0.5, 1 and 2 between them; without back-off it would be 1.25 at most. The first dial may
# be seen late here, and seem to be closer to the others than it was.
LEAST_SECONDS = 2.5
SOON_SECONDS = 5.0  # far below the 10 s that the first open of a feed waits at most


def unknown_feed() -> FeedId:
    """The ID of a feed that nobody has."""
    return FeedId(crypto.key_pair(crypto.random_bytes(crypto.SEED_BYTES)).public_key)


def test_nobody_listens_there(tmp_path: Path) -> None:
    with mounted_at(tmp_path, "m", free_port(), at(free_port())) as mount:
        feed = follow(unknown_feed(), mount.path / "paul")
        wait_until(lambda: xattr(feed, "state") == "offline")
        start = time.monotonic()
        done = subprocess.run(["cat", feed], capture_output=True, timeout=WAIT_SECONDS, check=False)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"No data available" in done.stderr
        assert time.monotonic() - start < SOON_SECONDS
        assert shell(f"echo mine >> {mount.path}/journal; cat {mount.path}/journal") == "mine\n"
        assert xattr(feed, "peers") == "0"
        assert mount.said.count("\n") == 1  # that it is mounted
    assert mount.process.returncode == 0


def test_it_is_dialled_ever_more_rarely(tmp_path: Path) -> None:
    times = []
    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.settimeout(WAIT_SECONDS)
        peer = at(listener.getsockname()[1])
        with mounted_at(tmp_path, "m", free_port(), peer) as mount:
            feed = follow(unknown_feed(), mount.path / "paul")
            for _ in range(DIALS):
                listener.accept()[0].close()
                times.append(time.monotonic())
            wait_until(lambda: xattr(feed, "state") == "offline")
            assert mount.said.count("\n") == 1
    assert times[-1] - times[0] >= LEAST_SECONDS
