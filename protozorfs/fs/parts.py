"""What the handlers of one mount are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protozorfs.fs.nudges import Nudges
    from protozorfs.fs.origins import Origins
    from protozorfs.fs.polls import Polls
    from protozorfs.fs.ports import FeedsView, FeedView
    from protozorfs.fs.self_test import SelfTest
    from protozorfs.fs.status import StatusTree
    from protozorfs.fs.waits import Patience, Waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Made in `mount`, used by the handlers.

    Attributes:
        syncs: every write returns when it is durable (option `sync`).
        is_shared: other users are let in (option `allow_other`).
        live_from_end: live views begin at the end of their feed (option `live_from`).
    """

    feeds: FeedsView
    waits: Waits
    polls: Polls
    nudges: Nudges
    status: StatusTree
    origins: Origins
    self_test: SelfTest
    patience: Patience
    syncs: bool
    is_shared: bool
    live_from_end: bool

    def grown(self, feed: FeedView) -> None:
        """A feed has a newer head, or more of it is here: tells those who wait for it to change."""
        self.polls.grown(feed)
        self.nudges.grown(feed)
