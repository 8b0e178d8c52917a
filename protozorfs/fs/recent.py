"""What happened a moment ago, for rules that tell tools apart by what they have just done.

A thread is what a request names as `pid`; tools do in one thread what belongs together.
"""

from __future__ import annotations

from typing import Generic, TypeVar

MEMORY_SECONDS = 5.0  # between two steps of one tool: far less on any machine
MAX_REMEMBERED = 1024  # of one kind at once; an entry is a few hundred bytes

Key = TypeVar("Key")


class Recent(Generic[Key]):
    """Keys, each with when it was noted last; forgotten after a while."""

    def __init__(self) -> None:
        self._when: dict[Key, float] = {}

    def note(self, key: Key, now: float) -> None:
        """Remembers it; the oldest is forgotten when there are too many."""
        self._when.pop(key, None)  # so that insertion order stays the order of age
        self._when[key] = now
        if len(self._when) > MAX_REMEMBERED:
            del self._when[next(iter(self._when))]

    def has(self, key: Key, now: float) -> bool:
        """True within the memory's time of the note."""
        when = self._when.get(key)
        return when is not None and now - when <= MEMORY_SECONDS

    def take(self, key: Key, now: float) -> bool:
        """As `has`, once: it is forgotten."""
        has = self.has(key, now)
        self._when.pop(key, None)
        return has


class Rotations:
    """Which thread rotates a log: it renames a feed away and makes another under its name.

    Nobody else makes a name that it has just renamed away: a temporary file has a name that was
    never there, and an editor that keeps the old file renames the new one onto its name.
    """

    def __init__(self) -> None:
        self._renamed: Recent[tuple[int, bytes]] = Recent()
        self._owner_due: Recent[tuple[int, int]] = Recent()
        self._mode_due: Recent[tuple[int, int]] = Recent()

    def renamed(self, pid: int, old: bytes, now: float) -> None:
        """A feed has lost that name."""
        self._renamed.note((pid, old), now)

    def take_name(self, pid: int, name: bytes, now: float) -> bool:
        """True, once, for a thread that has just renamed that very name away."""
        return self._renamed.take((pid, name), now)

    def made(self, pid: int, inode: int, now: float) -> None:
        """The thread has made the feed that takes the old one's place."""
        self._owner_due.note((pid, inode), now)
        self._mode_due.note((pid, inode), now)

    def take_mode(self, pid: int, inode: int, now: float) -> bool:
        """True, once, for who has just made it: a rotator closes its new log to others first."""
        return self._mode_due.take((pid, inode), now)

    def take_owner(self, pid: int, inode: int, now: float) -> bool:
        """True, once, for who has just made it: a rotator gives it to whom the old log had."""
        return self._owner_due.take((pid, inode), now)
