"""The directory `.protozorfs`: what is known of the node and its feeds, as files.

    status status.json log version
    feeds/NAME/{id,head,peers,progress,why}

A file is made when it is looked at, from what is known at once. NAME is a feed's name, or the ID of
a feed that is visited. In paths here it is always the ID: what is about a feed stays the same file
when the feed gets another name.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from protozorfs import ids, names
from protozorfs.fs import status_text
from protozorfs.names import STATUS_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from protozorfs.feeds.facts import FeedReport
    from protozorfs.fs.inodes import Path
    from protozorfs.fs.ports import FeedsView, FeedView

_FEEDS = b"feeds"
STATUS_PATH: Path = (STATUS_DIRECTORY,)
_FEEDS_PATH: Path = (*STATUS_PATH, _FEEDS)
_FEED_FILES: Mapping[bytes, Callable[[FeedView, FeedReport], str]] = {
    b"head": status_text.head,
    b"id": lambda feed, report: ids.format_hex(feed.feed_id) + "\n",
    b"peers": lambda feed, report: status_text.feed_peers(report.facts),
    b"progress": status_text.progress,
    b"why": lambda feed, report: report.why + "\n",
}


class StatusTree:
    """The directories and files, by their paths."""

    def __init__(self, feeds: FeedsView, log_lines: Callable[[], Iterable[str]]) -> None:
        self._feeds = feeds
        self._files: Mapping[bytes, Callable[[], str]] = {
            b"log": lambda: "".join(f"{line}\n" for line in log_lines()),
            b"status": lambda: status_text.status(feeds),
            b"status.json": lambda: status_text.status_json(feeds),
            b"version": lambda: version("protozorfs") + "\n",
        }

    def find(self, directory: Path, name: bytes) -> Path | None:
        """The path of a name in a directory; None if there is no such thing."""
        if directory == _FEEDS_PATH:
            feed = self._named(name)
            return None if feed is None else (*directory, names.own_id_name(feed.feed_id))
        path = (*directory, name)
        return path if self.is_directory(path) is not None else None

    def entries(self, path: Path) -> Sequence[bytes]:
        """The names in a directory."""
        below = path[1:]
        if not below:
            return sorted([*self._files, _FEEDS])
        if below == (_FEEDS,):
            return [name for name, _ in self._feeds.names()]
        return list(_FEED_FILES)

    def is_directory(self, path: Path) -> bool | None:
        """Whether a path is a directory or a file; None if there is no such thing."""
        match path[1:]:
            case ():
                return True
            case (name,):
                return True if name == _FEEDS else False if name in self._files else None
            case (b"feeds", digits):
                return True if self._feed(digits) is not None else None
            case (b"feeds", digits, file) if self._feed(digits) is not None:
                return False if file in _FEED_FILES else None
        return None

    def read(self, path: Path) -> bytes:
        """What a file says now; nothing if there is no such file (any more).

        Raises:
            StoreError: of the feed that it is about.
        """
        below = path[1:]
        if len(below) == 1 and below[0] in self._files:
            return _encoded(self._files[below[0]]())
        feed = self._feed(below[1]) if len(below) == 3 else None
        if feed is None:
            return b""
        report = self._feeds.report(feed.feed_id)
        return _encoded(_FEED_FILES[below[2]](feed, report))

    def _named(self, name: bytes) -> FeedView | None:
        return self._feeds.by_name(name) or self._feed(name)

    def _feed(self, digits: bytes) -> FeedView | None:
        feed_id = names.feed_id_of_name(digits)
        return None if feed_id is None else self._feeds.by_id(feed_id)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # names are bytes, of whatever encoding
