"""A store that is opened to be read: all of it is as ever, and nothing is written into it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import trio

from protozorfs import crypto
from protozorfs.app import open_to_read
from protozorfs.errors import (
    BlockUnavailable,
    HeadUnknown,
    NotWritable,
    StoreCorrupt,
    StoreLocked,
    UsageError,
)
from protozorfs.log.feed import Log
from protozorfs.log.proof_types import Request, UpgradeRequest
from protozorfs.options import Options
from protozorfs.store.beneath import Beneath
from protozorfs.store.layout import FeedDirectory, Store
from protozorfs.store.lock import readers
from protozorfs.store.memory_files import MemoryFiles
from protozorfs.store.name_records import NameRow
from protozorfs.store.names import NAMES_FILE
from protozorfs.store.pool import FilePool
from protozorfs.types import FeedId
from tests.e2e.test_old_stores import make_old

SEEDS = [bytes([number]) * crypto.SEED_BYTES for number in range(3)]
IDS = [FeedId(crypto.key_pair(seed).public_key) for seed in SEEDS]
BLOCKS = [b"one\n", b"two\n", b"three\n" * 1000]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of two owned feeds, one of them left as a kill leaves it, and a followed one."""
    path = tmp_path / "store"
    with Store(path) as store:
        for number, name in enumerate((b"clean", b"unclean")):
            log = Log.create(store.feed(IDS[number]), SEEDS[number])
            store.names.add(NameRow(name, IDS[number], True, 5, 6))
            log.append(BLOCKS[:1])
            log.sync()
            log.append(BLOCKS[1:])
            if name == b"clean":
                log.close()
            else:
                log.rest()
        store.names.add(NameRow(b"followed", IDS[2], False, 5, 6))
    return path


def snapshot(path: Path) -> dict[str, object]:
    """What there is below a directory, and when anything of it was changed."""
    found: dict[str, object] = {}
    for directory, _, names in os.walk(path):
        for each in (directory, *(os.path.join(directory, name) for name in names)):
            stat = os.lstat(each)
            content = b"" if os.path.isdir(each) else Path(each).read_bytes()
            found[each] = (content, stat.st_ino, stat.st_mode, stat.st_mtime_ns, stat.st_ctime_ns)
    return found


async def read_all(path: Path, options: Options | None = None) -> dict[bytes, bytes]:
    """The contents of all feeds, as a reader of the store has them."""
    async with open_to_read(path, options) as stored:
        return {name: feed.reader.read_nowait(0, 1 << 20) for name, feed in stored.feeds.names()}


EXPECTED = {b"clean": b"".join(BLOCKS), b"unclean": b"".join(BLOCKS), b"followed": b""}


async def test_all_of_it_is_read_and_nothing_is_written(path: Path) -> None:
    before = snapshot(path)
    assert await read_all(path) == EXPECTED
    assert await read_all(path, Options(cache_size=32 << 20, force_append=True)) == EXPECTED
    assert snapshot(path) == before


async def test_a_store_of_the_first_version_is_read_as_it_is(path: Path) -> None:
    rows = [(b"clean", IDS[0], 1, 5, 6), (b"unclean", IDS[1], 1, 5, 6)]
    make_old(path, rows)
    before = snapshot(path)
    found = await read_all(path)
    assert {name: found[name] for name, *_ in rows} == {
        name: EXPECTED[name] for name in (b"clean", b"unclean")
    }
    assert snapshot(path) == before
    with closing(sqlite3.connect(path / "names.db")) as connection:
        assert connection.execute("SELECT count(*) FROM names").fetchone() == (2,)


