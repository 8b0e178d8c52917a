"""The files of one feed, and what must be done before they are written to, and after."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from protozorfs.errors import StoreError, StoreGone
from protozorfs.log.at_rest import encode_at_rest
from protozorfs.log.head_store import HeadStore
from protozorfs.log.held_file import CHECKSUM_BYTES, encode_held
from protozorfs.log.held_log import NO_BASE, HeldLog
from protozorfs.log.node_store import PAGE_BYTES, NodeStore
from protozorfs.log.sums import PIECE_BYTES, SUM_BYTES, DataSums, SumFile
from protozorfs.log.sync import FileSyncs
from protozorfs.store.layout import HELD_FILE, HELD_LOG_FILE

if TYPE_CHECKING:
    from protozorfs.crypto import KeyPair
    from protozorfs.log.at_rest import AtRest
    from protozorfs.log.held_file import HeldBlocks
    from protozorfs.store import FeedDirectory, File


logger = logging.getLogger(__name__)


def files_gone() -> StoreGone:
    """What appends to a feed say whose files somebody has taken away."""
    return StoreGone(
        "its files were deleted, cut or replaced while they were in use; what is appended would be"
        " lost: unmount, put the store's files back, and mount it again"
    )


class LogFiles:
    """The files of one feed, whether there are any yet, and whether they are marked clean."""

    def __init__(
        self, directory: FeedDirectory, *, is_owned: bool, is_just_made: bool = False
    ) -> None:
        """`is_just_made`: by this run, durably, and nothing else has touched them since."""
        self.directory = directory
        self.syncs = FileSyncs(directory)
        self._is_owned = is_owned
        self._displacement: str | None = None if is_owned else ""
        self._is_place_forgotten = False  # so that what is written does not bring it back
        self.data = directory.file("data", closed=self._forget_sums)
        self.tree = directory.file("tree", closed=self._forget_pages)
        self.sums = DataSums(directory.file("sums"), self.data, directory.feed_id)
        self.tree_sums = SumFile(
            directory.file("tree_sums"),
            directory.feed_id[SUM_BYTES:],
            least=PIECE_BYTES // PAGE_BYTES,
        )
        self.nodes = NodeStore(self.tree, self.data, self.tree_sums)
        self.heads = HeadStore(directory.file("head"))
        self.held_log = HeldLog(directory.file(HELD_LOG_FILE))
        self.is_made = directory.exists()
        # The checksum of the file `bitfield`; None: that is not known, and nothing is noted.
        self.held_base = None if self.is_made else NO_BASE
        self.is_marked_clean = directory.is_marked_clean()
        self._is_mark_durable = True
        self.writes = 0  # times that something was about to be written
        self.is_place_synced = is_just_made or (self.is_made and self.is_marked_clean)
        self._was_left_unclean = self.is_made and not self.is_place_synced
        self._is_key_kept = False

    def before_write(self) -> None:
        """Takes the clean mark back, durably. Everything that writes to the log calls this first.

        Of a feed that is not in its place the record of that goes, too: a write makes the times of
        a restored file those of a written one.

        Makes the directory if there is none; not durably, since all that is lost with it can be
        fetched again. An owned feed has one from the start.

        Raises:
            StoreError: a sync failed in this run.
        """
        self.check_syncs()
        self.writes += 1
        if self.displacement() and not self._is_place_forgotten:
            self.directory.forget_place()
            self._is_place_forgotten = True
        if not self.is_made:
            self.directory.mkdir()
            self.is_made = True
            self._begin_notes()
        elif self.is_marked_clean:
            self.directory.unmark_clean()
            self.is_marked_clean = False
            self._begin_notes()
        elif self._was_left_unclean:
            # The names of the files, and that the mark is gone, may be in the cache only.
            self._sync_place()
        if self._is_owned and self.heads.must_fill:
            self.heads.fill()
            self.sync(self.heads.file)
            self.heads.confirm_fill()

    def keep_key(self, pair: KeyPair) -> None:
        """Sees to it, once in a run, that the key of an owned feed is there twice and right.

        To be called after `before_write`. Where it cannot be written, a later run does it.
        """
        if self._is_key_kept:
            return
        self._is_key_kept = True
        try:
            self.directory.mend_secret(pair, is_in_place=not self.displacement())
        except (StoreError, OSError) as error:
            logger.warning("the key in %s could not be mended: %s", self.directory.path, error)

    def _begin_notes(self) -> None:
        if self.held_base is not None:
            self.held_log.begin(self.held_base)

    def displacement(self) -> str:
        """Why an owned feed's files were not where and as the last run left them, if they were not.

        As they were before anything of this run was written: that takes away what tells it.

        Raises:
            OSError: that cannot be told now.
        """
        if self._displacement is None:
            self._displacement = self.directory.displacement()
        return self._displacement

    def settle(self) -> None:
        """Takes the files of an owned feed for its own, where and as they are."""
        self.before_write()  # the mark says how they were left before
        self.directory.keep_place()
        self._displacement = ""

    def check_present(self, byte_length: int) -> None:
        """Returns if what was written of an owned feed is still where it was.

        Args:
            byte_length: what `data` has at least.

        Raises:
            StoreGone: its files were deleted or replaced, or an older state was restored over them.
        """
        heads = self.heads.file
        if not (self.data.is_there(byte_length) and self.tree.is_there(0) and heads.is_there(0)):
            raise files_gone()

    def check_syncs(self) -> None:
        """Raises StoreError if a sync of these files failed in this run.

        Only the next start can go on from there: it checks and writes anew what was not durable.
        """
        if self.directory.has_failed_sync:
            raise StoreError(
                f"the disk failed to keep a part of {self.directory.path}:"
                " nothing more is written to it until the next start"
            )

    def sync(self, file: File) -> None:
        """See `FileSyncs.sync`."""
        self.syncs.sync(file)

    def mark_clean(self, blocks: HeldBlocks, at_rest: AtRest) -> None:
        """Keeps which blocks are held, and marks the files. All else must be synced before."""
        self._replace_held(blocks)
        self.held_log.end()
        self.directory.mark_clean(encode_at_rest(at_rest))
        self.is_marked_clean = self._is_mark_durable = True

    def sync_notes(self) -> None:
        """Returns when what was noted survives a power cut. Raises StoreFull, OSError."""
        self.held_log.sync()
        self.directory.sync()

    def place_mark(self) -> None:
        """Marks the files clean with what `PendingRest` has prepared; raises OSError if not."""
        self.directory.place_mark()
        self.is_place_synced = True
        self._is_mark_durable = False
        self.held_log.end()
        self.is_marked_clean = True

    def sync_mark(self) -> None:
        """Returns when a mark, if there is one, survives a power cut. Raises StoreFull, OSError."""
        if self.is_marked_clean and not self._is_mark_durable:
            self.directory.sync()
            self._is_mark_durable = True

    def renew_held(self, blocks: HeldBlocks) -> None:
        """Keeps which blocks are held, and begins anew to note what changes.

        Raises:
            StoreFull, OSError: if anything is noted, then as before.
        """
        self._replace_held(blocks)
        self._begin_notes()

    def _replace_held(self, blocks: HeldBlocks) -> None:
        content = encode_held(blocks)
        self.replace(HELD_FILE, content)
        self.held_base = content[:CHECKSUM_BYTES]

    def replace(self, name: str, content: bytes) -> None:
        """Replaces a file of the directory as a whole; durable on return."""
        if not self.is_made:
            self.directory.mkdir()
            self.is_made = True
        if not self.is_place_synced:
            self._sync_place()
        self.directory.files.replace(f"{self.directory.path}/{name}", content)

    def _sync_place(self) -> None:
        if self._is_owned:  # the making may have got only to the key
            self.directory.make_files()
        self.directory.sync_place()
        self.is_place_synced = True
        self._was_left_unclean = False

    def _forget_pages(self) -> None:
        self.nodes.forget_pages()
        self.tree_sums.forget()

    def _forget_sums(self) -> None:
        self.sums.forget()

    def close(self) -> None:
        """Gives descriptors and memory back; the files can be used again."""
        self.nodes.forget_pages()
        for file in (
            *(self.data, self.tree, self.heads.file),
            *(self.held_log.file, self.sums, self.tree_sums),
        ):
            file.close()
