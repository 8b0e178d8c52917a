"""The feed commands through a running mount: ordinary system calls, as any tool would do them."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from protozorfs import ids
from protozorfs.cli.access import FeedLine
from protozorfs.cli.text import printable
from protozorfs.errors import (
    DecodeError,
    NameTaken,
    NoSuchFeed,
    NotRemovable,
    ProtozorfsError,
    StoreFull,
    UsageError,
)
from protozorfs.names import STATUS_DIRECTORY
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What the mount's errnos mean, turned back into the errors of the layer below it.
MEANINGS: dict[int, tuple[type[ProtozorfsError], str]] = {
    errno.EEXIST: (NameTaken, "there is a feed of that name"),
    errno.ENOENT: (NoSuchFeed, "no feed of that name"),
    errno.EINVAL: (DecodeError, "that name or ID is not accepted"),
    errno.ENAMETOOLONG: (DecodeError, "a name has at most 255 bytes"),
    errno.EPERM: (NotRemovable, "not permitted: that name is reserved"),
    errno.ENOSPC: (StoreFull, "there is no space left"),
    errno.ENOTCONN: (UsageError, "the mount is dead; mount it again"),
    errno.EACCES: (UsageError, "permission denied: only its own user may use this mount"),
    errno.EROFS: (UsageError, "the mount is read-only"),
}
KEY_LOST = "its key would be lost: protozorfs rm --delete-key"
NOT_OURS = {errno.ENODATA, errno.ENOTSUP}


class MountAccess:
    """See `access.Access`."""

    def __init__(self, mount_point: Path) -> None:
        self.mount_point = mount_point

    def feeds(self) -> list[FeedLine]:
        with _meaning(self.mount_point):
            names = sorted(os.listdir(os.fsencode(self.mount_point)))
        return [self._line(name) for name in names]

    def create(self, name: bytes) -> FeedId:
        with _meaning(self.mount_point):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
            os.close(os.open(self.path(name), flags, 0o644))
        return self.feed_id_of(name)

    def follow(self, feed_id: FeedId, name: bytes) -> None:
        try:
            with _meaning(self.mount_point):
                os.symlink(os.fsencode(ids.format_hex(feed_id)), self.path(name))
        except NameTaken:
            raise NameTaken(self._why_taken(feed_id, name)) from None

    def feed_id_of(self, name: bytes) -> FeedId:
        return FeedId(bytes.fromhex(self._attribute(name, "id")))

    def why(self, name: bytes) -> str:
        """What stands between a feed and its reader, in one sentence."""
        path = os.path.join(self.path(STATUS_DIRECTORY), b"feeds", name, b"why")
        with _meaning(self.mount_point), open(path) as file:
            return file.read().rstrip("\n")

    def remove(self, name: bytes) -> None:
        # Asked first, so that only feeds are ever unlinked, whatever the path names. The mount lets
        # go of a feed that nobody has seen; a key is deleted on purpose only.
        if self._attribute(name, "owned") == "1" and self._attribute(name, "length") != "0":
            raise NotRemovable(KEY_LOST)
        with _meaning(self.mount_point):
            os.unlink(self.path(name))

    def delete_key(self, name: bytes, feed_id: FeedId) -> None:
        with _meaning(self.mount_point):
            value = ids.format_hex(feed_id).encode()
            os.setxattr(self.path(name), "protozorfs.delete_key", value)

    def path(self, name: bytes) -> bytes:
        """Where a feed's file is."""
        return os.path.join(os.fsencode(self.mount_point), name)

    def _line(self, name: bytes) -> FeedLine:
        return FeedLine(
            name=name,
            feed_id=self.feed_id_of(name),
            state=self._attribute(name, "state"),
            length=self._length(name, "length"),
            byte_length=self._length(name, "bytes"),
            held_bytes=int(self._attribute(name, "local")),
            peer_count=int(self._attribute(name, "peers")),
        )

    def _why_taken(self, feed_id: FeedId, name: bytes) -> str:
        with _meaning(self.mount_point):
            names = os.listdir(os.fsencode(self.mount_point))
        others = () if name in names else names
        same = (other for other in others if self.feed_id_of(other) == feed_id)
        known = next(same, None)
        if known is None:
            return MEANINGS[errno.EEXIST][1]
        return f"this feed is here already, as {printable(known)}"

    def _length(self, name: bytes, attribute: str) -> int | None:
        """A length, which there is none of while nothing is known of the feed."""
        with _meaning(self.mount_point):
            try:
                return int(os.getxattr(self.path(name), f"protozorfs.{attribute}"))
            except OSError as error:
                if error.errno != errno.ENODATA:
                    raise
                return None

    def _attribute(self, name: bytes, attribute: str) -> str:
        with _meaning(self.mount_point):
            return os.getxattr(self.path(name), f"protozorfs.{attribute}").decode()


@contextmanager
def _meaning(directory: Path) -> Iterator[None]:
    """Turns what a system call says into the error that the mount meant by it."""
    try:
        yield
    except OSError as error:
        if error.errno in NOT_OURS:
            raise UsageError(f"{directory} is not a mount of protozorfs") from None
        kind, sentence = MEANINGS.get(error.errno or 0, (UsageError, error.strerror or str(error)))
        if kind is UsageError:
            sentence = f"{directory}: {sentence}"
        raise kind(sentence) from None
