"""Space set aside, so that feeds can be removed when the disk is full.

To remove a name takes space before its feed gives any back: the removal is a record. On btrfs that
is some 100 KiB, since both files of names may have to be written anew, and what is freed can be
used only after the next commit of the whole file system. Who fills the disk may take it before us,
so there is more than one piece.
"""

from __future__ import annotations

import logging
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from protozorfs import crypto
from protozorfs.errors import StoreFull

if TYPE_CHECKING:
    from protozorfs.store.files import Files

SPARE_FILE = "spare"
PIECE_BYTES = 128 * 1024  # what one removal may take
SPARE_BYTES = 8 * PIECE_BYTES

logger = logging.getLogger(__name__)


class Spare:
    """The file that takes the space. Its bytes are random: none that a file system could save."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def keep(self) -> None:
        """Makes the file whole, as far as there is space; a later call may find more."""
        try:
            with closing(self._files.open(SPARE_FILE, create=True)) as file:
                size = file.size() // PIECE_BYTES * PIECE_BYTES
                try:
                    while size < SPARE_BYTES:
                        file.pwrite(crypto.random_bytes(PIECE_BYTES), size)
                        size += PIECE_BYTES
                except StoreFull:
                    file.truncate(size)  # what little there is is for appends
                    raise
        except StoreFull:
            logger.info("no space is left to be set aside")

    def give_up(self) -> bool:
        """Gives one piece back to the disk; False if there was none."""
        with closing(self._files.open(SPARE_FILE, create=True)) as file:
            size = file.size()
            if size:
                file.truncate((size - 1) // PIECE_BYTES * PIECE_BYTES)
        if size:
            with suppress(OSError, StoreFull):
                self._files.sync_all()
        return size > 0
