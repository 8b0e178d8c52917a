"""A wrong bit in what a store has of keys, and in its format: noticed, mended, never made anew."""

from __future__ import annotations

import errno
import random
from typing import TYPE_CHECKING

import pytest

from protozorfs import crypto
from protozorfs.errors import StoreCorrupt, UsageError
from protozorfs.log.feed import Log
from protozorfs.store.keys import load_or_make_key_pair
from protozorfs.store.layout import SECRET_FILES, FeedDirectory, Store
from protozorfs.store.memory_files import MemoryFiles, Stopped
from protozorfs.store.name_records import NameRow
from protozorfs.store.place import Whereabouts, standing_place
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


def test_a_key_that_the_disk_cannot_read_is_taken_from_the_other_file() -> None:
    for look in range(4):  # the size and the bytes, of either file
        files = MemoryFiles()
        key = node_key_in(files)
        files.fail_look_at(files.looks + look)
        assert node_key_in(files) == key
        files = made()
        files.fail_look_at(files.looks + look)
        assert directory_in(files).secret() == PAIR


def test_a_key_that_cannot_be_opened_now_is_neither_damaged_nor_missing() -> None:
    for look in range(4):
        files = MemoryFiles()
        node_key_in(files)
        before = files.digest()
        files.fail_look_at(files.looks + look, errno.EMFILE)
        with pytest.raises(OSError, match="open files"):
            node_key_in(files)
        assert files.digest() == before


def test_a_nodes_key_that_is_missing_is_restored_from_its_copy() -> None:
    files = MemoryFiles()
    key = node_key_in(files)
    files.remove("node_key")
    assert node_key_in(files) == key
    assert files.read("node_key.copy").startswith(files.read("node_key"))
    assert not placement_in(files).displacement()
    files.power_cut(random.Random(0))
    assert node_key_in(files) == key


def test_a_missing_key_of_a_store_on_another_machine_is_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = MemoryFiles()
    key = node_key_in(files)
    files.remove("node_key")
    monkeypatch.setattr(MemoryFiles, "whereabouts", lambda _: Whereabouts("another", None))
    assert node_key_in(files) != key


@pytest.mark.parametrize("how", ["missing", "damaged", "empty"])
def test_a_node_keeps_its_key_where_nothing_says_where_it_was(how: str) -> None:
    files = MemoryFiles()
    key = node_key_in(files)
    if how == "damaged":
        files.flip_bit("node_key_place", 200)
    elif how == "empty":
        files.replace("node_key_place", b"")
    else:
        files.remove("node_key_place")
    assert node_key_in(files) == key
    assert not placement_in(files).displacement()


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_restoring_a_nodes_key_is_safe_from_a_stop_at_any_moment(how: str) -> None:
    for operation in range(10_000):
        files = MemoryFiles()
        key = node_key_in(files)
        if how == "missing":
            files.remove("node_key")
        else:
            files.flip_bit("node_key", 5)
        files.fail_at(files.operations + operation)
        try:
            node_key_in(files)
        except Stopped:
            pass
        else:
            break
        files.power_cut(random.Random(operation))
        assert node_key_in(files) == key
    assert operation > 5


@pytest.mark.parametrize("missing", ["node_key", "node_key.copy"])
def test_a_nodes_key_is_not_made_anew_beside_one_that_is_damaged(missing: str) -> None:
    files = MemoryFiles()
    node_key_in(files)
    files.remove(missing)
    (other,) = {"node_key", "node_key.copy"} - {missing}
    files.replace(other, files.read(other)[:-1])
    before = files.digest()
    with pytest.raises(StoreCorrupt):
        node_key_in(files)
    assert files.digest() == before


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


NAME = NameRow(b"mine", FEED_ID, True, 1, 1)


@pytest.mark.parametrize("missing", ["names", "names.copy", "format", "names.db", "lock"])
@pytest.mark.parametrize("stray", ["", "names.db"])
def test_a_file_that_is_missing_takes_no_name_with_it(
    tmp_path: Path, missing: str, stray: str
) -> None:
    with Store(tmp_path / "store") as store:
        store.names.add(NAME)
        key = store.node_key
    if stray:  # of format 1, and damaged: it stays
        (tmp_path / "store" / stray).write_bytes(b"of format 1")
    (tmp_path / "store" / missing).unlink(missing_ok=True)
    for _ in range(2):
        with Store(tmp_path / "store") as store:
            assert store.names.all() == [NAME]
            assert store.node_key == key
    assert (tmp_path / "store" / "format").read_bytes() == b"protozorfs store 2\n"


def test_the_old_format_does_not_take_new_names_away(tmp_path: Path) -> None:
    """As a file `format` that was put back from a backup."""
    with Store(tmp_path / "store") as store:
        store.names.add(NAME)
    (tmp_path / "store" / "format").write_bytes(b"protozorfs store 1\n")
    with Store(tmp_path / "store") as store:
        assert store.names.all() == [NAME]


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
