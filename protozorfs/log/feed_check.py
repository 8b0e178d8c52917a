"""Checks the files of one feed, without changing anything: every node, every block, every head.

What the feed amounts to is found out by opening it, with all its recovery, over an overlay that
keeps what that would write in memory. Then the files themselves are compared with it
(`content_check`).
"""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import DecodeError, StoreCorrupt
from protozorfs.log.at_rest import decode_at_rest
from protozorfs.log.content_check import BlockCheck, TreeCheck
from protozorfs.log.head_check import check_heads, newest_head
from protozorfs.log.held_file import decode_held
from protozorfs.log.opening import open_files
from protozorfs.store.findings import Finding, Kind, Progress, Remedy, Severity, ranges_text
from protozorfs.store.keys import damaged_feed_seeds
from protozorfs.store.layout import CLEAN_FILE, SECRET_FILES, FeedDirectory
from protozorfs.store.overlay import OverlayFiles
from protozorfs.store.pool import FilePool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.crypto import KeyPair
    from protozorfs.log.at_rest import AtRest
    from protozorfs.log.bitfield import Bitfield
    from protozorfs.log.held_file import HeldBlocks
    from protozorfs.log.opening import Opened
    from protozorfs.store import File, Files
    from protozorfs.types import FeedId, Head

UNCLEAN = Kind(
    code="unclean",
    severity=Severity.NOTE,
    remedy=Remedy.REPAIR,
    meaning="the feed was not closed cleanly, as after a kill or a power cut",
    advice="the next start checks it, and so does a repair",
)
SECRET_DAMAGED = Kind(
    code="secret-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.NONE,
    meaning="nothing can be appended to the feed, and it cannot be opened",
    advice="put the file back from a backup: without the key nobody can append to the feed",
)
SECRET_COPY_DAMAGED = Kind(
    code="secret-copy-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.REPAIR,
    meaning="one of the two files of the feed's key; the other is whole",
    advice="a repair, or the next append, writes it anew from the other",
)
HEADS_LOST = Kind(
    code="heads-lost",
    severity=Severity.ERROR,
    remedy=Remedy.REPAIR,
    meaning="without a head nothing that is held can be verified",
    advice="a repair drops the feed's blocks; they are fetched again from peers",
)
OWN_HEADS_LOST = Kind(
    code="own-heads-lost",
    severity=Severity.ERROR,
    remedy=Remedy.CUT,
    meaning="the feed cannot be opened: what was appended cannot be told from what was not",
    advice="put the file `head` back from a backup; or"
    " `check --repair --cut-owned ID` begins a new head over the blocks that are whole",
)
CLEAN_DAMAGED = Kind(
    code="clean-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.REPAIR,
    meaning="the mark of a clean stop is not believed; no data is lost",
    advice="the next start checks the feed, and so does a repair",
)
BITFIELD_DAMAGED = Kind(
    code="bitfield-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.REPAIR,
    meaning="which blocks are held must be found out from the blocks; no data is lost",
    advice="the next start checks the feed, and so does a repair",
)
NODES_DAMAGED = Kind(
    code="nodes-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.REPAIR,
    meaning="no data is lost: these nodes follow from others, or from blocks",
    advice="a repair makes them again",
)
NODES_LOST = Kind(
    code="nodes-lost",
    severity=Severity.ERROR,
    remedy=Remedy.REPAIR,
    meaning="what is held of these blocks cannot be verified",
    advice="a repair drops the nodes below; they and the blocks are fetched again",
)
OWN_NODES_LOST = Kind(
    code="own-nodes-lost",
    severity=Severity.ERROR,
    remedy=Remedy.CUT,
    meaning="these blocks cannot be verified, so that reading them fails",
    advice="a follower of the feed that has them brings them back; where there is none,"
    " `check --repair --cut-owned ID` cuts the feed before them",
)
TREE_LOST = Kind(
    code="tree-lost",
    severity=Severity.ERROR,
    remedy=Remedy.REPAIR,
    meaning="the newest head has no tree: nothing under it can be verified",
    advice="a repair goes back to an older head, or drops the blocks; they are fetched again",
)
OWN_TREE_LOST = Kind(
    code="own-tree-lost",
    severity=Severity.ERROR,
    remedy=Remedy.CUT,
    meaning="the roots are damaged: the feed can be neither read nor appended to",
    advice="put the file `tree` back from a backup; or"
    " `check --repair --cut-owned ID` cuts the feed to the blocks that are whole",
)
BLOCKS_DAMAGED = Kind(
    code="blocks-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.REPAIR,
    meaning="these blocks are shown to nobody",
    advice="a repair drops them; they are fetched again",
)
OWN_BLOCKS_DAMAGED = Kind(
    code="own-blocks-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.CUT,
    meaning="reading these blocks fails, and nothing is appended to the feed",
    advice="a follower of the feed that has them brings them back; where there is none,"
    " `check --repair --cut-owned ID` cuts the feed before them",
)
OWN_TAIL_DAMAGED = Kind(
    code="own-tail-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.CUT,
    meaning="what was appended last, after the last sync, is not whole; nobody else has seen it",
    advice="the next start cuts it off, and so does `check --repair --cut-owned ID`",
)


