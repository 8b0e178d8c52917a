"""What `protozorfs check --repair` does about findings: the parts of it, and in which order.

Nothing is done to a feed of which something else is wrong than what a repair mends: least of all to
an owned feed that may be a copy, whose files tell that as long as nobody writes to them.
"""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING

from protozorfs.errors import StoreError, UsageError
from protozorfs.log.feed_repair import cut_feed, plan_cut, repair_feed
from protozorfs.store.beneath import Beneath
from protozorfs.store.files import RealFiles
from protozorfs.store.findings import Remedy, Severity
from protozorfs.store.layout import FeedDirectory, Store
from protozorfs.store.lock import StoreLock
from protozorfs.store.numbers import KeptNumbers
from protozorfs.store.pool import FilePool
from protozorfs.store.read_only import ReadOnlyFiles
from protozorfs.store.store_check import (
    DISPLACED,
    LEFT_OVER,
    NODE_KEY_LOST,
    PEERS_DAMAGED,
)
from protozorfs.store.trust import open_way
from protozorfs.swarm.hints_check import CONTACTS_DAMAGED, RECORD_DAMAGED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from protozorfs.log.feed_repair import Cut
    from protozorfs.store.findings import Finding
    from protozorfs.types import FeedId

# What is made anew, or is not needed.
_DROPPED = (LEFT_OVER, PEERS_DAMAGED, CONTACTS_DAMAGED, RECORD_DAMAGED, NODE_KEY_LOST)


def may_be_cut(found: Sequence[Finding]) -> bool:
    """Whether a cut mends a feed of which all that is wrong is known."""
    errors = _errors(found)
    return any(finding.kind.remedy is Remedy.CUT for finding in errors) and not any(
        finding.kind.remedy is Remedy.NONE for finding in errors
    )


def count_mended(found: Mapping[FeedId | None, Sequence[Finding]]) -> int:
    """How many errors a repair would correct without a cut, as far as can be told before."""
    own = _errors(found.get(None, ()))
    if any(error.kind.remedy is Remedy.NONE for error in own):
        return 0  # the store may not even open
    mended = [error for error in own if error.kind.remedy is Remedy.REPAIR]
    for feed_id, findings in found.items():
        if feed_id is not None:
            whole = _is_repairable(findings)
            mended += [one for one in _errors(findings) if whole or one.kind in _DROPPED]
    return len(mended)


def planned_cut(root: Beneath, feed_id: FeedId) -> Cut:
    """What a cut of that feed would do. Raises StoreError, OSError."""
    with closing(FilePool(ReadOnlyFiles(root))) as pool:
        return plan_cut(FeedDirectory(pool, feed_id))


def repair(
    store: Path, found: Mapping[FeedId | None, Sequence[Finding]], cuts: Collection[FeedId]
) -> Iterator[str]:
    """Repairs a store; yields a sentence for each part that could not be.

    Args:
        store: nobody may have it open.
        found: by a check just now, by feeds; of the store itself by None.
        cuts: the owned feeds that are to be cut.

    Raises:
        StoreLocked: somebody has it open after all.
    """
    yield from _drop_files(store, [one for some in found.values() for one in some])
    try:
        opened = Store(store, adopts=True)  # which mends what is its own
    except (StoreError, UsageError, OSError) as error:
        yield f"the store cannot be opened, so that no feed was repaired: {error}"
        return
    with opened:
        KeptNumbers(opened.files, opened.node_key.seed)
        for feed_id, findings in found.items():
            if feed_id is None:
                continue
            try:
                if feed_id in cuts:
                    cut_feed(opened.feed(feed_id))
                elif _is_repairable(findings):
                    repair_feed(opened.feed(feed_id))
            except (StoreError, OSError) as error:
                yield f"feed {feed_id.hex()}: {error}"


def _drop_files(store: Path, found: Sequence[Finding]) -> Iterator[str]:
    with closing(Beneath(open_way(store), str(store))) as root:
        lock = StoreLock(root)
        try:
            files = RealFiles(root)
            for finding in found:
                if finding.kind in _DROPPED:
                    with suppress(FileNotFoundError):
                        files.remove(finding.path)
        except (StoreError, OSError) as error:
            yield str(error)
        finally:
            lock.release()


def _is_repairable(found: Sequence[Finding]) -> bool:
    """Whether something is to be repaired, and nothing but that is wrong."""
    return (
        any(one.kind.remedy is Remedy.REPAIR and one.kind not in _DROPPED for one in found)
        and all(one.kind.remedy is Remedy.REPAIR for one in _errors(found))
        and not any(one.kind is DISPLACED for one in found)
    )


def _errors(found: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.kind.severity is Severity.ERROR]
