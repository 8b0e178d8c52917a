"""The check of what a store has besides logs: what it says of each damage."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from protozorfs import crypto
from protozorfs.errors import StoreLocked
from protozorfs.store.beneath import Beneath
from protozorfs.store.layout import Store
from protozorfs.store.name_records import RECORD_BYTES, Change, NameRow, encode_records
from protozorfs.store.numbers import KeptNumbers
from protozorfs.store.read_only import ReadOnlyFiles
from protozorfs.store.shared_lock import shared_lock
from protozorfs.store.store_check import (
    check_directory,
    check_feeds_are_there,
    check_layout,
    check_own_files,
    check_place,
    feed_ids_of,
    known_names,
)
from protozorfs.types import Address, FeedId, NodeKey

if TYPE_CHECKING:
    from pathlib import Path

SEED = bytes(range(32))
OWN = FeedId(crypto.key_pair(SEED).public_key)
OTHER = FeedId(crypto.key_pair(bytes(32)).public_key)
DIRECTORY = f"feeds/{OWN.hex()[:2]}/{OWN.hex()}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with an owned feed, a followed one, and one that is followed and not here yet."""
    with Store(tmp_path / "s") as store:
        store.feed(OWN).make(SEED)
        store.feed(OTHER).make()
        store.names.add(NameRow(b"own", OWN, True, 1, 1))
        store.names.add(NameRow(b"other", OTHER, False, 1, 1))
        store.names.add(NameRow(b"nothing", FeedId(bytes(32)), False, 1, 1))
        store.known_peers.remember([OTHER], Address("::1", 1), NodeKey(bytes(32)), 1.0)
        KeptNumbers(store.files, store.node_key.seed)
    return tmp_path / "s"


def state_of(path: Path) -> dict[str, tuple[bytes, os.stat_result]]:
    return {
        str(file): (file.read_bytes() if file.is_file() else b"", file.lstat())
        for file in [path, *path.rglob("*")]
    }


def findings(path: Path) -> dict[str, str]:
    """What is found, by codes, and where."""
    files = ReadOnlyFiles(root_of(path))
    known = known_names(files)
    found = [*check_layout(files), *check_own_files(files), *check_feeds_are_there(files, known)]
    for feed_id in feed_ids_of(files):
        found += [*check_directory(files, feed_id), *check_place(files, feed_id)]
    return {one.kind.code: one.path for one in found}


def flip(file: Path, offset: int = -1) -> None:
    content = bytearray(file.read_bytes())
    content[offset] ^= 4
    file.write_bytes(content)


def test_nothing_is_wrong_and_nothing_is_changed(path: Path) -> None:
    def times(stat: os.stat_result) -> tuple[int, ...]:
        return stat.st_ino, stat.st_size, stat.st_mode, stat.st_mtime_ns, stat.st_ctime_ns

    before = state_of(path)
    assert findings(path) == {}
    after = state_of(path)
    assert {name: (content, times(stat)) for name, (content, stat) in before.items()} == {
        name: (content, times(stat)) for name, (content, stat) in after.items()
    }


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("format", "format-damaged"),
        ("inodes", "inodes-damaged"),
        ("node_key", "node-key-damaged"),
        ("node_key.copy", "node-key-damaged"),
        ("node_key_place", "node-place-damaged"),
        (f"{DIRECTORY}/place", "place-damaged"),
    ],
)
def test_a_flipped_bit_is_told(path: Path, name: str, code: str) -> None:
    flip(path / name)
    assert findings(path) == {code: name}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("format", "format-damaged"),
        ("lock", "lock-missing"),
        ("node_key", "node-key-damaged"),
        ("node_key_place", "node-place-damaged"),
        ("spare", "spare-short"),
        (f"{DIRECTORY}/place", "place-damaged"),
        ("names", "names-damaged"),
        ("names.copy", "names-damaged"),
    ],
)
def test_a_missing_file_is_told(path: Path, name: str, code: str) -> None:
    (path / name).unlink()
    assert findings(path) == {code: name}


@pytest.mark.parametrize("name", ["inodes", "stale.db"])
def test_what_is_made_when_it_is_needed_may_be_missing(path: Path, name: str) -> None:
    (path / name).unlink()
    assert findings(path) == {}


def test_a_node_key_of_another_size_is_told(path: Path) -> None:
    (path / "node_key").write_bytes(bytes(31))
    assert findings(path) == {"node-key-damaged": "node_key"}
    flip(path / "node_key.copy")
    assert findings(path) == {"node-key-lost": "node_key.copy"}


def test_a_database_that_is_none_is_told(path: Path) -> None:
    for content in (b"", b"x", random.Random(0).randbytes(8192)):
        (path / "stale.db").write_bytes(content)
        assert findings(path) == {"peers-damaged": "stale.db"}


