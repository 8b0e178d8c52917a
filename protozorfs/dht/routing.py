"""The routing table: nodes that answered us, many near our own id, few far away.

    bucket i       nodes that agree with our id in exactly i bits; the last: in at least that many
    good           answered within 15 minutes
    questionable   silent for longer: pinged before it may be replaced
    bad            did not answer twice in a row: dropped

Only a verified reply makes an entry: queries can come from forged addresses. One entry per host,
one per subnet in a bucket. A full bucket keeps what it has, for nodes that were long up stay up.
Source: BEP 5 "Routing Table", BEP 42.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from protozorfs.dht.endpoint import Endpoint, host_key, subnet_key
from protozorfs.dht.node_id import NodeId, belongs_to, common_prefix_bits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.dht.krpc import Contact

BUCKET_SIZE = 8  # k; BEP 5
# The first buckets hold half, a quarter ... of the network; knowing more of them saves a lookup its
# first steps. Source: libtorrent's extended routing table.
FIRST_BUCKET_SIZES = (128, 64, 32, 16)
MAX_SPARES = 8  # newcomers that wait for a place in a full bucket
MAX_FAILS = 2  # in a row
GOOD_TIME = 900.0  # seconds; BEP 5
ID_CHANGE_MEMORY = 3600.0  # seconds; a host whose id changes twice in that time is left out
MAX_REMEMBERED_CHANGES = 256
FULL_REFRESH_TIME = 3600.0  # seconds between searches in a bucket that has nodes enough
PING_AFTER = 450.0  # seconds of silence; so most entries stay good without ever being in doubt
RETRY_INTERVAL = 15.0  # seconds between pings of one node that did not answer


@dataclass(slots=True, eq=False)
class Entry:
    """A node in the table."""

    contact: Contact
    number: int  # the id as an integer
    belongs: bool  # the id is valid for the address (BEP 42)
    subnet: bytes
    responded_at: float
    asked_at: float
    fails: int = 0

    def is_good(self, now: float) -> bool:
        """True if it can be expected to answer."""
        return self.fails == 0 and now < self.responded_at + GOOD_TIME


@dataclass(slots=True, eq=False)
class _Bucket:
    entries: list[Entry] = field(default_factory=list)
    spares: list[Entry] = field(default_factory=list)
    changed_at: float = 0.0


class RoutingTable:
    """One network's table, for the node with `own_id`."""

    def __init__(self, own_id: NodeId, now: float) -> None:
        self.own_id = own_id
        self._buckets = [_Bucket(changed_at=now)]
        self._by_host: dict[bytes, Entry] = {}
        self._id_changes: OrderedDict[bytes, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_host)

    def entries(self) -> Iterator[Entry]:
        """All nodes, spares left out."""
        return iter(self._by_host.values())

    def good_count(self, now: float) -> int:
        """How many entries are good."""
        return sum(entry.is_good(now) for entry in self._by_host.values())

    def find(self, endpoint: Endpoint) -> Entry | None:
        """The entry of the node at that address and port."""
        entry = self._by_host.get(host_key(endpoint))
        return entry if entry is not None and entry.contact.endpoint == endpoint else None

    def closest(self, target: bytes, count: int = BUCKET_SIZE) -> list[Contact]:
        """The nodes nearest to the target that did not fail to answer last, nearest first."""
        number = int.from_bytes(target, "big")
        chosen: list[Entry] = []
        for group in self._groups_by_distance(target):
            usable = [entry for entry in group if entry.fails == 0]
            nearest = heapq.nsmallest(
                count - len(chosen), usable, key=lambda entry: entry.number ^ number
            )
            chosen.extend(nearest)
            if len(chosen) >= count:
                break
        return [entry.contact for entry in chosen]

    def _groups_by_distance(self, target: bytes) -> Iterator[list[Entry]]:
        """The entries in groups, each nearer to the target as a whole than the next.

        Nodes of the target's own bucket share one more bit with it than those of all later buckets,
        which share exactly as many bits with it as we do; then come the earlier ones, backwards.
        """
        index = self._index(target)
        yield self._buckets[index].entries
        later = self._buckets[index + 1 :]
        if later:
            yield [entry for bucket in later for entry in bucket.entries]
        for bucket in reversed(self._buckets[:index]):
            yield bucket.entries

    def _index(self, node_id: bytes) -> int:
        return min(common_prefix_bits(self.own_id, node_id), len(self._buckets) - 1)

    def would_take(self, contact: Contact, now: float) -> bool:
        """True if the node would become an entry if it answered a ping."""
        if contact.node_id == self.own_id or host_key(contact.endpoint) in self._by_host:
            return False
        index = self._index(contact.node_id)
        bucket = self._buckets[index]
        if subnet_key(contact.endpoint) in {entry.subnet for entry in bucket.entries}:
            return False
        has_room = len(bucket.entries) < _capacity(index)
        return has_room or index == len(self._buckets) - 1 or self._replaceable(bucket) is not None

    # --- what is learned about nodes ------------------------------------------------------------

    def on_response(self, contact: Contact, now: float) -> None:
        """A node answered a query of ours from that address, with that id."""
        if contact.node_id == self.own_id:
            return
        host = host_key(contact.endpoint)
        known = self._by_host.get(host)
        if known is not None and known.contact == contact:
            known.responded_at = known.asked_at = now
            known.fails = 0
            return
        if known is not None:
            if known.contact.endpoint != contact.endpoint and known.is_good(now):
                return  # a second node of one host
            self._remove(known)
            if known.contact.endpoint == contact.endpoint:
                self._note_id_change(host, now)
        if not self._changes_too_often(host, now):
            self._insert(contact, now)

    def on_query(self, contact: Contact, now: float) -> None:
        """A node that answered us before asked us something, so it is up. Source: BEP 5."""
        entry = self.find(contact.endpoint)
        if entry is not None and entry.contact == contact and entry.fails == 0:
            entry.responded_at = now

    def on_asked(self, endpoint: Endpoint, now: float) -> None:
        """A query was sent there."""
        entry = self.find(endpoint)
        if entry is not None:
            entry.asked_at = now

    def on_timeout(self, endpoint: Endpoint) -> None:
        """A query to the node was not answered."""
        entry = self.find(endpoint)
        if entry is None:
            return
        entry.fails += 1
        if entry.fails >= MAX_FAILS:
            self._remove(entry)

    def _note_id_change(self, host: bytes, now: float) -> None:
        _, count = self._id_changes.pop(host, (now, 0))
        self._id_changes[host] = (now, count + 1)
        if len(self._id_changes) > MAX_REMEMBERED_CHANGES:
            self._id_changes.popitem(last=False)

    def _changes_too_often(self, host: bytes, now: float) -> bool:
        """True if the host's id changed more than once within an hour.

        A node that has the fitting id for every asker would otherwise sit next to every target.
        """
        changed_at, count = self._id_changes.get(host, (0.0, 0))
        if count and now >= changed_at + ID_CHANGE_MEMORY:
            del self._id_changes[host]
            return False
        return count > 1

    # --- buckets ----------------------------------------------------------------------------------

    def _insert(self, contact: Contact, now: float) -> None:
        entry = Entry(
            contact=contact,
            number=int.from_bytes(contact.node_id, "big"),
            belongs=belongs_to(contact.node_id, contact.endpoint.ip),
            subnet=subnet_key(contact.endpoint),
            responded_at=now,
            asked_at=now,
        )
        while True:
            index = self._index(contact.node_id)
            bucket = self._buckets[index]
            if any(other.subnet == entry.subnet for other in bucket.entries):
                return
            if len(bucket.entries) < _capacity(index):
                self._place(bucket, entry, now)
                return
            if index < len(self._buckets) - 1:
                break
            self._split()
        replaced = self._replaceable(bucket)
        if replaced is not None and (replaced.fails > 0 or entry.belongs):
            self._take_out(replaced)
            self._place(bucket, entry, now)
        else:
            self._add_spare(bucket, entry)

    def _place(self, bucket: _Bucket, entry: Entry, now: float) -> None:
        bucket.entries.append(entry)
        bucket.changed_at = now
        self._by_host[host_key(entry.contact.endpoint)] = entry

    @staticmethod
    def _replaceable(bucket: _Bucket) -> Entry | None:
        """An entry that a newcomer may push out: one that fails, else one with a forged id."""
        failing = [entry for entry in bucket.entries if entry.fails > 0]
        forged = [entry for entry in bucket.entries if not entry.belongs]
        return next(iter(failing + forged), None)

    @staticmethod
    def _add_spare(bucket: _Bucket, entry: Entry) -> None:
        host = host_key(entry.contact.endpoint)
        bucket.spares = [
            spare for spare in bucket.spares if host_key(spare.contact.endpoint) != host
        ]
        bucket.spares.append(entry)
        del bucket.spares[:-MAX_SPARES]

    def _split(self) -> None:
        """Divides the last bucket, and again as long as the new last one has too many.

        What shares one more bit with our id moves on. Later buckets are smaller: of what stays
        behind the oldest keep their places.
        """
        while True:
            bits = len(self._buckets) - 1
            last, new = self._buckets[-1], _Bucket(changed_at=self._buckets[-1].changed_at)
            for entry in (*last.entries, *last.spares):
                moves = common_prefix_bits(self.own_id, entry.contact.node_id) > bits
                bucket = new if moves else last
                is_spare = self._by_host.get(host_key(entry.contact.endpoint)) is not entry
                (last.spares if is_spare else last.entries).remove(entry)
                (bucket.spares if is_spare else bucket.entries).append(entry)
            for entry in last.entries[_capacity(bits) :]:
                del self._by_host[host_key(entry.contact.endpoint)]
                self._add_spare(last, entry)
            del last.entries[_capacity(bits) :]
            self._buckets.append(new)
            if len(new.entries) <= _capacity(bits + 1):
                return

    def _remove(self, entry: Entry) -> None:
        """Takes an entry out; the newest spare of its bucket takes its place."""
        bucket = self._take_out(entry)
        while bucket.spares:
            spare = bucket.spares.pop()
            taken = any(other.subnet == spare.subnet for other in bucket.entries)
            if not taken and host_key(spare.contact.endpoint) not in self._by_host:
                bucket.entries.append(spare)
                self._by_host[host_key(spare.contact.endpoint)] = spare
                return

    def _take_out(self, entry: Entry) -> _Bucket:
        del self._by_host[host_key(entry.contact.endpoint)]
        bucket = self._buckets[self._index(entry.contact.node_id)]
        bucket.entries.remove(entry)
        return bucket

    # --- upkeep -----------------------------------------------------------------------------------

    def next_to_ping(self, now: float) -> Contact | None:
        """The entry most in need of a ping: one that failed once, or the longest silent one."""
        due = [
            entry
            for entry in self._by_host.values()
            if now >= entry.asked_at + (RETRY_INTERVAL if entry.fails else PING_AFTER)
            and (entry.fails or now >= entry.responded_at + PING_AFTER)
        ]
        return min(due, key=lambda entry: entry.asked_at).contact if due else None

    def freshest(self) -> Contact | None:
        """The entry that answered last, if any: the one most likely to answer now."""
        healthy = [entry for entry in self._by_host.values() if entry.fails == 0]
        return max(healthy, key=lambda entry: entry.responded_at).contact if healthy else None

    def bucket_to_refresh(self, now: float) -> int | None:
        """The index of a bucket that nobody new came into for long; it counts as refreshed now."""
        for index, bucket in enumerate(self._buckets):
            is_thin = len(bucket.entries) < BUCKET_SIZE
            if now >= bucket.changed_at + (GOOD_TIME if is_thin else FULL_REFRESH_TIME):
                bucket.changed_at = now
                return index
        return None

    def with_id(self, own_id: NodeId, now: float) -> RoutingTable:
        """A table for another own id with the same nodes; who is seen as good stays so."""
        table = RoutingTable(own_id, now)
        for entry in sorted(self._by_host.values(), key=lambda entry: entry.responded_at):
            table.on_response(entry.contact, entry.responded_at)
        return table


def _capacity(index: int) -> int:
    return FIRST_BUCKET_SIZES[index] if index < len(FIRST_BUCKET_SIZES) else BUCKET_SIZE
