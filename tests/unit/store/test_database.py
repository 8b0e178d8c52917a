from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import DecodeError, NameTaken, NoSuchFeed, StoreCorrupt
from protozorfs.store import known_peers
from protozorfs.store.database import NameRow, Names
from protozorfs.store.known_peers import KnownPeer, KnownPeers
from protozorfs.types import Address, FeedId, NodeKey

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def feed_id(number: int) -> FeedId:
    return FeedId(bytes([number]) * 32)


def row(name: bytes, number: int, *, is_owned: bool = True) -> NameRow:
    return NameRow(name, feed_id(number), is_owned, 1000 + number, 2000 + number)


@pytest.fixture
def names(tmp_path: Path) -> Iterator[Names]:
    with closing(Names(tmp_path / "names.db")) as names:
        yield names


def test_names_are_found_by_name_and_by_feed_and_survive_reopening(tmp_path: Path) -> None:
    with closing(Names(tmp_path / "names.db")) as names:
        names.add(row(b"zebra", 1))
        names.add(row(b"a\xff\n", 2, is_owned=False))
        names.add(row(b"gone", 3))
        assert names.remove(b"gone") == row(b"gone", 3)
        assert names.rename(b"zebra", b"horse").name == b"horse"
        names.set_mtimes([(feed_id(1), 5), (feed_id(9), 6)])
        names.set_mtimes([])
        names.set_setting("port", 4000)
        names.set_setting("port", 4001)
    with closing(Names(tmp_path / "names.db")) as names:
        horse = row(b"horse", 1)._replace(mtime_ns=5)
        assert names.all() == [row(b"a\xff\n", 2, is_owned=False), horse]
        assert names.by_name(b"horse") == horse
        assert names.by_feed_id(feed_id(1)) == horse
        assert names.by_name(b"zebra") is None
        assert names.by_feed_id(feed_id(3)) is None
        assert names.setting("port") == 4001
        assert names.setting("none") is None


def test_a_name_and_a_feed_are_used_once(names: Names) -> None:
    names.add(row(b"a", 1))
    names.add(row(b"b", 2))
    with pytest.raises(NameTaken, match="a feed of that name"):
        names.add(row(b"a", 3))
    with pytest.raises(NameTaken, match="already, as b"):
        names.add(row(b"c", 2))
    with pytest.raises(NameTaken):
        names.rename(b"a", b"b")
    with pytest.raises(NoSuchFeed):
        names.rename(b"x", b"y")
    with pytest.raises(NoSuchFeed):
        names.remove(b"x")
    assert [name.name for name in names.all()] == [b"a", b"b"]


@pytest.mark.parametrize("name", [b"", b"x" * 256, b"a/b", b"a\0", b".", b".."])
def test_what_cannot_be_a_file_name_is_refused(names: Names, name: bytes) -> None:
    names.add(row(b"a", 1))
    with pytest.raises(DecodeError):
        names.add(row(name, 2))
    with pytest.raises(DecodeError):
        names.rename(b"a", name)
    assert names.all() == [row(b"a", 1)]


def test_names_are_committed_with_full_sync(names: Names) -> None:
    (level,) = names._connection.execute("PRAGMA synchronous").fetchone()
    assert level == 2


def test_corrupt_names_are_an_error_and_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "names.db"
    path.write_bytes(b"not a database, but somebody's names" * 100)
    with pytest.raises(StoreCorrupt, match=r"names\.db"):
        Names(path)
    assert path.read_bytes().startswith(b"not a database")


def test_names_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "names.db"
    Names(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreCorrupt, match="newer version"):
        Names(path)


def test_a_failing_commit_changes_nothing(names: Names, tmp_path: Path) -> None:
    names.add(row(b"a", 1))
    with closing(sqlite3.connect(tmp_path / "names.db")) as other:
        other.execute(
            "CREATE TRIGGER no BEFORE INSERT ON names BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        other.commit()
    with pytest.raises(StoreCorrupt, match="no"):
        names.add(row(b"b", 2))
    assert names.by_name(b"b") is None
    names.remove(b"a")
    assert names.all() == []


def peer(number: int, *, last_seen: float = 0.0, failures: int = 0) -> KnownPeer:
    return KnownPeer(Address("10.0.0.1", number), NodeKey(b"k" * 32), last_seen, failures)


def test_peers_come_best_first_and_are_updated(tmp_path: Path) -> None:
    with closing(KnownPeers(tmp_path / "stale.db")) as peers:
        assert peers.remember(feed_id(1), peer(1, last_seen=5.0, failures=2))
        assert peers.remember(feed_id(1), peer(2, last_seen=3.0))
        assert peers.remember(feed_id(1), peer(3, last_seen=4.0)._replace(node_key=None))
        assert peers.remember(feed_id(2), peer(1, last_seen=9.0))
        assert peers.remember(feed_id(1), peer(2, last_seen=6.0))
    with closing(KnownPeers(tmp_path / "stale.db")) as peers:
        assert peers.of_feed(feed_id(1)) == [
            peer(2, last_seen=6.0),
            peer(3, last_seen=4.0)._replace(node_key=None),
            peer(1, last_seen=5.0, failures=2),
        ]
        peers.forget_feed(feed_id(1))
        assert peers.of_feed(feed_id(1)) == []
        assert len(peers.of_feed(feed_id(2))) == 1


def test_the_worst_peers_go_when_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_peers, "MAX_PEERS_PER_FEED", 3)
    monkeypatch.setattr(known_peers, "MAX_PEERS", 5)
    with closing(KnownPeers(tmp_path / "stale.db")) as peers:
        for number in range(1, 6):
            peers.remember(feed_id(1), peer(number, last_seen=number, failures=number == 5))
        assert [known.address.port for known in peers.of_feed(feed_id(1))] == [4, 3, 2]
        for number in range(1, 5):
            peers.remember(feed_id(2), peer(number, last_seen=10 + number))
        assert [known.address.port for known in peers.of_feed(feed_id(1))] == [4, 3]


@pytest.mark.parametrize("garbage", [b"no database" * 1000, b""])
def test_a_corrupt_stale_database_is_started_again(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "stale.db"
    with closing(KnownPeers(path)) as peers:
        peers.remember(feed_id(1), peer(1))
    path.write_bytes(garbage)
    with closing(KnownPeers(path)) as peers:
        assert peers.of_feed(feed_id(1)) == []
        assert peers.remember(feed_id(1), peer(2))
        assert len(peers.of_feed(feed_id(1))) == 1


def test_a_stale_database_that_breaks_in_use_is_started_again(tmp_path: Path) -> None:
    with closing(KnownPeers(tmp_path / "stale.db")) as peers:
        peers._connection.execute("DROP TABLE peers")
        assert peers.of_feed(feed_id(1)) == []
        assert peers.remember(feed_id(1), peer(1))
        peers._connection.execute("DROP TABLE peers")
        assert not peers.remember(feed_id(1), peer(1))
        peers._connection.execute("DROP TABLE peers")
        peers.forget_feed(feed_id(1))
        assert peers.remember(feed_id(1), peer(1))


def test_where_no_stale_database_can_be_it_is_kept_in_memory(tmp_path: Path) -> None:
    with closing(KnownPeers(tmp_path / "missing" / "stale.db")) as peers:
        assert peers.remember(feed_id(1), peer(1))
        assert len(peers.of_feed(feed_id(1))) == 1
