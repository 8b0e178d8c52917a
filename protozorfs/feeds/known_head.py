"""The newest head that a feed's key has signed, as far as was ever seen here.

A record of the DHT may show a head before any peer gives its blocks. It is kept on disk, and never
gives way to an older one: whoever stores records can roll them back, a signature cannot.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from protozorfs.errors import StoreError

if TYPE_CHECKING:
    from protozorfs.log.at_rest import AtRest
    from protozorfs.log.feed import Log
    from protozorfs.types import Head

FILE_NAME = "record"

logger = logging.getLogger(__name__)


class KnownHead:
    """What records have shown of one feed.

    Attributes:
        record: the bytes of the newest record, as the swarm gave them; None if there is none.
        head: what it shows, once the swarm has verified it in this run.
    """

    def __init__(self) -> None:
        self.record: bytes | None = None
        self.head: Head | None = None

    @property
    def length(self) -> int:
        """Blocks of the head."""
        return self.head.length if self.head is not None else 0

    def byte_length_beyond(self, extent: Log | AtRest) -> int | None:
        """The byte length of the head, if it is longer than what is here."""
        if self.head is None or self.head.length <= extent.length:
            return None
        return self.head.byte_length

    def load(self, log: Log) -> None:
        """Reads what is kept. It counts when the swarm has verified it."""
        try:
            self.record = log.directory.files.read(f"{log.directory.path}/{FILE_NAME}")
        except FileNotFoundError:
            self.record = None

    def learn(self, log: Log, head: Head, record: bytes) -> None:
        """Takes a head that is newer than the one known, and keeps its record.

        Where that cannot be, as on a full disk, it counts in this run.
        """
        self.head = head
        if record == self.record:
            return
        self.record = record
        try:
            log.keep_beside(FILE_NAME, record)
        except (StoreError, OSError) as error:
            logger.error("the record of feed %s cannot be kept: %s", log.feed_id.hex(), error)
