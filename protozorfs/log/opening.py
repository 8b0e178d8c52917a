"""Opening a feed's files: trusted beside a clean mark, recovered without one.

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
from protozorfs.log.files import LogFiles
from protozorfs.log.hashing import sign_head
from protozorfs.log.held_file import decode_held
from protozorfs.log.recovery import Recovered, Recovery
from protozorfs.log.roots import signed_roots
from protozorfs.log.tree import TreeState
from protozorfs.store.layout import CLEAN_FILE

if TYPE_CHECKING:
    from protozorfs.crypto import KeyPair
    from protozorfs.log.head_store import StoredHeads
    from protozorfs.store import FeedDirectory
    from protozorfs.types import Head


class Opened(NamedTuple):
    """A feed as it was found.

    Attributes:
        durable_head: the newest head of which it is sure that it survives a power cut. After an
            unclean stop there is none: what an earlier run wrote may be in the page cache only.
        may_lack_heads: of an owned feed, a newer head than all that are left may have been lost
            here, and may be known elsewhere.
    """

    files: LogFiles
    key_pair: KeyPair | None
    found: Recovered
    durable_head: Head | None
    may_lack_heads: bool = False


def open_files(directory: FeedDirectory) -> Opened:
    """Opens a feed's files, and recovers what an unclean stop left.

    Raises:
        StoreCorrupt: the secret key is not this feed's, or its heads are gone.
        StoreFull: recovery needs to write, and cannot.
    """
    key_pair = directory.secret()
    public_key = public_key_of(directory.feed_id)
    files = LogFiles(directory, is_owned=key_pair is not None)
    if not files.is_made:
        empty = TreeState(public_key, 0, 0, ())
        return Opened(files, key_pair, Recovered(None, empty, Bitfield(), 0, False, False), None)
    heads = files.heads.load()
    if key_pair is not None:
        heads = _owned_heads(files, heads, key_pair)
    has_newest = key_pair is None or _has_newest_head(files, heads)
    found = _as_left_clean(files, heads) if files.is_marked_clean else None
    if found is not None:
        durable_head = heads.durable[0].head if heads.durable else None
        if durable_head is not None and not durable_head.length:
            durable_head = None
        return Opened(files, key_pair, found, durable_head)
    files.before_write()
    # Beside a clean mark the slots' checksums are enough; a signature costs 50 us to check.
    heads = heads.verified(public_key, is_owned=key_pair is not None)
    files.heads.distrust(heads.durable[0] if heads.durable else None)
    found = _recovered(files, heads, key_pair, cuts=has_newest and not heads.lost_slots)
    return Opened(files, key_pair, found, None, key_pair is not None and heads.lost_slots > 0)


def _owned_heads(files: LogFiles, heads: StoredHeads, key_pair: KeyPair) -> StoredHeads:
    """The heads of an owned feed, which must not begin anew because they were lost: a fork.

    Where no block was ever written, nothing can have been: what stands in `head` may be left from a
    making that was cut off: zeros, torn slots, or heads that are in the page cache only.
    """
    has_any = bool(heads.signed or heads.durable)
    has_blocks = _longest(heads) or _length_at_rest(files)
    if not (has_blocks or files.data.size() or files.tree.size()):
        is_sure = has_any and not heads.lost_slots and files.is_marked_clean
        return heads if is_sure else _with_first_head(files, key_pair)
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


def _with_first_head(files: LogFiles, key_pair: KeyPair) -> StoredHeads:
    """Begins an owned feed with a head of length 0: from the first block on none means damage."""
    files.before_write()
    files.heads.file.truncate(0)
    head = sign_head((), 0, 0, key_pair.secret_key)
    for _ in range(2):  # in both slots: see `HeadStore.fill`
        files.heads.write_signed(head)
    files.heads.write_durable(files.heads.file, head)
    files.sync(files.heads.file)
    files.heads.confirm_durable()
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


def _as_left_clean(files: LogFiles, heads: StoredHeads) -> Recovered | None:
    """The state beside a clean mark; None if the files do not agree after all."""
    head = heads.signed[0].head if heads.signed else None
    length = head.length if head else 0
    roots = signed_roots(files.nodes, files.data, head) if head is not None else ()
    if roots is None:
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


def _recovered(
    files: LogFiles, heads: StoredHeads, key_pair: KeyPair | None, *, cuts: bool
) -> Recovered:
    """`cuts`: what an owned feed has behind its newest head was never signed, and goes."""
    public_key = public_key_of(files.directory.feed_id)
    recovery = Recovery(files, public_key)
    if key_pair is None:
        found = recovery.followed(heads)
    else:
        kept = recovery.owned(heads, key_pair)
        if not cuts:
            keep_aside(files, kept.state.length, kept.state.byte_length)
        found = recovery.finish(kept)
    if found.must_write_head and found.head is not None:
        files.heads.write_signed(found.head)
    return found
