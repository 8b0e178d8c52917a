"""`write` and `read` through a running mount, which serves and fetches."""

from __future__ import annotations

import errno
import os
import secrets
import select
from typing import TYPE_CHECKING

import click

from protozorfs import ids
from protozorfs.cli.through_mount import MountAccess
from protozorfs.errors import UsageError
from protozorfs.feeds.why import AT_REST
from protozorfs.names import short_name

if TYPE_CHECKING:
    from pathlib import Path

    from protozorfs.types import FeedId

CHUNK_BYTES = 64 * 1024  # of input: the largest block that one write makes
NOT_FOUND = "nobody who has this feed was found"
FOLLOW_SECONDS = 0.2  # between two looks at the end of a file, which says nothing by itself


def write(name: str | None, mount_point: Path) -> None:
    """Copies standard input to a new feed."""
    mount = MountAccess(mount_point)
    first_name = _unused_name() if name is None else os.fsencode(name)
    feed_id = mount.create(first_name)
    with open(mount.path(first_name), "ab", buffering=0) as feed:
        if name is None:
            os.rename(mount.path(first_name), mount.path(short_name(feed_id)))
        click.echo(ids.format_hex(feed_id))
        say_what_is_read()
        _copy(0, feed.fileno(), follow=False)


def _unused_name() -> bytes:
    """For a feed whose ID is not known yet; no killed command has left it, no other takes it."""
    return f"new-feed-{secrets.token_hex(4)}".encode()


def say_what_is_read() -> None:
    """Tells who sits at a terminal that it is their turn."""
    if os.isatty(0):
        click.echo("copying what is typed here; Ctrl-D ends the input", err=True)


def read(feed_id: FeedId, mount_point: Path, *, follow: bool) -> None:
    """Copies a feed to standard output."""
    mount = MountAccess(mount_point)
    name = ids.format_hex(feed_id).encode()
    feed = _open_known(mount, name, waits=follow)
    try:
        _copy(feed, 1, follow=follow)
    finally:
        os.close(feed)


def not_found(why: str) -> UsageError:
    """The error about a feed of which nothing is known; `why` as the status says it."""
    return UsageError(f"{NOT_FOUND}: {why.removeprefix(AT_REST)}")


def _open_known(mount: MountAccess, name: bytes, *, waits: bool) -> int:
    """A descriptor of a feed's file, which cannot be opened while nothing is known of it."""
    flags = os.O_RDONLY | os.O_CLOEXEC | (os.O_NONBLOCK if waits else 0)
    while True:
        try:
            return os.open(mount.path(name), flags)
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
            if not waits:
                raise not_found(mount.why(name)) from None
        pause_while_read(1, FOLLOW_SECONDS)


def _copy(source: int, target: int, *, follow: bool) -> None:
    while True:
        data = os.read(source, CHUNK_BYTES)
        if data:
            write_all(target, data)
        elif follow:
            pause_while_read(target, FOLLOW_SECONDS)
        else:
            return


def pause_while_read(descriptor: int, seconds: float | None = None) -> None:
    """Waits so long, or for ever: as long as somebody can read what is written there.

    Without it the end of `head` in `read ID | head` would be noticed with the next append only.

    Raises:
        BrokenPipeError: nobody can; the other end of a pipe was closed.
        OSError: it was closed here.
    """
    poll = select.poll()
    poll.register(descriptor, 0)  # no event is asked for: only those come that always do
    for _, events in poll.poll(None if seconds is None else seconds * 1000):
        code = errno.EBADF if events & select.POLLNVAL else errno.EPIPE
        raise OSError(code, os.strerror(code))


def write_all(descriptor: int, data: bytes) -> None:
    """Writes every byte, however few a write takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