class _Files(NamedTuple):
    """One feed's files, as they are."""

    feed_id: FeedId
    path: str
    data: File
    tree: File

    def finding(self, kind: Kind, name: str, what: str) -> Finding:
        return Finding(kind=kind, path=f"{self.path}/{name}", what=what, feed_id=self.feed_id)


def check_feed(files: Files, feed_id: FeedId) -> Iterator[Finding | Progress]:
    """What is wrong with the files of a feed that has a directory, by comparing all of them.

    Args:
        files: of the store; they are only read.

    Raises:
        OSError: a file cannot be read.
    """
    overlay = OverlayFiles(files)  # to open it on trial
    with closing(FilePool(files)) as pool, closing(FilePool(overlay)) as trial_pool:
        trial = FeedDirectory(trial_pool, feed_id)
        yield from _check_files(FeedDirectory(pool, feed_id), overlay, trial)


def _check_files(
    directory: FeedDirectory, overlay: OverlayFiles, trial: FeedDirectory
) -> Iterator[Finding | Progress]:
    files, feed_id = directory.files, directory.feed_id
    held_by = _Files(feed_id, directory.path, directory.file("data"), directory.file("tree"))
    is_owned = directory.is_owned()
    key, secret = _check_secret(directory, held_by)
    yield from secret
    if is_owned and key is None:
        for name in (*SECRET_FILES, "place"):  # to be looked at as a followed one
            with suppress(FileNotFoundError):
                overlay.remove(f"{trial.path}/{name}")
    is_clean = directory.is_marked_clean()
    if not is_clean and files.listdir(directory.path):
        yield held_by.finding(UNCLEAN, CLEAN_FILE, "there is no mark of a clean stop")
    has_key = key is not None
    yield from check_heads(directory, is_owned=is_owned)
    mark, mark_damage = _read_mark(directory)
    blocks, blocks_damage = _read_held(directory)
    if is_clean and mark_damage:
        yield held_by.finding(CLEAN_DAMAGED, CLEAN_FILE, mark_damage)
    if is_clean and blocks_damage:
        yield held_by.finding(BITFIELD_DAMAGED, "bitfield", blocks_damage)
    try:
        opened = open_files(trial)
    except StoreCorrupt as error:
        kind = OWN_HEADS_LOST if is_owned else HEADS_LOST
        yield held_by.finding(kind, "head", error.what)
        return
    given_up = list(_check_opened(held_by, newest_head(directory, has_key=has_key), opened))
    yield from given_up
    trusted = None
    if is_clean and blocks is not None and mark is not None and not given_up:
        yield from _check_claims(held_by, mark, blocks, opened)
        trusted = blocks
    tree = TreeCheck(held_by.tree, held_by.data, opened.state.roots)
    held = None if trusted is None else trusted.held
    blocks_check = BlockCheck(held_by.data, tree, held, is_owned=is_owned)
    yield from blocks_check.check()
    yield from _content_findings(held_by, tree, blocks_check.damaged(), is_owned=is_owned)


