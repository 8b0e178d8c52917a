"""Readahead of bytes that are missing is declined, so that whoever reads waits in person.

Readahead fills the page cache in the background: the kernel hands out a dozen such READs at a time,
no signal ends them, and their pages stay locked when the reader is long dead. If one fails, nobody
is told: the kernel reads what is needed again, a page (folio) at a time and in the name of the
reader, whose signals end that. Source: Linux mm/filemap.c (filemap_update_page), fs/fuse/file.c
(fuse_readahead, fuse_read_folio).
"""

from __future__ import annotations

from collections import deque

PAGE_BYTES = 4096
_MAX_DECLINED = 64  # ranges that are remembered for a feed; the kernel reads them again at once


class Readahead:
    """What of one inode's readahead was declined."""

    def __init__(self) -> None:
        self._declined: deque[tuple[int, int]] = deque(maxlen=_MAX_DECLINED)

    def declines(self, offset: int, size: int) -> bool:
        """Whether a READ for the page cache, of missing bytes, is to fail: readahead can.

        A single page never is: it may be what a reader needs (a fault with MADV_RANDOM has no
        readahead). Nor is what follows a READ that was declined, in its range: the reader's own, on
        kernels with folios of several pages.
        """
        for one in self._declined:
            start, end = one
            if start <= offset < end:
                if offset + size >= end:
                    self._declined.remove(one)
                return False
        if size <= PAGE_BYTES:
            return False
        self._declined.append((offset, offset + size))
        return True

    def forget(self) -> None:
        """The kernel drops its pages, so that what was declined may come anew."""
        self._declined.clear()
