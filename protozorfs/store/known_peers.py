"""Peers remembered from earlier runs, in `stale.db`: a hint where to look, never relied on."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import StoreCorrupt
from protozorfs.store.database import connect, is_disk_full, migrate, transaction
from protozorfs.types import Address, FeedId, NodeKey

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

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


class KnownPeer(NamedTuple):
    """A remembered peer of one feed. `last_seen`: seconds since 1970; `failures`: since then."""

    address: Address
    node_key: NodeKey
    last_seen: float
    failures: int


class KnownPeers:
    """The remembered peers of all feeds.

    Nothing here is worth an error: a database that fails is started again, and where that fails too
    it goes on in memory. On a full disk nothing new is remembered.
    """

    def __init__(self, path: Path) -> None:
        """Opens or makes the database; replaces it if it is corrupt or of a newer version."""
        self._path = path
        try:
            self._connection, self._count = _open(path)
        except (sqlite3.Error, StoreCorrupt):
            self._open_anew()

    def of_feed(self, feed_id: FeedId) -> list[KnownPeer]:
        """The peers of a feed, best first."""
        try:
            rows = self._rows_of_feed(feed_id)
        except sqlite3.Error as error:
            self._after(error)
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
        except sqlite3.Error as error:
            self._after(error)
            return False
        self._count += change
        return True

    def note_failure(self, feed_ids: Iterable[FeedId], address: Address) -> None:
        """An attempt to reach a peer of these feeds failed; if it is not remembered, no matter."""
        try:
            with transaction(self._connection) as cursor:
                cursor.executemany(
                    f"UPDATE peers SET failures = failures + 1 WHERE {_ONE}",
                    [(feed_id, *address) for feed_id in feed_ids],
                )
        except sqlite3.Error as error:
            self._after(error)

    def forget_feed(self, feed_id: FeedId) -> None:
        """Drops the peers of a feed."""
        try:
            forgotten = self._connection.execute(f"DELETE FROM peers {_OF_FEED}", (feed_id,))
        except sqlite3.Error as error:
            self._after(error)
        else:
            self._count -= forgotten.rowcount

    def close(self) -> None:
        """Closes the database."""
        self._connection.close()

    def _rows_of_feed(self, feed_id: FeedId) -> list[tuple[str, int, bytes, float, int]]:
        return self._connection.execute(
            f"SELECT host, port, node_key, last_seen, failures FROM peers {_OF_FEED} {_BEST_FIRST}",
            (feed_id,),
        ).fetchall()

    def _after(self, error: sqlite3.Error) -> None:
        if not is_disk_full(error):
            self._connection.close()
            self._open_anew()

    def _open_anew(self) -> None:
        try:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            self._connection, self._count = _open(self._path)
        except (sqlite3.Error, OSError):
            self._connection, self._count = _open(":memory:")


def _open(path: Path | str) -> tuple[sqlite3.Connection, int]:
    """The database and how many rows it has."""
    connection = connect(path)
    try:
        migrate(connection, _MIGRATIONS, str(path))
        connection.execute("SELECT feed_id, node_key, failures FROM peers LIMIT 1").fetchall()
        (count,) = connection.execute("SELECT count(*) FROM peers").fetchone()
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
