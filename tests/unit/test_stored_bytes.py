"""The files of a store byte by byte, as docs/formats.md has them: other versions read them, too.

They are put together here from numbers. What only the package's own codec could read would pass
every round trip, and be another format.
"""

from __future__ import annotations

import hashlib
from struct import pack

import pytest

from protozorfs.errors import DecodeError
from protozorfs.log.at_rest import AtRest, decode_at_rest, encode_at_rest
from protozorfs.log.bitfield import PAGE_BITS, Bitfield
from protozorfs.log.format import decode_evidence, decode_head_slot, encode_evidence
from protozorfs.log.held_file import HeldBlocks, decode_held, encode_held
from protozorfs.store import MemoryFiles
from protozorfs.store.heads import HeadKind, read_slots, slot_offset, write_slot
from protozorfs.store.left import LeftFile, decode_left, encode_left, is_as_left
from protozorfs.store.name_records import (
    END,
    Known,
    NameRow,
    encode_records,
    feed_change,
    gone_change,
    merge,
    removed_change,
    setting_change,
    times_changes,
)
from protozorfs.store.numbers import decode_numbers, encode_numbers
from protozorfs.store.place import FilePlace, Place, Stamp, Whereabouts, decode_place, encode_place
from protozorfs.types import MAX_SAFE_INTEGER, FeedId
from tests.unit.log.log_tools import two_histories

ONE, TWO = FeedId(bytes([1]) * 32), FeedId(bytes([2]) * 32)


def digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=32).digest()


def sealed(body: bytes) -> bytes:
    return body + digest(body)


def bits(*blocks: int) -> Bitfield:
    held = Bitfield()
    for block in blocks:
        held.set(block)
    return held


# of a feed


@pytest.mark.parametrize(("flags", "is_damaged"), [(0, False), (1, True)])
def test_a_clean_mark(flags: int, is_damaged: bool) -> None:
    body = b"pzfsrest" + pack("<HH4xQQQQQ", 1, flags, 2, 3, 4, 5, 6)
    at_rest = AtRest(2, 3, 4, 5, 6, is_damaged)
    assert encode_at_rest(at_rest) == sealed(body)
    assert decode_at_rest(sealed(body)) == at_rest
    for other in (b"pzfsresu" + body[8:], body[:8] + b"\2" + body[9:]):
        with pytest.raises(DecodeError, match="version"):
            decode_at_rest(sealed(other))


def test_how_files_were_left() -> None:
    stamps = [_stamp(size=10, changed_ns=20), _stamp(30, 40), _stamp(50, 60)]
    body = b"pzfsleft" + pack("<H6xQQQQQQ", 1, 10, 20, 30, 40, 50, 60)
    assert encode_left(stamps) == sealed(body)
    left = (LeftFile(10, 20), LeftFile(30, 40), LeftFile(50, 60))
    assert decode_left(b"mark" + sealed(body)) == left
    for other in (b"pzfslefu" + body[8:], body[:8] + b"\2" + body[9:]):
        assert decode_left(sealed(other)) == ()
    assert decode_left(sealed(body)[1:]) == ()
    assert is_as_left(left[0], _stamp(10, 20))
    assert is_as_left(left[0], _stamp(10, 19))
    assert not is_as_left(left[0], _stamp(10, 21))
    assert not is_as_left(left[0], _stamp(11, 20))


def _stamp(size: int, changed_ns: int) -> Stamp:
    return Stamp(inode=1, birth_ns=1, changed_ns=changed_ns, modified_ns=1, size=size)


