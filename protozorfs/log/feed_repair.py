"""Repairs the files of one feed, as far as nothing is lost by it that cannot be had again; cuts.

A repair writes again what can be computed, and then opens and closes the feed: what follows from
its blocks, the recovery of an unclean stop finds out anyway. What is not right is not held after
that. An owned feed loses no byte by a repair; a cut is another thing, and must be wanted.
"""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import NotWritable, StoreCorrupt
from protozorfs.log.aside import keep_aside
from protozorfs.log.changeset import append_blocks
from protozorfs.log.checking import MAX_BLOCK_BYTES, STEP_BYTES
from protozorfs.log.content_check import MAX_RUN_BLOCKS, TreeCheck
from protozorfs.log.feed import Log
from protozorfs.log.files import LogFiles
from protozorfs.log.hashing import leaf_hash, sign_head
from protozorfs.log.head_check import mend_heads, newest_head
from protozorfs.log.node_store import NodeStore
from protozorfs.log.opening import open_files
from protozorfs.log.sums import NoSums
from protozorfs.log.tree import TreeState
from protozorfs.store.layout import FeedDirectory
from protozorfs.store.overlay import OverlayFiles
from protozorfs.store.pool import FilePool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.log.changeset import AppendChangeset
    from protozorfs.log.opening import Opened


class Cut(NamedTuple):
    """What a cut would do: how many blocks and bytes are kept, and of how many blocks.

    `length_before` is None where no head is left to say it.
    """

    length: int
    byte_length: int
    length_before: int | None


def repair_feed(directory: FeedDirectory) -> None:
    """Makes heads and nodes whole that can be, drops what cannot, and marks the feed clean.

    Raises:
        StoreCorrupt: an owned feed cannot be opened.
        StoreFull, OSError: what was done by then is good; the next start goes on.
    """
    key_pair = directory.secret()
    files = LogFiles(directory, is_owned=key_pair is not None)
    files.before_write()  # which remembers, too, that it is not in its place
    if key_pair is not None:
        files.keep_key(key_pair)
    files.close()
    mend_heads(directory, is_owned=directory.is_owned())
    tree, data = directory.file("tree"), directory.file("data")
    roots = _opened_on_trial(directory).state.roots
    if roots:
        TreeCheck(tree, data, roots, is_mended=True).mend()
        tree.fdatasync()
    for file in (tree, data):
        file.close()
    log = Log.open(directory)
    log.check_in_doubt()
    log.close()


def plan_cut(directory: FeedDirectory) -> Cut:
    """What `cut_feed` would do. Nothing is changed.

    Raises:
        NotWritable, StoreCorrupt: the feed's key is not here, or not whole.
    """
    beginning = _Beginning(directory)
    return Cut(*beginning.end(), beginning.length_before)


def cut_feed(directory: FeedDirectory) -> Cut:
    """Cuts an owned feed to the blocks that are whole from the first on, under a new head.

    All that is cut off is kept beside the feed first. If somebody has blocks of that, the next
    append begins a second history.

    Raises:
        NotWritable, StoreCorrupt: as `plan_cut`.
        StoreFull, OSError: the feed is as it was, or as it will be.
    """
    beginning = _Beginning(directory)
    length, byte_length = beginning.end()
    files = LogFiles(directory, is_owned=True)
    files.before_write()
    keep_aside(files, length, byte_length)
    state = beginning.write(files, length)
    files.sync(files.data)
    files.sync(files.tree)
    head = sign_head(state.roots, length, state.fork, beginning.key_pair.secret_key)
    files.heads.load()
    for _ in range(2):  # both slots of each kind: none of what was cut off is left
        files.heads.write_signed(head)
        files.heads.write_durable(files.heads.file, head)
        files.sync(files.heads.file)
        files.heads.confirm_durable()
    files.close()
    log = Log.open(directory)  # which cuts off what is behind the head
    log.check_in_doubt()
    log.close()
    return Cut(length, byte_length, beginning.length_before)


class _Beginning:
    """The blocks of an owned feed that fit their leaves, from the first on.

    Attributes:
        key_pair: the feed's.
        length_before: of the feed; None if no head says it.
    """

    def __init__(self, directory: FeedDirectory) -> None:
        key_pair = directory.secret()
        if key_pair is None:
            raise NotWritable("the feed is not owned: its secret key is elsewhere")
        self.key_pair = key_pair
        newest = newest_head(directory, has_key=True)
        self.length_before = None if newest is None else newest.length
        self._limit: int | None = None
        self._data = directory.file("data")
        self._nodes = NodeStore(directory.file("tree"), self._data, NoSums())
        self._start = TreeState(key_pair.public_key, 0, 0, ())
        with suppress(StoreCorrupt):  # no head is left: what stands in the tree must do
            self._take_head(_opened_on_trial(directory))

    def _take_head(self, found: Opened) -> None:
        state = found.state
        self._start = self._start._replace(fork=state.fork)
        if found.head is not None:
            self._limit = found.head.length
            if state.length == found.head.length:
                self._nodes.trust(state.roots)

    def end(self) -> tuple[int, int]:
        """How many blocks and bytes they are."""
        length = byte_length = 0
        for change in self._changes(self._limit):
            length, byte_length = change.length, change.byte_length
        return length, byte_length

    def write(self, files: LogFiles, length: int) -> TreeState:
        """Writes the nodes of the first `length` blocks; does not sync."""
        state = self._start
        for change in self._changes(length):
            files.nodes.put(change.new_nodes)
            files.nodes.flush()
            files.nodes.commit()
            state = state._replace(length=change.length, roots=change.roots)
        return state

    def _changes(self, limit: int | None) -> Iterator[AppendChangeset]:
        """The appends that make the tree of them anew, in pieces that fit into memory."""
        state, blocks, size = self._start, list[bytes](), 0
        while limit is None or state.length + len(blocks) < limit:
            block = self._block(state.length + len(blocks), state.byte_length + size)
            if block is None:
                break
            blocks.append(block)
            size += len(block)
            if size >= STEP_BYTES or len(blocks) >= MAX_RUN_BLOCKS:
                change = append_blocks(state, blocks)
                yield change
                state = state._replace(length=change.length, roots=change.roots)
                blocks, size = [], 0
        if blocks:
            yield append_blocks(state, blocks)

    def _block(self, block_index: int, offset: int) -> bytes | None:
        leaf = self._nodes.node(2 * block_index)
        if leaf is None or leaf.size > MAX_BLOCK_BYTES:
            return None
        block = self._data.pread(leaf.size, offset)
        return block if leaf_hash(block) == leaf.hash else None


def _opened_on_trial(directory: FeedDirectory) -> Opened:
    """The feed as it would be opened; nothing is written. Raises StoreCorrupt."""
    with closing(FilePool(OverlayFiles(directory.files))) as pool:
        return open_files(FeedDirectory(pool, directory.feed_id))
