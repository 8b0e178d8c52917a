"""Finding and storing mutable items.

    reader   the highest seq with a valid signature wins, whoever sent it; all nearest are asked
    writer   searches first: tokens, and what is there; puts where nothing newer stands, with `cas`
             = the seq that the node itself returned
Source: BEP 44; docs/dht.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs import bencoding
from protozorfs.dht import krpc
from protozorfs.dht.items import SignedItem, mutable_target, read_item, verify_item
from protozorfs.dht.operations import (
    ItemFound,
    Kind,
    Operation,
    Question,
    Request,
)
from protozorfs.dht.routing import BUCKET_SIZE
from protozorfs.dht.storing import Storing, closest_holders
from protozorfs.errors import DecodeError

if TYPE_CHECKING:
    from protozorfs.dht.budget import Priority
    from protozorfs.dht.lookup import Candidate
    from protozorfs.types import PublicKey

MAX_RIVALS = 4  # different values of one seq that are kept: one is proof enough


class GetItem(Operation):
    """The newest item of a key.

    Attributes:
        best: the newest verified item so far, None if none was found. When the operation is done
            nothing follows from None: that something is stored can be proven, absence cannot.
        rivals: verified items of the same seq as `best` with another value: the writer forked.
    """

    def __init__(
        self, public_key: PublicKey, salt: bytes, newer_than: int, priority: Priority
    ) -> None:
        """`newer_than`: nodes leave out items up to that seq. 0 asks for every mutable item.

        It is always sent: a plain `get` may be answered with an unsigned value under our target.
        """
        super().__init__(mutable_target(public_key, salt), priority)
        self.public_key = public_key
        self.salt = salt
        self.best: SignedItem | None = None
        self.rivals: list[SignedItem] = []
        self._newer_than = newer_than
        self._is_retried = False
        self._is_held = False  # some node says that it has an item of whatever seq
        self._checked: dict[SignedItem, SignedItem | None] = {}

    def add_kept(self, item: SignedItem) -> None:
        """An item of this key that our own node keeps, verified when it came."""
        if item.seq > self._newer_than:
            self._consider(item)

    def copies(self, seq: int) -> int:
        """How many nodes said that they hold an item of that seq."""
        return closest_holders(self._lookups.values(), seq)[0]

    def _question(self) -> Question:
        return b"get", {b"target": self.target, b"seq": self._newer_than}

    def _on_answer(self, candidate: Candidate, response: krpc.Response) -> None:
        candidate.seq = krpc.read_int(response.values, b"seq")
        self._is_held |= candidate.seq is not None
        self._read(response)

    def _wants_more(self) -> bool:
        """Nothing found: asks those once more that did not answer, before absence is believed."""
        nothing_new = self._newer_than > 0 and self._is_held
        if self.best is not None or self._is_retried or nothing_new:
            return False
        self._is_retried = True
        for lookup in self._lookups.values():
            lookup.retry_silent()
        return True

    def _on_checked(self, candidate: Candidate, response: krpc.Response) -> None:
        self._read(response)

    def _read(self, response: krpc.Response) -> SignedItem | None:
        """The verified item of a response, None if it has none; a new best one is told of."""
        try:
            claimed = read_item(response.values, response.raw_value, self.public_key, self.salt)
        except DecodeError:
            return None  # nothing stored there, or not what we asked for
        if self.best is not None and claimed.seq < self.best.seq:
            return None
        if claimed not in self._checked:
            self._checked[claimed] = verify_item(claimed)
        item = self._checked[claimed]
        if item is not None:
            self._consider(item)
        return item

    def _consider(self, item: SignedItem) -> None:
        if self.best is None or item.seq > self.best.seq:
            self.best = item
            self.rivals.clear()
            self.events.append(ItemFound(operation=self, item=item))
        elif item.raw_value != self.best.raw_value:
            values = [rival.raw_value for rival in self.rivals]
            if len(values) < MAX_RIVALS and item.raw_value not in values:
                self.rivals.append(item)


class PutItem(Storing, GetItem):
    """Stores an item at the 8 nearest nodes, unless something newer stands there.

    Attributes:
        is_outdated: a newer item, or another of the same seq, was found (`best`, `rivals`);
            nothing is put, or not everywhere.
        is_fresh: enough copies stood already, nothing was put (with `skip_if_fresh`).
    """

    def __init__(self, item: SignedItem, priority: Priority, *, skip_if_fresh: bool) -> None:
        # Asks for items of our own seq too: another value under it would be a fork.
        super().__init__(item.public_key, item.salt, max(item.seq - 1, 0), priority)
        self.item = item
        self.is_fresh = False
        self._skip_if_fresh = skip_if_fresh
        self._holders: set[Candidate] = set()

    @property
    def is_outdated(self) -> bool:
        """True if another item than ours is the key's newest."""
        return self.best is not None and (
            self.best.seq > self.item.seq
            or any(
                found.seq == self.item.seq and found.raw_value != self.item.raw_value
                for found in (self.best, *self.rivals)
            )
        )

    def _on_answer(self, candidate: Candidate, response: krpc.Response) -> None:
        candidate.seq = krpc.read_int(response.values, b"seq")
        self._note_holder(candidate, self._read(response))

    def _note_holder(self, candidate: Candidate, item: SignedItem | None) -> bool:
        ours = (self.item.seq, self.item.raw_value)
        if item is None or (item.seq, item.raw_value) != ours:
            return False
        self._holders.add(candidate)
        return True

    def _wants_more(self) -> bool:
        return False  # the first put of a key finds nothing, and rightly

    def _on_found(self) -> None:
        if self.is_outdated:
            return
        copies, all_nearest = closest_holders(self._lookups.values(), self.item.seq)
        if self._skip_if_fresh and all_nearest and copies > BUCKET_SIZE:
            self.is_fresh = True
            self._storers = frozenset(self._holders)
            return
        self._store_at_nearest()

    def _store_question(self, candidate: Candidate) -> Question:
        arguments: dict[bytes, bencoding.Encodable] = {
            b"k": self.item.public_key,
            b"seq": self.item.seq,
            b"sig": self.item.signature,
            b"token": candidate.token or b"",
            b"v": bencoding.raw(self.item.raw_value),
        }
        if self.item.salt:
            arguments[b"salt"] = self.item.salt
        if candidate.seq is not None:
            arguments[b"cas"] = candidate.seq
        return b"put", arguments

    def _on_refused(self, request: Request, code: int | None) -> None:
        """Finds out what a node holds that calls ours too old; other failures go to the next.

        bittorrent-dht refuses the item that it has already, which is as good as taking it.
        """
        candidate = request.candidate
        if code not in (krpc.CAS_MISMATCH, krpc.SEQ_TOO_LOW):
            super()._on_refused(request, code)
        elif candidate in self._holders:
            self._on_stored(candidate)
        else:
            question: Question = (b"get", {b"target": self.target, b"seq": 0})
            self._queue(request.family, candidate, Kind.CHECK, question)

    def _on_checked(self, candidate: Candidate, response: krpc.Response) -> None:
        if self._note_holder(candidate, self._read(response)):
            self._on_stored(candidate)
