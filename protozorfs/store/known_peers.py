"""Peers remembered from earlier runs, in `stale.db`: a hint where to look, never relied on."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import StoreCorrupt
from protozorfs.store.database import connect, is_disk_full, migrate
from protozorfs.types import Address, FeedId, NodeKey

if TYPE_CHECKING:
    from pathlib import Path

MAX_PEERS_PER_FEED = 32  # a start needs one that answers; anybody may have put these here
MAX_PEERS = 20_000  # rows in all; at 150 bytes this keeps the file below some megabytes

# peers: where a feed was found before.
#   feed_id      32 bytes
#   host, port   the address that answered or was tried
#   node_key     32 bytes, or NULL if its handshake was never seen
#   last_seen    seconds since 1970 of the last success
#   failures     attempts in a row that failed since
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
)
_WORST_FIRST = "ORDER BY failures DESC, last_seen ASC"
_BEST_FIRST = "ORDER BY failures ASC, last_seen DESC"


class KnownPeer(NamedTuple):
    """A remembered peer of one feed. `last_seen`: seconds since 1970."""

    address: Address
    node_key: NodeKey | None
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
            self._connection = _open(path)
        except (sqlite3.Error, StoreCorrupt):
            self._connection = self._opened_anew()

    def of_feed(self, feed_id: FeedId) -> list[KnownPeer]:
        """The peers of a feed, best first."""
        try:
            rows = self._rows_of_feed(feed_id)
        except sqlite3.Error as error:
            self._after(error)
            return []
        return [_known_peer(row) for row in rows]

    def remember(self, feed_id: FeedId, peer: KnownPeer) -> bool:
        """Adds or updates a peer of a feed; the worst go when there are too many.

        Returns whether it was remembered.
        """
        try:
            self._remember(feed_id, peer)
        except sqlite3.Error as error:
            self._after(error)
            return False
        return True

    def forget_feed(self, feed_id: FeedId) -> None:
        """Drops the peers of a feed."""
        try:
            self._connection.execute("DELETE FROM peers WHERE feed_id = ?", (feed_id,))
        except sqlite3.Error as error:
            self._after(error)

    def close(self) -> None:
        """Closes the database."""
        self._connection.close()

    def _rows_of_feed(self, feed_id: FeedId) -> list[tuple[str, int, bytes | None, float, int]]:
        return self._connection.execute(
            "SELECT host, port, node_key, last_seen, failures FROM peers"
            f" WHERE feed_id = ? {_BEST_FIRST}",
            (feed_id,),
        ).fetchall()

    def _remember(self, feed_id: FeedId, peer: KnownPeer) -> None:
        (host, port), node_key, last_seen, failures = peer
        self._connection.execute(
            "INSERT OR REPLACE INTO peers VALUES (?, ?, ?, ?, ?, ?)",
            (feed_id, host, port, node_key, last_seen, failures),
        )
        self._trim("WHERE feed_id = ?", (feed_id,), MAX_PEERS_PER_FEED)
        self._trim("", (), MAX_PEERS)

    def _trim(self, where: str, values: tuple[object, ...], limit: int) -> None:
        (count,) = self._connection.execute(
            f"SELECT count(*) FROM peers {where}", values
        ).fetchone()
        if count > limit:
            self._connection.execute(
                "DELETE FROM peers WHERE (feed_id, host, port) IN ("
                f"SELECT feed_id, host, port FROM peers {where} {_WORST_FIRST} LIMIT ?)",
                (*values, count - limit),
            )

    def _after(self, error: sqlite3.Error) -> None:
        if not is_disk_full(error):
            self._connection.close()
            self._connection = self._opened_anew()

    def _opened_anew(self) -> sqlite3.Connection:
        try:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            return _open(self._path)
        except (sqlite3.Error, OSError):
            return _open(":memory:")


def _open(path: Path | str) -> sqlite3.Connection:
    connection = connect(path, is_durable=False)
    try:
        migrate(connection, _MIGRATIONS, str(path))
        connection.execute("SELECT feed_id, node_key, failures FROM peers LIMIT 1").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _known_peer(row: tuple[str, int, bytes | None, float, int]) -> KnownPeer:
    host, port, node_key, last_seen, failures = row
    key = NodeKey(node_key) if node_key is not None else None
    return KnownPeer(Address(host, port), key, last_seen, failures)
