"""The names and settings of a store: the files `names` and `names.copy` (name_records.py).

Every change is one record. It is appended to the first file and synced, then to the second and
synced, before the call returns. So at every moment one of them is whole up to the last change that
returned, and a damaged record of one is found in the other. It counts when both have got it: a
change that is refused has to be taken out of one of them only.

A file is made whole again by writing it anew: as another file that takes its place, or, where the
disk has no space for one, over itself as long as the other is whole. That happens at the start of
a run whose predecessor did not end both, and after a sync that failed: such a sync is never
repeated, since the kernel takes for written what it could not write. Until both files are whole,
names take no changes.

One caller at a time; not always the same thread, so that slow syncs can be moved to one.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from protozorfs.errors import DecodeError, NameTaken, NoSuchFeed, StoreCorrupt, StoreFull
from protozorfs.names import check_file_name
from protozorfs.store.files import parent_of, write_new
from protozorfs.store.name_records import (
    END,
    RECORD_BYTES,
    Known,
    NameRow,
    encode_records,
    feed_change,
    gone_change,
    merge,
    removed_change,
    setting_change,
    times_changes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from protozorfs.store.files import File, Files
    from protozorfs.store.name_records import Change
    from protozorfs.types import FeedId

NAMES_FILE = "names"
COPY_FILE = "names.copy"
PAGE_BYTES = 4096  # what a disk that cannot read refuses at least
# A log is begun anew when it has so many records more than it needs, and twice as many as that.
MIN_STALE_RECORDS = 256
BEGIN_SPACE_BYTES = 1 << 20  # left free beside both new files: not on a disk that is nearly full

logger = logging.getLogger(__name__)


class Names:
    """The names and settings of a store. They are kept in memory: lookups read no file.

    Attributes:
        is_complete: nothing that was kept is missing. Else some feeds may have lost their names,
            and nothing may be concluded from a name that is not there.
    """

    def __init__(
        self,
        files: Files,
        known: Known | None = None,
        were_made: Callable[[], None] = lambda: None,
    ) -> None:
        """Reads both files, and makes each whole that is not, if there is space.

        Args:
            files: of the store.
            known: what there is to be kept instead, if the files are yet to be made: from a store
                of version 0.1.0.
            were_made: called when they are, before the first change. Only then may the store say
                that its names are in these files, and on a full disk that is later than here.

        Raises:
            StoreCorrupt: they were made by a newer version.
        """
        self._files = files
        self._were_made = were_made
        self._is_made = known is None
        self._copies = [_Copy(files, NAMES_FILE), _Copy(files, COPY_FILE)]
        contents = [copy.read() for copy in self._copies]
        try:
            found = merge(*contents) if known is None else merge(b"", b"")
        except DecodeError as error:
            raise StoreCorrupt(NAMES_FILE, 0, str(error)) from error
        self._known = found.known if known is None else known
        self._by_name = {row.name: row for row in self._known.rows.values()}
        self._next_sequence = found.next_sequence
        self._record_count = len(found.content or b"") // RECORD_BYTES
        self._has_changed = False
        self._gone: list[FeedId] = []  # forgotten, and not yet said in the files
        # Of an earlier run, whose last sync may have failed: the first one of this run covers it.
        self._unsure_end = (found.content or b"")[-RECORD_BYTES:] if found.has_ended else b""
        self.is_complete = self._known.is_complete
        if not self.is_complete:
            logger.warning(
                "records of names are damaged in both %s and %s: feeds whose names are lost are"
                " shown by their IDs (mv gives them names again); nothing of them was removed",
                NAMES_FILE,
                COPY_FILE,
            )
        if known is None and not any(contents):  # a new store
            return
        content = found.content if known is None else None
        for copy, held in zip(self._copies, contents, strict=True):
            copy.is_whole = held == content
            copy.is_durable = copy.is_whole and found.has_ended
            if content is not None and not copy.is_whole:
                logger.warning("the store's file %s is written anew from the other", copy.path)
        if not self._are_durable:
            try:
                self._mend(content)
            except (StoreFull, OSError) as error:
                logger.warning("names take no changes yet: %s", error)

    # what is known

    def all(self) -> list[NameRow]:
        """Every name, sorted."""
        return [self._by_name[name] for name in sorted(self._by_name)]

    def by_name(self, name: bytes) -> NameRow | None:
        """The row of a name."""
        return self._by_name.get(name)

    def by_feed_id(self, feed_id: FeedId) -> NameRow | None:
        """The row of a feed, if it has a name."""
        return self._known.rows.get(feed_id)

    def is_removed(self, feed_id: FeedId) -> bool:
        """Whether the feed's name was removed on purpose, and its files were to go with it."""
        return self.is_complete and feed_id in self._known.removed

    def removals(self) -> list[FeedId]:
        """The feeds of which `is_removed` may be true."""
        return list(self._known.removed)

    def setting(self, name: str) -> int | str | None:
        """A remembered setting, such as "port"."""
        return self._known.settings.get(name)

    def check_free(self, name: bytes) -> None:
        """Returns if a feed may have that name.

        Raises:
            NameTaken: another one has it.
            InvalidName: not a name that a file can have.
        """
        check_file_name(name)
        if name in self._by_name:
            raise NameTaken("there is a feed of that name")

    # what changes it

    def add(self, row: NameRow) -> None:
        """Adds a name; durable on return.

        Raises:
            NameTaken: the name is in use, or the feed has a name.
            InvalidName: not a name that a file can have.
            StoreFull: no space left.
            OSError: the disk fails. As with StoreFull, nothing has changed.
        """
        self.check_free(row.name)
        known = self._known.rows.get(row.feed_id)
        if known is not None:
            raise NameTaken(f"this feed is here already, as {_shown(known.name)}")
        self._change([feed_change(row)])
        self._keep(row)

    def rename(self, old: bytes, new: bytes) -> NameRow:
        """Gives a feed another name; durable on return. Returns the new row.

        Raises:
            NoSuchFeed: there is no `old`.
            NameTaken, InvalidName, StoreFull, OSError: as for `add`.
        """
        row = self._row(old)
        self.check_free(new)
        row = row._replace(name=new)
        self._change([feed_change(row)])
        del self._by_name[old]
        self._keep(row)
        return row

    def remove(self, name: bytes) -> NameRow:
        """Removes a name; durable on return. Returns what it was.

        From then on the feed's files are to go; see `is_removed` and `forget`.

        Raises:
            NoSuchFeed
            StoreFull, OSError: as for `add`.
        """
        row = self._row(name)
        self._change([removed_change(row.feed_id)])
        del self._by_name[name]
        del self._known.rows[row.feed_id]
        self._known.removed[row.feed_id] = None
        return row

    def forget(self, feed_id: FeedId) -> None:
        """The files of a feed without a name are gone, durably: there is nothing left to finish.

        It is written with the next change, or by `close`: a feed of that ID that is put back later,
        out of a backup, must stay.
        """
        if feed_id in self._known.removed:
            del self._known.removed[feed_id]
            self._gone.append(feed_id)

    def set_mtimes(self, mtimes: Iterable[tuple[FeedId, int]]) -> None:
        """Remembers when feeds grew; feeds without a name are left out.

        Raises:
            StoreFull, OSError: as for `add`.
        """
        rows = self._known.rows
        times = [
            (feed_id, mtime_ns)
            for feed_id, mtime_ns in mtimes
            if feed_id in rows and rows[feed_id].mtime_ns != mtime_ns
        ]
        if not times:
            return
        self._change(times_changes(times))
        for feed_id, mtime_ns in times:
            self._keep(rows[feed_id]._replace(mtime_ns=mtime_ns))

    def set_setting(self, name: str, value: int | str) -> None:
        """Remembers a setting; durable on return.

        Raises:
            StoreFull, OSError: as for `add`.
        """
        self._change([setting_change(name, value)])
        self._known.settings[name] = value

    def close(self) -> None:
        """Ends both files, if this run has changed them, and closes them.

        What a change that was refused has left in one of them goes, if that could not be done then.
        """
        if self._has_changed or self._gone:
            try:
                self._make_durable()
                self._append([END])
            except (StoreFull, OSError) as error:  # the next run writes them anew, that is all
                logger.warning("the names of the store were not left cleanly: %s", error)
        self.close_as_is()

    def close_as_is(self) -> None:
        """Closes both files without writing."""
        for copy in self._copies:
            copy.close()

    def _keep(self, row: NameRow) -> None:
        self._by_name[row.name] = row
        self._known.rows[row.feed_id] = row
        self._known.removed.pop(row.feed_id, None)

    def _row(self, name: bytes) -> NameRow:
        row = self._by_name.get(name)
        if row is None:
            raise NoSuchFeed("no feed of that name")
        return row

    # the files

    @property
    def _are_durable(self) -> bool:
        return self._is_made and all(copy.is_durable for copy in self._copies)

    def _change(self, changes: Sequence[Change]) -> None:
        """Makes changes durable in both files; after an error in none."""
        self._make_durable()
        self._begin_anew_if_long()
        try:
            self._append(changes)
        except StoreFull:
            if not self._are_durable:  # what is left of the change goes with the file that has it
                with suppress(StoreFull, OSError):
                    self._mend(self._whole_content())
            raise
        except OSError as error:
            # Once: each file is another one then, with nothing that a failed sync has lost.
            logger.warning("the names of the store are written anew: %s", error)
            self._mend(self._whole_content())
            self._append(changes)

    def _make_durable(self) -> None:
        """Returns when both files are whole, and no power cut takes anything of them.

        Raises:
            StoreFull, OSError: one of them could not be written.
        """
        is_first, self._has_changed = not self._has_changed, True
        if is_first and self._are_durable:
            # A run that was killed may have put one in its place, whole and ended as the other.
            try:
                self._files.sync_dir(parent_of(NAMES_FILE))
            except (StoreFull, OSError) as error:
                logger.warning("the files of names are written anew: %s", error)
                for copy in self._copies:
                    copy.lose_name()
        if not self._are_durable:
            self._mend(self._whole_content())

    def _append(self, changes: Sequence[Change]) -> None:
        changes = [*map(gone_change, self._gone), *changes]
        data = self._unsure_end + encode_records(changes, self._next_sequence)
        size = self._record_count * RECORD_BYTES
        try:
            for copy in self._copies:
                copy.append(data, size - len(self._unsure_end))
        except BaseException:
            for copy in self._copies:
                copy.cut(size)
            raise
        self._record_count += len(changes)
        self._next_sequence += len(changes)
        self._unsure_end = b""
        self._gone.clear()

    def _mend(self, content: bytes | None) -> None:
        """Makes both files hold `content`, durably; None: what is known, as a log begun anew.

        Raises:
            StoreFull, OSError: one of them could not be written.
        """
        if content is None:
            # No record that a failed call may have left has one of these numbers.
            self._next_sequence += len(self._known.rows) + RECORD_BYTES
            changes = self._known.changes()
            content = encode_records(changes, self._next_sequence)
            self._next_sequence += len(changes)
            self._unsure_end = b""
            for copy in self._copies:
                copy.is_durable = False
        self._record_count = len(content) // RECORD_BYTES
        # A file that is not whole first: until it is, the other must stay as it is.
        for copy in sorted(self._copies, key=lambda copy: copy.is_whole):
            if not copy.is_durable:
                copy.renew(content, may_overwrite=any(other.is_whole for other in self._copies))
        self._has_changed = True
        if not self._is_made:
            self._were_made()
            self._is_made = True

    def _whole_content(self) -> bytes | None:
        """What a durable file holds, if it is whole when it is read."""
        size = self._record_count * RECORD_BYTES
        for copy in self._copies:
            if copy.is_durable:
                content = copy.read()[:size]
                found = merge(content, b"")
                if len(content) == size and found.content == content:
                    return content
        return None

    def _begin_anew_if_long(self) -> None:
        needed = 1 + len(self._known.rows) + len(self._known.settings) + len(self._known.removed)
        if self._record_count < 2 * needed + MIN_STALE_RECORDS:
            return
        if self._files.free_space().free_bytes < BEGIN_SPACE_BYTES + 2 * needed * RECORD_BYTES:
            return
        try:
            self._mend(None)
        except (StoreFull, OSError) as error:
            logger.warning("the names of the store could not be written anew: %s", error)
            self._mend(self._whole_content())


