"""Where things are in a store.

STORE/                          owner-only
    format                      "protozorfs store 2\n"
    lock                        held while a process has the store open
    node_key                    32 bytes: the seed of the node's own key
    node_key.copy               the same and its checksum
    node_key_place              what tells the store from a copy of it, which gets a key of its own
    inodes                      what inode numbers are derived with
    dht                         ids and contacts of the DHT
    spare                       takes 1 MiB, so that feeds can be removed from a full disk
    names  names.copy           names and settings, twice; what is damaged in one is in the other
    stale.db                    image of a SQLite database: peers of earlier runs
    feeds/<2 hex>/<64 hex>/     one directory per feed, by its ID
        data                    blocks at their byte offsets; holes where some are missing
        tree                    40-byte nodes at their flat-tree index
        head                    four slots, each twice in a page of its own
        bitfield                which blocks are here; written when the feed is marked clean
        bitfield.log            what has changed of that since
        sums  tree_sums         checksums of what was verified of data and tree, to check it fast
        secret  secret.copy     32 bytes, owned feeds only: the seed of the feed's key, twice
        place                   owned feeds only: what tells this store from a copy of it
        clean                   exists while the files above are known to agree; says what they hold
        visited                 the feed was only read by its ID: all of it goes when that is over
"""

from __future__ import annotations

import logging
import os
import re
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from protozorfs import descriptors
from protozorfs.errors import NotRemovable, StoreCorrupt, StoreFull, StoreRefused
from protozorfs.store.files import RealFiles, parent_of
from protozorfs.store.format import is_old_format, open_names
from protozorfs.store.keys import (
    load_or_make_key_pair,
    mend_feed_seed,
    read_feed_key,
    write_new_seed,
)
from protozorfs.store.known_peers import KnownPeers
from protozorfs.store.left import LEFT_FILES, decode_left, encode_left, is_as_left
from protozorfs.store.lock import SharedLock, StoreLock
from protozorfs.store.making import FEEDS, StoreDirectory
from protozorfs.store.overlay import OverlayFiles
from protozorfs.store.placement import PLACED_WITH_FEED, PLACED_WITH_NODE, Placement
from protozorfs.store.pool import FilePool, PooledFile
from protozorfs.store.spare import Spare
from protozorfs.store.unwritable import StoreToRead, check_not_denied
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from pathlib import Path
    from types import TracebackType

    from protozorfs.crypto import KeyPair
    from protozorfs.store.files import Files, FreeSpace

FEED_FILES = ("data", "tree", "head")  # made with their directory, so that one sync covers them
CLEAN_FILE = "clean"
PREPARED_MARK = "clean.new"  # replacing one makes such a file, too
HELD_FILE = "bitfield"
HELD_LOG_FILE = "bitfield.log"
VISITED_FILE = "visited"
MEMORY_POOL_FILES = 4  # one feed's
SECRET_FILES = ("secret", "secret.copy")
# An interrupted removal loses no key, and is gone on with.
_REMOVED_LAST = (*SECRET_FILES, VISITED_FILE)
# Of an owned feed whose making did not get to its secret, or lost that in a power cut.
_OF_A_MAKING = frozenset({"place", "place.new", *(f"{name}.new" for name in SECRET_FILES)})
# All that there may be of a feed of which the mark says everything. A record counts only when it
# was verified in this run.
PLAIN_FILES = frozenset(
    {*FEED_FILES, CLEAN_FILE, HELD_FILE, HELD_LOG_FILE, *SECRET_FILES}
    | {"sums", "tree_sums", "place", "record"}
)
_FEED_ID = re.compile("[0-9a-f]{64}")  # as the directory of a feed is called

logger = logging.getLogger(__name__)


