"""Which names a feed may have, and what names mean: one rule for library, commands and mount.

A name is bytes, as the kernel gives it. Names that are valid feed IDs always mean that feed, and
two names are directories of the mount's own, so no feed can be named like these.
"""

from __future__ import annotations

from protozorfs import ids
from protozorfs.errors import DecodeError, InvalidName, NameTooLong
from protozorfs.types import MAX_NAME_BYTES, MAX_SAFE_INTEGER, FeedId

LIVE_DIRECTORY = b".live"
STATUS_DIRECTORY = b".protozorfs"
RESERVED_NAMES = frozenset({LIVE_DIRECTORY, STATUS_DIRECTORY})
SHORT_ID_DIGITS = 8  # of the name that a feed gets when none is given
LIVE_START = b"@"  # between a name and the block that a live view starts with
_MAX_BLOCK_DIGITS = 16  # of 2**53 - 1, the largest block number there can be
_ID_LENGTHS = (ids.HEX_DIGITS, ids.ZBASE32_DIGITS)


def check_file_name(name: bytes) -> None:
    """Returns if a file may have that name.

    Raises:
        InvalidName: a sentence about the name, which it does not repeat.
    """
    if not name:
        raise InvalidName("a name has at least one byte")
    if len(name) > MAX_NAME_BYTES:
        raise NameTooLong(f"a name has at most {MAX_NAME_BYTES} bytes, not {len(name)}")
    if b"/" in name or b"\0" in name:
        raise InvalidName("a name has neither slashes nor NUL bytes")
    if name in (b".", b".."):
        raise InvalidName("that name means a directory")


def check_new_name(name: bytes) -> None:
    """Returns if a feed may be given that name: a mount can show it, and it means nothing else.

    Raises:
        InvalidName: as `check_file_name` does.
    """
    check_file_name(name)
    if name in RESERVED_NAMES:
        raise InvalidName("that name is reserved")
    if feed_id_of_name(name) is not None:
        raise InvalidName("a feed ID is no name: it always means the feed of that ID")


def is_hidden(name: bytes) -> bool:
    """Whether tools name files so that they make beside another, and hide.

    A feed may have such a name, but is not made under it by CREATE or the commands.
    """
    return name.startswith(b".")


def short_name(feed_id: FeedId) -> bytes:
    """The name of a feed that was given none: the first digits of its ID."""
    return own_id_name(feed_id)[:SHORT_ID_DIGITS]


def own_id_name(feed_id: FeedId) -> bytes:
    """The name of a feed that has no other: its ID, which means that feed in any case."""
    return ids.format_hex(feed_id).encode()


def shown_name(name: bytes, feed_id: FeedId) -> bytes:
    """The name that a feed is shown by, if it is kept under `name`: its ID, if no feed may have
    that one. Stores of version 0.1.0 may hold such names."""
    try:
        check_new_name(name)
    except InvalidName:
        return own_id_name(feed_id)
    return name


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
