"""Names to feeds, and what `rm`, `mv` and `ln -s` do to the names in the mount's root.

Raises the errors of the layer below and `Refused`. Nothing here waits for the network; what changes
names waits for the disk.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from protozorfs import names
from protozorfs.errors import DecodeError
from protozorfs.fs import policy
from protozorfs.fs.errnos import Refused
from protozorfs.fs.inodes import LiveView
from protozorfs.types import MAX_NAME_BYTES

if TYPE_CHECKING:
    from protozorfs.fs.ports import FeedsView, FeedView
    from protozorfs.types import FeedId


def refuse(code: int) -> None:
    """Raises Refused unless the code is 0."""
    if code:
        raise Refused(code)


class Directory:
    """Names and IDs in the mount's root."""

    def __init__(self, feeds: FeedsView) -> None:
        self._feeds = feeds

    def find(self, name: bytes) -> FeedId:
        """The feed that a name, or an ID used as a name, means.

        Raises:
            Refused: ENOENT, ENAMETOOLONG.
        """
        if len(name) > MAX_NAME_BYTES:
            raise Refused(errno.ENAMETOOLONG)
        feed = self._feeds.by_name(name)
        if feed is not None:
            return feed.feed_id
        feed_id = names.feed_id_of_name(name)
        if feed_id is None:
            raise Refused(errno.ENOENT)
        return feed_id

    def find_live(self, name: bytes) -> tuple[FeedId, LiveView]:
        """The live view that a name in `.live` means: `NAME`, `NAME@N`, or with an ID as the name.

        Raises:
            Refused: ENOENT, ENAMETOOLONG.
        """
        split = names.split_live_name(name)
        if split is None or self._feeds.by_name(name) is not None:
            return self.find(name), LiveView(None)
        return self.find(split[0]), LiveView(split[1])

    async def create(self, name: bytes, flags: int, *, is_rotation: bool) -> FeedView:
        """A new owned feed, for CREATE."""
        names.check_new_name(name)
        refuse(policy.create_refusal(name, flags, is_rotation=is_rotation))
        return await self._feeds.create(name)

    async def follow(self, name: bytes, target: bytes) -> None:
        """`ln -s ID NAME`."""
        await self._feeds.follow(names.decode_feed_id(target), name)

    async def rename(self, old: bytes, new: bytes, *, no_replace: bool, exchange: bool) -> None:
        """`mv OLD NEW`; an ID as the old name keeps that feed under the new one."""
        if old in names.RESERVED_NAMES:
            raise Refused(errno.EPERM)
        feed_id = self.find(old)
        target_exists = self._feeds.by_name(new) is not None
        refuse(
            policy.rename_refusal(
                target_exists=target_exists, no_replace=no_replace, exchange=exchange
            )
        )
        if self._feeds.by_name(old) is not None:
            await self._feeds.rename(old, new)
        else:
            await self._feeds.follow(feed_id, new)

    async def remove(self, name: bytes) -> None:
        """`rm NAME`; a feed that is reached by its ID alone has no name to lose."""
        self.find(name)
        if self._feeds.by_name(name) is None:
            raise Refused(errno.EPERM)
        await self._feeds.remove(name)

    async def delete_key(self, feed: FeedView, value: bytes) -> None:
        """Removes an owned feed and its key; the value must spell the feed's ID.

        Raises:
            DecodeError: it does not.
            Refused: EPERM, not an owned feed that has a name.
        """
        name = next((name for name, named in self._feeds.names() if named is feed), None)
        if name is None or not feed.is_owned:
            raise Refused(errno.EPERM)
        feed_id = names.decode_feed_id(value)
        if feed_id != feed.feed_id:
            raise DecodeError("the ID is not the one of this feed")
        await self._feeds.delete_key(name, feed_id)
