"""The records of the files `names` and `names.copy`, and what they say together. Pure.

Both files are logs of the same records. Each record is one disk sector and complete in itself: it
says all that there is to say of one feed or one setting, and the newest one counts. So a record
that is lost takes nothing else with it, and a rename, being one record, shows the old name or the
new one. Integers are little-endian.

    offset  size
         0     8   magic "pzfsname"
         8     2   version: 1
        10     2   kind
        12     2   size of the body
        14     2   how many records before it were written in one piece with it
        16     8   sequence: one more than that of the record before it
        24   456   body, then zeros
       480    32   BLAKE2b-256 of all before it

    kind           body
    1 start        count 8: so many records after this one say all that was known
    2 feed         feed ID 32, owned 1, size of the name 1, created_ns 8, mtime_ns 8, name
    3 removed      feed ID 32: it has no name any more, and its files go
    4 times        feed ID 32, mtime_ns 8; as many as there are, at most 11
    5 setting      size of the name 1, name, value as JSON: a number or a text
    6 end          nothing: the run that wrote the records before it has closed both files
    7 gone         feed ID 32: nothing is left of a feed that was removed; one may be put back

A log begins with a start record. The place of each record follows from its sequence number, so what
is damaged in one file is found in the other. The records that were written last, in one piece,
count when both files have got them; before, the call that writes them has not returned.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct
from struct import error as StructError
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.crypto import blake2b_256
from protozorfs.errors import DecodeError
from protozorfs.names import own_id_name
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

RECORD_BYTES = 512  # a sector: written whole or not at all
VERSION = 1
TIMES_PER_RECORD = 11
MAX_BODY_BYTES = 456
_MAGIC = b"pzfsname"
_HEAD = Struct("<8sHHHHQ")
_MAX_PLACE = 0xFFFF  # that far behind the start of a log it does not matter any more
_CHECKSUM_BYTES = 32
_BODY_END = RECORD_BYTES - _CHECKSUM_BYTES
_FEED_ID_BYTES = 32
_COUNT = Struct("<Q")
_FEED = Struct("<32sBBqq")
_TIME = Struct("<32sq")
assert _HEAD.size + MAX_BODY_BYTES + _CHECKSUM_BYTES == RECORD_BYTES
assert _TIME.size * TIMES_PER_RECORD <= MAX_BODY_BYTES


class Kind(IntEnum):
    """What a record says."""

    START = 1
    FEED = 2
    REMOVED = 3
    TIMES = 4
    SETTING = 5
    END = 6
    GONE = 7


_KINDS = frozenset(Kind)
_BODY_BYTES = {
    Kind.START: _COUNT.size,
    Kind.REMOVED: _FEED_ID_BYTES,
    Kind.END: 0,
    Kind.GONE: _FEED_ID_BYTES,
}


class NameRow(NamedTuple):
    """One name. Times are nanoseconds since 1970."""

    name: bytes
    feed_id: FeedId
    is_owned: bool
    created_ns: int
    mtime_ns: int


class Change(NamedTuple):
    """What one record says, before it has its place in a log."""

    kind: Kind
    body: bytes


class Record(NamedTuple):
    """A whole record, and the bytes of the file that hold it."""

    sequence: int
    place_in_piece: int
    change: Change
    content: bytes


@dataclass(slots=True)
class Known:
    """All that a log says.

    Attributes:
        rows: by feed; no two have one name.
        settings: numbers and texts by name.
        removed: feeds whose names were removed, and whose files perhaps were not.
        is_complete: no record was lost: what is not here was never said, or taken back.
    """

    rows: dict[FeedId, NameRow] = field(default_factory=dict)
    settings: dict[str, int | str] = field(default_factory=dict)
    removed: dict[FeedId, None] = field(default_factory=dict)
    is_complete: bool = True

    def changes(self) -> list[Change]:
        """The records that say all this, the start first."""
        said = [feed_change(row) for row in self.rows.values()]
        said += [removed_change(feed_id) for feed_id in self.removed]
        said += [setting_change(name, value) for name, value in self.settings.items()]
        return [Change(Kind.START, _COUNT.pack(len(said))), *said]


class Found(NamedTuple):
    """What two files hold together.

    Attributes:
        known: all that they say.
        content: the log that both should be; None if records of it are in neither.
        next_sequence: of the record after all that there are.
        has_ended: the last run closed them, and nothing was written since.
    """

    known: Known
    content: bytes | None
    next_sequence: int
    has_ended: bool


def feed_change(row: NameRow) -> Change:
    """The record of a feed that has a name, or another one than before."""
    head = _FEED.pack(row.feed_id, row.is_owned, len(row.name), row.created_ns, row.mtime_ns)
    return Change(Kind.FEED, head + row.name)


def removed_change(feed_id: FeedId) -> Change:
    """The record of a feed that has no name any more."""
    return Change(Kind.REMOVED, feed_id)


def gone_change(feed_id: FeedId) -> Change:
    """The record of a feed whose removal has ended."""
    return Change(Kind.GONE, feed_id)


def times_changes(times: Sequence[tuple[FeedId, int]]) -> list[Change]:
    """The records of when feeds grew."""
    return [
        Change(Kind.TIMES, b"".join(_TIME.pack(*one) for one in times[at : at + TIMES_PER_RECORD]))
        for at in range(0, len(times), TIMES_PER_RECORD)
    ]


def setting_change(name: str, value: int | str) -> Change:
    """The record of a setting. Raises ValueError: it is too long for one."""
    key = name.encode()
    body = bytes([len(key)]) + key + json.dumps(value).encode()
    if len(body) > MAX_BODY_BYTES:
        raise ValueError(f"the setting {name} is too long")
    return Change(Kind.SETTING, body)


END = Change(Kind.END, b"")


def encode_records(changes: Iterable[Change], sequence: int) -> bytes:
    """Records that are written in one piece, the first with that sequence number."""
    return b"".join(
        _encode(change, sequence + place, place) for place, change in enumerate(changes)
    )


def _encode(change: Change, sequence: int, place: int) -> bytes:
    place = min(place, _MAX_PLACE)
    head = _HEAD.pack(_MAGIC, VERSION, change.kind, len(change.body), place, sequence)
    content = (head + change.body).ljust(_BODY_END, b"\0")
    return content + blake2b_256(content)


def decode_record(content: bytes) -> Record | None:
    """The record in 512 bytes; None if it is torn or damaged.

    Raises:
        DecodeError: it is whole, and of a version that is not known here.
    """
    body, checksum = content[:_BODY_END], content[_BODY_END:]
    if len(content) != RECORD_BYTES or blake2b_256(body) != checksum:
        return None
    magic, version, kind, size, place, sequence = _HEAD.unpack_from(body)
    if magic != _MAGIC or version != VERSION or kind not in _KINDS:
        raise DecodeError("made by a newer version of protozorfs")
    change = Change(Kind(kind), body[_HEAD.size : _HEAD.size + size])
    if len(change.body) != _BODY_BYTES.get(change.kind, len(change.body)):
        raise DecodeError(f"a record of kind {kind} that nobody has written")
    return Record(sequence, place, change, content)


def merge(first: bytes, second: bytes) -> Found:
    """What two files say together, both of which may be damaged, torn or missing (empty).

    Raises:
        DecodeError: a record is of a version that is not known here.
    """
    logs = [_Log.read(content) for content in (first, second)]
    if logs[0].base == logs[1].base:
        return _found([logs[0].joined(logs[1])])
    # One was begun anew, from what the other said at that moment.
    older, newer = sorted(logs, key=lambda log: log.base)
    if newer.is_begun_whole:
        return _found([newer])
    return _found([older, newer])


def _found(logs: Sequence[_Log]) -> Found:
    known = Known(is_complete=len(logs) == 1 and logs[0].is_complete)
    newest: dict[FeedId, int] = {}
    for record in (record for log in logs for record in log.records()):
        _tell(known, newest, record)
    _settle_names(known, newest)
    last = logs[-1]
    content = last.content if known.is_complete else None
    has_ended = content is not None and last.last_kind is Kind.END
    return Found(known, content, max(log.end for log in logs), has_ended)


@dataclass(slots=True)
class _Log:
    """One file, or both of them as one.

    Attributes:
        base: the sequence number that the first place belongs to; -1 if nothing in it is whole.
        places: the record of each place; None where it is not whole.
        lost: places that were written, and are not whole anywhere.
    """

    base: int
    places: list[Record | None]
    lost: int

    @classmethod
    def read(cls, content: bytes) -> _Log:
        pieces = (content[at : at + RECORD_BYTES] for at in range(0, len(content), RECORD_BYTES))
        places = [decode_record(piece) for piece in pieces]
        bases = Counter(record.sequence - at for at, record in enumerate(places) if record)
        if not bases:
            return cls(-1, places, len(places))
        ((base, _),) = bases.most_common(1)
        if len(bases) > 1:  # pieces of another log, as a write that went astray leaves them
            places = [
                record if record and record.sequence - at == base else None
                for at, record in enumerate(places)
            ]
        return cls(base, places, places.count(None))

    def joined(self, other: _Log) -> _Log:
        """Both as one.

        What was written last counts only if both have it: the second file is written when the
        first is durable, and a change whose call failed may be left in one of them. That is told
        by the sizes of the files: what is damaged at the end of one has been written to it.
        """
        shared = min(len(self.places), len(other.places))
        places = [mine or others for mine, others in zip(self.places, other.places, strict=False)]
        rest = max(self.places, other.places, key=len)[shared:]
        while rest and rest[-1] is None:
            rest.pop()
        if not rest:
            return _Log(self.base, places, places.count(None))
        last = rest[-1]
        assert last is not None
        began = shared + len(rest) - 1 - last.place_in_piece
        is_appended = began > 0 and last.place_in_piece < _MAX_PLACE  # and no part of the start
        if began <= shared and is_appended:
            return _Log(self.base, places[:began], places[:began].count(None))
        places += rest  # the shorter file has lost its end
        return _Log(self.base, places, places[: max(shared, began)].count(None))

    @property
    def is_begun_whole(self) -> bool:
        """The start is here, and all that it says were known then."""
        start = self.places[0] if self.places else None
        if start is None or start.change.kind is not Kind.START:
            return False
        (count,) = _COUNT.unpack(start.change.body)
        begun = self.places[: 1 + count]
        return len(begun) == 1 + count and None not in begun

    @property
    def is_complete(self) -> bool:
        """Nothing was lost. A log that was never begun is complete, too."""
        return not self.lost and (not self.places or self.is_begun_whole)

    @property
    def content(self) -> bytes | None:
        """The file that has all these records; None if one between them is missing."""
        if None in self.places:
            return None
        return b"".join(record.content for record in self.records())

    @property
    def last_kind(self) -> Kind | None:
        """What the last record says."""
        last = self.places[-1] if self.places else None
        return None if last is None else last.change.kind

    @property
    def end(self) -> int:
        """The sequence number behind the last place."""
        return self.base + len(self.places) if self.places else 0

    def records(self) -> Iterator[Record]:
        """All that are whole."""
        return (record for record in self.places if record is not None)


def _tell(known: Known, newest: dict[FeedId, int], record: Record) -> None:
    """Adds what a record says; `newest`: the last record that named each feed."""
    kind, body = record.change
    try:
        if kind is Kind.FEED:
            row = _decode_feed(body)
            known.rows[row.feed_id] = row
            known.removed.pop(row.feed_id, None)
            newest[row.feed_id] = record.sequence
        elif kind is Kind.REMOVED:
            feed_id = FeedId(body)
            known.rows.pop(feed_id, None)
            known.removed[feed_id] = None
        elif kind is Kind.GONE:
            known.removed.pop(FeedId(body), None)
        elif kind is Kind.TIMES:
            for one, mtime_ns in _TIME.iter_unpack(body):
                row_of = known.rows.get(FeedId(one))
                if row_of is not None:
                    known.rows[row_of.feed_id] = row_of._replace(mtime_ns=mtime_ns)
        elif kind is Kind.SETTING:
            name, value = _decode_setting(body)
            known.settings[name] = value
    except (StructError, ValueError) as error:
        raise DecodeError(f"a record that nobody has written: {error}") from None


def _settle_names(known: Known, newest: dict[FeedId, int]) -> None:
    """Gives each name to one feed. Two have one where a record was lost that renamed the first."""
    owner: dict[bytes, FeedId] = {}
    for feed_id in sorted(known.rows, key=newest.__getitem__):
        name = known.rows[feed_id].name
        other = owner.get(name)
        if other is not None:
            known.rows[other] = known.rows[other]._replace(name=own_id_name(other))
        owner[name] = feed_id


def _decode_feed(body: bytes) -> NameRow:
    feed_id, is_owned, size, created_ns, mtime_ns = _FEED.unpack_from(body)
    name = body[_FEED.size :]
    if len(name) != size or not name:
        raise ValueError("a name of another size")
    return NameRow(name, FeedId(feed_id), bool(is_owned), created_ns, mtime_ns)


def _decode_setting(body: bytes) -> tuple[str, int | str]:
    size = body[0] if body else 0
    value = json.loads(body[1 + size :])
    if not isinstance(value, int | str):
        raise ValueError("a setting is a number or a text")
    return body[1 : 1 + size].decode(), value