async def test_a_copy_that_lacks_files_is_read_as_it_is(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(path, copy)
    for name in ("lock", "spare", "inodes", "names.copy", "node_key_place"):
        (copy / name).unlink(missing_ok=True)
    before = snapshot(copy)
    assert await read_all(copy) == EXPECTED
    assert snapshot(copy) == before


async def test_without_names_feeds_are_shown_by_their_ids(path: Path) -> None:
    for name in ("names", "names.copy"):
        (path / name).unlink()
    before = snapshot(path)
    assert await read_all(path) == {
        each.hex().encode(): b"".join(BLOCKS) for each in sorted(IDS[:2])
    }
    assert snapshot(path) == before


async def test_damage_is_told_and_left(path: Path) -> None:
    data = path / "feeds" / IDS[0].hex()[:2] / IDS[0].hex() / "data"
    with data.open("r+b") as file:
        file.write(b"O")
    before = snapshot(path)
    async with open_to_read(path) as stored:
        clean = stored.feeds.by_name(b"clean")
        assert clean is not None
        with pytest.raises(StoreCorrupt):
            clean.reader.read_nowait(0, 100)
    assert snapshot(path) == before


async def test_whatever_would_change_it_is_refused(path: Path) -> None:
    before = snapshot(path)
    async with open_to_read(path) as stored:
        feeds = stored.feeds
        for change in (
            lambda: feeds.create(b"new"),
            lambda: feeds.follow(FeedId(bytes(32)), b"new"),
            lambda: feeds.rename(b"clean", b"new"),
            lambda: feeds.remove(b"followed"),
            lambda: feeds.delete_key(b"clean", IDS[0]),
        ):
            with pytest.raises(NotWritable, match="open read-only"):
                await change()
        feed = feeds.by_name(b"clean")
        assert feed is not None
        with pytest.raises(NotWritable, match="open read-only"):
            await feed.append([b"more"])
        assert "open read-only" in feeds.report(IDS[0]).why
    assert snapshot(path) == before


async def test_nobody_waits_for_what_is_not_here(path: Path) -> None:
    owner = Log.create(FeedDirectory(FilePool(MemoryFiles()), IDS[2]), SEEDS[2])
    owner.append(BLOCKS)
    owner.sync()
    request = Request(upgrade=UpgradeRequest(0, len(BLOCKS)))
    headed, empty = b"followed", FeedId(bytes(32))
    with Store(path) as store:
        log = Log.open(store.feed(IDS[2]))
        log.apply(request, owner.proof(request))
        log.close()
        store.names.add(NameRow(b"empty", empty, False, 5, 6))
    async with open_to_read(path) as stored:
        feed, unknown = stored.feeds.by_name(headed), stored.feeds.by_name(b"empty")
        assert feed is not None
        assert unknown is not None
        with trio.fail_after(5):
            with pytest.raises(HeadUnknown):
                await unknown.reader.wait_first_head()
            with pytest.raises(BlockUnavailable):
                await feed.reader.wait_bytes(0, 1)
        assert feed.state == unknown.state == "offline"
        assert stored.feeds.report(IDS[2]).why == (
            "nobody waits: 3 of 3 blocks are missing and are not fetched, since the store is open"
            " read-only"
        )


async def test_readers_share_a_store_which_nobody_writes_meanwhile(path: Path) -> None:
    async with open_to_read(path), open_to_read(path):
        assert readers(path) == [os.getpid()] * 2
        with pytest.raises(StoreLocked, match="in use, read-only"):
            Store(path)
    before = snapshot(path)
    with Store(path), pytest.raises(StoreLocked, match=f"in use by process {os.getpid()}"):
        Store(path, is_read_only=True)
    assert before != snapshot(path)
    assert readers(path) == []


def test_a_file_system_that_locks_nothing_read_only_is_no_obstacle(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    with Store(path, is_read_only=True) as store:
        assert len(store.names.all()) == 3


@pytest.mark.parametrize("name", [None, "empty", "file", "other/thing"])
def test_none_is_made_to_be_read(tmp_path: Path, name: str | None) -> None:
    store = tmp_path / "nothing"
    if name == "empty":
        store.mkdir()
    elif name == "file":
        store.touch()
    elif name is not None:
        (store / name).mkdir(parents=True)
    before = snapshot(tmp_path)
    with pytest.raises(UsageError, match="is no store"):
        Store(store, is_read_only=True)
    assert snapshot(tmp_path) == before


def test_a_store_whose_files_may_not_be_written_says_how_to_read_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Beneath.open_file

    def denied(root: Beneath, name: str, flags: int, mode: int = 0) -> int:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise PermissionError(1, "Operation not permitted", name)
        return real(root, name, flags, mode)

    monkeypatch.setattr(Beneath, "open_file", denied)
    with pytest.raises(UsageError, match="to read it, mount it with -o ro"):
        Store(path)
    with Store(path, is_read_only=True) as store:
        assert len(store.names.all()) == 3
        assert (path / NAMES_FILE).exists()
