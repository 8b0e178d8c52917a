"""What a feed is thought to hold after an unclean stop, told from what was noted beside the blocks.

Nothing is walked for it. What is claimed counts as held, and is checked before it is read or
served, like everything that an earlier run has left; the blocks in doubt are checked behind the
mount besides, whether they are claimed or not.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.crypto import blake2b_256
from protozorfs.errors import DecodeError, StoreFull
from protozorfs.log.bitfield import Bitfield
from protozorfs.log.held_file import CHECKSUM_BYTES, HeldBlocks, decode_held
from protozorfs.log.held_log import NO_BASE, UNKNOWN_SIZE, Change
from protozorfs.store.layout import HELD_FILE

if TYPE_CHECKING:
    from protozorfs.log.files import LogFiles
    from protozorfs.log.held_log import HeldLog, Note


class Claim(NamedTuple):
    """What is claimed of a feed.

    Attributes:
        held: the blocks that are thought to be here.
        in_doubt: those that are to be checked.
        held_bytes: the size of `held`; None if that must be counted.
        base: the checksum of the `bitfield` file, or zeros if there is none.
        is_noted: what has changed since that file is known.
        is_doubt_noted: the notes say what is in doubt; else all is, since some of them are lost.
        end: behind the last block of which anything is noted.
    """

    held: Bitfield
    in_doubt: Bitfield
    held_bytes: int | None
    base: bytes
    is_noted: bool
    is_doubt_noted: bool
    end: int


def read_claim(files: LogFiles, length: int, *, is_owned: bool) -> Claim:
    """What the files `bitfield` and `bitfield.log` say of the first `length` blocks."""
    blocks, base = _read_held(files)
    notes = files.held_log.load(base)
    held, in_doubt = blocks.held, blocks.in_doubt
    if is_owned:  # what is appended is not noted
        held.set_range(blocks.length, length)
        in_doubt.set_range(blocks.length, length)
    changes: list[int | None] = []
    for note in notes.notes if notes is not None else ():
        changes.append(_change_of_size(note, held))
        _apply(note, held, in_doubt, length if is_owned else 0)
    end = max(blocks.length, *(note.end for note in notes.notes)) if notes else blocks.length
    for bits in (held, in_doubt):
        bits.clear_range(length, end)
    is_doubt_noted = notes is not None and notes.is_doubt_whole
    if not is_doubt_noted:  # a note that is lost may be of any block
        in_doubt.set_range(0, length)
    held_bytes: int | None = None
    if notes is not None and notes.is_whole and end <= length and not is_owned:
        held_bytes = _total(blocks.held_bytes, changes)
    return Claim(held, in_doubt, held_bytes, base, notes is not None, is_doubt_noted, end)


def note_claim(files: LogFiles, claim: Claim, length: int) -> None:
    """Has what changes from now on noted behind a claim of a feed of `length` blocks.

    Where that cannot be, nothing is noted, and the next run has everything in doubt.

    Raises:
        StoreFull, OSError: what was noted of blocks that are cut off stays, and would be taken for
            those that get their numbers.
    """
    files.held_base = claim.base
    notes = files.held_log
    if claim.is_noted:
        if claim.end <= length or _note_cut(notes, length, claim.end):
            if not claim.is_doubt_noted and notes.has_room():
                with suppress(StoreFull, OSError):  # what is checked from now on then counts
                    notes.note(Change.BEGIN, 0, length)
            return
        notes.clear()
    with suppress(StoreFull, OSError):
        # What is claimed of blocks that are cut off is not of those that get their numbers.
        notes.begin(claim.base, in_doubt=max(length, claim.end))


def _note_cut(notes: HeldLog, start: int, end: int) -> bool:
    with suppress(StoreFull, OSError):
        if notes.has_room():
            notes.note(Change.CUT, start, end)
            return True
    return False


def fold_notes(files: LogFiles, blocks: HeldBlocks, *, is_owned: bool) -> None:
    """Writes anew what is held, `blocks`, so that there is room for new notes behind that.

    What was noted stays in doubt for the next run.

    Raises:
        StoreFull, OSError: there is no room, or nothing is noted any more.
    """
    claim = read_claim(files, blocks.length, is_owned=is_owned)
    files.renew_held(blocks._replace(in_doubt=claim.in_doubt))


def _read_held(files: LogFiles) -> tuple[HeldBlocks, bytes]:
    nothing = HeldBlocks(0, 0, False, Bitfield(), Bitfield())
    try:
        content = files.directory.files.read(f"{files.directory.path}/{HELD_FILE}")
    except FileNotFoundError:
        return nothing, NO_BASE
    try:
        return decode_held(content), content[:CHECKSUM_BYTES]
    except DecodeError:  # no notes are of this one but those that this run begins
        return nothing, blake2b_256(content)


def _apply(note: Note, held: Bitfield, in_doubt: Bitfield, owned_length: int) -> None:
    change, start, end, _ = note
    if change == Change.BEGIN:
        in_doubt.set_range(start, end)
    elif change == Change.HELD:
        held.set_range(start, end)
        in_doubt.set_range(start, end)
    elif change == Change.LOST:
        held.clear_range(start, end)
        in_doubt.clear_range(start, end)
    elif change == Change.CHECKED:
        in_doubt.clear_range(start, end)
    else:
        held.clear_range(start, end)
        in_doubt.clear_range(start, end)
        held.set_range(start, owned_length)
        in_doubt.set_range(start, owned_length)


def _change_of_size(note: Note, held: Bitfield) -> int | None:
    """How many more bytes are held after a note than before it, when `held` was; None: unknown.

    Its size is that only if it changes what counts of all of its blocks. A note before it that
    could not be written is missing, and of that the size is not known.
    """
    change, start, end, size = note
    if change in (Change.BEGIN, Change.CHECKED):
        return 0
    if change == Change.LOST:
        is_known = held.first_unset(start) >= end
    else:
        is_known = held.first_set(start, end) is None
    if not is_known or size >= UNKNOWN_SIZE:
        return None
    return -size if change == Change.LOST else size


def _total(size: int, changes: list[int | None]) -> int | None:
    known = [change for change in changes if change is not None]
    return size + sum(known) if len(known) == len(changes) else None
