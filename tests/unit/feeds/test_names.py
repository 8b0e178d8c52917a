"""The library gives no name that a mount refuses, and shows what a store holds under such names."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from protozorfs import crypto
from protozorfs.errors import InvalidName, NameTaken, NoSuchFeed
from protozorfs.feeds.registry import Feeds
from protozorfs.options import Options
from protozorfs.store.layout import Store
from protozorfs.store.name_records import NameRow
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ID, OTHER = (FeedId(crypto.key_pair(bytes([n]) * 32).public_key) for n in (1, 2))
REFUSED = [b"", b".live", b".protozorfs", b".", b"..", b"a/b", b"a\0", b"x" * 256]
REFUSED += [ID.hex().encode(), OTHER.hex().encode()]


@contextmanager
def opened(path: Path) -> Iterator[Feeds]:
    with Store(path) as store:
        feeds = Feeds(store, Options())
        yield feeds
        feeds.close()


@pytest.mark.parametrize("name", REFUSED)
async def test_no_call_gives_a_name_that_no_mount_can_show(tmp_path: Path, name: bytes) -> None:
    with opened(tmp_path / "store") as feeds:
        await feeds.create(b"journal")
        with pytest.raises(InvalidName):
            await feeds.create(name)
        with pytest.raises(InvalidName):
            await feeds.follow(ID, name)
        with pytest.raises(InvalidName):
            await feeds.rename(b"journal", name)
        assert [name for name, _ in feeds.names()] == [b"journal"]
        assert len(list(feeds._store.feeds())) == 1  # nothing was made for it


@pytest.mark.parametrize("kept", [b".live", b".protozorfs", OTHER.hex().encode()])
async def test_a_feed_kept_under_such_a_name_is_reached_by_its_id(
    tmp_path: Path, kept: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    shown = ID.hex().encode()
    with Store(tmp_path / "store") as store:  # as version 0.1.0 did it
        store.names.add(NameRow(kept, ID, False, 0, 0))
    with opened(tmp_path / "store") as feeds:
        assert [name for name, _ in feeds.names()] == [shown]
        assert feeds.by_name(kept) is None
        assert feeds.name_by_id(ID) == shown
        assert f"shown as {shown.decode()}" in caplog.text
        with pytest.raises(NoSuchFeed):
            await feeds.rename(kept, b"paul")
        with pytest.raises(NameTaken):
            await feeds.follow(ID, b"paul")
        await feeds.rename(shown, b"paul")
    with opened(tmp_path / "store") as feeds:
        assert [name for name, _ in feeds.names()] == [b"paul"]


async def test_a_feed_kept_under_such_a_name_can_be_removed(tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        store.names.add(NameRow(b".live", ID, False, 0, 0))
    with opened(tmp_path / "store") as feeds:
        await feeds.remove(ID.hex().encode())
        assert feeds.names() == []
    with Store(tmp_path / "store") as store:
        assert store.names.all() == []
