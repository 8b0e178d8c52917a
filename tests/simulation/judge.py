"""Judges what a feed shows after any sequence of kills, power cuts, errors and stops.

It knows only what callers were told: which appends and syncs returned, which heads a peer could
have seen, and what an opened feed shows. It shares no code with the product: hashes and signatures
are made and checked here, from the description in docs/protocol.md.

The rules, by the names in `Violation`:

    wrong       whatever is read is what was appended there
    returned    an append that returned is there after a kill or a clean stop
    synced      what a sync or a clean stop covered is there after a power cut
    published   a head that a peer could have seen is a prefix of the feed, for ever
    fork        no two heads of one length differ, and every head is the feed's own
    failed      of an append that failed nothing is ever shown
    usable      the feed opens, reads and takes appends, unless the disk is failing
    name        a feed has the one name that its callers were told; while that is changed the old or
                the new one; and after a change that failed the old one

Of a whole store, judged in `store_process`:

    torn        a file that is put in the place of another one is never there in part
    format      a store that was open once says of which format it is
    twice       both files of names have each change that returned, and both of a key the key,
                once a feed was made, or appended to by a run in which the disk refused nothing;
                both of the node's key it, and their place is kept, once the store was open
    key         the node has the key that peers know, and a feed of our own its secret
    place       a feed of our own takes itself for a copy if it is one, and only then
    removed     nothing is left of a feed whose removal returned
    visited     a feed that has a name is not marked as one to go
    clean       what was stopped cleanly needs no check, after a power cut neither
    checked     what was checked behind a kill is not checked again by the next run
    doubt       what is said to be here and not to be checked, is
    beside      what is kept beside a feed is what was put there last
    aside       what is cut off a damaged feed of our own is kept
"""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

import nacl.bindings
import nacl.exceptions

NAMESPACE = hashlib.blake2b(
    hashlib.blake2b(b"hypercore", digest_size=32).digest() + bytes(1), digest_size=32
).digest()

MARK_MAGIC, MARK_BODY_BYTES = b"pzfsrest", 56


class Violation(AssertionError):
    """A rule that was broken; `rule` is its name."""

    def __init__(self, rule: str, what: str) -> None:
        super().__init__(f"{rule}: {what}")
        self.rule = rule


class ShownHead(NamedTuple):
    """A head as a peer sees it."""

    fork: int
    length: int
    tree_hash: bytes
    signature: bytes


def tree_hash_of(blocks: list[bytes]) -> bytes:
    """The hash that the head of these blocks signs, computed from the blocks alone."""
    parts, first, left = [b"\x02"], 0, len(blocks)
    while left:
        width = 1 << (left.bit_length() - 1)
        root, size = _subtree(blocks[first : first + width])
        parts += [root, struct.pack("<QQ", 2 * first + width - 1, size)]
        first, left = first + width, left - width
    return _hash(b"".join(parts))


def _subtree(blocks: list[bytes]) -> tuple[bytes, int]:
    if len(blocks) == 1:
        return _hash(b"\0" + struct.pack("<Q", len(blocks[0])) + blocks[0]), len(blocks[0])
    half = len(blocks) // 2
    (left, left_size), (right, right_size) = _subtree(blocks[:half]), _subtree(blocks[half:])
    size = left_size + right_size
    return _hash(b"\x01" + struct.pack("<Q", size) + left + right), size


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def check_mark(content: bytes) -> None:
    """Returns if this is the whole mark of a clean stop; none means that it is not there."""
    body, checksum = content[:MARK_BODY_BYTES], content[MARK_BODY_BYTES:][:32]
    if not body.startswith(MARK_MAGIC) or _hash(body) != checksum:
        raise Violation("clean", f"the mark of a clean stop is {content!r}")


