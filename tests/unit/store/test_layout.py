from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from protozorfs import crypto
from protozorfs.errors import NotRemovable, StoreCorrupt, StoreFull, StoreLocked, UsageError
from protozorfs.store.keys import load_or_make_key_pair, write_seed
from protozorfs.store.layout import FeedDirectory, Store
from protozorfs.store.lock import StoreLock, read_holder
from protozorfs.store.memory_files import MemoryFiles, Stopped
from protozorfs.store.name_records import NameRow
from protozorfs.store.place import standing_place
from protozorfs.store.placement import Placement
from protozorfs.store.pool import FilePool
from protozorfs.types import Address, FeedId, NodeKey
from tests.unit.store.roots import root_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAIR = crypto.key_pair(bytes(range(32)))
FEED_ID = FeedId(PAIR.public_key)


def test_a_store_is_private_and_keeps_its_node_key(tmp_path: Path) -> None:
    path = tmp_path / "new" / "store"
    with Store(path) as store:
        node_key = store.node_key
        assert path.stat().st_mode & 0o777 == 0o700
        assert (path / "node_key").stat().st_mode & 0o777 == 0o600
        free, total = store.free_space()
        assert free <= total
    with Store(path) as store:
        assert store.node_key == node_key


def test_a_second_opener_is_told_who_holds_the_store(tmp_path: Path) -> None:
    with Store(tmp_path / "s", mount_point="/mnt/f\xe9eds"):
        with pytest.raises(StoreLocked, match="mounted at /mnt/f\xe9eds") as caught:
            Store(tmp_path / "s")
        assert caught.value.pid == os.getpid()
        assert caught.value.mount_point == "/mnt/f\xe9eds"
    with Store(tmp_path / "s"):
        assert read_holder(tmp_path / "s") == (os.getpid(), None)


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from protozorfs.store.lock import StoreLock;"
        "from tests.unit.store.roots import root_of;"
        f"lock = StoreLock(root_of(Path({str(tmp_path)!r})), 'm'); print('held', flush=True);"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(StoreLocked) as caught:
            StoreLock(root_of(tmp_path))
        assert caught.value.pid == child.pid
        child.kill()
    StoreLock(root_of(tmp_path)).release()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"pid": "x", "mount_point": 3}', b"\xff"])
def test_a_lock_file_that_says_nothing_useful_is_no_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lock").write_bytes(content)
    assert read_holder(tmp_path) == (None, None)
    assert read_holder(tmp_path / "none") == (None, None)


def test_the_holder_can_be_told_again_after_a_fork(tmp_path: Path) -> None:
    lock = StoreLock(root_of(tmp_path), "a very long mount point")
    lock.set_mount_point("m", pid=77)
    assert json.loads((tmp_path / "lock").read_text()) == {"pid": 77, "mount_point": "m"}
    lock.release()
    lock.release()


