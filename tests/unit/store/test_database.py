from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from protozorfs.store import known_peers
from protozorfs.store.files import RealFiles
from protozorfs.store.known_peers import KnownPeer, KnownPeers
from protozorfs.store.memory_files import MemoryFiles
from protozorfs.types import Address, FeedId, NodeKey

if TYPE_CHECKING:
    from pathlib import Path


def feed_id(number: int) -> FeedId:
    return FeedId(bytes([number]) * 32)


KEY = NodeKey(b"k" * 32)


def address(number: int) -> Address:
    return Address("10.0.0.1", number)


def remember(peers: KnownPeers, feed: int, number: int, last_seen: float = 0.0) -> bool:
    return peers.remember([feed_id(feed)], address(number), KEY, last_seen)


def ports(peers: KnownPeers, feed: int) -> list[int]:
    return [peer.address.port for peer in peers.of_feed(feed_id(feed))]


def test_peers_come_best_first_and_are_updated(tmp_path: Path) -> None:
    other_key = NodeKey(b"o" * 32)
    with closing(KnownPeers(RealFiles(tmp_path))) as peers:
        assert peers.remember([feed_id(1), feed_id(2)], address(1), KEY, 5.0)
        assert remember(peers, 1, 2, 3.0)
        assert remember(peers, 1, 3, 4.0)
        assert peers.remember([feed_id(1)], address(2), other_key, 6.0)
    with closing(KnownPeers(RealFiles(tmp_path))) as peers:
        assert peers.of_feed(feed_id(1)) == [
            KnownPeer(address(2), other_key, 6.0, 0),
            KnownPeer(address(1), KEY, 5.0, 0),
            KnownPeer(address(3), KEY, 4.0, 0),
        ]
        peers.forget_feed(feed_id(1))
        assert peers.of_feed(feed_id(1)) == []
        assert ports(peers, 2) == [1]


def test_who_could_not_be_reached_comes_last_until_it_answers(tmp_path: Path) -> None:
    with closing(KnownPeers(RealFiles(tmp_path))) as peers:
        for number in (1, 2, 3):
            peers.remember([feed_id(1), feed_id(2)], address(number), KEY, number)
        for _ in range(2):
            peers.note_failure([feed_id(1)], address(3))
        peers.note_failure([feed_id(1)], address(2))
        peers.note_failure([feed_id(1)], address(9))
    with closing(KnownPeers(RealFiles(tmp_path))) as peers:
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
    with closing(KnownPeers(RealFiles(tmp_path))) as peers:
        for number in range(1, 5):
            remember(peers, 1, number, number)
        assert ports(peers, 1) == [4, 3, 2]
        peers.note_failure([feed_id(1)], address(4))
        remember(peers, 1, 5, 5.0)
        assert ports(peers, 1) == [5, 3, 2]
        for number in range(1, 4):
            remember(peers, 2, number, 10 + number)
    with closing(KnownPeers(RealFiles(tmp_path))) as peers:
        assert (ports(peers, 1), ports(peers, 2)) == ([5, 3], [3, 2, 1])
        peers.note_failure([feed_id(2)], address(3))
        peers.remember([feed_id(3), feed_id(4)], address(1), KEY, 20.0)
        assert (ports(peers, 1), ports(peers, 2)) == ([5], [2, 1])
        peers.forget_feed(feed_id(3))
        remember(peers, 5, 1, 21.0)
        assert (ports(peers, 1), ports(peers, 2)) == ([5], [2, 1]), "there was room"


def test_remembering_looks_at_no_other_rows(tmp_path: Path) -> None:
    """With 20 000 rows, a count and a sort of all took 2 ms for each of a peer's feeds."""
    with closing(KnownPeers(RealFiles(tmp_path))) as peers:
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
    with closing(KnownPeers(RealFiles(tmp_path))) as peers:
        assert peers.of_feed(feed_id(1)) == [KnownPeer(address(1), KEY, 5.0, 0)]
        assert remember(peers, 1, 2, 6.0)


@pytest.mark.parametrize("garbage", [b"no database" * 1000, b""])
def test_a_corrupt_stale_database_is_started_again(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "stale.db"
    with closing(KnownPeers(RealFiles(tmp_path))) as peers:
        remember(peers, 1, 1)
    path.write_bytes(garbage)
    with closing(KnownPeers(RealFiles(tmp_path))) as peers:
        assert peers.of_feed(feed_id(1)) == []
        assert remember(peers, 1, 2)
        assert len(peers.of_feed(feed_id(1))) == 1


def test_a_stale_database_that_breaks_in_use_is_started_again(tmp_path: Path) -> None:
    with closing(KnownPeers(RealFiles(tmp_path))) as peers:
        peers._connection.execute("DROP TABLE peers")
        assert peers.of_feed(feed_id(1)) == []
        assert remember(peers, 1, 1)
        peers._connection.execute("DROP TABLE peers")
        assert not remember(peers, 1, 1)
        peers._connection.execute("DROP TABLE peers")
        peers.forget_feed(feed_id(1))
        assert remember(peers, 1, 1)


def test_where_no_stale_database_can_be_it_is_kept_in_memory(tmp_path: Path) -> None:
    files = RealFiles(tmp_path)
    tmp_path.rmdir()
    with closing(KnownPeers(files)) as peers:
        assert remember(peers, 1, 1)
        assert len(peers.of_feed(feed_id(1))) == 1


def test_peers_are_written_soon_and_then_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed leaves what came more than some seconds before."""
    now = 0.0  # the machine has just been started
    monkeypatch.setattr("protozorfs.store.known_peers.time.monotonic", lambda: now)
    peers = KnownPeers(RealFiles(tmp_path))

    def kept() -> list[int]:
        with closing(KnownPeers(RealFiles(tmp_path))) as others:
            return sorted(ports(others, 1))

    remember(peers, 1, 1)
    assert kept() == [1]
    remember(peers, 1, 2)
    assert kept() == [1]
    now += 9.9
    remember(peers, 1, 3)
    assert kept() == [1]
    now += 0.1
    remember(peers, 1, 4)
    assert kept() == [1, 2, 3, 4]
    remember(peers, 1, 5)
    peers.save()
    assert kept() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("seed", range(10))
def test_a_power_cut_may_take_peers_and_nothing_else(seed: int) -> None:
    files = MemoryFiles()
    peers = KnownPeers(files)
    for number in range(5):
        remember(peers, 1, number)
        peers.save()
    files.power_cut(random.Random(seed))
    again = KnownPeers(files)
    assert set(ports(again, 1)) <= set(range(5))
    assert remember(again, 1, 7)


def test_peers_of_a_full_disk_are_remembered_in_memory() -> None:
    files = MemoryFiles()
    peers = KnownPeers(files)
    files.fail_at(files.operations + 1, "full")
    assert remember(peers, 1, 1)
    assert ports(peers, 1) == [1]
    assert files.listdir("") == []


def test_a_stale_database_whose_schema_is_no_text_is_started_again(tmp_path: Path) -> None:
    path = tmp_path / "stale.db"
    peers = KnownPeers(RealFiles(tmp_path))
    remember(peers, 1, 1)
    peers.close()
    content = path.read_bytes()
    assert content.count(b"ROWID") == 1
    path.write_bytes(content.replace(b"ROWID", b"ROWI\xbb"))
    known = KnownPeers(RealFiles(tmp_path))
    assert ports(known, 1) == []
    known.close()
