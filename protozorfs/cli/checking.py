"""The check of a whole store that is not mounted: which parts it has, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from protozorfs.cli.arguments import no_store
from protozorfs.errors import StoreError
from protozorfs.feeds.evidence_check import check_evidence
from protozorfs.log.feed_check import check_feed
from protozorfs.names import shown_name
from protozorfs.store.layout import feed_path
from protozorfs.store.read_only import EntryKind, ReadOnlyFiles
from protozorfs.store.store_check import (
    WRONG_KIND,
    check_directory,
    check_feeds_are_there,
    check_layout,
    check_own_files,
    check_place,
    feed_ids_of,
    known_names,
    unreadable,
)
from protozorfs.swarm.hints_check import check_contacts, check_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.store.beneath import Beneath
    from protozorfs.store.findings import Finding, Progress
    from protozorfs.types import FeedId

T = TypeVar("T")

_SIGNS = ("format", "lock", "feeds", "names", "names.db")  # of a store; it may have lost some


class StoreCheck:
    """Everything that can be checked of a store. Nothing of it is changed.

    Attributes:
        feed_ids: the feeds of which there is something, those with names first, by name.
        data_bytes: what their blocks take on the disk; about that much will be read.
    """

    def __init__(self, root: Beneath) -> None:
        """Raises UsageError: there is no store."""
        self._files = files = ReadOnlyFiles(root)
        if not any(map(files.exists, _SIGNS)):
            raise no_store(root.path)
        self._known = known_names(files)
        self._names = {
            feed_id: shown_name(row.name, feed_id) for feed_id, row in self._known.rows.items()
        }
        self.feed_ids = sorted(feed_ids_of(files), key=self._order)
        self.data_bytes = sum(map(self._data_bytes, self.feed_ids))

    def _order(self, feed_id: FeedId) -> tuple[bool, bytes]:
        name = self._names.get(feed_id)
        return name is None, name or feed_id

    def _data_bytes(self, feed_id: FeedId) -> int:
        try:
            entry = self._files.entry(f"{feed_path(feed_id)}/data")
        except (OSError, StoreError):
            return 0
        return min(entry.size, entry.allocated_bytes) if entry.kind is EntryKind.FILE else 0

    def name_of(self, feed_id: FeedId) -> bytes | None:
        """The name that a feed is shown by."""
        return self._names.get(feed_id)

    def of_store(self) -> Iterator[Finding]:
        """What is wrong with the store itself."""
        yield from check_layout(self._files)
        yield from check_own_files(self._files)
        yield from _read("dht", check_contacts(self._files), None)
        yield from check_feeds_are_there(self._files, self._known)

    def of_feed(self, feed_id: FeedId) -> Iterator[Finding | Progress]:
        """What is wrong with a feed."""
        path = feed_path(feed_id)
        found = list(_read(path, check_directory(self._files, feed_id), feed_id))
        yield from found
        if any(finding.kind is WRONG_KIND for finding in found):
            return  # nothing is to be read through a link
        yield from _read(f"{path}/place", check_place(self._files, feed_id), feed_id)
        yield from _read(f"{path}/record", check_record(self._files, feed_id), feed_id)
        yield from _read(f"{path}/evidence", check_evidence(self._files, feed_id), feed_id)
        yield from _read(path, check_feed(self._files, feed_id), feed_id)


def _read(path: str, check: Iterator[T], feed_id: FeedId | None) -> Iterator[T | Finding]:
    """What a check finds, be it that a file cannot be read."""
    try:
        yield from check
    except (OSError, StoreError) as error:
        yield unreadable(path, error, feed_id)
