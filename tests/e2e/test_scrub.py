"""A mount with `scrub`: what rots in silence is found, and a kill in the middle only costs time."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.stage import free_port, id_of, options, wait_until, xattr
from tests.errnos import expect
from tests.mounts import is_listed, mounted, start_mount, unmount

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mounts import Mount

pytestmark = [pytest.mark.fuse, pytest.mark.crash]

BLOCK_BYTES = 65536
STEP_BYTES = 1 << 20  # that are read again at one time
BLOCKS = 3 * STEP_BYTES // BLOCK_BYTES
ROTTEN = BLOCKS - 5  # in the last step
SLOW, FAST = "scrub=64K", "scrub=1G"  # sixteen seconds of rest after a step, and hardly any


def rot(mount: Mount, feed_id: str) -> None:
    """Turns a bit of a block that nobody will read."""
    path = mount.store / "feeds" / feed_id[:2] / feed_id / "data"
    with path.open("r+b") as file:
        file.seek(ROTTEN * BLOCK_BYTES + 77)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 8]))


def scrub_of(mount: Mount) -> dict[str, Any]:
    status = json.loads((mount.path / ".protozorfs" / "status.json").read_text())
    scrub = status["scrub"]
    assert isinstance(scrub, dict)
    return scrub


def said(mount: Mount) -> str:
    """The line of the status."""
    (line,) = re.findall(
        r"^scrub +(.*)$", (mount.path / ".protozorfs" / "status").read_text(), re.M
    )
    return str(line)


def read_block(feed: Path, index: int) -> bytes:
    with feed.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), BLOCK_BYTES, index * BLOCK_BYTES)


def append(feed: Path) -> None:
    with feed.open("ab", buffering=0) as file:
        file.write(b"more")


def test_a_mount_finds_what_nobody_reads_and_begins_anew_after_a_kill(tmp_path: Path) -> None:
    settings = options(free_port())
    with mounted(tmp_path, "-o", settings) as mount:
        feed = mount.path / "journal"
        with feed.open("ab", buffering=0) as file:
            for index in range(BLOCKS):
                file.write(bytes([index]) * BLOCK_BYTES)
        feed_id = id_of(feed).hex()
    rot(mount, feed_id)
    with ExitStack() as stack:
        stack.callback(lambda: is_listed(tmp_path / "m") and unmount(tmp_path / "m", "-z"))
        mount = start_mount(tmp_path, "-o", f"{settings},{SLOW}")
        stack.callback(mount.abort)
        wait_until(lambda: scrub_of(mount)["now"]["bytes"] == STEP_BYTES)
        assert said(mount).startswith("1 of about 3 MB, ")
        assert said(mount).endswith(" MB/s, feeds left: 1, damaged blocks: 0")
        assert xattr(feed, "state") == "owned"
        mount.process.send_signal(signal.SIGKILL)
        mount.process.wait()
        with mounted(tmp_path, "-o", f"{settings},{FAST}") as mount:
            wait_until(lambda: scrub_of(mount)["now"] is None)
            # What the killed run had read is read again: nothing of it was kept.
            assert scrub_of(mount)["last"]["bytes"] == 3 * STEP_BYTES
            found = "0.0 h ago: 3 MB of 1 feeds, damaged blocks: 1"
            assert said(mount).startswith(f"the last one ended {found}; the next one begins in ")
            assert xattr(feed, "state") == "damaged"
            assert feed_id in (mount.path / ".protozorfs" / "log").read_text()
            expect(errno.EIO, partial(read_block, feed, ROTTEN))
            assert read_block(feed, ROTTEN + 1) == bytes([ROTTEN + 1]) * BLOCK_BYTES
            expect(errno.EROFS, partial(append, feed))