class FeedDirectory:
    """The files of one feed. Making one of these touches nothing."""

    def __init__(self, pool: FilePool, feed_id: FeedId, visited: Container[FeedId] = ()) -> None:
        """`visited`: the feeds that are only read by their IDs now."""
        self._visited = visited
        self.pool = pool
        self.feed_id = feed_id
        self.path = feed_path(feed_id)

    @property
    def files(self) -> Files:
        """The port below."""
        return self.pool.files

    def file(self, name: str, closed: Callable[[], None] | None = None) -> PooledFile:
        """One of the feed's files; see `FilePool.file`."""
        return self.pool.file(f"{self.path}/{name}", closed)

    def in_memory(self) -> FeedDirectory:
        """The same files as they are now; what is changed in these is in memory only."""
        pool = FilePool(OverlayFiles(self.files), MEMORY_POOL_FILES)
        return FeedDirectory(pool, self.feed_id, self._visited)

    def apart(self) -> FeedDirectory:
        """The same files, for another thread to use until its pool joins this one's."""
        return FeedDirectory(self.pool.apart(), self.feed_id, self._visited)

    def exists(self) -> bool:
        """Whether the feed has files here."""
        return self.files.exists(self.path)

    def make(self, seed: bytes | None = None) -> None:
        """Makes the directory, of an owned feed with its secret; durable on return.

        The secret comes first: without one, what a kill leaves would be a followed feed.
        """
        self.mkdir()
        if seed is not None:
            write_new_seed(self.files, f"{self.path}/secret", seed)
        self.make_files()
        if seed is not None:
            self._placement.begin()
        self.sync_place()

    def make_files(self) -> None:
        """Makes those files of the feed that are not there; durable with `sync_place`."""
        for name in FEED_FILES:
            self.files.open(f"{self.path}/{name}", create=True).close()

    def mkdir(self) -> None:
        """Makes the directory, empty; until `sync_place` a power cut may take all of it away."""
        for path in (FEEDS, self._bucket, self.path):
            self.files.mkdir(path)
        if self.feed_id in self._visited:
            self.files.open(f"{self.path}/{VISITED_FILE}", create=True).close()

    def is_owned(self) -> bool:
        """Whether there is a secret key, whole or not, or was: then `secret` says what is lost."""
        return any(self.files.exists(f"{self.path}/{name}") for name in (*SECRET_FILES, "place"))

    def is_marked_visited(self) -> bool:
        """Whether it was made for a feed without a name, on purpose."""
        return self.files.exists(f"{self.path}/{VISITED_FILE}")

    def holds_nothing(self) -> bool:
        """Whether there is a directory, and nothing in it but what the cut-off making of an owned
        feed has left: no key, and not one byte of the feed."""
        if not self.exists():
            return False
        names = set(self.files.listdir(self.path))
        if not names:
            return True
        if not names & _OF_A_MAKING or not names <= _OF_A_MAKING | set(FEED_FILES):
            return False
        return not any(self._size(name) for name in names.intersection(FEED_FILES))

    def _size(self, name: str) -> int:
        with closing(self.files.open(f"{self.path}/{name}")) as file:
            return file.size()

    def unmark_visited(self) -> None:
        """The feed has a name now; durable on return."""
        if self.is_marked_visited():
            self.files.remove(f"{self.path}/{VISITED_FILE}")
            self.sync()

    def sync(self) -> None:
        """Makes the names in it durable. For any thread.

        Raises:
            StoreFull: they are not durable yet. File systems keep names that they found no space
                for in memory, and may be asked again.
            OSError: nothing is written to the feed any more.
        """
        with self._final_unless_full():
            self.files.sync_dir(self.path)

    @contextmanager
    def _final_unless_full(self) -> Iterator[None]:
        try:
            yield
        except StoreFull:
            raise
        except BaseException:
            self.sync_failed()
            raise

    def sync_place(self) -> None:
        """Makes it durable that there is such a directory, with all that is in it.

        Raises:
            StoreFull, OSError: as for `sync`.
        """
        with self._final_unless_full():
            self.files.sync_dir(self.path)
            self.files.sync_dir(self._bucket)
            for path in (self._bucket, FEEDS):  # which are never removed: once in a run
                if not self.pool.is_durable(path):
                    self.files.sync_dir(parent_of(path))
                    self.pool.note_durable(path)

    @property
    def _bucket(self) -> str:
        return self.path.rpartition("/")[0]

    def secret(self) -> KeyPair | None:
        """The feed's key pair, if it is owned.

        Raises:
            StoreCorrupt: it is damaged or missing, and so is its copy. What was our own is never
                taken for somebody else's: of that, what is not signed is dropped.
        """
        path = f"{self.path}/secret"
        pair = read_feed_key(self.files, path, self.feed_id)
        if pair is None and self.is_owned():
            raise StoreCorrupt(path, 0, "it is missing, and so is its copy: put a backup there")
        return pair

    def mend_secret(self, pair: KeyPair, *, is_in_place: bool) -> None:
        """Makes both files of the key whole, durably.

        Args:
            pair: the feed's.
            is_in_place: `displacement` was empty; it stays so.

        Raises:
            StoreFull, OSError
        """
        if mend_feed_seed(self.files, f"{self.path}/secret", pair) and is_in_place:
            self.keep_place()

    def displacement(self) -> str:
        """Why an owned feed's files may not be where and as this store left them: a sentence.

        Empty if they are. Else the store may be a copy, or was restored from one.

        Raises:
            OSError: that cannot be told now.
        """
        return self._placement.displacement() or self.changes_since_clean()

    def keep_place(self) -> None:
        """Takes the place where they are now for theirs; durable on return."""
        self._placement.keep()

    def forget_place(self) -> None:
        """The feed is not in its place, until `keep_place`; durable once its directory is."""
        self._placement.forget()

    def adopt(self) -> None:
        """Takes the files as they are for those of this store.

        A mark of a clean stop that they disagree with goes: they are checked when they are opened.
        """
        if self.changes_since_clean():
            self.unmark_clean()
        self.keep_place()

    @property
    def _placement(self) -> Placement:
        return Placement(self.files, f"{self.path}/place", f"{self.path}/", PLACED_WITH_FEED)

    def changes_since_clean(self) -> str:
        """What else has changed files that the mark of a clean stop covers: a sentence, or empty.

        Then the mark is not of the files that stand beside it, as after a restore over it.

        Raises:
            OSError: that cannot be told now.
        """
        try:
            left = decode_left(self.files.read(f"{self.path}/{CLEAN_FILE}"))
            for name, file in zip(LEFT_FILES, left, strict=False):  # an old mark says nothing
                if not is_as_left(file, self.files.stamp(f"{self.path}/{name}")):
                    return f"its file {name!r} was changed after the last clean stop"
        except FileNotFoundError:  # not clean, or `displacement` has told what is missing
            return ""
        return ""

    def is_marked_clean(self) -> bool:
        """Whether the files are known to agree with one another."""
        return self.files.exists(f"{self.path}/{CLEAN_FILE}")

    def mark_clean(self, content: bytes) -> None:
        """Says that they do, what they hold (`content`), and how they were left.

        Everything else must be synced before, and nothing of it changed after.
        """
        self.files.replace(f"{self.path}/{CLEAN_FILE}", content + self._left())

    def _left(self) -> bytes:
        with suppress(FileNotFoundError):  # of a followed feed some may not be made yet
            return encode_left([self.files.stamp(f"{self.path}/{name}") for name in LEFT_FILES])
        return b""

    def prepare_mark(self, content: bytes) -> None:
        """As `mark_clean`, but beside its place; durable but for its name. For any thread."""
        with closing(self.files.open(f"{self.path}/{PREPARED_MARK}", create=True)) as file:
            file.truncate(0)
            file.pwrite(content + self._left(), 0)
            file.fdatasync()

    def place_mark(self) -> None:
        """What was prepared counts from now on; after a power cut perhaps not."""
        self.files.rename(f"{self.path}/{PREPARED_MARK}", f"{self.path}/{CLEAN_FILE}")

    def unmark_clean(self) -> None:
        """Takes that back; must return before the first write of a run.

        Raises:
            StoreFull, OSError: as for `sync`.
        """
        with suppress(FileNotFoundError):  # no space was found only for making that durable
            self.files.remove(f"{self.path}/{CLEAN_FILE}")
        self.sync()

    def sync_failed(self) -> None:
        """A sync of one of the feed's files failed: this run must not write to them any more."""
        self.pool.distrust(self.path)

    @property
    def has_failed_sync(self) -> bool:
        """Whether one did."""
        return self.pool.is_distrusted(self.path)

    def sync_removal(self) -> None:
        """Makes it durable that there is no such directory. Raises StoreFull, OSError."""
        with suppress(FileNotFoundError):  # there never was one
            self.files.sync_dir(self._bucket)

    def remove(self) -> None:
        """Removes the feed's files, durably; what must be known of an interrupted removal last."""
        names = self.files.listdir(self.path)
        last = [name for name in names if name in _REMOVED_LAST]
        for name in names:
            if name not in last:
                self.files.remove(f"{self.path}/{name}")
        if last:
            self.sync()  # not every file system keeps the order of removals
        for name in last:
            self.files.remove(f"{self.path}/{name}")
        self.files.rmdir(self.path)
        self.sync_removal()


