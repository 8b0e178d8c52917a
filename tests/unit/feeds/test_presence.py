"""A store that is deleted, replaced or restored over itself while it is in use."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import pytest
import trio

from protozorfs.errors import StoreGone
from protozorfs.feeds.presence import SURE_SECONDS, Presence
from protozorfs.feeds.registry import Feeds
from protozorfs.options import Options
from protozorfs.store.layout import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from protozorfs.feeds.feed import Feed


def feed_files(path: Path, name: str) -> list[Path]:
    return list(path.glob(f"feeds/*/*/{name}"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
async def feeds(path: Path) -> AsyncIterator[Feeds]:
    with Store(path) as store:
        feeds = Feeds(store, Options())
        async with trio.open_nursery() as nursery:
            await nursery.start(feeds.run)
            yield feeds
            nursery.cancel_scope.cancel()
        feeds.close()


@pytest.fixture
async def journal(feeds: Feeds) -> Feed:
    journal = await feeds.create(b"journal")
    await journal.append([b"first\n"])
    await journal.sync()
    return journal


def delete(path: Path) -> None:
    shutil.rmtree(path)


def delete_feeds(path: Path) -> None:
    shutil.rmtree(path / "feeds")


def replace_data(path: Path) -> None:
    """As rsync does, which writes another file and gives it the name."""
    for data in feed_files(path, "data"):
        shutil.copy(data, data.with_name("data.other"))
        data.with_name("data.other").rename(data)


def cut_data(path: Path) -> None:
    """As cp does, which writes an older state over the files."""
    for data in feed_files(path, "data"):
        data.write_bytes(b"fir")


@pytest.mark.parametrize("harm", [delete, delete_feeds, replace_data, cut_data])
async def test_an_append_to_files_that_are_gone_is_refused(
    feeds: Feeds, journal: Feed, path: Path, harm: Callable[[Path], None]
) -> None:
    harm(path)
    with pytest.raises(StoreGone, match="deleted"):
        await journal.append([b"second\n"])
    assert (journal.length, journal.reader.read_nowait(0, 3)) == (1, b"fir")
    assert "deleted" in feeds.report(journal.feed_id).why


@pytest.mark.parametrize("name", ["tree", "head"])
async def test_a_head_is_not_made_durable_in_files_that_are_gone(
    journal: Feed, path: Path, name: str
) -> None:
    (file,) = feed_files(path, name)
    file.unlink()
    durable = journal.published_head
    await journal.append([b"second\n"])
    with pytest.raises(StoreGone):
        await journal.sync()
    assert journal.published_head == durable
    with pytest.raises(StoreGone):
        await journal.append([b"third\n"])


async def test_nothing_is_made_named_or_removed_in_a_deleted_store(
    feeds: Feeds, journal: Feed, path: Path
) -> None:
    shutil.rmtree(path)
    for call in (
        lambda: feeds.create(b"new"),
        lambda: feeds.follow(journal.feed_id, b"other"),
        lambda: feeds.rename(b"journal", b"other"),
        lambda: feeds.remove(b"journal"),
        lambda: feeds.delete_key(b"journal", journal.feed_id),
    ):
        with pytest.raises(StoreGone, match="mount a backup"):
            await call()
    assert "deleted" in feeds.surroundings.store_trouble()


async def test_a_store_in_whose_place_another_one_is_takes_nothing(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = path.with_name("elsewhere")
    with Store(path) as store:
        presence = Presence(store)
        shutil.move(path, elsewhere)
        await presence.look()
        presence.check()  # what is written stays in the directory that was moved
        shutil.copytree(elsewhere, path)
        await presence.look()
        with pytest.raises(StoreGone, match="another is in its place"):
            presence.check()
        shutil.rmtree(path)
        shutil.move(elsewhere, path)
        await presence.look()
        presence.check()
    assert [message.rpartition(" ")[2] for message in caplog.messages] == ["store", "again"]


def test_appends_ask_now_and_then_whether_the_store_is_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking for each would be a tenth of the time of a small one."""
    asked = []
    now = time.monotonic()
    with Store(path) as store:
        is_deleted = store.is_deleted

        def ask() -> bool:
            asked.append(1)
            return is_deleted()

        monkeypatch.setattr(store, "is_deleted", ask)
        monkeypatch.setattr(time, "monotonic", lambda: now)
        presence = Presence(store)
        for _ in range(100):
            presence.check_often()
        assert len(asked) == 1
        (path / "lock").unlink()
        now += SURE_SECONDS
        for _ in range(2):
            with pytest.raises(StoreGone):
                presence.check_often()
