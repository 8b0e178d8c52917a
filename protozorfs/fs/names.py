"""Which names a feed may have, and which names are feed IDs.

A name is bytes, as the kernel gives it. Names that are valid feed IDs always mean that feed, so no
feed can be named like one.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from protozorfs import ids
from protozorfs.errors import DecodeError
from protozorfs.types import MAX_NAME_BYTES, MAX_SAFE_INTEGER

if TYPE_CHECKING:
    from protozorfs.types import FeedId

LIVE_DIRECTORY = b".live"
STATUS_DIRECTORY = b".protozorfs"
RESERVED_NAMES = frozenset({LIVE_DIRECTORY, STATUS_DIRECTORY})
LIVE_START = b"@"  # between a name and the block that a live view starts with
_MAX_BLOCK_DIGITS = 16  # of 2**53 - 1, the largest block number there can be
_ID_LENGTHS = (ids.HEX_DIGITS, ids.ZBASE32_DIGITS)


def decode_feed_id(text: bytes) -> FeedId:
    """The feed ID that a name or a link's target spells.

    Raises:
        DecodeError: not an ID, or not a valid key.
    """
    try:
        return ids.parse_feed_id(text.decode("ascii"))
    except UnicodeDecodeError:
        raise DecodeError("not a feed ID: it has bytes that are not ASCII") from None


def feed_id_of_name(name: bytes) -> FeedId | None:
    """The feed ID that the name is, or None."""
    if len(name) not in _ID_LENGTHS:
        return None
    try:
        return decode_feed_id(name)
    except DecodeError:
        return None


def split_live_name(name: bytes) -> tuple[bytes, int] | None:
    """The feed's name and the block in the name of a live view, `NAME@N`; None if it has no N."""
    feed_name, separator, digits = name.rpartition(LIVE_START)
    if not (separator and feed_name and digits.isdigit() and len(digits) <= _MAX_BLOCK_DIGITS):
        return None
    block = int(digits)
    return (feed_name, block) if block <= MAX_SAFE_INTEGER else None


def new_name_refusal(name: bytes) -> int:
    """The errno that refuses a new name for a feed, or 0."""
    if len(name) > MAX_NAME_BYTES:
        return errno.ENAMETOOLONG
    if name in RESERVED_NAMES or feed_id_of_name(name) is not None:
        return errno.EPERM
    return 0
