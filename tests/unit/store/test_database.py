from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import InvalidName, NameTaken, NoSuchFeed, StoreCorrupt
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
    with pytest.raises(InvalidName):
        names.add(row(name, 2))
    with pytest.raises(InvalidName):
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


KEY = NodeKey(b"k" * 32)


def address(number: int) -> Address:
    return Address("10.0.0.1", number)


def remember(peers: KnownPeers, feed: int, number: int, last_seen: float = 0.0) -> bool:
    return peers.remember([feed_id(feed)], address(number), KEY, last_seen)


def ports(peers: KnownPeers, feed: int) -> list[int]:
    return [peer.address.port for peer in peers.of_feed(feed_id(feed))]


def test_peers_come_best_first_and_are_updated(tmp_path: Path) -> None:
    other_key = NodeKey(b"o" * 32)
    with closing(KnownPeers(tmp_path / "stale.db")) as peers:
        assert peers.remember([feed_id(1), feed_id(2)], address(1), KEY, 5.0)
        assert remember(peers, 1, 2, 3.0)
        assert remember(peers, 1, 3, 4.0)
        assert peers.remember([feed_id(1)], address(2), other_key, 6.0)
    with closing(KnownPeers(tmp_path / "stale.db")) as peers:
        assert peers.of_feed(feed_id(1)) == [
            KnownPeer(address(2), other_key, 6.0, 0),
            KnownPeer(address(1), KEY, 5.0, 0),
            KnownPeer(address(3), KEY, 4.0, 0),
        ]
        peers.forget_feed(feed_id(1))
        assert peers.of_feed(feed_id(1)) == []
        assert ports(peers, 2) == [1]


def test_who_could_not_be_reached_comes_last_until_it_answers(tmp_path: Path) -> None:
    with closing(KnownPeers(tmp_path / "stale.db")) as peers:
        for number in (1, 2, 3):
            peers.remember([feed_id(1), feed_id(2)], address(number), KEY, number)
        for _ in range(2):
            peers.note_failure([feed_id(1)], address(3))
        peers.note_failure([feed_id(1)], address(2))
        peers.note_failure([feed_id(1)], address(9))
    with closing(KnownPeers(tmp_path / "stale.db")) as peers:
        assert [(peer.address.port, peer.failures) for peer in peers.of_feed(feed_id(1))] == [
            (1, 0),
            (2, 1),
            (3, 2),
        ]
        assert ports(peers, 2) == [3, 2, 1], "of another feed nothing was tried"
        remember(peers, 1, 3, 4.0)
        assert ports(peers, 1) == [3, 1, 2]


def test_the_worst_peers_go_when_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_peers, "MAX_PEERS_PER_FEED", 3)
    monkeypatch.setattr(known_peers, "MAX_PEERS", 5)
    with closing(KnownPeers(tmp_path / "stale.db")) as peers:
        for number in range(1, 5):
            remember(peers, 1, number, number)
        assert ports(peers, 1) == [4, 3, 2]
        peers.note_failure([feed_id(1)], address(4))
        remember(peers, 1, 5, 5.0)
        assert ports(peers, 1) == [5, 3, 2]
        for number in range(1, 4):
            remember(peers, 2, number, 10 + number)
    with closing(KnownPeers(tmp_path / "stale.db")) as peers:
        assert (ports(peers, 1), ports(peers, 2)) == ([5, 3], [3, 2, 1])
        peers.note_failure([feed_id(2)], address(3))
        peers.remember([feed_id(3), feed_id(4)], address(1), KEY, 20.0)
        assert (ports(peers, 1), ports(peers, 2)) == ([5], [2, 1])
        peers.forget_feed(feed_id(3))
        remember(peers, 5, 1, 21.0)
        assert (ports(peers, 1), ports(peers, 2)) == ([5], [2, 1]), "there was room"


def test_remembering_looks_at_no_other_rows(tmp_path: Path) -> None:
    """With 20 000 rows, a count and a sort of all took 2 ms for each of a peer's feeds."""
    with closing(KnownPeers(tmp_path / "stale.db")) as peers:
        remember(peers, 1, 1)
        statements: list[str] = []
        peers._connection.set_trace_callback(statements.append)
        peers.remember([feed_id(2)], address(1), KEY, 1.0)
        peers.remember([feed_id(2)], address(1), KEY, 2.0)
        peers.note_failure([feed_id(2)], address(1))
        peers._count = known_peers.MAX_PEERS
        peers.remember([feed_id(3)], address(1), KEY, 3.0)
        peers._connection.set_trace_callback(None)
        assert any(statement.startswith("DELETE") for statement in statements)
        for statement in statements:
            if statement.split()[0] in ("SELECT", "UPDATE", "DELETE"):
                plan = peers._connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
                steps = [row[3] for row in plan]
                assert not [step for step in steps if "TEMP B-TREE" in step], statement
                scans = [step for step in steps if step.startswith("SCAN")]
                assert scans in ([], ["SCAN peers USING COVERING INDEX peers_worst_first"])


def test_peers_of_the_first_version_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "stale.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(known_peers._MIGRATIONS[0])
        connection.execute("PRAGMA user_version = 1")
        row = (feed_id(1), *address(1), KEY, 5.0, 0)
        connection.execute("INSERT INTO peers VALUES (?, ?, ?, ?, ?, ?)", row)
        connection.commit()
    with closing(KnownPeers(path)) as peers:
        assert peers.of_feed(feed_id(1)) == [KnownPeer(address(1), KEY, 5.0, 0)]
        assert remember(peers, 1, 2, 6.0)


@pytest.mark.parametrize("garbage", [b"no database" * 1000, b""])
def test_a_corrupt_stale_database_is_started_again(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "stale.db"
    with closing(KnownPeers(path)) as peers:
        remember(peers, 1, 1)
    path.write_bytes(garbage)
    with closing(KnownPeers(path)) as peers:
        assert peers.of_feed(feed_id(1)) == []
        assert remember(peers, 1, 2)
        assert len(peers.of_feed(feed_id(1))) == 1


def test_a_stale_database_that_breaks_in_use_is_started_again(tmp_path: Path) -> None:
    with closing(KnownPeers(tmp_path / "stale.db")) as peers:
        peers._connection.execute("DROP TABLE peers")
        assert peers.of_feed(feed_id(1)) == []
        assert remember(peers, 1, 1)
        peers._connection.execute("DROP TABLE peers")
        assert not remember(peers, 1, 1)
        peers._connection.execute("DROP TABLE peers")
        peers.forget_feed(feed_id(1))
        assert remember(peers, 1, 1)


def test_where_no_stale_database_can_be_it_is_kept_in_memory(tmp_path: Path) -> None:
    with closing(KnownPeers(tmp_path / "missing" / "stale.db")) as peers:
        assert remember(peers, 1, 1)
        assert len(peers.of_feed(feed_id(1))) == 1


def test_a_stale_database_whose_schema_is_no_text_is_started_again(tmp_path: Path) -> None:
    path = tmp_path / "stale.db"
    KnownPeers(path).close()
    content = path.read_bytes()
    assert content.count(b"ROWID") == 1
    path.write_bytes(content.replace(b"ROWID", b"ROWI\xbb"))
    known = KnownPeers(path)
    assert known.of_feed(FeedId(bytes(32))) == []
    known.close()