class Judge:
    """What callers of one owned feed were told. All lengths count blocks."""

    def __init__(self, public_key: bytes) -> None:
        self._public_key = public_key
        self.blocks: list[bytes] = []  # of appends that returned
        self.tried: list[bytes] = []  # of the append that is under way, or was when all stopped
        self.durable = 0  # of `blocks`, what no power cut may take
        self.published: dict[int, bytes] = {}  # tree hash by length, of every head ever shown
        self.checked = 0  # heads and blocks that were judged
        self._known: set[ShownHead] = set()  # of those published, the ones that were judged
        self._syncing: int | None = None

    def clone(self) -> Judge:
        """What they were told up to now, for another end of the story."""
        other = Judge(self._public_key)
        other.blocks, other.tried = list(self.blocks), list(self.tried)
        other.durable, other.published = self.durable, dict(self.published)
        other._known, other._syncing = set(self._known), self._syncing
        return other

    # what callers were told

    def append_begins(self, blocks: list[bytes]) -> None:
        """Somebody appends."""
        self.tried = list(blocks)

    def append_returned(self) -> None:
        """And was told that it is in."""
        self.blocks += self.tried
        self.tried = []

    def append_failed(self) -> None:
        """And was told that nothing of it is."""
        self.tried = []

    def sync_begins(self) -> None:
        """A sync covers what was appended by now."""
        self._syncing = len(self.blocks)

    def sync_returned(self) -> None:
        """That is durable."""
        if self._syncing is None:
            raise Violation("synced", "a sync returned that nobody began")
        self.durable = max(self.durable, self._syncing)
        self._syncing = None

    def sync_failed(self) -> None:
        """Nobody was told anything."""
        self._syncing = None

    def closed_cleanly(self) -> None:
        """A clean stop syncs everything."""
        self.durable = len(self.blocks)

    def cut_begins(self) -> Judge:
        """The feed is damaged, and is to be cut: what it may show meanwhile."""
        other = self.clone()
        other.published.clear()  # whoever has a head that is longer is told another history
        return other

    def cut_to(self, length: int) -> Judge:
        """It was cut, and is whole again: what it shows from now on."""
        other = Judge(self._public_key)
        other.blocks, other.durable = self.blocks[:length], length
        return other

    def shown(self, head: ShownHead | None) -> None:
        """A peer could see this head from now on."""
        if head is None or head.length == 0 or head in self._known:
            return
        self._check_own(head)
        known = self.published.setdefault(head.length, head.tree_hash)
        if known != head.tree_hash:
            raise Violation("fork", f"two heads of length {head.length} were shown")
        if head.length > len(self.blocks):
            raise Violation("published", f"a head of {head.length} blocks, {self._counts()}")
        if head.tree_hash != tree_hash_of(self.blocks[: head.length]):
            raise Violation("fork", f"the head of length {head.length} is of other blocks")
        self.durable = max(self.durable, head.length)
        self.checked += 1
        self._known.add(head)

    # what a feed shows

    def opened(
        self, length: int, blocks: list[bytes], content: bytes, *, was_power_cut: bool
    ) -> None:
        """A feed was opened again after it stopped, and shows this; it goes on from there.

        Args:
            length: of the feed.
            blocks: all of them, each as it was read.
            content: all bytes, read at once.
            was_power_cut: the machine stopped, not only the process.
        """
        least = self.durable if was_power_cut else len(self.blocks)
        rule = "synced" if was_power_cut else "returned"
        everything = self.blocks + self.tried
        if length < least:
            published = max(self.published, default=0)
            raise Violation(
                "published" if length < published else rule,
                f"{length} blocks are left of {least} that must be, {self._counts()}",
            )
        if length > len(everything):
            raise Violation("failed", f"{length} blocks, {self._counts()}")
        if not was_power_cut and length not in (len(self.blocks), len(everything)):
            raise Violation("failed", f"{length} blocks: a part of an append, {self._counts()}")
        if blocks != everything[:length]:
            wrong = next(
                (i for i, (a, b) in enumerate(zip(blocks, everything, strict=False)) if a != b),
                len(blocks),
            )
            raise Violation("wrong", f"block {wrong} of {length}, {self._counts()}")
        if content != b"".join(blocks):
            raise Violation("wrong", f"{len(content)} bytes, {self._counts()}")
        # Heads that were published fit: they were checked against these very blocks.
        self.blocks, self.tried = list(blocks), []
        self._syncing = None
        self.checked += 1 + length

    def opened_damaged(self, length: int, blocks: list[bytes | None]) -> None:
        """A bit of it was flipped, and it shows this; None stands for a block that it refuses."""
        published = max(self.published, default=0)
        if length < published:
            raise Violation("published", f"{length} blocks are left, {self._counts()}")
        everything = self.blocks + self.tried
        if length > len(everything):
            raise Violation("failed", f"{length} blocks, {self._counts()}")
        for index, block in enumerate(blocks):
            if block is not None and block != everything[index]:
                raise Violation("wrong", f"block {index} of {length}, {self._counts()}")
        self.checked += 1 + length

    def unusable(self, error: BaseException) -> None:
        """A feed on a sound disk was refused."""
        raise Violation("usable", f"{type(error).__name__}: {error}, {self._counts()}") from error

    def _check_own(self, head: ShownHead) -> None:
        message = NAMESPACE + head.tree_hash + struct.pack("<QQ", head.length, head.fork)
        try:
            nacl.bindings.crypto_sign_open(head.signature + message, self._public_key)
        except nacl.exceptions.BadSignatureError:
            raise Violation("fork", f"the head of length {head.length} has no signature") from None

    def _counts(self) -> str:
        return (
            f"where {len(self.blocks)} had returned and {len(self.tried)} were under way,"
            f" {self.durable} durable, {max(self.published, default=0)} published"
        )


