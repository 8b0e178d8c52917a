"""The extended attributes `protozorfs.*`: a feed's state as text, and the deletion of a key.

They can be read but are not listed, as other file systems do with attributes that they make up:
`rsync -X`, `cp --preserve=xattr` and `bsdtar` fail where they cannot set what a listing names.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from protozorfs import ids

if TYPE_CHECKING:
    from collections.abc import Callable

    from protozorfs.fs.ports import FeedView
    from protozorfs.types import FeedId

PREFIX = b"protozorfs."
DELETE_KEY = PREFIX + b"delete_key"  # write-only; its value is the ID of the feed to be deleted

ID = PREFIX + b"id"  # 64 lower-case hex digits

# Of a feed of which nothing is known these do not exist: 0 would be taken for its length.
_OF_THE_HEAD: dict[bytes, Callable[[FeedView], str]] = {
    PREFIX + b"length": lambda feed: str(feed.length),  # blocks
    PREFIX + b"bytes": lambda feed: str(feed.byte_length),
}
_VALUES: dict[bytes, Callable[[FeedView], str]] = {
    **_OF_THE_HEAD,
    PREFIX + b"local": lambda feed: str(feed.held_bytes),
    PREFIX + b"fork": lambda feed: str(feed.fork),
    PREFIX + b"owned": lambda feed: str(int(feed.is_owned)),
    PREFIX + b"peers": lambda feed: str(feed.peer_count),
    PREFIX + b"state": lambda feed: feed.state,
}


def value(feed_id: FeedId, feed: FeedView | None, name: bytes) -> bytes | None:
    """The attribute's value without a newline, or None if there is no such attribute."""
    if name == ID:
        return ids.format_hex(feed_id).encode("ascii")
    read = _VALUES.get(name)
    if read is None or feed is None or (name in _OF_THE_HEAD and feed.is_unknown):
        return None
    return read(feed).encode("ascii")


def change_refusal(name: bytes) -> int:
    """The errno for setting or removing any attribute but `DELETE_KEY`.

    EPERM for what `chattr +a` refuses so; ENOTSUP for the namespaces that this file system does not
    have (ACLs, security labels), which tools that copy them take in their stride.
    """
    return errno.EPERM if name.startswith((PREFIX, b"user.")) else errno.ENOTSUP