def test_the_blocks_that_are_held() -> None:
    held = bits(1, 9)
    held.set_range(2 * PAGE_BITS, 4 * PAGE_BITS)
    page = bytes([0b10, 0b10]) + bytes(510)
    body = b"pzheld1\n" + pack("<QQQ", 1, 5 * PAGE_BITS, 77)
    body += pack("<QQ", 1, 0) + page + pack("<QQQ", 0, 2 * PAGE_BITS, 4 * PAGE_BITS)
    blocks = HeldBlocks(5 * PAGE_BITS, 77, True, held, Bitfield())
    assert encode_held(blocks) == digest(body) + body
    found = decode_held(digest(body) + body)
    assert found[:3] == blocks[:3]
    assert list(found.held.ranges(0, 5 * PAGE_BITS)) == list(held.ranges(0, 5 * PAGE_BITS))
    other = b"pzheld2\n" + body[8:]
    with pytest.raises(DecodeError, match="another format"):
        decode_held(digest(other) + other)
    longest = body[:16] + pack("<Q", MAX_SAFE_INTEGER) + body[24:]
    assert decode_held(digest(longest) + longest).length == MAX_SAFE_INTEGER
    longer = body[:16] + pack("<Q", MAX_SAFE_INTEGER + 1) + body[24:]
    with pytest.raises(DecodeError, match="another format"):
        decode_held(digest(longer) + longer)


def test_a_held_file_of_a_feed_without_blocks_is_a_header() -> None:
    body = b"pzheld1\n" + pack("<QQQ", 0, 0, 0)
    assert encode_held(HeldBlocks(0, 0, False, Bitfield(), Bitfield())) == digest(body) + body
    assert decode_held(digest(body) + body)[:3] == (0, 0, False)


@pytest.mark.parametrize("at", range(3))
def test_a_head_has_no_count_that_no_feed_has(at: int) -> None:
    for count, is_right in ((MAX_SAFE_INTEGER, True), (MAX_SAFE_INTEGER + 1, False)):
        counts = [1, 1, 1]
        counts[at] = count
        body = b"pzfshead" + pack("<HH4xQQQQ", 1, 1, 7, *counts) + bytes(432)
        if is_right:
            slot = decode_head_slot(sealed(body))
            assert slot is not None
            assert (slot.head.fork, slot.head.length, slot.head.byte_length) == tuple(counts)
        else:
            with pytest.raises(DecodeError, match="no feed has"):
                decode_head_slot(sealed(body))


@pytest.mark.parametrize(
    ("kind", "parity", "page", "old"),
    [
        (HeadKind.SIGNED, 0, 4096, 0),
        (HeadKind.SIGNED, 1, 8192, 512),
        (HeadKind.DURABLE, 0, 12288, 1024),
        (HeadKind.DURABLE, 1, 16384, 1536),
    ],
)
def test_where_heads_are(kind: HeadKind, parity: int, page: int, old: int) -> None:
    files = MemoryFiles()
    file = files.open("head", create=True)
    record = bytes(range(256)) * 2
    write_slot(file, kind, 40 + parity, record)
    assert slot_offset(kind, 40 + parity) == page
    assert file.pread(20480, 0).find(record[:512]) == page
    assert file.pread(1024, page) == 2 * record
    assert file.size() == page + 1024
    file.pwrite(record, old)
    slots = read_slots(file)
    assert slots[kind].paged[parity] == (record, record)
    assert slots[kind].old[parity] == (record,)
    assert not any(any(map(any, copies)) for copies in slots[1 - kind].paged)  # type: ignore[index]


def test_evidence() -> None:
    evidence = two_histories()
    body = b"pzfsfork" + pack("<H", 1)
    for signed in (evidence.own, evidence.other):
        lists = [signed.upgrade.nodes, signed.upgrade.additional_nodes]
        lists.append(signed.hash.nodes if signed.hash else ())
        counts = map(len, lists)
        body += pack("<QQHHH", signed.fork, signed.upgrade.length, *counts)
        body += signed.upgrade.signature
        for node in (node for nodes in lists for node in nodes):
            body += pack("<QQ", node.tree_index, node.size) + node.hash
    assert encode_evidence(evidence) == sealed(body)
    assert decode_evidence(sealed(body)) == evidence
    with pytest.raises(DecodeError, match="version"):
        decode_evidence(sealed(b"pzfsfork" + pack("<H", 2) + body[10:]))
    with pytest.raises(DecodeError, match="left over"):
        decode_evidence(sealed(body + b"\0"))
    for cut in (1, 40, 85, 86, 87):
        with pytest.raises(DecodeError, match="cut short"):
            decode_evidence(sealed(body[: 10 + cut]))


# of a store


