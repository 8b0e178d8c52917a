"""Space set aside, so that feeds can be removed when the disk is full.

To remove a name takes space before its feed gives any back: SQLite writes its journal first.
"""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING

from protozorfs import crypto
from protozorfs.errors import StoreFull

if TYPE_CHECKING:
    from protozorfs.store.files import File, Files

SPARE_FILE = "spare"
SPARE_BYTES = 128 * 1024  # a journal of some pages of 4 KiB; more, for what file systems add

logger = logging.getLogger(__name__)


class Spare:
    """The file that takes the space. Its bytes are random: none that a file system could save."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def keep(self) -> None:
        """Makes the file if it is not whole; where there is no space now, a later call may."""
        try:
            with closing(self._files.open(SPARE_FILE, create=True)) as file:
                if file.size() < SPARE_BYTES:
                    self._fill(file)
        except StoreFull:
            logger.info("no space is left to be set aside")

    def give_up(self) -> bool:
        """Gives the space back to the disk; False if there was none."""
        with closing(self._files.open(SPARE_FILE, create=True)) as file:
            size = file.size()
            file.truncate(0)
        return size > 0

    def _fill(self, file: File) -> None:
        try:
            file.pwrite(crypto.random_bytes(SPARE_BYTES), 0)
        except StoreFull:
            file.truncate(0)  # what little there is is for appends
            raise
