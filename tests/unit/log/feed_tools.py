"""What the tests of a feed on disk share: feeds in simulated stores, and replication by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs import crypto
from protozorfs.log.feed import Log
from protozorfs.log.proof_types import BlockRequest, Proof, Request, UpgradeRequest
from protozorfs.store import FeedDirectory, FilePool, MemoryFiles
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from protozorfs.log.incoming import Applied

SEED = bytes(range(32))
PAIR = crypto.key_pair(SEED)
FEED_ID = FeedId(PAIR.public_key)


def directory(files: MemoryFiles) -> FeedDirectory:
    return FeedDirectory(FilePool(files, limit=8), FEED_ID)


def create_owned(files: MemoryFiles) -> Log:
    return Log.create(directory(files), SEED)


def create_followed(files: MemoryFiles) -> Log:
    return Log.create(directory(files))


def reopen(files: MemoryFiles) -> Log:
    return Log.open(directory(files))


def check_all(log: Log) -> Log:
    """What goes on behind a mount after an unclean stop, at once."""
    while (step := log.begin_check()) is not None:
        step.run()
        log.end_check(step)
    if log.has_progress:
        keep_progress(log)
    return log


def scrub(log: Log) -> tuple[int, int, int]:
    """Reads again all that is held; returns steps, bytes, and nodes made good."""
    steps = size = mended = at = 0
    while (step := log.begin_scrub(at, log.length)) is not None:
        step.run()
        mended += log.end_scrub(step)
        steps, size, at = steps + 1, size + step.size, step.end
    return steps, size, mended


def keep_progress(log: Log) -> None:
    progress = log.begin_progress()
    progress.run()
    log.end_progress(progress)


def owned_with(blocks: Iterable[bytes]) -> Log:
    log = create_owned(MemoryFiles())
    for block in blocks:
        log.append([block])
    return log


def upgrade_pair(source: Log, reader: Log) -> tuple[Request, Proof]:
    source.sync()  # an owner shows no head before
    request = Request(upgrade=UpgradeRequest(reader.length, source.length - reader.length))
    return request, source.proof(request)


def block_pair(source: Log, reader: Log, index: int) -> tuple[Request, Proof]:
    source.sync()
    request = Request(block=BlockRequest(index, reader.request_hint(index)))
    return request, source.proof(request)


def upgrade(source: Log, reader: Log) -> Applied:
    return reader.apply(*upgrade_pair(source, reader))


def fetch(source: Log, reader: Log, index: int) -> Applied:
    return reader.apply(*block_pair(source, reader, index))


def content(log: Log) -> list[bytes]:
    return [log.block(index) for index in range(log.length)]


def check_whole(log: Log, blocks: Sequence[bytes]) -> None:
    """Checks everything that a log says of a feed that is held completely."""
    data = b"".join(blocks)
    assert log.length == log.contiguous_length == len(blocks)
    assert log.byte_length == log.held_bytes == log.contiguous_bytes == len(data)
    assert (log.head is None) == (not blocks)
    assert not log.damaged
    assert content(log) == list(blocks)
    assert log.read(0, len(data) + 1) == data
    log.take_lost()  # what was lost before, and is here again
    scrub(log)
    assert not log.take_lost()
