"""What a node can be told, with the defaults; the words of the command line are in `cli`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from protozorfs.errors import UsageError

if TYPE_CHECKING:
    from protozorfs.types import Address

DEFAULT_HEAD_TIMEOUT = 10.0  # seconds that the first open of an unknown feed waits for a head
MIN_CACHE_BYTES = 32 * 1024 * 1024  # two blocks of 15 MiB, the largest, may be one reader's need
DEFAULT_SCRUB_RATE = 8 * 1024 * 1024  # bytes per second: 29 GB an hour, and hardly felt by others
MIN_SCRUB_RATE = 64 * 1024  # 5 GB a day; a step of a MiB takes 16 s then
DEFAULT_DHT_RATE = 50  # packets per second, all DHT traffic of a node together


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How one node behaves. Every field is an option of `-o` with the same meaning.

    Attributes:
        port: TCP (and DHT UDP) port; None: the one remembered in the store, or a free one.
        bind: address to listen on; None: all.
        peers: peers to dial, given by the user.
        bootstrap: DHT nodes to start from; None: the public routers.
        nodht, nolan, noportmap: leave that way of finding or being found alone.
        dht_rate: packets per second.
        sparse: fetch only what is read, not whole feeds.
        local: never fetch for a reader; a read of missing bytes is refused.
        read_timeout: seconds that a read waits for missing bytes; None: for ever.
        head_timeout: seconds that an open of a feed with an unknown head waits.
        cache_size: bytes that the blocks of followed feeds may take on the disk; None: no limit.
        scrub: bytes per second at which all that is held is read again; None: it is not.
        live_from: where a live view starts, "start" or "end".
        noinotify: do not wake inotify watchers of feeds that grow.
        force_append: append although the store may not be the feed's newest.
        ephemeral_id: a new node key for each run.
        read_only: the store is only read; nothing is written into it, and nobody is connected.
    """

    port: int | None = None
    bind: str | None = None
    peers: tuple[Address, ...] = ()
    bootstrap: tuple[Address, ...] | None = None
    nodht: bool = False
    nolan: bool = False
    noportmap: bool = False
    dht_rate: int = DEFAULT_DHT_RATE
    sparse: bool = False
    local: bool = False
    read_timeout: float | None = None
    head_timeout: float = DEFAULT_HEAD_TIMEOUT
    cache_size: int | None = None
    scrub: int | None = None
    live_from: str = "start"
    noinotify: bool = False
    force_append: bool = False
    ephemeral_id: bool = False
    read_only: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError for a value that cannot work."""
        if self.cache_size is not None and self.cache_size < MIN_CACHE_BYTES:
            raise UsageError(
                f"option cache_size={self.cache_size}: at least 32M, since what one read needs"
                " may take nearly as much"
            )
        if self.scrub is not None and self.scrub < MIN_SCRUB_RATE:
            raise UsageError(f"option scrub={self.scrub}: at least 64K a second")
