"""What does not belong into a store stops nothing, and is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs import crypto
from protozorfs.store.layout import Store
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PAIR = crypto.key_pair(bytes(32))


def test_stray_files_among_the_feeds_are_passed_over_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Store(tmp_path / "store") as store:
        store.feed(FeedId(PAIR.public_key)).make(PAIR.seed)
    feeds = tmp_path / "store" / "feeds"
    bucket = feeds / PAIR.public_key.hex()[:2]
    (feeds / "stray").touch()
    (feeds / "link").symlink_to(bucket)
    (bucket / "x").touch()
    (bucket / ("Z" * 64)).mkdir()
    with Store(tmp_path / "store") as store:
        assert [feed.feed_id for feed in store.feeds()] == [FeedId(PAIR.public_key)]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 4
    assert all(f"passed over: {feeds}/" in message for message in said)
