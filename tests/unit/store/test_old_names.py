"""Stores of version 0.1.0, whose names SQLite kept: read without writing, and brought over once."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import StoreFull
from protozorfs.store.files import RealFiles
from protozorfs.store.format import is_old_format, open_names
from protozorfs.store.memory_files import Stopped
from protozorfs.store.names import COPY_FILE, NAMES_FILE
from protozorfs.store.old_names import OLD_NAMES_FILE, WAL_FILE, read_old_names
from tests.sizes import long_or_short
from tests.unit.store.old_stores import FORMAT, memory_store, old_files, row

if TYPE_CHECKING:
    from protozorfs.store.files import Files
    from protozorfs.store.names import Names

PATH = Path("/store")


def opened(files: Files) -> Names:
    return open_names(files, PATH, is_old=is_old_format(files, PATH))


@pytest.mark.parametrize("rows", [0, 3, 400])
@pytest.mark.parametrize("is_clean", [True, False])
def test_all_names_come_over_once(tmp_path: Path, rows: int, is_clean: bool) -> None:
    kept = old_files(tmp_path, rows, is_clean=is_clean)
    files = memory_store(kept)
    if not is_clean and rows:
        assert read_old_names(memory_store({OLD_NAMES_FILE: kept[OLD_NAMES_FILE]})).known.rows == {}
    names = opened(files)
    assert sorted(names.all()) == sorted(row(number) for number in range(rows))
    assert names.setting("port") == 4000
    assert names.is_complete
    names.add(row(1000))
    names.close()
    assert files.listdir("") == [FORMAT, NAMES_FILE, COPY_FILE]
    assert files.read(FORMAT) == b"protozorfs store 2\n"
    assert len(opened(files).all()) == rows + 1


def test_reading_them_writes_nothing(tmp_path: Path) -> None:
    old_files(tmp_path, 5, is_clean=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(read_old_names(RealFiles(tmp_path)).known.rows) == 5
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("failure", ["stop", "full", "io"])
def test_an_interrupted_step_begins_again(tmp_path: Path, failure: str) -> None:
    kept = old_files(tmp_path, 3, is_clean=False)
    counted = memory_store(kept)
    first = counted.operations
    names = opened(counted)
    names.add(row(7))
    for operation in range(first, counted.operations):
        files = memory_store(kept)
        files.fail_at(operation, failure)
        added = False
        with suppress(Stopped):
            names = opened(files)
            try:
                names.add(row(7))
            except (OSError, StoreFull):
                names.add(row(7))
            added = True
        files.power_cut(random.Random(operation))
        found = opened(files)
        expected = {row(number) for number in range(3)}
        assert expected <= set(found.all()) <= expected | {row(7)}
        assert not added or len(found.all()) == 4, operation


@pytest.mark.parametrize("is_clean", [True, False])
def test_flipped_bits_lose_what_is_damaged_at_most(
    tmp_path: Path, is_clean: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, the file stays, and whatever is not named is not taken for removed."""
    kept = old_files(tmp_path, 60, is_clean=is_clean)
    choice = random.Random(2)
    path = OLD_NAMES_FILE if is_clean else WAL_FILE
    unread = 0
    for _ in range(long_or_short(2000, 150)):
        damaged = bytearray(kept[path])
        at = choice.randrange(len(damaged))
        damaged[at] ^= 1 << choice.randrange(8)
        files = memory_store(kept | {path: bytes(damaged)})
        caplog.clear()
        names = opened(files)
        names.close()
        if "is damaged" not in caplog.text:
            # The last commit of a log cannot be told from one that was torn by a power cut.
            assert is_clean or {row(number) for number in range(59)} <= set(names.all())
            assert not is_clean or len(names.all()) == 60
        elif len(names.all()) < 60:
            assert not names.is_complete
            assert files.read(path) == bytes(damaged)
            unread += 1
    assert unread


def test_a_file_that_is_no_database_is_said_and_stays(caplog: pytest.LogCaptureFixture) -> None:
    garbage = b"not a database, but somebody's names" * 100
    files = memory_store({OLD_NAMES_FILE: garbage})
    names = opened(files)
    assert names.all() == []
    assert not names.is_complete
    assert f"/store/{OLD_NAMES_FILE} is damaged (it is no database)" in caplog.text
    assert files.read(OLD_NAMES_FILE) == garbage


def test_a_row_whose_name_no_file_can_have_is_left_out(tmp_path: Path) -> None:
    old_files(tmp_path, 2, is_clean=True)
    with closing(sqlite3.connect(tmp_path / OLD_NAMES_FILE)) as connection:
        for number, name in enumerate((b"a/b", b"..", b"a\0b"), 7):
            connection.execute(
                "INSERT INTO names VALUES (?, ?, 0, 1, 1)", (name, bytes([number]) * 32)
            )
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    files = memory_store({OLD_NAMES_FILE: (tmp_path / OLD_NAMES_FILE).read_bytes()})
    assert {*read_old_names(files).known.rows.values()} == {row(0), row(1)}
