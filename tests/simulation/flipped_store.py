"""A store with every kind of file, of which one bit is another one than was written.

A store is made once, clean or as a kill leaves it. Each trial takes a copy, flips a bit in one of
its files, lets the check say what is wrong, and then uses the store as a mount does: every byte
that is read, every block, every proof for a peer must be right or an error.
"""

from __future__ import annotations

import random
import shutil
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from protozorfs import crypto
from protozorfs.cli.checking import StoreCheck
from protozorfs.dht.endpoint import IPV4, Endpoint
from protozorfs.dht.krpc import Contact
from protozorfs.dht.network import SavedNetwork
from protozorfs.dht.node_id import NodeId
from protozorfs.errors import (
    BlockUnavailable,
    InvalidRequest,
    StoreCorrupt,
    StoreError,
    UsageError,
)
from protozorfs.feeds.evidence import load_later_fork, load_proofs, load_two_heads
from protozorfs.log.conflict import Evidence
from protozorfs.log.feed import Log
from protozorfs.log.format import NODE_BYTES, encode_evidence, encode_head_slot
from protozorfs.log.hashing import sign_head
from protozorfs.log.proof_types import BlockRequest, Request, UpgradeRequest
from protozorfs.store import FeedDirectory, FilePool, MemoryFiles
from protozorfs.store.beneath import Beneath
from protozorfs.store.findings import Finding
from protozorfs.store.heads import COPIES, PAGE_BYTES, SLOT_BYTES, HeadKind
from protozorfs.store.layout import Store, feed_path
from protozorfs.store.name_records import NameRow
from protozorfs.store.numbers import KeptNumbers
from protozorfs.store.trust import open_way
from protozorfs.swarm.dht_state import save_state
from protozorfs.swarm.head import encode_kept, sign_record
from protozorfs.types import Address, FeedId, NodeKey
from tests.unit.log.log_tools import KEY_PAIR, VECTOR_BLOCKS, Writer, other_history, two_histories

if TYPE_CHECKING:
    from pathlib import Path

    from protozorfs.types import Head

SHOWN_BLOCKS = 100  # of a feed, at least, if it has so many
SUMS = ("sums", "tree_sums")
COUNT = 37  # blocks: roots of 32 and 4 blocks, and of one
BLOCKS = [random.Random(size).randbytes(7 * size % 61) for size in range(1, COUNT + 1)]
MANY = [random.Random(size).randbytes(80 + size % 7) for size in range(1700)]  # of 139 KiB
OWN, EMPTY, LARGE, WHOLE = ("own", "empty", "large", "whole")
SPARSE, FORKED = ("sparse", "forked")
OURS = (OWN, EMPTY, LARGE)
KEYS = {
    OWN: crypto.key_pair(bytes([1]) * 32),
    EMPTY: crypto.key_pair(bytes([2]) * 32),
    LARGE: crypto.key_pair(bytes([5]) * 32),  # so large that there are checksums of it
    WHOLE: crypto.key_pair(bytes([3]) * 32),
    SPARSE: crypto.key_pair(bytes([4]) * 32),
    FORKED: KEY_PAIR,
}
IDS = {name: FeedId(pair.public_key) for name, pair in KEYS.items()}
CONTENT = {
    OWN: BLOCKS,
    EMPTY: [],
    LARGE: MANY,
    WHOLE: BLOCKS,
    SPARSE: BLOCKS,
    FORKED: VECTOR_BLOCKS[:7],
}
HELD = {
    OWN: set(range(COUNT)),
    EMPTY: set[int](),
    LARGE: set(range(len(MANY))),
    WHOLE: set(range(COUNT)),
    SPARSE: set(range(0, COUNT, 3)),
    FORKED: set(range(7)),
}


def make(path: Path, *, is_clean: bool) -> None:
    """Makes the store; without `is_clean` as it is while all of it is open."""
    store = Store(path if is_clean else path.with_name("open"))
    logs = [_made(store, name) for name in KEYS]
    for name, pair in KEYS.items():
        store.names.add(NameRow(name.encode(), IDS[name], name in OURS, 1, 1))
        store.known_peers.remember([IDS[name]], Address("::1", 1), NodeKey(pair.public_key), 1.0)
    store.names.set_setting("port", 4711)
    KeptNumbers(store.files, store.node_key.seed).keep(b"path x", 1 << 20)
    contact = Contact(NodeId(bytes(20)), Endpoint(bytes([127, 0, 0, 1]), 1))
    network = SavedNetwork(
        family=IPV4, node_id=NodeId(bytes(20)), external_ip=bytes(4), contacts=(contact,)
    )
    save_state(store.files, [network])
    (store.path / "mount.log").write_text("text\n")
    if is_clean:
        for log in logs:
            log.close()
        store.close()
        return
    store.known_peers.save()
    shutil.copytree(store.path, path)
    for log in logs:
        log.close()
    store.close()
    shutil.rmtree(store.path)


def _made(store: Store, name: str) -> Log:
    directory = store.feed(IDS[name])
    blocks = CONTENT[name]
    source = Log.create(FeedDirectory(FilePool(MemoryFiles()), IDS[name]), KEYS[name].seed)
    if blocks:
        source.append(blocks)
        source.sync()
    if name in OURS:
        log = Log.create(directory, KEYS[name].seed)
        for part in (blocks[:9], blocks[9:]):
            if part:
                log.append(part)
                log.sync()
        return log
    log = Log.create(directory)
    upgrade = Request(upgrade=UpgradeRequest(0, len(blocks)))
    log.apply(upgrade, source.proof(upgrade))
    for index in sorted(HELD[name]):
        request = Request(block=BlockRequest(index, log.request_hint(index)))
        log.apply(request, source.proof(request))
    log.sync()
    assert log.head is not None
    log.keep_beside("record", encode_kept(sign_record(log.head, KEYS[name])))
    if name == FORKED:
        _keep_evidence(log)
    return log


