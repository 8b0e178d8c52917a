"""Opening a feed's files: as they were left beside a clean mark, recovered without one.

A feed of which nothing is here has no files before something is written: thousands may be followed
that nobody has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import DecodeError, StoreCorrupt
from protozorfs.ids import public_key_of
from protozorfs.log.aside import keep_aside
from protozorfs.log.at_rest import decode_at_rest
from protozorfs.log.bitfield import Bitfield
from protozorfs.log.claim import note_claim, read_claim
from protozorfs.log.files import LogFiles
from protozorfs.log.hashing import sign_head
from protozorfs.log.held_file import CHECKSUM_BYTES, decode_held
from protozorfs.log.recovery import Recovery
from protozorfs.log.roots import signed_roots
from protozorfs.log.tree import TreeState
from protozorfs.store.layout import CLEAN_FILE, HELD_FILE

if TYPE_CHECKING:
    from protozorfs.crypto import KeyPair
    from protozorfs.log.head_store import StoredHeads
    from protozorfs.store import FeedDirectory
    from protozorfs.types import Head


class Opened(NamedTuple):
    """A feed as it was found.

    Attributes:
        head: its head. Of an owned feed, length 0 has one too: it says that longer ones do not
            count.
        state: the tree of that head; of length 0 if not even its roots are left.
        held: the blocks that are here, as far as is known: each is checked before it is used.
        held_bytes: their size; None if it must be counted.
        in_doubt: the blocks that are to be checked behind an unclean stop, held or not.
        is_damaged: an owned feed is known to have lost something that was durable.
        durable_head: the newest head of which it is sure that it survives a power cut. After an
            unclean stop there is none: what an earlier run wrote may be in the page cache only.
        has_unsynced_cut: what is not part of the feed any more is cut off its files, perhaps not
            yet on the disk: it must not come back behind what is appended.
        may_lack_heads: of an owned feed, a newer head than all that are left may have been lost
            here, and may be known elsewhere.
        written_ns: after an unclean stop, when its newest head was written; ns since 1970.
    """

    files: LogFiles
    key_pair: KeyPair | None
    head: Head | None
    state: TreeState
    held: Bitfield
    held_bytes: int | None
    in_doubt: Bitfield
    is_damaged: bool
    durable_head: Head | None = None
    has_unsynced_cut: bool = False
    may_lack_heads: bool = False
    written_ns: int | None = None


def open_files(directory: FeedDirectory, *, is_just_made: bool = False) -> Opened:
    """Opens a feed's files, and recovers what an unclean stop left.

    What it reads and writes does not grow with the feed, but with what was appended and not synced.
    `is_just_made`: there is nothing to recover, and the names of the files are durable.

    Raises:
        StoreCorrupt: the secret key is not this feed's, or its heads are gone.
        StoreFull: recovery needs to write, and cannot.
    """
    key_pair = directory.secret()
    public_key = public_key_of(directory.feed_id)
    files = LogFiles(directory, is_owned=key_pair is not None, is_just_made=is_just_made)
    if not files.is_made:
        state = TreeState(public_key, 0, 0, ())
        return Opened(files, key_pair, None, state, Bitfield(), 0, Bitfield(), False)
    heads = files.heads.load()
    is_new = False
    if key_pair is not None:
        is_new = not any(heads)
        heads = _owned_heads(files, heads, key_pair)
    has_newest = key_pair is None or _has_newest_head(files, heads)
    found = _as_left_clean(files, heads, key_pair) if files.is_marked_clean else None
    if found is not None:
        return found
    written_ns = files.heads.file.modified_ns()
    files.before_write()
    # Beside a clean mark the slots' checksums are enough; a signature costs 50 us to check.
    heads = heads.verified(public_key, is_owned=key_pair is not None)
    files.heads.distrust(heads.durable[0] if heads.durable else None)
    cuts = has_newest and not heads.lost_slots
    found = _recovered(files, heads, key_pair, is_new=is_new, cuts=cuts)
    return found._replace(written_ns=written_ns)


def _owned_heads(files: LogFiles, heads: StoredHeads, key_pair: KeyPair) -> StoredHeads:
    """The heads of an owned feed, which must not begin anew because they were lost: a fork.

    Where no block was ever written, nothing can have been: what stands in `head` may be left from a
    making that was cut off: zeros, torn slots, or heads that are in the page cache only.
    """
    has_any = bool(heads.signed or heads.durable)
    has_blocks = _longest(heads) or _length_at_rest(files)
    if not (has_blocks or files.data.size() or files.tree.size()):
        is_sure = has_any and not heads.lost_slots and files.is_marked_clean
        return heads if is_sure else _with_first_head(files, key_pair, has_any=has_any)
    if not has_any:
        where = f"{files.directory.path}/head"
        raise StoreCorrupt(where, 0, "no head of the feed is left; nothing of it was changed")
    return heads


def _length_at_rest(files: LogFiles) -> int:
    """What the mark of a clean stop says; 0 without one."""
    if not files.is_marked_clean:
        return 0
    try:
        return decode_at_rest(
            files.directory.files.read(f"{files.directory.path}/{CLEAN_FILE}")
        ).length
    except DecodeError:
        return 0


def _with_first_head(files: LogFiles, key_pair: KeyPair, *, has_any: bool) -> StoredHeads:
    """Begins an owned feed with a head of length 0: from the first block on none means damage.

    `has_any`: one is there that may be durable. Then one must stay: that there are no blocks may be
    in the page cache only, where a recovery that was killed has cut off what was never signed.
    """
    files.before_write()
    if not has_any:
        files.heads.file.truncate(0)
    head = sign_head((), 0, 0, key_pair.secret_key)
    files.heads.write_durable(files.heads.file, head)
    files.sync(files.heads.file)
    files.heads.confirm_durable()
    for _ in range(2):  # in both slots: see `HeadStore.fill`
        files.heads.write_signed(head)
    files.sync(files.heads.file)
    return files.heads.load()


def _has_newest_head(files: LogFiles, heads: StoredHeads) -> bool:
    """False if the mark of a clean stop tells of a longer one: an older state was restored.

    Raises:
        StoreCorrupt: it was lost otherwise.
    """
    left = _length_at_rest(files)
    if left <= _longest(heads):
        return True
    if not files.directory.changes_since_clean():
        where = f"{files.directory.path}/head"
        raise StoreCorrupt(where, 0, f"of {left} blocks no head is left")
    return False


def _longest(heads: StoredHeads) -> int:
    return max((slot.head.length for slot in (*heads.signed, *heads.durable)), default=0)


def _as_left_clean(files: LogFiles, heads: StoredHeads, key_pair: KeyPair | None) -> Opened | None:
    """The state beside a clean mark; None if the files do not agree after all."""
    head = heads.signed[0].head if heads.signed else None
    length = head.length if head else 0
    roots = signed_roots(files.nodes, files.data, head) if head is not None else ()
    if roots is None:
        return None
    try:
        content = files.directory.files.read(f"{files.directory.path}/{HELD_FILE}")
        blocks = decode_held(content)
    except (DecodeError, FileNotFoundError):
        return None  # recovery finds out anew what it held
    if blocks.length != length:
        return None
    files.held_base = content[:CHECKSUM_BYTES]
    durable_head = heads.durable[0].head if heads.durable else None
    return Opened(
        files,
        key_pair,
        head,
        TreeState(public_key_of(files.directory.feed_id), head.fork if head else 0, length, roots),
        blocks.held,
        blocks.held_bytes,
        blocks.in_doubt,
        blocks.is_damaged,
        durable_head if durable_head is not None and durable_head.length else None,
    )


def _recovered(
    files: LogFiles, heads: StoredHeads, key_pair: KeyPair | None, *, is_new: bool, cuts: bool
) -> Opened:
    """The state after an unclean stop, which is written down.

    `cuts`: what an owned feed has behind its newest head was never signed, and goes.
    """
    recovery = Recovery(files, public_key_of(files.directory.feed_id))
    is_owned = key_pair is not None
    head, state, must_write_head = (
        recovery.followed(heads) if key_pair is None else recovery.owned(heads, key_pair)
    )
    length = head.length if head is not None else 0
    if state.length == length:
        if is_owned and not cuts:
            keep_aside(files, state.length, state.byte_length)
        recovery.cut(state)
    if must_write_head and head is not None:
        files.heads.write_signed(head)
    claim = read_claim(files, state.length, is_owned=is_owned)
    held, in_doubt = claim.held, claim.in_doubt
    note_claim(files, claim, state.length)
    is_whole = held.first_unset(0) >= length
    if is_owned and not is_whole:
        at = 0  # what was lost may be there after all
        for start, end in (*held.ranges(0, state.length), (state.length, state.length)):
            in_doubt.set_range(at, start)
            at = end
    return Opened(
        files,
        key_pair,
        head,
        state,
        held,
        state.byte_length if is_whole else claim.held_bytes,
        in_doubt,
        is_owned and not is_whole,
        has_unsynced_cut=is_owned and not is_new,
        may_lack_heads=is_owned and heads.lost_slots > 0,
    )
