"""How far the answers of one peer about one feed are trusted, after bad ones.

Disks of peers rot, and programs that do not check what they serve pass that on: a bad answer costs
the peer the trust for that block, and several cost it that for the feed, for a while. Its
connection and its other feeds stay. A peer that sends nothing but bad answers is asked for a block
an hour in the end, also if it comes again and again. No I/O.
"""

from __future__ import annotations

from collections import OrderedDict

MAX_CREDIT = 8  # bad answers until a rest
GOOD_ANSWERS = 8  # that are worth one bad one
FIRST_DISTRUST_SECONDS = 5.0  # of a rest; it doubles each time
MAX_DISTRUST_SECONDS = 3600.0
MAX_TRUSTS = 64  # peers of one feed of which it is remembered that they sent something bad


class Trust:
    """That in one peer, for one feed.

    Attributes:
        credit: how many bad answers it may still give before a rest; as many blocks are asked of
            it at a time, where that is not MAX_CREDIT.
        rests_until: it is not asked before; seconds, monotonic.
        error: the last bad answer.
    """

    def __init__(self) -> None:
        self.credit = MAX_CREDIT
        self.rests_until = float("-inf")
        self.error: Exception | None = None
        self._good = 0
        self._rest_seconds = FIRST_DISTRUST_SECONDS

    @property
    def is_full(self) -> bool:
        """It has sent nothing bad, or much that was good since."""
        return self.credit == MAX_CREDIT

    def good(self) -> None:
        """A good answer came."""
        if self.is_full:
            return
        self._good += 1
        if self._good == GOOD_ANSWERS:
            self._good = 0
            self.credit += 1
            if self.is_full:
                self._rest_seconds = FIRST_DISTRUST_SECONDS

    def bad(self, error: Exception, cost: int, now: float) -> bool:
        """A bad answer came; False if it was asked for before a rest that lasts."""
        self.error = error
        if now < self.rests_until:
            return False
        self._good = 0
        self.credit -= cost
        if self.credit <= 0:
            self.credit = 1
            self.rests_until = now + self._rest_seconds
            self._rest_seconds = min(MAX_DISTRUST_SECONDS, 2 * self._rest_seconds)
        return True


class Trusts:
    """That in all peers of one feed; of those that sent something bad it is remembered."""

    def __init__(self) -> None:
        self._trusts: OrderedDict[str, Trust] = OrderedDict()

    def __len__(self) -> int:
        return len(self._trusts)

    def of(self, source: str) -> Trust:
        """The trust in the peer that is known by `source` again."""
        return self._trusts.get(source) or Trust()

    def remember(self, source: str, trust: Trust) -> None:
        """Keeps it for the next connection."""
        self._trusts[source] = trust
        self._trusts.move_to_end(source)
        if len(self._trusts) > MAX_TRUSTS:
            self._trusts.popitem(last=False)