def _keep_evidence(log: Log) -> None:
    other = other_history(7).head
    later = sign_head((), 0, 3, KEY_PAIR.secret_key)
    log.keep_beside("evidence", encode_evidence(two_histories()))
    log.keep_beside("evidence_heads", _slots(Writer(VECTOR_BLOCKS[:7]).head, other))
    log.keep_beside("evidence_later", _slots(Writer(VECTOR_BLOCKS[:7]).head, later))


def _slots(*heads: Head) -> bytes:
    return b"".join(
        encode_head_slot(HeadKind.SIGNED, number, head) for number, head in enumerate(heads)
    )


class Flip(NamedTuple):
    """One bit of one file."""

    path: str
    offset: int
    bit: int


def draw(store: Path, path: str, choice: random.Random) -> Flip:
    """A bit of a file."""
    return Flip(path, choice.randrange((store / path).stat().st_size), choice.randrange(8))


def flip(store: Path, one: Flip) -> None:
    """Flips it."""
    with (store / one.path).open("r+b") as file:
        file.seek(one.offset)
        (value,) = file.read(1)
        file.seek(one.offset)
        file.write(bytes([value ^ 1 << one.bit]))


def findings(store: Path, only: FeedId | None = None) -> set[tuple[str, str, str]]:
    """What the check says of the store, and of its feeds: codes, files, and what is wrong.

    `only`: of that feed.
    """
    with closing(Beneath(open_way(store), str(store))) as root:
        check = StoreCheck(root)
        found = [*check.of_store()]
        for feed_id in [only] if only else check.feed_ids:
            found += [one for one in check.of_feed(feed_id) if isinstance(one, Finding)]
    return {(one.kind.code, one.path, one.what) for one in found}


class Used(NamedTuple):
    """What a run with the store could do.

    Attributes:
        names: the rows that are known; None: the store cannot be opened.
        blocks: of each feed, those that could be read; None: the feed cannot be opened.
    """

    names: set[tuple[bytes, FeedId]] | None
    blocks: dict[str, set[int] | None]


def use(store: Path, only: str | None = None) -> Used:
    """Reads all of the store, or of one feed, as bytes, as blocks and as a peer.

    Raises:
        AssertionError: something that is not right was shown.
    """
    try:
        opened = Store(store, adopts=True)
    except (StoreError, UsageError):
        return Used(None, {})
    with opened:
        names = [only] if only else list(IDS)
        blocks = {name: _read(opened.feed(IDS[name]), name) for name in names}
        return Used({(row.name, row.feed_id) for row in opened.names.all()}, blocks)


def _read(directory: FeedDirectory, name: str) -> set[int] | None:
    for load in (load_proofs, load_two_heads, load_later_fork):
        try:
            kept = load(directory)
        except StoreCorrupt:
            continue
        if isinstance(kept, Evidence):
            assert kept == two_histories()
    try:
        log = Log.open(directory)
    except StoreError:
        return None
    blocks = _read_log(log, CONTENT[name])
    log.close()
    return blocks


def _read_log(log: Log, content: list[bytes]) -> set[int]:
    data = b"".join(content)
    at = 0
    while at < len(data):
        try:
            found = log.read(at, 64)
        except StoreError:
            found = b""
        assert found == data[at : at + len(found)]
        at += max(1, len(found))
    if log.is_owned:
        try:
            log.sync()
        except StoreError:
            assert log.damaged
    reader = Log.create(FeedDirectory(FilePool(MemoryFiles()), log.feed_id))
    if log.shown_head is not None:
        upgrade = Request(upgrade=UpgradeRequest(0, log.shown_head.length))
        try:
            reader.apply(upgrade, log.proof(upgrade))
        except InvalidRequest:
            assert log.damaged
    right = set()
    # One more in each of its pieces, where there are many: each is proved with its way up.
    for index in range(0, log.length, max(1, log.length // SHOWN_BLOCKS)):
        try:
            assert log.block(index) == content[index]
            request = Request(block=BlockRequest(index, reader.request_hint(index)))
            proof = log.proof(request)
        except (BlockUnavailable, InvalidRequest, StoreCorrupt, ValueError):
            continue
        assert reader.apply(request, proof).block_index == index
        right.add(index)
    return right


def files_of(store: Path) -> list[str]:
    """Every file that has a byte, relative to the store."""
    return sorted(
        str(path.relative_to(store))
        for path in store.rglob("*")
        if path.is_file() and path.stat().st_size
    )


def feed_of(path: str) -> str | None:
    """The name of the feed whose file that is; None: it is the store's."""
    names = (name for name, feed_id in IDS.items() if path.startswith(feed_path(feed_id)))
    return next(names, None)


def has_meaning(store: Path, one: Flip) -> bool:
    """Whether that byte can be told from another one: docs/check.md has those that cannot."""
    name = one.path.rpartition("/")[2]
    if name in ("spare", "lock", "mount.log", "dht", "stale.db", "bitfield.log", *SUMS):
        return False
    if name == "head":
        return one.offset >= PAGE_BYTES and one.offset % PAGE_BYTES < COPIES * SLOT_BYTES
    with (store / one.path).open("rb") as file:
        if name == "tree":
            file.seek(one.offset // NODE_BYTES * NODE_BYTES)
            return any(file.read(NODE_BYTES))
        if name == "data":
            file.seek(one.offset)
            return feed_of(one.path) != SPARSE or file.read(1) != b"\0"
    return True
