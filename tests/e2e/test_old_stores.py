"""What stores of version 0.1.0 may hold, and this version would not make."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from protozorfs import crypto
from protozorfs.store.layout import Store
from protozorfs.store.name_records import NameRow
from protozorfs.types import FeedId
from tests.mounts import mounted
from tests.unit.store.old_stores import SCHEMA

pytestmark = pytest.mark.fuse

ALONE = ("-o", "bind=127.0.0.1,nodht,nolan,noportmap")
ID, OTHER, THIRD = (FeedId(crypto.key_pair(bytes([n]) * 32).public_key) for n in (1, 2, 3))
COMMAND = str(Path(sys.executable).with_name("protozorfs"))


def test_feeds_whose_names_no_mount_can_show_are_reached_by_their_ids(tmp_path: Path) -> None:
    with Store(tmp_path / "m.store") as store:
        for name, feed_id in ((b".live", ID), (THIRD.hex().encode(), OTHER)):
            store.names.add(NameRow(name, feed_id, False, 0, 0))
    with mounted(tmp_path, *ALONE) as mount:
        assert sorted(os.listdir(mount.path)) == sorted([ID.hex(), OTHER.hex()])
        assert (mount.path / ".live").is_dir()
        assert os.getxattr(mount.path / OTHER.hex(), "protozorfs.id").decode() == OTHER.hex()
        assert os.getxattr(mount.path / THIRD.hex(), "protozorfs.id").decode() == THIRD.hex()
        subprocess.run(["mv", ID.hex(), "paul"], cwd=mount.path, check=True)
        remove = [COMMAND, "rm", OTHER.hex(), "--store", str(mount.store)]
        subprocess.run(remove, check=True)
        assert os.listdir(mount.path) == ["paul"]
    with Store(tmp_path / "m.store") as store:
        assert [(row.name, row.feed_id) for row in store.names.all()] == [(b"paul", ID)]


def make_old(store: Path, rows: list[tuple[bytes, FeedId, int, int, int]]) -> None:
    """Gives a store the names that version 0.1.0 kept, in its format."""
    for name in ("names", "names.copy"):
        (store / name).unlink(missing_ok=True)
    (store / "format").write_text("protozorfs store 1\n")
    with closing(sqlite3.connect(store / "names.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA)
        connection.executemany("INSERT INTO names VALUES (?, ?, ?, ?, ?)", rows)


def test_a_store_of_the_first_version_opens_with_all_its_feeds(tmp_path: Path) -> None:
    with mounted(tmp_path, *ALONE) as mount:
        (mount.path / "journal").write_bytes(b"one\n")
        feed_id = FeedId(
            bytes.fromhex(os.getxattr(mount.path / "journal", "protozorfs.id").decode())
        )
    make_old(mount.store, [(b"diary", feed_id, 1, 5, 6), (b"paul", ID, 0, 7, 8)])
    with mounted(tmp_path, *ALONE) as mount:
        assert sorted(os.listdir(mount.path)) == ["diary", "paul"]
        assert (mount.path / "diary").read_bytes() == b"one\n"
        with (mount.path / "diary").open("ab") as file:
            file.write(b"two\n")
        (mount.path / "diary").rename(mount.path / "log")
    assert (mount.store / "format").read_text() == "protozorfs store 2\n"
    assert not (mount.store / "names.db").exists()
    with mounted(tmp_path, *ALONE) as mount:
        assert (mount.path / "log").read_bytes() == b"one\ntwo\n"
