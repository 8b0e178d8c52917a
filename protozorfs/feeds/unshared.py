"""Whether a feed of one's own was made just now and nobody else can know of it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# For a tool that saves through a temporary file, and its user, to remove it.
UNSHARED_SECONDS = 60.0


class Unshared:
    """The first minute of a feed, until its head is given to a peer or a DHT node.

    Such a feed is a leftover of a tool at most: its key may go with it. Times in seconds,
    monotonic.
    """

    def __init__(self, made_at: float | None) -> None:
        """`made_at`: when this run made its key; None: an earlier one did, or it is not ours."""
        self._made_at = made_at
        self._doubts = 0

    @contextmanager
    def in_doubt(self) -> Iterator[None]:
        """In the body a head may leave this machine at any moment; what became of it is said then.

        Until the end of the body the feed counts as one that others know of.
        """
        self._doubts += 1
        try:
            yield
        finally:
            self._doubts -= 1

    def end(self) -> None:
        """A head of it is about to leave this machine."""
        self._made_at = None

    def lasts(self, now: float) -> bool:
        """True while nobody else can know of it, and it is young."""
        if self._doubts:
            return False
        return self._made_at is not None and now - self._made_at < UNSHARED_SECONDS