class NamesJudge:
    """What callers were told of the names of feeds."""

    def __init__(self) -> None:
        self._may: dict[bytes, set[bytes | None]] = {}  # names by feed; None: it has none
        self._was: dict[bytes, set[bytes | None]] = {}  # of the feed that is being changed

    def clone(self) -> NamesJudge:
        """What they were told up to now, for another end of the story."""
        other = NamesJudge()
        other._may = {feed: set(names) for feed, names in self._may.items()}
        other._was = {feed: set(names) for feed, names in self._was.items()}
        return other

    def begins(self, feed: bytes, *names: bytes | None) -> None:
        """Somebody gives it a name or takes it away; `names`: any that it may end up with."""
        before = self._may.get(feed, {None})
        self._was = {feed: before}
        self._may[feed] = before | set(names)

    def returned(self, feed: bytes, name: bytes | None) -> None:
        """That was done."""
        self._was = {}
        self._may[feed] = {name}

    def failed(self, feed: bytes, *names: bytes | None) -> None:
        """It was refused; `names`: what may have become of it all the same."""
        self._may[feed] = self._was.pop(feed, {None}) | set(names)

    def shown(self) -> list[tuple[bytes, bytes]]:
        """Every name that is sure, and its feed."""
        sure = [
            (feed, name) for feed, names in self._may.items() for name in names if len(names) == 1
        ]
        return [(name, feed) for feed, name in sure if name is not None]

    def must_have_name(self, feed: bytes) -> bool:
        """Whether it is there, under whichever name."""
        return None not in self._may.get(feed, {None})

    def opened(self, shown: list[tuple[bytes, bytes]]) -> None:
        """A store was opened and shows these names and their feeds; it goes on from there."""
        names = dict(shown)
        if len(names) != len(shown) or len(set(names.values())) != len(shown):
            raise Violation("name", f"a name or a feed is there twice: {shown}")
        found = {feed: name for name, feed in shown}
        for feed in found.keys() - self._may.keys():
            raise Violation("name", f"{found[feed]!r} is there, which nobody made")
        for feed, allowed in self._may.items():
            if found.get(feed) not in allowed:
                raise Violation("name", f"{found.get(feed)!r} is there instead of {allowed}")
        self._may = {feed: {found.get(feed)} for feed in self._may}
        self._was = {}
