"""Copies of what is cut off although it may belong to the feed: a head that covered it was lost."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING

from protozorfs.log.format import NODE_BYTES

if TYPE_CHECKING:
    from protozorfs.log.files import LogFiles

CHUNK_BYTES = 1 << 20

logger = logging.getLogger(__name__)


def keep_aside(files: LogFiles, length: int, byte_length: int) -> None:
    """Copies what data and tree have behind so many blocks, durably, before it is cut off.

    The copies are named after what they are of and the byte at which they begin: `data.400.cut`.

    Raises:
        StoreFull, OSError: then nothing may be cut off.
    """
    for name, file, start in (
        ("data", files.data, byte_length),
        ("tree", files.tree, max(0, 2 * length - 1) * NODE_BYTES),
    ):
        size = file.size()
        if size <= start:
            continue
        directory = files.directory
        path = f"{directory.path}/{name}.{start}.cut"
        with closing(directory.files.open(path, create=True)) as copy:
            for at in range(start, size, CHUNK_BYTES):
                copy.pwrite(file.pread(min(CHUNK_BYTES, size - at), at), at - start)
            copy.truncate(size - start)
            copy.fdatasync()
        directory.sync()
        logger.error(
            "feed %s is damaged, or was replaced by an older state: %d bytes that may belong to it"
            " are cut off, and kept in %s",
            directory.feed_id.hex(),
            size - start,
            path,
        )