def test_inode_numbers() -> None:
    key = bytes(range(32))
    body = b"pzfsinod" + pack("<HH", 1, 2) + key
    body += pack("<H", 3) + b"abc" + pack("<Q", 1 << 40) + pack("<H", 0) + pack("<Q", 9)
    numbers = {b"abc": 1 << 40, b"": 9}
    assert encode_numbers(key, numbers) == sealed(body)
    assert decode_numbers(sealed(body)) == (key, numbers)
    for other in (b"pzfsinoe" + body[8:], body[:8] + b"\2" + body[9:]):
        with pytest.raises(DecodeError, match="another version"):
            decode_numbers(sealed(other))
    for size in (44, 45, len(body) - 1):
        with pytest.raises(DecodeError, match="too early"):
            decode_numbers(sealed(body[:size]))
    with pytest.raises(DecodeError, match="too late"):
        decode_numbers(sealed(body + b"\0"))
    with pytest.raises(DecodeError, match="damaged"):
        decode_numbers(sealed(body[:43]))


def _record(kind: int, place: int, sequence: int, body: bytes) -> bytes:
    head = b"pzfsname" + pack("<HHHHQ", 1, kind, len(body), place, sequence)
    return sealed((head + body).ljust(480, b"\0"))


def test_records_of_names() -> None:
    row = NameRow(b"a name", ONE, True, 11, 12)
    other = NameRow(b"b", TWO, False, 13, 14)
    written = [
        (1, pack("<Q", 2)),
        (2, ONE + pack("<BBqq", 1, 6, 11, 12) + b"a name"),
        (2, TWO + pack("<BBqq", 0, 1, 13, 14) + b"b"),
        (4, ONE + pack("<q", 15)),
        (5, bytes([4]) + b"port" + b"4000"),
        (3, bytes(TWO)),
        (6, b""),
        (7, bytes(TWO)),
        (6, b""),
    ]
    content = b"".join(
        _record(kind, place, 9 + place, body) for place, (kind, body) in enumerate(written)
    )
    start = Known(rows={ONE: row, TWO: other}).changes()
    later = [*times_changes([(ONE, 15)]), setting_change("port", 4000), removed_change(TWO), END]
    later += [gone_change(TWO), END]
    assert start[1:] == [feed_change(row), feed_change(other)]
    assert encode_records([*start, *later], 9) == content
    for size, removed in ((len(content), {}), (len(content) - 2 * 512, {TWO: None})):
        found = merge(content[:size], b"")
        assert found.known == Known({ONE: row._replace(mtime_ns=15)}, {"port": 4000}, removed)
        ended = (content[:size], 9 + size // 512, True)
        assert (found.content, found.next_sequence, found.has_ended) == ended


def test_a_record_has_times_of_eleven_feeds() -> None:
    times = [(FeedId(bytes([number]) * 32), number) for number in range(23)]
    changes = times_changes(times)
    assert [len(change.body) for change in changes] == [440, 440, 40]
    assert b"".join(change.body for change in changes) == b"".join(
        feed_id + pack("<q", number) for feed_id, number in times
    )


def test_where_a_store_is() -> None:
    place = Place(
        Whereabouts("machine-1", None),
        {"node_key": FilePlace(5, 6, 7), "other": FilePlace(8, 9, None)},
    )
    heading = encode_place(place).split(b"\n")[0]
    assert heading.startswith(b"protozorfs place")
    body = heading + b"\nmachine machine-1\nvolume -\nfile node_key 5 6 7\nfile other 8 9 -\n"
    content = body + b"sum " + digest(body).hex().encode() + b"\n"
    assert encode_place(place) == content
    assert decode_place(content, "node_key") == place
    assert decode_place(encode_place(replace_volume(place, "v")), "node_key").where.volume == "v"
    with pytest.raises(DecodeError, match="damaged"):
        decode_place(content.replace(b" 6 ", b" 7 "), "node_key")
    with pytest.raises(DecodeError, match="does not say"):
        decode_place(b"", "node_key")
    first = decode_place(b"machine-1 2049 5 6", "node_key")
    assert first == Place(
        Whereabouts("machine-1", None), {"node_key": FilePlace(5, 6, None)}, has_times=False
    )


def replace_volume(place: Place, volume: str) -> Place:
    return place._replace(where=Whereabouts(place.where.machine, volume))
