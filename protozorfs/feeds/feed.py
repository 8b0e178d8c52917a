"""One open feed: where its readers, its writers and the swarm meet."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from protozorfs.errors import StoreError
from protozorfs.feeds.conflicts import Conflicts
from protozorfs.feeds.damage import tell_findings
from protozorfs.feeds.head_search import HeadSearch
from protozorfs.feeds.known_head import KnownHead
from protozorfs.feeds.reader import Reader
from protozorfs.feeds.state import state_of
from protozorfs.feeds.unshared import Unshared
from protozorfs.feeds.wants import Wants
from protozorfs.feeds.writer import Writer
from protozorfs.log.at_rest import NOTHING, read_at_rest
from protozorfs.log.feed import Log
from protozorfs.log.incoming import Applied

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.errors import InvalidProof
    from protozorfs.feeds.ports import FeedState, Surroundings
    from protozorfs.log.at_rest import AtRest
    from protozorfs.log.proof_types import Proof, Request
    from protozorfs.types import FeedId, Head

logger = logging.getLogger(__name__)


class Feed:
    """A feed that this node owns, follows or visits.

    Its log is opened when it is first needed. All methods are for the trio thread.

    Attributes:
        feed_id: its ID.
        is_owned: the secret key is here.
        is_followed: it has a name here; else it is visited, and kept only while it is read.
        mtime_ns: when it was last known to be longer than before; ns since 1970.
        peers: connected peers that have opened this feed; their names, for the status.
        handles: open handles.
        reader: answers reads, and waits for what is missing.
        writer: knows why an append was refused; see `append`.
        head_search: the search for its first head.
        conflicts: whether its key signed another history.
        unshared: whether it was made just now, and no head of it has left this machine.
    """

    def __init__(
        self,
        feed_id: FeedId,
        surroundings: Surroundings,
        *,
        is_owned: bool,
        is_followed: bool,
        created_ns: int,
        mtime_ns: int,
        made_at: float | None = None,
    ) -> None:
        """`made_at`: when its key was made, if just now: no head of it can be anywhere.

        Seconds, monotonic.
        """
        self.feed_id = feed_id
        self.is_owned = is_owned
        self.is_followed = is_followed
        self.created_ns = created_ns
        self.mtime_ns = mtime_ns
        self.wants = Wants()
        self.known_head = KnownHead()
        self.peers: set[str] = set()
        self.remote_length = 0  # the greatest length that a connected peer claims
        self.handles = 0
        self._surroundings = surroundings
        self._log: Log | None = None
        self._at_rest: AtRest | None = None  # of the log, while it is not open
        self._is_discarded = False
        self.head_search = HeadSearch()
        self.conflicts = Conflicts()
        self.unshared = Unshared(made_at)
        self.reader = Reader(self, surroundings)
        self.writer = Writer(self, surroundings, is_new=made_at is not None)

    # what is known

    @property
    def log(self) -> Log:
        """The log, opened now if it is not yet.

        Raises:
            StoreError: it cannot be opened.
        """
        if self._is_discarded:
            raise StoreError("the feed was removed")
        if self._log is None:
            self._surroundings.check_store()  # a feed without files would be an unknown one
            return self.adopt_log(Log.open(self._surroundings.directory_of(self)))
        return self._log

    def adopt_log(self, log: Log) -> Log:
        """Takes the log of the feed, just opened; returns it.

        Raises:
            OSError: the evidence beside it cannot be read now.
        """
        self.conflicts.load(log)
        self._log = log
        self._at_rest = None
        self._surroundings.room.opened(self, log)
        self.known_head.load(log)
        if log.written_ns is not None and log.length:
            self._was_written(log.written_ns)
        if log.in_doubt.segments or not log.is_recovered:
            self._surroundings.check_behind(self)
        if log.shown_head != log.head:
            # Committed by a run that was killed before it could publish: nobody may append again
            # for a long time.
            self.writer.publish()
        return log

    def has_log(self, log: Log) -> bool:
        """Whether that log is the feed's still: not after it was closed or removed."""
        return self._log is log

    @property
    def open_log(self) -> Log | None:
        """Its log, if that is open."""
        return self._log

    def needs_recovery(self) -> bool:
        """Its log has no mark of a clean stop, and is not open yet."""
        directory = self._surroundings.directory_of(self)
        return self._log is None and directory.exists() and not directory.is_marked_clean()

    @property
    def is_usable(self) -> bool:
        """Its log is open, or can be opened now; why not is logged."""
        try:
            return self.log is not None
        except (StoreError, OSError) as error:
            logger.error("feed %s cannot be opened: %s", self.feed_id.hex(), error)
            return False

    @property
    def is_head_known(self) -> bool:
        """A head is known, as far as can be told without opening the log."""
        return self._log is not None and self.length > 0

    @property
    def is_unknown(self) -> bool:
        """No head was ever seen of it: it may have any length. One of our own is always known.

        What peers claim is no knowledge, nor is their claim that there is nothing.
        """
        return not self.is_owned and self.length == 0

    @property
    def is_kept(self) -> bool:
        """There is something of it on disk, or there will be."""
        return self.is_followed or self._log is not None or self.handles > 0

    @property
    def has_files(self) -> bool:
        """There is something of it on disk, or its log is open."""
        return self._log is not None or self._surroundings.directory_of(self).exists()

    @property
    def extent(self) -> Log | AtRest:
        """How much is here, without opening a log that rests: thousands of feeds are listed by it.

        Raises:
            StoreError: the log must be opened for that, and cannot be.
        """
        if self._log is not None:
            return self._log
        if not self.is_kept:
            return NOTHING
        if self._at_rest is None:
            self._at_rest = read_at_rest(self._surroundings.directory_of(self))
        return self._at_rest or self.log

    @property
    def length(self) -> int:
        """Blocks up to the newest verified head, ours or a record's."""
        return max(self.extent.length, self.known_head.length)

    @property
    def byte_length(self) -> int:
        """Bytes up to the newest verified head, ours or a record's."""
        extent = self.extent
        return max(extent.byte_length, self.known_head.byte_length_beyond(extent) or 0)

    @property
    def held_bytes(self) -> int:
        """Bytes that are here."""
        return self.extent.held_bytes

    @property
    def fork(self) -> int:
        """The number of truncations in the history that we hold."""
        return self.extent.fork

    @property
    def published_head(self) -> Head | None:
        """The newest head that may be shown to others: durable, if it is ours (rule 1)."""
        return self.log.shown_head

    @property
    def peer_count(self) -> int:
        """Connected peers that have this feed open."""
        return len(self.peers)

    @property
    def is_whole(self) -> bool:
        """It is fetched whole, not only where it is read; while there is room for that."""
        if self.is_owned:
            return True
        around = self._surroundings
        return self.is_followed and not around.is_sparse and around.room.may_fill()

    @property
    def is_read_only(self) -> bool:
        """Nothing of it is fetched or changed."""
        return self._surroundings.is_read_only

    def may_fetch(self) -> bool:
        """False while the disk is nearly full."""
        return self._surroundings.may_fetch()

    @property
    def max_ahead_bytes(self) -> int | None:
        """How much may be fetched ahead of each reader; None: no limit but its own."""
        return self._surroundings.room.ahead_bytes

    @property
    def waiting_count(self) -> int:
        """How many readers wait for it."""
        return self.wants.waiting_count

    @property
    def state(self) -> FeedState:
        """The state in one word."""
        return state_of(self)

    def _was_written(self, time_ns: int) -> None:
        """A run that was killed has written its newest head then, and perhaps not kept the time."""
        if time_ns > self.mtime_ns:
            self.mtime_ns = time_ns
            self._surroundings.feed_grown(self)
        head = self._surroundings.directory_of(self).file("head")
        try:
            # It was written anew without being news: the file says again when the feed grew.
            head.set_modified(self.mtime_ns)
        except OSError:  # there are file systems that keep no such times
            return
        finally:
            head.close()

    # open handles

    def acquire(self) -> None:
        """A handle was opened."""
        self.handles += 1
        if self.handles == 1:
            self._surroundings.handles_changed(self)

    def release(self) -> None:
        """A handle was closed."""
        self.handles -= 1
        if self.handles == 0:
            self._surroundings.handles_changed(self)

    # writing

    async def append(self, blocks: Sequence[bytes]) -> None:
        """Appends blocks under one head, all or none; returns when they survive kill -9.

        Raises:
            NotWritable: not owned, frozen, damaged, or its newest head may be elsewhere.
            StoreFull: no space; nothing of it counts.
        """
        self._surroundings.check_open()
        await self.writer.append(blocks)
        self.mtime_ns = time.time_ns()
        self._set_grown()

    async def sync(self) -> None:
        """Returns when everything that is in the log now survives a power cut.

        Raises:
            StoreError: it could not be made durable.
        """
        if self.is_owned:
            await self.writer.sync()

    # for the swarm

    def apply_all(self, answers: Sequence[tuple[Request, Proof]]) -> list[Applied | InvalidProof]:
        """Verifies and stores answers, in order; one result for each.

        An error in the list is the answer's: InvalidProof and below. Errors of the store are
        raised.
        """
        log = self.log
        length, known_length = log.length, self.length
        room = self._surroundings.room
        added: list[int] = []
        try:
            results = log.apply_all(answers, room.maker(self))
            added += [
                result.block_index
                for result in results
                if isinstance(result, Applied) and result.block_index is not None
            ]
        finally:
            room.added(self, added)  # what could not be written whole takes space, too
        if log.length != length:
            self._has_new_head(log, known_length)
        elif added:
            self.wants.update(log, added)
            self._set_grown()
        return results

    def blocks_found(self, blocks: Sequence[int]) -> None:
        """Blocks are here that did not count as held: an unclean stop had left that unnoted."""
        self._surroundings.room.added(self, blocks)
        self.wants.update(self.log, blocks)
        self._set_grown()
        if self._surroundings.listener is not None:
            self._surroundings.listener.blocks_found(self, blocks)

    @property
    def takes_any_fork(self) -> bool:
        """No head of it was ever seen here: whatever its key signed may become our history."""
        return not (
            self.is_owned
            or self.log.length
            or self.known_head.record is not None
            or self.frozen_why
        )

    def begin_history(self, proof: Proof) -> None:
        """Begins the history that an upgrade from nothing proves; see `Log.begin_history`."""
        log, length = self.log, self.length
        log.begin_history(proof)
        self._has_new_head(log, length)

    @property
    def is_syncing(self) -> bool:
        """An owned log is being made durable: nothing can be applied to it until it is."""
        return self.is_owned and self.log.is_syncing

    def proof(self, request: Request) -> Proof:
        """The answer to a peer's request, under the head that may be shown.

        Raises:
            BlockUnavailable: the block is not held, is damaged, or not durable yet.
            InvalidRequest: there is no such proof.
        """
        log = self.log
        try:
            return log.proof(request)
        finally:
            if log.has_lost or log.has_found:
                tell_findings(self, self._surroundings)

    @property
    def is_frozen(self) -> bool:
        """Two histories of one fork are signed: nobody can say which one to fetch."""
        return self.conflicts.is_proven

    @property
    def frozen_why(self) -> str:
        """Why its state is frozen, as a part of a sentence; empty if it is not."""
        return self.conflicts.sentence

    def learn_head(self, head: Head, record: bytes) -> None:
        """A newer head than was known, with the signed record that shows it; both are kept."""
        is_news = record != self.known_head.record and head.length > self.length
        self.known_head.learn(self.log, head, record)
        if is_news:  # what an earlier run has kept was new to that one
            self.mtime_ns = time.time_ns()
        self.wants.refresh(self.log)
        self._set_grown()
        self.head_search.end()
        self.reader.notify_wants()

    # for the registry

    def close(self, *, has_time: bool = True) -> None:
        """Ends all waits, and leaves the mark of a clean stop unless there is no time to sync.

        Raises:
            StoreError, OSError: it is closed, without the mark.
        """
        self._end_waits()
        log = self._log
        if log is not None:
            self._forget_log()
            has_head = log.length > 0
            if not has_time:
                log.rest()
                return
            # Closing makes the head durable: that is no news.
            log.close(self.mtime_ns if has_head else None)

    def discard(self) -> None:
        """Ends all waits and lets go of the files, which will be removed: nothing is written."""
        self._end_waits()
        self._is_discarded = True
        self.writer.stop()
        if self._log is not None:
            self._log.rest()
            self._forget_log()

    def _end_waits(self) -> None:
        self.reader.end_waits()
        self._surroundings.feed_grown(self)

    def _forget_log(self) -> None:
        self._log = None
        self.writer.forget()

    def _has_new_head(self, log: Log, length: int) -> None:
        """`length`: how many blocks were known of before. A record may have shown the head."""
        if log.length > length:
            self.mtime_ns = time.time_ns()
        self.wants.refresh(log)
        self._set_grown()

    def _set_grown(self) -> None:
        self.reader.grown()
        self._surroundings.feed_grown(self)