def feed_path(feed_id: FeedId) -> str:
    """The directory of a feed, relative to the store."""
    digits = feed_id.hex()
    return f"{FEEDS}/{digits[:2]}/{digits}"


class Store:
    """An open store: its lock, node key, names, remembered peers and feed directories.

    `close` it, or use it as a context manager.
    """

    def __init__(
        self,
        path: Path,
        *,
        mount_point: str | None = None,
        adopts: bool = False,
        is_read_only: bool = False,
    ) -> None:
        """Opens a store; makes it if it is missing.

        Args:
            path: the directory.
            mount_point: what to tell others that find the store locked.
            adopts: it keeps its node's key wherever it is; see `adopt`.
            is_read_only: nothing is written into it, and what this run changes is in memory only:
                no head of it may be published. None is made.

        Of a store that is made and cannot be opened then, nothing stays.

        Raises:
            StoreLocked: it is open elsewhere.
            StoreRefused: it is another user's, or could be exchanged by one.
            StoreCorrupt: the node key cannot be read, or the names are of a newer version.
            StoreFull: it could not be made.
            UsageError: the path is something else than a store, or cannot be written to.
        """
        self.path = path
        self.is_read_only = is_read_only
        self._visited: set[FeedId] = set()
        self._directory = StoreToRead(path) if is_read_only else StoreDirectory(path)
        self.lock = self._take_lock(mount_point)
        try:
            self._directory.made_lock()
            files = RealFiles(self._directory.root, is_read_only=is_read_only)
            self._open(OverlayFiles(files) if is_read_only else files, adopts=adopts)
        except BaseException:
            self._give_up()
            raise

    def _take_lock(self, mount_point: str | None) -> StoreLock | SharedLock:
        try:
            if self.is_read_only:
                return SharedLock(self._directory.root)
            return StoreLock(self._directory.root, mount_point)
        except BaseException as error:
            self._directory.undo(has_lock=False)
            self._directory.close()
            check_not_denied(self.path, error)
            raise

    def _open(self, files: Files, *, adopts: bool) -> None:
        """Opens what is in it, in the order in which a new store is made."""
        self.files = files
        is_old = is_old_format(files, self.path)
        self.pool = FilePool(files, descriptors.feed_files())
        files.mkdir(FEEDS)
        self._node_placement = Placement(files, "node_key_place", "", PLACED_WITH_NODE)
        self.node_key, self.is_new_node = load_or_make_key_pair(
            files, "node_key", self._node_placement, adopts=adopts or self.is_read_only
        )
        self.names = open_names(files, self.path, is_old=is_old)
        self._spare = Spare(files)
        try:
            if not self.is_read_only:
                self._spare.keep()
            self.known_peers = KnownPeers(files)
        except BaseException:
            self.names.close_as_is()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def feed(self, feed_id: FeedId) -> FeedDirectory:
        """The directory of a feed, whether it exists or not."""
        return FeedDirectory(self.pool, feed_id, self._visited)

    def feeds(self) -> Iterator[FeedDirectory]:
        """Every feed directory there is, named or not. What else lies there is passed over."""
        for bucket in self.files.listdir(FEEDS):
            try:
                names = self.files.listdir(f"{FEEDS}/{bucket}")
            except (NotADirectoryError, StoreRefused):
                logger.warning("passed over: %s/%s/%s is no directory", self.path, FEEDS, bucket)
                continue
            for digits in names:
                if _FEED_ID.fullmatch(digits) and digits.startswith(bucket):
                    yield self.feed(FeedId(bytes.fromhex(digits)))
                else:
                    where = f"{self.path}/{FEEDS}/{bucket}"
                    logger.warning("passed over: %s/%s is no feed's", where, digits)

    def displaced(self) -> dict[FeedId, str]:
        """The owned feeds that may not be where and as this store left them, and why."""
        found = {}
        for directory in self.feeds():
            if directory.is_owned():
                why = directory.displacement()
                if why:
                    found[directory.feed_id] = why
        return found

    def adopt(self, but: Container[FeedId] = ()) -> None:
        """Takes all feeds `but` some for this store's, where and as they are: the user says so.

        The node's key is this store's in any case. No log may be open. Raises StoreFull.
        """
        for feed_id in self.displaced():
            if feed_id not in but:
                self.feed(feed_id).adopt()
        self._node_placement.keep()

    def begin_visit(self, feed_id: FeedId) -> None:
        """From now on a directory that is made for the feed is marked as one that may go."""
        self._visited.add(feed_id)

    def end_visit(self, feed_id: FeedId) -> None:
        """The feed has a name now: a directory that is made for it is not marked any more.

        One that is there already still is; see `FeedDirectory.unmark_visited`.
        """
        self._visited.discard(feed_id)

    def may_remove(self, feed_id: FeedId) -> bool:
        """Whether a feed's files are to go: it has no name, and that is on purpose.

        Nothing is concluded from a name that is not there: the file that had it may be damaged.
        """
        if self.names.by_feed_id(feed_id) is not None:
            return False
        directory = self.feed(feed_id)
        is_visited = directory.is_marked_visited() and not directory.is_owned()
        return is_visited or self.names.is_removed(feed_id)

    def remove_name(self, name: bytes) -> None:
        """Removes a feed's name, on a full disk, too; durable on return. Its files are next.

        Raises:
            NoSuchFeed
            StoreFull: there is not even the space that was set aside.
        """
        while True:
            try:
                self.names.remove(name)
            except StoreFull:
                if not self._spare.give_up():
                    raise
            else:
                return

    def remove_feed(self, feed_id: FeedId, *, with_secret: bool = False) -> None:
        """Removes a feed's files, if there are any; its name must be gone.

        Raises:
            NotRemovable: it is owned and `with_secret` is not set.
        """
        directory = self.feed(feed_id)
        if not with_secret and directory.is_owned():
            raise NotRemovable("the feed is owned: its key would be lost")
        if directory.exists():
            directory.remove()
        self._visited.discard(feed_id)
        self.names.forget(feed_id)
        self._spare.keep()

    def forget_removals(self) -> None:
        """Forgets the removals that were ended: a feed may be put back where one was removed.

        Raises StoreFull, OSError.
        """
        for feed_id in self.names.removals():
            directory = self.feed(feed_id)
            if not directory.exists():
                directory.sync_removal()
                self.names.forget(feed_id)

    def is_deleted(self) -> bool:
        """Whether the lock, as with it all that was in the store, was deleted or replaced."""
        return self.lock.is_removed()

    def is_replaced(self) -> bool:
        """Whether something else is where the store was. It may block as long as the path does."""
        here = os.fstat(self._directory.root.descriptor)
        try:
            there = os.stat(self.path)
        except OSError:  # moved away: what is written stays in it
            return False
        return not os.path.samestat(here, there)

    def free_space(self) -> FreeSpace:
        """What is left on the file system."""
        return self.files.free_space()

    def statvfs(self) -> os.statvfs_result:
        """The file system that the store is on, as `df` is told."""
        return os.statvfs(self._directory.root.descriptor)

    def close(self) -> None:
        """Closes everything and gives the lock back. Logs must be closed before."""
        self.known_peers.close()
        self.pool.close()
        self.names.close()
        self.lock.release()
        self._directory.close()

    def close_failed(self) -> None:
        """As `close`; and removes a store that this run has made and that holds no feed.

        A feed of which nothing has come is nowhere but among the names.
        """
        if self.names.all():
            self.close()
            return
        self.known_peers.close()
        self.names.close_as_is()
        self._give_up()

    def _give_up(self) -> None:
        # With the lock: nobody else takes it for a store meanwhile.
        self._directory.undo(has_lock=True)
        self.lock.release()
        self._directory.close()
