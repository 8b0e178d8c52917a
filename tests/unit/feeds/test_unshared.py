"""A feed that was made just now and that nobody else can know may be removed, with its key."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import NotRemovable
from protozorfs.feeds.registry import Feeds
from protozorfs.feeds.unshared import UNSHARED_SECONDS, Unshared
from protozorfs.options import Options
from protozorfs.store.layout import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_it_lasts_a_minute_or_until_a_head_leaves() -> None:
    unshared = Unshared(100.0)
    assert unshared.lasts(100.0)
    assert unshared.lasts(99.9 + UNSHARED_SECONDS)
    assert not unshared.lasts(100.0 + UNSHARED_SECONDS)
    unshared.end()
    assert not unshared.lasts(100.0)
    assert not Unshared(None).lasts(0.0)


def test_while_a_head_may_leave_it_counts_as_gone() -> None:
    unshared = Unshared(100.0)
    with unshared.in_doubt():
        with unshared.in_doubt():
            assert not unshared.lasts(100.0)
        assert not unshared.lasts(100.0)
    assert unshared.lasts(100.0)
    with unshared.in_doubt():
        unshared.end()
    assert not unshared.lasts(100.0)


@contextmanager
def opened(path: Path) -> Iterator[Feeds]:
    with Store(path) as store:
        feeds = Feeds(store, Options())
        yield feeds
        feeds.close()


async def test_a_leftover_is_removed_with_its_key(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as feeds:
        (await feeds.create(b"leftover")).log.commit([b"block"])
        await feeds.remove(b"leftover")
        assert feeds.names() == []
    assert list((tmp_path / "store").rglob("secret")) == []


async def expect_kept(feeds: Feeds) -> None:
    with pytest.raises(NotRemovable):
        await feeds.remove(b"journal")
    assert feeds.by_name(b"journal") is not None


async def test_what_is_old_or_shared_or_of_an_earlier_run_is_kept(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as feeds:
        feed = await feeds.create(b"journal")
        feed.log.commit([b"block"])
        feed.unshared = Unshared(time.monotonic() - UNSHARED_SECONDS)
        await expect_kept(feeds)
        feed.unshared = Unshared(time.monotonic())
        feed.unshared.end()
        await expect_kept(feeds)
    with opened(tmp_path / "store") as feeds:
        await expect_kept(feeds)