def test_peers_that_a_killed_first_version_left_are_no_damage(path: Path, tmp_path: Path) -> None:
    """SQLite kept them in a log beside the file then, which has nothing but its first page."""
    with closing(sqlite3.connect(tmp_path / "peers")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE peers (feed_id BLOB)")
        (path / "stale.db").write_bytes((tmp_path / "peers").read_bytes())
    assert findings(path) == {}


def test_peers_of_a_version_that_is_not_known_are_told(path: Path) -> None:
    with closing(sqlite3.connect(path / "stale.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    assert findings(path) == {"peers-damaged": "stale.db"}


def test_names_damaged_in_one_file_are_told_from_lost_ones(path: Path) -> None:
    for name in ("names", "names.copy"):
        flip(path / name, RECORD_BYTES + 7)
        assert findings(path) == {"names-damaged": name}
        flip(path / name, RECORD_BYTES + 7)
    flip(path / "names", RECORD_BYTES + 7)
    flip(path / "names.copy", RECORD_BYTES + 9)
    assert findings(path) == {"names-lost": "names", "unnamed": DIRECTORY}


def test_names_of_a_newer_version_cannot_be_told(path: Path) -> None:
    record = encode_records([Change(99, b"")], 1)  # type: ignore[arg-type]
    for name in ("names", "names.copy"):
        (path / name).write_bytes(record)
    assert [(one.kind.code, one.path) for one in check_own_files(ReadOnlyFiles(root_of(path)))] == [
        ("names-lost", "names")
    ]


def test_what_does_not_belong_there_is_told(path: Path) -> None:
    for name in ("note.txt", "feeds/note.txt", f"{DIRECTORY}/note.txt"):
        (path / name).write_text("x")
        assert findings(path) == {"stray": name}
        (path / name).unlink()
    for name in ("feeds/00/short", f"feeds/00/{OWN.hex()}", f"feeds/00/{'zz' * 32}"):
        (path / name).mkdir(parents=True)
        assert findings(path) == {"stray": name}
        (path / name).rmdir()


def test_what_is_left_over_is_told(path: Path) -> None:
    for name, code in (
        ("names.new", "left-over"),
        (f"{DIRECTORY}/clean.new", "left-over"),
        (f"{DIRECTORY}/secret.new", "left-over-key"),
        (f"{DIRECTORY}/data.400.cut", "kept-aside"),
    ):
        (path / name).write_bytes(b"x")
        assert findings(path) == {code: name}
        (path / name).unlink()


def test_a_file_of_another_kind_is_told_and_never_followed_or_waited_for(path: Path) -> None:
    for name in ("names", "inodes", f"{DIRECTORY}/record", "mount.log"):
        kept = (path / name).read_bytes() if (path / name).exists() else None
        for make in (os.mkfifo, os.mkdir, lambda where: os.symlink("/dev/zero", where)):
            (path / name).unlink(missing_ok=True)
            make(path / name)
            assert findings(path)["wrong-kind"] == name
            os.rmdir(path / name) if make is os.mkdir else os.unlink(path / name)
        if kept is not None:
            (path / name).write_bytes(kept)
    assert findings(path) == {}


def test_permissions_that_open_the_store_or_close_it_to_us_are_told(path: Path) -> None:
    path.chmod(0o750)
    assert findings(path) == {"store-open": ""}
    path.chmod(0o700)
    (path / "names").chmod(0o400)
    assert findings(path) == {"not-ours": "names"}


def test_a_feed_that_is_not_as_it_was_left_is_told(path: Path) -> None:
    os.utime(path / DIRECTORY / "secret")
    assert findings(path) == {"displaced": f"{DIRECTORY}/place"}


def test_a_feed_without_a_name_is_told(path: Path) -> None:
    with Store(path) as store:
        store.names.remove(b"other")
        assert store.names.is_removed(OTHER)
    assert findings(path) == {}  # it is to go
    stranger = FeedId(crypto.key_pair(bytes([1]) * 32).public_key)
    with Store(path) as store:
        store.feed(stranger).make()
    assert set(findings(path)) == {"unnamed"}


def test_an_owned_feed_that_is_gone_is_told(path: Path) -> None:
    for file in (path / DIRECTORY).iterdir():
        file.unlink()
    (path / DIRECTORY).rmdir()
    assert findings(path) == {"own-key-missing": f"{DIRECTORY}/secret"}


def test_many_look_at_once_and_nobody_who_changes_the_store(path: Path) -> None:
    with closing(root_of(path)) as one, closing(root_of(path)) as other:
        with shared_lock(one), shared_lock(other), pytest.raises(StoreLocked):
            Store(path)
        with Store(path, mount_point="/mnt"), pytest.raises(StoreLocked, match="at /mnt"):
            one_look(one)
        with Store(path):
            (path / "lock").unlink()
            with pytest.raises(StoreLocked):
                one_look(one)
        one_look(one)
    assert not (path / "lock").exists()


def one_look(root: Beneath) -> None:
    with shared_lock(root):
        pass


def root_of(path: Path) -> Beneath:
    return Beneath(os.open(path, os.O_RDONLY | os.O_DIRECTORY), str(path))


def test_a_read_only_port_changes_nothing(path: Path) -> None:
    files = ReadOnlyFiles(root_of(path))
    for call in (
        lambda: files.open("new", create=True),
        lambda: files.mkdir("new"),
        lambda: files.remove("lock"),
        lambda: files.rmdir("feeds"),
        lambda: files.rename("lock", "new"),
        lambda: files.replace("lock", b""),
        lambda: files.sync_dir(""),
        lambda: files.open("lock").pwrite(b"x", 0),
    ):
        with pytest.raises(OSError, match=r"Read-only|Bad file"):
            call()
    assert files.free_space().total_bytes > 0
    assert files.whereabouts().machine is None or files.whereabouts().machine
