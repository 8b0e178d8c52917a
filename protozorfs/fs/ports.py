"""What the mount needs of the layer below, as protocols that this package owns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from protozorfs.feeds.facts import CheckFacts, FeedReport, NodeFacts, ScrubFacts
    from protozorfs.types import FeedId


class ReaderView(Protocol):
    """The reading side of a feed.

    A feed's bytes are its blocks, one after another; offsets and ranges `[start, end)` are in
    bytes. What does not start with `wait` answers from what is here and never waits.
    """

    def read_nowait(self, offset: int, size: int) -> bytes:
        """The bytes held without a gap from `offset` on, at most `size`.

        Empty if the byte at `offset` is not here, or behind the end.

        Raises:
            StoreCorrupt: what is stored there is not what was verified.
        """
        ...

    async def read(self, start: int, end: int) -> bytes:
        """All of `[start, end)`, which the feed must have; waits for what is missing.

        Raises as `wait_bytes`.
        """
        ...

    async def wait_bytes(self, start: int, end: int) -> None:
        """Returns when all of `[start, end)` is here. Cancelling it drops the want.

        Raises:
            Closing, StoreCorrupt, BlockUnavailable: the last when nothing is fetched for readers.
        """
        ...

    async def wait_length(self, length: int) -> None:
        """Returns when the feed has more than `length` blocks. Raises Closing."""
        ...

    def block_start(self, block_index: int) -> int | None:
        """The offset in bytes of a block, or of the end if it is the next one; None: not known."""
        ...

    async def wait_block_start(self, block_index: int) -> None:
        """Returns when `block_start` is known. Raises as `wait_bytes`."""
        ...

    def look_for_head(self) -> None:
        """Has everybody asked who may know an unknown feed; no effect on one that is known."""
        ...

    async def wait_first_head(self) -> None:
        """Returns when the feed is known; looks for it if it is not.

        Raises:
            HeadUnknown: everybody was asked who might know it.
            Closing
        """
        ...


class FeedView(Protocol):
    """One open feed as the file system sees it. The properties answer from what is here."""

    @property
    def feed_id(self) -> FeedId: ...
    @property
    def is_owned(self) -> bool: ...
    @property
    def is_unknown(self) -> bool:
        """No head was ever seen of it, so that it may have any length; never one's own."""
        ...

    @property
    def length(self) -> int:
        """Blocks under the newest verified head."""
        ...

    @property
    def byte_length(self) -> int:
        """Bytes under the newest verified head; they need not be here."""
        ...

    @property
    def held_bytes(self) -> int:
        """Bytes that are here."""
        ...

    @property
    def fork(self) -> int: ...
    @property
    def mtime_ns(self) -> int:
        """When it was last known to be longer than before."""
        ...

    @property
    def created_ns(self) -> int: ...
    @property
    def peer_count(self) -> int: ...
    @property
    def waiting_count(self) -> int:
        """How many readers wait for it: for missing bytes, its growth or its first head."""
        ...

    @property
    def state(self) -> str:
        """One of owned, resolving, current, behind, offline, frozen, damaged, paused."""
        ...

    @property
    def frozen_why(self) -> str:
        """Why it is frozen, as a part of a sentence; empty if it is not."""
        ...

    @property
    def reader(self) -> ReaderView:
        """Answers reads."""
        ...

    async def append(self, blocks: Sequence[bytes]) -> None:
        """Appends all or none of the blocks; returns when they survive a kill of this process.

        Raises:
            NotWritable, StoreFull, Closing
        """
        ...

    async def sync(self) -> None:
        """Returns when everything appended or stored so far survives a power cut."""
        ...

    def acquire(self) -> None:
        """Counts an open handle."""
        ...

    def release(self) -> None:
        """Gives back what `acquire` counted."""
        ...


class SurroundingsView(Protocol):
    """What all feeds of the store have in common."""

    @property
    def is_read_only(self) -> bool:
        """The store is only read: nothing changes, and nobody is connected."""
        ...

    def may_fetch(self) -> bool:
        """False while the disk is nearly full."""
        ...

    def store_trouble(self) -> str:
        """That the store was deleted or replaced, as a sentence; empty if it was not."""
        ...

    def watched(self, watcher: Callable[[FeedView], None]) -> AbstractContextManager[None]:
        """In the body, calls `watcher` when a feed has a newer head, or more of it is here."""
        ...


class NumbersView(Protocol):
    """Inode numbers, of files that are named by identities: the same for ever, none for two."""

    def take(self, identity: bytes) -> int:
        """The number of a file; nothing else gets it before each `take` was given back."""
        ...

    def give_back(self, identity: bytes) -> None: ...


class FeedsView(Protocol):
    """All feeds of the store, by local name and by ID.

    The calls that change something wait for the disk, not for the network. What they change is seen
    when they return; a cancellation waits for that.

    Raises:
        InvalidName, NameTaken, NoSuchFeed, NotRemovable, StoreFull
    """

    @property
    def surroundings(self) -> SurroundingsView: ...
    @property
    def numbers(self) -> NumbersView: ...
    def names(self) -> Sequence[tuple[bytes, FeedView]]:
        """Every named feed, sorted by name."""
        ...

    def by_name(self, name: bytes) -> FeedView | None: ...
    def by_id(self, feed_id: FeedId) -> FeedView | None:
        """A feed that has a name or is being visited."""
        ...

    def by_number(self, number: int) -> FeedView | None:
        """The same, by the inode number of its file."""
        ...

    async def create(self, name: bytes) -> FeedView:
        """Makes a key and with it an owned feed."""
        ...

    async def follow(self, feed_id: FeedId, name: bytes) -> FeedView: ...
    async def visit(self, feed_id: FeedId) -> FeedView:
        """Looks for a feed without a name; it goes some time after its last release."""
        ...

    async def rename(self, old: bytes, new: bytes) -> None: ...
    async def remove(self, name: bytes) -> None: ...
    async def delete_key(self, name: bytes, feed_id: FeedId) -> None:
        """Removes an owned feed with its key; the ID must be the feed's."""
        ...

    def statvfs(self) -> os.statvfs_result: ...
    def name_by_id(self, feed_id: FeedId) -> bytes | None:
        """The local name of a feed; None if it has none."""
        ...

    def report(self, feed_id: FeedId) -> FeedReport:
        """What the status shows of a feed that is named or being visited."""
        ...

    def check_facts(self) -> CheckFacts | None:
        """How far the check of what an unclean stop has left is; None if there is none."""
        ...

    def scrub_facts(self) -> ScrubFacts | None:
        """How far the scrub is, and what the last one found; None without that option."""
        ...

    def node_facts(self) -> NodeFacts | None:
        """What the status shows of the node; None before it is connected to anything."""
        ...
