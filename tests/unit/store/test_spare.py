"""The space that is set aside for removals: there, given up, and made again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import StoreFull
from protozorfs.store import MemoryFiles, RealFiles, Store
from protozorfs.store.name_records import NameRow
from protozorfs.store.names import Names
from protozorfs.store.spare import PIECE_BYTES, SPARE_BYTES, SPARE_FILE, Spare
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from pathlib import Path

FEED_ID = FeedId(bytes(range(32)))


def test_it_is_kept_and_given_up_once(tmp_path: Path) -> None:
    spare = Spare(RealFiles(tmp_path))
    assert not spare.give_up()
    spare.keep()
    file = tmp_path / SPARE_FILE
    assert file.stat().st_blocks * 512 >= SPARE_BYTES
    before = file.read_bytes()
    spare.keep()
    assert file.read_bytes() == before
    for pieces in reversed(range(SPARE_BYTES // PIECE_BYTES)):
        assert spare.give_up()
        assert file.stat().st_blocks * 512 == pieces * PIECE_BYTES
    assert not spare.give_up()
    spare.keep()
    assert file.stat().st_size == SPARE_BYTES


def test_what_there_is_space_for_is_kept() -> None:
    files = MemoryFiles()
    spare = Spare(files)
    files.fail_at(files.operations + 3, "full")  # making the file is the first
    spare.keep()
    assert len(files.read(SPARE_FILE)) == 2 * PIECE_BYTES
    spare.keep()
    assert len(files.read(SPARE_FILE)) == SPARE_BYTES


def test_a_torn_one_is_made_whole(tmp_path: Path) -> None:
    (tmp_path / SPARE_FILE).write_bytes(b"x")
    Spare(RealFiles(tmp_path)).keep()
    assert (tmp_path / SPARE_FILE).stat().st_size == SPARE_BYTES


def test_a_full_disk_has_none() -> None:
    files = MemoryFiles()
    spare = Spare(files)
    assert not spare.give_up()
    files.fail_at(files.operations, "full")
    spare.keep()
    assert not spare.give_up()
    spare.keep()
    assert spare.give_up()


def test_a_name_goes_when_there_is_no_space_but_the_spare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When that is gone as well, the caller is told."""

    def remove(names: Names, name: bytes) -> NameRow:
        if (tmp_path / SPARE_FILE).stat().st_size > PIECE_BYTES:
            raise StoreFull("no space")
        return removed(names, name)

    removed = Names.remove
    with Store(tmp_path) as store:
        store.names.add(NameRow(b"paul", FEED_ID, False, 0, 0))
        monkeypatch.setattr(Names, "remove", remove)
        store.remove_name(b"paul")
        assert store.names.all() == []
        monkeypatch.setattr(Names, "remove", lambda *_: (_ for _ in ()).throw(StoreFull("no")))
        with pytest.raises(StoreFull):
            store.remove_name(b"paul")
    with Store(tmp_path):
        assert (tmp_path / SPARE_FILE).stat().st_size == SPARE_BYTES
