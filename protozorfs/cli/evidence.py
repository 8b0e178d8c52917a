"""`protozorfs check --evidence`: what is kept of a fork, in a form that anyone can verify."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from protozorfs import ids
from protozorfs.errors import UsageError
from protozorfs.feeds.evidence_export import export_evidence
from protozorfs.store.beneath import Beneath
from protozorfs.store.files import RealFiles
from protozorfs.store.layout import FeedDirectory
from protozorfs.store.pool import FilePool
from protozorfs.store.trust import open_way

if TYPE_CHECKING:
    from pathlib import Path

    from protozorfs.types import FeedId


def evidence_text(store: Path, feed_id: FeedId) -> str:
    """The evidence that a store has of a feed. It is only read, whoever has the store open.

    Raises:
        NoEvidence, StoreCorrupt: see `export_evidence`.
        StoreRefused: the store is another user's, or could be exchanged by one.
        UsageError: the store has nothing of that feed.
    """
    nothing = UsageError(f"the store {store} has nothing of feed {ids.format_hex(feed_id)}")
    try:
        root = Beneath(open_way(store), str(store))
    except FileNotFoundError:
        raise nothing from None
    with closing(root), closing(FilePool(RealFiles(root))) as pool:
        directory = FeedDirectory(pool, feed_id)
        if not directory.exists():
            raise nothing
        return export_evidence(directory)
