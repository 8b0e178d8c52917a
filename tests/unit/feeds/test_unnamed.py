"""What a run left without a name: nothing goes but what is marked to go, or was removed."""

from __future__ import annotations

import random
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from protozorfs import crypto
from protozorfs.errors import StoreFull
from protozorfs.feeds.registry import Feeds
from protozorfs.log.feed import Log
from protozorfs.options import Options
from protozorfs.store.files import RealFiles
from protozorfs.store.layout import FeedDirectory, Store
from protozorfs.store.memory_disk import JOURNAL, PREFIX, draw_model
from protozorfs.store.memory_files import MemoryFiles, Stopped
from protozorfs.store.names import COPY_FILE, NAMES_FILE, Names
from protozorfs.store.pool import FilePool
from protozorfs.types import FeedId
from tests.sizes import long_or_short

if TYPE_CHECKING:
    from collections.abc import Iterator

BOTH = (NAMES_FILE, COPY_FILE)
PAIR = crypto.key_pair(bytes([7]) * 32)
FOLLOWED = FeedId(PAIR.public_key)


def test_a_making_that_is_cut_off_leaves_a_whole_feed_of_our_own_or_nothing() -> None:
    """Never a followed one, nor one whose key is said to be lost."""
    left: list[str] = []
    for operation in range(10_000):
        for seed in range(long_or_short(20, 3)):
            files = MemoryFiles()
            directory = FeedDirectory(FilePool(files), FOLLOWED)
            files.fail_at(operation)
            try:
                Log.create(directory, PAIR.seed)
            except Stopped:
                pass
            else:
                assert operation > 20
                assert set(left) == {"nothing", "owned"}
                return
            if seed:
                choice = random.Random(seed)
                order = choice.choice((JOURNAL, PREFIX))
                files.power_cut(choice, draw_model(choice)._replace(of_directories=order))
            else:
                files.kill()
            directory = FeedDirectory(FilePool(files), FOLLOWED)
            if not directory.exists() or directory.holds_nothing():
                left.append("nothing")
            else:
                left.append("owned")
                assert directory.secret() == PAIR
                Log.open(directory).append([b"block"])


def test_a_directory_that_may_hold_something_is_kept() -> None:
    """Whatever it is that is missing beside it."""
    for kept, content in (
        ("data", b"x"),
        ("secret.copy", PAIR.seed),
        ("record", b""),
        ("head", b""),
    ):
        files = MemoryFiles()
        directory = FeedDirectory(FilePool(files), FOLLOWED)
        directory.mkdir()
        assert directory.holds_nothing()
        if kept != "head":  # that of a followed feed may be empty
            files.replace(f"{directory.path}/place", b"place")
            assert directory.holds_nothing()
        files.replace(f"{directory.path}/{kept}", content)
        assert not directory.holds_nothing()


class Cut(Exception):
    """The run ends here."""


@contextmanager
def opened(path: Path) -> Iterator[Feeds]:
    with Store(path) as store:
        feeds = Feeds(store, Options())
        yield feeds
        feeds.close()


def hold(feeds: Feeds, feed_id: FeedId) -> None:
    """Has something of a feed come."""
    directory = feeds.surroundings.directory_of(feeds._by_id[feed_id])
    directory.mkdir()
    directory.file("data").pwrite(b"what was fetched", 0)


def shown(path: Path) -> list[str]:
    with opened(path) as feeds:
        return sorted(name.decode() for name, _ in feeds.names())


def directories(path: Path) -> set[str]:
    return {each.name for each in path.glob("feeds/*/*")}


async def make(path: Path) -> tuple[str, str]:
    """A store with two feeds of its own, one of them empty, and a followed one."""
    with opened(path) as feeds:
        empty = (await feeds.create(b"empty")).feed_id
        written = await feeds.create(b"written")
        written.log.append([b"one\n"])
        await feeds.follow(FOLLOWED, b"paul")
        hold(feeds, FOLLOWED)
    return empty.hex(), written.feed_id.hex()


