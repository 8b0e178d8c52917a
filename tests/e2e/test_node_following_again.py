"""A feed of a Node peer that is let go and followed again on the same connection."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import follow
from tests.e2e.test_node_peers import BLOCKS, WHO_DIALS, generated, mount_beside_writer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.fuse, pytest.mark.interop]

TIMES = 3
BACK_SECONDS = 1.0


@WHO_DIALS
def test_it_is_back_within_a_second(tmp_path: Path, mount_dials: bool) -> None:
    with mount_beside_writer(tmp_path, mount_dials=mount_dials) as (mount, writer):
        path = mount.path / "paul"
        assert follow(writer.feed_id, path).read_bytes() == generated(BLOCKS)
        for _ in range(TIMES):
            path.unlink()
            start = time.monotonic()
            assert follow(writer.feed_id, path).read_bytes() == generated(BLOCKS)
            assert time.monotonic() - start < BACK_SECONDS
