"""Inode numbers: derived from what a file is, so that it is the same file for ever.

Tools that follow files (tailers, backup programs) remember a file by its number, over restarts of
their own and of the mount. A number therefore follows from the *identity* of a file, some bytes
that say what it is, by a hash under a key of the store: without the key nobody can make a feed
that has the number of another one. Two files that are known at once never share a number: the one
that comes second gets the next free number, and keeps it for ever, too.

Numbers stay below 2**53, which JSON, doubles and signed columns hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from protozorfs import crypto
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from collections.abc import Mapping

# Below it are those with a fixed meaning (0 none, 1 the root), above it those that nobody keeps.
NUMBERS = range(1 << 16, 1 << 53)
_FEED = b"feed "


class Kept(Protocol):
    """What the store keeps; `store.numbers.KeptNumbers`."""

    @property
    def key(self) -> bytes: ...
    @property
    def numbers(self) -> Mapping[bytes, int]:
        """The numbers that collisions gave, by identity."""
        ...

    def keep(self, identity: bytes, number: int) -> None: ...


def identity_of_feed(feed_id: FeedId) -> bytes:
    """The identity of a feed's file, whatever its name."""
    return _FEED + feed_id


@dataclass(slots=True)
class _Known:
    number: int
    uses: int = 0


class Numbers:
    """The numbers of all files that somebody holds one of: the registry, or the kernel."""

    def __init__(self, kept: Kept, span: range = NUMBERS) -> None:
        """`span`: where numbers come from; it must have room for all files that are known."""
        self._kept = kept
        self._span = span
        self._known: dict[bytes, _Known] = {}
        self._taken: dict[int, bytes] = {}  # identities, by number

    def take(self, identity: bytes) -> int:
        """The number of a file; nothing else gets it before each `take` was given back."""
        known = self._known.get(identity)
        if known is None:
            known = self._known[identity] = _Known(self._number_of(identity))
            self._taken[known.number] = identity
        known.uses += 1
        return known.number

    def give_back(self, identity: bytes) -> None:
        """Takes one `take` back."""
        known = self._known[identity]
        known.uses -= 1
        if not known.uses:
            del self._known[identity]
            del self._taken[known.number]

    def feed_of(self, number: int) -> FeedId | None:
        """The feed whose file has that number, if somebody holds it."""
        identity = self._taken.get(number, b"")
        return FeedId(identity.removeprefix(_FEED)) if identity.startswith(_FEED) else None

    def _number_of(self, identity: bytes) -> int:
        number = self._kept.numbers.get(identity)
        if number is not None:
            return number
        span = self._span
        digest = crypto.blake2b_256(identity, key=self._kept.key)
        first = int.from_bytes(digest[:8], "little") % len(span)
        others = set(self._kept.numbers.values())
        position = first
        while span[position] in self._taken or span[position] in others:
            position = (position + 1) % len(span)
        if position != first:
            self._kept.keep(identity, span[position])
        return span[position]
