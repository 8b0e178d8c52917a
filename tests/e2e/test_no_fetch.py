"""File managers, indexers and backups: nothing is fetched but what is read."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import (
    follow,
    id_of,
    number,
    owner_and_reader,
    shell,
    wait_size,
    xattr,
)
from tests.errnos import expect

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fuse

SIZE = 1_000_000
ATTRIBUTES = ("id", "length", "bytes", "local", "fork", "owned", "peers", "state")
SETTLE_SECONDS = 1.0  # in which whatever was fetched would come, on loopback


@pytest.mark.parametrize("more", [["sparse"], ["sparse", "local"]], ids=lambda more: more[-1])
def test_looking_fetches_nothing(tmp_path: Path, more: list[str]) -> None:
    with owner_and_reader(tmp_path, more=more) as (owner, reader):
        shell(f"head -c {SIZE} /dev/urandom >> {owner.path}/journal")
        feed = follow(id_of(owner.path / "journal"), reader.path / "paul")
        wait_size(feed, SIZE)
        live = reader.path / ".live" / "paul"
        shell(
            f"ls -la {reader.path} {live.parent} && stat {feed} {live} {live}@1 && "
            f"du -a {reader.path} && find {reader.path} {live.parent} -type f -newermt @0 && "
            f"cat {reader.path}/.protozorfs/status* {reader.path}/.protozorfs/feeds/*/*"
        )
        for path in (feed, live):
            assert all(xattr(path, name) for name in ATTRIBUTES)
            os.close(os.open(path, os.O_RDONLY))
            os.close(os.open(path, os.O_PATH))
        time.sleep(SETTLE_SECONDS)
        assert number(feed, "local") == 0
        if "local" in more:
            expect(errno.ENODATA, feed.read_bytes)
            expect(errno.ENODATA, live.read_bytes)
            copied = subprocess.run(
                ["cp", feed, tmp_path / "copy"], capture_output=True, check=False
            )
            assert copied.returncode == 1
            assert number(feed, "local") == 0
        else:
            shell(f"head -c 1000 {feed} > /dev/null")
            assert 0 < number(feed, "local") < SIZE
