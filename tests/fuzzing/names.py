"""What keeps the names of a store, and says where it stands: of this version and of 0.1.0."""

from __future__ import annotations

import logging
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING

from protozorfs.errors import DecodeError, StoreCorrupt
from protozorfs.store import MemoryFiles
from protozorfs.store.left import decode_left
from protozorfs.store.name_records import (
    RECORD_BYTES,
    VERSION,
    Known,
    NameRow,
    encode_records,
    feed_change,
    merge,
    removed_change,
    setting_change,
    times_changes,
)
from protozorfs.store.names import COPY_FILE, NAMES_FILE, Names
from protozorfs.store.old_names import OLD_NAMES_FILE, WAL_FILE, read_old_names
from protozorfs.store.place import FilePlace, Place, Whereabouts, decode_place, encode_place
from protozorfs.types import FeedId
from tests.fuzzing.harness import Chooser, Harness, edited, part, resealed
from tests.unit.store.old_stores import memory_store, old_files, row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

HEAD = Struct("<8sHHHHQ")
IDS = [FeedId(bytes([number]) * 32) for number in range(1, 5)]
ROWS = [NameRow(b"feed %d" % number, IDS[number], number == 1, 7, 9) for number in range(3)]
CHANGES = [
    *Known(rows={row.feed_id: row for row in ROWS}, settings={"port": 4000}).changes(),
    feed_change(ROWS[0]._replace(name=b"another name")),
    removed_change(IDS[1]),
    setting_change("place", "here"),
    *times_changes([(IDS[0], 11), (IDS[2], 12)]),
]
WHOLE = encode_records(CHANGES, 40)
PLACE = encode_place(Place(Whereabouts("machine", "volume"), {"node_key": FilePlace(1, 2, 3)}))
OLD_ROWS = 40


def _record(chooser: Chooser) -> bytes:
    """A record whose checksum is right, and whose content is by chance mostly, too."""
    version = VERSION + (chooser.number(20) == 0)
    kind, place, sequence = chooser.number(8), chooser.number(4), chooser.number(9)
    body = chooser.part(480)
    head = HEAD.pack(b"pzfsname", version, kind, len(body), place, sequence)
    return resealed((head + body).ljust(RECORD_BYTES, b"\0")[:RECORD_BYTES])


def make_records(_work: Path) -> Callable[[bytes], None]:
    """Two logs of names: what is damaged in one comes from the other, and any records are read."""
    logging.disable(logging.CRITICAL)
    truth = merge(WHOLE, WHOLE).known

    def run(data: bytes) -> None:
        chooser = Chooser(data)
        contents = [WHOLE, WHOLE]
        contents[chooser.number(2)] = edited(WHOLE, chooser)
        found = merge(*contents)
        assert (found.known, found.content) == (truth, WHOLE)
        files = MemoryFiles()
        for name in (NAMES_FILE, COPY_FILE):
            files.replace(name, b"".join(_record(chooser) for _ in range(chooser.number(6))))
        with suppress(StoreCorrupt):
            names = Names(files)
            said = names.all()
            assert len({one.name for one in said}) == len({one.feed_id for one in said})
            names.close()
            assert Names(files).all() == said
        with suppress(DecodeError):
            decode_place(edited(PLACE, chooser), "node_key")
        left = decode_left(data)
        assert len(left) in (0, 3)

    return run


def records_seeds() -> Iterable[bytes]:
    for number, change in enumerate(CHANGES):
        one = b"\1" + bytes([change.kind, 0, number]) + part(change.body)
        for which in range(2):
            yield bytes([which, 1, 0, number, 1, 0]) + b"\1" + one + b"\1" + one
    yield bytes([0, 0, 1, 0, 2])


def make_old(work: Path) -> Callable[[bytes], None]:
    """The database of version 0.1.0 and its log: rows that were not written are not made up."""
    directories = [work / "clean", work / "killed"]
    kept = []
    for directory in directories:
        directory.mkdir(exist_ok=True)
        kept.append(old_files(directory, OLD_ROWS, is_clean=directory.name == "clean"))
    truth = {row(number) for number in range(OLD_ROWS)}

    def run(data: bytes) -> None:
        chooser = Chooser(data)
        files = chooser.pick(kept)
        name = chooser.pick([OLD_NAMES_FILE, WAL_FILE])
        content = edited(files.get(name, b""), chooser)
        found = read_old_names(memory_store({**files, name: content}))
        names = [one.name for one in found.known.rows.values()]
        assert len(names) == len(set(names))
        assert found.damage or set(found.known.rows.values()) <= truth or not found.known.rows
        assert found.known.is_complete == (not found.damage)

    return run


def old_seeds() -> Iterable[bytes]:
    for which in range(4):
        yield bytes([which & 1, which >> 1, 1, 100, 0, 1, 0])
        yield bytes([which & 1, which >> 1, 2, 40, 16, 255, 60, 32, 7, 0])
        yield bytes([which & 1, which >> 1, 0, 1, 0, 12])


HARNESSES = (
    Harness("name-records", make_records, records_seeds),
    Harness("old-names", make_old, old_seeds, 64),
)