@pytest.mark.parametrize("how", ["missing", "empty", "garbage", "both damaged"])
async def test_feeds_whose_names_are_lost_are_shown_by_their_ids(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store"
    ids = {*await make(path), FOLLOWED.hex()}
    before = {each: each.read_bytes() for each in path.glob("feeds/*/*/*") if each.name != "clean"}
    for name in BOTH:
        file = path / name
        if how == "missing":
            file.unlink()
        elif how == "both damaged":
            content = file.read_bytes()
            file.write_bytes(bytes(byte ^ (at % 512 == 40) for at, byte in enumerate(content)))
        else:
            file.write_bytes(b"" if how == "empty" else b"x" * 2048)
    assert set(shown(path)) == ids
    assert "had no name: it is shown by its ID" in caplog.text
    assert {each: each.read_bytes() for each in before} == before
    with opened(path) as feeds:
        feed_id = FeedId(bytes.fromhex(min(ids - {FOLLOWED.hex()})))
        await feeds.rename(feed_id.hex().encode(), b"again")
        feed = feeds.by_name(b"again")
        assert feed is not None
        assert feed.is_owned
    assert "again" in shown(path)


async def test_what_a_killed_visit_left_goes(tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        feeds = Feeds(store, Options())
        await feeds.visit(FOLLOWED)
        hold(feeds, FOLLOWED)
        # and no `close`
    assert directories(tmp_path / "store") == {FOLLOWED.hex()}
    assert shown(tmp_path / "store") == []
    assert directories(tmp_path / "store") == set()


async def test_a_visited_feed_that_is_followed_stays(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with opened(path) as feeds:
        await feeds.visit(FOLLOWED)
        hold(feeds, FOLLOWED)
        await feeds.follow(FOLLOWED, b"paul")
    assert not list(path.glob("feeds/*/*/visited"))
    for name in BOTH:
        (path / name).unlink()
    assert shown(path) == [FOLLOWED.hex()]
    assert list(path.glob("feeds/*/*/data"))


async def test_a_mark_beside_a_name_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run ended between the name and the mark."""

    def fail(*_: object) -> None:
        raise OSError("no")

    path = tmp_path / "store"
    with opened(path) as feeds:
        await feeds.visit(FOLLOWED)
        hold(feeds, FOLLOWED)
        with monkeypatch.context() as patch:
            patch.setattr(FeedDirectory, "unmark_visited", fail)
            await feeds.follow(FOLLOWED, b"paul")
        assert "still marked as visited" in caplog.text
    assert list(path.glob("feeds/*/*/visited"))
    assert shown(path) == ["paul"]
    assert not list(path.glob("feeds/*/*/visited"))


@pytest.mark.parametrize("is_owned", [True, False])
@pytest.mark.parametrize("operation", range(8))
async def test_a_removal_that_is_cut_off_is_finished(
    tmp_path: Path, is_owned: bool, operation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows the feed under its name, or never again; not under its ID."""
    path = tmp_path / "store"
    await make(path)
    name = b"written" if is_owned else b"paul"
    with monkeypatch.context() as patch:
        left = operation

        def remove(files: RealFiles, at: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Cut
            removed(files, at)

        removed = RealFiles.remove
        with Store(path) as store:
            feeds = Feeds(store, Options())
            patch.setattr(RealFiles, "remove", remove)
            with suppress(Cut):
                feed = feeds.by_name(name)
                assert feed is not None
                if is_owned:
                    await feeds.delete_key(name, feed.feed_id)
                else:
                    await feeds.remove(name)
    expected = ["empty", *(["paul"] if is_owned else ["written"])]
    assert shown(path) == expected
    assert len(directories(path)) == 2


async def test_a_feed_that_was_removed_while_it_was_open_goes_with_the_next_start(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    await make(path)
    with Store(path) as store:
        feeds = Feeds(store, Options())
        feed = feeds.by_name(b"paul")
        assert feed is not None
        feed.acquire()
        await feeds.remove(b"paul")
        assert FOLLOWED.hex() in directories(path)
    assert shown(path) == ["empty", "written"]
    assert FOLLOWED.hex() not in directories(path)


async def test_a_feed_that_is_followed_again_is_no_removal(tmp_path: Path) -> None:
    path = tmp_path / "store"
    await make(path)
    with opened(path) as feeds:
        await feeds.remove(b"paul")
        await feeds.follow(FOLLOWED, b"paul")
        hold(feeds, FOLLOWED)
    content = bytearray((path / NAMES_FILE).read_bytes())
    content[content.rindex(b"paul")] ^= 1  # the newest record of it, in both
    for name in BOTH:
        (path / name).write_bytes(content)
    assert FOLLOWED.hex() in shown(path)
    assert list(path.glob(f"feeds/*/{FOLLOWED.hex()}/data"))


@pytest.mark.parametrize("is_killed", [False, True])
async def test_a_removed_feed_that_is_put_back_stays(tmp_path: Path, *, is_killed: bool) -> None:
    path = tmp_path / "store"
    _, written = await make(path)
    place = Path("feeds", written[:2], written)
    shutil.copytree(path / place, tmp_path / "backup")
    with opened(path) as feeds:
        await feeds.delete_key(b"written", FeedId(bytes.fromhex(written)))
        shutil.copytree(path, tmp_path / "killed")
    if is_killed:
        path = tmp_path / "killed"
        assert shown(path) == ["empty", "paul"], "this run finds that nothing is left of it"
    shutil.copytree(tmp_path / "backup", path / place)
    assert shown(path) == sorted(["empty", "paul", written])
    assert (path / place / "secret").exists()


async def test_a_visit_of_a_feed_that_lost_its_name_removes_nothing(tmp_path: Path) -> None:
    """As where there is no space to give it its ID as a name."""
    path = tmp_path / "store"
    with Store(path) as store:
        Log.create(store.feed(FOLLOWED), PAIR.seed).append([b"one\n"])
        feeds = Feeds(store, Options())
        del feeds._by_id[FOLLOWED]
        store.names.remove(FOLLOWED.hex().encode())
        store.names.forget(FOLLOWED)
        await feeds.visit(FOLLOWED)
        feeds.close()
    assert list(path.glob("feeds/*/*/secret"))
    await trio.lowlevel.checkpoint()


async def test_a_feed_that_could_not_be_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreFull("no space")

    with opened(tmp_path / "store") as feeds:
        monkeypatch.setattr(Names, "add", full)
        with pytest.raises(StoreFull):
            await feeds.create(b"journal")
    monkeypatch.undo()
    assert directories(tmp_path / "store") == set()


@pytest.mark.parametrize("secret", [b"", b"short"])
async def test_a_damaged_key_without_a_name_stops_nothing(tmp_path: Path, secret: bytes) -> None:
    path = tmp_path / "store"
    empty, _ = await make(path)
    for name in BOTH:
        (path / name).unlink()
    file = path / "feeds" / empty[:2] / empty / "secret"
    file.write_bytes(secret)
    assert empty in shown(path)
    assert file.read_bytes() == secret
