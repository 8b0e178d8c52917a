"""A mount with a feed of which some bytes are missing, and nobody is there to send them."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.e2e.stage import at, follow, free_port, id_of, mounted_at, number, shell, wait_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.mounts import Mount

SIZE = 3_000_001
READ_PARTS = ((0, 100_000), (1_000_000, 100_000), (SIZE - 1000, 1000))  # offset, bytes
FIRST_MISSING = 500_000  # an offset in none of the blocks of these


@dataclass(frozen=True)
class HalfHeld:
    """Its owner is gone; `owner_again` brings it back.

    Attributes:
        mount: where the feed is half held.
        feed: its file there.
        source: a file with all that the feed holds.
        owner_port: where the owner was, and will be.
    """

    directory: Path
    mount: Mount
    feed: Path
    source: Path
    owner_port: int

    @contextmanager
    def owner_again(self) -> Iterator[Mount]:
        """The owner's mount, back at its address."""
        with mounted_at(self.directory, "owner", self.owner_port) as mount:
            yield mount


@contextmanager
def half_held(
    directory: Path, *, port: int | None = None, more: Sequence[str] = ()
) -> Iterator[HalfHeld]:
    """Stages it: a sparse mount (at `port`) reads some ranges, and then the owner is killed."""
    source, owner_port = directory / "source", free_port()
    shell(f"head -c {SIZE} /dev/urandom > {source}")
    peer, settings = at(owner_port), ["sparse", *more]
    with mounted_at(directory, "reader", port or free_port(), peer, more=settings) as mount:
        with mounted_at(directory, "owner", owner_port) as owner:
            shell(f"cat {source} >> {owner.path}/journal")
            feed = follow(id_of(owner.path / "journal"), mount.path / "paul")
            wait_size(feed, SIZE)
            for offset, count in READ_PARTS:
                shell(f"tail -c +{offset + 1} {feed} | head -c {count} > /dev/null")
            owner.stop(signal.SIGKILL)
        assert sum(count for _, count in READ_PARTS) <= number(feed, "local") < SIZE
        yield HalfHeld(directory, mount, feed, source, owner_port)
