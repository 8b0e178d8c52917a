"""protozorfs.store.making: what stays of a store whose start fails."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from protozorfs import crypto
from protozorfs.errors import StoreFull, StoreLocked, UsageError
from protozorfs.store import layout
from protozorfs.store.layout import Store
from protozorfs.store.making import StoreDirectory
from protozorfs.store.name_records import NameRow
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from pathlib import Path

FEED_ID = FeedId(crypto.key_pair(bytes(32)).public_key)


def everything(path: Path) -> list[str]:
    return sorted(str(each) for each in path.rglob("*"))


def test_nothing_stays_of_a_store_that_was_made_for_nothing(tmp_path: Path) -> None:
    Store(tmp_path / "a" / "b" / "store").close_failed()
    assert everything(tmp_path) == []


def test_a_directory_that_was_there_is_as_it_was(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    Store(tmp_path).close_failed()
    assert everything(tmp_path) == []
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_store_that_was_there_is_untouched(tmp_path: Path) -> None:
    Store(tmp_path / "store").close()
    before = everything(tmp_path)
    assert len(before) > 5
    Store(tmp_path / "store").close_failed()
    assert everything(tmp_path) == before


@pytest.mark.parametrize("is_named", [True, False])
def test_a_store_with_a_feed_stays(tmp_path: Path, is_named: bool) -> None:
    store = Store(tmp_path / "store")
    store.feed(FEED_ID).make(bytes(32))
    if is_named:
        store.names.add(NameRow(b"journal", FEED_ID, True, 1, 1))
    store.close_failed()
    with Store(tmp_path / "store") as again:
        pair = again.feed(FEED_ID).secret()
        assert pair is not None
        assert bytes(pair.public_key) == bytes(FEED_ID)


def test_a_store_that_only_follows_stays(tmp_path: Path) -> None:
    """A feed of which nothing has come has a name and no directory."""
    store = Store(tmp_path / "store")
    store.names.add(NameRow(b"paul", FEED_ID, False, 1, 1))
    store.close_failed()
    with Store(tmp_path / "store") as again:
        assert [row.name for row in again.names.all()] == [b"paul"]


def test_a_store_with_the_log_of_a_mount_stays(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    (tmp_path / "store" / "mount.log").write_text("what went wrong")
    store.close_failed()
    names = set(os.listdir(tmp_path / "store"))
    assert names >= {"mount.log", "feeds", "format", "lock", "node_key"}


@pytest.mark.parametrize(
    "step", ["is_old_format", "load_or_make_key_pair", "open_names", "KnownPeers"]
)
def test_a_start_that_fails_at_any_step_leaves_nothing(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StoreFull("no space")

    monkeypatch.setattr(layout, step, fail)
    with pytest.raises(StoreFull):
        Store(tmp_path / "a" / "store")
    assert everything(tmp_path) == []


def test_somebody_elses_store_is_untouched_by_who_came_too_late(tmp_path: Path) -> None:
    directory = StoreDirectory(tmp_path / "store")  # empty then
    with Store(tmp_path / "store"):
        before = everything(tmp_path)
        with pytest.raises(StoreLocked):
            Store(tmp_path / "store")
        directory.undo(has_lock=False)
        assert everything(tmp_path) == before


def test_directories_on_the_way_are_taken_away_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "listdir", fail)
    with pytest.raises(UsageError, match="cannot be a store: No space left"):
        StoreDirectory(tmp_path / "a" / "store")
    assert everything(tmp_path) == []
