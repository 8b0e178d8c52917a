"""What a killed run left is looked at before the mount answers, and not behind a closed store."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import trio

from protozorfs.feeds.registry import Feeds
from protozorfs.log.feed import Log
from protozorfs.options import Options
from protozorfs.store.layout import FeedDirectory, Store

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def killed_store(path: Path) -> Path:
    """A store with a feed that was written to and not closed."""
    with Store(path / "first") as store:
        feeds = Feeds(store, Options())
        (await feeds.create(b"journal")).log.append([b"one\n"])
        shutil.copytree(path / "first", path / "killed")
        feeds.close()
    return path / "killed"


async def test_a_cancelled_recovery_ends_before_the_store_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that went on would write to a store that somebody else has opened meanwhile."""
    opened: list[Log] = []
    token = trio.lowlevel.current_trio_token()
    open_log = Log.open
    with Store(await killed_store(tmp_path)) as store:
        feeds = Feeds(store, Options())
        with trio.CancelScope() as scope:

            def open_slowly(directory: FeedDirectory) -> Log:
                trio.from_thread.run_sync(scope.cancel, trio_token=token)
                for _ in range(5):  # time to go away, for who does not wait
                    trio.from_thread.run_sync(int, trio_token=token)
                opened.append(open_log(directory))
                return opened[-1]

            monkeypatch.setattr(Log, "open", open_slowly)
            await feeds.recover()
        assert len(opened) == 1, "nothing is under way any more"
        feeds.close()
