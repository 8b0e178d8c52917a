"""Opening a feed's files: trusted beside a clean mark, recovered without one.

A feed of which nothing is here has no files before something is written: thousands may be followed
that nobody has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import DecodeError, StoreCorrupt
from protozorfs.ids import public_key_of
from protozorfs.log.at_rest import decode_at_rest, encode_at_rest
from protozorfs.log.bitfield import Bitfield
from protozorfs.log.hashing import tree_hash
from protozorfs.log.head_store import HeadStore
from protozorfs.log.held_file import HeldBlocks, decode_held, encode_held
from protozorfs.log.node_store import NodeStore
from protozorfs.log.recovery import Recovered, Recovery
from protozorfs.log.tree import TreeState, roots_of
from protozorfs.store.layout import CLEAN_FILE

if TYPE_CHECKING:
    from protozorfs.crypto import KeyPair
    from protozorfs.log.at_rest import AtRest
    from protozorfs.log.head_store import StoredHeads
    from protozorfs.store import FeedDirectory
    from protozorfs.types import Head


class LogFiles:
    """The files of one feed, whether there are any yet, and whether they are marked clean."""

    def __init__(self, directory: FeedDirectory) -> None:
        self.directory = directory
        self.data = directory.file("data")
        self.tree = directory.file("tree", closed=self._forget_pages)
        self.nodes = NodeStore(self.tree)
        self.heads = HeadStore(directory.file("head"))
        self.is_made = directory.exists()
        self.is_marked_clean = directory.is_marked_clean()
        self._is_place_synced = self.is_made

    def before_write(self) -> None:
        """Takes the clean mark back, durably. Everything that writes to the log calls this first.

        Makes the directory if there is none; not durably, since all that is lost with it can be
        fetched again. An owned feed has one from the start.
        """
        if not self.is_made:
            self.directory.mkdir()
            self.is_made = True
        elif self.is_marked_clean:
            self.directory.unmark_clean()
            self.is_marked_clean = False

    def mark_clean(self, blocks: HeldBlocks, at_rest: AtRest) -> None:
        """Keeps which blocks are held, and marks the files. All else must be synced before."""
        self.replace("bitfield", encode_held(blocks))
        self.directory.mark_clean(encode_at_rest(at_rest))
        self.is_marked_clean = True

    def replace(self, name: str, content: bytes) -> None:
        """Replaces a file of the directory as a whole; durable on return."""
        if not self.is_made:
            self.directory.mkdir()
            self.is_made = True
        if not self._is_place_synced:
            self.directory.sync_place()
            self._is_place_synced = True
        self.directory.files.replace(f"{self.directory.path}/{name}", content)

    def _forget_pages(self) -> None:
        self.nodes.forget_pages()

    def close(self) -> None:
        """Gives descriptors and memory back; the files can be used again."""
        self.nodes.forget_pages()
        for file in (self.data, self.tree, self.heads.file):
            file.close()


class Opened(NamedTuple):
    """A feed as it was found."""

    files: LogFiles
    key_pair: KeyPair | None
    found: Recovered
    durable_head: Head | None


def open_files(directory: FeedDirectory) -> Opened:
    """Opens a feed's files, and recovers what an unclean stop left.

    Raises:
        StoreCorrupt: the secret key is not this feed's, or its heads are gone.
        StoreFull: recovery needs to write, and cannot.
    """
    key_pair = directory.secret()
    if key_pair is not None and key_pair.public_key != public_key_of(directory.feed_id):
        raise StoreCorrupt(f"{directory.path}/secret", 0, "the key of another feed")
    files = LogFiles(directory)
    if not files.is_made:
        empty = TreeState(public_key_of(directory.feed_id), 0, 0, ())
        return Opened(files, key_pair, Recovered(None, empty, Bitfield(), 0, False, False), None)
    heads = files.heads.load()
    if key_pair is not None and files.is_marked_clean:
        _check_heads_are_there(directory, heads)
    found = _as_left_clean(files, heads) if files.is_marked_clean else None
    if found is None:
        files.before_write()
        # Beside a clean mark the slots' checksums are enough; a signature costs 50 us to check.
        public_key = public_key_of(directory.feed_id)
        heads = heads.verified(public_key, is_owned=key_pair is not None)
        found = _recovered(files, heads, key_pair)
    durable_head = heads.durable[0].head if heads.durable else None
    if durable_head is not None and durable_head.length > found.state.length:
        # A followed feed that lost more than its newest part: nothing of it is durable any more.
        durable_head = durable_head if key_pair is not None else None
    return Opened(files, key_pair, found, durable_head)


def _check_heads_are_there(directory: FeedDirectory, heads: StoredHeads) -> None:
    """An owned feed must not begin anew because its heads were lost: that would fork it.

    Without a clean mark nothing tells it from a feed that was killed in its first append.
    """
    try:
        length = decode_at_rest(directory.files.read(f"{directory.path}/{CLEAN_FILE}")).length
    except DecodeError:
        return
    if length > max((slot.head.length for slot in (*heads.signed, *heads.durable)), default=0):
        raise StoreCorrupt(f"{directory.path}/head", 0, f"of {length} blocks no head is left")


def _as_left_clean(files: LogFiles, heads: StoredHeads) -> Recovered | None:
    """The state beside a clean mark; None if the files do not agree after all."""
    head = heads.signed[0].head if heads.signed else None
    length = head.length if head else 0
    roots = roots_of(files.nodes, length)
    if roots is None or (head is not None and tree_hash(roots) != head.tree_hash):
        return None
    path = f"{files.directory.path}/bitfield"
    try:
        blocks = decode_held(files.directory.files.read(path))
    except (DecodeError, FileNotFoundError):
        return None  # recovery finds out anew what it held
    if blocks.length != length:
        return None
    public_key = public_key_of(files.directory.feed_id)
    state = TreeState(public_key, head.fork if head else 0, length, roots)
    return Recovered(head, state, blocks.held, blocks.held_bytes, False, blocks.is_damaged)


def _recovered(files: LogFiles, heads: StoredHeads, key_pair: KeyPair | None) -> Recovered:
    public_key = public_key_of(files.directory.feed_id)
    recovery = Recovery(files.data, files.tree, files.nodes, public_key)
    found = recovery.owned(heads, key_pair) if key_pair else recovery.followed(heads)
    if found.must_write_head and found.head is not None:
        files.heads.write_signed(found.head)
    return found
