"""What a feed is thought to hold after an unclean stop, told from what was noted beside the blocks.

Nothing is walked for it. What is claimed counts as held, and is checked before it is read or
served, like everything that an earlier run has left; the blocks in doubt are checked behind the
mount besides, whether they are claimed or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import DecodeError
from protozorfs.log.bitfield import Bitfield
from protozorfs.log.held_file import CHECKSUM_BYTES, HeldBlocks, decode_held
from protozorfs.log.held_log import NO_BASE, Change

if TYPE_CHECKING:
    from protozorfs.log.files import LogFiles
    from protozorfs.log.held_log import Note


class Claim(NamedTuple):
    """What is claimed of a feed.

    Attributes:
        held: the blocks that are thought to be here.
        in_doubt: those that are to be checked.
        held_bytes: the size of `held`; None if that is not noted.
        base: the checksum of the `bitfield` file, or zeros.
        is_noted: what has changed since that file is known.
        end: behind the last block of which anything is noted.
    """

    held: Bitfield
    in_doubt: Bitfield
    held_bytes: int | None
    base: bytes
    is_noted: bool
    end: int


def read_claim(files: LogFiles, length: int, *, is_owned: bool) -> Claim:
    """What the files `bitfield` and `bitfield.log` say of the first `length` blocks."""
    blocks, base = _read_held(files)
    notes = files.held_log.load(base)
    held, in_doubt = blocks.held, blocks.in_doubt
    if is_owned:  # what is appended is not noted
        held.set_range(blocks.length, length)
        in_doubt.set_range(blocks.length, length)
    for note in notes.notes if notes is not None else ():
        _apply(note, held, in_doubt, length if is_owned else 0)
    end = max(blocks.length, *(note.end for note in notes.notes)) if notes else blocks.length
    for bits in (held, in_doubt):
        bits.clear_range(length, end)
    if notes is None or not notes.is_whole:  # a note that is lost may be of any block
        in_doubt.set_range(0, length)
    held_bytes: int | None = None
    if notes is not None and notes.is_whole and end <= length and not is_owned:
        held_bytes = blocks.held_bytes + sum(map(_change_of_size, notes.notes))
    return Claim(held, in_doubt, held_bytes, base, notes is not None, end)


def note_claim(files: LogFiles, claim: Claim, length: int) -> None:
    """Has what changes from now on noted behind a claim of a feed of `length` blocks.

    Raises:
        StoreFull, OSError: nothing is noted; the next run has everything in doubt.
    """
    files.held_base = claim.base
    if not claim.is_noted:
        files.held_log.begin(claim.base, in_doubt=length)
    elif claim.end > length:
        files.held_log.note(Change.CUT, length, claim.end)


def _read_held(files: LogFiles) -> tuple[HeldBlocks, bytes]:
    try:
        content = files.directory.files.read(f"{files.directory.path}/bitfield")
        return decode_held(content), content[:CHECKSUM_BYTES]
    except (DecodeError, FileNotFoundError):
        return HeldBlocks(0, 0, False, Bitfield(), Bitfield()), NO_BASE


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


def _change_of_size(note: Note) -> int:
    return {Change.HELD: note.size, Change.LOST: -note.size}.get(note.change, 0)
