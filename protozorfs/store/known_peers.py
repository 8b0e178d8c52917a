"""Peers remembered from earlier runs, in `stale.db`: a hint where to look, never relied on."""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import StoreCorrupt, StoreFull
from protozorfs.store.database import migrate, open_image, transaction
from protozorfs.types import Address, FeedId, NodeKey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protozorfs.store.files import Files

PEERS_FILE = "stale.db"
SAVE_SECONDS = 10.0  # between two writes of the file, of at most some megabytes
MAX_PEERS_PER_FEED = 32  # a start needs one that answers; anybody may have put these here
MAX_PEERS = 20_000  # rows in all; at 150 bytes this keeps the file below some megabytes

# peers: where a feed was found before.
#   feed_id      32 bytes
#   host, port   the address that answered
#   node_key     32 bytes: who answered last
#   last_seen    seconds since 1970 of the last success
#   failures     attempts that failed since. They rank peers and say who goes first when there are
#                too many, but nobody goes for them alone: without a network all attempts fail.
_MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE peers (
        feed_id BLOB NOT NULL,
        host TEXT NOT NULL,
        port INTEGER NOT NULL,
        node_key BLOB,
        last_seen REAL NOT NULL,
        failures INTEGER NOT NULL,
        PRIMARY KEY (feed_id, host, port)
    ) WITHOUT ROWID;
    CREATE INDEX peers_by_age ON peers (last_seen);
    """,
    # The worst of all is found without sorting all.
    """
    DROP INDEX peers_by_age;
    CREATE INDEX peers_worst_first ON peers (failures DESC, last_seen ASC);
    """,
)
_ONE = "feed_id = ? AND host = ? AND port = ?"
_OF_FEED = "WHERE feed_id = ?"
_WORST_FIRST = "ORDER BY failures DESC, last_seen ASC"
_BEST_FIRST = "ORDER BY failures ASC, last_seen DESC"


logger = logging.getLogger(__name__)


class KnownPeer(NamedTuple):
    """A remembered peer of one feed. `last_seen`: seconds since 1970; `failures`: since then."""

    address: Address
    node_key: NodeKey
    last_seen: float
    failures: int


class KnownPeers:
    """The remembered peers of all feeds: a database in memory, of which a file is the image.

    Nothing here is worth an error: what fails is started again, and on a full disk what is new is
    remembered by this run only.
    """

    def __init__(self, files: Files) -> None:
        """Reads the file; starts anew if it is missing, corrupt or of a newer version."""
        self._files = files
        self._is_changed = False
        self._saved_at = -SAVE_SECONDS
        try:
            self._connection, self._count = open_peers(files.read(PEERS_FILE))
        except (OSError, sqlite3.Error, StoreCorrupt):
            self._connection, self._count = open_peers(b"")

    def of_feed(self, feed_id: FeedId) -> list[KnownPeer]:
        """The peers of a feed, best first."""
        try:
            rows = self._rows_of_feed(feed_id)
        except sqlite3.Error:
            self._start_again()
            return []
        return [_known_peer(row) for row in rows]

    def remember(
        self, feed_ids: Iterable[FeedId], address: Address, node_key: NodeKey, last_seen: float
    ) -> bool:
        """A peer of these feeds has answered; the worst go when there are too many.

        Takes O(log n) for each feed. Returns whether it was remembered.
        """
        peer = KnownPeer(address, node_key, last_seen, failures=0)
        try:
            with transaction(self._connection) as cursor:
                change = sum(_put(cursor, feed_id, peer) for feed_id in feed_ids)
                change -= _trim(cursor, "", (), self._count + change - MAX_PEERS)
        except sqlite3.Error:
            self._start_again()
            return False
        self._count += change
        self._has_changed()
        return True

    def note_failure(self, feed_ids: Iterable[FeedId], address: Address) -> None:
        """An attempt to reach a peer of these feeds failed; if it is not remembered, no matter."""
        try:
            with transaction(self._connection) as cursor:
                cursor.executemany(
                    f"UPDATE peers SET failures = failures + 1 WHERE {_ONE}",
                    [(feed_id, *address) for feed_id in feed_ids],
                )
        except sqlite3.Error:
            self._start_again()
        self._has_changed()

    def forget_feed(self, feed_id: FeedId) -> None:
        """Drops the peers of a feed."""
        try:
            forgotten = self._connection.execute(f"DELETE FROM peers {_OF_FEED}", (feed_id,))
        except sqlite3.Error:
            self._start_again()
        else:
            self._count -= forgotten.rowcount
        self._has_changed()

    def save(self) -> None:
        """Writes the file if there is something new. It is not synced: a hint may be lost."""
        if not self._is_changed:
            return
        self._is_changed = False
        self._saved_at = time.monotonic()
        new = f"{PEERS_FILE}.new"
        try:
            with closing(self._files.open(new, create=True)) as file:
                file.truncate(0)
                file.pwrite(self._connection.serialize(), 0)
            self._files.rename(new, PEERS_FILE)
        except (StoreFull, OSError) as error:
            logger.info("peers could not be remembered: %s", error)
            with suppress(OSError):
                self._files.remove(new)

    def close(self) -> None:
        """Saves what is new, and closes the database."""
        self.save()
        self._connection.close()

    def _has_changed(self) -> None:
        """Saves at once what comes after a rest: a kill may be next."""
        self._is_changed = True
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self.save()

    def _rows_of_feed(self, feed_id: FeedId) -> list[tuple[str, int, bytes, float, int]]:
        return self._connection.execute(
            f"SELECT host, port, node_key, last_seen, failures FROM peers {_OF_FEED} {_BEST_FIRST}",
            (feed_id,),
        ).fetchall()

    def _start_again(self) -> None:
        self._connection.close()
        self._connection, self._count = open_peers(b"")


def open_peers(image: bytes) -> tuple[sqlite3.Connection, int]:
    """The database that begins as a file was, and how many rows it has.

    Raises:
        sqlite3.Error: it is no database of peers.
        StoreCorrupt: it is of a newer version.
    """
    connection = open_image(image)
    try:
        migrate(connection, _MIGRATIONS, PEERS_FILE)
        connection.execute("SELECT feed_id, node_key, failures FROM peers LIMIT 1").fetchall()
        (count,) = connection.execute("SELECT count(*) FROM peers").fetchone()
    except UnicodeDecodeError as error:  # of a message that cites what it could not parse
        connection.close()
        raise sqlite3.DatabaseError("its schema is damaged") from error
    except BaseException:
        connection.close()
        raise
    return connection, count


def _put(cursor: sqlite3.Cursor, feed_id: FeedId, peer: KnownPeer) -> int:
    """Adds or updates a peer of a feed; returns by how many rows there are more."""
    address, *answered = peer
    cursor.execute(
        f"UPDATE peers SET node_key = ?, last_seen = ?, failures = ? WHERE {_ONE}",
        (*answered, feed_id, *address),
    )
    if cursor.rowcount:
        return 0
    cursor.execute("INSERT INTO peers VALUES (?, ?, ?, ?, ?, ?)", (feed_id, *address, *answered))
    (count,) = cursor.execute(f"SELECT count(*) FROM peers {_OF_FEED}", (feed_id,)).fetchone()
    return 1 - _trim(cursor, _OF_FEED, (feed_id,), count - MAX_PEERS_PER_FEED)


def _trim(cursor: sqlite3.Cursor, where: str, values: tuple[object, ...], excess: int) -> int:
    """Drops the worst `excess` rows of those that `where` selects; returns how many."""
    if excess <= 0:
        return 0
    cursor.execute(
        "DELETE FROM peers WHERE (feed_id, host, port) IN ("
        f"SELECT feed_id, host, port FROM peers {where} {_WORST_FIRST} LIMIT ?)",
        (*values, excess),
    )
    return cursor.rowcount


def _known_peer(row: tuple[str, int, bytes, float, int]) -> KnownPeer:
    host, port, node_key, last_seen, failures = row
    return KnownPeer(Address(host, port), NodeKey(node_key), last_seen, failures)