class _Copy:
    """One of the two files.

    Attributes:
        path: of it.
        is_whole: it holds all that counts.
        is_durable: that was synced by this run, or by one that has ended it.
    """

    def __init__(self, files: Files, path: str) -> None:
        self._files = files
        self._file: File | None = None
        self._has_lost_name = False  # it stands in the place of another file, not durably
        self.path = path
        self.is_whole = False
        self.is_durable = False

    def read(self) -> bytes:
        """All bytes of it, zeros for those that cannot be read; none if it is missing."""
        try:
            return self._files.read(self.path)
        except FileNotFoundError:
            return b""
        except OSError as error:
            logger.warning("the store's file %s cannot be read: %s", self.path, error)
        try:
            file = self._files.open(self.path)
        except OSError:
            return b""
        try:
            return b"".join(_page(file, at) for at in range(0, file.size(), PAGE_BYTES))
        finally:
            file.close()

    def append(self, data: bytes, size: int) -> None:
        """Writes behind the first `size` bytes; durable on return."""
        file = self._opened()
        file.pwrite(data, size)
        self.is_whole = self.is_durable = False  # should the sync fail
        file.fdatasync()
        self.is_whole = self.is_durable = True

    def cut(self, size: int) -> None:
        """Takes back what an `append` wrote; if that fails, the file is to be written anew."""
        if self._file is None:
            return
        was_whole, was_durable = self.is_whole, self.is_durable
        self.is_whole = self.is_durable = False
        try:
            if self._file.size() > size:
                self._file.truncate(size)
                self._file.fdatasync()
        except (StoreFull, OSError) as error:
            logger.warning("the store's file %s could not be cut: %s", self.path, error)
        else:
            self.is_whole, self.is_durable = was_whole, was_durable

    def renew(self, content: bytes, *, may_overwrite: bool) -> None:
        """Makes it hold that, durably.

        Args:
            content: all that it is to hold.
            may_overwrite: where there is no space for another file, this one is written over: a
                power cut may leave it torn.

        Raises:
            StoreFull, OSError
        """
        self.close()
        self.is_durable = False
        try:
            write_new(self._files, self.path, content)
        except StoreFull:
            with suppress(OSError):
                self._files.remove(f"{self.path}.new")
            if self._has_lost_name or not may_overwrite:
                raise
            self._overwrite(content)
        # Written over or not: a file that this run or a killed one has made may not keep its name.
        self._has_lost_name = True  # should the sync fail: a power cut brings the old file back
        self._files.sync_dir(parent_of(self.path))
        self._has_lost_name = False
        self.is_whole = self.is_durable = True

    def lose_name(self) -> None:
        """The directory could not be synced: the file is to be another one."""
        self.is_durable = False
        self._has_lost_name = True

    def close(self) -> None:
        """Closes the file; it is opened again when it is needed."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _overwrite(self, content: bytes) -> None:
        file = self._opened()
        file.pwrite(content, 0)
        file.truncate(len(content))
        self.is_whole = False
        file.fdatasync()

    def _opened(self) -> File:
        if self._file is None:
            self._file = self._files.open(self.path, create=True)
        return self._file


def _page(file: File, offset: int) -> bytes:
    size = min(PAGE_BYTES, file.size() - offset)
    try:
        return file.pread(size, offset).ljust(size, b"\0")
    except OSError:
        return bytes(size)


def _shown(name: bytes) -> str:
    return name.decode(errors="backslashreplace")
