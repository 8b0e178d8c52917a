"""One feed on disk, as it changes: append, apply what peers prove, sync, drop, close.

Used by one thread; only `PendingSync.run` may be called in another. All calls block, for local
files only.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from protozorfs.errors import (
    InvalidProof,
    LocalProtocolError,
    NotWritable,
    StoreError,
    StoreFull,
)
from protozorfs.ids import public_key_of
from protozorfs.log import seek
from protozorfs.log.at_rest import AtRest, encode_at_rest
from protozorfs.log.bitfield import Bitfield
from protozorfs.log.changeset import append_blocks
from protozorfs.log.check_steps import (
    MAX_STEP_BLOCKS,
    CheckStep,
    ProgressSync,
    wrong_or_unreadable,
)
from protozorfs.log.claim import fold_notes
from protozorfs.log.doubt import DoubtCheck, known_leaves
from protozorfs.log.files import files_gone
from protozorfs.log.hashing import unsigned_head
from protozorfs.log.held_file import CHECKSUM_BYTES, encode_held
from protozorfs.log.held_log import Change, Note
from protozorfs.log.incoming import PAGE_BYTES, Applied, VerifiedBatch, runs_of, verify_batch
from protozorfs.log.opening import Opened, open_files
from protozorfs.log.proof_types import Proof, Request, UpgradeRequest
from protozorfs.log.reading import ReadableLog
from protozorfs.log.recovery import Recovery
from protozorfs.log.resting import PendingRest
from protozorfs.log.scrub_steps import ScrubStep
from protozorfs.log.seek import Located
from protozorfs.log.sync import PendingSync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from protozorfs.store import FeedDirectory
    from protozorfs.types import Head


# Less free space than this is too little for a recovery: it is not tried.
RECOVERY_BYTES = 16 * 1024

logger = logging.getLogger(__name__)


class Log(ReadableLog):
    """An open feed, owned or followed. Make one with `create` or `open`."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self._pending_sync: PendingSync | None = None
        self._must_rewrite = False  # a sync found no space: what it covered is written again first
        self._has_leavings = False  # of a change that failed, behind the end of the files
        self._noted_end = 0  # of own blocks that were to be brought back, perhaps for nothing
        # Of what a recovery cut off. Before an append a sync must take it off the disk, too.
        self._has_unsynced_cut = opened.has_unsynced_cut
        self._changes = 0  # of blocks held, that a step of a check does not know of
        self._doubt = DoubtCheck(self._in_doubt, self._nodes, self._data)
        self._on_disk: FeedDirectory | None = None  # where it is to be recovered before a change
        if opened.has_unsynced_cut and self._data.size() < self._byte_length:
            self._lose_what_was_cut_off(self._data.size())

    @classmethod
    def create(cls, directory: FeedDirectory, seed: bytes | None = None) -> Log:
        """Makes the files of a feed; they, and the key, are durable on return.

        Args:
            directory: the feed's; `feed_id` must be the public key of `seed`.
            seed: 32 bytes, for a feed to be owned; None to follow one.
        """
        directory.make(seed)
        return cls._opened(directory, is_just_made=True)

    @classmethod
    def open(cls, directory: FeedDirectory) -> Log:
        """Opens a feed, however large it is and however the last run ended, in a short time.

        Only what an owner appended and did not sync before a kill is looked at first. A followed
        feed need not have files: they are made by the first write.

        Where there is no space for what recovery has to write, it is done in memory: the feed can
        be read, and `recover`, each change and `close` try the recovery again first.

        Raises:
            StoreCorrupt: the secret key is not the feed's.
        """
        return cls._opened(directory)

    @classmethod
    def _opened(cls, directory: FeedDirectory, *, is_just_made: bool = False) -> Log:
        try:
            return cls(open_files(directory, is_just_made=is_just_made))
        except StoreFull as error:
            logger.warning("%s is read without being recovered: %s", directory.path, error)
        log = cls(open_files(directory.in_memory()))
        log._on_disk = directory
        return log

    @property
    def is_recovered(self) -> bool:
        """What was recovered at opening is on the disk, not only in memory for want of space."""
        return self._on_disk is None

    def recover(self) -> None:
        """Has the recovery written for which there was no space; every change begins with this.

        What was in doubt when the feed was opened is so again, as far as it was checked in memory.

        Raises:
            StoreFull: there is still none.
            StoreError, OSError: as for `open`.
        """
        directory = self._on_disk
        if directory is None:
            return
        if directory.files.free_space().free_bytes < RECOVERY_BYTES:
            raise StoreFull("no space left to recover the feed")
        opened = open_files(directory)
        self._files.close()
        changes = self._changes
        Log.__init__(self, opened)  # it finds what was found in memory
        self._changes = changes + 1  # a step of a check that is under way is of the files before

    def append(self, blocks: Sequence[bytes]) -> Head:
        """`commit`, and the signed head."""
        self.commit(blocks)
        assert self.head is not None
        return self.head

    def commit(self, blocks: Sequence[bytes]) -> None:
        """Appends blocks under one head, all or none; they survive the end of the process.

        The head is signed when somebody asks for it, at the latest when it is made durable: nobody
        else sees it before, and the signature would be a third of the cost of a small append.

        Raises:
            NotWritable: the feed is not owned.
            StoreFull, OSError: nothing was appended.
            StoreCorrupt: the tree is too damaged to go on from.
        """
        self.recover()
        if self._key_pair is None:
            raise NotWritable("the feed is not owned: its secret key is elsewhere")
        if not blocks:
            raise ValueError("an append needs a block")
        self._check_has_tree()
        files, state = self._files, self._state
        files.before_write()
        files.keep_key(self._key_pair)
        if self._has_leavings or self._has_unsynced_cut:
            self._remove_leavings()
        change = append_blocks(state, blocks)
        head = unsigned_head(change.roots, change.length, state.fork)
        try:
            self._data.pwritev(blocks, self._byte_length)
            self._nodes.put(change.new_nodes)
            self._nodes.flush()
            files.heads.write_signed(head)
        except BaseException as error:
            self._nodes.discard()
            self._has_leavings = True
            if isinstance(error, StoreFull):
                self._data.truncate(self._byte_length)  # what was written takes space, too
            raise
        self._nodes.commit()
        files.sums.add(self._byte_length, blocks)
        self._held.set_range(state.length, change.length)
        self._held_bytes += change.byte_length - self._byte_length
        self._state = state._replace(length=change.length, roots=change.roots)
        self._byte_length = change.byte_length
        self._head = head
        self._update_contiguous()

    def check_present(self) -> None:
        """Returns if an append would stay: the file of the blocks is what it was.

        One system call; all files are looked at when the append is made durable.

        Raises:
            StoreGone
        """
        if not self._data.is_there(self._byte_length):
            raise files_gone()

    def _remove_leavings(self) -> None:
        """Removes what a failed change left behind the end, durably.

        After a power cut its blocks could stand where later ones were lost, and would fit. So would
        those of a refused append behind an older head of more blocks, if the newest were lost.
        """
        files = self._files
        if self._noted_end > self.length:
            self._note(Note(Change.CUT, self.length, self._noted_end))
        self._noted_end = 0
        if self._must_rewrite:
            self._rewrite()
        self._nodes.flush()
        self._data.truncate(self._byte_length)
        try:
            files.sync(self._data)
            files.sync(files.tree)
            files.sync(files.heads.file)
        except StoreFull:
            self._must_rewrite = True
            raise
        self._nodes.commit()
        self._has_leavings = self._has_unsynced_cut = False

    @property
    def is_syncing(self) -> bool:
        """Between `begin_sync` and `end_sync`."""
        return self._pending_sync is not None

    def begin_sync(self) -> PendingSync:
        """Starts to make the present head durable.

        Call `run` of what is returned, in a thread if you like, then `end_sync` in this one,
        whatever came of it. Appends may go on meanwhile; they are not covered.

        Raises:
            LocalProtocolError: the sync before has not ended.
            StoreError: an earlier sync failed. Whether later ones succeed says nothing; the feed
                must be opened again by a later run, which checks what there is.
            StoreGone: somebody has deleted or replaced the files.
            StoreFull, OSError: nothing was synced, and it may be tried again.
        """
        if self._pending_sync is not None:
            raise LocalProtocolError("a sync of this feed is under way")
        self.recover()
        files = self._files
        files.check_syncs()
        head = None if self.head == self._durable_head else self.head
        if head is not None:
            if self.is_owned:
                is_whole = self._contiguous_length == self.length
                files.check_present(self._byte_length if is_whole else 0)
            files.before_write()
            if self._must_rewrite:
                self._rewrite()
        self._pending_sync = PendingSync(files.syncs, head, files.data, files.tree, files.heads)
        return self._pending_sync

    def _rewrite(self) -> None:
        """Writes again what a sync had no space for: the system forgets what it failed to write."""
        head = self.head
        if head is not None:
            recovery = Recovery(self._files, public_key_of(self.feed_id))
            if not recovery.rewrite(self._durable_head, head):
                self._files.directory.sync_failed()
                self._files.check_syncs()
            self._files.heads.write_signed(head)
        self._must_rewrite = False

    def end_sync(self) -> Head | None:
        """Ends what `begin_sync` started; returns the newest durable head."""
        pending, self._pending_sync = self._pending_sync, None
        if pending is None:
            raise LocalProtocolError("no sync of this feed is under way")
        pending.release()
        if pending.is_done:
            if pending.head is not None:
                self._durable_head = pending.head
                self._has_unsynced_cut = False
        elif pending.is_full:
            self._must_rewrite = True
        return self._durable_head

    def sync(self) -> Head | None:
        """`begin_sync`, `run` and `end_sync` in one, here; returns the durable head."""
        pending = self.begin_sync()
        try:
            pending.run()
        finally:
            self.end_sync()
        return self._durable_head

    def apply(self, request: Request, proof: Proof) -> Applied:
        """Verifies one answer and stores what it proves.

        Raises:
            InvalidProof: the answer proves nothing; nothing was stored.
            StoreFull, OSError: as for `apply_all`.
        """
        (result,) = self.apply_all([(request, proof)])
        if isinstance(result, InvalidProof):
            raise result
        return result

    def apply_all(
        self,
        pairs: Iterable[tuple[Request, Proof]],
        make_room: Callable[[int], None] | None = None,
    ) -> list[Applied | InvalidProof]:
        """Verifies answers in order and stores what the good ones prove.

        Returns one result for each: an `InvalidProof` is for the peer that sent it, and the
        others count all the same. Before any block is written, `make_room` is called with the
        bytes of disk that all of them may take; it may `drop` others of this log.

        Raises:
            StoreFull, OSError: none of them counts; `make_room` may raise StoreFull, too.
            LocalProtocolError: the feed is owned, and a sync of it is under way.
        """
        self.recover()
        self._check_has_tree()
        if self.is_owned and self._pending_sync is not None:
            raise LocalProtocolError("an owned feed takes no answers while it is synced")
        try:
            batch = verify_batch(self._state, self._nodes, pairs)
            if batch.head is not None or batch.blocks or self._nodes.dirty_pages:
                self._store(batch, make_room)
        except BaseException:
            self._nodes.discard()
            self._has_leavings = self._has_leavings or self.is_owned
            raise
        if batch.head is not None and self.is_owned:
            # Our own history, brought back: to lose it again could mean to sign another one.
            self.sync()
        return batch.results

    def begin_history(self, proof: Proof) -> None:
        """Begins the history, of whatever fork, that an upgrade from nothing proves.

        Only a followed feed of which nothing is here can; from then on that fork is its own.

        Raises:
            InvalidProof: it proves nothing.
            StoreFull, OSError: nothing was begun.
            LocalProtocolError: the feed is owned, or has a head.
        """
        if self.is_owned or self.length:
            raise LocalProtocolError("the feed has a history of its own")
        if proof.upgrade is None:
            raise InvalidProof("not an upgrade from nothing")
        before = self._state
        self._state = before._replace(fork=proof.fork)
        request = Request(upgrade=UpgradeRequest(0, proof.upgrade.length))
        try:
            self.apply(request, Proof(proof.fork, upgrade=proof.upgrade))
        except BaseException:
            self._state = before
            raise

    def _store(self, batch: VerifiedBatch, make_room: Callable[[int], None] | None) -> None:
        """Blocks, then nodes, then the head: nothing counts before what it rests on."""
        self._files.before_write()
        held, roots = self._held, batch.state.roots
        new = {
            block.block_index: block for block in batch.blocks if not held.get(block.block_index)
        }
        runs = list(runs_of(new.values(), lambda i: seek.block_span(self._nodes, roots, i)[0]))
        if make_room is not None and runs:
            make_room(sum(run.allocated_bytes for run in runs))
        notes = [Note(Change.HELD, run.start, run.end, run.size) for run in runs]
        if self.is_owned and batch.head is not None:
            notes.insert(0, Note(Change.LOST, self.length, batch.head.length))
            self._noted_end = max(self._noted_end, batch.head.length)
        try:
            self._note(*notes)
            for run in runs:
                self._data.pwritev(run.values, run.offset)
            self._nodes.flush()
            if batch.head is not None:
                self._files.heads.write_signed(batch.head)
        except Exception:
            for run in runs:
                self._note_finding(Change.LOST, run.start, run.end, run.size)
            raise
        if batch.head is not None:
            self._head = batch.head
            self._state = batch.state
            self._byte_length = batch.head.byte_length
        self._nodes.commit()
        self._changes += 1
        for run in runs:
            held.set_range(run.start, run.end)
            size = run.size
            self._held_bytes += size
            self._unchecked.discard(run.offset, run.offset + size)
            self._files.sums.add(run.offset, run.values)
        self._update_contiguous()
        if self._contiguous_length == self.length:
            self._is_damaged = False  # others brought back what was lost

    def _note(self, *notes: Note) -> None:
        """Notes what is about to happen to blocks, for the time after a kill.

        Raises:
            StoreFull, OSError: then it must not happen.
        """
        files = self._files
        if not files.held_log.has_room(len(notes)):
            fold_notes(files, self._held_blocks(), is_owned=self.is_owned)
        for note in notes:
            files.held_log.note(*note)

    # the check behind an unclean stop

    @property
    def in_doubt(self) -> Bitfield:
        """The blocks that are yet to be checked behind an unclean stop; not to be changed."""
        return self._in_doubt

    def begin_check(self) -> CheckStep | None:
        """The next blocks that are to be checked behind an unclean stop; None if none are left.

        Call `run` of what is returned, in a thread if you like, then `end_check` in this one.

        Raises:
            OSError
        """
        found = self._doubt.next(self._state.roots, self._state.length, self._changes)
        if found is None:
            return None
        for start, end in found.unreachable:
            self._lose(start, end)
        return found.step

    def end_check(self, step: CheckStep) -> None:
        """Takes what came of a step that has run; `take_lost` and `take_found` tell what."""
        step.release()
        if self._nodes.has_lost:
            self._lose_unreachable()
        for finding in self._doubt.findings(step, self._held, self._changes):
            leaf = finding.leaf
            if finding.is_here:
                self._find(leaf.block_index, leaf.size)
            else:
                self._lose(leaf.block_index, leaf.block_index + 1)
        self._doubt.end(step)

    @property
    def has_progress(self) -> bool:
        """Something was checked that is not kept yet."""
        return self._doubt.has_progress

    def check_in_doubt(self) -> None:
        """Checks here and now what an unclean stop has left. Raises OSError."""
        while (step := self.begin_check()) is not None:
            step.run()
            self.end_check(step)

    def begin_progress(self) -> ProgressSync:
        """Starts to keep what was checked, over kills and power cuts.

        Call `run` of what is returned, in a thread if you like, then `end_progress` in this one.

        Raises:
            StoreError: an earlier sync failed.
            OSError: nothing was begun.
        """
        files = self._files
        files.check_syncs()
        return ProgressSync(
            files.syncs, files.directory, (files.data, files.tree, files.held_log.file)
        )

    def end_progress(self, progress: ProgressSync) -> None:
        """Ends what `begin_progress` started.

        Raises:
            StoreError, OSError: it cannot be noted.
        """
        progress.release()
        if progress.is_full:
            self._files.directory.sync_failed()
        if progress.is_done:
            self._note_checked()

    def _note_checked(self) -> None:
        for note in self._doubt.progress():
            self._note(note)

    # reading again what is held

    def begin_scrub(self, start: int, end: int) -> ScrubStep | None:
        """The next held ones of blocks `[start, end)`, to be read again; None if there are none.

        Call `run` of what is returned, in a thread if you like, then `end_scrub` in this one; the
        next step begins where that one ended. Nothing is written where nothing is wrong.

        Raises:
            OSError
        """
        end = min(end, self._state.length)
        first = self._held.first_set(start, end) if start < end else None
        if first is None:
            return None
        held = list(self._held.ranges(first, min(end, first + MAX_STEP_BLOCKS)))
        return ScrubStep(self._data, self._files.tree, self._state.roots, held)

    def end_scrub(self, step: ScrubStep) -> int:
        """Takes what came of a step that has run; `take_lost` tells of the blocks that are wrong.

        Returns how many nodes of the tree were wrong on the disk, and are made good.

        Raises:
            OSError: the tree cannot be read.
        """
        step.release()
        mended = self._look_again(step.pages) if step.pages else 0
        for block_index in sorted(step.wrong):
            if not self._held.get(block_index):  # dropped meanwhile, or lost with its way
                continue
            leaves = known_leaves(self._nodes, self._state.roots, block_index, block_index + 1)
            if not leaves or wrong_or_unreadable(self._data, leaves):
                self._lose(block_index, block_index + 1)
        return mended

    def _look_again(self, pages: Iterable[int]) -> int:
        mended = self._nodes.look_again(pages, self._state.roots)
        if self._nodes.has_lost:
            self._lose_unreachable()
        # Without space they are right in memory, and the next write of the feed writes them.
        with suppress(StoreError, OSError):
            self._write_mended()
        return mended

    def _write_mended(self) -> None:
        """Writes nodes that are right in memory only: on the disk they were found wrong."""
        if self._nodes.dirty_pages:
            self._files.before_write()
            self._nodes.flush()
            self._nodes.commit()

    def drop(self, start: int, end: int) -> None:
        """Gives the space of blocks [start, end) back; their tree nodes stay.

        A page of the disk comes free with the last held block in it.

        Raises:
            LocalProtocolError: the feed is owned.
        """
        if self.is_owned:
            raise LocalProtocolError("the blocks of an owned feed cannot be fetched again")
        self.recover()
        for first, last in self.held_runs(start, min(end, self._state.length)):
            self._files.before_write()
            first_byte, last_byte = self.block_span(first)[0], self.block_span(last - 1)[1]
            self._note(Note(Change.LOST, first, last, last_byte - first_byte))
            self._changes += 1
            self._forget(first, last, last_byte - first_byte)
            self._free(first_byte, last_byte)

    def drop_leavings(self) -> None:
        """Gives the space back of everything that is no held block: what a kill left behind.

        Only of a followed feed; of an owned one, an append removes it.
        """
        if self.is_owned:
            raise LocalProtocolError("what is in an owned feed's file is needed to recover it")
        end_of_last = 0
        for first, last in self.held_runs(0, self._state.length):
            self._free(end_of_last, self.block_span(first)[0])
            end_of_last = self.block_span(last - 1)[1]
        self._free(end_of_last, max(self._data.size(), self._byte_length))

    def _free(self, start: int, end: int) -> None:
        """Punches a hole, widened to whole pages where nothing held is in the rest of them."""
        if start >= end:
            return
        page_start, page_end = start // PAGE_BYTES * PAGE_BYTES, -(-end // PAGE_BYTES) * PAGE_BYTES
        if not self._holds_any(page_start, start):
            start = page_start
        if not self._holds_any(end, min(page_end, self._byte_length)):
            end = page_end
        self._data.punch_hole(start, end - start)

    def _holds_any(self, start: int, end: int) -> bool:
        """Whether a byte of [start, end) is held. Below an unknown node nothing can be."""
        if start >= end:
            return False
        first, last = self.locate(start), self.locate(end - 1)
        first_block = first.block_index if isinstance(first, Located) else first.first_block
        end_block = (
            last.block_index + 1
            if isinstance(last, Located)
            else last.first_block + last.block_count
        )
        return any(
            self.block_span(one)[0] < self.block_span(other - 1)[1]  # empty blocks take no space
            for one, other in self._held.ranges(first_block, end_block)
        )

    def rest(self) -> None:
        """Gives memory and descriptors back that only an active feed needs."""
        self._files.close()

    def begin_rest(self) -> PendingRest | None:
        """Starts to mark the files clean while they are open; None if that cannot be now.

        Call `run` of what is returned, in a thread if you like, then `end_rest` in this one.

        Raises:
            StoreFull, OSError: nothing was begun.
        """
        files = self._files
        is_unmarked = files.is_made and not files.is_marked_clean
        is_settled = (
            self._pending_sync is None
            and self.head == self._durable_head
            and self._state.length == self.length
            and not (self._has_leavings or self._has_unsynced_cut or self._must_rewrite)
            and not self._in_doubt.segments
        )
        is_safe = self.is_recovered and not files.directory.has_failed_sync
        if not (is_unmarked and is_settled and is_safe and self._is_head_there()):
            return None
        self._write_mended()
        return PendingRest(
            files.syncs,
            files.directory,
            (files.data, files.tree, files.heads.file),
            held=encode_held(self._held_blocks()),
            mark=encode_at_rest(self._at_rest()),
            is_place_synced=files.is_place_synced,
            writes=files.writes,
        )

    def end_rest(self, rest: PendingRest) -> None:
        """Ends what `begin_rest` started: the files are marked, if nothing was written meanwhile.

        Raises:
            StoreFull, OSError: they are not marked.
        """
        rest.release()
        files = self._files
        if rest.is_full:
            files.directory.sync_failed()
        if not rest.is_held_kept:
            return
        files.held_base = rest.held[:CHECKSUM_BYTES]
        if rest.is_done and rest.writes == files.writes:
            files.place_mark()
        else:  # what came since is noted behind another file than the one that is there now
            in_doubt = Bitfield()
            in_doubt.set_range(0, self.length)
            files.renew_held(self._held_blocks(in_doubt))

    @property
    def writes(self) -> int:
        """How often something was about to be written to its files in this run."""
        return self._files.writes

    def displacement(self) -> str:
        """Why an owned feed may be a copy of another one, or restored from one; empty if not.

        Raises:
            OSError: that cannot be told now.
        """
        return self._files.displacement()

    def settle(self) -> None:
        """Takes the files for the feed's own from now on: nothing newer is elsewhere.

        Raises:
            StoreFull, OSError
        """
        self.recover()
        self._files.settle()

    def close(self, modified_ns: int | None = None) -> None:
        """Syncs, marks the files clean and closes them. A second call does nothing.

        As long as something is in doubt since an unclean stop, there is no mark: the next run goes
        on with the check. Nor is there one beside a head of which not even the roots are here.

        `modified_ns`: what the file `head` is to say of when it was written, if this run wrote.

        Raises:
            StoreFull, OSError: they are closed without the mark; the next start checks them.
        """
        try:
            self.recover()
            files = self._files
            has_failed = files.directory.has_failed_sync
            can_be_clean = not has_failed and self._state.length == self.length
            if can_be_clean and files.is_made and not files.is_marked_clean:
                if self._has_leavings or self._has_unsynced_cut:
                    self._remove_leavings()
                self._nodes.flush()  # old nodes, over those of answers that could not be stored
                self.sync()
                files.sync(self._data)  # blocks that came since the head that is durable
                files.sync(files.tree)
                # Of length 0 there is no durable head: what takes a lost append back may be new.
                files.sync(files.heads.file)
                is_to_be_checked = bool(self._in_doubt.segments) or not self._is_head_there()
                try:
                    if modified_ns is not None:
                        files.heads.file.set_modified(modified_ns)
                finally:  # there are file systems that keep no such times
                    if is_to_be_checked:
                        self._note_checked()
                        files.sync_notes()
                    else:
                        files.mark_clean(self._held_blocks(), self._at_rest())
            files.sync_mark()  # one that was placed while the feed was open
        finally:
            self._files.close()

    def _is_head_there(self) -> bool:
        """Whether the newest head in the file is this feed's: it is what the next run opens.

        Of a followed feed it may be one whose roots were lost, or one that failed to be written.
        """
        return self._files.heads.newest_length() == self.length

    def keep_beside(self, name: str, content: bytes) -> None:
        """Replaces a file that is kept beside the log; durable on return."""
        self.recover()
        self._files.replace(name, content)

    def _at_rest(self) -> AtRest:
        return AtRest(
            fork=self.fork,
            length=self.length,
            byte_length=self.byte_length,
            held_bytes=self._held_bytes,
            contiguous_length=self._contiguous_length,
            damaged=self._is_damaged,
        )
