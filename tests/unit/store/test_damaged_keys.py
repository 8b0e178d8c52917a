"""A wrong bit in what a store has of keys, and in its format: noticed, mended, never made anew."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from protozorfs import crypto
from protozorfs.errors import StoreCorrupt, UsageError
from protozorfs.log.feed import Log
from protozorfs.store.keys import load_or_make_key_pair
from protozorfs.store.layout import SECRET_FILES, FeedDirectory, Store
from protozorfs.store.memory_files import MemoryFiles, Stopped
from protozorfs.store.place import standing_place
from protozorfs.store.placement import Placement
from protozorfs.store.pool import FilePool
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from pathlib import Path

PAIR = crypto.key_pair(bytes(range(32)))
FEED_ID = FeedId(PAIR.public_key)
BITS = [0, 77, 255]


def directory_in(files: MemoryFiles) -> FeedDirectory:
    return FeedDirectory(FilePool(files), FEED_ID)


def made() -> MemoryFiles:
    files = MemoryFiles()
    log = Log.create(directory_in(files), PAIR.seed)
    log.append([b"first"])
    log.close()
    return files


def secrets(files: MemoryFiles) -> list[bytes]:
    path = directory_in(files).path
    return [files.read(f"{path}/{name}") for name in SECRET_FILES if files.exists(f"{path}/{name}")]


def harm(files: MemoryFiles, name: str, how: str | int) -> None:
    path = f"{directory_in(files).path}/{name}"
    if isinstance(how, int):
        files.flip_bit(path, how)
    elif how == "missing":
        files.remove(path)
    else:
        files.replace(path, PAIR.seed[:7])


@pytest.mark.parametrize("name", SECRET_FILES)
@pytest.mark.parametrize("how", [*BITS, "missing", "short"])
def test_a_feeds_key_is_restored_from_the_other_file(name: str, how: str | int) -> None:
    files = made()
    harm(files, name, how)
    before = secrets(files)
    was_displaced = directory_in(files).displacement()
    log = Log.open(directory_in(files))
    assert log.is_owned
    assert secrets(files) == before  # nothing is written before something is appended
    log.append([b"second"])
    assert secrets(files) == [PAIR.seed, PAIR.seed]
    assert log.displacement() == was_displaced
    log.close()
    files.power_cut(random.Random(0))
    assert secrets(files) == [PAIR.seed, PAIR.seed]
    assert Log.open(directory_in(files)).length == 2


def test_mending_a_key_is_safe_from_a_stop_at_any_moment() -> None:
    for operation in range(10_000):
        files = made()
        files.flip_bit(f"{directory_in(files).path}/secret", 3)
        log = Log.open(directory_in(files))
        files.fail_at(files.operations + operation)
        try:
            log.append([b"second"])
        except Stopped:
            pass
        else:
            break
        files.power_cut(random.Random(operation))
        assert PAIR.seed in secrets(files)
        assert Log.open(directory_in(files)).is_owned
    assert operation > 5


@pytest.mark.parametrize("how", [*BITS, "missing", "short"])
def test_a_feed_whose_key_is_lost_is_never_followed_nor_changed(how: str | int) -> None:
    files = made()
    for name in SECRET_FILES:
        harm(files, name, how)
    before = files.digest()
    with pytest.raises(StoreCorrupt, match="put a backup there"):
        Log.open(directory_in(files))
    assert directory_in(files).is_owned()
    assert files.digest() == before


def test_a_feed_of_version_0_1_0_gets_its_copy_with_the_first_append() -> None:
    files = made()
    files.remove(f"{directory_in(files).path}/secret.copy")
    log = Log.open(directory_in(files))
    log.append([b"second"])
    assert secrets(files) == [PAIR.seed, PAIR.seed]
    assert not directory_in(files).displacement()


def placement_in(files: MemoryFiles) -> Placement:
    return Placement(files, "node_key_place", "", {"node_key": standing_place})


def node_key_in(files: MemoryFiles) -> bytes:
    return load_or_make_key_pair(files, "node_key", placement_in(files))[0].public_key


@pytest.mark.parametrize("name", ["node_key", "node_key.copy"])
@pytest.mark.parametrize("bit", BITS)
def test_a_nodes_key_is_restored_from_the_other_file(name: str, bit: int) -> None:
    files = MemoryFiles()
    key = node_key_in(files)
    files.flip_bit(name, bit)
    assert node_key_in(files) == key
    seed = files.read("node_key")
    assert files.read("node_key.copy") == seed + crypto.blake2b_256(seed)
    assert not placement_in(files).displacement()


def test_a_nodes_key_without_a_copy_is_kept_and_gets_one() -> None:
    files = MemoryFiles()
    key = node_key_in(files)
    files.remove("node_key.copy")
    assert node_key_in(files) == key
    files.flip_bit("node_key", 9)
    assert node_key_in(files) == key


def test_a_nodes_key_that_cannot_be_read_is_not_made_anew() -> None:
    files = MemoryFiles()
    node_key_in(files)
    file = files.open("node_key")
    file.truncate(7)
    files.remove("node_key.copy")
    with pytest.raises(StoreCorrupt, match="7 bytes"):
        node_key_in(files)
    assert len(files.read("node_key")) == 7


@pytest.mark.parametrize("bit", [*range(0, 19 * 8, 11), 17 * 8])
def test_a_damaged_format_is_told_from_another_version(tmp_path: Path, bit: int) -> None:
    Store(tmp_path / "store").close()
    path = tmp_path / "store" / "format"
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        Store(tmp_path / "store")
    said = str(caught.value)
    is_a_number = bit // 8 == 17 and content[17:18].isdigit()
    assert ("another version" in said) is is_a_number
    assert f"echo protozorfs store 2 > {path}" in said
    assert path.read_bytes() == content
