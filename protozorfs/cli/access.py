"""What the feed commands do to a store, whether it is mounted or not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from protozorfs import ids, names
from protozorfs.cli.text import printable
from protozorfs.errors import DecodeError, InvalidName, UsageError
from protozorfs.store.lock import current_holder
from protozorfs.store.trust import check_way

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.types import FeedId


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedLine:
    """One feed as `protozorfs ls` shows it; the lengths are None while nothing is known of it."""

    name: bytes
    feed_id: FeedId
    state: str
    length: int | None  # blocks
    byte_length: int | None
    held_bytes: int
    peer_count: int


class Access(Protocol):
    """The operations, through a mount or on the store itself.

    Raises:
        InvalidName, NameTaken, NoSuchFeed, NotRemovable, StoreFull: as `feeds` does.
        UsageError: what else the user can mend.
    """

    def feeds(self) -> Sequence[FeedLine]:
        """Every named feed, sorted by name."""
        ...

    def create(self, name: bytes) -> FeedId:
        """Makes an owned feed."""
        ...

    def follow(self, feed_id: FeedId, name: bytes) -> None: ...
    def feed_id_of(self, name: bytes) -> FeedId: ...
    def remove(self, name: bytes) -> None: ...
    def delete_key(self, name: bytes, feed_id: FeedId) -> None:
        """Removes an owned feed with its key; the ID must be the feed's."""
        ...


def parse_id(text: str) -> FeedId:
    """The feed ID of a command line.

    Raises:
        UsageError: it is none.
    """
    try:
        return ids.parse_feed_id(text)
    except DecodeError as error:
        raise UsageError(str(error)) from None


def check_new_name(name: bytes, *, is_made: bool) -> None:
    """Refuses what a mount would refuse; `is_made`: for a feed that is made, not followed.

    Raises:
        UsageError
    """
    try:
        names.check_new_name(name)
    except InvalidName as error:
        raise UsageError(f"{printable(name) or 'NAME'}: {error}") from None
    if is_made and names.is_hidden(name):
        reason = "the name of a feed that is made does not begin with a dot"
        raise UsageError(f"{printable(name)}: {reason}")


def mount_point_of(store: Path) -> Path | None:
    """Where the store is mounted, or None.

    Raises:
        StoreRefused: somebody else could have written into the store where that is.
    """
    try:
        check_way(store)
    except OSError:  # no store yet, or not ours; opening it says what is wrong
        return None
    holder = current_holder(store)
    if holder is None or holder.mount_point is None:
        return None
    return Path(holder.mount_point)


def split_path(argument: str) -> tuple[Path | None, bytes]:
    """What NAME means: the directory it is in, if it is a path, and the feed's name."""
    directory, slash, name = argument.rpartition("/")
    if not slash:
        return None, os.fsencode(name)
    return Path(directory or "/"), os.fsencode(name)