def test_what_is_no_store_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="holds something else"):
        Store(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.txt"]
    with pytest.raises(UsageError, match="not a directory"):
        Store(tmp_path / "thesis.txt")
    with pytest.raises(UsageError, match="not a directory"):
        Store(tmp_path / "thesis.txt" / "below")


def test_a_store_of_another_format_is_refused_and_unlocked(tmp_path: Path) -> None:
    Store(tmp_path / "s").close()
    (tmp_path / "s" / "format").write_text("protozorfs store 3\n")
    for _ in range(2):
        with pytest.raises(UsageError, match="another version"):
            Store(tmp_path / "s")


def test_a_store_that_fails_to_open_is_unlocked(tmp_path: Path) -> None:
    Store(tmp_path / "s").close()
    (tmp_path / "s" / "node_key").write_bytes(b"garbage")
    (tmp_path / "s" / "node_key.copy").unlink()
    for _ in range(2):
        with pytest.raises(StoreCorrupt):
            Store(tmp_path / "s")


def test_feed_directories_are_made_listed_and_removed(tmp_path: Path) -> None:
    followed = FeedId(b"\x42" * 32)
    with Store(tmp_path / "s") as store:
        assert list(store.feeds()) == []
        store.feed(FEED_ID).make(PAIR.seed)
        store.feed(followed).make()
        assert store.feed(FEED_ID).exists()
        assert store.feed(FEED_ID).secret() == PAIR
        assert store.feed(followed).secret() is None
        assert {feed.feed_id for feed in store.feeds()} == {FEED_ID, followed}
        secret = tmp_path / "s" / store.feed(FEED_ID).path / "secret"
        assert secret.stat().st_mode & 0o777 == 0o600
        with pytest.raises(NotRemovable):
            store.remove_feed(FEED_ID)
        store.remove_feed(followed)
        store.remove_feed(FEED_ID, with_secret=True)
        assert list(store.feeds()) == []


@pytest.mark.parametrize("seed", range(4))
def test_a_made_feed_survives_a_power_cut_with_its_key(seed: int) -> None:
    files = MemoryFiles()
    FeedDirectory(FilePool(files), FEED_ID).make(PAIR.seed)
    files.power_cut(random.Random(seed))
    assert FeedDirectory(FilePool(files), FEED_ID).secret() == PAIR


def test_a_removal_that_stops_anywhere_loses_the_key_last() -> None:
    for operation in range(9):
        files = MemoryFiles()
        directory = FeedDirectory(FilePool(files), FEED_ID)
        directory.make(PAIR.seed)
        for name in ("data", "tree", "head"):
            directory.file(name).pwrite(b"x", 0)
        files.fail_at(files.operations + operation)
        try:
            directory.remove()
        except Stopped:
            files.kill()
            if files.exists(directory.path) and directory.secret() is None:
                assert files.listdir(directory.path) == []
            continue
        assert operation > 3
        assert not directory.exists()


def test_the_clean_mark_survives_and_its_removal_too() -> None:
    for seed in range(6):
        files = MemoryFiles()
        directory = FeedDirectory(FilePool(files), FEED_ID)
        directory.make()
        assert not directory.is_marked_clean()
        directory.mark_clean(b"")
        files.power_cut(random.Random(seed))
        assert directory.is_marked_clean()
        directory.unmark_clean()
        files.power_cut(random.Random(seed))
        assert not directory.is_marked_clean()


@pytest.mark.parametrize("change", ["sync_place", "unmark_clean", "unmark_visited", "remove"])
def test_a_directory_that_failed_to_be_synced_takes_nothing_more(change: str) -> None:
    def made(files: MemoryFiles) -> FeedDirectory:
        directory = FeedDirectory(FilePool(files), FEED_ID, {FEED_ID})
        directory.make(PAIR.seed)
        directory.mark_clean(b"")
        return directory

    files = MemoryFiles()
    directory, kinds = made(files), list[str]()

    def carry_out(kind: str, _: str, effect: Callable[[], None]) -> None:
        kinds.append(kind)
        effect()

    files.carry_out_by(carry_out)
    getattr(directory, change)()
    for failure, is_final in (("io", True), ("full", False)):
        files = MemoryFiles()
        directory = made(files)
        files.fail_at(files.operations + kinds.index("sync_dir"), failure)
        with pytest.raises((StoreFull, OSError)):
            getattr(directory, change)()
        assert directory.has_failed_sync == is_final


def test_keys_are_made_once_and_bad_ones_are_corrupt() -> None:
    files = MemoryFiles()
    placement = Placement(files, "k_place", "", {"k": standing_place})
    pair, is_new = load_or_make_key_pair(files, "k", placement)
    assert is_new
    files.power_cut(random.Random(0))
    assert load_or_make_key_pair(files, "k", placement) == (pair, False)
    files.replace("k", b"short")
    files.remove("k.copy")
    with pytest.raises(StoreCorrupt, match="5 bytes"):
        load_or_make_key_pair(files, "k", placement)
    with pytest.raises(ValueError, match="32"):
        write_seed(files, "k", b"short")


def test_a_copy_of_a_store_is_another_node_and_knows_that_it_is_a_copy(tmp_path: Path) -> None:
    feed_pair = crypto.key_pair(bytes(range(32)))
    feed_id = FeedId(feed_pair.public_key)
    with Store(tmp_path / "original") as store:
        original_key = store.node_key
        assert store.is_new_node
        store.feed(feed_id).make(feed_pair.seed)
        assert not store.feed(feed_id).displacement()
    with Store(tmp_path / "original") as store:
        assert store.node_key == original_key
        assert not store.is_new_node
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    with Store(tmp_path / "copy") as copy:
        assert copy.node_key != original_key
        assert copy.is_new_node
        assert "another one" in copy.feed(feed_id).displacement()
    (tmp_path / "original").rename(tmp_path / "moved")
    with Store(tmp_path / "moved") as moved:
        assert moved.node_key == original_key
        assert not moved.feed(feed_id).displacement()


def test_a_store_may_have_a_path_of_any_length(tmp_path: Path) -> None:
    """SQLite opens no file whose path has more than 512 bytes."""
    path = tmp_path.joinpath(*["d" * 100] * 6, "s")
    address = Address("10.0.0.1", 4000)
    with Store(path) as store:
        store.names.add(NameRow(b"mine", FEED_ID, True, 0, 0))
        store.known_peers.remember([FEED_ID], address, NodeKey(b"k" * 32), 1.0)
    with Store(path) as store:
        assert [row.name for row in store.names.all()] == [b"mine"]
        assert [peer.address for peer in store.known_peers.of_feed(FEED_ID)] == [address]


def test_an_adopted_copy_is_in_its_place_and_keeps_the_key_of_its_node(tmp_path: Path) -> None:
    with Store(tmp_path / "original") as store:
        node_key = store.node_key
        store.feed(FEED_ID).make(PAIR.seed)
    shutil.copytree(tmp_path / "original", tmp_path / "moved")
    with Store(tmp_path / "moved", adopts=True) as store:
        assert list(store.displaced()) == [FEED_ID]
        store.adopt()
        assert not store.displaced()
    with Store(tmp_path / "moved") as store:
        assert store.node_key == node_key


def test_a_feed_that_has_a_name_already_is_named_without_a_change() -> None:
    files = MemoryFiles()
    pool = FilePool(files)
    directory = FeedDirectory(pool, FeedId(bytes(32)))
    directory.make()
    before = files.operations
    directory.unmark_visited()
    assert files.operations == before