def _check_secret(
    directory: FeedDirectory, held_by: _Files
) -> tuple[KeyPair | None, list[Finding]]:
    """The key of an owned feed, if it can be had, and what is wrong with its files."""
    try:
        pair = directory.secret()
    except StoreCorrupt as error:
        return None, [held_by.finding(SECRET_DAMAGED, "secret", error.what)]
    if pair is None:
        return None, []
    damaged = damaged_feed_seeds(directory.files, f"{directory.path}/secret", directory.feed_id)
    return pair, [
        held_by.finding(SECRET_COPY_DAMAGED, path.rpartition("/")[2], f"it is {what}")
        for path, what in damaged.items()
    ]


def _read_mark(directory: FeedDirectory) -> tuple[AtRest | None, str]:
    """The clean mark, or what is wrong with it."""
    try:
        return decode_at_rest(directory.files.read(f"{directory.path}/{CLEAN_FILE}")), ""
    except FileNotFoundError:
        return None, "there is none"
    except DecodeError as error:
        return None, str(error)


def _read_held(directory: FeedDirectory) -> tuple[HeldBlocks | None, str]:
    """The bitfield, or what is wrong with it."""
    try:
        return decode_held(directory.files.read(f"{directory.path}/bitfield")), ""
    except FileNotFoundError:
        return None, "there is none"
    except DecodeError as error:
        return None, str(error)


def _check_opened(held_by: _Files, newest: Head | None, opened: Opened) -> Iterator[Finding]:
    """What was given up when the feed was opened on trial."""
    is_owned = opened.key_pair is not None
    head, state = opened.head, opened.state
    if newest is None:
        if held_by.data.size() or held_by.tree.size():
            what = "no head that the feed's key signed is left"
            yield held_by.finding(HEADS_LOST, "head", what)
    elif head is not None and state.length < head.length:
        what = f"the roots of {head.length} blocks are damaged"
        yield held_by.finding(OWN_TREE_LOST, "tree", what)
    elif (state.fork, state.length) != (newest.fork, newest.length):
        kind, name = (OWN_TAIL_DAMAGED, "data") if is_owned else (TREE_LOST, "tree")
        what = f"of {newest.length} blocks the first {state.length} can be kept"
        yield held_by.finding(kind, name, what)


def _check_claims(
    held_by: _Files, mark: AtRest, blocks: HeldBlocks, opened: Opened
) -> Iterator[Finding]:
    """The mark and the bitfield against each other and the head."""
    head = opened.head
    length = head.length if head is not None else 0
    byte_length = head.byte_length if head is not None else 0
    if (mark.length, mark.byte_length) != (length, byte_length):
        yield held_by.finding(
            CLEAN_DAMAGED, CLEAN_FILE, f"it says {mark.length} blocks, and the head says {length}"
        )
    if blocks.length != length:
        yield held_by.finding(
            BITFIELD_DAMAGED, "bitfield", f"it is for {blocks.length} blocks, not for {length}"
        )
    elif (mark.held_bytes, mark.contiguous_length) != (
        blocks.held_bytes,
        blocks.held.contiguous_length,
    ):
        yield held_by.finding(CLEAN_DAMAGED, CLEAN_FILE, "it counts other blocks than the bitfield")


def _content_findings(
    held_by: _Files, tree: TreeCheck, damaged: Bitfield, *, is_owned: bool
) -> Iterator[Finding]:
    length = tree.length
    if tree.made_again.segments:
        nodes = ranges_text(tree.made_again.ranges(0, 2 * length))
        what = f"nodes {nodes} are not what they must be"
        yield held_by.finding(NODES_DAMAGED, "tree", what)
    if tree.unreachable.segments:
        kind = OWN_NODES_LOST if is_owned else NODES_LOST
        blocks = ranges_text(tree.unreachable.ranges(0, length))
        yield held_by.finding(kind, "tree", f"the way to blocks {blocks} is damaged")
    if damaged.segments:
        kind = OWN_BLOCKS_DAMAGED if is_owned else BLOCKS_DAMAGED
        count, blocks = damaged.count(0, length), ranges_text(damaged.ranges(0, length))
        are = "block is" if count == 1 else "blocks are"
        yield held_by.finding(kind, "data", f"{count} {are} not what was written: {blocks}")
