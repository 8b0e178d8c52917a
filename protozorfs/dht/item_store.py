"""Items that others asked this node to keep. Source: BEP 44; docs/dht.md (hostile nodes)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protozorfs.dht.krpc import CAS_MISMATCH, SEQ_TOO_LOW, SERVER_ERROR, KrpcError
from protozorfs.dht.node_id import distance

if TYPE_CHECKING:
    from protozorfs.dht.items import SignedItem
    from protozorfs.dht.node_id import NodeId

ITEM_LIFETIME = 7200.0  # seconds; BEP 44
MAX_STORED_ITEMS = 1000  # with 1000 bytes each about 1.5 MB; libtorrent keeps 1400
MAX_ITEMS_PER_SOURCE = 100  # one host must not fill the store


@dataclass(slots=True)
class StoredItem:
    """A mutable item, or the bytes of an immutable one."""

    content: SignedItem | bytes
    expires_at: float
    source: bytes


class ItemStore:
    """A bounded table of items by target; when it is full, the farthest from us goes."""

    def __init__(self) -> None:
        self._items: dict[NodeId, StoredItem] = {}
        self._per_source: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, target: NodeId, now: float) -> SignedItem | bytes | None:
        """What is kept under a target."""
        stored = self._items.get(target)
        return stored.content if stored is not None and now < stored.expires_at else None

    def put_mutable(
        self, item: SignedItem, cas: int | None, source: bytes, own_id: NodeId, now: float
    ) -> None:
        """Keeps a verified item for two hours.

        Raises:
            KrpcError: 301 `cas` is not the stored seq; 302 the stored item is newer, or has the
                same seq and another value; 202 no room.
        """
        target = item.target
        stored = self.get(target, now)
        if stored is not None and not isinstance(stored, bytes):
            if cas is not None and cas != stored.seq:
                raise KrpcError(CAS_MISMATCH, "CAS mismatch")
            if (item.seq, item.raw_value) != (stored.seq, stored.raw_value) and (
                item.seq <= stored.seq
            ):
                raise KrpcError(SEQ_TOO_LOW, "old sequence number")
        self._store(target, item, source, own_id, now)

    def put_immutable(
        self, target: NodeId, raw_value: bytes, source: bytes, own_id: NodeId, now: float
    ) -> None:
        """Keeps a value for two hours.

        Raises:
            KrpcError: 202 no room.
        """
        self._store(target, raw_value, source, own_id, now)

    def _store(
        self,
        target: NodeId,
        content: SignedItem | bytes,
        source: bytes,
        own_id: NodeId,
        now: float,
    ) -> None:
        if target in self._items:
            self._remove(target)
        else:
            self._make_room(target, source, own_id, now)
        self._items[target] = StoredItem(content, now + ITEM_LIFETIME, source)
        self._per_source[source] += 1

    def _make_room(self, target: NodeId, source: bytes, own_id: NodeId, now: float) -> None:
        if len(self._items) >= MAX_STORED_ITEMS:
            self.expire(now)
        if self._per_source[source] >= MAX_ITEMS_PER_SOURCE:
            raise KrpcError(SERVER_ERROR, "too many items of yours")
        if len(self._items) < MAX_STORED_ITEMS:
            return
        farthest = max(self._items, key=lambda kept: distance(kept, own_id))
        if distance(farthest, own_id) <= distance(target, own_id):
            raise KrpcError(SERVER_ERROR, "no room")
        self._remove(farthest)

    def _remove(self, target: NodeId) -> None:
        source = self._items.pop(target).source
        self._per_source[source] -= 1
        if not self._per_source[source]:
            del self._per_source[source]

    def expire(self, now: float) -> None:
        """Drops what is older than two hours."""
        for target in [key for key, item in self._items.items() if item.expires_at <= now]:
            self._remove(target)
